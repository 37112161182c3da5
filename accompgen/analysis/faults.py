"""Faults of a recording: clipping, steady noise, and how much of one track is heard in another. numpy alone.

Each figure is of the sound alone and needs no clean version of it. What none of them can see stands in docs/data.md.
"""

import numpy as np

from accompgen.analysis.spectra import spectra

WINDOW_SECONDS = 0.08  # rounded to a power of two: 85 ms at 24 kHz; windows do not overlap
# clipping
FLAT_TOP = 0.998  # of the peak: a run of samples beyond is a flat top, if its ends are too steep for a crest
MIN_RUN = 3
STEEPNESS = 3.0  # times the fall beside a parabola's crest of the same length
# noise
GROUP_BINS = 8
LOW, HIGH = 0.05, 0.25  # quantiles over time
STEADY_DB = 2.5
NOISY_SHARE = 0.75  # of the spectrum up to some frequency in which steady noise is heard, for it to count
LEAST_WIDTH = 0.5  # of the bandwidth, up to that frequency
GATED_DB = -70.0  # below the loud frames: digital silence, where noise was cut away with the sound
BAND_DB = -70.0  # below the loudest group: beyond the bandwidth
NO_NOISE_DB = -100.0
# bleed
SEGMENT_FRAMES = 32  # 2.7 s
AUDIBLE_DB = -70.0  # below the track's loudest bins


def flat_top_share(wav: np.ndarray) -> float:
    """Share of the samples of wav [C, T] that lie on flat tops, of the channel that has most: 0 to 1.

    A flat top is a run of at least 3 samples within 0.2 % of the channel's peak, on either side of zero, beside which the
    wave falls 3 times faster than beside the crest of a parabola of that length. So clipping is found at any level, and
    the crest of a low tone is none.
    """
    return max(_flat_tops(channel) + _flat_tops(-channel) for channel in np.atleast_2d(wav))


def _flat_tops(magnitude):
    """Of the upper side alone."""
    peak = float(magnitude.max(initial=0.0))
    if not peak > 0:
        return 0.0
    edges = np.flatnonzero(np.diff(magnitude >= FLAT_TOP * peak, prepend=False, append=False))
    first, behind = edges[::2], edges[1::2]
    length = behind - first
    inside = (length >= MIN_RUN) & (first > 0) & (behind < len(magnitude))
    first, behind, length = first[inside], behind[inside], length[inside]
    fall = magnitude[first] - magnitude[first - 1] + magnitude[behind - 1] - magnitude[behind]
    fall = fall / (2 * peak)
    # A parabola that stays within 1 - FLAT_TOP for n samples falls by 4 (1 - FLAT_TOP) / n a sample at its ends.
    steep = fall > STEEPNESS * 4 * (1 - FLAT_TOP) / np.maximum(length, 1)
    return float(length[steep].sum() / len(magnitude))


def frames_of(mono: np.ndarray, rate: int) -> np.ndarray:
    """Complex spectra [frames, bins] of sound [T]: what `noise_floor` and `bleed` read."""
    samples = 1 << round(np.log2(WINDOW_SECONDS * rate))
    return np.concatenate(list(spectra(mono, samples, samples)))


def noise_floor(frames: np.ndarray) -> float:
    """Level of the steady noise under a track in dB below its loud frames, -100 where none is heard.

    Gaussian noise of constant level has powers with an exponential distribution, so that its level follows from any
    quantile over time. In each group of 8 bins it is taken from the 5 % and from the 25 % quantile; where music or a
    voice decides either, the two differ. Noise counts if both agree within 2.5 dB in three quarters of the groups from the
    lowest to somewhere in the upper half of the track's bandwidth (the noise of a narrow voice ends where it ends, and
    cymbals are steady above a band that is not). The level is the sum over the groups in which they agree.
    """
    power = np.square(np.abs(frames))
    level = power.sum(axis=1)
    loud = float(np.percentile(level, 95))
    if not loud > 0:
        return NO_NOISE_DB
    _, low, steady = _groups(power[level > loud * 10 ** (GATED_DB / 10)])
    share = np.cumsum(steady) / np.arange(1, len(steady) + 1)  # of the groups up to each
    noisy = np.flatnonzero(share >= NOISY_SHARE)
    wide = len(noisy) and noisy[-1] + 1 >= LEAST_WIDTH * len(steady)
    floor = low[steady].sum() * GROUP_BINS / loud if wide else 0.0
    return float(max(10 * np.log10(max(floor, 1e-12)), NO_NOISE_DB))


