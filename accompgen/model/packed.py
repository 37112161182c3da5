"""Layers of a model that only decodes: float16 weights in the order the processor reads them in, norms in three operations."""

import torch
from torch import nn

from accompgen.model.attention import TINY


def can_pack(device) -> bool:
    """Whether `PackedLinear` works here: on a CPU with AVX2, in a torch built with FBGEMM."""
    built = "fbgemm" in torch.backends.quantized.supported_engines
    return torch.device(device).type == "cpu" and built and bool(torch.cpu.get_capabilities().get("avx2"))


class PackedLinear(nn.Module):
    """A linear layer whose weight is stored in float16, laid out once for FBGEMM; inputs, sums and results are float32.

    With the few rows of a step that is faster than torch's other products (docs/speed.md), and a row's result does not depend
    on how many rows there are. Weights beyond float16's largest, 65504, become that.

    Args:
        weight: [outputs, inputs].
        bias: [outputs] or None.
    """

    def __init__(self, weight, bias=None):
        super().__init__()
        weight = weight.detach().float().contiguous()
        bias = None if bias is None else bias.detach().float()
        self.elements, self.nbytes = weight.numel(), 2 * weight.numel() + (0 if bias is None else bias.nbytes)
        self.packed = torch.ops.quantized.linear_prepack_fp16(weight, bias)
        self.product = torch.ops.quantized.linear_dynamic_fp16.default

    def forward(self, x):
        return self.product(x, self.packed)


class DecodingNorm(nn.Module):
    """RMSNorm of a given gain [D], without gradients: x / |x| times the gain and sqrt(D)."""

    def __init__(self, gain):
        super().__init__()
        self.gain = nn.Parameter(gain.detach() * len(gain) ** 0.5, requires_grad=False)

    def forward(self, x):
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min_(TINY**0.5)
        return (x / length).mul_(self.gain)
