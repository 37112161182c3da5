"""What a song is before it sounds: melody, chords, beats, in seconds; pure values, no audio.

Every source of songs, the readers of corpora and the composer, gives a `Score`; the singer reads
its melody, the band the rest.
"""

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from accompgen.analysis.labels import pitch_class

METRES = {"4/4": (4, 4), "3/4": (3, 4), "6/8": (2, 3)}  # metre -> beats in a bar, steps in a beat
PITCH_NAMES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")


class ScoreError(ValueError):
    """A score cannot be used; one line says which file and bar, what is wrong and what to mend."""


class Note(NamedTuple):
    start: float  # seconds
    end: float
    pitch: int  # MIDI number
    velocity: int  # 1 to 127


class Chord(NamedTuple):
    start: float
    end: float
    label: str  # root:quality or root:quality/bass degree, N for none


class Beat(NamedTuple):
    time: float
    position: int  # in the bar, 1 is the downbeat


class Section(NamedTuple):
    start: float
    end: float
    label: str  # intro, verse, chorus, bridge, ...


def transpose_label(label, semitones):
    """A chord (`C:maj/3`) or key (`A:min`) label moved by some semitones, its root spelled with
    flats.
    """
    if label in ("N", "X"):
        return label
    root = re.match("[A-G]?[#b]*", label).group()
    return f"{PITCH_NAMES[(pitch_class(root) + semitones) % 12]}{label[len(root):]}"


def clip_notes(notes, start, end, shortest=0.12):
    """Notes inside [start, end) seconds, counted from `start`; pieces under `shortest` seconds at
    an edge are dropped.
    """
    clipped = []
    for note in notes:
        low, high = max(note.start, start), min(note.end, end)
        if high > low and high - low >= min(shortest, note.end - note.start):
            clipped.append(note._replace(start=low - start, end=high - start))
    return tuple(clipped)


@dataclass(frozen=True)
class Score:
    """One song or an excerpt of one; all times in seconds from its start.

    `melody` is monophonic. `piano` and `bridge` are written-out accompaniment parts where the
    source has them, else empty. `beats_per_bar` and `steps_per_beat` follow from the metre (a beat
    of 6/8 is a dotted quarter). `sections` follow each other without overlap; they are empty where
    the source does not know them.
    """

    title: str
    seconds: float
    key: str
    bpm: float
    metre: str
    melody: tuple[Note, ...]
    chords: tuple[Chord, ...]
    beats: tuple[Beat, ...]
    piano: tuple[Note, ...] = ()
    bridge: tuple[Note, ...] = ()
    sections: tuple[Section, ...] = ()

    def __post_init__(self):
        if self.metre not in METRES:
            raise ValueError(f"metre {self.metre!r} of {self.title} is none of {', '.join(METRES)}")

    @property
    def beats_per_bar(self):
        return METRES[self.metre][0]

    @property
    def steps_per_beat(self):
        return METRES[self.metre][1]

    def clipped(self, start, end):
        """The excerpt [start, end) seconds; it begins at 0 and is `end - start` long."""

        def clip(spans):
            return tuple(
                span._replace(start=max(span.start, start) - start, end=min(span.end, end) - start)
                for span in spans
                if span.end > start + 0.01 and span.start < end - 0.01
            )

        return replace(
            self,
            seconds=end - start,
            melody=clip_notes(self.melody, start, end),
            chords=clip(self.chords),
            beats=tuple(Beat(b.time - start, b.position) for b in self.beats if start <= b.time < end),
            piano=clip_notes(self.piano, start, end),
            bridge=clip_notes(self.bridge, start, end),
            sections=clip(self.sections),
        )

    def transposed(self, semitones, melody_octaves=0):
        """The whole song moved by `semitones`, and the melody by `melody_octaves` octaves on top of
        it.
        """

        def move(notes, by):
            return tuple(n._replace(pitch=n.pitch + by) for n in notes)

        return replace(
            self,
            key=transpose_label(self.key, semitones),
            melody=move(self.melody, semitones + 12 * melody_octaves),
            chords=tuple(c._replace(label=transpose_label(c.label, semitones)) for c in self.chords),
            piano=move(self.piano, semitones),
            bridge=move(self.bridge, semitones),
        )

    def sung_share(self, start, end):
        """The part of [start, end) seconds, 0 to 1, in which the melody sounds; start and end are
        numbers or arrays [K].
        """
        start, end = np.asarray(start)[..., None], np.asarray(end)[..., None]  # [K, 1] against notes [N]
        notes = np.array([(n.start, n.end) for n in self.melody]).reshape(-1, 2)
        sounding = np.minimum(notes[:, 1], end) - np.maximum(notes[:, 0], start)
        return np.maximum(sounding, 0).sum(axis=-1) / (end - start)[..., 0]


def monophonic(notes, shortest=0.06, together=0.04):
    """A line that can be sung: of notes that start within `together` seconds the upper one stays, a
    note ends where the next begins, and what is left shorter than `shortest` seconds goes."""
    line = []
    for note in sorted(notes):
        if line and note.start - line[-1].start < together:
            if note.pitch > line[-1].pitch:
                line[-1] = note._replace(start=line[-1].start, end=max(note.end, line[-1].end))
            continue
        if line and line[-1].end > note.start:
            line[-1] = line[-1]._replace(end=note.start)
        line.append(note)
    return tuple(n for n in line if n.end - n.start >= shortest)
