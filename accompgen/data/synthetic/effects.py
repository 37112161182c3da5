"""What a mixing desk does to sound: a room, tone, loudness, a bus of compressor and limiter. Numpy and scipy; no files.

What a stem gets of its own is linear and happens in its spectrum. The bus is one gain curve for all stems, computed on
their sum, so that the stems still add up to the mix.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

try:
    import scipy.fft
    import scipy.ndimage
    import scipy.signal
except ImportError as error:
    raise ImportError("the mix needs scipy: pip install 'accompgen[train]'") from error

LONGEST_ROOM, LONGEST_PREDELAY = 2.2, 0.03  # seconds
BLOCK = 64  # samples between the nodes of a gain curve
BINS = 16  # bins between the nodes of a tone curve


class Room(NamedTuple):
    seconds: float  # until the reverberation has fallen by 60 dB
    bright_seconds: float  # the same above 2.5 kHz
    predelay: float  # seconds until it begins
    seed: int  # of its noise


class Filter(NamedTuple):
    kind: str  # highpass, low shelf, bell or high shelf
    hz: float
    db: float  # 0 for a highpass
    q: float  # of a highpass or bell


class Bus(NamedTuple):
    threshold: float  # dB above the mean level, where compression begins
    ratio: float
    attack: float  # seconds
    release: float  # dB per second
    ceiling: float  # dB above the mean level that the compressor leaves, over which no sample goes


def gain(decibel):
    """The factor of a level in dB."""
    return np.float32(10 ** (decibel / 20))


def finish(wave, room, send, filters, lufs, rate):
    """A dry stem [2, T] in a `room` (dB of `send` against the direct sound), through `filters`, at a loudness.

    The room hears the middle of the stem. The loudness is that of the whole wave, without BS.1770's gate.
    """
    samples = wave.shape[1]
    # one size for all songs of a length, so that what depends on it is computed once
    size = scipy.fft.next_fast_len(samples + round((LONGEST_ROOM + LONGEST_PREDELAY) * rate), real=True)
    spectrum = scipy.fft.rfft(wave, size)
    spectrum += gain(send) * spectrum.mean(axis=0) * _room_spectrum(room, size, rate)
    spectrum *= tone(filters, size, rate)
    level = 10 * np.log10(_weighted_power(spectrum, size, rate) / (size * samples)) - 0.691
    spectrum *= gain(lufs - level)
    return scipy.fft.irfft(spectrum, size, overwrite_x=True)[:, :samples]


@lru_cache(maxsize=1)
def _room_spectrum(room, size, rate):
    return scipy.fft.rfft(impulse_response(room, rate), size)


def impulse_response(room, rate):
    """Reverberation of a room [2, T] float32 of unit energy a channel, different left and right.

    Gaussian noise under an exponential decay (Moorer, About This Reverberation Business, 1979), in two bands that decay
    each in its time. Nothing lies below 150 Hz, so that the bass stays clear.
    """
    start, samples = round(room.predelay * rate), round((room.predelay + room.seconds) * rate)
    time = np.arange(samples - start, dtype=np.float32) / rate
    noise = np.random.default_rng(room.seed).normal(size=(2, samples - start)).astype(np.float32)
    low = scipy.signal.sosfilt(scipy.signal.butter(2, 2500, fs=rate, output="sos"), noise)
    response = np.zeros((2, samples))
    response[:, start:] = low * 10 ** (-3 * time / room.seconds) + (noise - low) * 10 ** (-3 * time / room.bright_seconds)
    response = scipy.signal.sosfilt(scipy.signal.butter(2, 150, "highpass", fs=rate, output="sos"), response)
    return (response / np.sqrt(np.square(response).sum(axis=1, keepdims=True))).astype(np.float32)


def tone(filters, size, rate):
    """The filters' responses [size // 2 + 1] complex64 at the bins of a real spectrum of `size` points: analogue
    prototypes of second order (a shelf: first order), which have no warping and the least phase."""
    hz = _nodes(size, rate)
    total = np.ones(len(hz), np.complex128)
    for kind, corner, db, q in filters:
        s, factor = 1j * hz / corner, 10 ** (db / 20)
        if kind == "highpass":
            total *= s * s / (s * s + s / q + 1)
        elif kind == "low shelf":
            total *= (s + factor) / (s + 1)
        elif kind == "high shelf":
            total *= (s * factor + 1) / (s + 1)
        else:  # a cut is the inverse of a boost
            boost, cut = max(factor, 1), max(1 / factor, 1)
            total *= (s * s + s * boost / q + 1) / (s * s + s * cut / q + 1)
    return _ramps(total.astype(np.complex64), BINS)[: size // 2 + 1]


def bus_gain(mixture, bus, rate):
    """The gain [T] float32 by which a compressor and a limiter turn a mixture [2, T] down; both of its channels alike.

    The compressor is feed-forward with a smooth decoupled detector (Giannoulis, Massberg, Reiss, Digital Dynamic Range
    Compressor Design, JAES 2012), its release linear in dB. The limiter looks ahead: no sample comes out louder than the
    ceiling.
    """
    samples = mixture.shape[1]
    count = -(-samples // BLOCK)
    blocks = np.pad(mixture, ((0, 0), (0, count * BLOCK - samples))).reshape(2, count, BLOCK)
    power, peaks = np.mean(np.square(blocks), axis=(0, 2)), np.abs(blocks).max(axis=(0, 2))
    mean = power.mean()
    if mean == 0:
        return np.ones(samples, np.float32)
    level = 10 * np.log10(np.maximum(power / mean, 1e-8))
    wanted = np.maximum(level - bus.threshold, 0) * (1 - 1 / bus.ratio)  # dB
    fall = bus.release * BLOCK / rate * np.arange(count)
    held = np.maximum.accumulate(wanted + fall) - fall
    pole = np.exp(-BLOCK / rate / bus.attack)
    reduction = scipy.signal.lfilter([1 - pole], [1, -pole], held)
    compressed = 10 ** (-_edges(reduction, np.minimum) / 20)
    squashed = power * np.minimum(compressed[:-1], compressed[1:]) ** 2
    ceiling = np.sqrt(squashed.mean()) * 10 ** (bus.ceiling / 20)
    needed = np.minimum(1, ceiling / np.maximum(peaks * np.maximum(compressed[:-1], compressed[1:]), 1e-9))
    ahead = 2 * round(0.004 * rate / BLOCK) + 1
    limited = scipy.ndimage.uniform_filter1d(scipy.ndimage.minimum_filter1d(_edges(needed, np.minimum), ahead), ahead)
    return _ramps((compressed * limited).astype(np.float32), BLOCK)[:samples]


def _edges(blocks, of_both):
    """Values [K + 1] at the edges of blocks [K], from the blocks at both sides."""
    padded = np.concatenate([blocks[:1], blocks, blocks[-1:]])
    return of_both(padded[:-1], padded[1:])


def _ramps(nodes, step):
    """Straight lines between nodes [K + 1] that lie `step` apart -> [K * step]."""
    along = (np.arange(step) / step).astype(np.float32)
    return (nodes[:-1, None] + np.diff(nodes)[:, None] * along).ravel()


def _weighted_power(spectrum, size, rate):
    """Energy of both channels under the K-weighting of BS.1770, times `size`, of a spectrum of `size` points."""
    weighted = spectrum * _k_weighting(size, rate)
    return 2 * float(sum(np.vdot(channel, channel).real for channel in weighted))


@lru_cache(maxsize=2)
def _k_weighting(size, rate):
    """|H| of ITU-R BS.1770-4's two filters at the bins of a real spectrum of `size` points, float32."""
    shelf = ([1.53512485958697, -2.69169618940638, 1.19839281085285], [1.0, -1.69065929318241, 0.73248077421585])
    highpass = ([1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621])
    # the recommendation gives the filters at 48 kHz
    points = np.minimum(2 * np.pi * _nodes(size, rate) / 48_000, np.pi)
    weights = [np.abs(scipy.signal.freqz(b, a, worN=points)[1]) for b, a in (shelf, highpass)]
    return _ramps(np.prod(weights, axis=0).astype(np.float32), BINS)[: size // 2 + 1]


def _nodes(size, rate):
    """Frequencies of every BINS-th bin of a real spectrum of `size` points and of one behind it, Hz."""
    return np.arange(0, size // 2 + 1 + BINS, BINS) * (rate / size)
