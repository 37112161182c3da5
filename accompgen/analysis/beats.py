"""Beats and onsets against others, and the tempo of beats. Times are in seconds."""

import numpy as np

BEAT_WINDOW_SECONDS, ONSET_WINDOW_SECONDS = 0.07, 0.05
TEMPO_TOLERANCE = 0.02
SHIFTS = 40  # of the beats within one, to know what chance gives
METRICAL_LEVELS = (1, 2, 3, 4, 1 / 2, 1 / 3, 1 / 4)


def _mir_eval():
    try:
        import mir_eval.beat
        import mir_eval.onset
    except ImportError as error:
        raise ImportError(f"beat and onset scores need mir_eval ({error}): pip install 'accompgen[eval]'") from error
    return mir_eval


def beat_f1(estimated, reference) -> float | None:
    """F1 of beats within +-70 ms of reference beats, each matched once (Davies et al., "Evaluation methods for musical audio
    beat tracking algorithms", 2009). No first seconds are dropped. None with under two reference beats; 0 with none estimated.

    A bare click track scores 1: it says nothing of music. Read it beside the other measures.
    """
    if len(reference) < 2:
        return None
    if not len(estimated):
        return 0.0
    return float(_mir_eval().beat.f_measure(np.sort(reference), np.sort(estimated), f_measure_threshold=BEAT_WINDOW_SECONDS))


def onset_f1(estimated, reference) -> float | None:
    """F1 of onsets within +-50 ms of reference onsets (MIREX onset detection). None without reference onsets."""
    if not len(reference):
        return None
    if not len(estimated):
        return 0.0
    return float(_mir_eval().onset.f_measure(np.sort(reference), np.sort(estimated), window=ONSET_WINDOW_SECONDS)[0])


def tempo(beats) -> float | None:
    """Beats a minute: 60 over the median distance of two beats. None with under three beats."""
    return float(60 / np.median(np.diff(np.sort(beats)))) if len(beats) > 2 else None


def tempo_error(estimated_bpm: float | None, reference_bpm: float | None) -> tuple[float | None, float | None]:
    """(error in percent, 1.0 if the metrical level is wrong else 0.0).

    The error is taken at the level (the tempo times or over 1, 2, 3, 4) that lies nearest, so that a tempo doubled exactly is
    an error of 0 % and one octave error. Both None where a tempo is missing.
    """
    if not estimated_bpm or not reference_bpm:
        return None, None
    ratio = estimated_bpm / reference_bpm
    level = min(METRICAL_LEVELS, key=lambda known: abs(np.log(ratio / known)))
    return float(100 * abs(ratio / level - 1)), float(level != 1)


def steady_tempo(beats) -> float | None:
    """Beats a minute of the straight line through beat times: finer than the grid of 10 ms that they lie on.

    A beat that the tracker left out or put in does not bend it, nor do those over 70 ms off, which are left out. None with
    under three beats.
    """
    times = np.sort(np.asarray(beats, float))
    if len(times) < 3:
        return None
    numbers = np.concatenate([[0], np.cumsum(np.round(np.diff(times) / np.median(np.diff(times))))])
    slope, first = np.polyfit(numbers, times, 1)
    near = np.abs(times - first - slope * numbers) <= BEAT_WINDOW_SECONDS
    if near.sum() > 2 and np.ptp(numbers[near]) > 0:
        slope, _ = np.polyfit(numbers[near], times[near], 1)
    return float(60 / slope) if slope > 0 else None


def tempo_met(estimated_bpm: float | None, asked_bpm: float) -> tuple[float, float]:
    """(1.0 if the tempo is the asked one within 2 %, 1.0 if it is another metrical level of it); else, or without one, 0.0."""
    error, wrong_level = tempo_error(estimated_bpm, asked_bpm)
    if error is None or error > 100 * TEMPO_TOLERANCE:
        return 0.0, 0.0
    return 1.0 - wrong_level, wrong_level


def beats_on_onsets(beats, onsets) -> tuple[float, float] | None:
    """(share of beats within 70 ms of an onset, the same by chance: the mean over shifts of the beats by up to a beat).

    None with under three beats or no onset. Beats are those between the first and the last onset.
    """
    beats, onsets = np.sort(np.asarray(beats, float)), np.sort(np.asarray(onsets, float))
    if len(beats) < 3 or not len(onsets):
        return None
    shares = []
    for shift in np.arange(SHIFTS) / SHIFTS * np.median(np.diff(beats)):
        moved = beats + shift
        moved = moved[(moved >= onsets[0] - BEAT_WINDOW_SECONDS) & (moved <= onsets[-1] + BEAT_WINDOW_SECONDS)]
        apart = np.abs(moved[:, None] - onsets).min(axis=1)
        shares.append(float(np.mean(apart <= BEAT_WINDOW_SECONDS)) if len(moved) else 0.0)
    return shares[0], float(np.mean(shares))
