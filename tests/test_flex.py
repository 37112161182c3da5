"""The bias inside the kernel is the bias of the matrix."""

import pytest
import torch
import torch.nn.functional as F

from accompgen.config import ConfigError, StageConfig, TrainConfig
from accompgen.model.attention import RelativeBias
from accompgen.model.flex import FlexBias
from accompgen.model.stage_lm import StageLM

ROWS, HEADS, LENGTH, WIDTH = 2, 3, 130, 16
VARIANTS = [(True, False), (False, True), (True, True)]  # causal, signed


def case(causal, signed, device="cpu"):
    """A bias with learned values, its places in time, queries, keys and values."""
    torch.manual_seed(0)
    bias = RelativeBias(HEADS, WIDTH**0.5, buckets=8, max_distance=40, signed=signed).to(device)
    for parameter in bias.parameters():
        parameter.data.normal_()
    positions = torch.arange(LENGTH, device=device) * 2 % 200  # time starts again, as behind a prefix
    qkv = [torch.randn(ROWS, HEADS, LENGTH, WIDTH, device=device) for _ in range(3)]
    return bias, positions, qkv


def plain(bias, positions, qkv, causal):
    matrix = bias(positions, positions)
    if causal:
        order = torch.arange(LENGTH, device=matrix.device)
        matrix = matrix.masked_fill(order[:, None] < order, float("-inf"))
    return F.scaled_dot_product_attention(*qkv, attn_mask=matrix[None])


@pytest.mark.parametrize("causal, signed", VARIANTS)
@torch.no_grad()
def test_it_attends_as_with_the_matrix(causal, signed):
    bias, positions, qkv = case(causal, signed)
    expected = plain(bias, positions, qkv, causal)
    torch.testing.assert_close(FlexBias(bias, positions, causal).attend(*qkv), expected, rtol=1e-4, atol=1e-5)
    bias.table.data[0] += 1
    assert (FlexBias(bias, positions, causal).attend(*qkv) - expected).abs().max() > 0.01


@pytest.mark.skipif(not torch.cuda.is_available(), reason="FlexAttention has its backward pass on GPUs alone; none here")
@pytest.mark.parametrize("causal, signed", VARIANTS)
def test_gradients_are_those_of_the_matrix(causal, signed):
    bias, positions, qkv = case(causal, signed, "cuda")
    leaves = [*(x.requires_grad_() for x in qkv), *bias.parameters()]
    weights = torch.randn(ROWS, HEADS, LENGTH, WIDTH, device="cuda")
    results = FlexBias(bias, positions, causal).attend(*qkv), plain(bias, positions, qkv, causal)
    gradients = [torch.autograd.grad((y * weights).sum(), leaves) for y in results]
    for found, expected in zip(*gradients):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("context", ["aligned", "prefix"])
@torch.no_grad()
def test_a_stage_predicts_the_same_with_both(context):
    torch.manual_seed(0)
    sizes = dict(width=32, layers=1, heads=2, context_layers=1, pattern="delay")
    sizes |= dict(semantic_vocab=11, bins=13, coarse_codebooks=2, fine_codebooks=1)
    model = StageLM(StageConfig("coarse", context=context, **sizes)).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    grids = {name: torch.randint(11, (2, 1, 4)) for name in ("vocal", "semantic")}, torch.randint(13, (2, 2, 6))
    expected = model(*grids)
    stacks = [stack for stack in (model.encoder, model.decoder) if stack]
    for stack in stacks:
        stack.flex = True
        stack.relative_bias.forward = None  # it would be called for a matrix
    torch.testing.assert_close(model(*grids), expected, rtol=1e-4, atol=1e-4)


def test_training_asks_for_it_where_it_can_be():
    pytest.importorskip("deepspeed")
    from accompgen.training.engine import _choose_attention

    model = StageLM(StageConfig("semantic", width=16, layers=1, heads=2, context_layers=1, semantic_vocab=5))
    config = TrainConfig(model.config, "shards")
    _choose_attention(model, config, "cuda")
    assert model.decoder.flex and model.encoder.flex
    _choose_attention(model, config, "cpu")
    assert not model.decoder.flex
    with pytest.raises(ConfigError, match="the device is cpu"):
        _choose_attention(model, TrainConfig(model.config, "shards", attention="flex"), "cpu")
