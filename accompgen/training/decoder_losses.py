"""What a decoder's sound is held against the original by.

The *spectral energy distance* (Gritsenko et al. 2020, arXiv 2008.01160) of two draws y1, y2 from the truth x is
d(x, y1) + d(x, y2) - d(y1, y2): least where the draws are spread as the truth is, so noise must be noise. d is the
mean absolute difference of what a window of the spectrum shows. Windows shorter than a frame of codes are what makes a
click unlike noise.
"""

from functools import lru_cache

import torch
from torch.nn import functional as F

from accompgen.tokens.decoder_network import mel_interpolation

FLOOR = 1e-4  # of magnitudes that figures compare, -80 dB of full scale
LEARNED_FLOOR = 1e-5  # of those that a decoder learns by: with the other one rests kept more of a hiss
QUIET = 1e-4  # a mean square below it, -40 dB, counts as it does: near silence must not outweigh all music
ONSET_WINDOWS = (512, 1024, 2048)  # of those of the energy distance, where onsets are looked for
PEAK_REACH = 0.005  # seconds before and after, within which the truth's peak is looked for
ONSETS_AT_LEAST = 0.3  # a mean of the onset envelope below it counts as it does


def energy_distance(truth: torch.Tensor, first: torch.Tensor, second: torch.Tensor, windows, rate: int) -> torch.Tensor:
    """The spectral energy distance of two draws from the truth, all [B, T] at `rate`, the mean over `windows` in samples.

    Three things are compared at each window: log magnitudes, in nats; log energies of mel bands, which say more of the level of
    noise than its single bins do; and the onset envelope, relative to the truth's mean.
    """
    total = truth.new_zeros(())
    for window in windows:
        looks = zip(*(_looks(wav, window, rate) for wav in (truth, first, second)), strict=True)
        for number, (x, y, z) in enumerate(looks):
            distance = (x - y).abs().mean() + (x - z).abs().mean() - (y - z).abs().mean()
            total = total + (distance / x.mean().clamp_min(ONSETS_AT_LEAST) if number == 2 else distance)
    return total / len(windows)


def _looks(wav, window, rate):
    """Log magnitudes [B, bins, frames]; from 128 samples on those of mel bands [B, bands, frames]; onsets [B, frames]."""
    spectrum = _stft(wav, window)
    power = spectrum.real.square() + spectrum.imag.square()
    magnitude = (power + 1e-10).sqrt() * (2 / window)
    looks = [(magnitude + LEARNED_FLOOR).log()]
    if window >= 128:
        bands = _bands(window, rate).to(wav.device) @ power
        looks.append(0.5 * (bands * (2 / window) ** 2 + LEARNED_FLOOR**2).log())
    if window in ONSET_WINDOWS:
        looks.append(torch.log1p(50 * magnitude).diff(dim=-1).clamp(min=0).sum(1))
    return looks


@lru_cache
def _bands(window, rate):
    return mel_interpolation(max(8, min(64, window // 16)), window // 2 + 1, rate / 2)


def log_magnitude(wav: torch.Tensor, window: int) -> torch.Tensor:
    """Natural log of the magnitudes [B, window / 2 + 1, frames] of Hann windows a quarter apart, with a floor of -80 dB."""
    spectrum = _stft(wav, window)
    magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-10).sqrt()
    return (magnitude * (2 / window) + FLOOR).log()


def tone_loss(truth: torch.Tensor, tone: torch.Tensor, windows, side_weight: float) -> torch.Tensor:
    """How far the tone [B, 2, T] (middle, side) at 24 kHz is from the truth's waveform.

    Squared error relative to the truth's own power, and L1 of complex spectra of the middle, relative to theirs, the mean over
    `windows` in samples.
    """
    power = truth.square().mean(2)  # [B, 2]
    error = (truth - tone).square().mean(2)
    middle = (error[:, 0] / (power[:, 0] + QUIET)).mean()
    # a side that hardly sounds is no reason to learn it
    side = (error[:, 1] / (power[:, 1] + 0.05 * power[:, 0] + QUIET)).mean()
    loss = middle + side_weight * side
    for window in windows:
        x, y = (torch.view_as_real(_stft(wav[:, 0], window)) for wav in (truth, tone))
        loss = loss + (x - y).abs().mean() / (x.abs().mean() + 1e-3) / len(windows)
    return loss


def overshoot(truth: torch.Tensor, drawn: torch.Tensor, rate: int) -> torch.Tensor:
    """How far a draw [B, T] at `rate` stands above the truth's peaks within PEAK_REACH: mean square over the truth's power.

    Spectra say how loud a stroke is, not how high: noise of random phase stood 3 dB above the strokes it is for. Of no draws
    (B = 0) it is 0.
    """
    piece = rate // 1000
    whole = truth.shape[-1] // piece * piece
    pieces = truth[..., :whole].abs().unflatten(-1, (-1, piece)).amax(-1)
    reach = round(PEAK_REACH * 1000)
    peaks = F.max_pool1d(pieces[:, None], 2 * reach + 1, stride=1, padding=reach)[:, 0].repeat_interleave(piece, dim=-1)
    above = (drawn[..., :whole].abs() - peaks).clamp_min(0).square().mean(-1)
    return (above / (truth.square().mean(-1) + QUIET)).sum() / max(1, len(truth))


def _stft(wav, window):
    hann = torch.hann_window(window, device=wav.device)
    return torch.stft(wav, window, window // 4, window=hann, center=False, return_complex=True)
