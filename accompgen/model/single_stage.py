"""MusicGen's transformer, and STAGE's: a text and maybe a context in, the codes of one stem out.

One causal sequence of columns, one code of every codebook in each, delayed as layout.py says:

    MusicGen   [target]                                 Copet et al. 2023, arXiv 2306.05284
    STAGE      [context, a column of id V + 1, target]  Strano et al. 2025, arXiv 2504.05690

The delay runs over the whole of it. A slot without a code holds id V. The embeddings of a column
are summed, and a sine of its place is added. Pre-norm blocks: causal attention, attention to the
text's states, GELU feed-forward; LayerNorm, no biases in products. Where there is no text the
states are zeros, which add nothing, so that attention is left out.

STAGE masks columns in which no slot holds a code: the first one, and under guidance all of the
context that is dropped. Places count from the first column that is left. MusicGen masks nothing.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from accompgen.config import SingleStageConfig
from accompgen.layout import Layout
from accompgen.model.attention import Cache, Linear
from accompgen.stages import Stream

LONGEST_PERIOD = 10_000.0  # of the sines
TEXT = "text"  # what `prefix_ids` calls the states of the text


class Attention(nn.Module):
    """Multi-head attention without biases: of columns to earlier ones, or to the states of a text.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (Linear(width, width, bias=False) for _ in range(4))

    def keys_and_values(self, x):
        """Of x [B, N, D]: two tensors [B, H, N, d]."""
        return self._split(self.k(x)), self._split(self.v(x))

    def forward(self, x, keys, values, mask=None):
        """Queries of x [B, N, D] over keys and values [B, H, M, d] -> [B, N, D]; `mask` is True
        where a key is seen.
        """
        y = F.scaled_dot_product_attention(self._split(self.q(x)), keys, values, attn_mask=mask)
        return self.out(y.transpose(1, 2).flatten(2))

    def _split(self, x):
        return x.float().unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """x + attention(norm(x)), x + text_attention(norm(x)), x + feed_forward(norm(x))."""

    def __init__(self, config: SingleStageConfig):
        super().__init__()
        self.attention_norm, self.text_norm, self.feed_forward_norm = (
            nn.LayerNorm(config.width) for _ in range(3)
        )
        self.attention, self.text_attention = (
            Attention(config.width, config.heads) for _ in range(2)
        )
        self.expand = Linear(config.width, config.hidden, bias=False)
        self.contract = Linear(config.hidden, config.width, bias=False)

    def forward(self, x, mask, cache: Cache, layer: int, text):
        """x [B, n, D] behind the filled columns of the cache; `text` are keys and values, or None
        without a text.
        """
        normed = self.attention_norm(x)
        keys, values = cache.extend(layer, *self.attention.keys_and_values(normed))
        x = x + self.attention(normed, keys, values, mask)
        if text is not None:
            x = x + self.text_attention(self.text_norm(x), *text)
        return x + self.contract(F.gelu(self.expand(self.feed_forward_norm(x)).float()))


class Decoder(nn.Module):
    """The blocks and the norm at their end."""

    def __init__(self, config: SingleStageConfig):
        super().__init__()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, x, mask, cache: Cache, texts):
        for layer, block in enumerate(self.blocks):
            x = block(x, mask, cache, layer, texts[layer] if texts else None)
        cache.filled += x.shape[1]
        return self.norm(x)


@dataclass
class DecodeState:
    """What a step needs besides the last codes: what stands fast of every column before it is made.

    Attributes:
        first: column in which the target's first step receives its codes.
        fixed: ids that a column receives [B, Q, N]; -1 where they are the target's.
        places: sines of the columns [B, N, D].
        seen: bool [B, N], columns that are not masked; None where all are seen.
        texts: of each block keys and values of the text's states; None without a text.
    """

    cache: Cache
    first: int
    fixed: torch.Tensor
    places: torch.Tensor
    seen: torch.Tensor | None
    texts: list | None


