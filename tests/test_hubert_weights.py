"""HuBERT read from files of the real fairseq: the same features to 1e-4, and nothing of a file is run."""

import argparse
import json
import os
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from accompgen.component import CheckpointError
from accompgen.tokens.hubert import Hubert, HubertConfig
from accompgen.tokens.hubert_weights import load_hubert
from accompgen.tokens.unpickle import UnsafeFileError

pytest.importorskip("transformers", reason="the networks come from transformers")

FILES = {"cfgdict": "hubert_base_cfgdict.pt", "cfgomega": "hubert_base_cfgomega.pt", "large": "hubert_large_cfgdict.pt"}
LENGTHS = (16000, 16237, 16160)
TINY = HubertConfig(
    conv_channels=(8,) * 7, width=16, layers=2, heads=2, feed_forward=32, position_taps=16, position_groups=4
)  # fmt: skip


def golden(shared, name):
    return np.load(shared / f"golden/{name}_features.npz")


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("samples", LENGTHS)
def test_features_of_fairseq_at_every_layer(shared, kind, samples):
    expected = golden(shared, "hubert_large" if kind == "large" else "hubert_base")
    hubert = load_hubert(shared / f"golden/{FILES[kind]}")
    wav = torch.from_numpy(expected[f"wav_{samples}"])[None]
    for layer in (1, 2, 3):
        got = hubert.features(wav, layer)[0].numpy()
        np.testing.assert_allclose(got, expected[f"layer{layer}_{samples}"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", FILES)
def test_every_step_before_and_after_the_layers(shared, kind):
    expected = golden(shared, "hubert_large" if kind == "large" else "hubert_base")
    hubert = load_hubert(shared / f"golden/{FILES[kind]}")
    encoder = hubert.network.encoder
    with torch.inference_mode():
        for samples in LENGTHS:
            wav = torch.from_numpy(expected[f"wav_{samples}"])[None]
            conv = torch.cat(list(hubert.convolve(wav)), dim=1)
            projected = hubert.project(conv)
            last = hubert.encode(projected, hubert.config.layers)
            final = encoder.layer_norm(last) if hubert.config.norm_first else last
            found = {"conv": conv, "proj": projected, "posconv": encoder.pos_conv_embed(projected), "final": final}
            for name, value in found.items():
                np.testing.assert_allclose(value[0].numpy(), expected[f"{name}_{samples}"], atol=1e-4, rtol=0, err_msg=name)


def test_large_layers_come_without_the_final_norm(shared):
    expected = golden(shared, "hubert_large")
    assert np.abs(expected["layer3_16000"] - expected["final_16000"]).max() > 0.1  # so that the first test can tell them apart


def test_sizes_are_read_from_the_files(shared):
    base, large = (load_hubert(shared / f"golden/{FILES[kind]}").config for kind in ("cfgomega", "large"))
    assert (base.heads, base.conv_strides, base.position_taps, base.position_groups) == (4, (5, 2, 2, 2, 2, 2, 2), 128, 16)
    assert (base.conv_norm, base.norm_first, base.normalise_waveform) == ("group", False, False)
    assert (large.conv_norm, large.norm_first, large.normalise_waveform) == ("layer", True, True)


def save_like_fairseq(path, hubert, **other):
    """Write a Hubert with fairseq's keys, without the projection where fairseq has none."""
    weights = {}
    for key, value in hubert.network.state_dict().items():
        key = key.replace("masked_spec_embed", "mask_emb").replace("feature_projection.layer_norm", "layer_norm")
        key = key.replace("feature_projection.projection", "post_extract_proj").replace(".attention.", ".self_attn.")
        key = key.replace("pos_conv_embed.conv.parametrizations.weight.original0", "pos_conv.0.weight_g")
        key = key.replace("pos_conv_embed.conv.parametrizations.weight.original1", "pos_conv.0.weight_v")
        key = key.replace("pos_conv_embed.conv.bias", "pos_conv.0.bias")
        key = key.replace("feed_forward.intermediate_dense", "fc1").replace("feed_forward.output_dense", "fc2")
        if ".layers." in key and ".layer_norm." in key and "final" not in key and "conv" not in key:
            key = key.replace(".layer_norm.", ".self_attn_layer_norm.")
        if "conv_layers" in key:
            key = key.replace(".conv.", ".0.").replace(".layer_norm.", ".2.")
        weights[key] = value
    torch.save({"model": weights, **other}, path, _use_new_zipfile_serialization=other.get("args") is None)


def test_older_file_with_a_namespace_in_the_format_before_zip(tmp_path):
    torch.manual_seed(0)
    hubert = Hubert(TINY).eval()
    args = argparse.Namespace(encoder_attention_heads=2, layer_norm_first=False, normalize=False)
    save_like_fairseq(tmp_path / "old.pt", hubert, args=args)
    wav = torch.randn(1, 4000)
    found = load_hubert(tmp_path / "old.pt")
    torch.testing.assert_close(found.features(wav, 2), hubert.features(wav, 2))


def test_sizes_from_shapes_where_the_file_says_nothing(tmp_path):
    torch.manual_seed(0)
    config = HubertConfig(**{**vars(TINY), "width": 128, "feed_forward": 32})
    hubert = Hubert(config).eval()
    save_like_fairseq(tmp_path / "bare.pt", hubert)
    assert load_hubert(tmp_path / "bare.pt").config == config


def test_transformers_directory(tmp_path):
    from transformers import HubertConfig as NetworkConfig
    from transformers import HubertModel

    torch.manual_seed(0)
    hubert = Hubert(TINY).eval()
    sizes = NetworkConfig(
        conv_dim=list(TINY.conv_channels), conv_kernel=list(TINY.conv_kernels), conv_stride=list(TINY.conv_strides),
        conv_bias=TINY.conv_bias, feat_extract_norm=TINY.conv_norm, hidden_size=TINY.width, num_hidden_layers=TINY.layers,
        num_attention_heads=TINY.heads, intermediate_size=TINY.feed_forward, num_conv_pos_embeddings=TINY.position_taps,
        num_conv_pos_embedding_groups=TINY.position_groups, do_stable_layer_norm=TINY.norm_first,
    )  # fmt: skip
    theirs = HubertModel(sizes)
    theirs.load_state_dict(hubert.network.state_dict())
    theirs.save_pretrained(tmp_path / "theirs")
    wav = torch.randn(1, 4000)
    found = load_hubert(tmp_path / "theirs")
    assert found.config == TINY
    torch.testing.assert_close(found.features(wav, 1), hubert.features(wav, 1))
    config = tmp_path / "theirs" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"hidden_act": "relu"}))
    with pytest.raises(ValueError, match="a HuBERT whose activation is 'relu' is not supported"):
        load_hubert(tmp_path / "theirs")


