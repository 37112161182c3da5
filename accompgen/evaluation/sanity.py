"""Is it sound at all? Silence, clipping, level, DC, length, repetition, held notes, noise: a file each, numpy alone."""

import numpy as np

from accompgen import audio
from accompgen.evaluation.listen import RATE

FRAME_SAMPLES, HOP_SAMPLES = 1024, 480  # 43 ms every 20 ms
BANDS = 32
SILENT_RMS = 1e-3  # -60 dBFS
CLIP_LEVEL, CLIP_RUN = 0.999, 3  # samples of a run at full scale
LAG_SECONDS = 1.0  # shortest period that counts as a repetition
STEP_SECONDS = 1.0  # a note is held while the spectrum of now and of this long ago are alike
SMOOTH = 20  # frames, 0.4 s
ALIKE = 0.98
LIMITS = {  # what is flagged, and from which value on
    "silence_share": 0.9, "clipped_share": 0.001, "dc_offset": 0.01, "length_error_seconds": 0.1, "repetition": 0.99,
    "held_share": 0.3, "flatness": 0.4,
}  # fmt: skip


def check(wav: np.ndarray, rate: int, expected_seconds: float) -> dict[str, float | None]:
    """Measures of wav [C, T] as it lies in the file.

    Returns:
        silence_share: of 20 ms frames below -60 dBFS. clipped_share: of samples in runs of 3 or more at full scale.
        loudness_lufs (None for silence), peak_dbfs (None for zeros), dc_offset: |mean|.
        length_error_seconds: |length - expected|.
        repetition: 0 to 1, the largest mean correlation of the spectrum with itself some lag (1 s to half the length) ago.
        held_share: share of the sounding time in which the spectrum is that of 0.5 and of 1 s ago, up to its level.
        flatness: median spectral flatness of sounding frames; 0.56 for white noise, near 0 for tones. None for silence.
    """
    found, bands, loud = _texture(audio.resample(audio.to_mono(wav), rate, RATE))
    loudness, peak = audio.loudness(wav, rate), audio.decibel(audio.peak(wav))
    return found | {
        "clipped_share": clipped_share(wav),
        "loudness_lufs": loudness if np.isfinite(loudness) else None,
        "peak_dbfs": peak if np.isfinite(peak) else None,
        "dc_offset": float(np.abs(wav.mean(axis=1, dtype=np.float64)).max()),
        "length_error_seconds": float(abs(wav.shape[1] / rate - expected_seconds)),
        "repetition": repetition(bands, loud),
    }


def texture(mono: np.ndarray) -> dict[str, float | None]:
    """silence_share, held_share and flatness of sound [T] at 24 kHz, as in `check`."""
    return _texture(mono)[0]


def _texture(mono):
    power, bands = _spectra(mono)
    loud = _frame_rms(mono, len(power)) > SILENT_RMS
    silence = float(1 - loud.mean())
    found = {"silence_share": silence, "held_share": held_share(bands, loud), "flatness": flatness(power[loud])}
    return found, bands, loud


def flags(measures: dict) -> list[str]:
    """The measures that are beyond their limit, by name."""
    return [name for name, limit in LIMITS.items() if measures.get(name) is not None and measures[name] >= limit]


def clipped_share(wav: np.ndarray) -> float:
    """Share of samples [C, T] that belong to a run of 3 or more at or beyond full scale."""
    full = np.abs(wav) >= CLIP_LEVEL
    if not full.any():
        return 0.0
    starts = full.copy()
    for shift in range(1, CLIP_RUN):
        starts[:, :-shift] &= full[:, shift:]
        starts[:, -shift:] = False
    inside = starts.copy()
    for shift in range(1, CLIP_RUN):
        inside[:, shift:] |= starts[:, :-shift]
    return float(inside.mean())


def _frame_rms(mono, frames):
    padded = np.zeros(frames * HOP_SAMPLES, np.float32)
    padded[: min(len(mono), len(padded))] = mono[: len(padded)]
    return np.sqrt((padded.reshape(frames, HOP_SAMPLES) ** 2).mean(axis=1))


def _spectra(mono):
    """Power spectra [N, 513] and the magnitude in 32 bands, equal on a logarithmic axis from 80 Hz on [N, 32]."""
    mono = np.pad(mono, (0, max(0, FRAME_SAMPLES - len(mono))))
    frames = np.lib.stride_tricks.sliding_window_view(mono, FRAME_SAMPLES)[::HOP_SAMPLES]
    window = np.hanning(FRAME_SAMPLES).astype(np.float32)
    power = np.concatenate([np.abs(np.fft.rfft(frames[i : i + 256] * window)) ** 2 for i in range(0, len(frames), 256)]).astype(
        np.float32
    )
    edges = np.unique(np.geomspace(80, RATE / 2, BANDS + 1) * FRAME_SAMPLES / RATE // 1).astype(int)
    return power, np.sqrt(np.add.reduceat(power, edges[:-1], axis=1))


def repetition(bands: np.ndarray, loud: np.ndarray) -> float | None:
    """Largest mean correlation, over lags of 1 s to half the length, of the band spectrum with itself; None if too short.

    Bands are in decibel, with the mean of each band over time taken off: a loop gives 1, music that goes on less.
    """
    longest, shortest = len(bands) // 2, round(LAG_SECONDS * RATE / HOP_SAMPLES)
    if longest <= shortest or not loud.any():
        return None
    level = 20 * np.log10(np.maximum(bands, 1e-3))
    level = level - level.mean(axis=0)
    best = 0.0
    for lag in range(shortest, longest + 1):
        now, before = level[lag:], level[:-lag]
        energy = np.sqrt((now * now).sum() * (before * before).sum())
        if energy > 0:
            best = max(best, float((now * before).sum() / energy))
    return best


def held_share(bands: np.ndarray, loud: np.ndarray) -> float | None:
    """Share of the sounding frames whose band spectrum over 0.4 s has a cosine over 0.98 with those 0.5 and 1 s ago."""
    step = round(STEP_SECONDS * RATE / HOP_SAMPLES)
    if len(bands) <= step + SMOOTH or not loud.any():
        return None
    bands = np.sqrt(sum(bands[i : len(bands) - SMOOTH + i + 1] ** 2 for i in range(SMOOTH)))  # tones of a chord beat
    unit = bands / np.maximum(np.linalg.norm(bands, axis=1, keepdims=True), 1e-9)
    loud = loud[SMOOTH - 1 :]
    same = loud[step:].copy()
    for lag in (step // 2, step):
        same &= (unit[step:] * unit[step - lag : len(unit) - lag]).sum(axis=1) > ALIKE
    return float(same.sum() / max(loud[step:].sum(), 1))


def flatness(power: np.ndarray) -> float | None:
    """Median over frames [N, bins] of geometric mean / arithmetic mean of the power from 80 Hz to 8 kHz."""
    if not len(power):
        return None
    low, high = round(80 * FRAME_SAMPLES / RATE), round(8000 * FRAME_SAMPLES / RATE)
    power = np.maximum(power[:, low:high], 1e-10)
    return float(np.median(np.exp(np.log(power).mean(axis=1)) / power.mean(axis=1)))
