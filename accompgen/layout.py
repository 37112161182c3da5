"""Streams <-> one sequence of ids: where a token stands in the sequence, in time, in the embedding table. Integers only.

The target is generated in steps; each step predicts its *slots*, one or several tokens at once, and receives those of the
step before. The first step receives BOS. There are two patterns. `interleave`, as published: the codebooks of a frame stand
side by side, a step is one token.

    step          0     1     2     3     4     5       coarse stage, 2 of the 4 codebooks drawn
    receives    BOS   a1    a2    b1    b2    c1
    predicts     a1   a2    b1    b2    c1    c2
    codebook      0    1     0     1     0     1
    tick          0    0     2     2     4     4        1/150 s

`delay` (MusicGen, arXiv 2306.05284, section 2.2): a step is one token of every codebook, codebook q of the frame q steps ago,
so that a token still knows the lower codebooks of its own frame. Q times fewer steps; slots before the first frame and behind
the last one are empty, and an empty slot is received as BOS.

    step          0     1     2     3
    receives    BOS   a1    b1    c1
                BOS  BOS    a2    b2
    predicts     a1   b1    c1     -
                  -   a2    b2    c2
    tick          0    2     4     6
"""

from dataclasses import dataclass

import torch

from accompgen.stages import Graph, Stream

BOS, NULL, MASK = 0, 1, 2  # first rows of the embedding table: start of the target, no context, hidden history
SPECIALS = 3


def interleave(grid):
    """Grid [..., Q, T] -> sequence [..., T * Q], frame by frame."""
    return grid.transpose(-1, -2).flatten(-2)


def deinterleave(sequence, codebooks: int):
    """Sequence [..., T * Q] -> grid [..., Q, T]; ValueError where the last frame is incomplete."""
    if sequence.shape[-1] % codebooks:
        raise ValueError(f"{sequence.shape[-1]} tokens are no whole number of frames of {codebooks} codebooks")
    return sequence.unflatten(-1, (-1, codebooks)).transpose(-1, -2)


def frames_within(source: Stream, frames: int, target: Stream) -> int:
    """Whole frames of `target` that sound within `frames` of `source`; acoustic from semantic: int(1.5 S)."""
    return frames * source.ticks // target.ticks


