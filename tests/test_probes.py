"""The probes of the evaluation: what a stem holds, which kind a band is; the tempo of an output and beats on onsets."""

import numpy as np
import pytest
from evaluation_songs import RATE, band, tone

pytest.importorskip("librosa", reason="the probes need librosa: pip install 'accompgen[eval]'")

from accompgen.analysis import beats
from accompgen.evaluation import listen, mels, prompts, purity, trackers
from accompgen.evaluation.folders import EvaluationError

SECONDS = 4.0


def drums(rng):
    """Bursts of bright noise."""
    wav = np.zeros(round(SECONDS * RATE), np.float32)
    for time in np.arange(rng.uniform(0, 0.2), SECONDS - 0.2, 0.25):
        burst = np.diff(rng.normal(size=2401)) * np.exp(-np.arange(2400) / 400)
        wav[round(time * RATE) :][:2400] += 0.2 * burst.astype(np.float32)
    return wav


def notes(rng, pitches):
    """A tone or a chord, another each half second."""
    pieces = [sum(tone(pitch + rng.integers(5), 0.5) for pitch in pitches) for _ in range(round(2 * SECONDS))]
    return np.concatenate(pieces).astype(np.float32)


def stems(seed):
    rng = np.random.default_rng(seed)
    sounds = {"drums": drums(rng), "bass": notes(rng, (30,)), "harmony": notes(rng, (72, 76, 79))}
    return {stem: purity.cells(mels.mel_decibel(wav)) for stem, wav in sounds.items()}


@pytest.fixture(scope="module")
def probe():
    resting = {stem: np.zeros((100, mels.BANDS), np.float32) for stem in purity.CLASSES}
    for power in resting.values():
        power[-1] = 1.0
    return purity.train([*(stems(seed) for seed in range(3)), resting], steps=80)


def test_what_is_mixed_into_a_stem_shows(probe, tmp_path):
    held = [stems(10), stems(11)]
    calibration = purity.calibrate(probe, held)
    for stem in purity.CLASSES:
        known = calibration[stem]
        assert known["songs"] == 2 and known["true"] < 0.05 and known["mixed"] > 1.5 * known["true"], (stem, known)
        assert probe.calibrated(known["true"], stem) == 0 and probe.calibrated(known["mixed"], stem) == pytest.approx(0.1)
    own, other = held[0]["bass"], held[0]["drums"]
    assert probe.outside(own, "drums") > 10 * probe.outside(own, "bass")  # a bass in the place of the drums
    assert probe.outside(100 * own, "bass") == pytest.approx(probe.outside(own, "bass"), abs=1e-3)  # whatever its level
    assert probe.outside(0 * own, "bass") is None
    half = probe.outside(own / own.sum() + other / other.sum(), "bass")
    assert probe.calibrated(half, "bass") > 0.2 and probe.calibrated(None, "bass") is None
    probe.save(tmp_path / "probe.safetensors")
    again = purity.load(tmp_path / "probe.safetensors")
    assert again.calibration == calibration and again.outside(own, "bass") == probe.outside(own, "bass")
    with pytest.raises(EvaluationError, match="no probe of prompts"):
        prompts.load(tmp_path / "probe.safetensors")
    with pytest.raises(EvaluationError, match="bass, harmony"):
        purity.train([{"drums": held[0]["drums"]}], steps=1)


def test_kinds_of_bands_are_told_apart_on_compositions_not_learnt(tmp_path):
    pytest.importorskip("sklearn", reason="the probe of prompts needs scikit-learn: pip install 'accompgen[eval]'")
    kinds, rows, groups = [], [], []
    for song in range(8):
        rng = np.random.default_rng(song)
        for kind, wav in (("piano", notes(rng, (60, 64, 67))), ("harp", notes(rng, (72, 76)))):
            wav = 0.3 * wav + drums(rng) if song % 4 > 1 else wav  # drums tell nothing of who plays the chords
            rows.append(prompts.statistics(mels.mel_decibel(wav)))
            kinds.append(kind)
            groups.append(f"composition {song // 2}")
    found = prompts.train(np.stack(rows), kinds, groups)
    assert found.accuracy == 1 and found.confusion.sum() == 16 and set(found.names) == {"piano", "harp"}
    assert found.recognise(np.stack(rows)) == kinds
    quiet = prompts.statistics(mels.mel_decibel(0.25 * notes(np.random.default_rng(0), (60, 64, 67))))
    assert np.allclose(quiet, rows[0], atol=0.2)
    # labels that say nothing of the sound are not recognised
    assert prompts.train(np.stack(rows), list(np.roll(kinds, 1))[:8] + kinds[8:], groups).accuracy < 0.8
    found.save(tmp_path / "probe.safetensors")
    assert prompts.load(tmp_path / "probe.safetensors").recognise(np.stack(rows)) == kinds
    with pytest.raises(EvaluationError, match="two of both"):
        prompts.train(np.stack(rows), ["piano"] * 16, groups)


def test_kinds_are_those_of_the_songs_json_and_of_prompts():
    for name, (asked, _) in prompts.CLASSES.items():
        assert prompts.asked_class(f"Slow  {asked.upper()}, in C major") == name
    assert prompts.asked_class("kazoo") is None and prompts.class_of({}) is None and len(prompts.CLASSES) == 8


def test_the_tempo_is_finer_than_the_trackers_grid():
    true = np.round(np.arange(0, 30, 60 / 97.3), 2)
    assert beats.steady_tempo(true) == pytest.approx(97.3, rel=1e-3)
    assert beats.steady_tempo(np.delete(true, [3, 10])) == pytest.approx(97.3, rel=1e-3)
    assert beats.steady_tempo(np.sort([*true, 5.05, 9.33])) == pytest.approx(97.3, rel=1e-3)
    assert beats.steady_tempo([0.0, 1.0]) is None
    assert beats.tempo_met(98.9, 97.3) == (1, 0) and beats.tempo_met(99.9, 97.3) == (0, 0)
    assert beats.tempo_met(195, 97.3) == beats.tempo_met(48.5, 97.3) == (0, 1) and beats.tempo_met(None, 97.3) == (0, 0)
    heard = trackers.find_tracker("librosa")(band(60, 8.0, 0.5))
    assert beats.tempo_met(beats.steady_tempo(heard), 120) == (1, 0)
    half = listen.beats(band(60, 8.0, 0.5), near_bpm=60)
    assert beats.tempo_met(beats.steady_tempo(half), 60) == (1, 0)


def test_beats_on_onsets_stand_beside_chance():
    grid = np.arange(0, 20, 0.5)
    share, chance = beats.beats_on_onsets(grid + 0.02, grid)
    assert share == 1 and 0.2 < chance < 0.35
    share, chance = beats.beats_on_onsets(grid + 0.25, grid)
    assert share == 0 and 0.2 < chance < 0.35
    assert beats.beats_on_onsets(grid, []) is None and beats.beats_on_onsets(grid[:2], grid) is None
