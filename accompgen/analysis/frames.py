"""Faults locked to the frames of a codec: clicks at one place of each, lines at its frame rate.

A decoder that fills the treble with a click in each frame has the right spectrum in every window
longer than a frame, so no spectral distance sees it. Sound that knows nothing of frames is alike at
all places of a frame.
"""

import numpy as np

from accompgen.time import ACOUSTIC_HZ

SHORTEST_SECONDS = 2.0
QUIET = 1e-2  # 40 dB below the loud ones: quieter frames say nothing
TRIMMED = 1 / 8  # share of the frames left out at each place, the loudest
BLOCK_FRAMES = 16  # frames that lie together are alike, so the halves alternate in blocks
HOP_SECONDS = 64 / 24000, 2048 / 44100  # of an unknown hop; a longer one could be a drum's
LEVEL_SECONDS = 0.05
CANDIDATES, FINALISTS = 12, 3  # lags that are looked into, roughly and closely
CHANCE = 1.3  # the lock of music at some hop or other
SCAN_RATE = 24000  # about: finer steps cost time, and the hop is refined anyway
LINES_HZ = 3000.0  # below it the harmonics of tones outweigh everything
LINE_FRAMES = 24  # of the window in which lines are seen: 0.32 s
FAINT = 1e-6  # lines 60 dB below the strongest are left out


def frame_lock(mono: np.ndarray, rate: int, hop_hz: float = ACOUSTIC_HZ) -> float | None:
    """How unevenly the |second difference| of sound [T] is spread over frames of 1 / hop_hz s.

    1 is even; clicks at a fixed place give as many times the mean as they stand out (10 to 30 for a
    decoder that plays its treble so). Truth has 0.95 to 1.2 on 10 s and more;
    one piece in fifty of 3 to 5 s has more, up to 1.4.

    Three things keep the largest of 320 means honest. The place is chosen on one half of the frames
    and read on the other, and the reverse, so that chance does not raise it on short sound. Each
    frame counts alike, so that no loud event decides. The loudest eighth of the frames is left out
    at each place: at 125 beats a minute a drum machine hits the same place of every ninth frame,
    while a decoder clicks in each.

    Returns None for less than 2 s of sound above the quiet.
    """
    return _lock(second_difference(mono), rate / hop_hz, SHORTEST_SECONDS * hop_hz)


def find_hop(mono: np.ndarray, rate: int) -> tuple[float, float] | None:
    """The hop of 2.7 to 46 ms at which impulses repeat throughout sound [T], and its frame lock.

    The autocorrelation of the second difference's level gives lags; each is followed to its far
    multiples, which makes it exact to a thousandth of a sample and loses what does not go on for
    the whole file, such as the pitch of a note. Music has locks up to 1.3 at some hop; a chord
    held all along has 1.5 to 2.5, a decoder that clicks 5 to 30.

    Returns (seconds, lock), or None for less than 3 s of sound above the quiet.
    """
    level = second_difference(mono)
    step = max(1, round(rate / SCAN_RATE))
    whole = len(level) // step * step
    coarse = level[:whole].reshape(-1, step).max(axis=1)
    correlation = _autocorrelation(_flattened(coarse, rate / step))
    periods = [_refined(correlation, lag) for lag in _peaks(correlation, rate / step)]
    fewest = SHORTEST_SECONDS * rate / step
    quick = {period: _lock(coarse, period, fewest / period, trimmed=0.0) for period in periods}
    periods = sorted((period for period in periods if quick[period]), key=quick.get)[-FINALISTS:]
    locks = {period: _lock(coarse, period, fewest / period) for period in periods}
    found = [(lock, period) for period, lock in locks.items() if lock]
    if not found:
        return None
    lock, period = max(found)
    if lock > CHANCE:
        period = _shortest(coarse, period, HOP_SECONDS[0] * rate / step)
    return float(step * period / rate), _lock(level, step * period, fewest / period)


