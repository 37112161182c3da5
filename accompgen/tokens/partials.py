"""Partials in place of a haze: a decoder's noise, gathered on the multiples of the tones below.

At 6 kbps codes say how loud it is above 1 kHz, and hardly where: a decoder fills it with noise,
flat from -4 to -5 dB where the truth's spectrum has -16 (a harmony, 1 to 8 kHz). What they do say
is the tone below 1.5 kHz, and its peaks tell where partials may be: at their multiples. So gains on
long spectra make the sound louder there and softer between them, its power in each 250 Hz as it
was. What has no tones, such as drums, is left as it is, and so is the side, which is far softer.
"""

import math

import torch

from accompgen.tokens.decoder_network import hann_window, overlap_add

HOPS = 4  # frames of codes in a spectrum: 53 ms, longer ones blur strokes
AROUND_FRAMES = 3  # of sound before and behind what is asked for, that its spectra reach
PEAK_HZ = (100.0, 1500.0)  # where peaks of the tone are looked for
LEAST_PEAK_DB = -45.0  # beside the highest of its spectrum
ORDERS = range(2, 13)  # multiples, each of a power that falls with its number
RISES, FALLS = (
    (1000.0, 1500.0),
    (10000.0, 12000.0),
)  # Hz: no gain below and above, all of it between
BAND_HZ = 250.0  # the power of each such band stays
LEAST_DB, MOST_DB = -15.0, 13.0  # a bin's gain beside the others of its band
# What is noise in one spectrum is other noise in the next: where they overlap their gains take this
# from its power.
MAKE_UP_DB = 0.7
FLAT_HZ = (200.0, 1500.0)  # where a spectrum shows whether it is of tones
NOISY_DB, TONAL_DB = -6.0, -12.0  # spectral flatness from which on nothing is done, and all
SILENT = 1e-12  # power
BESIDE_PEAK = 0.25  # power that a Hann window gives to the next bin


def gathered(sound: torch.Tensor, tone: torch.Tensor, rate: int, hop: int) -> torch.Tensor:
    """Sound [B, F * hop] whose noise lies on the multiples of a tone's peaks.

    It is without AROUND_FRAMES at both ends.

    Args:
        sound: at `rate` Hz.
        tone: the same frames [B, F * hop / n] at rate / n, 4 kHz or more.
        hop: samples of sound in a frame of codes.

    Returns:
        [B, (F - 6) * hop]. A sample depends on the frames around it alone, not on where the sound
        begins.
    """
    samples, low_hop = sound.shape[-1], hop * tone.shape[-1] // sound.shape[-1]
    hertz = rate / (HOPS * hop)  # of a bin
    low_bins = math.ceil(2 * PEAK_HZ[1] / hertz) + 1
    power = _power(_spectra(tone, low_hop)[..., :low_bins]).cpu() * (2 / (HOPS * low_hop)) ** 2
    spectra = _spectra(sound, hop)  # [B, F', bins]
    first = math.floor(RISES[0] / hertz)
    top = min(spectra.shape[-1], math.ceil(FALLS[1] / hertz) + 1)
    tonal = _tonal(power, hertz)[..., None].to(sound.device)
    weights, near = (part.to(sound.device) for part in _weights(power, first, top, hertz))
    one = torch.ones((), device=sound.device)
    weights = torch.lerp(one, weights, tonal * near)
    changing = spectra[..., first:top]
    found = _power(changing)
    changed = _smoothed(found * weights, hertz).add_(SILENT)
    gains = (weights * _smoothed(found, hertz) / changed).sqrt_() * 10 ** (MAKE_UP_DB / 20 * tonal)
    changing *= torch.lerp(one, gains, near * _reached(first, top, hertz).to(sound.device))
    # the spectra's middles lie half a hop beside the frames
    begin = 3 * hop // 2
    return overlap_add(spectra, HOPS * hop, hop)[
        :, begin : begin + samples - 2 * AROUND_FRAMES * hop
    ]


def _spectra(wav, hop):
    """Spectra [B, F', bins] of wav [B, T] that begin one hop after the other."""
    window = HOPS * hop
    return torch.fft.rfft(wav.unfold(-1, window, hop) * hann_window(window, wav.device))