class SingleStageLM(nn.Module):
    """The model of one stem, with the methods that generation/decode.py asks for.

    Args:
        config: sizes.
        target: the stream that it predicts.
        context: the streams that it hears, one or none, as the config says.
    """

    def __init__(self, config: SingleStageConfig, target: Stream, context: tuple[Stream, ...] = ()):
        super().__init__()
        self.config, self.layout = config, Layout(context, target, "delay")
        ids = config.bins + 1 + config.context
        self.embedding = nn.Parameter(torch.empty(config.codebooks, ids, config.width))
        self.text_projection = Linear(config.text_width, config.width)
        self.decoder = Decoder(config)
        self.heads = nn.Parameter(
            torch.empty(config.codebooks, config.bins, config.width)
        )  # [Q, V, D]
        self.step_heads = None  # as of a StageLM
        for weight in (self.embedding, self.heads):
            nn.init.normal_(weight, std=config.width**-0.5)

    def start(self, context: dict, prompt, frames: int, drop=None, prefix_ids=None):
        """Read the context and the first frames of the target at once, and make room for the rest.

        Args:
            context: stream name -> LongTensor [B, Q, T] of any T, also 0, for a model that hears
                one; {} for others.
            prompt: LongTensor [B, Q, Fp], the target's first frames; Fp may be 0, not `frames`.
            frames: F of the whole target.
            drop: bool [B], rows that hear neither context nor text.
            prefix_ids: TEXT -> states of the text encoder [B, L * text_width], a token after the other;
                without, no text.

        Returns:
            (state, logits [B, Q, V] of the step that predicts the first code behind the prompt).

        Raises:
            ValueError: another context than the model hears.
        """
        names = [stream.name for stream in self.layout.context]
        if sorted(context) != names:
            raise ValueError(f"the context holds {sorted(context)}; this stage reads {names}")
        if drop is None:
            drop = torch.zeros(len(prompt), dtype=torch.bool, device=prompt.device)
        # [B, Q, T + 1], or without a context [B, Q, 0]
        before = self._before(context, prompt, drop)
        given, first = prompt.shape[-1], before.shape[-1]
        total = first + self.layout.steps(frames)
        fixed = self._delayed(nn.functional.pad(before, (0, frames), value=-1), total)
        known = self._delayed(
            nn.functional.pad(torch.cat([before, prompt], -1), (0, frames - given)), total
        )
        seen = self._seen(fixed)
        begins = torch.zeros_like(drop, dtype=torch.long) if seen is None else seen.int().argmax(-1)
        columns = torch.arange(total, device=prompt.device)
        places = sines((columns - begins[:, None]).clamp(min=0), self.config.width)
        head_width = self.config.width // self.config.heads
        cache = Cache(
            self.config.layers, len(prompt), self.config.heads, total, head_width, prompt.device
        )
        state = DecodeState(cache, first, fixed, places, seen, self._texts(prefix_ids, drop))
        length = first + given + 1
        x = self._embed(known[..., :length]) + places[:, :length]
        return state, self.head(self._read(x, begins, state))

    def step(self, state: DecodeState, ids):
        """The ids of the slots chosen last [B, Q], anything where a slot is empty -> logits [B, Q,
        V] of the next step's.

        Where a state has several times as many rows as `ids`, each of those copies receives the
        same ids.
        """
        at = state.cache.filled
        fixed = state.fixed[..., at]
        ids = torch.where(fixed < 0, ids.repeat(len(fixed) // len(ids), 1), fixed)
        x = self._embed(ids[..., None]) + state.places[:, at : at + 1]
        mask = None if state.seen is None else state.seen[:, None, None, : at + 1]
        return self.head(self.decoder(x, mask, state.cache, state.texts)[:, 0])

    def head(self, x):
        """Logits [B, Q, V] of x [B, D]."""
        if self.step_heads is not None:
            return self.step_heads[0](x).float().unflatten(-1, (self.config.codebooks, -1))
        return torch.einsum("bd,qvd->bqv", x.to(self.heads.dtype), self.heads).float()

    def _before(self, context, prompt, drop):
        """The columns of the context and the one behind it, before they are delayed."""
        if not self.layout.context:
            return prompt[..., :0]
        codes = context[self.layout.context[0].name].masked_fill(
            drop[:, None, None], self.config.bins
        )
        return nn.functional.pad(codes, (0, 1), value=self.config.bins + 1)

    def _delayed(self, grid, total):
        """What the first `total` columns receive [B, Q, total] of a grid [B, Q, T]: of codebook q
        the frame q + 1 columns ago,
        id `bins` where there is none."""
        received = grid.new_full((*grid.shape[:2], total), self.config.bins)
        for codebook in range(grid.shape[1]):
            count = min(grid.shape[-1], total - codebook - 1)
            received[:, codebook, codebook + 1 : codebook + 1 + count] = grid[:, codebook, :count]
        return received

    def _seen(self, fixed):
        return (fixed != self.config.bins).any(1) if self.config.context else None

    def _read(self, x, begins, state):
        """Fill the cache with the first columns x [B, n, D], each row from the column on in which
        it begins; what the last one gives [B, D].

        Rows that begin together are read together. What is masked stands before that, and is left
        out.
        """
        last, length, cache = x.new_empty(len(x), x.shape[2]), x.shape[1], state.cache
        for begin in sorted(set(begins.tolist())):
            rows = (begins == begin).nonzero()[:, 0]
            part, texts = cache, state.texts
            if begin or len(rows) < len(x):
                shape = (len(cache.keys), len(rows), cache.keys.shape[2], length - begin)
                part = Cache(*shape, cache.keys.shape[4], x.device)
                texts = texts and [(keys[rows], values[rows]) for keys, values in texts]
            n = length - begin
            causal = torch.ones(n, n, dtype=torch.bool, device=x.device).tril()
            last[rows] = self.decoder(x[rows, begin:], causal, part, texts)[:, -1]
            if part is not cache:
                cache.keys[:, rows, :, begin:length] = part.keys
                cache.values[:, rows, :, begin:length] = part.values
        cache.filled = length
        return last

    def _texts(self, prefix_ids, drop):
        states = (prefix_ids or {}).get(TEXT)
        if states is None:
            return None
        x = self.text_projection(states.unflatten(1, (-1, self.config.text_width)))
        x = x.masked_fill(drop[:, None, None], 0.0)
        return [block.text_attention.keys_and_values(x) for block in self.decoder.blocks]

    def _embed(self, ids):
        """Ids [B, Q, n] -> the sum of their embeddings [B, n, D]."""
        return sum(
            F.embedding(ids[:, codebook], table) for codebook, table in enumerate(self.embedding)
        )


def sines(places, width: int):
    """Cosines, then sines, of places [B, N] -> [B, N, width]: periods grow geometrically from 2 pi
    to 2 pi LONGEST_PERIOD.
    """
    half = width // 2
    rates = LONGEST_PERIOD ** -(torch.arange(half, device=places.device) / max(1, half - 1))
    angles = places[..., None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
