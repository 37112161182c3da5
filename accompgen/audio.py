"""Sound as numpy arrays: wav is float32 [C, T], full scale 1.0, always together with its rate in Hz.

Reads what sound_file.py reads, writes what sound_writer.py writes; resamples (soxr); measures
loudness (BS.1770, by the package loudness).
Every file is written beside its place and renamed, so that an interruption or a full disk leaves no half of one.
"""

import math
import os
from pathlib import Path

import numpy as np

from accompgen.sound_file import (
    MAX_RATE,
    MIN_RATE,
    AudioError,
    check_samples,
    decode,
    is_float,
    length,
    read,
    seconds,
    time_reference,
)
from accompgen.sound_writer import (
    Pieces,
    check_format,
    encode,
    on_disk,
    peak,
    pieces_of,
    scaled,
    write,
    write_bytes,
    write_files,
    write_sound,
)

# fmt: off
__all__ = [
    "MAX_RATE", "MIN_RATE", "AudioError", "Pieces", "check_format", "check_samples", "decode", "encode", "is_float", "length",
    "on_disk", "peak", "pieces_of", "read", "scaled", "seconds", "time_reference", "write", "write_bytes", "write_files",
    "write_sound",
]
# fmt: on

PEAK_LIMIT = 0.891  # just under -1 dBFS (0.89125), so that rounding to 16 bits stays below it too
SILENCE = 1e-3  # -60 dBFS
GATE_LUFS = -70.0  # below it nothing counts
CANCELLED_DB = 9.0  # a voice in one of two channels loses 6 dB by their mean, one out of phase much more


def from_array(samples, where="samples", channels: int | None = None) -> np.ndarray:
    """Samples as float32 [C, T] with full scale 1.0.

    Args:
        samples: [T] or [C, T], floats or signed integers of any width.
        where: what messages call them.
        channels: C where it is known; so many rows are channels, however few samples they have.

    Raises AudioError for another type, another number of axes, or more channels than samples
    ([T, C] given for [C, T]) where these are not known.
    """
    samples = np.asarray(samples)
    if samples.dtype.kind not in "fi" or samples.ndim not in (1, 2):
        raise AudioError(f"{where}: {samples.dtype} of shape {samples.shape}; expected floats or signed integers [T] or [C, T]")
    wav = np.atleast_2d(samples)
    if len(wav) > wav.shape[1] > 0 and len(wav) != channels:
        raise AudioError(f"{where}: {len(wav)} channels of {wav.shape[1]} samples; expected [C, T], so transpose them")
    scale = -float(np.iinfo(wav.dtype).min) if wav.dtype.kind == "i" else 1.0
    return (wav / scale).astype(np.float32)


def check_folder(directory) -> None:
    """Raise AudioError unless files can be written into a folder, or the folder be made: to know it before the work."""
    directory = Path(directory)
    there = next(place for place in (directory, *directory.absolute().parents) if place.exists())
    if not there.is_dir():
        raise AudioError(f"cannot write into {directory}: {there} is no folder; choose another one")
    if not os.access(there, os.W_OK | os.X_OK):
        raise AudioError(f"cannot write into {directory}: no permission in {there}; choose another one")


def make_folder(directory) -> None:
    """Make a folder and those above it. Raises AudioError where that is not possible."""
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AudioError(f"cannot make the folder {directory}: {error.strerror}; choose another one") from error


