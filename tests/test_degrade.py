"""Degraded voices: what is added has the level that was asked for, and the voice keeps its place."""

import numpy as np
import pytest

from accompgen.config import ConfigError, from_dict
from accompgen.data.augment import Augment, apply, draw
from accompgen.data.degrade import KINDS, LEVELS, Degradation, degrade, draw_degradation

pytest.importorskip("scipy", reason="degraded voices need scipy")
RATE = 24_000


def tones(*hz, seconds=2.0):
    time = np.arange(round(seconds * RATE)) / RATE
    return sum(0.2 * np.sin(2 * np.pi * f * time) for f in hz).astype(np.float32)


def rms(wav):
    return float(np.sqrt(np.mean(wav.astype(float) ** 2)))


def decibel(ratio):
    return 20 * np.log10(ratio)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "telephone"])
def test_what_is_added_has_its_level(kind):
    vocal, band = tones(440, 880), tones(98, 147, 1000)
    heard = degrade(vocal, band, Degradation(kind, -12.0, seed=3), RATE)
    assert heard.dtype == np.float32 and len(heard) == len(vocal)
    assert decibel(rms(heard - vocal) / rms(vocal)) == pytest.approx(-12, abs=1.5)
    again, other = (degrade(vocal, band, Degradation(kind, -12.0, seed), RATE) for seed in (3, 4))
    assert (again == heard).all() and (other != heard).any()


def test_a_telephone_passes_the_middle_alone():
    wave = tones(100, 1000, 6000)
    heard = degrade(wave, wave, Degradation("telephone", 0.0, seed=0), RATE)[RATE // 2 :]
    window = np.hanning(len(heard))
    before, after = (np.abs(np.fft.rfft(wav * window)) for wav in (wave[RATE // 2 :], heard))
    places = [round(hz * len(heard) / RATE) for hz in (100, 1000, 6000)]
    at = [after[place] / before[place] for place in places]
    assert at[0] < 0.05 and at[1] == pytest.approx(1, abs=0.05) and at[2] < 0.05


def test_residue_is_of_the_band_where_the_voice_is_loud():
    vocal, band = tones(440), tones(450)
    vocal[:RATE] = 0
    left = degrade(vocal, band, Degradation("residue", -15.0, seed=2), RATE) - vocal
    assert rms(left[RATE + 4000 :]) > 1.5 * rms(left[: RATE - 4000])
    alone = degrade(vocal, np.zeros_like(vocal), Degradation("residue", -15.0, seed=1), RATE)
    assert (alone == vocal).all()


def test_levels_are_drawn_in_their_ranges_and_kinds_alike():
    drawn = [draw_degradation(np.random.default_rng(seed)) for seed in range(300)]
    for kind in KINDS:
        levels = [degradation.decibel for degradation in drawn if degradation.kind == kind]
        assert 35 < len(levels) < 90
        assert LEVELS[kind][0] <= min(levels) <= max(levels) <= LEVELS[kind][1]
    with pytest.raises(ValueError, match="degradation 'wow' is none of white noise"):
        degrade(tones(440), tones(440), Degradation("wow", 0.0, 0), RATE)


def test_copies_are_degraded_as_often_as_asked_in_the_vocal_alone():
    others = {f"{name}_probability": 0.0 for name in ("gain", "pitch", "speed")}
    config = from_dict(Augment, {"degraded_probability": 0.5, **others}, "augment.toml")
    changes = [draw(config, 0, "song", copy, separated=False) for copy in range(200)]
    degraded = [change for change in changes if change.degradation]
    assert 70 < len(degraded) < 130
    values = degraded[0].values()
    assert set(values) == {"degradation"} and values["degradation"]["kind"] in KINDS
    vocal, band = apply(degraded[0], tones(440), tones(98), RATE)
    assert (vocal != tones(440)).any() and (band == tones(98)).all()
    with pytest.raises(ConfigError, match="degraded_probability is 1.5; expected 0 to 1"):
        Augment(degraded_probability=1.5)
