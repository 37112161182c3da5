"""Where the sections of a song begin: novelty of its self-similarity, and where repetitions start and end.

Two cues are added up, since each misses what the other sees. A change of harmony, timbre, level or voice is a corner on
the diagonal of the self-similarity matrix (Foote, "Automatic audio segmentation using a measure of audio novelty",
2000). The start of a repetition changes the pattern of recurrences at all lags (Serra et al., "Unsupervised music
structure annotation by time series structure features and segment similarity", 2014).
"""

from dataclasses import dataclass

import numpy as np

from accompgen.analysis.features import (
    RHYTHM_SECONDS,
    SUNG_DB,
    TONAL_SECONDS,
    Features,
    librosa,
    pitch_classes,
)

SHORTEST_STEP, LONGEST_STEP = 0.33, 0.75  # seconds of the grid; beats are halved or joined to lie between
COEFFICIENTS = 13  # of the mel cepstrum
KERNEL_STEPS = 24  # of the novelty, on each side: about 12 s
FINE_KERNEL_STEPS, FINE_STEPS = 4, 2  # a boundary moves to the sharpest corner this near
EMBEDDED_STEPS = 4  # a recurrence holds for so many steps in a row
NEIGHBOURS = 0.04  # of the song's steps that recur in each
SMOOTHED_STEPS = 8.0  # of the recurrences, along time
CORNER = 0.15  # the novelty at which a corner is sure
REPETITION_WEIGHT = 0.5
THRESHOLD = 0.3  # of both cues together: chosen on 20 synthetic songs, docs/data.md
SHORTEST_SECTION = 16  # steps


@dataclass(frozen=True)
class Grid:
    """A song on a grid of beats. times [N + 1] seconds, first 0, last its end; what is heard in the N steps between:
    chroma [N, 12] of the band, timbre [N, 13], level [N, 1] dB of the band and sung [N, 1], the share with voice."""

    times: np.ndarray
    chroma: np.ndarray
    timbre: np.ndarray
    level: np.ndarray
    sung: np.ndarray


def on_grid(voice: Features, band: Features, beats) -> Grid:
    """Means of the features over the steps of a grid made from `beats` (seconds; without beats, steps of 0.5 s)."""
    seconds = len(band.level) * RHYTHM_SECONDS
    steps = _steps(np.asarray(beats, float), seconds)
    inside = steps[(steps > SHORTEST_STEP / 2) & (steps < seconds - SHORTEST_STEP / 2)]
    times = np.concatenate([[0.0], inside, [seconds]])
    sung = (voice.level > SUNG_DB).astype(np.float32)
    return Grid(
        times,
        _means(pitch_classes(band), times, TONAL_SECONDS),
        _means(band.mel, times, RHYTHM_SECONDS) @ _cosines(band.mel.shape[1]),
        _means(np.maximum(band.level, -40.0)[:, None], times, RHYTHM_SECONDS),
        _means(sung[:, None], times, RHYTHM_SECONDS),
    )


def find_boundaries(grid: Grid, downbeats=()) -> dict[int, float]:
    """The steps of the grid at which a section begins, in order, without 0 and the end; at a downbeat, where those are given.

    Returns: step -> how sure a corner is there, 0 to 1. Where it is 0, only a repetition begins.
    """
    if len(grid.chroma) < 2 * SHORTEST_SECTION:
        return {}
    similarity = _similarity(grid)
    corners = np.minimum(_novelty(similarity, KERNEL_STEPS) / CORNER, 1)
    cues = corners + REPETITION_WEIGHT * _repetition(grid)
    fine, bars = _novelty(similarity, FINE_KERNEL_STEPS), np.asarray(downbeats, float)
    found = {}
    for peak in _peaks(cues):
        near = range(max(1, peak - FINE_STEPS), min(len(cues) - 1, peak + FINE_STEPS) + 1)
        if len(bars):
            place = min(near, key=lambda step: (np.abs(bars - grid.times[step]).min(), abs(step - peak)))
        else:
            place = max(near, key=lambda step: fine[step])
        found[place] = float(corners[peak])
    return found


def embedded(chroma: np.ndarray, steps: int = EMBEDDED_STEPS) -> np.ndarray:
    """Each step [N, 12] with those that follow, as one vector of length 1 [N, 12 steps], mean taken away."""
    centred = chroma - chroma.mean(axis=1, keepdims=True)
    padded = np.pad(_unit(centred), ((0, steps - 1), (0, 0)), mode="edge")
    return _unit(np.concatenate([padded[first : first + len(chroma)] for first in range(steps)], axis=1))


