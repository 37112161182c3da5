"""The semantic tokenizer: frame count, alignment, files."""

import math

import pytest
import torch

from accompgen.component import CheckpointError, save_component
from accompgen.tokens import hubert as hubert_module
from accompgen.tokens.hubert import Hubert, HubertConfig
from accompgen.tokens.hubert_weights import load_hubert
from accompgen.tokens.semantic import SemanticTokenizer, pad

pytest.importorskip("transformers", reason="the networks come from transformers")

PUBLISHED_FIELD = HubertConfig(
    conv_channels=(8,) * 7, width=16, layers=2, heads=2, feed_forward=32, position_taps=8, position_groups=4
)  # fmt: skip
TUNED = HubertConfig(
    conv_channels=(24, 16), conv_kernels=(1024, 4), conv_strides=(160, 2), conv_norm="layer", width=16, layers=2, heads=2,
    feed_forward=32, position_taps=8, position_groups=4, attention_frames=6,
)  # fmt: skip


def make(config, vocab=30):
    torch.manual_seed(0)
    return SemanticTokenizer(Hubert(config), 2, torch.randn(vocab, config.width))


def noise(samples, rows=1):
    return 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("config", (PUBLISHED_FIELD, TUNED))
def test_exactly_one_frame_for_every_320_samples_begun(config):
    tokenizer = make(config)
    for samples in (1, 319, 320, 321, 399, 400, 640, 15999, 16000, 16001, 16160, 16237):
        ids = tokenizer.encode(noise(samples, rows=2))
        assert ids.shape == (2, math.ceil(samples / 320)) and ids.dtype == torch.int64
        assert 0 <= ids.min() and ids.max() < tokenizer.vocab


@pytest.mark.parametrize("config", (PUBLISHED_FIELD, TUNED))
def test_padding_centres_each_frame_on_its_hop(config):
    wav = torch.zeros(1, 3200)
    wav[0, 4 * 320 + 160] = 1.0  # the middle of frame 4
    padded = pad(wav, config)
    seen = [
        abs(int(padded[0, s * 320 : s * 320 + config.field_samples].argmax()) - config.field_samples // 2)
        if padded[0, s * 320 : s * 320 + config.field_samples].any() else 10**6
        for s in range(10)
    ]  # fmt: skip
    assert seen.index(min(seen)) == 4 and min(seen) <= 1


def test_a_row_does_not_depend_on_its_batch():
    tokenizer = make(PUBLISHED_FIELD)
    wav = noise(9000, rows=3)
    together = tokenizer.encode(wav)
    for row in range(3):
        assert torch.equal(tokenizer.encode(wav[row : row + 1])[0], together[row])


def test_long_audio_has_the_units_of_the_whole_pass(monkeypatch):
    tokenizer = make(TUNED)
    wav = noise(16000 * 9 + 77)
    whole = tokenizer.encode(wav)
    monkeypatch.setattr(hubert_module, "CONV_SECONDS", 1)
    monkeypatch.setattr(hubert_module, "BLOCK_FRAMES", 64)
    assert torch.equal(tokenizer.encode(wav), whole)
    assert len(whole.unique()) > 5


def test_saved_and_loaded_gives_the_same_units(tmp_path):
    tokenizer = make(TUNED)
    tokenizer.save(tmp_path / "tokenizer")
    again = SemanticTokenizer.load(tmp_path / "tokenizer")
    wav = noise(16000)
    assert torch.equal(again.encode(wav), tokenizer.encode(wav))
    assert (again.vocab, again.hop_samples, again.sample_rate, again.layer) == (30, 320, 16000, 2)
    assert torch.equal(load_hubert(tmp_path / "tokenizer").features(wav, 1), tokenizer.hubert.features(wav, 1))
    with pytest.raises(CheckpointError, match="exists"):
        tokenizer.save(tmp_path / "tokenizer")


def test_a_half_precision_copy_loads(tmp_path):
    tokenizer = make(TUNED)
    tensors = {f"hubert.{name}": value.half() for name, value in tokenizer.hubert.network.state_dict().items()}
    settings = {"kind": "semantic_tokenizer", "layer": 2, "vocab": 30, "hubert": tokenizer.hubert.settings()}
    save_component(tmp_path / "half", settings, {**tensors, "centres": tokenizer.centres.half()})
    wav = noise(16000)
    close = SemanticTokenizer.load(tmp_path / "half").features(wav) - tokenizer.features(wav)
    assert close.abs().max() < 0.05


def test_what_is_refused(tmp_path):
    tokenizer = make(TUNED)
    with pytest.raises(ValueError, match=r"\(1, 0\)"):
        tokenizer.encode(torch.zeros(1, 0))
    with pytest.raises(ValueError, match="do not fit features of width 16"):
        SemanticTokenizer(tokenizer.hubert, 1, torch.zeros(5, 8))
    save_component(tmp_path / "other", {"kind": "acoustic_tokenizer"}, {"x": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="acoustic_tokenizer"):
        SemanticTokenizer.load(tmp_path / "other")
