"""Faults that an ear hears and a spectral distance does not: a figure each, of the sound alone.

Sound is float [C, T] with its rate. Where channels differ, the worst counts, and the difference of
two channels is listened to as well: a fault that is loud at the sides may be hidden by the middle
in each of them.
"""

import numpy as np

from accompgen.analysis.clicks import clicks
from accompgen.analysis.frames import buzz, find_hop, frame_lock

# what is flagged, and from which value on; true recordings stay below (docs/evaluation.md)
LIMITS = {"frame_lock": 1.2, "hop_lock": 3.0, "buzz_db": 1.5, "clicks": 4.0}
SIDE_DB = -40.0  # below the sum of two channels: what lies lower is rounding, not their difference
BAND_DB = -75.0  # below the loudest band: where the spectrum ends
BAND_HZ = 100.0
SILENT_RMS = 1e-4  # -80 dBFS
LOWEST_DB = -100.0  # of the width: channels that are equal


def measure(wav: np.ndarray, rate: int) -> dict[str, float | None]:
    """All figures of sound [C, T] or [T]; None for one that the sound is too short or too mono for.

    Returns:
        frame_lock, buzz_db: at 75 frames a second (`frames.frame_lock`, `frames.buzz`). hop_lock,
        hop_ms: the largest lock at any hop of 2.7 to 46 ms, and that hop, in the sum of the
        channels (`frames.find_hop`). crest_db: `crest_factor`. clicks: a second (`clicks.clicks`).
        bandwidth_hz: `bandwidth`. width_db, correlation: `stereo`.
    """
    wav = np.atleast_2d(np.asarray(wav, np.float32))
    hop = find_hop(wav.mean(axis=0), rate)
    width, correlation = stereo(wav)
    return {
        "frame_lock": worst(frame_lock, wav, rate),
        "hop_lock": hop and hop[1],
        "hop_ms": hop and 1000 * hop[0],
        "buzz_db": worst(buzz, wav, rate),
        "crest_db": crest_factor(wav),
        "clicks": worst(clicks, wav, rate),
        "bandwidth_hz": bandwidth(wav, rate),
        "width_db": width,
        "correlation": correlation,
    }


def flags(measures: dict) -> list[str]:
    """The measures that are beyond their limit, by name."""
    known = {name: measures[name] for name in LIMITS if measures.get(name) is not None}
    return [name for name, value in known.items() if value >= LIMITS[name]]


def worst(function, wav: np.ndarray, rate: int) -> float | None:
    """The largest `function(mono, rate)` of the signals of wav [C, T]; None where all are None."""
    values = [value for mono in signals(wav) if (value := function(mono, rate)) is not None]
    return max(values, default=None)


def signals(wav: np.ndarray) -> list[np.ndarray]:
    """The channels of wav [C, T] but for copies of the first, and half the difference of two."""
    wav = np.atleast_2d(wav)
    found = [wav[0]] + [channel for channel in wav[1:] if not np.array_equal(channel, wav[0])]
    if len(found) == 2 == len(wav) and stereo(wav)[0] > SIDE_DB:
        found.append((wav[0] - wav[1]) / 2)
    return found


def crest_factor(wav: np.ndarray) -> float | None:
    """Peak over RMS in dB of wav [C, T] or [T], the largest of the channels; None for silence.

    It grows with the length: compare it with the truth's of the same length.
    """
    wav = np.atleast_2d(wav)
    level = np.sqrt(np.mean(np.square(wav, dtype=np.float64), axis=1))
    heard = level > SILENT_RMS
    if not heard.any():
        return None
    return float(20 * np.log10((np.abs(wav).max(axis=1)[heard] / level[heard]).max()))


def bandwidth(wav: np.ndarray, rate: int) -> float | None:
    """The highest frequency in Hz at which the spectrum of wav [C, T] is within 75 dB of its top.

    Bands of 100 Hz. A share of the energy would not do: 99 % of music lies below 4 kHz, whatever is
    missing above. None for silence.
    """
    wav = np.atleast_2d(wav)
    size = 1 << int(np.ceil(np.log2(rate / 20)))
    mono = np.pad(wav, [(0, 0), (0, max(0, size - wav.shape[1]))])
    if not (mono**2).mean() > SILENT_RMS**2:
        return None
    window = np.kaiser(size, 12.0).astype(np.float32)  # its side lobes lie below BAND_DB
    power = 0.0
    for channel in mono:
        windows = np.lib.stride_tricks.sliding_window_view(channel, size)[::size]
        power = power + (np.abs(np.fft.rfft(windows * window)) ** 2).mean(axis=0, dtype=np.float64)
    width = max(1, round(BAND_HZ * size / rate))
    bands = power[: len(power) // width * width].reshape(-1, width).sum(axis=1)
    there = np.flatnonzero(bands > 10 ** (BAND_DB / 10) * bands.max())
    return float(min((there[-1] + 1) * width * rate / size, rate / 2))


def stereo(wav: np.ndarray) -> tuple[float | None, float | None]:
    """Width and correlation of two channels [2, T].

    Returns:
        level of half their difference over half their sum in dB, -100 to 100, and Pearson's
        coefficient (None where one is silent). Both None for silence, and unless there are two.
    """
    wav = np.atleast_2d(wav)
    if len(wav) != 2 or not np.any(wav):
        return None, None
    left, right = wav.astype(np.float64)
    side, middle = np.sum((left - right) ** 2), np.sum((left + right) ** 2)
    width = 10 * np.log10(max(side, 1e-30) / max(middle, 1e-30))
    left, right = left - left.mean(), right - right.mean()
    energy = np.sqrt((left @ left) * (right @ right))
    correlation = float(left @ right / energy) if energy > 0 else None
    return float(np.clip(width, LOWEST_DB, -LOWEST_DB)), correlation