def _steps(beats, seconds):
    if len(beats) < 4:
        return np.arange(0.5, seconds, 0.5)
    while np.median(np.diff(beats)) > LONGEST_STEP:
        beats = np.sort(np.concatenate([beats, (beats[1:] + beats[:-1]) / 2]))
    while len(beats) > 3 and np.median(np.diff(beats)) < SHORTEST_STEP:
        beats = beats[::2]
    return beats


def _means(values, times, seconds):
    """Means [N, ...] of values [F, ...] on a grid of `seconds` between the times."""
    places = np.minimum(np.round(times / seconds).astype(int), len(values))
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])
    return (total[places[1:]] - total[places[:-1]]) / np.maximum(np.diff(places), 1)[:, None]


def _cosines(bands):
    """[bands, 13]: the orthonormal cosine transform that makes a cepstrum of mel bands."""
    cosines = np.cos(np.pi * (np.arange(bands)[:, None] + 0.5) * np.arange(COEFFICIENTS) / bands)
    return cosines * np.sqrt(np.where(np.arange(COEFFICIENTS), 2, 1) / bands)


def _similarity(grid):
    """[N, N], 0 to 1: the mean of the similarities in harmony, timbre, level and voice."""
    chroma = _unit(grid.chroma)
    parts = [np.exp((2 * chroma @ chroma.T - 2) / 0.35)]
    for values in (grid.timbre, grid.level, grid.sung):
        distance = _distances(_standard(values))
        parts.append(np.exp(-distance / max(float(np.median(distance)), 0.2)))
    return np.mean(parts, axis=0)


def _novelty(similarity, reach):
    """Correlation [N] of the diagonal with a checkerboard of `reach` steps on each side, tapered by a Gaussian."""
    place = np.arange(-reach, reach) + 0.5
    arm = np.sign(place) * np.exp(-((2 * place / reach) ** 2) / 2)
    kernel = np.outer(arm, arm)
    padded = np.pad(similarity, reach, mode="reflect" if len(similarity) > reach else "edge")
    windows = [padded[step : step + 2 * reach, step : step + 2 * reach] for step in range(len(similarity))]
    novelty = np.array([np.vdot(window, kernel) for window in windows]) / np.abs(kernel).sum()
    novelty[0] = 0  # the reflection's own corner
    return np.maximum(novelty, 0)


def _repetition(grid):
    """[N], 0 to 1: how much the lags change at which the song recurs."""
    from scipy.ndimage import gaussian_filter, gaussian_filter1d

    features = np.concatenate([2 * _unit(grid.chroma), 0.3 * _standard(grid.timbre)], axis=1)
    padded = np.pad(features, ((0, EMBEDDED_STEPS - 1), (0, 0)), mode="edge")
    stacked = np.concatenate([padded[first : first + len(features)] for first in range(EMBEDDED_STEPS)], axis=1)
    neighbours = max(4, int(NEIGHBOURS * len(stacked)))
    segment = librosa().segment
    recurrence = segment.recurrence_matrix(stacked.T, k=neighbours, sym=True, sparse=False).astype(np.float32)
    lags = gaussian_filter(segment.recurrence_to_lag(recurrence, pad=True), (0.3, SMOOTHED_STEPS))
    change = np.concatenate([[0], np.square(np.diff(lags, axis=1)).sum(axis=0)])
    change = gaussian_filter1d(change, 1)
    return (change - change.min()) / max(float(np.ptp(change)), 1e-9)


def _peaks(cues):
    """Steps that are largest within a shortest section on both sides, and over the threshold."""
    found = []
    for step in range(SHORTEST_SECTION // 2, len(cues) - SHORTEST_SECTION // 2 + 1):
        around = cues[max(0, step - SHORTEST_SECTION) : step + SHORTEST_SECTION + 1]
        if cues[step] > THRESHOLD and cues[step] == around.max() and (not found or step - found[-1] >= SHORTEST_SECTION):
            found.append(step)
    return found


def _unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def _standard(values):
    return (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-3)


def _distances(rows):
    """Mean squared difference of any two rows [N, N]."""
    squares = np.square(rows).mean(axis=1)
    return np.maximum(squares[:, None] + squares - 2 * rows @ rows.T / rows.shape[1], 0)
