"""The language model of a stage: embeddings of a layout + Transformer + one head per codebook. ONE class for all stages.

How it hears the context is one value of its configuration:

- `prefix`: [context, target] is one causal sequence.
- `aligned`: an encoder without the causal mask reads the context at its own frame rate (embeddings of simultaneous
  tokens are summed). Position n of the target receives, added to its input, the frame that sounds with token n, the
  token it is about to predict: its embedding and what the encoder made of it. So it hears its own time, and through
  the encoder what comes later. Streams of several rates are summed at the quickest one's.

What holds for a whole window (the stem, a text) stands before the target's first step: model/conditions.py.
"""

from dataclasses import dataclass

import torch
from torch import nn

from accompgen.config import StageConfig
from accompgen.layout import BOS, Layout, Places, quickest, sounding
from accompgen.model.attention import Cache, Linear
from accompgen.model.conditions import context_rows, frame_sums, masked_prefix_rows
from accompgen.model.context_encoder import EMBEDDING_STD, ContextEncoder
from accompgen.model.transformer import Transformer


@dataclass
class DecodeState:
    """What a step needs besides the last token: the cache, and of every step what stands fast before it is made."""

    cache: Cache
    first: int  # position of the target's first step in the whole sequence
    given: list  # of each step of the target, what is added to the tokens' embeddings [B, D]
    rows: list  # of each step, the first rows of the embedding table of its slots [W]
    empty: list  # of each step, which slots have no token, bool [W]; None where all have one
    bias: torch.Tensor  # [1, H, 1, N] of the last query; its last n values are those of the n-th


