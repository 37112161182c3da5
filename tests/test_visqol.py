"""ViSQOL against a known order: the sound itself, its 6 kbps round trip, noise."""

import sys

import numpy as np
import pytest
import torch
from band_like import band

pytest.importorskip("visqol", reason="the extra `visqol` (visqol-python) is not installed")

from accompgen import audio
from accompgen.evaluation import runner, visqol
from accompgen.tokens.decoder import round_trip
from accompgen.tokens.load import load_codec

RATE = 24000
SECONDS = 2.0


@pytest.fixture(scope="module", autouse=True)
def without_numba():
    """Its numpy path, since compiling takes longer than all scores here."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.partition(".")[0] == "visqol"]:
            patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, "numba", None)
        visqol._judge.cache_clear()
        yield
    visqol._judge.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "visqol"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def truth():
    return band(SECONDS, RATE, bpm=117.0)


def test_the_order_is_that_of_the_damage(truth):
    tokenizer, decoder = load_codec("pocket", "cpu")
    back = round_trip(torch.from_numpy(truth), tokenizer, decoder).numpy()
    back = audio.resample(audio.to_mono(back), decoder.sample_rate, RATE)
    noise = np.random.default_rng(0).normal(size=len(truth)).astype(np.float32) * truth.std()
    same, trip, nothing = (visqol.score(truth, wav, RATE) for wav in (0.5 * truth, back, noise))
    assert same == pytest.approx(4.73, abs=0.01)
    assert 1.0 <= nothing < 2.0 < trip < same - 0.2


def test_silence_is_not_the_best(truth):
    silence = np.zeros_like(truth)
    assert visqol.score(truth, silence, RATE) == visqol.WORST
    assert visqol.score(silence, truth, RATE) is None
    assert visqol.score(truth[: RATE // 2], truth[: RATE // 2], RATE) is None


def test_evaluation_scores_a_round_trip_once(truth, tmp_path, monkeypatch):
    for folder in ("vocals", "reference", "system"):
        (tmp_path / folder).mkdir()
        audio.write(tmp_path / folder / "song.wav", truth, RATE)
    place = {"system": tmp_path / "system"}, tmp_path / "vocals", tmp_path / "reference"
    settings = {"metrics": ("visqol",), "window_seconds": 2.0, "progress": False}
    settings["cache"] = tmp_path / "cache"
    results = runner.evaluate(*place, **settings)
    assert results["rows"]["system"]["visqol"]["value"] == pytest.approx(4.73, abs=0.01)
    assert results["versions"]["visqol-python"] and "visqol" not in runner.METRICS
    monkeypatch.setattr(visqol, "score", None)  # whatever is scored again fails
    assert runner.evaluate(*place, **settings)["songs"] == results["songs"]


def test_without_the_package_the_extra_is_named(truth, monkeypatch):
    monkeypatch.setitem(sys.modules, "visqol", None)
    visqol._judge.cache_clear()
    with pytest.raises(ImportError, match=r"pip install 'accompgen\[visqol\]'"):
        visqol.score(truth, truth, RATE)
    visqol._judge.cache_clear()