def _power(spectra):
    return torch.addcmul(spectra.real.square(), spectra.imag, spectra.imag)


def _weights(power, first, top, hertz):
    """How much of its band's power lies in each bin from `first` to `top` [B, F', bins], 1 in the
    mean; and 1 where a multiple lies in its band at all, else 0. By the powers of tones
    [B, F', low bins]."""
    batch, frames, _ = power.shape
    bins = top - first
    row, place, strength = _peaks(power.flatten(0, 1), hertz)
    orders = torch.tensor(ORDERS, dtype=power.dtype)
    places = place[:, None] * orders - first
    # multiples outside count for nothing; to pick out the others would take longer
    inside = (places >= 0) & (places < bins - 2)
    strengths = (strength[:, None] / orders * inside).flatten()
    places = places.clamp(0, bins - 2)
    lower = places.floor()
    share = (places - lower).flatten()
    index = (row[:, None] * bins + lower.long()).flatten()
    count = batch * frames * bins
    lines = torch.bincount(index, strengths * (1 - share), count)
    lines += torch.bincount(index + 1, strengths * share, count)
    lines = lines.view(batch, frames, bins).to(power.dtype)
    spread = lines.clone()
    spread[..., 1:] += BESIDE_PEAK * lines[..., :-1]
    spread[..., :-1] += BESIDE_PEAK * lines[..., 1:]
    mean = _smoothed(spread, hertz)
    found = (spread / mean.clamp_min(SILENT)).clamp_(10 ** (LEAST_DB / 10), 10 ** (MOST_DB / 10))
    return found, (mean > SILENT).to(power.dtype)


def _peaks(power, hertz):
    """The peaks of tones by their powers [N, low bins]: spectrum, bin and power of each.

    Bins lie between those of the spectra, powers are shares of the spectrum's highest.
    """
    first, last = (round(at / hertz) for at in PEAK_HZ)
    left, middle, right = (power[:, first + step : last + step] for step in (-1, 0, 1))
    least = power.amax(1, keepdim=True) * 10 ** (LEAST_PEAK_DB / 10)
    row, column = (
        (middle > left) & (middle >= right) & (middle > least.clamp_min(SILENT))
    ).nonzero(as_tuple=True)
    before, there, behind = (
        part[row, column].clamp_min(SILENT).log() for part in (left, middle, right)
    )
    # a parabola through the logarithms finds a peak between bins
    place = (
        first + column + (0.5 * (before - behind) / (before - 2 * there + behind)).clamp(-0.5, 0.5)
    )
    strength = middle[row, column] / power.amax(1)[row]
    return row, place, strength


def _tonal(power, hertz):
    """From 0, a frame of noise, to 1, one of tones [B, F'], by powers [B, F', low bins]."""
    first, last = (round(at / hertz) for at in FLAT_HZ)
    part = power[..., first:last] + SILENT
    flatness = 10 * torch.log10(part.log().mean(-1).exp() / part.mean(-1))
    return ((flatness - NOISY_DB) / (TONAL_DB - NOISY_DB)).clamp(0, 1)


def _smoothed(values, hertz):
    """The mean [..., bins] of BAND_HZ around each bin; beyond both ends bins are mirrored."""
    reach, bins = round(BAND_HZ / hertz / 2), values.shape[-1]
    # a reflecting pad would take two thirds of the time
    before, behind = values[..., 1 : reach + 1].flip(-1), values[..., -reach - 1 : -1].flip(-1)
    count, sums = 2 * reach + 1, torch.cat([before, values, behind], dim=-1)
    # sums of 1, 2, 4, ... bins, those that make up the count: a pooling layer takes much longer
    total, done, size = 0, 0, 1
    while size <= count:
        if count & size:
            total, done = sums[..., done : done + bins] + total, done + size
        sums, size = sums[..., :-size] + sums[..., size:], 2 * size
    return total / count


def _reached(first, bins, hertz):
    """How much of its gain each bin from `first` on gets [bins - first], 0 to 1."""
    at = torch.arange(first, bins) * hertz
    up, down = ((at - low) / (high - low) for low, high in (RISES, FALLS))
    return up.clamp(0, 1) * (1 - down).clamp(0, 1)
