"""Harmony: pitch-class profiles, their similarity, chord tones, keys.

The profile is the harmonic pitch class profile of Gomez ("Tonal description of polyphonic audio for music content
processing", 2006): only spectral peaks count, each at its interpolated frequency, so that drums and noise weigh little
and mistuning is seen. All profiles are at A = 440 Hz and never retuned. Level is no help: every block of time counts
the same, and a block in which the system is silent where it should sound scores 0.
"""

import numpy as np

from accompgen.analysis import labels
from accompgen.evaluation.band import top_between_bins
from accompgen.evaluation.listen import RATE

FRAME_SAMPLES, HOP_SAMPLES = 8192, 2400  # 341 ms every 100 ms
BLOCK_FRAMES = 5  # profiles are averaged over 0.5 s
LOWEST_HZ, HIGHEST_HZ = 60.0, 2000.0
PEAK_FLOOR = 1e-3  # of the frame's largest magnitude: -60 dB
SILENCE = 1e-3  # RMS of a block: -60 dBFS
FINE_BINS = 36


def peaks(mono: np.ndarray):
    """Spectral peaks of sound [T] at 24 kHz: frame index [P], pitch in semitones above C0 [P], power [P], number of frames."""
    count = max(1, -(-len(mono) // HOP_SAMPLES))
    mono = np.pad(np.asarray(mono, np.float32), FRAME_SAMPLES // 2)
    frames = np.lib.stride_tricks.sliding_window_view(mono, FRAME_SAMPLES)[::HOP_SAMPLES][:count]
    window = np.hanning(FRAME_SAMPLES + 1)[:-1].astype(np.float32)
    low, high = int(LOWEST_HZ * FRAME_SAMPLES / RATE), int(HIGHEST_HZ * FRAME_SAMPLES / RATE) + 2
    magnitude = np.empty((len(frames), high - low), np.float32)
    for start in range(0, len(frames), 64):
        magnitude[start : start + 64] = np.abs(np.fft.rfft(frames[start : start + 64] * window)[:, low:high])
    level = np.log(magnitude + 1e-9)
    left, centre, right = level[:, :-2], level[:, 1:-1], level[:, 2:]
    loud = magnitude[:, 1:-1] > np.maximum(PEAK_FLOOR * magnitude.max(axis=1, keepdims=True), 1e-4)
    frame, index = np.nonzero((centre > left) & (centre >= right) & loud)
    a, b, c = left[frame, index], centre[frame, index], right[frame, index]
    offset = top_between_bins(a, b, c)
    frequency = (low + 1 + index + offset) * RATE / FRAME_SAMPLES
    power = np.exp(2 * (b - 0.25 * (a - c) * offset))
    return frame, 12 * np.log2(frequency / 440) + 57, power, len(frames)


def sounding(mono: np.ndarray, blocks: int) -> np.ndarray:
    """Whether each block of 0.5 s is louder than -60 dBFS: bool [blocks]."""
    size = BLOCK_FRAMES * HOP_SAMPLES
    padded = np.zeros(blocks * size, np.float32)
    padded[: min(len(mono), len(padded))] = mono[: len(padded)]
    return np.sqrt(np.mean(padded.reshape(blocks, size) ** 2, axis=1)) > SILENCE


def profile(mono: np.ndarray, bins: int = 12) -> np.ndarray:
    """Pitch-class profile of sound [T] at 24 kHz: [blocks of 0.5 s, bins], bin 0 on C, each block's sum 1, or 0 where silent.

    A peak gives its power to the bins within 2/3 of a bin on both sides, weighted cos^2 (Gomez 2006).
    """
    frame, pitch, power, frames = peaks(mono)
    blocks = -(-frames // BLOCK_FRAMES)
    result = np.zeros((blocks, bins))
    position = pitch * bins / 12
    for nearest in (np.floor(position), np.ceil(position)):
        distance = np.abs(position - nearest)
        weight = np.where(distance < 2 / 3, np.cos(np.pi / 2 * distance / (2 / 3)) ** 2, 0) * (
            power / (1 + (position % 1 == 0))
        )
        np.add.at(result, (frame // BLOCK_FRAMES, nearest.astype(int) % bins), weight)
    result[~sounding(mono, blocks)] = 0
    total = result.sum(axis=1, keepdims=True)
    return np.divide(result, total, out=np.zeros_like(result), where=total > 0)


def similarity(system: np.ndarray, other: np.ndarray) -> float | None:
    """Mean cosine of two profiles [blocks, bins] over the blocks in which `other` sounds: 0 to 1. None if it never does."""
    blocks = min(len(system), len(other))
    a, b = system[:blocks], other[:blocks]
    there = b.any(axis=1)
    if not there.any():
        return None
    a, b = a[there], b[there]
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean(np.divide((a * b).sum(axis=1), norms, out=np.zeros(len(a)), where=norms > 0)))


def chord_tones(label: str) -> set[int] | None:
    """Pitch classes of a chord, its bass among them; None for N and X. ValueError if it cannot be read."""
    tones = labels.harmony(labels.read_chord(label))
    return None if tones is None else {*tones.pitch_classes, tones.bass}


def chord_tone_share(mono: np.ndarray, chords) -> float | None:
    """Share of the pitched energy that lies on the tones of the sounding chord, 0 to 1; chance is near 1/8.

    A peak d semitones from a chord tone counts cos^2(pi d), nothing beyond a quarter tone, so that mistuning lowers it.
    Frames count the same whatever their level; a silent frame under a chord counts 0. Frames whose centre lies within
    0.15 s of a change of chord, and those without a chord, are left out.

    Args:
        mono: sound [T] at 24 kHz. chords: (start seconds, end seconds, label), ...

    Returns: None where no chord is long enough. Raises ValueError for a label that cannot be read.
    """
    frame, pitch, power, frames = peaks(mono)
    total = np.bincount(frame, power, frames).astype(float)
    loud = sounding(mono, -(-frames // BLOCK_FRAMES))[np.arange(frames) // BLOCK_FRAMES]
    times, shares = np.arange(frames) * HOP_SAMPLES / RATE, []
    for start, end, label in chords:
        tones = chord_tones(label)
        inside = (times >= start + 0.15) & (times <= min(end, len(mono) / RATE) - 0.15)
        if tones is None or not inside.any():
            continue
        here = inside[frame]
        apart = np.min([np.abs((pitch[here] - tone + 6) % 12 - 6) for tone in sorted(tones)], axis=0)
        weight = np.where(apart < 0.5, np.cos(np.pi * apart) ** 2, 0) * power[here]
        on = np.bincount(frame[here], weight, frames)[inside].astype(float)
        all_power = total[inside]
        shares.append(np.divide(on, all_power, out=np.zeros_like(on), where=(all_power > 0) & loud[inside]))
    return float(np.concatenate(shares).mean()) if shares else None


def key_agreement(estimated: str | None, reference: str | None) -> float | None:
    """Score of a key as MIREX weighs it: 1 the same, 0.5 a fifth apart in the same mode, 0.3 relative, 0.2 parallel, else 0.

    Modes with a minor third (dorian, ...) count as minor, the others as major. None without a reference key.
    Raises ValueError for a key that cannot be read.
    """
    if reference is None:
        return None
    if estimated is None:
        return 0.0
    (first, first_minor), (second, second_minor) = _tonic(estimated), _tonic(reference)
    up = (first - second) % 12
    if first_minor == second_minor:
        return {0: 1.0, 7: 0.5, 5: 0.5}.get(up, 0.0)
    if up == 0:
        return 0.2
    return 0.3 if up == (9 if first_minor else 3) else 0.0


def _tonic(label):
    root, _, mode = labels.read_key(label).partition(":")
    return labels.pitch_class(root), mode in ("min", "dor", "phr", "loc")


def fifths(label: str) -> int:
    """Place 0 to 11 of a key on the circle of fifths, C and its relative minor at 0."""
    tonic, minor = _tonic(label)
    return (tonic + 3 * minor) * 7 % 12
