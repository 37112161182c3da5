"""Whether a voice and a band belong together: pitch classes and onsets of one against those of the other. numpy alone.

Both figures are compared with what chance gives within the same pair: the same voice in the eleven other keys, and
the same voice earlier or later. So neither a dense band nor a busy singer gains by it.
"""

import numpy as np

from accompgen.analysis.features import CHROMA_BINS, RHYTHM_SECONDS, Features

SEMITONE = CHROMA_BINS // 12
MIN_STRENGTH = 0.1  # -20 dB below the loud frames: softer ones are breath and consonants
MIN_SUNG_FRAMES = 12  # about a second
LAG_SECONDS, TOLERANCE_SECONDS = 1.5, 0.04


def tonal_agreement(voice: Features, band: Features) -> float | None:
    """ln of the band's energy on the sung pitch classes over that on the same line in the eleven other keys.

    0 is chance, a true pair has 0.3 to 0.7, a voice a semitone off -0.4. The band is read within a semitone's width of
    the sung pitch, frame by frame; loud frames count more. None with under a second of voice over pitched sound.
    """
    size = min(len(voice.pitch), len(band.pitch))
    pitch, chroma = voice.pitch[:size], band.chroma[:size]
    strength = voice.strength[:size]
    weight = np.where((strength > MIN_STRENGTH) & chroma.any(axis=1), np.sqrt(strength), 0)
    if np.count_nonzero(weight) < MIN_SUNG_FRAMES:
        return None
    around = chroma + np.roll(chroma, 1, axis=1) + np.roll(chroma, -1, axis=1)
    frames = np.arange(size)
    keys = [float(weight @ around[frames, (pitch + SEMITONE * key) % CHROMA_BINS]) for key in range(12)]
    others = np.mean(keys[1:])
    return float(np.clip(np.log(max(keys[0], 1e-9) / max(others, 1e-9)), -5, 5))


def onset_agreement(voice: Features, band: Features) -> float | None:
    """Correlation of the two onset strengths within 40 ms, less its mean at lags of up to 1.5 s: -1 to 1, 0 is chance.

    None for under 6 s, or where one of the two has no onsets.
    """
    size = min(len(voice.onsets), len(band.onsets))
    farthest, near = round(LAG_SECONDS / RHYTHM_SECONDS), round(TOLERANCE_SECONDS / RHYTHM_SECONDS)
    if size < 4 * farthest:
        return None
    first, second = (_smoothed(track.onsets[:size]) for track in (voice, band))
    energy = np.sqrt((first @ first) * (second @ second))
    if not energy > 0:
        return None
    lags = range(-farthest, farthest + 1)
    products = [first[max(0, -lag) : size - max(0, lag)] @ second[max(0, lag) : size - max(0, -lag)] for lag in lags]
    best = np.lib.stride_tricks.sliding_window_view(np.array(products) / energy, 2 * near + 1).max(axis=1)
    middle = len(best) // 2
    others = np.abs(np.arange(len(best)) - middle) > 2 * near
    return float(best[middle] - best[others].mean())


def _smoothed(onsets):
    onsets = np.convolve(onsets, (0.25, 0.5, 0.25), "same")
    return onsets - onsets.mean()
