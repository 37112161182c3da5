"""Who plays and how it lasts: parts that are there are found, others are not, and a song that dies shows it."""

import numpy as np
import pytest

from accompgen.evaluation import band, measures, minutes
from accompgen.evaluation.folders import Plan
from accompgen.evaluation.listen import RATE

SECONDS = 4
TIME = np.arange(SECONDS * RATE) / RATE
RNG = np.random.default_rng(0)


def tones(*hertz, level=0.1):
    return (level * sum(np.sin(2 * np.pi * f * TIME) for f in hertz)).astype(np.float32)


def strokes(low, high, fall, level):
    """Bursts of noise between two frequencies, twice a second, that fall by e in `fall` seconds."""
    wav = np.zeros(len(TIME), np.float32)
    spectrum = np.fft.rfft(RNG.normal(size=RATE // 2))
    hertz = np.fft.rfftfreq(RATE // 2, 1 / RATE)
    burst = np.fft.irfft(spectrum * ((hertz > low) & (hertz < high))) * np.exp(-np.arange(RATE // 2) / RATE / fall)
    for start in range(RATE // 8, len(wav) - RATE // 2, RATE // 2):
        wav[start : start + RATE // 2] += level * burst
    return wav


BASS, CHORD = tones(55, 110), tones(220, 277.2, 329.6, level=0.05)
HAT, KICK = strokes(5000, 11000, 0.03, 0.3), strokes(40, 90, 0.04, 3.0)


@pytest.mark.parametrize(
    "wav, expected",
    [
        (BASS + CHORD + HAT + KICK, (1, 1, 1)),
        (BASS + CHORD, (0, 1, 1)),
        (CHORD + HAT, (1, 0, 1)),
        (BASS + HAT, (1, 1, 0)),
        (HAT + KICK, (1, 0, 0)),  # a bass drum is no bass
        (0.1 * RNG.normal(size=len(TIME)), (0, 0, 0)),
        (0 * TIME, (0, 0, 0)),
        (1e-4 * (BASS + CHORD + HAT), (0, 0, 0)),  # below -60 dBFS
    ],
    ids=["all", "no drums", "no bass", "no chords", "drums alone", "noise", "silence", "too soft"],
)
def test_parts_that_sound_are_found(wav, expected):
    assert tuple(round(value) for value in band.presence(wav).values()) == expected
    assert all(value in (0, 1) or 0.2 < abs(value - 0.5) for value in band.presence(wav).values())


def test_shares_are_those_of_the_seconds_and_not_of_the_level():
    half = np.where(TIME < SECONDS / 2, BASS + CHORD, CHORD)
    assert band.presence(half) == {"drums": 0, "bass": 0.5, "chords": 1}
    assert band.presence(0.1 * half) == band.presence(half)
    assert band.presence(np.zeros(10)) == {"drums": 0, "bass": 0, "chords": 0}


def notes(*hertz):
    """Tones of half a second each, one after the other, softer than their octave."""
    each = [0.1 * np.sin(2 * np.pi * f * TIME[: RATE // 2]) + 0.05 * np.sin(4 * np.pi * f * TIME[: RATE // 2]) for f in hertz]
    return np.concatenate(each).astype(np.float32)


@pytest.mark.parametrize(
    "wav, expected",
    [
        (notes(*8 * [43.9]), 0),  # between two bins
        (notes(*4 * [55, 65.4]), 7 / 4),
        (notes(*4 * [55, 110]), 7 / 4),  # an octave is another tone
        (notes(55, 55, 73.4, 73.4), 1 / 2),
        (np.concatenate([notes(55, 73.4), 0 * TIME[: 2 * RATE], notes(41.2)]), 1 / 1.5),  # silence is no time
    ],
    ids=["one tone", "minor thirds", "octaves", "two notes", "with a rest"],
)
def test_changes_of_tone_are_counted(wav, expected):
    # a frame of 171 ms that holds two notes has either as its strongest, or one between them
    assert band.tone_changes(wav) == pytest.approx(expected, rel=0.15, abs=0.01)
    noisy = wav + 1e-3 * np.random.default_rng(1).normal(size=len(wav))
    assert band.tone_changes(noisy) == pytest.approx(expected, rel=0.2, abs=0.02)


def test_what_jumps_within_its_notes_changes_more_often():
    drawn = np.random.default_rng(3).choice([55.0, 82.4, 110.0, 164.8], size=40)
    restless = np.concatenate([0.1 * np.sin(2 * np.pi * f * TIME[: RATE // 10]) for f in drawn])
    assert band.tone_changes(restless) > 3
    assert band.tone_changes(np.zeros(RATE)) is None
    assert band.tone_changes(np.zeros(10)) is None, "shorter than a frame"


def test_strokes_above_the_tones_are_heard_in_few_frames():
    hum = 0.1 * np.sin(2 * np.pi * 220 * TIME[:RATE])
    struck = hum.copy()
    stroke = np.random.default_rng(0).normal(size=RATE // 50)  # 20 ms of white noise, a bin of which is 1 / 12 kHz of it
    struck[RATE // 2 :][: len(stroke)] += 0.1 * stroke
    level = band.stroke_level(struck)
    # 5.5 of 12 kHz of .01 against .005 of the hum and 2 % of .01
    assert level == pytest.approx(10 * np.log10(0.01 * 5.5 / 12 / (0.005 + 0.02 * 0.01)), abs=1.5)
    assert band.stroke_level(hum) < -60 < -30 < level
    assert band.stroke_level(4 * struck) == pytest.approx(level, abs=0.01), "how loud it is does not count"
    assert band.stroke_level(0 * hum) is None and band.stroke_level(hum[:0]) is None


def test_tones_measure_themselves():
    heard = band.features(tones(100, level=0.5))
    np.testing.assert_allclose(heard["level"], 0.5 / np.sqrt(2), rtol=1e-3)
    np.testing.assert_allclose(heard["bass"][1:-1], 0, atol=0.1)  # all of the power


def test_a_song_that_dies_shows_it_minute_by_minute():
    seconds = 150
    loud = np.tile(BASS + CHORD, -(-seconds * RATE // len(TIME)))[: seconds * RATE]
    loud[90 * RATE :] = 0
    found = minutes.of_sound(loud, seconds)
    assert [row["bass"] for row in found] == [1, 0.5, 0]
    assert [round(row["silence_share"], 1) for row in found] == [0, 0.5, 1]
    assert found[0]["loudness_lufs"] > -30 and found[2]["loudness_lufs"] is None
    assert minutes.count(150) == 3 and minutes.count(149) == 2 and minutes.count(80) == 1 and minutes.count(5) == 1
    assert minutes.count(140) == 2  # the rest is too short for a minute


def test_windows_belong_to_the_minute_in_which_they_begin():
    windows = [dict.fromkeys(minutes.FROM_WINDOWS, float(i)) for i in range(9)]
    windows[8]["beat_f1"] = None
    rows = minutes.of_windows(windows, Plan(20, 9))
    assert [row["chroma_vocal"] for row in rows] == [1, 4, 7]
    assert rows[2]["beat_f1"] == 6.5
    both = minutes.means([rows, rows[:2]])
    assert [row["songs"] for row in both] == [2, 2, 1] and both[0]["chroma_vocal"] == 1
    assert measures.mean([None]) is None and minutes.means([]) == []
