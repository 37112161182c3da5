"""Peaks above what a stem's level bears are made softer; nothing else is."""

import numpy as np
import pytest

from accompgen import audio
from accompgen.checkpoint import Checkpoint, find_checkpoint, read_checkpoint, read_graph
from accompgen.component import CheckpointError
from accompgen.generation.limiter import LIMIT_SECONDS, level_of, limited, smoothed
from accompgen.generation.settings import faders_of, headroom_of

RATE = 48_000


def strokes(loudness, seconds=4.0, every=0.25, rate=RATE):
    """Bursts of noise that die away, [2, T]: each so loud as said, in turn."""
    random = np.random.default_rng(0)
    sound = np.zeros((2, round(seconds * rate)), np.float32)
    burst = np.exp(-np.arange(round(0.2 * rate)) / (0.03 * rate))
    for turn, start in enumerate(range(0, sound.shape[1] - len(burst), round(every * rate))):
        noise = random.uniform(-1, 1, (2, len(burst)))
        sound[:, start : start + len(burst)] += loudness[turn % len(loudness)] * burst * noise
    return sound


def above_level(sound, rate=RATE):
    return audio.decibel(audio.peak(sound) / level_of(sound, rate))


@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize("headroom", [14.0, 16.0])
def test_the_loudest_strokes_alone_are_softer(rate, headroom):
    sound = strokes([0.1, 0.1, 0.1, 0.4], rate=rate)
    even, softer = limited(sound, rate, headroom)
    assert above_level(sound, rate) > headroom + 1
    assert above_level(even, rate) == pytest.approx(headroom, abs=0.02)
    assert softer == pytest.approx(audio.decibel(audio.peak(sound) / audio.peak(even)), abs=0.1) and softer > 1
    loud = np.abs(sound).max(axis=0) > audio.peak(even)
    reach = round(LIMIT_SECONDS * rate) + rate // 2_000
    near = np.convolve(loud, np.ones(2 * reach + 1), "same") > 0.5
    assert np.array_equal(even[:, ~near], sound[:, ~near]) and near.mean() < 0.25


def test_what_is_limited_stays_as_it_is():
    even, _ = limited(strokes([0.1, 0.1, 0.4]), RATE, 15.0)
    again, softer = limited(even, RATE, 15.0)
    assert softer < 0.02 and np.allclose(again, even, atol=2e-3 * audio.peak(even))
    sound = strokes([0.1])
    assert limited(sound, RATE, 30.0)[0] is sound


def test_gains_are_those_of_both_channels_and_slow():
    sound = strokes([0.1, 0.1, 0.4])
    sound[1] *= 0.5
    even, _ = limited(sound, RATE, 15.0)
    gain = even / np.where(np.abs(sound) < 1e-4, np.nan, sound)
    assert np.nanmax(np.abs(gain[0] - gain[1])) < 1e-3
    known = ~np.isnan(gain[0])
    steps = np.abs(np.diff(np.interp(np.arange(len(known)), np.flatnonzero(known), gain[0, known])))
    assert steps.max() < 2 / (LIMIT_SECONDS * RATE) and np.nanmax(gain) <= 1.001


def test_rests_do_not_make_a_stem_softer():
    sound = strokes([0.1, 0.1, 0.1, 0.3])
    rested = np.concatenate([np.zeros_like(sound), sound, 1e-5 * np.ones_like(sound)], axis=1)
    even = limited(rested, RATE, 15.0)[0][:, sound.shape[1] : 2 * sound.shape[1]]
    assert np.allclose(even, limited(sound, RATE, 15.0)[0], atol=1e-3)


def test_a_part_is_held_to_the_level_of_its_stem():
    loud = 0.1 * strokes([0.1, 0.4])
    part, softer = limited(loud, RATE, 12.0, level=0.5 * audio.peak(loud) / 10 ** (12 / 20))
    assert audio.peak(part) == pytest.approx(0.5 * audio.peak(loud), rel=0.02) and softer == pytest.approx(6.02, abs=0.1)
    # one that is louder than the rest of its stem keeps the peaks of its own level
    assert np.array_equal(limited(loud, RATE, 15.0, level=1e-6)[0], limited(loud, RATE, 15.0)[0])


@pytest.mark.parametrize("samples", [0, 1, 7, 300])
def test_short_and_silent_sounds(samples):
    silent = np.zeros((2, samples), np.float32)
    assert limited(silent, RATE, 20.0)[0] is silent
    click = np.ones((1, samples), np.float32)
    assert limited(click, RATE, 20.0)[0].shape == click.shape


def test_smooth_gains_are_nowhere_above_what_is_needed():
    random = np.random.default_rng(0)
    for samples, step in ((44_100, 44), (44_101, 44), (300, 8), (3, 44)):
        needed = np.where(random.random(samples) < 0.002, random.random(samples), 1).astype(np.float32)
        needed[[0, -1]] = 0.5, 0.4
        smooth = smoothed(needed, step)
        assert smooth.shape == needed.shape and (smooth <= needed + 1e-6).all()
    flat = np.ones(2_000, np.float32)
    flat[1_000] = 0.5
    assert smoothed(flat, 10).min() == pytest.approx(0.5, abs=1e-6)
    assert (smoothed(flat, 10)[[500, 1_500]] == 1).all()


@pytest.mark.parametrize(
    ("read", "entry", "found", "said"),
    [
        (headroom_of, "headroom_db", {"drum": 20.0}, "drum"),
        (headroom_of, "headroom_db", {"drums": 3.0}, "drums has 3.0; expected 6 to 60 dB"),
        (headroom_of, "headroom_db", {"drums": True}, "drums has True; expected 6 to 60 dB"),
        (headroom_of, "headroom_db", {"drums": "20"}, "drums has '20'; expected 6 to 60 dB"),
        (headroom_of, "headroom_db", [20.0], "expected dB by stem"),
        (faders_of, "fader_db", {"kick": 2.0}, "kick"),
        (
            *(faders_of, "fader_db", {"bass": -21}),
            "fader_db in its config.json: bass has -21; expected -20 to 20 dB, such as 2",
        ),
        (faders_of, "fader_db", {"bass": None}, "bass has None"),
        (faders_of, "fader_db", "loud", "expected dB by stem"),
    ],
)
def test_decibels_of_stems_that_cannot_be_are_named(band_checkpoint, read, entry, found, said):
    with pytest.raises(CheckpointError, match=said):
        read(Checkpoint(band_checkpoint, {entry: found}, read_graph(band_checkpoint)))


def test_the_shipped_band_has_even_drums_as_loud_as_true_ones():
    band, pocket = (read_checkpoint(find_checkpoint(name)) for name in ("band", "pocket"))
    assert headroom_of(band) == {"drums": 19.0, "bass": 16.0, "harmony": 17.0} and headroom_of(pocket) == {}
    assert faders_of(band) == {"drums": 2.3, "bass": 0.3} and faders_of(pocket) == {}
