"""What the small HuBERT predicts: clusters of frames described by their phones (MFCC) and by their pitches (chroma).

HuBERT's first iteration on speech clusters MFCC alone; such units carry no harmony. Putting twice a chroma vector beside MFCC
of unit total variance makes units that tell the sung pitch class and the chord root. All at 16 kHz, a frame per 320 samples.
"""

import math
from functools import lru_cache

import torch
from torch.nn import functional as F

from accompgen.analysis.mel_bands import triangles

RATE, HOP = 16000, 320
MFCC_SAMPLES, CHROMA_SAMPLES = 400, 4096
MFCC_VALUES = 39  # 13 coefficients with first and second derivative
LOWEST_HZ, HIGHEST_HZ = 60.0, 2000.0


def mfcc(wav: torch.Tensor) -> torch.Tensor:
    """wav [T] at 16 kHz -> [S, 39], S = ceil(T / 320): 13 cepstral coefficients of 40 mel bands, first and second slopes."""
    power = _spectra(wav, MFCC_SAMPLES, 512).square()  # [S, 257]
    cepstra = (power @ _mel_bands(40, 512).T + 1e-6).log() @ _cosines(13, 40).T  # [S, 13]
    first = _slope(cepstra)
    return torch.cat([cepstra, first, _slope(first)], dim=1)


def chroma(wav: torch.Tensor) -> torch.Tensor:
    """wav [T] at 16 kHz -> [S, 12]: magnitude per pitch class (0 = C) between 60 and 2000 Hz, of length 1; 0 in silence."""
    bins = _spectra(wav, CHROMA_SAMPLES, CHROMA_SAMPLES) @ _pitch_classes(CHROMA_SAMPLES).T
    return bins / bins.norm(dim=1, keepdim=True).clamp_min(1.0)  # 1: a sinus of -60 dBFS


def describe(wav: torch.Tensor, mean: torch.Tensor, deviation: torch.Tensor, chroma_weight: float) -> torch.Tensor:
    """wav [T] -> [S, 51]: MFCC standardised by `mean` and `deviation` [39], over sqrt(39), beside the weighted chroma."""
    scaled = (mfcc(wav) - mean) / deviation / math.sqrt(MFCC_VALUES)
    return torch.cat([scaled, chroma_weight * chroma(wav)], dim=1)


def _spectra(wav, window, size):
    """Magnitudes [S, size / 2 + 1] of Hann windows centred on each hop."""
    frames = -(-wav.shape[-1] // HOP)
    left = (window - HOP) // 2
    padded = F.pad(wav, (left, window + (frames - 1) * HOP - left - wav.shape[-1]))
    return torch.fft.rfft(padded.unfold(-1, window, HOP) * torch.hann_window(window), size).abs()


def _slope(values, reach=2):
    """Regression slope over `reach` frames to either side: [S, K] -> [S, K]."""
    padded = F.pad(values.T[None], (reach, reach), mode="replicate")[0].T
    steps = range(1, reach + 1)
    ends = sum(n * (padded[reach + n : len(values) + reach + n] - padded[reach - n : len(values) + reach - n]) for n in steps)
    return ends / (2 * sum(n * n for n in steps))


@lru_cache
def _mel_bands(bands, size):
    """Triangles [bands, size / 2 + 1], evenly spaced on the mel scale 2595 log10(1 + f / 700) from 0 to 8 kHz."""
    return torch.from_numpy(triangles(size, bands, 0.0, RATE / 2, RATE).T).float()


@lru_cache
def _cosines(coefficients, bands):
    """Orthonormal DCT-II [coefficients, bands]."""
    angles = math.pi / bands * torch.arange(coefficients)[:, None] * (torch.arange(bands) + 0.5)
    matrix = angles.cos() * math.sqrt(2 / bands)
    matrix[0] /= math.sqrt(2)
    return matrix


@lru_cache
def _pitch_classes(size):
    """[12, size / 2 + 1]: 1 where the nearest semitone of a bin has that pitch class, within LOWEST_HZ and HIGHEST_HZ."""
    hz = torch.arange(size // 2 + 1) * RATE / size
    midi = 69 + 12 * (hz.clamp_min(1) / 440).log2()
    inside = (hz >= LOWEST_HZ) & (hz <= HIGHEST_HZ)
    return ((midi.round() % 12)[None] == torch.arange(12)[:, None]).float() * inside
