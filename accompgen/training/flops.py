"""Model FLOP utilisation (MFU): the arithmetic that training the model needs, over what the device could do in that time."""

import time

import torch
from torch import nn

from accompgen.model.stage_lm import StageLM
from accompgen.model.transformer import Transformer

MEASURED_SECONDS = 0.2
MATRIX = {"cpu": 768, "cuda": 8192}  # side of the square matrices whose product tells what a device can do


def window_flops(model: StageLM, context: dict, target: torch.Tensor, listen=False) -> float:
    """FLOPs of one training step over one window, forward and backward.

    6 P N for P weights in the products of a stack of blocks and N positions, 12 L H d N^2 for the attention of its L blocks of
    H heads of width d, and 6 D V for each target token's head. Source: PaLM, arXiv 2204.02311, appendix B (6 N + 12 L H Q T a
    token). As there, causal attention counts in full, recomputed activations and look-ups in tables not at all.

    Args:
        context, target, listen: as `model.forward` takes them; the first window is run once to see each stack's N.
    """
    flops = 0

    def product(layer, inputs):
        nonlocal flops
        flops += 6 * layer.weight.numel() * inputs[0].numel() // inputs[0].shape[-1]

    def attention(stack, inputs):
        nonlocal flops
        flops += 12 * len(stack.blocks) * stack.heads * stack.head_width * inputs[0].shape[1] ** 2

    kinds = ((nn.Linear, product), (Transformer, attention))
    hooks = [m.register_forward_pre_hook(note) for kind, note in kinds for m in model.modules() if isinstance(m, kind)]
    training, device = model.training, model.heads.device
    model.eval()
    with torch.no_grad():
        model.forward({name: ids[:1].to(device) for name, ids in context.items()}, target[:1].to(device), listen=listen)
    model.train(training)
    for hook in hooks:
        hook.remove()
    heads = [] if listen == "alone" else [model.heads]
    heads += [model.heads if model.listener is None else model.listener.heads] if listen else []
    return float(flops + sum(6 * target[0].numel() * head.shape[1] * head.shape[2] for head in heads))


def measured_peak(device: torch.device, dtype: str) -> float:
    """FLOPs a second of this device in a product of two large square matrices of `dtype`: the best of several."""
    side = MATRIX[device.type]
    one = torch.ones(side, side, device=device, dtype=getattr(torch, dtype))
    best, began = 0.0, time.perf_counter()
    one @ one  # the first call sets things up
    while best == 0.0 or time.perf_counter() - began < MEASURED_SECONDS:
        start = _now(device)
        one @ one
        best = max(best, 2 * side**3 / (_now(device) - start))
    return best


def _now(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
