"""What hears the beats of a file that is scored; the only file that imports beat_this."""

import numpy as np

from accompgen.evaluation import listen

TRACKERS = ("librosa", "beat-this")


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
