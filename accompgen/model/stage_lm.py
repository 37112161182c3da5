"""The language model of a stage: embeddings of a layout + Transformer + one head per codebook. ONE class for the three stages.

How it hears the context is one value of its configuration:

- `prefix`: [context, target] is one causal sequence.
- `aligned`: an encoder without the causal mask reads the context at its own frame rate (embeddings of simultaneous
  tokens are summed). Position n of the target receives, added to its input, the frame that sounds with token n, the
  token it is about to predict: its embedding and what the encoder made of it. So it hears its own time, and through
  the encoder what comes later. In the coarse stage the vocal and the semantic frames are summed at 50 Hz; in the fine
  stage the four coarse codebooks at 75 Hz.
"""

from dataclasses import dataclass

import torch
from torch import nn

from accompgen.config import ConfigError, StageConfig
from accompgen.layout import BOS, NULL, Layout, Places, join, sounding
from accompgen.model.attention import Cache, Linear
from accompgen.model.listener import EMBEDDING_STD, Listener, frame_sums
from accompgen.model.transformer import Transformer
from accompgen.stages import streams


@dataclass
class DecodeState:
    """What a step needs besides the last token: the cache, the places of the whole sequence, and the aligned context."""

    cache: Cache
    places: Places  # of the whole sequence, context included where it is a prefix
    first: int  # position of the target's first step in that sequence
    given: list  # of each step of the target, what is added to the tokens' embeddings [B, D]
    rows: list  # of each step, the first rows of the embedding table of its slots [W]
    empty: list  # of each step, which slots have no token, bool [W]; None where all have one
    sliding: torch.Tensor | None  # [1, H, 1, N] bias of distances N-1..0, where it follows from the distance in the sequence
    bias: torch.Tensor  # [H, n, M] else: the bias of the next n queries, rows bias_start...
    bias_start: int


