"""A song in beats, before its tempo is known, and how it becomes a `Score` in seconds."""

import json
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from accompgen.data.synthetic.score import Beat, Chord, Note, Score, monophonic

SHORTEST_SUNG = 0.1  # seconds for the quickest tenth of a melody's notes: no faster tempo is drawn


class TempoMark(NamedTuple):
    time: float  # beats
    bpm: float


class TempoRange(NamedTuple):
    """Beats a minute between which a tempo is drawn."""

    low: float
    high: float


@dataclass(frozen=True)
class Sheet:
    """One song; all times are beats from its start.

    `tempi` are the source's own, the first one at 0; where it has none a tempo is drawn from
    `tempo_range`.
    """

    key: str
    metre: str
    length: float
    melody: tuple[Note, ...]
    chords: tuple[Chord, ...]
    beats: tuple[Beat, ...]
    tempo_range: TempoRange
    tempi: tuple[TempoMark, ...] = ()
    piano: tuple[Note, ...] = ()
    bridge: tuple[Note, ...] = ()

    def to_score(self, title, rng=None):
        """The song in seconds.

        Args:
            rng: numpy Generator that draws a tempo where the source has none; None takes the middle
                of the range.
        """
        seconds = self._clock(self.tempi or (TempoMark(0.0, self._draw(rng)),))

        def play(spans):
            if not spans:
                return ()
            starts, ends = seconds([s.start for s in spans]), seconds([s.end for s in spans])
            timed = zip(spans, starts, ends, strict=True)
            return tuple(span._replace(start=start, end=end) for span, start, end in timed)

        times = seconds([beat.time for beat in self.beats])
        return Score(
            title=title,
            seconds=seconds([self.length])[0],
            key=self.key,
            bpm=60 / float(np.median(np.diff(times))),
            metre=self.metre,
            melody=monophonic(play(self.melody)),
            chords=play(self.chords),
            beats=tuple(b._replace(time=time) for b, time in zip(self.beats, times, strict=True)),
            piano=play(self.piano),
            bridge=play(self.bridge),
        )

    def _draw(self, rng):
        """Beats a minute, even on a logarithmic scale, slow enough for the melody's quick notes."""
        low, high = self.tempo_range
        quickest = float(np.quantile([note.end - note.start for note in self.melody], 0.1))
        high = min(high, 60 * quickest / SHORTEST_SUNG)
        low = min(low, high)
        place = 0.5 if rng is None else float(rng.random())
        return low * (high / low) ** place

    @staticmethod
    def _clock(tempi):
        """A function from beats to seconds; a tempo holds until the next one."""
        marks = np.array([mark.time for mark in tempi])
        periods = np.array([60 / mark.bpm for mark in tempi])
        reached = np.concatenate([[0.0], np.cumsum(np.diff(marks) * periods[:-1])])

        def seconds(beats):
            beats = np.asarray(beats, float)
            place = np.searchsorted(marks, beats + 1e-9, "right") - 1
            return (reached[place] + (beats - marks[place]) * periods[place]).tolist()

        return seconds

    def to_json(self):
        return json.dumps({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_json(cls, text):
        """The sheet that `to_json` wrote; ValueError, KeyError or TypeError for anything else."""
        values = json.loads(text)
        kinds = {
            "melody": Note,
            "chords": Chord,
            "beats": Beat,
            "tempi": TempoMark,
            "piano": Note,
            "bridge": Note,
        }
        for name, kind in kinds.items():
            values[name] = tuple(kind(*row) for row in values[name])
        values["tempo_range"] = TempoRange(*values["tempo_range"])
        return cls(**values)
