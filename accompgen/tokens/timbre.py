"""Who plays, as what was played before tells it: slow gains of the bands of a decoder's sound.

Blocks of a decoder see .4 s of codes around a frame. That is too little to know an electric piano
from a piano, so treble comes out as it is in the mean over both. Seconds of codes do know it, and
what is wrong is mostly how loud each band is, slowly: of 58 harmonies a probe tells the instrument
of .88 as they were, of .60 behind the codec, and of .83 once their bands are as loud over a second
as they were. So means and deviations of what a decoder says of its frames, of those near a place
and of all in the seconds before it, say by how much each band is louder or softer.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

STEP_FRAMES = 15  # of codes, from one gain to the next; between them gains run in lines
NEAR_STEPS = 4  # before a gain's place
HIDDEN = 256
MOST_DB = 30.0  # louder or softer
LEAST_VARIANCE = 1e-6


class Past:
    """What was said of a song, step by step, as far as it was decoded.

    Attributes:
        next: the number of the step that comes next. A step's frames begin at its number times
            STEP_FRAMES.
    """

    def __init__(self):
        self.first = self.next = 0
        self.sums = self.counts = None  # [B, n, D], [n] of the steps from `first` on

    def add(self, values: torch.Tensor, known: torch.Tensor) -> None:
        """The next steps.

        Args:
            values: what is said of their frames [B, n * STEP_FRAMES, D].
            known: bool [n * STEP_FRAMES], which frames are of the song.
        """
        there = known.view(-1, STEP_FRAMES, 1).to(values.dtype)
        steps = values.unflatten(1, (-1, STEP_FRAMES))
        sums = torch.cat([(steps * there).sum(2), (steps.square() * there).sum(2)], dim=-1)
        counts = there.sum((1, 2))
        self.sums = sums if self.sums is None else torch.cat([self.sums, sums], dim=1)
        self.counts = counts if self.counts is None else torch.cat([self.counts, counts])
        self.next = self.first + len(self.counts)

    def forget(self, before: int) -> None:
        """Steps before that number are not asked for any more."""
        gone = max(0, before - self.first)
        self.sums, self.counts, self.first = self.sums[:, gone:], self.counts[gone:], self.first + gone

    def means(self, places: torch.Tensor, length: int) -> torch.Tensor:
        """Means and deviations [B, A, 2 D] over so many steps before places [A], numbers of steps; over
        as many as the song has."""
        # a song goes on as it begins and ends
        last = self.first + int(self.counts.nonzero()[-1]) + 1
        stop = places.clamp(1, last) - self.first
        start = (stop - length).clamp(min=0)
        # in double precision, so that it does not matter where sums began
        sums = F.pad(self.sums.double().cumsum(1), (0, 0, 1, 0))
        counts = F.pad(self.counts.double().cumsum(0), (1, 0))
        mean = (sums[:, stop] - sums[:, start]) / (counts[stop] - counts[start])[:, None]
        mean, square = mean.chunk(2, dim=-1)
        deviation = (square - mean.square()).clamp(min=LEAST_VARIANCE).sqrt()
        return torch.cat([mean, deviation], dim=-1).float()


class Timbre(nn.Module):
    """What was said of frames -> gains of bands of the middle and of the noise of the side."""

    def __init__(self, values: int, bands: int, frames: int):
        """Of so many values of each of the `frames` before a gain's place."""
        super().__init__()
        self.steps, self.bands = max(NEAR_STEPS, math.ceil(frames / STEP_FRAMES)), bands
        self.hidden, self.out = nn.Linear(4 * values, HIDDEN), nn.Linear(HIDDEN, 2 * bands)
        # of what is heard; they stand by themselves since 16 bits are too few for their product with weights
        self.register_buffer("mean", torch.zeros(4 * values))
        self.register_buffer("scale", torch.ones(4 * values))
        # gains of 1, until it has learned others
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def heard(self, past: Past, places: torch.Tensor) -> torch.Tensor:
        """What tells the gains at places [A], numbers of steps: [B, A, 4 * values]."""
        return torch.cat([past.means(places, length) for length in (NEAR_STEPS, self.steps)], dim=-1)

    def forward(self, heard: torch.Tensor, first: float = 0.0, second: float = 0.0) -> torch.Tensor:
        """What is heard [..., 4 * values] -> natural logarithms of gains [..., 2, bands].

        `first` and `second` are shares of what is heard, and of the hidden layer, that are dropped in training.
        """
        hidden = F.gelu(self.hidden(F.dropout((heard - self.mean) / self.scale, first)))
        said = self.out(F.dropout(hidden, second)).unflatten(-1, (2, self.bands))
        most = MOST_DB * math.log(10) / 20
        return said.clamp(-most, most)


def between(gains: torch.Tensor, first: int, low: int, high: int, per_frame: int) -> torch.Tensor:
    """Gains [B, A, ...] at the steps from `first` on -> those of the parts of frames low..high-1, of
    which each frame has `per_frame`: [B, (high - low) * per_frame, ...]."""
    place = torch.arange(0.5, (high - low) * per_frame, device=gains.device) / per_frame
    place = (place + (low - first * STEP_FRAMES)) / STEP_FRAMES
    lower = place.floor().long()
    share = (place - lower).to(gains.dtype).view(-1, *(1,) * (gains.ndim - 2))
    return torch.lerp(gains[:, lower], gains[:, lower + 1], share)
