"""ViSQOL, how alike two recordings of the same music sound: for round trips through a codec.

Chinen et al., "ViSQOL v3: an open source production ready objective speech and audio metric",
QoMEX 2020: similarity of gammatone spectrograms, mapped to a mean opinion score by a regression
that was trained on listening tests of music codecs. The package is `visqol-python`.
"""

from functools import lru_cache

import numpy as np

from accompgen import audio

RATE = 48000  # of its audio mode
WORST = 1.0  # of its scale, which ends at 4.73 for equal sounds
SHORTEST_SECONDS = 1.0


@lru_cache(maxsize=1)
def _judge():
    try:
        from visqol import VisqolApi
    except ImportError as error:
        raise ImportError(
            f"ViSQOL needs visqol-python ({error}): pip install 'accompgen[visqol]'"
        ) from error
    judge = VisqolApi()
    judge.create(mode="audio")
    return judge


def score(reference: np.ndarray, played: np.ndarray, rate: int) -> float | None:
    """MOS-LQO of `played` [T] against `reference` [T] at `rate`: 1 (worst) to 4.73 (equal).

    Level does not count. Silence for sound gets 1, and None is for a silent reference or less than
    1 s: the package itself gives NaN and, for a silent reference, its best score.
    """
    length = min(len(reference), len(played))
    pair = [audio.resample(wav[:length], rate, RATE) for wav in (reference, played)]
    if length < SHORTEST_SECONDS * rate or audio.peak(pair[0]) < audio.SILENCE:
        return None
    if audio.peak(pair[1]) < audio.SILENCE:
        return WORST
    result = _judge().measure_from_arrays(*(wav.astype(np.float64) for wav in pair), RATE)
    return float(result.moslqo)
