"""Separation with demucs itself, on minute networks of random weights saved as its published files are."""

import hashlib
import io
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from accompgen.data import separate
from accompgen.data.separate import SeparationError, Separator, load_separator

pytest.importorskip("demucs", reason="demucs is not installed (extra `separate`)")
SOURCES = ["drums", "bass", "other", "vocals"]


@pytest.fixture(scope="module")
def model():
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(0)
    sizes = dict(channels=8, depth=2, nfft=512, t_layers=1, t_heads=2, bottom_channels=16, segment=1, samplerate=8000)
    return HTDemucs(SOURCES, **sizes).eval(), sizes


@pytest.fixture
def files(model, tmp_path):
    """The same weights as .safetensors, as .th with its checksum, and as a bag of both."""
    network, sizes = model
    about = {"klass": "demucs.htdemucs.HTDemucs", "args": json.dumps([SOURCES]), "kwargs": json.dumps(sizes)}
    state = {name: tensor.clone().contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, tmp_path / "abc.safetensors", metadata=about)
    buffer = io.BytesIO()
    package = {"klass": type(network), "args": (SOURCES,), "kwargs": sizes, "state": state, "training_args": {"seed": 1}}
    torch.save(package, buffer)
    th = tmp_path / f"def-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.th"
    th.write_bytes(buffer.getvalue())
    (tmp_path / "two.yaml").write_text("models: ['abc', 'def']\n")
    return tmp_path / "abc.safetensors", th, tmp_path


def mixture(seconds=1.5, rate=16_000, channels=2):
    return np.random.default_rng(0).normal(0, 0.1, (channels, round(seconds * rate))).astype(np.float32)


def test_voice_and_rest_add_up_to_the_mixture(model):
    from accompgen import audio

    voice, rest = Separator(model[0]).split(mixture(), 16_000)
    assert voice.shape == rest.shape == (2, 12_000) and voice.dtype == np.float32
    assert np.abs(voice + rest - audio.resample(mixture(), 16_000, 8000)).max() < 1e-6
    assert np.std(voice) > 1e-6
    again, _ = Separator(model[0]).split(mixture(), 16_000)
    assert np.array_equal(voice, again)
    mono, _ = Separator(model[0]).split(mixture(channels=1), 16_000)
    assert mono.shape == (2, 12_000)


def test_louder_in_is_louder_out(model):
    voice, _ = Separator(model[0]).split(mixture(), 8_000)
    half, _ = Separator(model[0]).split(mixture() / 2, 8_000)
    assert np.allclose(half, voice / 2, atol=1e-4 * np.abs(voice).max())


def test_every_kind_of_file_gives_the_same_model(files, model):
    expected = Separator(model[0]).split(mixture(), 8_000)[0]
    for path in files:
        found = load_separator(str(path)).split(mixture(), 8_000)[0]
        assert np.allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_a_file_that_would_run_code_is_refused(files, tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").write_text, ("x",))

    torch.save({"klass": Evil(), "args": (), "kwargs": {}, "state": {}}, tmp_path / "evil.th")
    save_file({"a": torch.zeros(1)}, tmp_path / "evil.safetensors", metadata={"klass": "subprocess.Popen", "args": "[]"})
    for name in ("evil.th", "evil.safetensors"):
        with pytest.raises(SeparationError, match=name):
            load_separator(str(tmp_path / name))
    assert not (tmp_path / "ran").exists()


def test_weights_that_cannot_be_used_are_named(files, tmp_path):
    _, th, folder = files
    altered = bytearray(th.read_bytes())
    altered[len(altered) // 2] ^= 1
    th.write_bytes(altered)
    with pytest.raises(SeparationError, match="(?i)checksum"):
        load_separator(str(th))
    with pytest.raises(SeparationError, match="no such file"):
        load_separator(str(tmp_path / "none.th"))
    (folder / "two.yaml").write_text("models: ['abc', 'ghi']\n")
    with pytest.raises(SeparationError, match="no ghi.safetensors"):
        load_separator(str(folder))
    (folder / "three.yaml").write_text("models: ['abc']\n")
    with pytest.raises(SeparationError, match="holds 2 .yaml files"):
        load_separator(str(folder))


def test_a_model_without_a_voice_is_refused():
    class Instruments:
        sources = ["drums", "bass"]

    with pytest.raises(SeparationError, match="knows drums, bass; it needs vocals"):
        Separator(Instruments())


def test_the_name_tells_one_separator_from_another(files):
    assert separate.describe("htdemucs") == "htdemucs"
    assert separate.describe(str(files[0])).startswith("abc.safetensors abc.safetensors:")
    assert len({separate.describe(str(path)) for path in files}) == 3
