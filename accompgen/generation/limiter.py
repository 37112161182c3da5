"""Peaks made softer, by gains that change slowly.

Stages draw each stroke of a drum anew, and some of them come out louder than any drummer plays.
"""

import numpy as np
import torch
from torch.nn import functional as F

STEPS = 40  # in which a gain falls before a peak, and in which it rises behind it
LIMIT_SECONDS = 0.01  # that they take in a stem: a stroke keeps its body
PIECE_SECONDS = 0.5  # of sound whose level is measured
SILENT_DB = -20.0  # pieces so far below the loudest do not count: a stem that rests has no level
ROUNDS = 20


def limited(
    sound: np.ndarray, rate: int, headroom: float, level: float = 0.0
) -> tuple[np.ndarray, float]:
    """A stem whose peaks stand at most `headroom` above its level, its channels softer alike.

    Args:
        sound: [C, T] float32.
        rate: in Hz.
        headroom: in dB, above 0.
        level: RMS of the stem that it is a part of, where that is above its own. The own level is
            that of the limited sound, so what is limited once stays as it is.

    Returns:
        The sound, and by how many dB its loudest peak is softer: the same sound, and 0, where none
        is too loud.
    """
    step = max(1, round(rate * LIMIT_SECONDS / STEPS))
    peaks = _steps(np.abs(sound).max(axis=0, initial=0), step).max(axis=1)  # [N]
    energies = _steps(np.square(sound, dtype=np.float32).mean(axis=0), step).mean(axis=1)
    if not energies.any():
        return sound, 0.0
    needed, before = np.ones_like(peaks), np.inf
    factor = np.float32(10 ** (headroom / 20))
    for _ in range(ROUNDS):
        ceiling = factor * max(level, _level(energies * np.square(_slow(needed)), rate / step))
        needed = np.minimum(1, ceiling / np.maximum(peaks, 1e-12))
        # each round turns down less than the one before
        if abs(ceiling / before - 1) < 1e-4:
            break
        before = ceiling
    if (least := float(needed.min())) == 1:
        return sound, 0.0
    softer = float(-20 * np.log10(max(least, 1e-6)))
    return sound * _between(_slow(needed), step, sound.shape[1]), softer


def level_of(sound: np.ndarray, rate: int) -> float:
    """RMS of sound [C, T], T at least 1, over all channels, where it sounds."""
    return _level(np.square(sound, dtype=np.float32).mean(axis=0), rate)


def smoothed(gains: np.ndarray, step: int) -> np.ndarray:
    """Gains [T] that change slowly and are nowhere above those given.

    A fall and a rise take STEPS of `step` samples.
    """
    return _between(_slow(_steps(gains, step).min(axis=1)), step, len(gains))


def _slow(gains):
    """Gains [N] float32 of steps.

    Of those around the least, and of these around the mean, so that a line from one to the next
    stays below what was given, too.
    """
    half = STEPS // 2
    least = -F.max_pool1d(-torch.from_numpy(gains)[None], 2 * half + 1, 1, half)
    return F.avg_pool1d(least, 2 * half - 1, 1, half - 1, count_include_pad=False)[0].numpy()


def _between(gains, step, samples):
    """Gains [N] of steps as lines between their middles, [samples]."""
    middles = (np.arange(len(gains)) + 0.5) * step
    return np.interp(np.arange(samples), middles, gains).astype(np.float32)


def _steps(values, step):
    """Values [T] in steps [N, step], the last one filled up with the last value."""
    return np.pad(values, (0, -len(values) % step), mode="edge").reshape(-1, step)


def _level(energies, rate):
    """RMS of mean squares [N], `rate` of them a second, over the pieces that sound."""
    piece = min(len(energies), max(1, round(PIECE_SECONDS * rate)))
    pieces = _steps(energies, piece).mean(axis=1, dtype=np.float64)
    return float(np.sqrt(pieces[pieces >= 10 ** (SILENT_DB / 10) * pieces.max()].mean()))
