"""Each sanity measure on a sound that has just that fault, and on music that has none."""

import numpy as np
import pytest

from accompgen import audio
from accompgen.evaluation import sanity
from accompgen.evaluation.listen import RATE

SECONDS = 6
NOISE = (0.1 * np.random.default_rng(0).normal(size=SECONDS * RATE)).astype(np.float32)


def tune(rng, seconds=SECONDS):
    """A melody of plucked notes, four a second, each at random."""
    wav = np.zeros(round(seconds * RATE), np.float32)
    time = np.arange(RATE // 2) / RATE
    for start in range(0, len(wav) - RATE // 2, RATE // 4):
        frequency = 110 * 2 ** (rng.integers(0, 24) / 12)
        note = sum(np.sin(2 * np.pi * h * frequency * time) / h for h in range(1, 9)) * np.exp(-6 * time)
        wav[start : start + len(note)] += 0.1 * note.astype(np.float32)
    return wav


MUSIC = tune(np.random.default_rng(1))


def measure(mono, rate=RATE, seconds=SECONDS):
    measures = sanity.check(np.atleast_2d(mono), rate, seconds)
    return measures, set(sanity.flags(measures))


def test_music_has_no_fault():
    measures, found = measure(MUSIC)
    assert found == set()
    assert measures["loudness_lufs"] == pytest.approx(audio.loudness(MUSIC[None], RATE))
    assert measures["peak_dbfs"] == pytest.approx(audio.decibel(audio.peak(MUSIC)))


def test_silence():
    measures, found = measure(np.zeros(SECONDS * RATE, np.float32))
    assert found == {"silence_share"} and measures["silence_share"] == 1
    assert measures["loudness_lufs"] is None and measures["flatness"] is None
    half = np.concatenate([MUSIC[: len(MUSIC) // 2], np.zeros(len(MUSIC) // 2, np.float32)])
    assert measure(half)[0]["silence_share"] == pytest.approx(0.5, abs=0.05)


def test_clipping_needs_a_run_at_full_scale():
    assert measure(np.clip(20 * MUSIC, -1, 1))[1] >= {"clipped_share"}
    touched = MUSIC.copy()
    touched[::1000] = 1.0  # single samples at full scale are no clipping
    assert measure(touched)[0]["clipped_share"] == 0
    flat = np.zeros((1, 1000), np.float32)
    flat[0, 100:105] = 1
    assert sanity.clipped_share(flat) == pytest.approx(5 / 1000)


def test_dc_offset_of_either_channel():
    measures, found = measure(np.stack([MUSIC, MUSIC + 0.05]))
    assert found == {"dc_offset"} and measures["dc_offset"] == pytest.approx(0.05, abs=0.002)


def test_wrong_length():
    measures, found = measure(MUSIC, seconds=SECONDS + 1)
    assert found == {"length_error_seconds"} and measures["length_error_seconds"] == pytest.approx(1)


def test_a_loop_repeats():
    loop = np.tile(MUSIC[: 3 * RATE // 2], 4)
    measures, found = measure(loop)
    assert found == {"repetition"} and measures["repetition"] > 0.99 > measure(MUSIC)[0]["repetition"] + 0.1


def test_a_held_note_does_not_change():
    time = np.arange(SECONDS * RATE) / RATE
    organ = sum(0.1 / h * np.sin(2 * np.pi * h * 220 * time) for h in range(1, 9)).astype(np.float32)
    fading = organ * np.exp(-time / 4).astype(np.float32)
    assert measure(organ)[0]["held_share"] == measure(fading)[0]["held_share"] == 1
    assert "held_share" in measure(fading)[1]
    assert measure(MUSIC)[0]["held_share"] < 0.1


def test_noise_is_flat():
    measures, found = measure(NOISE)
    assert "flatness" in found and measures["flatness"] == pytest.approx(np.exp(-np.euler_gamma), abs=0.02)
    assert measure(MUSIC)[0]["flatness"] < 0.05


def test_measures_do_not_depend_on_the_rate_of_the_file():
    at_48k = audio.resample(MUSIC, RATE, 48000)
    low, high = measure(MUSIC)[0], measure(at_48k, rate=48000)[0]
    for name in ("silence_share", "repetition", "held_share", "flatness", "loudness_lufs"):
        assert high[name] == pytest.approx(low[name], rel=0.05, abs=0.01)
