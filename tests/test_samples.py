"""Held-out windows as sound: the stage under its true context, and the truth once."""

import pytest
import torch
from fake_shards import BINS, VOCAB, make_shards
from tiny import make_acoustic_tokenizer

from accompgen.config import ConfigError, StageConfig, TrainConfig
from accompgen.data.shards import open_shards
from accompgen.model.stage_lm import StageLM
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.training import listening
from accompgen.training.samples import Samples


class Heard:
    """A log that keeps what it is told."""

    def __init__(self):
        self.sounds = {}

    def sound(self, step, name, wav, rate):
        assert rate == 24000 and wav.abs().max() <= 1
        self.sounds[step, name] = wav


@pytest.fixture
def codec(tmp_path):
    torch.manual_seed(0)
    make_acoustic_tokenizer().save(tmp_path / "codec")
    return tmp_path / "codec"


def make(tmp_path, stage, codec, **values):
    sizes = dict(semantic_vocab=VOCAB, bins=BINS, coarse_codebooks=2, fine_codebooks=2)
    sizes = StageConfig(stage, width=16, layers=1, heads=2, context_layers=1, **sizes)
    settings = TrainConfig(sizes, "s", window_seconds=0.24, validation_windows=3, acoustic_tokenizer=str(codec), **values)
    return settings, listening.prepare(open_shards(make_shards(tmp_path / "shards")), settings), StageLM(sizes).eval()


@pytest.mark.parametrize("stage", ["coarse", "fine"])
def test_what_the_stage_makes_is_heard_beside_the_truth(tmp_path, codec, stage):
    settings, held_out, model = make(tmp_path, stage, codec, sample_windows=2)
    samples, heard = Samples(settings, held_out), Heard()
    before = torch.get_rng_state()
    samples.tell(heard, model, 10)
    assert torch.equal(torch.get_rng_state(), before)  # the training goes on as if nothing had been heard
    model.heads.data.normal_()
    samples.tell(heard, model, 20)
    names = {"generated/1", "generated/2"}
    assert set(heard.sounds) == {(20, name) for name in names} | {(10, name) for name in names | {"truth/1", "truth/2"}}
    assert heard.sounds[10, "generated/1"].shape == (18 * 320,)
    assert not torch.equal(heard.sounds[10, "generated/2"], heard.sounds[20, "generated/2"])
    truth = held_out.target[1:2]
    if stage == "fine":
        truth = torch.cat([held_out.contexts["true"]["coarse"][1:2], truth], dim=1)
    expected = AcousticTokenizer.load(codec).decode(truth)[0].clamp(-1, 1)
    assert torch.allclose(heard.sounds[10, "truth/2"], expected, atol=1e-6)
    codes = samples.generate(model, 0)
    assert codes.shape == held_out.target[0].shape and torch.equal(codes, samples.generate(model, 0))


def test_the_semantic_stage_makes_no_sound(tmp_path, codec):
    settings, held_out, model = make(tmp_path, "semantic", codec, sample_windows=2)
    heard = Heard()
    Samples(settings, held_out).tell(heard, model, 10)
    assert heard.sounds == {}


def test_without_a_tokenizer_there_is_nothing_to_decode_with(tmp_path):
    with pytest.raises(ConfigError, match="sample_windows is 2, but acoustic_tokenizer"):
        make(tmp_path, "coarse", "", sample_windows=2)
