"""Sound files -> samples. Nothing is believed of a length that a reader has only guessed.

libsndfile (soundfile) reads what stores samples one after the other or counts them: wav, aiff, flac and the like. Of mp3 and
ogg files, of flac from a pipe and of wav files with a broken head it guesses the length, or stops too early; FFmpeg (PyAV)
decodes those to their end, and what libsndfile does not know: m4a, webm, the sound of a video (ffmpeg.py).
"""

import io
import os
import struct
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from accompgen import ffmpeg
from accompgen.ffmpeg import AudioError
from accompgen.files import SoundWarning

MIN_RATE, MAX_RATE = 8_000, 192_000
COUNTED = (b"RIFF", b"RF64", b"riff", b"FORM", b"fLaC", b"caff", b".snd")  # how files begin of which libsndfile counts samples
STREAMED = 0x7FFFF000  # bytes; as many or more say that the writer of a wav file, to a pipe, did not know them
CUT_SECONDS = 0.02  # less than that missing is the padding of some writer, not a copy that broke off


def read(path, first: int = 0, frames: int | None = None) -> tuple[np.ndarray, int]:
    """Read a sound file of any sample format and number of channels, to its end.

    Args:
        first, frames: of its samples, only so many from `first` on, or as many as there are; None: all from there on.

    Returns:
        wav float32 [C, T] with T >= 1, and its rate in Hz, 8 000 to 192 000.

    Raises:
        AudioError: no such file, a folder, not readable, not audio, cut off (by the length that the file itself states),
            without samples, of another rate, or with NaN or infinite samples.
    """
    path = Path(path)
    _check_readable(path)
    with _disk_errors(path):
        wav, rate, expected = _decode(path, path, first, frames)
    if expected - wav.shape[1] > CUT_SECONDS * rate:
        raise AudioError(
            f"{path}: cut off after {wav.shape[1] / rate:.2f} s of the {expected / rate:.2f} s its header announces; "
            "copy or export it again"
        )
    check_samples(wav, rate, path)
    return wav, rate


def length(path) -> tuple[int, int]:
    """How many samples a sound file has, and its rate in Hz; where nothing states it, by decoding all of it.

    Raises AudioError for a file that cannot be read.
    """
    path = Path(path)
    _check_readable(path)
    with _disk_errors(path):
        with _exact(path, path, _read_head(path)) as sound:
            if sound is not None:
                return sound.frames, sound.samplerate
        _, rate, samples, _ = _ffmpeg(path, path, sys.maxsize)  # decoded, and none of it kept
    return samples, rate


def seconds(path) -> float:
    """How long a sound file is. Raises AudioError for one that cannot be read."""
    samples, rate = length(path)
    return samples / rate


def time_reference(path) -> int | None:
    """The time stamp of a broadcast wave in samples since midnight, by which a DAW places it; None where it has none."""
    with open(path, "rb") as file:
        # most have none, and importing PyAV takes longer than to see that
        return ffmpeg.time_reference(file) if _may_have_a_stamp(file) else None


def decode(data: bytes) -> np.ndarray:
    """The samples [C, T] of a whole audio file in memory, the reverse of `audio.encode`."""
    return _decode(io.BytesIO(data), "sound")[0]


def is_float(path) -> bool:
    """Whether a sound file stores floating-point samples, for which full scale is no limit."""
    import soundfile

    try:
        with open(path, "rb") as file:
            counted = _read_head(file).counted
            file.seek(0)
            return counted and soundfile.info(file).subtype in ("FLOAT", "DOUBLE")
    except (OSError, soundfile.SoundFileError, RuntimeError, TypeError):
        return False


