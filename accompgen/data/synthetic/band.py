"""A score becomes written parts for a band: keys, pad, bass, drums, lead. Pure, seeded; no audio.

Every part keeps to the annotated chords and beats, so that what is heard is what the annotations say. Notes lie on the
grid here; players.py plays them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from accompgen.analysis.labels import harmony
from accompgen.data.synthetic.score import Note

PARTS = ("keys", "bass", "pad", "lead", "drums")
STEMS = {"harmony": ("keys", "pad", "lead"), "bass": ("bass",), "drums": ("drums",)}
# General MIDI programs, from 0, and what they are called; of the drums, the kits of its second level
INSTRUMENTS = {
    "keys": {
        0: "acoustic grand piano", 1: "bright acoustic piano", 4: "electric piano", 5: "FM electric piano", 6: "harpsichord",
        11: "vibraphone", 24: "nylon-string guitar", 25: "steel-string guitar", 26: "jazz guitar", 27: "clean electric guitar",
        46: "harp",
    },
    "bass": {
        32: "acoustic bass", 33: "fingered electric bass", 34: "picked electric bass", 35: "fretless bass", 38: "synth bass",
        39: "rubber synth bass",
    },
    "pad": {
        16: "drawbar organ", 19: "church organ", 48: "string ensemble", 49: "slow strings", 50: "synth strings",
        51: "slow synth strings", 61: "brass section", 89: "warm synth pad", 90: "polysynth pad", 91: "choir pad",
        94: "halo pad",
    },
    "lead": {
        11: "vibraphone", 40: "violin", 48: "string ensemble", 56: "trumpet", 65: "alto saxophone", 68: "oboe", 71: "clarinet",
        73: "flute", 80: "square synth lead", 81: "sawtooth synth lead",
    },
    "drums": {
        0: "standard drum kit", 8: "room drum kit", 16: "power drum kit", 24: "electronic drum kit", 25: "drum machine",
        32: "jazz drum kit", 40: "brushed drum kit",
    },
}  # fmt: skip
GUITARS = range(24, 32)
FAVOURITES = {"keys": 0, "bass": 33, "drums": 0}  # these are drawn more often than the others, by this share:
FAVOURED = 0.15
KICK, SIDE_STICK, SNARE, CLOSED_HAT, OPEN_HAT, CRASH, RIDE = 36, 37, 38, 42, 46, 49, 51
TOMS = (38, 45, 47, 50)

# style -> steps of a bar for kick and snare, steps between hats, snare sound; steps as in score.METRES
DRUMS = {
    "4/4": {
        "pop": ((0, 8), (4, 12), 2, SNARE),
        "rock": ((0, 6, 8), (4, 12), 2, SNARE),
        "ballad": ((0,), (8,), 4, SIDE_STICK),
        "dance": ((0, 4, 8, 12), (4, 12), 2, SNARE),
        "half time": ((0, 10), (8,), 2, SNARE),
        "funk": ((0, 7, 10), (4, 12), 1, SNARE),
    },
    "3/4": {
        "waltz": ((0,), (4, 8), 4, SIDE_STICK),
        "pop waltz": ((0,), (8,), 2, SNARE),
        "driving waltz": ((0, 6), (8,), 2, SNARE),
    },
    "6/8": {
        "slow six": ((0,), (3,), 1, SNARE),
        "rolling six": ((0, 5), (3,), 1, SNARE),
        "sparse six": ((0,), (3,), 3, SIDE_STICK),
    },
}
BASS_LINES = ("root pulse", "root beats", "octaves", "root and fifth", "long")
COMPINGS = ("block", "beats", "pulse", "bass and chord", "arpeggio", "broken")


PHRASE_BARS = 8  # where the score has no sections
# how loud a band plays a section, dB; others and phrases without a name lie around 0
LEVELS = {"intro": -4.0, "verse": -2.0, "chorus": 2.0, "outro": -3.0}
# how often a part that plays in the song rests in a section, soft and loud
RESTS = {"keys": (0.05, 0.05), "bass": (0.08, 0.0), "pad": (0.45, 0.1), "lead": (0.4, 0.2), "drums": (0.1, 0.0)}
PLAYS = {"keys": 0.93, "bass": 0.97, "pad": 0.7, "lead": 0.35, "drums": 0.96}  # how often a part plays in a song


class Passage(NamedTuple):
    """What the band makes of a section, or of a phrase where the score has no sections."""

    start: float  # seconds
    end: float
    label: str  # the section's, or empty
    level: float  # dB, against the song's middle
    swell: float  # dB by which the end is louder than the start
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Arrangement:
    """What is played and by whom: `events[part]` are the notes, `programs[part]` General MIDI numbers (drums: the kit)."""

    style: str
    bass_line: str
    comping: str  # "piano part" where the score's own part is played
    programs: dict[str, int]
    events: dict[str, tuple[Note, ...]]
    passages: tuple[Passage, ...]  # they follow each other and cover the score


def arrange(score, rng):
    """Draw a style, instruments and patterns, and write the notes of every part for the whole `score`."""
    styles = DRUMS[score.metre]
    style = str(rng.choice(list(styles)))
    own_part = bool(score.piano) and rng.random() < 0.55
    comping = "piano part" if own_part else str(rng.choice(COMPINGS))
    bass_line = str(rng.choice(BASS_LINES))
    programs = {part: _instrument(part, rng) for part in PARTS}
    plays = {part: bool(rng.random() < PLAYS[part]) for part in PARTS}
    if not plays["keys"] and not plays["pad"]:
        plays["keys"] = True
    passages = _passages(score, [part for part in PARTS if plays[part]], rng)
    written = {
        "keys": score.piano if own_part else _comp(score, comping),
        "bass": _bass(score, bass_line),
        "pad": _pad(score),
        "lead": tuple(n._replace(velocity=max(1, int(n.velocity * 0.75))) for n in score.bridge),
        "drums": _drums(score, styles[style], [p.start for p in passages[1:]], rng),
    }
    events = {part: _only_in(passages, part, notes) for part, notes in written.items()}
    events = {part: notes for part, notes in events.items() if notes}
    if "drums" not in events:
        style = "no drums"
    return Arrangement(style, bass_line, comping, {part: programs[part] for part in events}, events, passages)


def _instrument(part, rng):
    """A program; the favourite of the part more often than another."""
    if part in FAVOURITES and rng.random() < FAVOURED:
        return FAVOURITES[part]
    return int(rng.choice(list(INSTRUMENTS[part])))


def _passages(score, parts, rng):
    """How loud each section is and which of the `parts` play in it; sections of the same name are played alike."""
    names = [s.label for s in score.sections]
    starts = [s.start for s in score.sections]
    if not starts:
        downbeats = [b.time for b in score.beats if b.position == 1]
        starts = downbeats[::PHRASE_BARS] or [0.0]
        names = [""] * len(starts)
    edges = [0.0, *starts[1:], score.seconds]
    drawn, passages = {}, []
    for name, start, end in zip(names, edges[:-1], edges[1:], strict=True):
        if name not in drawn or not name:
            level = LEVELS.get(name, 0.0) + float(rng.normal(0, 1.5))
            loud = float(np.clip(0.5 + level / 6, 0, 1))  # 0 soft, 1 loud
            playing = [p for p in parts if rng.random() >= np.interp(loud, (0, 1), RESTS[p])]
            if not {"keys", "pad"} & set(playing):  # the chords are always heard
                playing += [p for p in ("keys", "pad") if p in parts][:1]
            drawn[name] = round(level, 2), tuple(p for p in PARTS if p in playing)
        level, playing = drawn[name]
        swell = float(rng.uniform(-1, 4)) if rng.random() < 0.4 else 0.0
        passages.append(Passage(start, end, name, level, round(swell, 2), playing))
    return tuple(passages)


def _only_in(passages, part, notes):
    """The notes that begin while the part plays, cut where it begins to rest."""
    kept = []
    spans = [(p.start, p.end) for p in passages if part in p.parts]
    for note in notes:
        for start, end in spans:
            if start - 0.02 <= note.start < end - 0.02:
                following = any(abs(end - other) < 1e-9 for other, _ in spans)
                kept.append(note if following else note._replace(end=min(note.end, end)))
                break
    return tuple(kept)


def _above(floor, pitch_classes):
    """Pitch classes as MIDI pitches in the octave that begins at `floor`, sorted."""
    return sorted(floor + (pc - floor) % 12 for pc in pitch_classes)


def _spans(score):
    """(chord start, chord end, Harmony, beats inside as (start, length, position)) for every chord that is one."""
    times = [b.time for b in score.beats]
    period = 60 / score.bpm
    for chord in score.chords:
        tones = harmony(chord.label)
        if tones is None:
            continue
        inside = []
        for i, beat in enumerate(score.beats):
            if chord.start - 0.02 <= beat.time < chord.end - 0.02:
                following = times[i + 1] if i + 1 < len(times) else beat.time + period
                inside.append((beat.time, min(following, chord.end) - beat.time, beat.position))
        yield chord.start, chord.end, tones, inside


def _pad(score):
    notes = []
    for start, end, tones, _ in _spans(score):
        notes += [Note(start, end, p, 58) for p in _above(52, tones.pitch_classes)]
    return tuple(notes)


def _bass(score, line):
    notes = []
    pulses = 3 if score.steps_per_beat == 3 else 2
    for start, end, tones, beats in _spans(score):
        low = 28 + (tones.bass - 28) % 12
        fifth = low + 7 if (tones.root + 7) % 12 in tones.pitch_classes and tones.bass == tones.root else low + 12
        if line == "long" or not beats:
            notes.append(Note(start, end, low, 95))
            continue
        for k, (time, length, _) in enumerate(beats):
            if line == "root beats":
                notes.append(Note(time, time + 0.9 * length, low, 95))
            elif line == "root and fifth":
                notes.append(Note(time, time + 0.9 * length, fifth if k % 2 else low, 95))
            else:
                for j in range(pulses):
                    pitch = low + 12 if line == "octaves" and j else low
                    begin = time + j * length / pulses
                    notes.append(Note(begin, begin + 0.9 * length / pulses, pitch, 98 if j == 0 else 85))
    return tuple(notes)


def _comp(score, pattern):
    """Chords on keys or guitar: patterns on the beats and their halves (thirds in 6/8)."""
    notes = []
    pulses = 3 if score.steps_per_beat == 3 else 2
    for start, end, tones, beats in _spans(score):
        chord = _above(57, tones.pitch_classes)
        low = 41 + (tones.bass - 41) % 12
        if pattern == "block" or not beats:
            restrikes = [b[0] for b in beats if b[2] == 1 and b[0] > start + 0.05]
            edges = [start, *restrikes, end]
            for a, b in zip(edges[:-1], edges[1:], strict=True):
                notes += [Note(a, b, p, 78) for p in (low, *chord)]
            continue
        ladder = [low, *chord, chord[0] + 12, *reversed(chord)]
        rung = 0
        for time, length, position in beats:
            for j in range(pulses):
                begin = time + j * length / pulses
                close = begin + 0.9 * length / pulses
                strength = 84 if j == 0 and position == 1 else 76 if j == 0 else 66
                if pattern == "arpeggio":
                    pitches = (ladder[rung % len(ladder)],)
                elif pattern == "broken":
                    pitches = (low,) if rung == 0 else (chord[(0, -1, 1, -1)[rung % 4]],)
                elif pattern == "beats":
                    pitches = (*((low,) if rung == 0 else ()), *chord) if j == 0 else ()
                    close = begin + 0.85 * length
                elif pattern == "bass and chord":
                    pitches = (low,) if j == 0 else chord
                else:  # pulse
                    pitches = chord
                notes += [Note(begin, close, p, strength) for p in pitches]
                rung += 1
    return tuple(notes)


def _drums(score, pattern, arrivals, rng):
    """A pattern in every bar, with fills now and then and before `arrivals` (seconds), where a cymbal is struck."""
    kicks, snares, hat_every, snare = pattern
    hat = RIDE if rng.random() < 0.2 else CLOSED_HAT
    fill_every = int(rng.integers(4, 9))
    steps, bars, notes = score.steps_per_beat, 0, []
    times = [b.time for b in score.beats] + [score.beats[-1].time + 60 / score.bpm] if score.beats else []
    for beat, following in zip(score.beats, times[1:], strict=True):
        bars += beat.position == 1
        arriving = any(abs(beat.time - time) < 0.05 for time in arrivals)
        leaving = any(abs(following - time) < 0.05 for time in arrivals)
        filling = leaving or (bars % fill_every == 0 and beat.position == score.beats_per_bar)
        if arriving or (beat.position == 1 and bars % fill_every == 1):
            notes.append(Note(beat.time, beat.time + 0.5, CRASH, 92))
        for j in range(steps):
            step = (beat.position - 1) * steps + j
            time = beat.time + j * (following - beat.time) / steps
            if step in kicks:
                notes.append(Note(time, time + 0.1, KICK, 106))
            if step in snares:
                notes.append(Note(time, time + 0.1, snare, 100))
            if step % hat_every == 0:
                sound = OPEN_HAT if rng.random() < 0.05 else hat
                notes.append(Note(time, time + 0.05, sound, 80 if j == 0 else 62))
            if filling and rng.random() < 0.7:
                notes.append(Note(time, time + 0.1, int(rng.choice(TOMS)), 88))
    return tuple(notes)
