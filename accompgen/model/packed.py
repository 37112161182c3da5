"""Layers of a model that only decodes: bfloat16 weights in the order the processor reads them in, norms in three operations."""

import torch
from torch import nn

from accompgen.model.attention import TINY


def can_pack(device) -> bool:
    """Whether `PackedLinear` works here: on a CPU, in a torch built with oneDNN."""
    return torch.device(device).type == "cpu" and torch.backends.mkldnn.is_available()


class PackedLinear(nn.Module):
    """A linear layer in bfloat16 whose weight oneDNN has laid out once, instead of at every call.

    With the few rows of a step, products became 1.5 to 8 times faster than with plain bfloat16 weights, most in wide layers.
    Sums are kept in float32 and the result is rounded to bfloat16, as in the plain layer.

    Args:
        weight: [outputs, inputs].
        bias: [outputs] or None.
    """

    def __init__(self, weight, bias=None):
        super().__init__()
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(torch.bfloat16).contiguous())
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().to(torch.bfloat16), requires_grad=False)
        self.product = torch.ops.mkldnn._linear_pointwise.default

    def forward(self, x):
        return self.product(x.to(torch.bfloat16), self.weight, self.bias, "none", [], "")


class DecodingNorm(nn.Module):
    """RMSNorm of a given gain [D], without gradients: x / |x| times the gain and sqrt(D)."""

    def __init__(self, gain):
        super().__init__()
        self.gain = nn.Parameter(gain.detach() * len(gain) ** 0.5, requires_grad=False)

    def forward(self, x):
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min_(TINY**0.5)
        return (x / length).mul_(self.gain)
