"""Who plays: whether drums, bass and chords are heard in each second of a sound. numpy alone.

    drums  a stroke: of the loudest 10 ms above 5 kHz, how far they stand over the quiet fifth of the second (`hit`), and how
           they stand to the power of the whole sound (`treble`). A steady hiss has treble and no hit, a soft onset no treble
    bass   the power between 40 and 160 Hz that stays on its frequency, as tones do and the thuds of drums do not, against
           all power of the second
    chords the same between 160 and 1000 Hz

It is ranges that are found, not instruments: the overtones of a bass alone pass for chords, a low left hand for a bass.
LIMITS were chosen on the stems of validation songs; docs/evaluation.md says how often they are right.
"""

import numpy as np

from accompgen.evaluation.listen import RATE

PARTS = ("drums", "bass", "chords")
SPAN_SECONDS = 1
TREBLE_HZ = 5000.0
BANDS_HZ = {"bass": (40.0, 160.0), "chords": (160.0, 1000.0)}
LIMITS = {"hit": 10.0, "treble": -15.0, "bass": -16.0, "chords": -16.0}  # decibel
SILENCE = 1e-3  # RMS of a second: -60 dBFS
FFT_STROKE, HOP_STROKE = 512, 240  # 21 ms every 10 ms
STROKE_HZ = (6000.0, 11500.0)  # above nearly all that is tone, below where this rate ends
FFT_TONE, HOP_TONE = 4096, 1200  # 171 ms every 50 ms
STEADY = 0.4  # a tone is there for more than 60 % of its second
TONE_HZ = (35.0, 330.0)  # what a bass plays, and its octave
TONE_CHANGE = 1.5  # half tones: of a stroke at 41 Hz the first frame lies .9 off
OVER_MEDIAN = 4.0  # and its power stands so far over the median of its band: noise seldom does


def features(mono: np.ndarray) -> dict[str, np.ndarray]:
    """Sound [T] at 24 kHz -> decibel of each whole second, at least one: hit, treble, bass, chords; level: its RMS."""
    seconds = max(1, len(mono) // RATE)
    mono = np.asarray(mono, np.float32)[: seconds * RATE]
    mono = np.pad(mono, (0, seconds * RATE - len(mono)))
    level = np.sqrt(np.mean(mono.reshape(seconds, RATE) ** 2, axis=1))
    whole = max(float(np.mean(mono**2)), 1e-12)

    strokes, hertz = power_spectra(mono, FFT_STROKE, HOP_STROKE)
    treble = strokes[:, hertz >= TREBLE_HZ].sum(axis=1).reshape(seconds, -1)
    loudest, quiet = treble.max(axis=1), np.quantile(treble, 0.2, axis=1)
    floor = 1e-6 * whole
    found = {"level": level, "hit": _decibel(loudest / np.maximum(quiet, floor)), "treble": _decibel(loudest / whole)}

    tones, hertz = power_spectra(mono, FFT_TONE, HOP_TONE)
    tones = tones.reshape(seconds, -1, len(hertz))
    total = np.maximum(tones.sum(axis=2).mean(axis=1), 1e-12)
    for part, (low, high) in BANDS_HZ.items():
        steady = np.quantile(tones[:, :, (hertz >= low) & (hertz < high)], STEADY, axis=1)  # [seconds, bins]
        above = np.maximum(steady - OVER_MEDIAN * np.median(steady, axis=1, keepdims=True), 0).sum(axis=1)
        found[part] = _decibel(above / total)
    return found


def presence(mono: np.ndarray) -> dict[str, float]:
    """Share of the seconds of sound [T] at 24 kHz in which each of PARTS is heard; a silent second has none."""
    heard = features(mono)
    loud = heard["level"] > SILENCE
    there = {
        "drums": (heard["hit"] > LIMITS["hit"]) & (heard["treble"] > LIMITS["treble"]),
        "bass": heard["bass"] > LIMITS["bass"],
        "chords": heard["chords"] > LIMITS["chords"],
    }
    return {part: float(np.mean(there[part] & loud)) for part in PARTS}


def tone_changes(mono: np.ndarray) -> float | None:
    """How often a second the strongest tone from 35 to 330 Hz becomes another for 0.1 s or more.

    Sound [T] at 24 kHz, such as a bass by itself: two quarter notes a second change at most twice,
    and what changes more often jumps between pitches or overtones within its notes. Steps of a half
    tone do not count, nor do times 30 dB below the loudest; of whole tones below 70 Hz some are
    missed, so near do they lie. None for silence.
    """
    power, hertz = power_spectra(mono, FFT_TONE, HOP_TONE)
    low, high = np.searchsorted(hertz, TONE_HZ)
    best = low + power[:, low:high].argmax(axis=1)
    around = np.take_along_axis(power, best[:, None] + [-1, 0, 1], axis=1)
    offset = top_between_bins(*np.log(np.maximum(around, 1e-20)).T)
    # where the range ends, the strongest may be the slope of a stronger one outside
    top = best + np.clip(offset, -0.5, 0.5)
    top[1:-1] = np.median([top[:-2], top[1:-1], top[2:]], axis=0)
    level = power.sum(axis=1)
    there = level > max(SILENCE**2, 1e-3 * level.max(initial=0.0))
    pairs = there[1:] & there[:-1]
    if not pairs.any():
        return None
    changed = np.abs(12 * np.log2(top[1:] / top[:-1])) >= TONE_CHANGE
    return float(np.mean(changed[pairs])) * RATE / HOP_TONE


def stroke_level(mono: np.ndarray) -> float | None:
    """Energy from 6 to 11.5 kHz in the brightest hundredth of the frames, in dB of the mean of the whole sound.

    Sound [T] at 24 kHz, such as a harmony by itself, which has such energy where a string or a skin
    is struck. None for silence.
    """
    power, hertz = power_spectra(mono, FFT_STROKE, HOP_STROKE)
    if not len(power) or (mean := float(power.sum(axis=1).mean())) <= SILENCE**2:
        return None
    low, high = np.searchsorted(hertz, STROKE_HZ)
    brightest = np.percentile(power[:, low:high].sum(axis=1), 99)
    return float(10 * np.log10(max(brightest / mean, 1e-9)))


def power_spectra(mono: np.ndarray, size: int, hop: int) -> tuple[np.ndarray, np.ndarray]:
    """Power of frames of `size` samples of sound [T] at 24 kHz, centred every `hop` samples: [T / hop, bins]; the bins' Hz.

    A frame's powers add up to its mean square.
    """
    padded = np.pad(mono, size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[hop // 2 : hop // 2 + len(mono) : hop]
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    window /= np.sqrt((window**2).sum() * size / 2)
    power = np.empty((len(frames), size // 2 + 1), np.float32)
    for start in range(0, len(frames), 64):
        power[start : start + 64] = np.abs(np.fft.rfft(frames[start : start + 64] * window)) ** 2
    return power, np.arange(size // 2 + 1) * RATE / size


def top_between_bins(left, centre, right):
    """Bins from a peak of a spectrum to the top of the parabola through it and its neighbours.

    Logarithms of the magnitudes, or powers, of like shape; -0.5 to 0.5 where `centre` is the
    largest.
    """
    return 0.5 * (left - right) / np.minimum(left - 2 * centre + right, -1e-9)


def _decibel(ratio):
    return 10 * np.log10(np.maximum(ratio, 1e-12))
