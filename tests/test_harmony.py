"""Harmony measures on chords whose tones are known."""

import numpy as np
import pytest

from accompgen.analysis.keys import find_key
from accompgen.evaluation import harmony
from accompgen.evaluation.listen import RATE

SECONDS = 4
C_MAJOR = [(0.0, SECONDS, "C:maj")]


def tones(pitches, seconds=SECONDS, cents=0.0, gain=1.0):
    """A chord of tones with eight harmonics each, falling as 1 / h."""
    time = np.arange(round(seconds * RATE)) / RATE
    wav = np.zeros(len(time))
    for pitch in pitches:
        frequency = 440 * 2 ** ((pitch + cents / 100 - 69) / 12)
        wav += sum(0.1 / h * np.sin(2 * np.pi * h * frequency * time) for h in range(1, 9))
    return (gain * wav).astype(np.float32)


CHORD = tones([48, 60, 64, 67])


def test_chord_tone_share_of_a_chord_and_of_its_tritone():
    assert harmony.chord_tone_share(CHORD, C_MAJOR) > 0.9
    assert harmony.chord_tone_share(tones([54, 66, 70, 73]), C_MAJOR) < 0.1


def test_chord_tone_share_of_a_rendered_chord():
    """Played by a sampled piano and organ through a soundfont."""
    from accompgen.data.synthetic.render import find_soundfonts, play
    from accompgen.data.synthetic.score import Note

    try:
        font = find_soundfonts()[0]
    except (FileNotFoundError, ImportError) as error:
        pytest.skip(str(error))
    chord = [Note(0.0, float(SECONDS), pitch, 90) for pitch in (48, 60, 64, 67)]
    for program in (0, 16):
        wav = play("keys", chord, program, SECONDS, RATE, font).mean(axis=0)
        assert harmony.chord_tone_share(wav, C_MAJOR) > 0.9
        assert harmony.chord_tone_share(wav, [(0.0, SECONDS, "Gb:maj")]) < 0.1


def test_chord_tone_share_falls_with_mistuning_noise_and_silence():
    slightly, quarter = (harmony.chord_tone_share(tones([48, 60, 64, 67], cents=c), C_MAJOR) for c in (25, 50))
    assert 0.3 < slightly < 0.7 and quarter < 0.05
    noise = 0.1 * np.random.default_rng(0).normal(size=SECONDS * RATE).astype(np.float32)
    assert harmony.chord_tone_share(noise, C_MAJOR) == pytest.approx(0.125, abs=0.04)
    assert harmony.chord_tone_share(np.zeros_like(CHORD), C_MAJOR) == 0
    half = CHORD.copy()
    half[len(half) // 2 :] = 0
    assert harmony.chord_tone_share(half, C_MAJOR) == pytest.approx(0.5, abs=0.1)


def test_loudness_is_no_help():
    quiet = tones([48, 60, 64, 67], gain=0.05)
    assert harmony.chord_tone_share(quiet, C_MAJOR) == pytest.approx(harmony.chord_tone_share(CHORD, C_MAJOR), abs=0.02)


def test_chords_follow_one_another_in_time():
    wav = np.concatenate([tones([60, 64, 67], 2), tones([65, 69, 72], 2)])
    right, swapped = [(0, 2, "C:maj"), (2, 4, "F:maj")], [(0, 2, "F:maj"), (2, 4, "C:maj")]
    assert harmony.chord_tone_share(wav, right) > 0.85
    assert harmony.chord_tone_share(wav, swapped) < 0.6
    assert harmony.chord_tone_share(wav, [(0, 4, "N")]) is None


@pytest.mark.parametrize(
    "label, expected",
    [
        ("C:maj", {0, 4, 7}),
        ("F#:min", {6, 9, 1}),
        ("Bb:7/3", {10, 2, 5, 8}),
        ("A:min/b7", {9, 0, 4, 7}),
        ("N", None),
        ("D", {2, 6, 9}),
        ("C:9(13)/b7", {0, 2, 4, 7, 9, 10}),
        ("C:maj(9)", {0, 2, 4, 7}),
        ("X", None),
    ],
)
def test_chord_labels(label, expected):
    assert harmony.chord_tones(label) == expected


def test_unreadable_chords_are_refused():
    for label in ("H:maj", "C:banana", "C:maj/x"):
        with pytest.raises(ValueError, match=label[:1]):
            harmony.chord_tones(label)


def test_profiles_compare_pitch_not_timbre():
    profile = harmony.profile(CHORD)
    assert profile.sum(axis=1) == pytest.approx(1)
    assert set(np.argsort(profile.mean(0))[-3:]) == {0, 4, 7}
    other_octave = harmony.profile(tones([60, 72, 76, 79]))
    assert harmony.similarity(other_octave, profile) > 0.95
    assert harmony.similarity(harmony.profile(tones([61, 65, 68])), profile) < 0.2


def test_fine_profiles_notice_mistuning():
    fine = harmony.profile(CHORD, harmony.FINE_BINS)
    mistuned = harmony.profile(tones([48, 60, 64, 67], cents=35), harmony.FINE_BINS)
    assert harmony.similarity(fine, fine) == pytest.approx(1)
    assert harmony.similarity(mistuned, fine) < 0.2


def test_silence_of_the_system_counts_and_of_the_other_does_not():
    profile = harmony.profile(CHORD)
    gap = CHORD.copy()
    gap[: len(gap) // 2] = 0
    assert harmony.similarity(harmony.profile(gap), profile) == pytest.approx(0.5, abs=0.1)
    assert harmony.similarity(profile, harmony.profile(gap)) == pytest.approx(1, abs=0.02)
    assert harmony.similarity(profile, harmony.profile(np.zeros_like(CHORD))) is None


@pytest.mark.parametrize("tonic, third, name", [(60, 4, "C:maj"), (57, 3, "A:min"), (63, 4, "Eb:maj"), (66, 3, "Gb:min")])
def test_key_of_a_cadence(tonic, third, name):
    chords = [(0, third, 7), (5, 5 + third, 12), (7, 11, 14), (0, third, 7)]
    wav = np.concatenate([tones([tonic + step for step in chord], 1) for chord in chords])
    assert find_key(harmony.profile(wav)) == name


@pytest.mark.parametrize(
    "estimated, reference, score",
    [
        ("C:maj", "C:maj", 1), ("G:maj", "C:maj", 0.5), ("F:maj", "C:maj", 0.5), ("A:min", "C:maj", 0.3),
        ("C:maj", "A:min", 0.3), ("C:min", "C:maj", 0.2), ("D:maj", "C:maj", 0), ("E:min", "C:maj", 0),
        ("A:min", "A:dor", 1), ("Db:maj", "C#:mix", 1),
        (None, "C:maj", 0), ("C:maj", None, None),
    ],
)  # fmt: skip
def test_key_agreement(estimated, reference, score):
    assert harmony.key_agreement(estimated, reference) == score
