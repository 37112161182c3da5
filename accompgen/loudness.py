"""Integrated loudness by ITU-R BS.1770-4: K-weighting, blocks of 0.4 s, two gates.

The filters, the blocks and so the figures are those of pyloudnorm, with which the tests compare. It imports all of
scipy.signal for two filters of second order, which takes longer than `generate` needs for two seconds of song. Here the
filters are multiplied with spectra of overlapping pieces, which takes as long as their recursion does in C.
"""

import numpy as np

BLOCK_SECONDS, HOPS = 0.4, 4  # a block every quarter of a block
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS; LU below the mean of what passes the first gate
OFFSET = -0.691  # of BS.1770, equation 2
PIECE_SECONDS = 2.0  # at least, padded to a power of two
# after which the filters' response is nothing: the slowest pole falls to 1/e in 4 ms
TAIL_SECONDS = 0.2
SHELF, HIGH_PASS = (1500.0, 4.0, 2**-0.5), (38.0, 0.5)  # Hz, dB, Q; Hz, Q


def integrated_loudness(wav: np.ndarray, rate: int) -> float:
    """Loudness in LUFS of wav [C, T], one or two channels; minus infinity where all of it is below the gate.

    A clip shorter than a block is measured as one block of its own length.
    """
    block = min(BLOCK_SECONDS, (wav.shape[1] - 0.5) / rate)
    blocks = int(np.round((wav.shape[1] / rate - block) / (block / HOPS)) + 1)
    edges = (block * (np.arange(blocks + HOPS) / HOPS) * rate).astype(np.int64)
    energies = _weighted_energies(wav, rate, np.minimum(edges, wav.shape[1]))
    power = sum(energies[hop : hop + blocks] for hop in range(HOPS)) / (block * rate)
    with np.errstate(divide="ignore"):
        power = power[_lufs(power) >= ABSOLUTE_GATE]
        if not len(power):
            return float("-inf")
        power = power[_lufs(power) > _lufs(power.mean()) + RELATIVE_GATE]
        return float(_lufs(power.mean()))


def _lufs(power):
    return OFFSET + 10 * np.log10(power)


def _weighted_energies(wav, rate, edges):
    """The sum of squares of all channels, K-weighted, between the edges: [len(edges) - 1]."""
    tail = round(TAIL_SECONDS * rate)
    size = 1 << int(np.ceil(np.log2(PIECE_SECONDS * rate)))
    response, hops = _k_weighting(rate, size), len(edges) - 1
    group = (size - 2 * tail) // (edges[1] - edges[0] + 1)  # hops whose sound, a tail before and one behind, fill a piece
    energies = np.zeros(hops)
    for first in range(0, hops, group):
        last = min(first + group, hops)
        begin, end = edges[first], edges[last]
        lead = min(begin, tail)
        weighted = np.fft.irfft(np.fft.rfft(wav[:, begin - lead : end], size) * response)[:, lead : lead + end - begin]
        sums = np.concatenate([[0.0], np.cumsum(np.square(weighted).sum(axis=0))])
        energies[first:last] = np.diff(sums[edges[first : last + 1] - begin])
    return energies


def _k_weighting(rate, size):
    """The filters' response at the frequencies of a spectrum of so many samples."""
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    delays = np.stack([np.ones_like(z), z, z**2])
    response = 1.0
    for numerator, denominator in (_high_shelf(rate, *SHELF), _high_pass(rate, *HIGH_PASS)):
        response = response * (numerator @ delays) / (denominator @ delays)
    return response


# Source of both: R. Bristow-Johnson, Cookbook formulae for audio equalizer biquad filter coefficients
def _high_shelf(rate, hertz, decibel, q):
    a, w = 10 ** (decibel / 40), 2 * np.pi * hertz / rate
    cos, slope = np.cos(w), np.sqrt(a) * np.sin(w) / q
    numerator = [a * (a + 1 + (a - 1) * cos + slope), -2 * a * (a - 1 + (a + 1) * cos), a * (a + 1 + (a - 1) * cos - slope)]
    denominator = [a + 1 - (a - 1) * cos + slope, 2 * (a - 1 - (a + 1) * cos), a + 1 - (a - 1) * cos - slope]
    return np.array(numerator), np.array(denominator)


def _high_pass(rate, hertz, q):
    w = 2 * np.pi * hertz / rate
    cos, alpha = np.cos(w), np.sin(w) / (2 * q)
    return np.array([(1 + cos) / 2, -1 - cos, (1 + cos) / 2]), np.array([1 + alpha, -2 * cos, 1 - alpha])
