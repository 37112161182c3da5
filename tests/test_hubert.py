"""How a HuBERT is run: long audio gives what one pass gives, in bounded memory."""

import pytest
import torch

from accompgen.config import ConfigError, from_dict, to_dict
from accompgen.tokens import hubert as hubert_module
from accompgen.tokens.hubert import Hubert, HubertConfig
from accompgen.tokens.hubert_weights import load_hubert

LOCAL = HubertConfig(
    conv_channels=(24, 16), conv_kernels=(1024, 4), conv_strides=(160, 2), conv_norm="layer", width=16, layers=3, heads=2,
    feed_forward=32, position_taps=8, position_groups=4, attention_frames=6,
)  # fmt: skip


def network(config):
    torch.manual_seed(0)
    return Hubert(config).eval()


def noise(seconds, rows=1):
    return 0.1 * torch.randn(rows, int(16000 * seconds), generator=torch.Generator().manual_seed(1))


def whole_and_chunked(hubert, wav, layer, monkeypatch, **sizes):
    whole = hubert.features(wav, layer)
    for name, value in sizes.items():
        monkeypatch.setattr(hubert_module, name, value)
    return whole, hubert.features(wav, layer)


@pytest.mark.parametrize("large", (False, True))
def test_the_layers_are_those_of_transformers(large):
    """Base and Large at a small size: the same names, the same numbers at every layer."""
    transformers = pytest.importorskip("transformers", reason="the layers are held against it")
    norm = "layer" if large else "group"
    torch.manual_seed(0)
    theirs = transformers.HubertModel(
        transformers.HubertConfig(
            conv_dim=[16, 16, 24], conv_kernel=[10, 3, 2], conv_stride=[5, 2, 2], conv_bias=large, feat_extract_norm=norm,
            hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48, num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=4, do_stable_layer_norm=large,
        )
    ).eval()  # fmt: skip
    for weight in theirs.parameters():  # gains and biases that matter
        weight.data += 0.1 * torch.randn_like(weight)
    sizes = (16, 16, 24), (10, 3, 2), (5, 2, 2), large, norm, 32, 3, 4, 48, 8, 4, large
    ours = Hubert(HubertConfig(*sizes)).eval()
    ours.network.load_state_dict(theirs.state_dict())
    with torch.inference_mode():
        states = theirs(noise(0.25, rows=2), output_hidden_states=True).hidden_states
        for layer in range(3):
            torch.testing.assert_close(ours.features(noise(0.25, rows=2), layer), states[layer], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("file", ("hubert_base_cfgdict.pt", "hubert_large_cfgdict.pt"))
def test_convolution_chunks_change_nothing(shared, file, monkeypatch):
    hubert = load_hubert(shared / "golden" / file)
    wav = noise(7.3) * torch.linspace(0.1, 3, int(16000 * 7.3))  # grows: no chunk has the whole's statistics
    whole, chunked = whole_and_chunked(hubert, wav, 2, monkeypatch, CONV_SECONDS=1)
    torch.testing.assert_close(chunked, whole, atol=2e-5, rtol=1e-5)  # rounding, which processors do differently


@pytest.mark.parametrize("layer", (1, 3))
def test_limited_attention_in_blocks_is_the_whole_pass(layer, monkeypatch):
    hubert = network(LOCAL)
    whole, chunked = whole_and_chunked(hubert, noise(8, rows=2), layer, monkeypatch, BLOCK_FRAMES=60, CONV_SECONDS=1)
    torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=0)  # edges too


def test_unlimited_attention_is_one_pass_up_to_its_bound_and_blocks_beyond(shared, monkeypatch):
    hubert = load_hubert(shared / "golden/hubert_base_cfgdict.pt")
    seen, wav = [], noise(20)
    hubert.network.encoder.layers[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))
    whole, chunked = whole_and_chunked(hubert, wav, 2, monkeypatch, WHOLE_SECONDS=8, OVERLAP_SECONDS=2)
    assert seen[0] == whole.shape[1] == 999 and len(seen) > 2 and max(seen[1:]) <= 8 * 50
    assert chunked.shape == whole.shape
    assert (chunked - whole).abs().mean() < 0.1 * whole.abs().mean()  # attention of other reach: near, not equal


def test_attention_reaches_no_further_than_its_limit():
    hubert = network(LOCAL)
    x = torch.randn(1, 80, 16, requires_grad=True)
    layer, at = 2, 40
    seen = hubert.encode(x, layer)[0, at]
    (seen * torch.arange(16.0)).sum().backward()  # a plain sum over a layer norm's output is constant
    touched = x.grad[0].abs().sum(-1).nonzero().flatten()
    reach = layer * LOCAL.attention_frames + LOCAL.position_taps // 2
    assert touched.min() >= at - reach and touched.max() <= at + reach
    assert touched.max() > at + LOCAL.attention_frames  # it does look around


def test_long_audio_never_enters_a_convolution_whole(monkeypatch):
    hubert = network(LOCAL)
    monkeypatch.setattr(hubert_module, "CONV_SECONDS", 2)
    seen = []
    first = hubert.network.feature_extractor.conv_layers[0]
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[-1]))
    frames = hubert.features(noise(31), 1).shape[1]
    assert max(seen) <= 2 * 16000 + LOCAL.field_samples and len(seen) == 16
    assert frames == LOCAL.frames(31 * 16000)


def test_sizes_follow_from_kernels_and_strides():
    assert (HubertConfig().hop_samples, HubertConfig().field_samples) == (320, 400)
    assert [HubertConfig().frames(n) for n in (399, 400, 719, 720, 16000)] == [0, 1, 1, 2, 49]
    assert from_dict(HubertConfig, to_dict(LOCAL)) == LOCAL
    with pytest.raises(ConfigError, match="one value per convolution"):
        HubertConfig(conv_strides=(5, 2))
    with pytest.raises(ConfigError, match="width 30"):
        HubertConfig(width=30, heads=4)


def test_what_cannot_be_asked_for():
    hubert = network(LOCAL)
    with pytest.raises(ValueError, match="layer 4 does not exist"):
        hubert.features(noise(1), 4)
    with pytest.raises(ValueError, match="100 samples are less than one frame"):
        hubert.features(torch.zeros(1, 100), 1)
