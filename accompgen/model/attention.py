"""Causal or bidirectional attention with QK-norm, a T5 relative bias, grouped queries and a key-value cache allocated once.

Choices: queries and keys are RMS-normalised per head with a learned gain (logits stay bounded whatever the weights do); the
bias is the only thing that knows of positions, one table for all layers of a stack; no biases in the projections. The formulas
are those of x-transformers (`attn_qk_norm`, `attn_qk_norm_dim_scale`, `rel_pos_bias`), with the same weights to 2e-5.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

QUERIES_AT_ONCE = 256  # a causal block of queries reads the keys up to its own end only: 2.6 times faster at N = 900, CPU
TINY = 1e-24  # eps of a mean square: x / max(|x|, 1e-12) for every x that float32 distinguishes from 0


def relative_buckets(distance, buckets: int, max_distance: int, signed: bool):
    """T5 buckets of integer distances (query position minus key position), same shape, in 0..buckets-1.

    Unsigned: keys ahead of the query count as distance 0. Signed: the upper half of the buckets is for keys ahead. Half of the
    buckets of a side hold one distance each, the others grow logarithmically up to `max_distance`, and the last holds the rest.
    Source: T5, arXiv 1910.10683, section 2.1.
    """
    ahead = torch.zeros_like(distance)
    if signed:
        buckets //= 2
        ahead = (distance < 0).long() * buckets
        distance = distance.abs()
    distance = distance.clamp(min=0)
    exact = buckets // 2
    growth = torch.log(distance.clamp(min=exact).double() / exact) / math.log(max_distance / exact)
    far = (exact + (growth * (buckets - exact)).long()).clamp(max=buckets - 1)
    return ahead + torch.where(distance < exact, distance, far)


class RelativeBias(nn.Module):
    """The bias added to attention logits: a learned value per head and bucket of distance.

    Args:
        heads: H.
        scale: factor of the bucket values, sqrt of the head's width as in x-transformers.
        buckets, max_distance: see `relative_buckets`; the distance is in the unit of the positions given to `forward`.
        signed: whether keys ahead of the query have buckets of their own.
    """

    def __init__(self, heads: int, scale: float, buckets: int, max_distance: int, signed: bool):
        super().__init__()
        self.scale, self.max_distance, self.signed = scale, max_distance, signed
        self.table = nn.Parameter(torch.zeros(buckets, heads))

    def forward(self, query_positions, key_positions):
        """Positions [N] and [M] -> bias [H, N, M]."""
        distance = query_positions[:, None] - key_positions  # [N, M]
        bias = self.table[relative_buckets(distance, len(self.table), self.max_distance, self.signed)]
        return (bias * self.scale).permute(2, 0, 1)


class Cache:
    """Keys and values of all layers for up to `length` positions, allocated once: two tensors [L, B, H', length, d]."""

    def __init__(self, layers: int, rows: int, heads: int, length: int, head_width: int, device=None, dtype=torch.float32):
        self.keys = torch.zeros(layers, rows, heads, length, head_width, device=device, dtype=dtype)
        self.values = torch.zeros_like(self.keys)
        self.filled = 0  # positions written in every layer
        self.layers = list(zip(self.keys, self.values))  # views [B, H', length, d], made once
        self.gains: list = []  # of every layer, Attention.gain_of_directions(), made once

    def extend(self, layer: int, keys, values):
        """Write `keys` and `values` [B, H', n, d] behind the filled positions; return all keys and values so far."""
        end = self.filled + keys.shape[2]
        self.keys[layer, :, :, self.filled : end] = keys
        self.values[layer, :, :, self.filled : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def extend_by_one(self, layer: int, key, value):
        """As `extend` for one position [B, H', d], with as few calls as that can be done in."""
        keys, values = self.layers[layer]
        keys.select(2, self.filled).copy_(key)
        values.select(2, self.filled).copy_(value)
        return keys.narrow(2, 0, self.filled + 1), values.narrow(2, 0, self.filled + 1)


class Linear(nn.Linear):
    """A linear layer that computes and answers in the type of its weights, whatever the type of its input."""

    def forward(self, x):
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class Attention(nn.Module):
    """Multi-head self-attention with QK-norm.

    Args:
        width: D.
        heads: H, of queries.
        kv_heads: H', of keys and values: each answers H / H' neighbouring heads of queries (grouped-query attention, Ainslie et
            al. 2023, arXiv 2305.13245).
        head_width: d of each head; H * d need not be D.
        causal: whether the bias forbids every later position, so that the work on those can be saved.
    """

    def __init__(self, width: int, heads: int, kv_heads: int, head_width: int, causal: bool):
        super().__init__()
        self.heads, self.kv_heads, self.head_width, self.causal = heads, kv_heads, head_width, causal
        self.qkv = Linear(width, (heads + 2 * kv_heads) * head_width, bias=False)
        self.out = Linear(heads * head_width, width, bias=False)
        both = (2, 1, heads, 1) if kv_heads == heads else (heads + kv_heads, 1)
        self.gain = nn.Parameter(torch.ones(*both, head_width))  # of queries, then of keys

    def forward(self, x, bias, cache: Cache | None = None, layer: int = 0):
        """x [B, N, D], bias [H, N, M] with -inf where a query may not look -> [B, N, D]; M = N, or filled + N with a cache.

        The bias of a whole sequence may be a flex.FlexBias instead.
        """
        qkv = self.qkv(x).unflatten(-1, (-1, self.head_width)).transpose(1, 2)  # [B, H + 2 H', N, d]
        qk, v = qkv.split((self.heads + self.kv_heads, self.kv_heads), dim=1)
        qk = F.rms_norm(qk, (self.head_width,), eps=TINY) * self.gain.flatten(0, -3)
        q, k = qk.split((self.heads, self.kv_heads), dim=1)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        q, k = q.to(v.dtype), k.to(v.dtype)
        if self.kv_heads < self.heads:
            k, v = (grid.repeat_interleave(self.heads // self.kv_heads, dim=1) for grid in (k, v))
        y = self._attend(q, k, v, bias.to(v.dtype)[None]) if isinstance(bias, torch.Tensor) else bias.attend(q, k, v)
        return self.out(y.transpose(1, 2).flatten(2))  # [B, N, H * d] -> [B, N, D]

    def step(self, x, bias, cache: Cache, layer: int):
        """`forward` for one position more: x [B, D] and the bias by groups [1, H', H / H', filled + 1] -> [B, D]."""
        heads, kv_heads = self.heads, self.kv_heads
        qkv = self.qkv(x).float().view(len(x), -1, self.head_width)  # [B, H + 2 H', d]
        qk = qkv.narrow(1, 0, heads + kv_heads)
        length = torch.linalg.vector_norm(qk, dim=-1, keepdim=True).clamp_min_(TINY**0.5)
        qk = (qk / length).mul_(cache.gains[layer])
        keys, values = cache.extend_by_one(layer, qk.narrow(1, heads, kv_heads), qkv.narrow(1, heads + kv_heads, kv_heads))
        q = qk.narrow(1, 0, heads).unflatten(1, (kv_heads, -1))  # queries of a group: rows that read the same keys once
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=bias)  # [B, H', H / H', d]
        return self.out(y.reshape(len(x), -1))

    def gain_of_directions(self):
        """What makes unit vectors of queries and keys normalised ones [H + H', d]: their rms is 1, their length sqrt(d)."""
        return self.gain.flatten(0, -2) * self.head_width**0.5

    def _attend(self, q, k, v, bias):
        n, earlier = q.shape[2], k.shape[2] - q.shape[2]
        if not self.causal or n <= QUERIES_AT_ONCE:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # logits times d ** -0.5
        parts = []
        for start in range(0, n, QUERIES_AT_ONCE):
            some, end = slice(start, start + QUERIES_AT_ONCE), earlier + start + QUERIES_AT_ONCE
            mask = bias[:, :, some, :end]
            parts.append(F.scaled_dot_product_attention(q[:, :, some], k[:, :, :end], v[:, :, :end], mask))
        return torch.cat(parts, dim=2)
