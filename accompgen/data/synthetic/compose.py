"""Songs made by rule, for use without any corpus: keys, common progressions, melodies that follow the chords.

A song is a chain of 8-bar sections in the form A A B A. A section repeats a progression and a two-bar rhythm; on strong
beats the melody takes the chord tone nearest to where it is, between them it walks the scale. The same generator state
gives the same song.
"""

import numpy as np

from accompgen.analysis.labels import harmony
from accompgen.data.synthetic.score import (
    METRES,
    PITCH_NAMES,
    Beat,
    Chord,
    Note,
    Score,
    Section,
)

SCALES = {
    "maj": (0, 2, 4, 5, 7, 9, 11),
    "min": (0, 2, 3, 5, 7, 8, 10),
    "dor": (0, 2, 3, 5, 7, 9, 10),
    "mix": (0, 2, 4, 5, 7, 9, 10),
}
# (semitones above the tonic, quality), a bar each
PROGRESSIONS = {
    "maj": (
        ((0, "maj"), (7, "maj"), (9, "min"), (5, "maj")),
        ((9, "min"), (5, "maj"), (0, "maj"), (7, "maj")),
        ((0, "maj"), (9, "min"), (5, "maj"), (7, "maj")),
        ((0, "maj"), (5, "maj"), (7, "sus4"), (7, "maj")),
        ((5, "maj"), (7, "maj"), (4, "min"), (9, "min")),
        ((0, "maj"), (4, "min"), (5, "maj"), (7, "7")),
        ((2, "min7"), (7, "7"), (0, "maj7"), (9, "min7")),
        ((0, "maj"), (7, "maj"), (2, "min"), (5, "maj")),
    ),
    "min": (
        ((0, "min"), (8, "maj"), (3, "maj"), (10, "maj")),
        ((0, "min"), (10, "maj"), (8, "maj"), (10, "maj")),
        ((0, "min"), (5, "min"), (8, "maj"), (7, "min")),
        ((8, "maj"), (10, "maj"), (0, "min"), (0, "min")),
        ((0, "min"), (3, "maj"), (10, "maj"), (5, "min7")),
    ),
    "dor": (((0, "min"), (5, "maj"), (0, "min"), (5, "maj")), ((0, "min7"), (10, "maj"), (5, "maj"), (0, "min7"))),
    "mix": (((0, "maj"), (10, "maj"), (5, "maj"), (0, "maj")), ((0, "maj"), (5, "maj"), (10, "maj"), (5, "maj"))),
}
# metre -> two-bar rhythms as note lengths in beats, negative for rests; the last note of a phrase breathes
RHYTHMS = {
    "4/4": (
        (1, 1, 1, 1, 2, 1, -1),
        (1.5, 0.5, 1, 1, 1, 2, -1),
        (0.5, 0.5, 1, 0.5, 0.5, 1, 3, -1),
        (2, 1, 1, 1, 1, 1.5, -0.5),
        (1, 0.5, 0.5, 1, 1, 0.5, 0.5, 1, 1, -1),
        (-1, 1, 1, 1, 1.5, 0.5, 1.5, -0.5),
    ),
    "3/4": ((2, 1, 2, -1), (1, 1, 1, 2, -1), (2, 1, 1, 0.5, 0.5, -1), (1.5, 0.5, 1, 2.5, -0.5), (1, 2, 1, 1, -1)),
    "6/8": (
        (2 / 3, 1 / 3, 2 / 3, 1 / 3, 1, 2 / 3, -1 / 3),
        (1 / 3, 1 / 3, 1 / 3, 1, 5 / 3, -1 / 3),
        (1, 2 / 3, 1 / 3, 1, -1),
        (2 / 3, 1 / 3, 1, 2 / 3, 1 / 3, 2 / 3, -1 / 3),
    ),
}
TEMPI = {"4/4": (72, 132), "3/4": (84, 150), "6/8": (48, 76)}  # beats a minute
STRONG = {"4/4": (1, 3), "3/4": (1,), "6/8": (1, 2)}  # positions in the bar
# the 32-bar form of popular song: verses around a bridge
FORM = "AABA"
SECTION_LABELS = {"A": "verse", "B": "bridge"}
SECTION_BARS = 8