def frames_covering(source: Stream, frames: int, target: Stream) -> int:
    """Fewest frames of `target` that cover `frames` of `source`; semantic from acoustic: ceil(F / 1.5)."""
    return -(-frames * source.ticks // target.ticks)


def sounding(target: Stream, frames: int, context: Stream, device=None):
    """For each of `frames` target frames the context frame that sounds as it starts [frames]; acoustic f: floor(2 f / 3)."""
    return torch.arange(frames, device=device) * target.ticks // context.ticks


def quickest(streams: tuple[Stream, ...]) -> Stream:
    """The first of the streams with the shortest frames: at its rate they are heard together."""
    first = streams[0]
    for stream in streams[1:]:  # a loop, which torch.compile follows; `min` with a key it does not
        if stream.ticks < first.ticks:
            first = stream
    return first


@dataclass(frozen=True)
class Places:
    """What each position of a sequence stands for; four LongTensors or masks [N]."""

    stream: torch.Tensor  # index into Layout.streams
    codebook: torch.Tensor  # 0..Q-1 within its stream; of the first slot where a step has several
    tick: torch.Tensor  # start of its frame in 1/150 s
    predicts: torch.Tensor  # bool: the loss mask, True where the position predicts a token of the target

    def __len__(self):
        return len(self.tick)


def join(parts: list[Places]) -> Places:
    """The places of sequences one after the other."""
    names = ("stream", "codebook", "tick", "predicts")
    return Places(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Layout:
    """The sequence of one stage: its context streams in order, then its target."""

    context: tuple[Stream, ...]
    target: Stream
    pattern: str = "interleave"  # of the target: interleave | delay
    prefix: tuple[tuple[str, int, int], ...] = ()  # (name, ids there are, ids that are read) of what stands before the target

    @classmethod
    def of(cls, stage: str, graph: Graph, pattern: str = "interleave") -> "Layout":
        """The layout of a stage of a graph."""
        row = graph.stage(stage)
        context = tuple(graph.stream(name) for name in row.context)
        return cls(context, graph.stream(row.target), pattern, graph.prefix_sizes(stage))

    @property
    def streams(self) -> tuple[Stream, ...]:
        """All streams in the order of the sequence; the last one is the target."""
        return (*self.context, self.target)

    @property
    def offsets(self) -> tuple[int, ...]:
        """First row of each stream in the embedding table; codebook q of a stream begins q * vocab rows further on."""
        first, offsets = SPECIALS, []
        for stream in self.streams:
            offsets.append(first)
            first += stream.codebooks * stream.vocab
        return tuple(offsets)

    @property
    def stream_rows(self) -> int:
        """Rows of the embedding table for the special tokens and every id of every codebook; those of the prefix follow."""
        return SPECIALS + sum(stream.codebooks * stream.vocab for stream in self.streams)

    @property
    def rows(self) -> int:
        """Rows of the embedding table."""
        return self.stream_rows + sum(vocab for _, vocab, _ in self.prefix)

    @property
    def prefix_length(self) -> int:
        """P, positions before the target's first step: ids of the prefix."""
        return sum(length for _, _, length in self.prefix)

    def table_rows(self, index: int, grid):
        """Ids [B, Q, T] of stream `index` -> rows of the embedding table, interleaved [B, T * Q].

        An id below 0 is not known: NULL.
        """
        stream = self.streams[index]
        first = self.offsets[index] + stream.vocab * torch.arange(stream.codebooks, device=grid.device)  # [Q]
        return interleave(torch.where(grid < 0, NULL, grid + first[:, None]))

    def prefix_rows(self, prefix_ids: dict, batch: int, device=None):
        """The ids of the prefix, name -> [B, length] -> rows of the embedding table [B, P]; ids below 0, and names that
        are missing, are NULL.

        Raises ValueError for another shape, or for a name that the prefix does not have.
        """
        if unknown := sorted(set(prefix_ids) - {name for name, _, _ in self.prefix}):
            raise ValueError(f"the prefix of this stage has no {unknown[0]!r}; it has {[name for name, _, _ in self.prefix]}")
        parts, first = [torch.zeros(batch, 0, dtype=torch.long, device=device)], self.stream_rows
        for name, vocab, length in self.prefix:
            ids = prefix_ids.get(name)
            if ids is None:
                ids = torch.full((batch, length), -1, device=device)
            if tuple(ids.shape) != (batch, length):
                raise ValueError(f"{name} has shape {tuple(ids.shape)}; expected {[batch, length]}")
            parts.append(torch.where(ids < 0, NULL, ids + first))
            first += vocab
        return torch.cat(parts, dim=1)

    @property
    def slots(self) -> int:
        """W, tokens of the target that a step predicts."""
        return self.target.codebooks if self.pattern == "delay" else 1

    def steps(self, frames: int) -> int:
        """N, steps in which `frames` frames of the target are generated."""
        return frames + self.target.codebooks - 1 if self.pattern == "delay" else frames * self.target.codebooks

    def steps_before(self, frames: int) -> int:
        """The first step that predicts a token behind the first `frames` frames."""
        return frames if self.pattern == "delay" else frames * self.target.codebooks

    def step_of(self, frames: int, device=None):
        """The step that predicts the token of each frame and codebook [F, Q]."""
        frame, codebook = torch.arange(frames, device=device)[:, None], torch.arange(self.target.codebooks, device=device)
        return frame + codebook if self.pattern == "delay" else frame * self.target.codebooks + codebook

    def slots_of(self, frames: int, device=None):
        """What each step predicts: place in the interleaved target, frame * Q + codebook, or -1 for an empty slot [N, W]."""
        codebooks = self.target.codebooks
        step = torch.arange(self.steps(frames), device=device)[:, None]
        if self.pattern == "interleave":
            return step
        codebook = torch.arange(codebooks, device=device)
        frame = step - codebook
        return torch.where((frame >= 0) & (frame < frames), frame * codebooks + codebook, -1)

    def history(self, grid, hide=None):
        """What the steps of the target receive, from the target's ids [B, Q, F]: rows of the embedding table [B, N, W].

        `hide` (bool [B, F * Q], interleaved) replaces tokens of the history by MASK; BOS always stays.
        """
        tokens = self.table_rows(len(self.context), grid)
        if hide is not None:
            tokens = tokens.masked_fill(hide, MASK)
        slots = self.slots_of(grid.shape[-1], grid.device)
        received = tokens[:, slots].masked_fill(slots < 0, BOS)  # an empty slot indexes the last token, and is covered
        return torch.cat([torch.full_like(received[:, :1], BOS), received[:, :-1]], dim=1)

    def target_places(self, frames: int, device=None) -> Places:
        """The places of the steps in which `frames` frames of the target are generated."""
        index = len(self.context)
        if self.pattern == "interleave":
            return self.places(index, frames, device)
        step = torch.arange(self.steps(frames), device=device)
        return Places(
            stream=torch.full_like(step, index),
            codebook=torch.zeros_like(step),
            tick=step * self.target.ticks,
            predicts=torch.ones_like(step, dtype=torch.bool),
        )

    def places(self, index: int, frames: int, device=None) -> Places:
        """The places of `frames` frames of stream `index`, interleaved."""
        stream = self.streams[index]
        position = torch.arange(frames * stream.codebooks, device=device)
        return Places(
            stream=torch.full_like(position, index),
            codebook=position % stream.codebooks,
            tick=position // stream.codebooks * stream.ticks,
            predicts=torch.full_like(position, index == len(self.context), dtype=torch.bool),
        )

    def check(self, context: dict, frames: int) -> None:
        """ValueError unless `context` holds this stage's streams [B, Q, T], each covering `frames` target frames."""
        names = [stream.name for stream in self.context]
        if set(context) != set(names):
            raise ValueError(f"the context holds {sorted(context)}; this stage reads {names}")
        for stream in self.context:
            shape, needed = tuple(context[stream.name].shape), frames_covering(self.target, frames, stream)
            if len(shape) != 3 or shape[1] != stream.codebooks or shape[2] < needed:
                raise ValueError(
                    f"context {stream.name!r} has shape {shape}; expected [B, {stream.codebooks}, T] with T >= {needed}, "
                    f"so that it covers {frames} frames of {self.target.name!r}"
                )