def buzz(mono: np.ndarray, rate: int, hop_hz: float = ACOUSTIC_HZ) -> float | None:
    """How far lines at multiples of `hop_hz` above 3 kHz stand over what lies half-way, in dB.

    The mean over lines, its lowest and highest tenth left out, so that single tones do not decide;
    every moment counts alike. Truth has -0.5 to 1.1 on 10 s and more, -0.9 to 1.3 on 3 s. Returns
    None for less than 2 s of sound above the quiet.
    """
    size = round(LINE_FRAMES * rate / hop_hz)
    if len(mono) < size:
        return None
    mono = np.asarray(mono, np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(mono, size)[:: size // 2]
    power = np.abs(np.fft.rfft(windows * np.hanning(size).astype(np.float32))) ** 2
    lines = np.arange(round(LINES_HZ / hop_hz), int(rate / 2 / hop_hz) - 1) * LINE_FRAMES
    power = power[:, lines[0] - LINE_FRAMES : lines[-1] + LINE_FRAMES]
    lines = lines - lines[0] + LINE_FRAMES
    level = power.mean(axis=1)
    loud = level > QUIET**2 * np.quantile(level, 0.9)
    if loud.sum() * size / 2 < SHORTEST_SECONDS * rate:
        return None
    power = (power[loud] / level[loud, None]).mean(axis=0)
    near = power[:-2] + power[1:-1] + power[2:]  # of a bin and its neighbours, at index - 1
    half = LINE_FRAMES // 2
    on, below, above = (np.maximum(near[lines - 1 + shift], 1e-30) for shift in (0, -half, half))
    there = on + above > FAINT * (on + above).max()
    excess = 10 * np.log10(on) - 5 * np.log10(below) - 5 * np.log10(above)
    excess = np.sort(excess[there])
    spared = len(excess) // 10
    return float(excess[spared : len(excess) - spared].mean())


def second_difference(mono: np.ndarray) -> np.ndarray:
    """|x[n + 1] - 2 x[n] + x[n - 1]| of sound [T]: [T - 2]; large at clicks."""
    return np.abs(np.diff(np.asarray(mono, np.float32), 2))


def _lock(level, period, fewest, trimmed=TRIMMED):
    """`frame_lock` of a level [T] at a period in samples; None below `fewest` of them."""
    count = int((len(level) - 1) / period)
    if count < max(fewest, 4 * BLOCK_FRAMES):
        return None
    starts = np.round(np.arange(count) * period).astype(int)  # a period need not be whole
    folded = level[starts[:, None] + np.arange(int(period))]
    means = folded.mean(axis=1)
    loud = means > QUIET * np.quantile(means, 0.9)
    if loud.sum() < max(fewest, 4 * BLOCK_FRAMES):
        return None
    folded = folded[loud] / means[loud, None]
    half = np.arange(len(folded)) // BLOCK_FRAMES % 2
    first, second = (_profile(folded[half == side], trimmed) for side in (0, 1))
    return float((second[first.argmax()] + first[second.argmax()]) / 2)


def _profile(frames, trimmed):
    """Mean of each place of frames [F, P], without a share of the loudest, over their mean: [P]."""
    means = frames.mean(axis=0)
    if trimmed:
        places = np.ascontiguousarray(frames.T)
        kept = int(np.ceil(places.shape[1] * (1 - trimmed)))
        means = np.partition(places, kept - 1, axis=1)[:, :kept].mean(axis=1)
    return means / max(means.mean(), 1e-30)


def _flattened(level, rate):
    """Level [T] over its mean in 50 ms, at most 8, less its mean: loud events count as others."""
    span = round(LEVEL_SECONDS * rate)
    rows = level[: len(level) // span * span].reshape(-1, span)
    means = rows.mean(axis=1, keepdims=True)
    floor = QUIET * np.quantile(means, 0.9) if len(means) else 0.0
    flat = np.minimum(rows / np.maximum(means, max(floor, 1e-12)), 8.0).ravel()
    return flat - flat.mean() if len(flat) else flat


def _autocorrelation(series):
    """Unbiased autocorrelation at lags from 0 to a third of a series [T] or more, 1 at lag 0.

    Empty for a series of zeros.
    """
    if not np.any(series):
        return np.zeros(0)
    size = 1 << int(np.ceil(np.log2(1.3 * len(series))))
    spectrum = np.fft.rfft(series, size)
    lags = min(size - len(series), len(series) // 2)
    sums = np.fft.irfft(np.abs(spectrum) ** 2, size)[:lags]
    means = sums / np.arange(len(series), len(series) - lags, -1)
    return means / means[0]


def _peaks(correlation, rate):
    """The CANDIDATES lags of HOP_SECONDS at which the correlation stands highest over the median
    of its surroundings."""
    shortest = round(HOP_SECONDS[0] * rate)
    longest = min(round(HOP_SECONDS[1] * rate), len(correlation) - 14)
    if longest <= shortest:
        return []
    lags = np.arange(shortest, longest + 1)
    here = correlation[lags]
    lags = lags[(here > correlation[lags - 1]) & (here >= correlation[lags + 1])]
    around = np.median(np.lib.stride_tricks.sliding_window_view(correlation, 25)[lags - 12], axis=1)
    return lags[np.argsort(around - correlation[lags])[:CANDIDATES]]


def _refined(correlation, lag):
    """The period near a lag, from the peaks near it, near its double, its fourfold and so on."""
    period, times = float(lag), 1
    while times * period < len(correlation) - 4:
        middle = round(times * period)
        here = correlation[middle - 3 : middle + 4]
        top = int(here.argmax())
        if 0 < top < 6:
            left, centre, right = here[top - 1 : top + 2]
            bend = left - 2 * centre + right
            period = (middle - 3 + top + (0.5 * (left - right) / bend if bend < 0 else 0.0)) / times
        times *= 2
    return period


def _shortest(level, period, least):
    """The shortest whole part of a period, `least` or longer, that is locked in most of its frames.

    Multiples of a hop are locked as well as the hop itself. Half of a hop is so in every second
    frame: without the louder half of the frames it is not.
    """
    # a hop that is locked in fewer than half of its frames has nothing left to compare
    enough = max(1 + (_lock(level, period, 0, trimmed=0.5) - 1) / 2, CHANCE)
    parts = [period / times for times in range(2, int(period / least) + 1)]
    locks = [_lock(level, part, 0, trimmed=0.5) for part in parts]
    locked = [part for part, lock in zip(parts, locks) if lock is not None and lock >= enough]
    return min(locked, default=period)