def compose(rng, seconds, title="composed"):
    """A song of at least `seconds`, then cut to exactly that, in any key, with its melody within MIDI 57 to 76.

    Args:
        rng: numpy Generator; its state decides everything.
        seconds: length of the song, over 0.
    Returns: Score without piano and bridge parts.
    """
    metre = str(rng.choice(list(METRES), p=[0.64, 0.18, 0.18]))
    mode = str(rng.choice(list(SCALES), p=[0.5, 0.3, 0.1, 0.1]))
    tonic = int(rng.integers(12))
    bpm = round(float(rng.uniform(*TEMPI[metre])), 1)
    per_bar, period = METRES[metre][0], 60 / bpm
    bars = int(np.ceil(seconds / (per_bar * period))) + 1
    sections = {name: _section(metre, mode, tonic, rng) for name in sorted(set(FORM))}
    plan = [FORM[(bar // SECTION_BARS) % len(FORM)] for bar in range(bars)]
    chords = _chords([sections[name][0][bar % 4] for bar, name in enumerate(plan)], per_bar * period)
    beats = tuple(Beat(k * period, k % per_bar + 1) for k in range(bars * per_bar))
    melody = _melody(plan, sections, chords, metre, tonic, mode, period, rng)
    key = f"{PITCH_NAMES[tonic]}:{mode}"
    score = Score(
        title, bars * per_bar * period, key, bpm, metre, melody, chords, beats,
        sections=_sections(plan, per_bar * period),
    )  # fmt: skip
    return score.clipped(0, seconds)


def _sections(plan, bar_seconds):
    """The sections of `plan`, a letter of FORM for each bar; the last one may be cut short."""
    firsts = range(0, len(plan), SECTION_BARS)
    ends = [*firsts[1:], len(plan)]
    return tuple(
        Section(first * bar_seconds, end * bar_seconds, SECTION_LABELS[plan[first]])
        for first, end in zip(firsts, ends, strict=True)
    )


def _section(metre, mode, tonic, rng):
    """(four chord labels, two two-bar rhythms, whether the section lies high)."""
    progressions = PROGRESSIONS[mode]
    progression = progressions[rng.integers(len(progressions))]
    labels = [f"{PITCH_NAMES[(tonic + step) % 12]}:{quality}" for step, quality in progression]
    rhythms = [RHYTHMS[metre][i] for i in rng.integers(len(RHYTHMS[metre]), size=2)]
    return labels, rhythms, bool(rng.random() < 0.4)


def _chords(labels, bar_seconds):
    chords = []
    for bar, label in enumerate(labels):
        if chords and chords[-1].label == label:
            chords[-1] = chords[-1]._replace(end=(bar + 1) * bar_seconds)
        else:
            chords.append(Chord(bar * bar_seconds, (bar + 1) * bar_seconds, label))
    return tuple(chords)


def _melody(plan, sections, chords, metre, tonic, mode, period, rng):
    per_bar = METRES[metre][0]
    scale = [p for p in range(57, 77) if (p - tonic) % 12 in SCALES[mode]]
    pitch, notes = int(rng.choice([64, 65, 67])), []
    for bar in range(0, len(plan) - 1, 2):
        _, rhythms, high = sections[plan[bar]]
        centre = 70 if high else 65
        beat = bar * per_bar
        for length in rhythms[(bar // 2) % 2]:
            if length > 0:
                position = beat % per_bar + 1
                strong = any(abs(position - p) < 1e-6 for p in STRONG[metre])
                tones = _sounding(chords, beat * period).pitch_classes
                pitch = _chord_tone(pitch, centre, tones, rng) if strong else _scale_step(pitch, centre, scale, rng)
                velocity = int(np.clip(92 + 6 * strong + rng.normal(0, 5), 60, 120))
                notes.append(Note(beat * period, (beat + length) * period, pitch, velocity))
            beat = round(12 * (beat + abs(length))) / 12  # thirds and quarters of a beat stay exact
    return tuple(notes)


def _sounding(chords, time):
    return harmony(next(c.label for c in chords if c.end > time + 1e-6))


def _chord_tone(pitch, centre, tones, rng):
    """The chord tone within MIDI 57 to 76 that a wish near the last pitch, pulled to the centre, comes closest to."""
    wish = pitch + 0.25 * (centre - pitch) + rng.normal(0, 2.2)
    return min((p for p in range(57, 77) if p % 12 in tones), key=lambda p: (abs(p - wish), p))


def _scale_step(pitch, centre, scale, rng):
    """One or two steps of the scale up or down, sooner towards the centre."""
    here = int(np.argmin([abs(p - pitch) for p in scale]))
    up = rng.random() < 0.5 + 0.06 * (centre - pitch)
    step = int(rng.choice([0, 1, 1, 1, 2])) * (1 if up else -1)
    return scale[int(np.clip(here + step, 0, len(scale) - 1))]
