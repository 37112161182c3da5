"""Rhythm: beat F1, onset F1, tempo error; the only file that imports beat_this."""

import numpy as np

from accompgen.evaluation import listen

BEAT_WINDOW_SECONDS, ONSET_WINDOW_SECONDS = 0.07, 0.05
METRICAL_LEVELS = (1, 2, 3, 4, 1 / 2, 1 / 3, 1 / 4)
TRACKERS = ("librosa", "beat-this")


def _mir_eval():
    try:
        import mir_eval.beat
        import mir_eval.onset
    except ImportError as error:
        raise ImportError(f"beat and onset scores need mir_eval ({error}): pip install 'accompgen[eval]'") from error
    return mir_eval


def find_tracker(name: str, weights=None, device: str = "cpu"):
    """A function mono sound [T] at 24 kHz -> beat times in seconds.

    Args:
        name: librosa | beat-this (Foscarin et al., "Beat this! Accurate beat tracking without DBN postprocessing", ISMIR 2024;
            needs the package beat_this, which wants torchaudio, and its weight file).
        weights: the file final0.ckpt, for beat-this.

    Raises:
        ValueError: another name, or beat-this without weights. ImportError: beat_this is not installed.
    """
    if name not in TRACKERS:
        raise ValueError(f"beat tracker {name!r} is none of {', '.join(TRACKERS)}")
    if name == "librosa":
        return listen.beats
    if weights is None:
        raise ValueError("the tracker beat-this needs its weight file (final0.ckpt of its authors); name it, or use librosa")
    try:
        from beat_this.inference import Audio2Beats
    except ImportError as error:
        raise ImportError(
            f"the tracker beat-this needs the package beat_this ({error}); it wants torchaudio, so give it a virtual "
            "environment of its own, or use the tracker librosa"
        ) from error
    model = Audio2Beats(str(weights), device)
    return lambda mono: np.asarray(model(mono, listen.RATE)[0], float)


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
