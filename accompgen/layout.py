"""Streams <-> one sequence of ids: where a token stands in the sequence, in time, in the embedding table. Integers only.

The codebooks of a frame stand side by side, and frames follow each other: c1 c2 c3 c4 | c1 c2 c3 c4 | ...  The target
is shifted right behind BOS. Position n of the target *stands for* token n: it carries the codebook and the time of
token n, and receives token n - 1 as its input.

    position      0     1     2     3     4     5       coarse stage, 2 of the 4 codebooks drawn
    receives    BOS   a1    a2    b1    b2    c1
    predicts     a1   a2    b1    b2    c1    c2
    codebook      0    1     0     1     0     1
    tick          0    0     2     2     4     4        1/150 s
"""

from dataclasses import dataclass

import torch

from accompgen.stages import STAGES, Stream

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


@dataclass(frozen=True)
class Places:
    """What each position of a sequence stands for; four LongTensors or masks [N]."""

    stream: torch.Tensor  # index into Layout.streams
    codebook: torch.Tensor  # 0..Q-1 within its stream
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

    @classmethod
    def of(cls, stage: str, streams: dict[str, Stream]) -> "Layout":
        """The layout of a row of stages.STAGES."""
        row = STAGES[stage]
        return cls(tuple(streams[name] for name in row.context), streams[row.target])

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
    def rows(self) -> int:
        """Rows of the embedding table: the special tokens and every id of every codebook."""
        return SPECIALS + sum(stream.codebooks * stream.vocab for stream in self.streams)

    def table_rows(self, index: int, grid):
        """Ids [B, Q, T] of stream `index` -> rows of the embedding table, interleaved [B, T * Q]."""
        stream = self.streams[index]
        first = self.offsets[index] + stream.vocab * torch.arange(stream.codebooks, device=grid.device)  # [Q]
        return interleave(grid + first[:, None])

    def history(self, grid, hide=None):
        """What the target's positions receive: BOS, then the target ids [B, Q, F] without the last; rows [B, F * Q].

        `hide` (bool [B, F * Q], in the order of the sequence) replaces tokens of the history by MASK; BOS always stays.
        """
        tokens = self.table_rows(len(self.context), grid)
        if hide is not None:
            tokens = tokens.masked_fill(hide, MASK)
        return torch.cat([torch.full_like(tokens[:, :1], BOS), tokens[:, :-1]], dim=1)

    def places(self, index: int, frames: int, device=None) -> Places:
        """The places of `frames` frames of stream `index`."""
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
        if sorted(context) != sorted(names):
            raise ValueError(f"the context holds {sorted(context)}; this stage reads {names}")
        for stream in self.context:
            shape, needed = tuple(context[stream.name].shape), frames_covering(self.target, frames, stream)
            if len(shape) != 3 or shape[1] != stream.codebooks or shape[2] < needed:
                raise ValueError(
                    f"context {stream.name!r} has shape {shape}; expected [B, {stream.codebooks}, T] with T >= {needed}, "
                    f"so that it covers {frames} frames of {self.target.name!r}"
                )