def resample(wav: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resample the last axis from `from_rate` to `to_rate` Hz (soxr, HQ). T samples become exactly round(T * to / from)."""
    import soxr

    wav = np.asarray(wav, dtype=np.float32)
    if from_rate == to_rate:
        return wav
    length = round(wav.shape[-1] * to_rate / from_rate)
    flat = wav.reshape(-1, wav.shape[-1])  # [C, T]
    result = np.zeros((len(flat), length), np.float32)
    for channel, row in enumerate(flat):
        converted = soxr.resample(row, from_rate, to_rate, quality="HQ")[:length]
        result[channel, : len(converted)] = converted
    return result.reshape(*wav.shape[:-1], length)


class Resampler:
    """`resample` of sound [T] that comes in pieces: what it gives, one after the other, is what the whole would give."""

    def __init__(self, from_rate: int, to_rate: int):
        import soxr

        self.stream = None
        if from_rate != to_rate:
            self.stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="HQ")

    def __call__(self, piece: np.ndarray, last: bool = False) -> np.ndarray:
        """The next piece [T] -> what is ready of it [T'], which lags some milliseconds; the rest with `last`."""
        piece = np.asarray(piece, dtype=np.float32)
        return piece if self.stream is None else self.stream.resample_chunk(piece, last=last)


def to_mono(wav: np.ndarray) -> np.ndarray:
    """The mean of the channels: [C, T] -> [T]."""
    return wav.mean(axis=0, dtype=np.float32)


def downmix(wav: np.ndarray) -> np.ndarray:
    """What a network of one channel hears of a recording: [C, T] -> [T], the mean of the channels.

    Where they cancel out, so that their mean lies CANCELLED_DB below the loudest of them, it is that channel alone.
    """
    return wav[_power(wav).argmax()] if cancelled(wav) > CANCELLED_DB else to_mono(wav)


def cancelled(wav: np.ndarray) -> float:
    """How far the mean of the channels [C, T] lies below the loudest of them, in dB; a channel and silence: 6."""
    if len(wav) == 1:
        return 0.0
    summed, loudest = _power(to_mono(wav)[None])[0], _power(wav).max()
    return float(10 * np.log10(max(loudest, 1e-20) / max(summed, 1e-20)))


def _power(wav):
    """Mean square of each channel, a constant offset left out."""
    mean = wav.mean(axis=1, keepdims=True, dtype=np.float64)
    # NumPy's own variance copies all of the sound, as float64
    power = np.zeros(len(wav))
    for piece in pieces_of(wav):
        power += ((piece - mean) ** 2).sum(axis=1)
    return power / max(1, wav.shape[1])


def fit(wav: np.ndarray, samples: int) -> np.ndarray:
    """Cut the last axis, or pad it with zeros, to `samples`."""
    missing = samples - wav.shape[-1]
    return wav[..., :samples] if missing <= 0 else np.pad(wav, [(0, 0)] * (wav.ndim - 1) + [(0, missing)])


def decibel(value: float) -> float:
    """20 log10 of an amplitude or gain; minus infinity for 0."""
    return float(20 * np.log10(value)) if value > 0 else float("-inf")


def loudness(wav: np.ndarray, rate: int) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-4) of wav [C, T] or [T]; minus infinity where all of it is below the gate.

    Right to 0.1 LU, as EBU Tech 3341 asks: the library counts blocks in steps of that size. A clip
    shorter than the standard's block of 0.4 s is repeated until it fills one. More than two
    channels have no agreed order here: each is measured by itself, and their powers are summed.
    """
    # imports numpy alone; pyloudnorm takes 1 s for scipy.signal, a fifth of a short song's time
    from loudness import integrated_loudness

    wav = np.atleast_2d(wav)
    if wav.shape[0] > 2:
        power = sum(10 ** (loudness(channel, rate) / 10) for channel in wav)
        return 10 * math.log10(power) if power else float("-inf")
    # the library's own block, which some rates make longer than 0.4 s
    if 0 < wav.shape[1] < (block := 4 * ((rate + 5) // 10)):
        wav = np.tile(wav, math.ceil(block / wav.shape[1]))
    # so a louder copy is louder by its gain, whatever the steps, and samples may have any scale:
    # the steps end at +30 LUFS
    loudest = peak(wav) or 1.0
    scaled_wav = np.ascontiguousarray(wav.T / np.float32(loudest), dtype=np.float32)
    lufs = integrated_loudness(scaled_wav, rate) + decibel(loudest)
    return lufs if lufs >= GATE_LUFS else float("-inf")


def check_vocal(wav: np.ndarray, rate: int, where="the vocal") -> None:
    """Raise AudioError for a vocal [C, T] that is shorter than 0.2 s, silent or too quiet to be measured."""
    seconds = wav.shape[1] / rate
    if seconds < 0.2:
        raise AudioError(f"{where}: {seconds:.3f} s long; at least 0.2 s are needed")
    mean = wav.mean(axis=1, keepdims=True)
    level = max(peak(piece - mean) for piece in pieces_of(wav))  # a constant offset is no sound
    if level < SILENCE:
        raise AudioError(f"{where}: silent, its peak is {decibel(level):.1f} dBFS; a voice above -60 dBFS is needed")
    # what is heard of several channels is softer than all of them
    if float("-inf") in (loudness(wav, rate), loudness(downmix(wav), rate) if len(wav) > 1 else 0.0):
        raise AudioError(f"{where}: its loudness lies below -70 LUFS, too quiet to be measured; raise its level")


def spread(wav: np.ndarray, channels: int) -> np.ndarray:
    """Sound [C, T] for so many channels: one channel sounds in each of them, and so does the mean of two in more than two."""
    if len(wav) == channels:
        return wav
    return np.broadcast_to(wav if len(wav) == 1 else to_mono(wav)[None], (channels, wav.shape[1]))


def mix(vocal: np.ndarray, accompaniment: np.ndarray, rate: int, balance: float) -> tuple[np.ndarray, np.ndarray, dict]:
    """Put an accompaniment under a vocal.

    The accompaniment gets the gain that makes it `balance` LU louder than the vocal; then one gain common to both keeps every
    sample of the mix and of the accompaniment below -1 dBFS. Nothing is clipped.

    Args:
        vocal: [C, T].
        accompaniment: [1, T] or [2, T]; if it is silent, it is left as it is. `spread` says how the two get as many channels.
        balance: loudness of accompaniment minus vocal in LU.

    Returns:
        accompaniment as it sounds in the mix, mix [C, T] = vocal * gain + accompaniment, and the levels in dB and LUFS
        (None where silent).
    """
    channels = max(len(vocal), len(accompaniment))
    sung, band = spread(vocal, channels), spread(accompaniment, channels)
    vocal_lufs, accompaniment_lufs = loudness(sung, rate), loudness(band, rate)
    audible = np.isfinite(accompaniment_lufs)
    raised = 10 ** ((vocal_lufs + balance - accompaniment_lufs) / 20) if audible else 1.0
    together = Pieces(sung.shape, lambda place: sung[place] + np.float32(raised) * band[place])
    loudest = max(peak(together), raised * peak(accompaniment))
    gain = min(1.0, PEAK_LIMIT / loudest)
    accompaniment = np.float32(gain * raised) * accompaniment
    mixed = np.float32(gain) * sung
    mixed += spread(accompaniment, channels)
    levels = {
        "vocal_lufs": vocal_lufs,
        "vocal_peak_dbfs": decibel(peak(vocal)),
        "vocal_gain_db": decibel(gain),
        "accompaniment_gain_db": decibel(gain * raised),
        "accompaniment_lufs": accompaniment_lufs + decibel(gain * raised),
        "accompaniment_peak_dbfs": decibel(peak(accompaniment)),
        "mix_lufs": loudness(mixed, rate),
        "mix_peak_dbfs": decibel(peak(mixed)),
    }
    return accompaniment, mixed, {key: round(value, 2) if np.isfinite(value) else None for key, value in levels.items()}
