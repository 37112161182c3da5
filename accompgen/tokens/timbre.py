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
    """What was said of a song, step by step, as far as it was decoded: running totals.

    A step's frames begin at its number times STEP_FRAMES.
    """

    def __init__(self):
        self.first = 0  # the step before which the first totals stand
        # [B, n + 1, 2 D] of values and their squares, [n + 1] of frames; None before the first step
        self.totals = self.counts = None

    @property
    def next(self) -> int:
        """The number of the step that comes next."""
        return 0 if self.counts is None else self.first + len(self.counts) - 1

    def add(self, values: torch.Tensor, known: torch.Tensor) -> None:
        """The next steps.

        Args:
            values: what is said of their frames [B, n * STEP_FRAMES, D].
            known: bool [n * STEP_FRAMES], which frames are of the song.
        """
        there = known.view(-1, STEP_FRAMES, 1).to(values.dtype)
        steps = values.unflatten(1, (-1, STEP_FRAMES))
        sums = torch.cat([(steps * there).sum(2), (steps.square() * there).sum(2)], dim=-1)
        # in double precision, so that it does not matter how much lies before a window
        sums, counts = sums.double(), there.sum((1, 2)).double()
        if self.totals is None:
            self.totals, self.counts = torch.zeros_like(sums[:, :1]), torch.zeros_like(counts[:1])
        self.totals = torch.cat([self.totals, self.totals[:, -1:] + sums.cumsum(1)], dim=1)
        self.counts = torch.cat([self.counts, self.counts[-1:] + counts.cumsum(0)])

    def forget(self, before: int) -> None:
        """Steps before that number are not asked for any more."""
        gone = max(0, before - self.first)
        self.totals, self.counts = self.totals[:, gone:], self.counts[gone:]
        self.first += gone

    def means(self, places: torch.Tensor, length: int) -> torch.Tensor:
        """Means and deviations [B, A, 2 D] over so many steps before places [A], numbers of steps,
        or over as many as the song has."""
        # a song goes on as it begins and ends
        last = self.first + int((self.counts < self.counts[-1]).sum())
        stop = places.clamp(1, last) - self.first
        start = (stop - length).clamp(min=0)
        frames = (self.counts[stop] - self.counts[start])[:, None]
        mean, square = ((self.totals[:, stop] - self.totals[:, start]) / frames).chunk(2, dim=-1)
        deviation = (square - mean.square()).clamp(min=LEAST_VARIANCE).sqrt()
        return torch.cat([mean, deviation], dim=-1).float()


class Timbre(nn.Module):
    """What was said of frames -> gains of bands of the middle and of the noise of the side."""

    def __init__(self, values: int, bands: int, frames: int):
        """Of so many values of each of the `frames` before a gain's place."""
        super().__init__()
        self.steps, self.bands = max(NEAR_STEPS, math.ceil(frames / STEP_FRAMES)), bands
        self.hidden, self.out = nn.Linear(4 * values, HIDDEN), nn.Linear(HIDDEN, 2 * bands)
        # of the features; they stand by themselves since 16 bits are too few for their product with
        # weights
        self.register_buffer("mean", torch.zeros(4 * values))
        self.register_buffer("scale", torch.ones(4 * values))
        # gains of 1, until it has learned others
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def features(self, past: Past, places: torch.Tensor) -> torch.Tensor:
        """What gives the gains at places [A], numbers of steps: [B, A, 4 * values]."""
        return torch.cat([past.means(places, count) for count in (NEAR_STEPS, self.steps)], dim=-1)

    def forward(self, features: torch.Tensor, first=0.0, second=0.0) -> torch.Tensor:
        """Features [..., 4 * values] -> natural logarithms of gains [..., 2, bands].

        Training drops the share `first` of the features, and `second` of the hidden layer.
        """
        features = F.dropout((features - self.mean) / self.scale, first)
        hidden = F.dropout(F.gelu(self.hidden(features)), second)
        most = MOST_DB * math.log(10) / 20
        return self.out(hidden).unflatten(-1, (2, self.bands)).clamp(-most, most)


def between(gains: torch.Tensor, first: int, low: int, high: int, per_frame: int) -> torch.Tensor:
    """Gains [B, A, ...] at the steps from `first` on -> those of the parts of frames low..high-1,
    `per_frame` in each: [B, (high - low) * per_frame, ...]."""
    place = torch.arange(0.5, (high - low) * per_frame, device=gains.device) / per_frame
    place = (place + (low - first * STEP_FRAMES)) / STEP_FRAMES
    lower = place.floor().long()
    share = (place - lower).to(gains.dtype).view(-1, *(1,) * (gains.ndim - 2))
    return torch.lerp(gains[:, lower], gains[:, lower + 1], share)
