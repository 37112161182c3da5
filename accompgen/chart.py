"""What a band plays by: where the beats of a song lie and which chords sound, and both as streams of ids.

    stream  rate   ids
    beat    50 Hz  32: 16 equal parts of the way from a beat to the next, the first begins with the beat; 16 more for beats that
                   begin a bar
    chord   25 Hz  109: 0 no chord, 1 + 12 * quality + root; root 0 is C, qualities in the order of QUALITIES

A chart is found in a voice, given by a person, or both; every stage behind it hears its ids.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from accompgen.analysis.labels import harmony, pitch_class
from accompgen.time import BLOCKS_PER_SECOND, SEMANTIC_HZ, frames_of

PHASES = 16  # K, parts of a beat
BEAT_IDS = 2 * PHASES
# shorthands of Harte's grammar, and the semitones above the root
QUALITIES = {
    "maj": (0, 4, 7), "min": (0, 3, 7), "7": (0, 4, 7, 10), "maj7": (0, 4, 7, 11), "min7": (0, 3, 7, 10),
    "dim": (0, 3, 6), "aug": (0, 4, 8), "sus4": (0, 5, 7), "sus2": (0, 2, 7),
}  # fmt: skip
CHORD_IDS = 1 + 12 * len(QUALITIES)
ROOTS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
SLOWEST_BPM, FASTEST_BPM = 30.0, 300.0
PACE_BEATS = 8  # from so many beats at an end of the song the tempo beyond it is known


class ChartError(ValueError):
    """A chart that cannot be used; the message says what was found and what was expected."""


class Bar(NamedTuple):
    """A bar of a song: its number, from 1 on (0: a pickup), and the seconds of its n beats and of
    its end [n + 1]."""

    number: int
    times: tuple[float, ...]


@dataclass(frozen=True)
class Chart:
    """Beats and chords of a song.

    Attributes:
        seconds: length of the song.
        beats: (seconds, place in the bar from 1 on) of each beat, in order; none where the beat is not known.
        chords: (start, end, label) of each chord in seconds, in order and without overlaps, labels as Harte et al. spell them
            (`C:min7`, `N` for no chord); between them, and without any, the harmony is not known.
        key: such as `C:min`, or None.

    Raises:
        ChartError: times out of order.
    """

    seconds: float
    beats: tuple[tuple[float, int], ...] = ()
    chords: tuple[tuple[float, float, str], ...] = ()
    key: str | None = None

    def __post_init__(self):
        times = [time for time, _ in self.beats]
        if any(after <= before for before, after in zip(times, times[1:])):
            raise ChartError("beats must follow each other in time, each later than the one before")
        edges = [edge for start, end, _ in self.chords for edge in (start, end)]
        if any(after < before for before, after in zip(edges, edges[1:])):
            raise ChartError("chords must follow each other in time without overlaps")

    @classmethod
    def of_song(cls, meta: dict, seconds: float) -> "Chart":
        """What a song's JSON says of its music: `beats`, `chords`, `key`, any of which may be missing."""
        beats = tuple((float(time), int(place)) for time, place in meta.get("beats") or ())
        chords = tuple((float(start), float(end), label) for start, end, label in meta.get("chords") or ())
        return cls(seconds, beats, chords, meta.get("key"))

    @classmethod
    def steady(cls, seconds: float, bpm: float, metre: int = 4, first: float = 0.0) -> "Chart":
        """Beats of one tempo, one of which begins a bar at `first` seconds.

        There are two beats at least: the second one may lie behind the song's end. Raises
        ChartError for a tempo out of range.
        """
        if not SLOWEST_BPM <= bpm <= FASTEST_BPM:
            raise ChartError(f"{bpm:g} beats a minute; expected {SLOWEST_BPM:g} to {FASTEST_BPM:g}")
        step = 60 / bpm
        before = int(np.floor(first / step + 1e-9))
        after = int(np.floor((seconds - first) / step + 1e-9)) + 1
        numbers = range(-before, max(after, 2 - before))
        return cls(seconds, tuple((first + number * step, number % metre + 1) for number in numbers))

    @property
    def bpm(self) -> float | None:
        """Beats a minute, by the median time from one to the next; None with fewer than two."""
        return 60 / float(np.median(np.diff([time for time, _ in self.beats]))) if len(self.beats) > 1 else None

    @property
    def metre(self) -> int:
        """Beats of a bar: the place that most bars end with; 4 where no bar ends."""
        places = [place for _, place in self.beats]
        last = [place for place, after in zip(places, places[1:]) if after == 1]
        return max(set(last), key=last.count) if last else 4

    def with_chords(self, chords) -> "Chart":
        """The same beats under other chords."""
        return replace(self, chords=tuple(chords))

    def changed(self, speed: float, semitones: float) -> "Chart":
        """The chart of the song at another speed (2: half as long) and pitch; between the keys its chords are not known."""
        steps = round(semitones)
        chords = [] if abs(steps - semitones) > 0.1 else self.chords
        return Chart(
            self.seconds / speed,
            tuple((time / speed, place) for time, place in self.beats),
            tuple((start / speed, end / speed, transposed(label, steps)) for start, end, label in chords),
            self.key if not semitones else None,
        )

    def continued(self) -> "Chart":
        """The same chart with beats from the beginning of the song to its end, none of them outside.

        There is one at least: a song between two beats begins with the first of them. Raises
        ChartError with fewer than two beats.
        """
        if len(self.beats) < 2:
            raise ChartError(
                f"bars need two beats or more, and {len(self.beats)} are known; give --bpm or --beats"
            )
        times, places = self._continued(self.seconds)
        within = [
            (max(0.0, float(time)), int(place))
            for time, place in zip(times, places)
            if -1e-6 < time < self.seconds - 1e-6
        ]
        if not within:
            within = [(0.0, int(places[np.flatnonzero(times <= 0)[-1]]))]
        return replace(self, beats=tuple(within))

    def bars(self) -> tuple[Bar, ...]:
        """The bars of the song, beats before the first one that begins a bar as a bar 0.

        The song may break off the last one. Raises ChartError with fewer than two beats.
        """
        beats = self.continued().beats
        starts = [index for index, (_, place) in enumerate(beats) if place == 1]
        pickup = [0] if not starts or starts[0] else []
        times = [time for time, _ in beats] + [self.seconds]
        edges = [*pickup, *starts, len(beats)]
        spans = [tuple(times[start : end + 1]) for start, end in zip(edges, edges[1:])]
        return tuple(Bar(number, span) for number, span in enumerate(spans, 0 if pickup else 1))

    def beat_ids(self, blocks: int) -> np.ndarray | None:
        """Ids [S] of the beat stream over so many blocks of 40 ms; None with fewer than two beats.

        Before the first beat and behind the last one the nearest tempo goes on, and so do the bars.
        """
        if len(self.beats) < 2:
            return None
        times, places = self._continued(blocks / BLOCKS_PER_SECOND)
        frames = (np.arange(frames_of(blocks, SEMANTIC_HZ)) + 0.5) / SEMANTIC_HZ
        beat = np.searchsorted(times, frames, side="right") - 1
        share = (frames - times[beat]) / (times[beat + 1] - times[beat])
        phase = np.minimum((share * PHASES).astype(np.int64), PHASES - 1)
        return phase + PHASES * (places[beat] == 1)

    def chord_ids(self, blocks: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Ids [blocks] of the chord stream, and where the chord is known (bool [blocks]); None without chords."""
        if not self.chords:
            return None
        ids, known = np.zeros(blocks, np.int64), np.zeros(blocks, bool)
        middles = (np.arange(blocks) + 0.5) / BLOCKS_PER_SECOND
        for start, end, label in self.chords:
            at = (middles >= start) & (middles < end)
            ids[at], known[at] = chord_id(label), True
        return ids, known

    def chords_on_beats(self, ids: np.ndarray) -> "Chart":
        """This chart with the chords of a stream of ids [blocks]: each beat has the chord that most of it has.

        Without beats the chords change where the ids do.
        """
        edges = [0.0, *(time for time, _ in self.beats if 0 < time < self.seconds), self.seconds]
        if len(self.beats) < 2:
            changes = np.flatnonzero(np.diff(ids)) + 1
            edges = [0.0, *(changes / BLOCKS_PER_SECOND), self.seconds]
        chords = []
        for start, end in zip(edges, edges[1:]):
            first = round(start * BLOCKS_PER_SECOND)
            span = ids[first : max(round(end * BLOCKS_PER_SECOND), first + 1)]
            if not len(span):
                continue
            label = chord_label(int(np.bincount(span, minlength=CHORD_IDS).argmax()))
            if chords and chords[-1][2] == label:
                chords[-1] = (chords[-1][0], end, label)
            else:
                chords.append((start, end, label))
        return self.with_chords(chords)

    def _continued(self, seconds):
        """Times and places of beats that reach beyond 0 and `seconds`."""
        times, places = [time for time, _ in self.beats], [place for _, place in self.beats]
        metre = self.metre
        before, after = pace(times[: PACE_BEATS + 1]), pace(times[-PACE_BEATS - 1 :])
        while times[0] > 0:
            times.insert(0, times[0] - before)
            places.insert(0, metre if places[0] == 1 else places[0] - 1)
        while times[-1] <= seconds:
            times.append(times[-1] + after)
            places.append(1 if places[-1] >= metre else places[-1] + 1)
        return np.array(times), np.array(places)


def pace(times) -> float:
    """Seconds from a beat to the next in times [n], n > 1: the mean distance, but for those where a
    beat was left out or doubled.

    A single distance would not do: trackers give beats by frames of 20 ms, and people tap no better.
    """
    steps = np.diff(times)
    usual = float(np.median(steps))
    near = steps[np.abs(steps - usual) <= 0.25 * usual]
    return float(near.mean()) if len(near) else usual


def chord_at(chords, time: float) -> int | None:
    """Which of the chords (start, end, label) sounds at a time: its index; None where none does."""
    return next((index for index, (start, end, _) in enumerate(chords) if start <= time < end), None)


@lru_cache(maxsize=4096)
def chord_id(label: str) -> int:
    """The id of a chord label: that of the quality whose tones are most alike, the simpler one of two. N and X are 0."""
    tones = harmony(label)
    if tones is None:
        return 0
    found = set(tones.intervals) | {0}
    alike = [len(found & set(own)) / len(found | set(own)) for own in QUALITIES.values()]
    return 1 + 12 * int(np.argmax(alike)) + tones.root


def chord_chroma() -> np.ndarray:
    """The pitch classes of every id of the chord stream [CHORD_IDS, 12], 0 = C, rows of length 1; none in that of no chord."""
    found = np.zeros((CHORD_IDS, 12), np.float32)
    for quality, intervals in enumerate(QUALITIES.values()):
        for root in range(12):
            found[1 + 12 * quality + root, [(root + step) % 12 for step in intervals]] = len(intervals) ** -0.5
    return found


def transposed(label: str, semitones: int) -> str:
    """A chord's label so many semitones higher, with flats."""
    if semitones % 12 == 0 or harmony(label) is None:
        return label
    root, colon, rest = label.partition(":")
    root, slash, bass = root.partition("/")  # a label without a quality
    return ROOTS[(pitch_class(root) + semitones) % 12] + slash + bass + colon + rest


def chord_label(id: int) -> str:
    """The label of an id of the chord stream."""
    if id == 0:
        return "N"
    quality, root = divmod(id - 1, 12)
    return f"{ROOTS[root]}:{list(QUALITIES)[quality]}"
