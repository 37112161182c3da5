"""A low sound at a higher rate: a tone that ends at 2.5 kHz need not be made at 48 kHz.

Its spectra are turned into sound at an eighth of the rate, and samples between are those of a
windowed sinc (Kaiser's window). That takes a third of the time of longer spectra, most of whose
bins would be empty. A library's resampler reads a whole file, or keeps a state of its own; here a
sample depends on those around it alone, so that spans fit together.
"""

import math
from functools import lru_cache

import torch
from torch.nn import functional as F

REACH = 16  # samples of the low sound before and behind a place
BETA = 8.0  # of Kaiser's window: images lie 80 dB below what they are of
# the rate, over twice the highest frequency: a filter of REACH samples separates it from its image
ROOM = 1.2
BLOCK = 8  # samples that one product of matrices reads at once, with those around them


def upsampled(low: torch.Tensor, factor: int) -> torch.Tensor:
    """Sound [B, T] -> [B, T * factor] at so many times its rate, silence before and behind it.

    Args:
        low: of frequencies below 1 / (2 * ROOM) of its rate; its sample t stands at t * factor.
        factor: 1 changes nothing.
    """
    if factor == 1:
        return low
    count = low.shape[-1]
    blocks = math.ceil(count / BLOCK)
    padded = F.pad(low, (REACH, REACH + blocks * BLOCK - count))
    pieces = padded.unfold(-1, BLOCK + 2 * REACH, BLOCK)
    return (pieces @ _weights(factor, low.device)).flatten(1)[:, : count * factor]


@lru_cache(maxsize=4)
def _weights(factor, device):
    """What each of BLOCK + 2 * REACH samples gives to BLOCK * factor new ones."""
    with torch.inference_mode(False):
        new = torch.arange(BLOCK * factor, dtype=torch.float64) / factor
        distance = new - torch.arange(-REACH, BLOCK + REACH, dtype=torch.float64)[:, None]
        inside = (1 - (distance / REACH).square()).clamp(min=0)
        window = torch.special.i0(BETA * inside.sqrt()) / torch.special.i0(torch.tensor(BETA))
        return (torch.sinc(distance) * window * (distance.abs() < REACH)).float().to(device)