class StageLM(nn.Module):
    """Predicts the target stream of a stage from its context streams. Ids only.

    Args:
        config: sizes, and which stage of which graph it is.
    """

    def __init__(self, config: StageConfig):
        super().__init__()
        layout = Layout.of(config.stage, config.rows, config.pattern)
        self.config, self.layout = config, layout
        aligned = config.context == "aligned"
        size = dict(width=config.width, heads=config.heads, dropout=config.dropout)
        size |= dict(buckets=config.relative_buckets, max_distance=config.relative_max_distance)
        shared = aligned and not config.context_width
        self.encoder = Transformer(layers=config.context_layers, causal=False, signed=True, **size) if shared else None
        self.listener = ContextEncoder(config, layout) if config.context_width else None
        self.heard = Linear(config.context_width, config.width, bias=False) if config.context_width else None
        self.detached = False  # in training: the listener learns nothing from what the decoder makes of it
        self.decoder = Transformer(layers=config.layers, kv_heads=config.kv_heads, causal=True, **size)
        # Embeddings enter the residual stream sqrt(D) times as large as they are stored. At 0.02 the biases of the first blocks
        # outgrow them within a hundred steps of Adam, and all positions look alike; the encoder said the same in every frame.
        self.embedding_scale = config.width**0.5
        self.token_embedding = nn.Embedding(layout.rows, config.width)
        self.stream_embedding = nn.Embedding(len(layout.streams), config.width)
        side_by_side = [stream.codebooks for stream in layout.context]
        side_by_side.append(layout.target.codebooks // layout.slots)  # slots of one step need not be told apart
        self.codebook_embedding = nn.Embedding(max(side_by_side), config.width)
        self.beat_tracker = None  # of a checkpoint's semantic stage: model/beat_tracker.py
        self.step_heads = None  # made by generation/decode.py: the layers that a step's tokens are read with, one by one
        self.heads = nn.Parameter(torch.empty(layout.target.codebooks, layout.target.vocab, config.width))  # [Q, V, D]
        self.register_buffer("chord_chroma", None, persistent=False)  # [ids, 12], of the chords that it hears: chart.py
        self.register_buffer("unit_chroma", None)  # [V, 12], where ids have pitches: of units (training/unit_chroma.py), chords
        for weight in (self.token_embedding, self.stream_embedding, self.codebook_embedding):
            nn.init.normal_(weight.weight, std=EMBEDDING_STD)
        nn.init.normal_(self.heads, std=EMBEDDING_STD)
        if self.heard is not None:
            nn.init.normal_(self.heard.weight, std=EMBEDDING_STD)
        if shared:  # the encoded frame starts as loud as the embeddings it is added to
            nn.init.constant_(self.encoder.norm.gain, EMBEDDING_STD * self.embedding_scale)

    def forward(self, context: dict, target, *, prefix_ids=None, drop=None, hide=None, listen=False):
        """Teacher forcing: the logits of every token of the target, each from the context and the tokens before it.

        Args:
            context: stream name -> LongTensor [B, Q, T], T long enough to cover the target; what lies beyond is heard too. An
                id below 0 is not known.
            target: LongTensor [B, Q, F].
            prefix_ids: name -> LongTensor [B, length] of what the layout's prefix names; what is missing is not known.
            drop: bool [B], rows whose whole context is replaced by the null token; or [B, K], where in K equal parts of it.
            hide: bool [B, F * Q], tokens of the target (interleaved) that are masked as history; they are still predicted.
            listen: give the context encoder's own logits, too; only where the context is aligned. "alone": give them alone,
                as no decoder is needed for.

        Returns:
            logits [B, F, Q, V] in float32; with `listen` True a pair of them, the second as the context alone tells.

        Raises:
            ValueError: context streams missing or too short.
        """
        frames = target.shape[-1]
        self.layout.check(context, frames)
        if listen == "alone":
            return self.listened(context, frames, drop)
        received = self.layout.history(target, hide)  # [B, N, W]
        x, _, heard = self._inputs(context, prefix_ids, received, frames, drop)
        x = self.decoder(x, self.decoder.bias(self._positions(x.shape[1])))
        x = x[:, -received.shape[1] :][:, self.layout.step_of(frames, x.device)]  # [B, F, Q, D]
        logits = torch.einsum("bfqd,qvd->bfqv", x.to(self.heads.dtype), self.heads).float()
        if not listen:
            return logits
        return logits, self._context_logits(heard, frames)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        """Weights come with or without what the units sound like."""
        if self.unit_chroma is None and prefix + "unit_chroma" in state_dict:
            self.unit_chroma = torch.empty_like(state_dict[prefix + "unit_chroma"], device=self.heads.device)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def listened(self, context: dict, frames: int, drop=None):
        """The logits [B, F, Q, V] of the target as the context encoder alone names it; `drop` as in `forward`."""
        return self._context_logits(self._listen(context_rows(self.layout, context, drop)), frames)

    def _context_logits(self, encoded, frames):
        """Logits [B, F, Q, V] of the target as the encoded context [B, T, D], or D' of a listener, alone tells."""
        frame = sounding(self.layout.target, frames, quickest(self.layout.context), encoded.device)  # [F]
        heads = self.heads if self.listener is None else self.listener.heads
        scale = EMBEDDING_STD * self.embedding_scale if self.listener is None else 1.0  # over that of a decoder's output
        return torch.einsum("bfd,qvd->bfqv", (encoded[:, frame] / scale).to(heads.dtype), heads).float()

    def _inputs(self, context, prefix_ids, history, frames, drop):
        """Input embeddings of the decoder's sequence up to the end of `history`, what each step hears, the encoded context.

        Returns:
            [B, N, D]; [B, steps of `frames` target frames, D]; [B, T, D], or D' of a listener, at the rate of the quickest
            context stream. The last two are None where the context is a prefix.
        """
        device, layout = history.device, self.layout
        place = layout.target_places(frames, device)
        x = self._embed(history, place)
        parts, before = context_rows(layout, context, drop), []
        if self.config.context == "prefix":
            before = [self._embed(rows, at) for rows, at in parts]
        if layout.prefix_length:
            rows = masked_prefix_rows(layout, prefix_ids, len(history), drop, device)
            before.append(self.token_embedding(rows) * self.embedding_scale)
        if self.config.context == "prefix":
            return torch.cat([*before, x], dim=1), None, None
        frame = (place.tick // layout.target.ticks).clamp(max=frames - 1)  # of the step's first slot [N]
        frame = sounding(layout.target, frames, quickest(layout.context), device)[frame]  # of the context
        encoded = self._listen(parts)
        heard = encoded if self.listener is None else self._to_decoder(encoded, parts)
        heard = heard[:, frame]  # [B, N, D]
        return torch.cat([*before, x + heard[:, : history.shape[1]]], dim=1), heard, encoded

    def _embed(self, rows, places: Places):
        """Token + stream + codebook embedding of rows [B, n] or [B, n, W] (summed), the first n of the places -> [B, n, D]."""
        n = rows.shape[1]
        place = self.stream_embedding(places.stream[:n]) + self.codebook_embedding(places.codebook[:n])
        tokens = self.token_embedding(rows)
        return ((tokens if rows.ndim == 2 else tokens.sum(2)) + place) * self.embedding_scale

    def _listen(self, parts):
        """The encoded context at its frame rate, T of the shortest stream: a listener's [B, T, D'], or each frame's embedding
        plus its encoding [B, T, D]."""
        if self.listener is not None:
            return self.listener([rows for rows, _ in parts])
        x = self._frames(parts)
        return x + self.encoder(x, self.encoder.bias(self._positions(x.shape[1])))

    def _to_decoder(self, encoded, parts):
        """What the decoder receives from a listener's frames [B, T, D']: the frames' own embeddings and that [B, T, D]."""
        return self._frames(parts) + self.heard(encoded.detach() if self.detached else encoded)

    def _frames(self, parts):
        """Embeddings of the context's frames [B, T, D], summed over streams and codebooks, T as far as all reach."""
        return frame_sums([self._embed(*part) for part in parts], self.layout.context)

    def _positions(self, count: int):
        """Positions of the relative bias [N]."""
        return torch.arange(count, device=self.heads.device)

    # ---- decoding, used by generation/decode.py ----

    def start(self, context: dict, prompt, frames: int, drop=None, prefix_ids=None):
        """Read the context and the first frames of the target at once, and make room for the rest.

        Args:
            context, prefix_ids: as in `forward`; the context must cover `frames` target frames.
            prompt: LongTensor [B, Q, Fp], the target's first frames; Fp may be 0, not `frames`.
            frames: F of the whole target.
            drop: bool [B], rows that decode under the null context.

        Returns:
            (state, logits [B, W, V] of the slots of the first step that predicts a token behind the prompt).
        """
        self.layout.check(context, frames)
        given = prompt.shape[-1]
        grid = nn.functional.pad(prompt, (0, frames - given))  # what stands behind the prompt is cut off again
        history = self.layout.history(grid)[:, : self.layout.steps_before(given) + 1]  # [B, n, W]
        x, heard, _ = self._inputs(context, prefix_ids, history, frames, drop)
        length, block = x.shape[1], self.decoder
        first = length - history.shape[1]
        positions = self._positions(first + self.layout.steps(frames))
        cache = Cache(len(block.blocks), len(x), block.kv_heads, len(positions), block.head_width, x.device)
        x = block(x, block.bias(positions, 0, length), cache)[:, -1]
        slots = self.layout.slots_of(frames, x.device)  # [N, W]
        full = (slots >= 0).all(1).tolist()
        state = DecodeState(
            cache,
            first,
            given=list(self._given(frames, heard).expand(-1, len(x), -1)),
            rows=list(self.layout.offsets[-1] + slots % self.layout.target.codebooks * self.layout.target.vocab),
            empty=[None if all_there else empty for all_there, empty in zip(full, slots < 0)],
            bias=block.bias(positions, len(positions) - 1, len(positions))[None],
        )
        return state, self.head(x, length - 1 - first)

    def _given(self, frames, heard):
        """What a step adds to its tokens' embeddings [N, B, D]: where it stands and what it hears; of a prefix [N, 1, D]."""
        place = self.layout.target_places(frames, self.heads.device)
        place = self.stream_embedding(place.stream) + self.codebook_embedding(place.codebook)
        place = (place * self.embedding_scale)[:, None]
        return place if heard is None else place + heard.transpose(0, 1)

    def step(self, state: DecodeState, ids):
        """The ids of the slots chosen last [B, W], anything where a slot is empty -> logits [B, W, V] of the next step's.

        Where a state has several times as many rows as `ids`, each of those copies receives the same ids.
        """
        at = state.cache.filled  # position in the sequence
        n = at - state.first  # the step of the target
        rows = ids + state.rows[n - 1]  # [B, W]
        if state.empty[n - 1] is not None:
            rows = rows.masked_fill(state.empty[n - 1], BOS)
        x = self.enter(rows, state.given[n])
        return self.head(self.decoder.step(x, state.bias[..., -at - 1 :], state.cache), n)

    def enter(self, rows, given):
        """Rows of the embedding table [B, W] and what a step adds to them [B', D], B' a multiple of B -> its input [B', D]."""
        tokens = self.token_embedding(rows).sum(1)  # [B, D]
        return torch.add(given.unflatten(0, (-1, len(tokens))), tokens, alpha=self.embedding_scale).flatten(0, 1)

    def head(self, x, n):
        """Logits [B, W, V] of the slots of step n from x [B, D]."""
        first = n % (self.layout.target.codebooks // self.layout.slots)  # codebook of the first slot
        if self.step_heads is not None:
            return self.step_heads[first](x).float().unflatten(-1, (self.layout.slots, -1))
        heads = self.heads[first : first + self.layout.slots].flatten(0, 1)  # [W * V, D]
        return nn.functional.linear(x.to(heads.dtype), heads).float().unflatten(-1, (self.layout.slots, -1))


def parameters(model: nn.Module) -> int:
    """Number of learned values."""
    return sum(parameter.numel() for parameter in model.parameters())