class Writes:
    """A pickle of this would run a command on loading."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", (True, False))
def test_a_file_that_would_run_a_command_is_refused_by_name(tmp_path, zipped):
    mark = tmp_path / "was_run"
    content = {"model": {}, "cfg": Writes(f"touch {mark}")}
    torch.save(content, tmp_path / "bad.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeFileError, match=r"(posix|nt)\.system"):
        load_hubert(tmp_path / "bad.pt")
    assert not mark.exists()
    pickle.loads(pickle.dumps(content))  # the same content, trusted, does run
    assert mark.exists()


@pytest.mark.parametrize("zipped", (True, False))
def test_a_function_of_torch_itself_is_refused_by_name(tmp_path, zipped):
    class Downloads:
        def __reduce__(self):
            return torch.hub.load, ("somebody/model", "run")

    torch.save({"model": Downloads()}, tmp_path / "bad.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeFileError, match="bad.pt names torch.hub.load, which is not on the list"):
        load_hubert(tmp_path / "bad.pt")


def test_a_class_under_an_allowed_prefix_is_never_imported(tmp_path, monkeypatch):
    ran = []
    module = types.ModuleType("fairseq.trap")
    module.Trap = type("Trap", (), {"__module__": "fairseq.trap", "__setstate__": lambda self, state: ran.append(state)})
    for name, value in (("fairseq", types.ModuleType("fairseq")), ("fairseq.trap", module)):
        monkeypatch.setitem(sys.modules, name, value)
    trap = module.Trap()
    trap.x = 1
    save_like_fairseq(tmp_path / "trap.pt", Hubert(TINY), cfg=None, task_state=trap)
    load_hubert(tmp_path / "trap.pt")
    assert ran == []


MUSICGEN = {"decoder.model.decoder.layers.0.self_attn.k_proj.weight": torch.zeros(2, 2)}
STEREO = {"encoder.model.0.conv.conv.weight": torch.zeros(32, 2, 7)}
OURS = {"encoder.pos_conv_embed.conv.bias": torch.zeros(2)}
AUDIOCRAFT = {"best_state": {"emb.0.weight": torch.zeros(2)}, "xp.cfg": "sample_rate: 32000"}


@pytest.mark.parametrize("content, name, says", [
    ({"weights": 1}, "other.pt", "something else than names and tensors .weights.; give a HuBERT: fairseq's .pt"),
    ({"model": {"some.weight": torch.zeros(2)}}, "other.pt", "weights of another kind .some.weight.; give a HuBERT"),
    ({1: torch.zeros(2)}, "other.pt", "weights of another kind .1.; give a HuBERT"),
    (MUSICGEN, "pytorch_model.bin", "a language model, such as MusicGen's; give a HuBERT"),
    (AUDIOCRAFT, "state_dict.bin", "what audiocraft saves, such as MusicGen's .*; give a HuBERT"),
    (STEREO, "encodec_48khz.th", "an EnCodec of 2 channels, such as that of 48 kHz; give a HuBERT"),
    (MUSICGEN, "model.safetensors", "a language model, such as MusicGen's; give a HuBERT"),
    (OURS, "model.safetensors", "weights alone .a HuBERT .*; give the directory that they lie in"),
    (OURS, "pytorch_model.bin", "weights alone .a HuBERT .*; give the directory that they lie in"),
])  # fmt: skip
def test_a_file_of_something_else_is_named(content, name, says, tmp_path):
    (save_file if name.endswith(".safetensors") else torch.save)(content, tmp_path / name)
    with pytest.raises(CheckpointError, match=f"{name} (holds|is) {says}"):
        load_hubert(tmp_path / name)


@pytest.mark.parametrize("config, says", [
    ('{"model_type": "musicgen"}', "holds 'musicgen'; give a HuBERT"),
    ("{half", "config.json is not valid JSON"),
    ('{"model_type": "hubert"}', "holds a damaged safetensors file .*; copy it again"),
])  # fmt: skip
def test_a_directory_of_something_else_is_named(config, says, tmp_path):
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").write_bytes(b"half of one")
    with pytest.raises(CheckpointError, match=says):
        load_hubert(tmp_path)


def test_noise_and_missing_paths(tmp_path):
    (tmp_path / "noise.pt").write_bytes(b"no checkpoint at all")
    with pytest.raises(UnsafeFileError, match="noise.pt"):
        load_hubert(tmp_path / "noise.pt")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_hubert(tmp_path / "nowhere")
