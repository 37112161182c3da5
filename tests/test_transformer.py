"""The stack against x-transformers (its stored outputs, and itself where installed), and causality by gradient."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from accompgen.model.attention import Cache
from accompgen.model.transformer import GEGLU, RMSNorm, Transformer


def from_xtransformers(theirs, layers, head_width, kv_heads):
    """The key map. They store norm gains as an offset from 1, and scale unit vectors where we scale vectors of rms 1. Their
    heads h, h + H', ... share a head of keys, ours are neighbours."""
    table = theirs["rel_pos.relative_attention_bias.weight"]
    order = torch.arange(table.shape[1]).unflatten(0, (-1, kv_heads)).T.flatten()
    ours = {"norm.gain": theirs["final_norm.g"] + 1, "relative_bias.table": table[:, order]}
    for layer in range(layers):
        block, attend, feed = f"blocks.{layer}", f"layers.{2 * layer}", f"layers.{2 * layer + 1}"
        ours[f"{block}.attention_norm.gain"] = theirs[f"{attend}.0.0.g"] + 1
        q, k, v = (theirs[f"{attend}.1.to_{name}.weight"] for name in "qkv")
        ours[f"{block}.attention.qkv.weight"] = torch.cat([q.unflatten(0, (-1, head_width))[order].flatten(0, 1), k, v])
        scales = [theirs[f"{attend}.1.qk_norm_q_scale"][order], theirs[f"{attend}.1.qk_norm_k_scale"]]
        alike = scales[0].shape == scales[1].shape
        ours[f"{block}.attention.gain"] = (torch.stack(scales)[:, None] if alike else torch.cat(scales)) / head_width**0.5
        out = theirs[f"{attend}.1.to_out.weight"]
        ours[f"{block}.attention.out.weight"] = out.unflatten(1, (-1, head_width))[:, order].flatten(1)
        ours[f"{block}.feed_forward_norm.gain"] = theirs[f"{feed}.0.0.g"] + 1
        for name, index in (("expand", "0.proj"), ("contract", "2")):
            for kind in ("weight", "bias"):
                ours[f"{block}.feed_forward.{name}.{kind}"] = theirs[f"{feed}.1.ff.{index}.{kind}"]
    return ours


def decoder(theirs, head_width, layers=2, kv_heads=4):
    model = Transformer(width=32, layers=layers, heads=4, kv_heads=kv_heads, causal=True, head_width=head_width).eval()
    model.to(theirs["final_norm.g"].dtype).load_state_dict(from_xtransformers(theirs, layers, head_width, kv_heads))
    return model


@pytest.mark.parametrize("name, head_width", [("dh8", 8), ("default_dh64", 64)])
def test_equals_the_stored_outputs_of_xtransformers(shared, name, head_width):
    golden = np.load(shared / "golden" / f"xtransformers_decoder_{name}.npz")
    theirs = load_file(shared / "golden" / f"xtransformers_decoder_{name}.safetensors")
    model = decoder(theirs, head_width)
    x, positions = torch.tensor(golden["x"]), torch.arange(150)
    with torch.no_grad():
        bias = model.relative_bias(positions, positions)
        close(bias.tril(), torch.tensor(golden["rel_pos_bias"]).tril(), 2e-5)  # theirs is masked later
        block, bias = model.blocks[0], model.bias(positions)
        attended = x + block.attention(block.attention_norm(x), bias)
        close(attended, torch.tensor(golden["hidden_after_attn0"]), 2e-5)
        close(block(x, bias), torch.tensor(golden["hidden_after_ff0"]), 2e-5)
        close(model(x, bias), torch.tensor(golden["y"]), 2e-5)
        close(model(x[:, :1], model.bias(positions[:1])), torch.tensor(golden["y_len1"]), 2e-5)
        double = decoder({key: value.double() for key, value in theirs.items()}, head_width)
        close(double(x.double(), double.bias(positions)), torch.tensor(golden["y_float64"]), 1e-10)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_equals_the_installed_xtransformers(kv_heads):
    reason = "x-transformers is not installed (extra `reference`)"
    xtransformers = pytest.importorskip("x_transformers", reason=reason)
    torch.manual_seed(3)
    peer = xtransformers.Decoder(
        dim=32, depth=3, heads=4, attn_kv_heads=kv_heads, attn_dim_head=8, attn_qk_norm=True, attn_qk_norm_dim_scale=True,
        use_rmsnorm=True, ff_glu=True, rel_pos_bias=True,
    ).eval()  # fmt: skip
    for parameter in peer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model, x = decoder(peer.state_dict(), head_width=8, layers=3, kv_heads=kv_heads), torch.randn(2, 200, 32)
    with torch.no_grad():
        close(model(x, model.bias(torch.arange(200))), peer(x), 2e-5)


def close(found, expected, tolerance):
    assert (found - expected).abs().max() < tolerance


def test_rms_norm_and_geglu_by_hand():
    norm, feed, x = RMSNorm(4), GEGLU(4), torch.tensor([[3.0, -1.0, 0.0, 2.0]])
    norm.gain.data = torch.tensor([1.0, 2.0, 3.0, 0.5])
    rms = math.sqrt((9 + 1 + 0 + 4) / 4)
    close(norm(x), torch.tensor([[3 / rms, -2 / rms, 0, 1 / rms]]), 1e-6)
    assert norm(torch.zeros(1, 4)).abs().max() == 0, "silence must stay finite"
    inner = (x @ feed.expand.weight.T + feed.expand.bias)[0].tolist()
    gated = [inner[i] * 0.5 * inner[16 + i] * (1 + math.erf(inner[16 + i] / math.sqrt(2))) for i in range(16)]
    close(feed(x)[0], feed.contract(torch.tensor(gated)), 1e-6)


def random_stack(**choices):
    torch.manual_seed(4)
    model = Transformer(width=16, layers=2, heads=2, buckets=8, max_distance=20, **choices).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def sensitivity(model, n, at):
    """For each input position, the size of the gradient of output `at` [N]."""
    x = torch.randn(1, n, 16, requires_grad=True)
    model(x, model.bias(torch.arange(n)))[0, at].sum().backward()
    return x.grad[0].abs().sum(-1)


def test_a_causal_stack_sees_no_later_position_and_all_earlier_ones():
    reach = sensitivity(random_stack(causal=True), n=8, at=4)
    assert (reach[:5] > 0).all() and (reach[5:] == 0).all()


def test_the_other_sees_all():
    assert (sensitivity(random_stack(causal=False, signed=True), n=8, at=4) > 0).all()


def test_cached_equals_uncached():
    model, x = random_stack(causal=True, signed=True), torch.randn(3, 10, 16)
    places = torch.arange(10)
    cache = Cache(layers=2, rows=3, heads=2, length=10, head_width=8)
    with torch.no_grad():
        whole = model(x, model.bias(places))
        spans = [(0, 4), (4, 5), (5, 6), (6, 10)]
        parts = [model(x[:, a:b], model.bias(places, a, b), cache) for a, b in spans]
    close(torch.cat(parts, 1), whole, 1e-5)


def test_initial_weights_are_small_and_smaller_into_the_residual_stream():
    torch.manual_seed(5)
    model = Transformer(width=64, layers=8, heads=4, causal=True)
    block = model.blocks[3]
    assert block.attention.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.feed_forward.expand.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.attention.out.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert block.feed_forward.contract.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert not block.feed_forward.expand.bias.any() and not model.relative_bias.table.any()
