"""One song: what is heard in each of its windows, and the numbers that come of comparing it with vocal and reference.

`analyse` listens to one file alone and is the expensive part, so its result is cached; `compare` is arithmetic on three
of them.
"""

import numpy as np

from accompgen.analysis import beats
from accompgen.analysis.keys import find_key
from accompgen.evaluation import harmony, listen
from accompgen.evaluation.folders import Plan, clip_annotation

RHYTHM = ("beat_f1", "onset_f1", "tempo_error_percent", "tempo_octave_errors")
HARMONY = ("chroma_reference", "chroma_vocal", "chord_tone_share", "key_agreement")


def analyse(mono: np.ndarray, plan: Plan, tracker) -> dict[str, np.ndarray]:
    """Beats, onsets and pitch profiles of sound [T] at 24 kHz, window by window, as arrays `beats3`, `onsets3`, ..."""
    heard = {}
    for index, window in enumerate(plan.cut(mono, listen.RATE)):
        heard[f"beats{index}"] = tracker(window)
        heard[f"onsets{index}"] = listen.onsets(window)
        heard[f"profile{index}"] = harmony.profile(window).astype(np.float32)
        heard[f"fine{index}"] = harmony.profile(window, harmony.FINE_BINS).astype(np.float32)
    return heard


def chord_shares(mono: np.ndarray, plan: Plan, annotation: dict) -> list[float | None]:
    """`harmony.chord_tone_share` of each window; ValueError for a chord that cannot be read."""
    windows = plan.cut(mono, listen.RATE)
    pieces = [clip_annotation(annotation, i * plan.seconds, (i + 1) * plan.seconds) for i in range(plan.count)]
    return [harmony.chord_tone_share(window, piece["chords"]) for window, piece in zip(windows, pieces)]


def compare_windows(system: dict, vocal: dict, reference: dict | None, plan: Plan, annotation: dict) -> list[dict]:
    """The measures of each window, None where it has none.

    Beats and tempo are taken from the annotation where it has them, else from what is heard in the reference, if there is one.
    """
    return [
        _compare_window(system, vocal, reference, i, clip_annotation(annotation, i * plan.seconds, (i + 1) * plan.seconds))
        for i in range(plan.count)
    ]


def compare(windows: list[dict], system: dict, reference: dict | None, plan: Plan, annotation: dict) -> dict[str, float | None]:
    """The song's measures: means over its windows, None where no window has one; the key is that of all windows together,
    against the annotated one, else the reference's."""
    scores = {name: mean([row[name] for row in windows]) for name in windows[0]}
    expected_key = annotation.get("key") or (reference and _key(reference, plan))
    agreement = harmony.key_agreement(_key(system, plan), expected_key) if expected_key else None
    return scores | {"key_agreement": agreement}


def _key(heard, plan):
    return find_key(np.concatenate([heard[f"profile{index}"] for index in range(plan.count)]))


def _compare_window(system, vocal, reference, index, annotation):
    estimated = system[f"beats{index}"]
    expected = annotation.get("beats", reference[f"beats{index}"] if reference else None)
    tempo = annotation.get("bpm") or (None if expected is None else beats.tempo(expected))
    error, octave = beats.tempo_error(beats.tempo(estimated), tempo)
    profile, fine = system[f"profile{index}"], system[f"fine{index}"]
    return {
        "beat_f1": None if expected is None else beats.beat_f1(estimated, expected),
        "onset_f1": beats.onset_f1(system[f"onsets{index}"], reference[f"onsets{index}"]) if reference else None,
        "tempo_error_percent": error,
        "tempo_octave_errors": octave,
        "chroma_reference": harmony.similarity(fine, reference[f"fine{index}"]) if reference else None,
        "chroma_vocal": harmony.similarity(profile, vocal[f"profile{index}"]),
    }


def mean(values) -> float | None:
    """Of the values that are not None; None where all are."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None
