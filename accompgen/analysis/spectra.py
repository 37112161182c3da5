"""Short-time spectra of mono sound; the only file of the folder that imports scipy."""

import numpy as np

FRAMES_AT_ONCE = 512  # bounds the memory that a long song takes


def spectra(mono: np.ndarray, samples: int, hop: int):
    """Complex spectra of Hann windows of `samples` centred every `hop` samples of sound [T], from the first sample on.

    Yields arrays complex64 [at most 512, samples / 2 + 1]; T / hop frames in all, rounded up, at least one.
    """
    from scipy.fft import rfft

    count = max(1, -(-len(mono) // hop))
    padded = np.pad(mono, (samples // 2, samples // 2 + hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, samples)[::hop][:count]
    window = np.hanning(samples + 1)[:-1].astype(np.float32)
    for start in range(0, count, FRAMES_AT_ONCE):
        yield rfft(frames[start : start + FRAMES_AT_ONCE] * window)


def above_surroundings(magnitudes: np.ndarray, bins: int) -> np.ndarray:
    """By how much each bin of [frames, B] stands out of the mean of the `bins` around it, at least 0: tones stay."""
    from scipy.ndimage import uniform_filter1d

    return np.maximum(magnitudes - uniform_filter1d(magnitudes, bins, axis=1, mode="nearest"), 0)
