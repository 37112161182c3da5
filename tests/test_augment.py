"""Augmented copies: what was asked for happens, to both waves alike, and follows from seed, song and copy alone."""

import numpy as np
import pytest

from accompgen import audio
from accompgen.config import ConfigError, from_dict
from accompgen.data.augment import Augment, Change, apply, draw

RATE = 24_000
ALWAYS = Augment(pitch_probability=1.0, speed_probability=1.0, gain_probability=1.0)


def pluck(hz, seconds=2.0, every=0.5, level=0.3):
    """Notes at 0.25 s, 0.25 + every, ...: each a decaying sine."""
    time = np.arange(round(seconds * RATE)) / RATE
    since = np.where(time >= 0.25, (time - 0.25) % every, every)
    return (level * np.sin(2 * np.pi * hz * time) * np.exp(-12 * since) * (time >= 0.25)).astype(np.float32)


def peak_hz(wav):
    spectrum = np.abs(np.fft.rfft(wav * np.hanning(len(wav)), 1 << 18))
    return spectrum.argmax() * RATE / (1 << 18)


def onsets(wav):
    """Seconds at which the level jumps."""
    level = np.sqrt(np.convolve(wav**2, np.ones(480) / 480, mode="full")[: len(wav)][::240])
    rise = np.maximum(np.diff(level), 0)
    peaks = [i for i in range(5, len(rise) - 5) if rise[i] == rise[i - 5 : i + 6].max() > 0.3 * rise.max()]
    return np.array(peaks) * 240 / RATE


@pytest.mark.parametrize(("semitones", "speed"), [(3.0, 1.0), (-4.0, 1.0), (0.0, 0.8), (0.0, 1.2), (2.0, 1.1)])
def test_pitch_and_speed_are_changed_each_by_itself_and_in_both_waves_alike(semitones, speed):
    pytest.importorskip("librosa")
    vocal, band = apply(Change(semitones, speed), pluck(440), pluck(220), RATE)
    assert len(vocal) == len(band) == round(2 * RATE / speed)
    ratio = 2 ** (semitones / 12)
    assert peak_hz(vocal) == pytest.approx(440 * ratio, rel=0.01)
    assert peak_hz(band) == pytest.approx(220 * ratio, rel=0.01)
    expected = np.array([0.25, 0.75, 1.25, 1.75]) / speed
    for wav in (vocal, band):
        assert onsets(wav) == pytest.approx(expected, abs=0.05)  # a window of the phase vocoder lasts 0.085 s
    assert onsets(vocal) == pytest.approx(onsets(band), abs=0.011)


def test_gain_is_each_its_own_and_never_clips():
    vocal, band = apply(Change(vocal_decibel=-6.0, band_decibel=20.0), pluck(440), pluck(220, level=0.8), RATE)
    assert audio.peak(vocal) == pytest.approx(audio.peak(pluck(440)) * 10**-0.3, rel=1e-5)
    assert audio.peak(band) == pytest.approx(audio.PEAK_LIMIT, rel=1e-5)
    untouched = pluck(440)
    assert apply(Change(), untouched, untouched, RATE)[0] is untouched


def test_a_draw_follows_from_seed_song_and_copy():
    first = draw(ALWAYS, 0, "song", 1, separated=True)
    assert first == draw(ALWAYS, 0, "song", 1, separated=True)
    others = [draw(ALWAYS, 1, "song", 1, True), draw(ALWAYS, 0, "other", 1, True), draw(ALWAYS, 0, "song", 2, True)]
    assert len({first.semitones, *(change.semitones for change in others)}) == 4


def test_draws_keep_to_their_ranges_and_probabilities():
    config = Augment(pitch_probability=0.25, pitch_semitones=(1.0, 2.0), speed_probability=0.0, noise_sigma=(0.01, 0.03))
    changes = [draw(config, 0, f"song-{number}", 1, separated=True) for number in range(1000)]
    pitched = [change.semitones for change in changes if change.semitones]
    assert 200 < len(pitched) < 300 and 1 <= min(pitched) < 1.1 and 1.9 < max(pitched) <= 2
    assert {change.speed for change in changes} == {1.0}
    assert all(0.01 <= change.noise_sigma <= 0.03 for change in changes)


def test_only_separated_vocals_get_their_own_noise_and_nothing_else_depends_on_it():
    clean, separated = (draw(ALWAYS, 0, "song", 1, value) for value in (False, True))
    assert clean.noise_sigma is None and separated.noise_sigma is not None
    assert separated.values() == clean.values() | {"noise_sigma": separated.noise_sigma}
    assert Change().values() == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"copies": 0}, "copies is 0"),
        ({"pitch_probability": 1.5}, "pitch_probability is 1.5; expected 0 to 1"),
        ({"speed": [1.2, 0.8]}, r"speed is \[1.2, 0.8\]"),
        ({"noise": 0.1}, "unknown key 'noise'"),
        ({"speed": [0.8]}, "speed has 1 values; expected 2"),
    ],
)
def test_values_that_cannot_be_used_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(Augment, values, "augment.toml")


def test_a_tape_changes_pitch_and_tempo_together_in_whole_semitones_and_only_resamples(monkeypatch):
    monkeypatch.setattr("librosa.effects.time_stretch", None)  # calling it would fail
    config = Augment(pitch_probability=1.0, speed_probability=1.0, gain_probability=0.0, tape_probability=1.0)
    changes = [draw(config, 0, "song", copy, separated=False) for copy in range(60)]
    assert {change.semitones for change in changes} == {-3, -2, -1, 1, 2, 3}
    for change in changes[:6]:
        vocal, band = apply(change, pluck(440), pluck(220), RATE)
        ratio = 2 ** (change.semitones / 12)
        assert len(vocal) == len(band) == round(2 * RATE / ratio)
        assert peak_hz(vocal) == pytest.approx(440 * ratio, rel=0.002)
        assert onsets(vocal) == pytest.approx(np.array([0.25, 0.75, 1.25, 1.75]) / ratio, abs=0.011)


def test_a_tape_is_drawn_as_often_as_asked_and_shifts_no_other_draw():
    half = Augment(tape_probability=0.5, pitch_probability=0.0, speed_probability=0.0)
    drawn, without = (
        [draw(c, 0, "s", n, True) for n in range(400)] for c in (half, Augment(pitch_probability=0.0, speed_probability=0.0))
    )
    assert 160 < sum(change.speed != 1 for change in drawn) < 240
    assert [c.noise_sigma for c in drawn] == [c.noise_sigma for c in without]
