"""COCOLA: the network against its reference implementation, names and classes of the checkpoint file, what it hears."""

import enum
import sys
import types

import evaluation_songs
import numpy as np
import pytest
import torch

pytest.importorskip("librosa", reason="COCOLA's front end needs librosa: pip install 'accompgen[eval]'")

from accompgen import audio
from accompgen.component import CheckpointError
from accompgen.evaluation import coherence, listen


@pytest.fixture(scope="module")
def model():
    """Random weights with norms that have seen something, so that no layer is the identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = coherence.Cocola()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.normal_(module.running_mean, std=0.1)
                torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        torch.nn.init.normal_(model.weight, std=0.05)
    return model.eval()


def published(model):
    """The state under the names of the authors' checkpoint."""
    names = {"network.": "encoder.encoder.model.0.", "projection.": "encoder.projection.", "weight": "similarity.w"}
    state = {}
    for name, value in model.state_dict().items():
        start = next((own for own in names if name.startswith(own)), "")
        state[names.get(start, "") + name.removeprefix(start)] = value
    return state


def test_network_against_the_reference_implementation(model):
    """efficientnet_pytorch is what the authors built on; the same weights must give the same 1280 numbers."""
    reference = pytest.importorskip("efficientnet_pytorch", reason="the reference implementation is not installed")
    network = reference.EfficientNet.from_name("efficientnet-b0", include_top=False, in_channels=2)
    network.load_state_dict(model.network.state_dict())
    x = torch.randn(2, 2, 64, 501, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(model.network(x), network.eval()(x).flatten(1), rtol=1e-4, atol=1e-5)


def test_parameters_are_those_of_efficientnet_b0(model):
    """4 007 548 parameters without the classifier and with three channels (Tan and Le); one channel less is 288 fewer."""
    assert sum(p.numel() for p in model.network.parameters()) == 4_007_548 - 288
    assert model.network(torch.zeros(1, 2, 64, 501)).shape == (1, 1280)


def test_checkpoint_is_read_without_importing_what_it_names(model, tmp_path, monkeypatch):
    module = types.ModuleType("contrastive_model.constants")

    class ModelInputType(enum.Enum):
        DOUBLE = "double_channel_harmonic_percussive"

    ModelInputType.__module__, ModelInputType.__qualname__ = module.__name__, "ModelInputType"
    module.ModelInputType = ModelInputType
    monkeypatch.setitem(sys.modules, "contrastive_model", types.ModuleType("contrastive_model"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    about = {"embedding_dim": 512, "input_type": ModelInputType.DOUBLE}
    torch.save({"state_dict": published(model), "hyper_parameters": about, "epoch": 3}, tmp_path / "cocola.ckpt")
    monkeypatch.delitem(sys.modules, module.__name__)
    monkeypatch.delitem(sys.modules, "contrastive_model")
    read = coherence.load(tmp_path / "cocola.ckpt")
    wav = audio.resample(evaluation_songs.band(60, 5.0, 0.5), 24000, 16000)
    assert torch.equal(read.embed(wav), model.embed(wav))
    assert "contrastive_model" not in sys.modules


def test_other_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="gladia-research-group"):
        coherence.load(tmp_path / "none.ckpt")
    torch.save({"state_dict": {"similarity.w": torch.zeros(3)}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="another network"):
        coherence.load(tmp_path / "other.ckpt")
    torch.save({"weights": {}}, tmp_path / "empty.ckpt")
    with pytest.raises(CheckpointError, match="no checkpoint of COCOLA"):
        coherence.load(tmp_path / "empty.ckpt")


def test_harmonic_and_percussive_parts_are_told_apart():
    rate = coherence.RATE
    time = np.arange(5 * rate) / rate
    held = 0.3 * np.sin(2 * np.pi * 500 * time).astype(np.float32)
    struck = np.zeros_like(held)
    struck[:: rate // 2] = 0.9
    mels = listen.harmonic_percussive_mels(held + struck, rate)
    assert mels.shape == (2, 64, 501) and mels.max() == 0 and mels.min() >= -80
    band = mels[0].mean(axis=1).argmax()
    assert mels[0, band].mean() > mels[1, band].mean() + 10  # the tone is in the first channel
    strokes, between = mels[1][:, 50::50].mean(), mels[1][:, 75::50].mean()
    assert strokes > between + 20


def test_score_is_bilinear(model):
    first, second = (audio.resample(evaluation_songs.band(root, 5.0, 0.5), 24000, 16000) for root in (60, 65))
    a, b = model.embed(first), model.embed(second)
    assert a.shape == (512,) and a.abs().max() <= 1 and not torch.allclose(a, b)
    expected = sum(a[i] * model.weight.detach()[i, j] * b[j] for i in (0, 7) for j in (3, 500))
    rest = model.weight.detach().clone()
    for i in (0, 7):
        for j in (3, 500):
            rest[i, j] = 0
    assert model.score(first, second) == pytest.approx(float(expected + a @ rest @ b), rel=1e-4)


def test_evaluation_scores_songs_with_it(model, tmp_path):
    pytest.importorskip("mir_eval", reason="the evaluation needs mir_eval: pip install 'accompgen[eval]'")
    from accompgen.evaluation import runner

    torch.save({"state_dict": published(model)}, tmp_path / "cocola.ckpt")
    songs = evaluation_songs.make_songs(tmp_path, count=2, seconds=5.0)
    results = runner.evaluate(
        {"truth": songs / "reference"}, songs / "vocals", songs / "reference", metrics=("sanity",), window_seconds=5.0,
        cocola=tmp_path / "cocola.ckpt", cache=tmp_path / "cache", device="cpu", progress=False,
    )  # fmt: skip
    vocal, band = (
        audio.resample(audio.read(songs / part / "song1.wav")[0][0], 24000, 16000) for part in ("vocals", "reference")
    )
    assert results["songs"]["truth"]["song1"]["cocola"] == pytest.approx(model.score(vocal, band), rel=1e-4)
    assert results["rows"]["truth"]["cocola"]["n"] == 2 and len(results["cocola"]) == 64
