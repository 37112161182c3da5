"""A score becomes note events for a band: keys, pad, bass, drums, lead. Pure, seeded; no audio.

Every part keeps to the annotated chords and beats, so that what is heard is what the annotations say.
"""

from dataclasses import dataclass

import numpy as np

from accompgen.data.synthetic.score import Note, harmony

PARTS = ("keys", "bass", "pad", "lead", "drums")
STEMS = {"harmony": ("keys", "pad", "lead"), "bass": ("bass",), "drums": ("drums",)}
# General MIDI programs, from 0
KEYS = (0, 0, 1, 4, 5, 6, 11, 24, 25, 26, 27, 46)
BASSES = (32, 33, 33, 34, 35, 38, 39)
PADS = (16, 19, 48, 49, 50, 51, 61, 89, 90, 91, 94)
LEADS = (11, 40, 48, 56, 65, 68, 71, 73, 80, 81)
KITS = (0, 0, 0, 8, 16, 25, 40)
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


@dataclass(frozen=True)
class Arrangement:
    """What is played and by whom: `events[part]` are the notes, `programs[part]` General MIDI numbers (drums: the kit)."""

    style: str
    bass_line: str
    comping: str  # "piano part" where the score's own part is played
    programs: dict[str, int]
    events: dict[str, tuple[Note, ...]]


def arrange(score, rng):
    """Draw a style, players and patterns, and write the notes of every part for the whole `score`."""
    styles = DRUMS[score.metre]
    style = str(rng.choice(list(styles)))
    own_part = bool(score.piano) and rng.random() < 0.55
    comping = "piano part" if own_part else str(rng.choice(COMPINGS))
    bass_line = str(rng.choice(BASS_LINES))
    programs = dict(zip(PARTS, (int(rng.choice(p)) for p in (KEYS, BASSES, PADS, LEADS, KITS)), strict=True))
    plays = {part: bool(rng.random() < p) for part, p in zip(PARTS, (0.93, 0.95, 0.7, 0.35, 0.94), strict=True)}
    if not plays["keys"] and not plays["pad"]:
        plays["keys"] = True
    events = {
        "keys": score.piano if own_part else _comp(score, comping, rng),
        "bass": _bass(score, bass_line, rng),
        "pad": _pad(score, rng),
        "lead": tuple(n._replace(velocity=max(1, int(n.velocity * 0.75))) for n in score.bridge),
        "drums": _drums(score, styles[style], rng),
    }
    if not plays["drums"]:
        style = "no drums"
    played = {part: notes for part, notes in events.items() if plays[part] and notes}
    return Arrangement(style, bass_line, comping, {part: programs[part] for part in played}, played)


def _note(start, end, pitch, velocity, rng):
    """A note played by a person: a few milliseconds and a few steps of velocity off."""
    start = max(0.0, start + rng.normal(0, 0.004))
    return Note(start, max(end, start + 0.03), int(pitch), int(np.clip(velocity + rng.normal(0, 5), 1, 127)))


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


def _pad(score, rng):
    notes = []
    for start, end, tones, _ in _spans(score):
        notes += [_note(start, end, p, 58, rng) for p in _above(52, tones.pitch_classes)]
    return tuple(notes)


def _bass(score, line, rng):
    notes = []
    pulses = 3 if score.steps_per_beat == 3 else 2
    for start, end, tones, beats in _spans(score):
        low = 28 + (tones.bass - 28) % 12
        fifth = low + 7 if (tones.root + 7) % 12 in tones.pitch_classes and tones.bass == tones.root else low + 12
        if line == "long" or not beats:
            notes.append(_note(start, end, low, 95, rng))
            continue
        for k, (time, length, _) in enumerate(beats):
            if line == "root beats":
                notes.append(_note(time, time + 0.9 * length, low, 95, rng))
            elif line == "root and fifth":
                notes.append(_note(time, time + 0.9 * length, fifth if k % 2 else low, 95, rng))
            else:
                for j in range(pulses):
                    pitch = low + 12 if line == "octaves" and j else low
                    begin = time + j * length / pulses
                    notes.append(_note(begin, begin + 0.9 * length / pulses, pitch, 98 if j == 0 else 85, rng))
    return tuple(notes)


def _comp(score, pattern, rng):
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
                notes += [_note(a, b, p, 78, rng) for p in (low, *chord)]
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
                notes += [_note(begin, close, p, strength, rng) for p in pitches]
                rung += 1
    return tuple(notes)


def _drums(score, pattern, rng):
    kicks, snares, hat_every, snare = pattern
    hat = RIDE if rng.random() < 0.2 else CLOSED_HAT
    fill_every = int(rng.integers(4, 9))
    steps, bars, notes = score.steps_per_beat, 0, []
    times = [b.time for b in score.beats] + [score.beats[-1].time + 60 / score.bpm] if score.beats else []
    for beat, following in zip(score.beats, times[1:], strict=True):
        bars += beat.position == 1
        filling = bars % fill_every == 0 and beat.position == score.beats_per_bar
        if beat.position == 1 and bars % fill_every == 1:
            notes.append(_note(beat.time, beat.time + 0.5, CRASH, 92, rng))
        for j in range(steps):
            step = (beat.position - 1) * steps + j
            time = beat.time + j * (following - beat.time) / steps
            if step in kicks:
                notes.append(_note(time, time + 0.1, KICK, 106, rng))
            if step in snares:
                notes.append(_note(time, time + 0.1, snare, 100, rng))
            if step % hat_every == 0:
                sound = OPEN_HAT if rng.random() < 0.05 else hat
                notes.append(_note(time, time + 0.05, sound, 80 if j == 0 else 62, rng))
            if filling and rng.random() < 0.7:
                notes.append(_note(time, time + 0.1, rng.choice(TOMS), 88, rng))
    return tuple(notes)
