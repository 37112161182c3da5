"""Clicks anywhere, and seams where windows of a generator meet."""

import numpy as np

ORDER = 32  # of the linear prediction
FFT = 2048
STEP = FFT - 2 * ORDER  # samples predicted by one set of coefficients
SPAN_SECONDS, GAP_SECONDS = 0.006, 0.0005  # of what a sample is compared with, and to it
OUTLIER = 12.0  # times the mean |residual| on the louder side
TOGETHER_SECONDS = 0.001  # outliers that lie nearer are one click
FLOOR = 1e-5  # -100 dBFS: a mean residual below it is silence

FRAME_SECONDS = 0.005  # of the spectra on both sides of a border
SIDE_FRAMES = 40  # 0.2 s on each side: a few notes, so that a single one makes no seam
BANDS = 16


def clicks(mono: np.ndarray, rate: int) -> float:
    """Clicks a second in sound [T]: outliers of a linear prediction of order 32.

    A sample is one if its residual exceeds 12 times the mean |residual| of the 6 ms before it and
    of the 6 ms after it. The louder side decides, so that the attack of a drum, after which all is
    loud, is no click. True recordings have 0 to 1.3 a second, a few with woodblocks or rim shots up
    to 3.3; a decoder that clicks in each frame 5 to 130. A bare sawtooth clicks, too.
    """
    residual = np.abs(prediction_residual(mono))
    span, gap = round(SPAN_SECONDS * rate), max(1, round(GAP_SECONDS * rate))
    if len(residual) <= 2 * (span + gap) + 1:
        return 0.0
    sums = np.concatenate([[0.0], np.cumsum(residual, dtype=np.float64)])
    means = (sums[span:] - sums[:-span]) / span  # means[i]: of residual[i : i + span]
    inside = residual[span + gap : len(residual) - span - gap]
    before, after = means[: len(inside)], means[span + 2 * gap + 1 :][: len(inside)]
    hits = np.flatnonzero(inside > OUTLIER * (np.maximum(before, after) + FLOOR))
    count = 1 + int((np.diff(hits) > TOGETHER_SECONDS * rate).sum()) if len(hits) else 0
    return count * rate / len(mono)


def prediction_residual(mono: np.ndarray) -> np.ndarray:
    """What a linear prediction leaves of sound [T]: [T].

    Autocorrelation method, order 32, fitted every 1984 samples to twice as many.
    """
    mono = np.asarray(mono, np.float32)
    blocks = -(-len(mono) // STEP)
    missing = blocks * STEP - len(mono)
    wide = np.pad(mono, (STEP // 2, missing + STEP // 2))
    windows = np.lib.stride_tricks.sliding_window_view(wide, 2 * STEP)[::STEP]
    power = np.abs(np.fft.rfft(windows * np.hanning(2 * STEP).astype(np.float32), 2 * FFT)) ** 2
    correlation = np.fft.irfft(power)[:, : ORDER + 1].astype(np.float64)
    correlation[:, 0] += 1e-9 * correlation[:, 0] + 1e-9  # silence and pure tones can be solved
    places = np.abs(np.arange(ORDER)[:, None] - np.arange(ORDER))
    weights = np.linalg.solve(correlation[:, places], correlation[:, 1:, None])
    filters = np.concatenate([np.ones((blocks, 1)), -weights[..., 0]], axis=1).astype(np.float32)
    padded = np.pad(mono, (ORDER, missing))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, STEP + ORDER)[::STEP]
    filtered = np.fft.irfft(np.fft.rfft(pieces, FFT) * np.fft.rfft(filters, FFT), FFT)
    return filtered[:, ORDER : ORDER + STEP].ravel()[: len(mono)]


def seams(mono: np.ndarray, rate: int, borders) -> dict[str, float | None]:
    """Whether sound [T] breaks at given times in seconds, where two windows of a generator meet.

    Returns:
        seam_jump: share of the moments away from borders at which the spectrum changes less than at
        a border, from the 0.2 s before to the 0.2 s after; the mean over borders. seam_click: the
        same of the largest second difference within 1 ms. 0.5 is what times without a meaning get,
        1 a break at each border. None without a border 0.2 s inside the sound, or without other
        moments.
    """
    changes, breaks = _changes(mono, rate), _breaks(mono, rate)
    moments = np.unique(np.round(np.asarray(borders, float) / FRAME_SECONDS).astype(int))
    moments = moments[(moments >= SIDE_FRAMES) & (moments < len(changes) + SIDE_FRAMES)]
    if not len(moments):
        return {"seam_jump": None, "seam_click": None}
    moments = moments - SIDE_FRAMES
    return {
        "seam_jump": _rank(changes, moments),
        "seam_click": _rank(breaks[SIDE_FRAMES:][: len(changes)], moments),
    }


def border_times(seconds: float, first: float, step: float | None = None) -> np.ndarray:
    """Times of borders in a song: `first`, then every `step` (default: `first`), before its end.

    Raises ValueError where one of them is below 0.1 s.
    """
    step = first if step is None else step
    if min(first, step) < 0.1:
        raise ValueError(f"borders at {first} s and every {step} s; expected at least 0.1 s")
    return np.arange(first, seconds, step)


def _rank(values, chosen):
    """Mean share of smaller values for the chosen places, among those SIDE_FRAMES away from all."""
    others = values[np.abs(np.arange(len(values))[:, None] - chosen).min(axis=1) > SIDE_FRAMES]
    if not len(others):
        return None
    here = values[chosen, None]
    return float(((others < here).mean(axis=1) + 0.5 * (others == here).mean(axis=1)).mean())


def _changes(mono, rate):
    """Mean change of the band levels in dB from 0.2 s before to 0.2 s after, every 5 ms."""
    hop = FRAME_SECONDS * rate
    size = 1 << int(np.ceil(np.log2(hop)))
    count = int(len(mono) / hop)
    starts = np.round(np.arange(count) * hop).astype(int)
    padded = np.pad(np.asarray(mono, np.float32), (0, size))
    window = np.hanning(size).astype(np.float32)
    power = np.abs(np.fft.rfft(padded[starts[:, None] + np.arange(size)] * window)) ** 2
    edges = np.unique(np.geomspace(1, size // 2, BANDS + 1).astype(int))
    bands = np.add.reduceat(power, edges[:-1], axis=1)
    sums = np.pad(np.cumsum(bands, axis=0, dtype=np.float64), ((1, 0), (0, 0)))
    levels = 10 * np.log10((sums[SIDE_FRAMES:] - sums[:-SIDE_FRAMES]) / SIDE_FRAMES + 1e-7)
    return np.abs(levels[SIDE_FRAMES:] - levels[:-SIDE_FRAMES]).mean(axis=1)


def _breaks(mono, rate):
    """Largest second difference within 1 ms, over its mean within 25 ms, every 5 ms."""
    level = np.pad(np.abs(np.diff(np.asarray(mono, np.float32), 2)), (1, 1))
    near, far = round(0.001 * rate), round(0.025 * rate)
    count = int(len(mono) / (FRAME_SECONDS * rate))
    middles = np.round(np.arange(count) * FRAME_SECONDS * rate).astype(int)
    top = np.pad(level, near)[middles[:, None] + np.arange(2 * near + 1)].max(axis=1)
    sums = np.concatenate([[0.0], np.cumsum(level, dtype=np.float64)])
    low, high = np.maximum(middles - far, 0), np.minimum(middles + far, len(level))
    return top / ((sums[high] - sums[low]) / (high - low) + 1e-7)
