"""Where beats and onsets are heard; the only file of the evaluation that uses librosa."""

import numpy as np

from accompgen.analysis.librosa_import import import_librosa

RATE = 24000  # Hz; what every signal measure of the evaluation works at
HOP_SAMPLES = 240  # 10 ms
USUAL_BPM = 120.0  # where librosa looks for a tempo first


def _librosa():
    return import_librosa("beats and onsets need", "eval")


def _envelope(mono):
    """Onset strength every 10 ms; None for sound too short or too quiet to have onsets."""
    if len(mono) < RATE // 2 or not np.abs(mono).max() > 1e-3:
        return None
    envelope = _librosa().onset.onset_strength(y=mono, sr=RATE, hop_length=HOP_SAMPLES)
    return envelope if envelope.max() > 0 else None


def beats(mono: np.ndarray, near_bpm: float = USUAL_BPM) -> np.ndarray:
    """Beat times in seconds of mono sound [T] at 24 kHz, by dynamic programming over the onset strength (Ellis, "Beat
    tracking by dynamic programming", 2007) as librosa has it. Empty for silence.

    Of the metrical levels that are heard, the one near `near_bpm` is taken: an octave off counts half as likely.
    """
    envelope = _envelope(mono)
    if envelope is None:
        return np.zeros(0)
    _, times = _librosa().beat.beat_track(
        onset_envelope=envelope, sr=RATE, hop_length=HOP_SAMPLES, start_bpm=near_bpm, units="time", trim=False
    )
    return np.asarray(times, float)


def onsets(mono: np.ndarray) -> np.ndarray:
    """Onset times in seconds of mono sound [T] at 24 kHz (peaks of the onset strength). Empty for silence."""
    envelope = _envelope(mono)
    if envelope is None:
        return np.zeros(0)
    return _librosa().onset.onset_detect(onset_envelope=envelope, sr=RATE, hop_length=HOP_SAMPLES, units="time")


def harmonic_percussive_mels(mono: np.ndarray, rate: int = 16000) -> np.ndarray:
    """Sound [T] -> mel spectra in decibel below their maximum, of its harmonic and its percussive part: [2, 64, T // 160 + 1].

    Windows of 25 ms in an FFT of 1024, median filtering (Fitzgerald, "Harmonic/percussive separation using median filtering",
    2010), 64 bands from 60 to 7800 Hz, floor at -80 dB: what COCOLA reads.
    """
    librosa = _librosa()
    parts = librosa.decompose.hpss(librosa.stft(mono, n_fft=1024, win_length=400, hop_length=160))
    mels = [librosa.feature.melspectrogram(S=np.abs(part) ** 2, sr=rate, fmin=60.0, fmax=7800.0, n_mels=64) for part in parts]
    return np.stack([librosa.power_to_db(mel, ref=np.max) for mel in mels]).astype(np.float32)
