"""A context encoder with a width, embeddings and heads of its own, which by itself names the target's tokens of each frame.

It reads several frames of the context as one, so that its attention is over notes and not over frames, and gives every frame
a vector of its own again. What it makes of the context is handed to the decoder, and it can be trained before the decoder and
without it: a decoder learns to continue its own history long before it learns to listen.
"""

import torch
from torch import nn

from accompgen.config import StageConfig
from accompgen.layout import Layout
from accompgen.model.attention import Linear
from accompgen.model.conditions import frame_sums
from accompgen.model.transformer import RMSNorm, Transformer

EMBEDDING_STD = 0.02  # of embeddings and heads at the start


class ContextEncoder(nn.Module):
    """Context ids -> a vector and the target's logits for every frame of the context.

    Args:
        config: context_width D', context_layers, context_pool P; the heads of its attention are as wide as the decoder's.
        layout: of the stage.
    """

    def __init__(self, config: StageConfig, layout: Layout):
        super().__init__()
        width, self.frames_a_pool = config.context_width, config.context_pool
        self.streams = layout.context
        self.embedding_scale = width**0.5  # of embeddings, as in the decoder
        self.embedding = nn.Embedding(layout.offsets[-1], width)  # the special tokens and the ids of the context
        self.pool = Linear(config.context_pool * width, width, bias=False)
        size = dict(buckets=config.relative_buckets, max_distance=config.relative_max_distance, dropout=config.dropout)
        heads = width * config.heads // config.width
        self.encoder = Transformer(width, config.context_layers, heads, causal=False, signed=True, **size)
        self.unpool = Linear(width, config.context_pool * width, bias=False)
        self.norm = RMSNorm(width)
        self.heads = nn.Parameter(torch.empty(layout.target.codebooks, layout.target.vocab, width))  # [Q, V, D']
        for weight in (self.embedding.weight, self.heads):
            nn.init.normal_(weight, std=EMBEDDING_STD)
        for layer in (self.pool, self.unpool):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)

    def forward(self, rows: list):
        """Rows of the embedding table of each context stream [B, T * Q], interleaved -> [B, T, D'] at the rate of the
        quickest, T as far as all reach."""
        x = frame_sums([self.embedding(ids) for ids in rows], self.streams) * self.embedding_scale
        frames = x.shape[1]
        filled = nn.functional.pad(x, (0, 0, 0, -frames % self.frames_a_pool))  # the last pool ends in silence
        pooled = self.pool(filled.unflatten(1, (-1, self.frames_a_pool)).flatten(2)).to(x.dtype)  # [B, ceil(T / P), D']
        positions = torch.arange(pooled.shape[1], device=x.device)
        encoded = self.encoder(pooled, self.encoder.bias(positions))
        apart = self.unpool(encoded).unflatten(-1, (self.frames_a_pool, -1)).flatten(1, 2)[:, :frames]
        return self.norm(x + apart)