def check_samples(wav: np.ndarray, rate: int, where) -> None:
    """Raise AudioError for a rate out of range, no samples, or samples that are NaN or infinite, in wav [C, T]."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(f"{where}: the sample rate is {rate} Hz; {MIN_RATE} to {MAX_RATE} Hz can be used, so resample it")
    if wav.ndim != 2 or wav.shape[1] == 0:
        raise AudioError(f"{where}: no samples (shape {wav.shape}); record or export it again")
    bad = ~np.isfinite(wav).all(axis=0)
    if bad.any():
        raise AudioError(
            f"{where}: {int(bad.sum())} samples are NaN or infinite, the first at {bad.argmax() / rate:.3f} s; export it again"
        )


def _check_readable(path):
    if path.is_dir():
        raise AudioError(f"{path}: a folder; give an audio file")
    try:
        with open(path, "rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise AudioError(f"{path}: no such file") from error
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror}; check its permissions and its disk") from error
    if empty:
        raise AudioError(f"{path}: the file is empty (0 bytes); record or export it again")


@contextmanager
def _disk_errors(path):
    """What the system says while a file is read, as an AudioError that names the file."""
    try:
        yield
    except OSError as error:  # a file that went, a drive that was unplugged or cannot be read there
        reason = error.strerror or error
        raise AudioError(f"{path}: cannot be read: {reason}; check its permissions and its disk") from error


def _ffmpeg(file, where, first=0, frames=None):
    with _opened(file) as data:
        return ffmpeg.decode(data, where, first, frames)


def _decode(file, where, first=0, frames=None):
    """wav [C, T], rate, and how many of the frames asked for the file itself announces."""
    head = _read_head(file)
    with _exact(file, where, head) as sound:
        if sound is not None:
            announced = max(sound.frames, head.announced(sound.frames))
            if first:
                sound.seek(min(first, sound.frames))
            wav = sound.read(-1 if frames is None else frames, dtype="float32", always_2d=True)  # [T, C]
            rate, wav = sound.samplerate, np.ascontiguousarray(wav.T)
        else:
            wav, rate, samples, announced = _ffmpeg(file, where, first, frames)
            announced = announced or head.announced(samples)
    left = max(0, announced - first)
    return wav, rate, left if frames is None else min(frames, left)


# ---- libsndfile: files that count their samples --------------------------------------------------


@contextmanager
def _exact(file, where, head):
    """A soundfile.SoundFile where its length can be believed, else None.

    Raises AudioError for what cannot be read from it.
    """
    import soundfile

    if head.size == 0 < head.there:
        found = "its header says 0 bytes of sound, as a recorder leaves it that lost its power"
        warnings.warn(f"{where}: {found}; it is read to its end", SoundWarning, stacklevel=4)
        yield None
        return
    if not head.counted:
        yield None
        return
    with _bytes_of(file) as data:
        try:
            sound = soundfile.SoundFile(data)
        except (soundfile.SoundFileError, RuntimeError, TypeError, UnicodeError):
            yield None  # FFmpeg may know it, and says what is wrong if it does not
            return
        with sound:
            # a flac file from a pipe has no count: libsndfile gives the largest number
            guessed = not sound.seekable() or sound.frames >= 1 << 40
            try:
                yield None if guessed else sound
            except (soundfile.SoundFileError, RuntimeError, MemoryError) as error:
                reason = str(error).rsplit(":", 1)[-1].strip().rstrip(".")
                raise AudioError(f"{where}: damaged or cut off (libsndfile: {reason}); copy or export it again") from error


@contextmanager
def _bytes_of(file):
    """A file that readers can be given: opened here, since a name need not be text; `file` itself if it is one."""
    if isinstance(file, io.IOBase):
        file.seek(0)
        yield file
        return
    try:
        os.fspath(file).encode()
    except UnicodeEncodeError:  # soundfile wants names that are UTF-8
        with open(file, "rb") as opened:
            yield opened
    else:
        yield os.fspath(file)


class _Head(NamedTuple):
    """What the first bytes of a file say. counted: it begins as those do whose samples libsndfile counts. size: bytes of sound
    that a wav file announces, None where its writer did not know them and of another file; there: those that are in it."""

    counted: bool
    size: int | None = None
    there: int = 0

    def announced(self, frames: int) -> int:
        """Frames that are announced, of which `frames` are there; 0 where no more are."""
        return round(frames * self.size / self.there) if self.size and self.size > self.there > 0 else 0


def _chunks(file):
    """(name, size) of each chunk of a wav that is open behind its first 12 bytes; the file stands at what the chunk holds."""
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        start = file.tell()
        yield name, size
        file.seek(start + size + size % 2)


def _read_head(file):
    with _opened(file) as data:
        begin = data.read(12)
        counted, size64 = begin[:4] in COUNTED, None
        if begin[:4] in (b"RIFF", b"RF64", b"BW64") and begin[8:] == b"WAVE":
            for name, size in _chunks(data):
                if name == b"data":
                    if size == 0xFFFFFFFF and size64 is not None:
                        size = size64
                    elif size >= STREAMED:
                        size = None
                    start = data.tell()
                    return _Head(counted, size, data.seek(0, os.SEEK_END) - start)
                if name == b"ds64" and size >= 16:  # EBU Tech 3306: of the file, of the data, in 64 bits
                    size64 = struct.unpack("<QQ", data.read(16))[1]
    return _Head(counted)


def _may_have_a_stamp(file):
    """Whether an open file is a wav with a chunk of a broadcast wave, or with one whose length is not told. It is left at its
    beginning."""
    is_wav = file.read(12)[:4] in (b"RIFF", b"RF64", b"BW64")
    found = is_wav and any(name == b"bext" or size >= STREAMED for name, size in _chunks(file))
    file.seek(0)
    return found


@contextmanager
def _opened(file):
    if isinstance(file, io.IOBase):
        file.seek(0)
        yield file
    else:
        with open(file, "rb") as opened:
            yield opened