def sounding_bandwidth(frames: np.ndarray, rate: int) -> float:
    """The highest frequency in Hz at which more than steady noise is heard, within 70 dB of the loudest group; 0: nowhere.

    Steady noise, in the sense of `noise_floor`, would make the bandwidth of a telephone that of the whole file.
    """
    power = np.square(np.abs(frames))
    level = power.sum(axis=1)
    if not level.max(initial=0.0) > 0:
        return 0.0
    mean, low, steady = _groups(power[level > np.percentile(level, 95) * 10 ** (GATED_DB / 10)])
    sounding = np.flatnonzero(~(steady & (mean < low * 10 ** (STEADY_DB / 10))))
    top = 1 + GROUP_BINS * (sounding[-1] + 1) if len(sounding) else 0
    return float(top * rate / (2 * (power.shape[1] - 1)))


def _groups(power):
    """Of each group of 8 bins within the bandwidth of power [frames, bins]: its mean, the level of steady noise by its 5 %
    quantile, and whether the 25 % quantile agrees."""
    groups = (power.shape[1] - 1) // GROUP_BINS
    power = power[:, 1 : 1 + groups * GROUP_BINS].reshape(len(power), groups, GROUP_BINS)
    mean = power.mean(axis=(0, 2))
    heard = np.flatnonzero(mean > mean.max() * 10 ** (BAND_DB / 10))[-1] + 1
    pooled = power[:, :heard].transpose(1, 0, 2).reshape(heard, -1)
    places = [int(quantile * pooled.shape[1]) for quantile in (LOW, HIGH)]
    low, high = np.partition(pooled, places, axis=1)[:, places].T + 1e-20
    low, high = low / -np.log(1 - LOW), high / -np.log(1 - HIGH)
    return mean[:heard], low, np.abs(10 * np.log10(high / low)) < STEADY_DB


def bleed(first: np.ndarray, second: np.ndarray) -> float:
    """How much of one track is heard in the other, either way: 0 (nothing beyond chance) to 1 (the same in all bins).

    In a bin where the second track leaks into the first, the phase between the two stands still; elsewhere it is random.
    Over 2.7 s, n audible phases give a sum whose square is n^2 where it stands still, and n on average where it is
    random. The excess over n is divided by the largest there could be and averaged over bins and segments. What n is
    multiplied by first, 1 for independent frames, is read from the same tracks shifted against each other, since tones
    that are held make frames alike.

    Args:
        first, second: spectra [frames, bins] of two tracks of the same length, by `frames_of`.
    """
    first, second = _phases(first), np.conj(_phases(second))
    locked = chance = audible = chances = 0.0
    size = min(SEGMENT_FRAMES, len(first))
    starts = range(0, len(first) - size + 1, size)
    for start in starts:
        one, other = first[start : start + size], second[start : start + size]
        square, count = _phase_sums(one, other)
        locked, audible = locked + square, audible + count
        square, count = _phase_sums(one, np.roll(other, size * 2 // 5, axis=0))
        chance, chances = chance + square, chances + count
    excess = locked - audible * max(chance / max(chances, 1.0), 1.0)
    return float(np.clip(excess / (len(starts) * first.shape[1] * size**2), 0, 1))


def _phase_sums(one, other):
    """Sum over bins of |sum over frames|^2, and the number of audible products."""
    products = one * other
    return float(np.square(np.abs(products.sum(axis=0))).sum()), float(np.count_nonzero(products))


def _phases(frames):
    """Unit vectors, and 0 where a bin is not audible."""
    magnitude = np.abs(frames)
    floor = max(float(np.percentile(magnitude.max(axis=1), 95)) * 10 ** (AUDIBLE_DB / 20), 1e-9)
    return frames * np.where(magnitude > floor, 1 / np.maximum(magnitude, floor), np.float32(0))
