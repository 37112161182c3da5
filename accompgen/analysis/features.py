"""What is heard of one mono track on two grids of time; grading and sections read the sound through it, once.

Harmony is heard every 80 ms (pitch classes, the sung pitch), rhythm and timbre every 20 ms (mel bands, onset strength,
level), up to 4 and 8 kHz and at A = 440 Hz. A track is brought to one level first, so that none of it depends on gain.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from accompgen import audio
from accompgen.analysis.librosa_import import import_librosa
from accompgen.analysis.spectra import above_surroundings, spectra

TONAL_RATE, TONAL_SAMPLES, TONAL_HOP = 8_000, 2048, 640  # 256 ms every 80 ms
RHYTHM_RATE, RHYTHM_SAMPLES, RHYTHM_HOP = 16_000, 1024, 320  # 64 ms every 20 ms
TONAL_SECONDS, RHYTHM_SECONDS = TONAL_HOP / TONAL_RATE, RHYTHM_HOP / RHYTHM_RATE
CHROMA_BINS = 36  # thirds of a semitone, so that a recording off A = 440 Hz still meets itself
MEL_BANDS = 40
LOWEST_PITCH_HZ, PITCH_OCTAVES, HARMONICS = 65.41, 4, 8  # the sung pitch lies between C2 and C6
HARMONIC_DECAY = 0.84  # weight of each harmonic beside the one below (Hermes, 1988)
REFERENCE_RMS = 0.1
SILENCE_DB = -60.0  # below the track's own level
SUNG_DB = -25.0  # the level of a voice from which on it sounds; residue of a band lies lower
TONE_BINS = 25  # 98 Hz: what stands out of that much around it is a tone, not drums or breath


@dataclass(frozen=True)
class Features:
    """One track. F = its seconds / 0.08, G = its seconds / 0.02, both rounded up; all arrays float32 but `pitch`.

    chroma [F, 36]: energy of spectral peaks by pitch class, bin 0 on C, each frame's sum 1, or 0 where nothing is heard.
    pitch [F]: pitch class of the strongest harmonic sum in the same bins (int).
    strength [F]: 0 to 1, how loud the frame is beside the track's loud ones (amplitudes).
    mel [G, 40]: log(1 + 100 x) of the magnitudes x in mel bands.
    level [G]: dB beside the track's mean level, at least -60.
    onsets [G]: mean rise of the mel bands within 40 ms, 0 and more.
    rms: the track's own level, as an amplitude, before it was brought to the common one.
    """

    chroma: np.ndarray
    pitch: np.ndarray
    strength: np.ndarray
    mel: np.ndarray
    level: np.ndarray
    onsets: np.ndarray
    rms: float

    def between(self, start: float, end: float) -> "Features":
        """The frames from `start` to `end` seconds."""

        def cut(seconds, *names):
            part = slice(round(start / seconds), round(end / seconds))
            return {name: getattr(self, name)[part] for name in names}

        tonal = cut(TONAL_SECONDS, "chroma", "pitch", "strength")
        return replace(self, **tonal, **cut(RHYTHM_SECONDS, "mel", "level", "onsets"))


def hear(mono: np.ndarray, rate: int) -> Features:
    """The features of sound [T] at `rate` Hz; a silent track gives zeros and the lowest level."""
    mono = audio.resample(mono, rate, RHYTHM_RATE)
    rms = float(np.sqrt(np.mean(np.square(mono, dtype=np.float64))))
    mono = mono * np.float32(REFERENCE_RMS / max(rms, 1e-6))
    low = audio.resample(mono, RHYTHM_RATE, TONAL_RATE)
    chroma, pitch, amplitude = _joined(map(_harmony, spectra(low, TONAL_SAMPLES, TONAL_HOP)))
    mel, power = _joined(map(_timbre, spectra(mono, RHYTHM_SAMPLES, RHYTHM_HOP)))
    strength = np.minimum(amplitude / max(float(np.percentile(amplitude, 95)), 1e-6), 1.0)
    level = 10 * np.log10(np.maximum(power, 1e-9) / REFERENCE_RMS**2)
    onsets = np.zeros(len(mel), np.float32)
    onsets[2:] = np.maximum(mel[2:] - mel[:-2], 0).mean(axis=1)
    return Features(chroma, pitch, strength, mel, np.maximum(level, SILENCE_DB).astype(np.float32), onsets, rms)


def _joined(chunks):
    """Chunks of several arrays -> the arrays, whole."""
    return [np.concatenate(parts) for parts in zip(*chunks)]


def _harmony(frames):
    """Spectra [f, 1025] -> chroma [f, 36], pitch [f], amplitude [f]."""
    to_chroma, to_pitch = _tonal_filters()
    spectrum = np.abs(frames)
    amplitude = np.sqrt(np.mean(spectrum**2, axis=1))
    chroma = above_surroundings(np.log1p(10 * spectrum), TONE_BINS) @ to_chroma
    total = chroma.sum(axis=1, keepdims=True)
    chroma = np.divide(chroma, total, out=np.zeros_like(chroma), where=total > 1e-3)
    pitch = (above_surroundings(np.sqrt(spectrum), TONE_BINS) @ to_pitch).argmax(axis=1) % CHROMA_BINS
    return chroma, pitch, amplitude


def _timbre(frames):
    """Spectra [g, 513] -> mel [g, 40], power [g]."""
    spectrum = np.abs(frames)
    # Parseval: the sum over a one-sided spectrum, over the window's energy, is the mean square of the samples
    energy = RHYTHM_SAMPLES**2 * 0.375 / 2
    return np.log1p(100 * (spectrum @ _mel_filters())), np.sum(spectrum**2, axis=1) / energy


@lru_cache(maxsize=1)
def _tonal_filters():
    """[1025, 36] from bins to pitch classes, and [1025, 144] from bins to harmonic sums of pitches a third semitone apart."""
    chroma = librosa().filters.chroma(
        sr=TONAL_RATE, n_fft=TONAL_SAMPLES, n_chroma=CHROMA_BINS, ctroct=4.5, octwidth=1.5, norm=None, dtype=np.float32
    )
    pitches = np.zeros((TONAL_SAMPLES // 2 + 1, CHROMA_BINS * PITCH_OCTAVES), np.float32)
    for index in range(pitches.shape[1]):
        for harmonic in range(1, HARMONICS + 1):
            place = LOWEST_PITCH_HZ * 2 ** (index / CHROMA_BINS) * harmonic * TONAL_SAMPLES / TONAL_RATE
            below, weight = int(place), HARMONIC_DECAY ** (harmonic - 1)
            if below + 1 < len(pitches):
                pitches[below, index] += weight * (1 - place % 1)
                pitches[below + 1, index] += weight * (place % 1)
    return np.ascontiguousarray(chroma.T), pitches


@lru_cache(maxsize=1)
def _mel_filters():
    return librosa().filters.mel(sr=RHYTHM_RATE, n_fft=RHYTHM_SAMPLES, n_mels=MEL_BANDS).T


def pitch_classes(features: Features) -> np.ndarray:
    """The chroma [F, 12] in semitones, C first; the middle one of three bins is in tune."""
    return np.roll(features.chroma, 1, axis=1).reshape(-1, 12, CHROMA_BINS // 12).sum(axis=2)


def beats(features: Features) -> np.ndarray:
    """Beat times in seconds, by dynamic programming over the onset strength (Ellis, "Beat tracking by dynamic programming",
    2007) as librosa has it; empty where nothing begins."""
    if len(features.onsets) < 2 / RHYTHM_SECONDS or not features.onsets.max(initial=0) > 1e-3:
        return np.zeros(0)
    _, frames = librosa().beat.beat_track(onset_envelope=features.onsets, sr=RHYTHM_RATE, hop_length=RHYTHM_HOP, trim=False)
    return np.asarray(frames) * RHYTHM_SECONDS


def librosa():
    """The library, or an ImportError that says what to install."""
    return import_librosa("grading and sections need", "train")
