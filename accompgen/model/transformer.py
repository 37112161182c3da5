"""RMSNorm, GEGLU, Block, Transformer: a pre-norm stack, causal (decoder) or not (context encoder)."""

import torch
import torch.nn.functional as F
from torch import nn

from accompgen.model.attention import TINY, Attention, Cache, Linear, RelativeBias
from accompgen.model.flex import FlexBias


class RMSNorm(nn.Module):
    """x / rms(x) * gain over the last axis. Source: arXiv 1910.07467."""

    def __init__(self, width: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x, self.gain.shape, self.gain, eps=TINY)


class GEGLU(nn.Module):
    """Feed-forward: value * GELU(gate), inner width 4 D, exact GELU. Source: arXiv 2002.05202."""

    def __init__(self, width: int):
        super().__init__()
        self.expand = Linear(width, 2 * 4 * width)
        self.contract = Linear(4 * width, width)

    def forward(self, x):
        value, gate = self.expand(x).chunk(2, dim=-1)
        return self.contract(value * F.gelu(gate))


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, width: int, heads: int, kv_heads: int, head_width: int, causal: bool, dropout: float = 0.0):
        super().__init__()
        self.attention_norm = RMSNorm(width)
        self.attention = Attention(width, heads, kv_heads, head_width, causal)
        self.feed_forward_norm = RMSNorm(width)
        self.feed_forward = GEGLU(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, bias, cache: Cache | None = None, layer: int = 0):
        x = x + self.dropout(self.attention(self.attention_norm(x), bias, cache, layer))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))

    def step(self, x, bias, cache: Cache, layer: int):
        """`forward` for one position more, x [B, D], without dropout."""
        x = x + self.attention.step(self.attention_norm(x), bias, cache, layer)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Transformer(nn.Module):
    """A stack of blocks with one relative bias for all of them and a norm at the end.

    Args:
        width, layers, heads: D, L, H.
        causal: whether a position sees itself and earlier ones of the sequence only.
        buckets, max_distance, signed: see attention.RelativeBias.
        kv_heads: H', see attention.Attention; H unless given.
        head_width: of each head; D / H unless given.
        dropout: of each branch, in training.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        causal: bool,
        *,
        buckets: int = 32,
        max_distance: int = 128,
        signed: bool = False,
        kv_heads: int | None = None,
        head_width: int | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.causal, self.heads = causal, heads
        self.flex = False  # whether the bias of a whole sequence is left to FlexAttention; training/engine.py says so
        self.kv_heads, self.head_width = kv_heads or heads, head_width or width // heads
        self.relative_bias = RelativeBias(heads, self.head_width**0.5, buckets, max_distance, signed)
        self.blocks = nn.ModuleList(Block(width, heads, self.kv_heads, self.head_width, causal, dropout) for _ in range(layers))
        self.norm = RMSNorm(width)
        self.initialise()

    def initialise(self):
        """Linear weights N(0, 0.02), those that write into the residual stream divided by sqrt(2 L); biases 0; bias table 0."""
        for name, parameter in self.named_parameters():
            if name.endswith((".out.weight", ".contract.weight")):
                nn.init.normal_(parameter, std=0.02 / (2 * len(self.blocks)) ** 0.5)
            elif name.endswith((".qkv.weight", ".expand.weight")):
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def bias(self, positions, start: int = 0, end: int | None = None):
        """The bias of queries start..end-1 over keys 0..end-1, -inf where `causal` forbids.

        Args:
            positions: LongTensor [N], in the unit of max_distance.

        Returns:
            [H, end - start, end]; a FlexBias for a whole sequence where `flex` is set.
        """
        if self.flex and end is None:
            return FlexBias(self.relative_bias, positions, self.causal)
        end = len(positions) if end is None else end
        at = slice(start, end)
        bias = self.relative_bias(positions[at], positions[:end])
        if self.causal:
            order = torch.arange(end, device=positions.device)
            bias = bias.masked_fill(order[at, None] < order, float("-inf"))
        return bias

    def forward(self, x, bias, cache: Cache | None = None):
        """x [B, N, D] and the bias of its positions -> [B, N, D], normalised; with a cache, x stands behind its filled part."""
        for layer, block in enumerate(self.blocks):
            x = block(x, bias, cache, layer)
        if cache is not None:
            cache.filled += x.shape[1]
            cache.gains = [block.attention.gain_of_directions() for block in self.blocks]
        return self.norm(x)

    def step(self, x, bias, cache: Cache):
        """`forward` for one position more: x [B, D] and its bias [1, H, 1, filled + 1] -> [B, D]."""
        if self.kv_heads < self.heads:
            bias = bias.unflatten(1, (self.kv_heads, -1)).squeeze(3)  # [1, H', H / H', filled + 1]
        for layer, block in enumerate(self.blocks):
            x = block.step(x, bias, cache, layer)
        cache.filled += 1
        return self.norm(x)
