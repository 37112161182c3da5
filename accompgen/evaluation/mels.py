"""What the probes of the evaluation hear: power in mel bands, in which sounds that are mixed add up."""

from functools import lru_cache

import numpy as np

from accompgen.analysis.librosa_import import import_librosa
from accompgen.evaluation.band import power_spectra
from accompgen.evaluation.listen import RATE

SAMPLES, HOP_SAMPLES = 2048, 480  # 85 ms every 20 ms
BANDS = 80
LOWEST_HZ, HIGHEST_HZ = 30.0, 12000.0
FLOOR_DB = -120.0


def mel_decibel(mono: np.ndarray) -> np.ndarray:
    """Sound [T] at 24 kHz -> decibel of the power in each band, at least -120: float32 [T / 480, 80].

    The powers of a frame's bands add up to about its mean square.
    """
    power, _ = power_spectra(np.asarray(mono, np.float32), SAMPLES, HOP_SAMPLES)
    return 10 * np.log10(np.maximum(power @ _filters(), 10 ** (FLOOR_DB / 10)))


@lru_cache(maxsize=1)
def _filters():
    """Triangles [bins, bands] of height 1."""
    librosa = import_librosa("the probes need", "eval")
    filters = librosa.filters.mel(sr=RATE, n_fft=SAMPLES, n_mels=BANDS, fmin=LOWEST_HZ, fmax=HIGHEST_HZ, norm=None)
    return filters.T.astype(np.float32)