class StageLM(nn.Module):
    """Predicts the target stream of a stage from its context streams. Ids only.

    Args:
        config: sizes and the row of stages.STAGES; ConfigError where context streams of different rates meet in `aligned`.
    """

    def __init__(self, config: StageConfig):
        super().__init__()
        table = streams(config.semantic_vocab, config.bins, config.coarse_codebooks, config.fine_codebooks)
        layout = Layout.of(config.stage, table, config.pattern)
        self.config, self.layout = config, layout
        aligned, time = config.context == "aligned", config.positions == "time"
        if aligned and len({stream.hz for stream in layout.context}) > 1:
            raise ConfigError(f"context = 'aligned' needs context streams of one rate; {config.stage} has several")
        size = dict(width=config.width, heads=config.heads, dropout=config.dropout)
        size |= dict(buckets=config.relative_buckets, max_distance=config.relative_max_distance)
        shared = aligned and not config.context_width
        self.encoder = Transformer(layers=config.context_layers, causal=False, signed=True, **size) if shared else None
        self.listener = Listener(config, layout) if config.context_width else None
        self.heard = Linear(config.context_width, config.width, bias=False) if config.context_width else None
        self.apart = False  # in training: the listener learns nothing from what the decoder makes of it
        # In a prefix the order of the sequence is not the order in time: keys may lie ahead, and streams tell who they are.
        mixed = time and not aligned
        pairs = len(layout.streams) if mixed else 0
        self.decoder = Transformer(
            layers=config.layers, kv_heads=config.kv_heads, causal=True, signed=mixed, streams=pairs, **size
        )
        # Embeddings enter the residual stream sqrt(D) times as large as they are stored. At 0.02 the biases of the first blocks
        # outgrow them within a hundred steps of Adam, and all positions look alike; the encoder said the same in every frame.
        self.loudness = config.width**0.5
        self.token_embedding = nn.Embedding(layout.rows, config.width)
        self.stream_embedding = nn.Embedding(len(layout.streams), config.width)
        side_by_side = [stream.codebooks for stream in layout.context]
        side_by_side.append(layout.target.codebooks // layout.slots)  # slots of one step need not be told apart
        self.codebook_embedding = nn.Embedding(max(side_by_side), config.width)
        self.beat_tracker = None  # of a checkpoint's semantic stage: model/beat_tracker.py
        self.step_heads = None  # made by generation/decode.py: the layers that a step's tokens are read with, one by one
        self.heads = nn.Parameter(torch.empty(layout.target.codebooks, layout.target.vocab, config.width))  # [Q, V, D]
        self.register_buffer("unit_chroma", None)  # [V, 12], of a checkpoint's semantic stage: see training/unit_chroma.py
        for weight in (self.token_embedding, self.stream_embedding, self.codebook_embedding):
            nn.init.normal_(weight.weight, std=EMBEDDING_STD)
        nn.init.normal_(self.heads, std=EMBEDDING_STD)
        if self.heard is not None:
            nn.init.normal_(self.heard.weight, std=EMBEDDING_STD)
        if shared:  # the encoded frame starts as loud as the embeddings it is added to
            nn.init.constant_(self.encoder.norm.gain, EMBEDDING_STD * self.loudness)

    def forward(self, context: dict, target, *, drop=None, hide=None, history=None, listen=False):
        """Teacher forcing: the logits of every token of the target, each from the context and the tokens before it.

        Args:
            context: stream name -> LongTensor [B, Q, T], T long enough to cover the target; what lies beyond is heard too.
            target: LongTensor [B, Q, F].
            drop: bool [B], rows whose whole context is replaced by the null token; or [B, K], where in K equal parts of it.
            hide: bool [B, F * Q], tokens of the target (interleaved) that are masked as history; they are still predicted.
            history: LongTensor [B, Q, F], what stands in the target's place as history; None: the target.
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
            return self._named(self._listen(self._context_parts(context, drop)), frames)
        received = self.layout.history(target if history is None else history, hide)  # [B, N, W]
        x, places, _, heard = self._inputs(context, received, frames, drop)
        x = self.decoder(x, self.decoder.bias(self._positions(places), places.stream))
        x = x[:, -received.shape[1] :][:, self.layout.step_of(frames, x.device)]  # [B, F, Q, D]
        logits = torch.einsum("bfqd,qvd->bfqv", x.to(self.heads.dtype), self.heads).float()
        if not listen:
            return logits
        return logits, self._named(heard, frames)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        """Weights come with or without what the units sound like."""
        if self.unit_chroma is None and prefix + "unit_chroma" in state_dict:
            self.unit_chroma = torch.empty_like(state_dict[prefix + "unit_chroma"], device=self.heads.device)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _named(self, encoded, frames):
        """Logits [B, F, Q, V] of the target as the encoded context [B, T, D], or D' of a listener, alone tells."""
        frame = sounding(self.layout.target, frames, self.layout.context[0], encoded.device)  # [F]
        heads = self.heads if self.listener is None else self.listener.heads
        loudness = EMBEDDING_STD * self.loudness if self.listener is None else 1.0  # over that of a decoder's output
        return torch.einsum("bfd,qvd->bfqv", (encoded[:, frame] / loudness).to(heads.dtype), heads).float()

    def _inputs(self, context, history, frames, drop):
        """Input embeddings of the decoder's sequence [B, N, D] up to the end of `history`, its places, what each step hears.

        The places reach to the end of `frames` target frames, which may lie beyond the history. The last of the four results is
        the encoded context [B, T, D], or D' of a listener, at its own frame rate; None in a prefix.
        """
        device, stage = history.device, self.layout
        place = stage.target_places(frames, device)
        x = self._embed(history, place)
        parts = self._context_parts(context, drop)
        if self.config.context == "prefix":
            x = torch.cat([*(self._embed(rows, at) for rows, at in parts), x], dim=1)
            return x, join([*(at for _, at in parts), place]), None, None
        frame = (place.tick // stage.target.ticks).clamp(max=frames - 1)  # of the step's first slot [N]
        frame = sounding(stage.target, frames, stage.context[0], device)[frame]  # of the context
        encoded = self._listen(parts)
        heard = encoded if self.listener is None else self._handed_on(encoded, parts)
        heard = heard[:, frame]  # [B, N, D]
        return x + heard[:, : history.shape[1]], place, heard, encoded

    def _context_parts(self, context, drop):
        """Of each context stream, rows of the embedding table [B, T * Q], null where `drop` [B] or [B, K], and places."""
        parts = []
        for index, stream in enumerate(self.layout.context):
            grid = context[stream.name]
            rows = self.layout.table_rows(index, grid)
            if drop is not None:
                parts_dropped = drop.view(len(drop), -1)  # [B, K]
                rows = rows.masked_fill(parts_dropped.repeat_interleave(rows.shape[1] // parts_dropped.shape[1], dim=1), NULL)
            parts.append((rows, self.layout.places(index, grid.shape[-1], grid.device)))
        return parts

    def _embed(self, rows, places: Places):
        """Token + stream + codebook embedding of rows [B, n] or [B, n, W] (summed), the first n of the places -> [B, n, D]."""
        n = rows.shape[1]
        place = self.stream_embedding(places.stream[:n]) + self.codebook_embedding(places.codebook[:n])
        tokens = self.token_embedding(rows)
        return ((tokens if rows.ndim == 2 else tokens.sum(2)) + place) * self.loudness

    def _listen(self, parts):
        """The encoded context at its frame rate, T of the shortest stream: a listener's [B, T, D'], or each frame's embedding
        plus its encoding [B, T, D]."""
        if self.listener is not None:
            return self.listener([rows for rows, _ in parts])
        x = self._frames(parts)
        positions = torch.arange(x.shape[1], device=x.device)
        if self.config.positions == "time":
            positions = positions * self.layout.context[0].ticks
        return x + self.encoder(x, self.encoder.bias(positions))

    def _handed_on(self, encoded, parts):
        """What the decoder receives from a listener's frames [B, T, D']: the frames' own embeddings and that [B, T, D]."""
        return self._frames(parts) + self.heard(encoded.detach() if self.apart else encoded)

    def _frames(self, parts):
        """Embeddings of the context's frames [B, T, D], summed over streams and codebooks, T of the shortest stream."""
        return frame_sums([self._embed(*part) for part in parts], [stream.codebooks for stream in self.layout.context])

    def _positions(self, places: Places):
        """Positions of the relative bias [N]: ticks, or indices of the sequence."""
        return places.tick if self.config.positions == "time" else torch.arange(len(places), device=places.tick.device)

    # ---- decoding, used by generation/decode.py ----

    def check_telling(self, listening: bool = False, consonance: bool = False, pulse: bool = False) -> None:
        """Raise ValueError, and say why, where this stage cannot tell what is asked of it."""
        stage = f"the {self.config.stage} stage"
        if (listening or consonance) and self.config.context == "prefix":
            raise ValueError(f"{stage} has no context encoder to listen to (context = 'prefix')")
        if consonance and self.unit_chroma is None:
            raise ValueError(
                f"{stage} does not know what its units sound like; consonance is for semantic stages (semantic=16) of "
                "checkpoints that were exported with --songs. Leave it at 0 elsewhere"
            )
        if pulse and self.beat_tracker is None:
            raise ValueError(
                f"{stage} has no beat tracker to go by; pulse is for semantic stages (semantic=1) of checkpoints that were "
                "exported with one. Leave it at 0 elsewhere"
            )

    def heard_alone(self, context: dict, frames: int, dropped: bool = False):
        """The target as the context encoder alone names it: log-probabilities, or those without the context, `dropped`.

        Of use in a stage that was trained with `listening_weight`.

        Returns:
            [B, F, Q, V].

        Raises:
            ValueError: the context is a prefix: there is no encoder; or it does not cover `frames` target frames.
        """
        self.check_telling(listening=True)
        self.layout.check(context, frames)
        drop = torch.full((len(next(iter(context.values()))),), dropped, device=self.heads.device)
        return self._named(self._listen(self._context_parts(context, drop)), frames).log_softmax(-1)

    def consonance(self, heard):
        """How well the pitches of each token go with those that the context encoder alone expects at its time.

        The covariance of the token's chroma (training/unit_chroma.py) with the expected one: a choice by it accepts, of several
        chords that a melody allows, what most of them share. It is minimum Bayes risk decoding (Kumar and Byrne 2004) with the
        chroma in common as the gain; less what of it follows from how tonal a token is, so that drums are not avoided.

        Args:
            heard: what `heard_alone` gives [B, F, Q, V].

        Returns:
            [B, F, Q, V].

        Raises:
            ValueError: the stage does not know what its units sound like.
        """
        self.check_telling(consonance=True)
        likely, size = heard.exp(), self.unit_chroma.norm(dim=1)  # [B, F, Q, V], [V]
        gain = likely @ self.unit_chroma @ self.unit_chroma.T  # [B, F, Q, V]
        by_size = (likely * size * gain).sum(-1, keepdim=True) / (likely * size.square()).sum(-1, keepdim=True).clamp_min(1e-9)
        return gain - by_size * size

    def pulse(self, context: dict, frames: int, earlier=None):
        """How well each token goes with the beat that the voice makes likely, in nats: see BeatTracker.told.

        Args:
            context: stream name -> LongTensor [B, Q, T], with "vocal", T even, covering `frames` target frames.
            earlier: LongTensor [B, 1, T'], T' even, what was sung before: its beat goes on.

        Returns:
            [B, F, 1, V].

        Raises:
            ValueError: the stage has no beat tracker.
        """
        self.check_telling(pulse=True)
        vocal = context["vocal"] if earlier is None else torch.cat([earlier, context["vocal"]], dim=-1)
        first = vocal.shape[-1] - context["vocal"].shape[-1]
        return self.beat_tracker.told(vocal[:, 0])[:, first : first + frames, None]

    def start(self, context: dict, prompt, frames: int, drop=None):
        """Read the context and the first frames of the target at once, and make room for the rest.

        Args:
            context: as in `forward`; it must cover `frames` target frames.
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
        x, places, heard, _ = self._inputs(context, history, frames, drop)
        length, block = x.shape[1], self.decoder
        cache = Cache(len(block.blocks), len(x), block.kv_heads, len(places), block.head_width, x.device)
        bias = block.bias(self._positions(places), places.stream, 0, length)
        x = block(x, bias, cache)[:, -1]
        slots = self.layout.slots_of(frames, x.device)  # [N, W]
        rows = self.layout.offsets[-1] + slots % self.layout.target.codebooks * self.layout.target.vocab
        full = (slots >= 0).all(1).tolist()
        first = length - history.shape[1]
        state = DecodeState(
            cache,
            places,
            first,
            list(self._given(places, first, heard).expand(-1, len(x), -1)),
            list(rows),
            [None if all_there else empty for all_there, empty in zip(full, slots < 0)],
            self._sliding(places),
            bias,
            bias_start=0,
        )
        return state, self.head(x, length - 1 - first)

    def _given(self, places, first, heard):
        """What a step adds to its tokens' embeddings [N, B, D]: where it stands and what it hears; of a prefix [N, 1, D]."""
        place = self.stream_embedding(places.stream[first:]) + self.codebook_embedding(places.codebook[first:])
        place = (place * self.loudness)[:, None]
        return place if heard is None else place + heard.transpose(0, 1)

    def _sliding(self, places):
        """Bias [1, H, 1, N] of the last query, whose last n values are the n-th query's; None where it has no such order."""
        positions = self._positions(places)
        steps = positions.diff()
        if self.decoder.relative_bias.pairs is not None or bool((steps != steps[:1]).any()):
            return None
        return self.decoder.bias(positions, None, len(places) - 1, len(places))[None]

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
        return self.head(self.decoder.step(x, self._bias_row(state, at), state.cache), n)

    def enter(self, rows, given):
        """Rows of the embedding table [B, W] and what a step adds to them [B', D], B' a multiple of B -> its input [B', D]."""
        tokens = self.token_embedding(rows).sum(1)  # [B, D]
        return torch.add(given.unflatten(0, (-1, len(tokens))), tokens, alpha=self.loudness).flatten(0, 1)

    def all_bias(self, state):
        """The bias of every query behind the filled positions over all keys [H, n, N], -inf over keys behind it."""
        places = state.places
        return self.decoder.bias(self._positions(places), places.stream, state.cache.filled, len(places))

    def _bias_row(self, state, at, block: int = 64):
        """The bias of the query at position `at` [1, H, 1, at + 1]; without `sliding`, rows are made a block at a time."""
        if state.sliding is not None:
            return state.sliding[..., -at - 1 :]
        if at >= state.bias_start + state.bias.shape[1]:
            state.bias_start = at
            end = min(at + block, len(state.places))
            state.bias = self.decoder.bias(self._positions(state.places), state.places.stream, at, end)
        row = at - state.bias_start
        return state.bias[None, :, row : row + 1, : at + 1]

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
