"""Sound files -> samples. Nothing is believed of a length that a reader has only guessed.

libsndfile (soundfile) reads what stores samples one after the other or counts them: wav, aiff, flac and the like. Of mp3 and
ogg files, of flac from a pipe and of wav files with a broken head it guesses the length, or stops too early; FFmpeg (PyAV)
decodes those to their end, and what libsndfile does not know: m4a, webm, the sound of a video.
"""

import io
import os
import struct
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from accompgen.files import SoundWarning

MIN_RATE, MAX_RATE = 8_000, 192_000
COUNTED = (b"RIFF", b"RF64", b"riff", b"FORM", b"fLaC", b"caff", b".snd")  # how files begin of which libsndfile counts samples
# Demuxers that read the file they are given and nothing else: a playlist must not make this program open other files.
DEMUXERS = "mp3,ogg,flac,wav,w64,aiff,au,caf,aac,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,ac3,amr"
STREAMED = 0x7FFFF000  # bytes; as many or more say that the writer of a wav file, to a pipe, did not know them
CUT_SECONDS = 0.02  # less than that missing is the padding of some writer, not a copy that broke off


class AudioError(ValueError):
    """Sound that cannot be read, used or written; the message names the file, what was found and what to do."""


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
        wav, rate, _ = _ffmpeg(path, path)
    return wav.shape[1], rate


def seconds(path) -> float:
    """How long a sound file is. Raises AudioError for one that cannot be read."""
    samples, rate = length(path)
    return samples / rate


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
            wav, rate, announced = _ffmpeg(file, where)
            announced = announced or head.announced(wav.shape[1])
            wav = wav[:, first:] if frames is None else wav[:, first : first + frames]
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


def _read_head(file):
    with _opened(file) as data:
        begin = data.read(12)
        counted, size64 = begin[:4] in COUNTED, None
        if begin[:4] in (b"RIFF", b"RF64", b"BW64") and begin[8:] == b"WAVE":
            while len(chunk := data.read(8)) == 8:
                name, size = struct.unpack("<4sI", chunk)
                if name == b"data":
                    if size == 0xFFFFFFFF and size64 is not None:
                        size = size64
                    elif size >= STREAMED:
                        size = None
                    start = data.tell()
                    return _Head(counted, size, data.seek(0, os.SEEK_END) - start)
                if name == b"ds64" and size >= 16:  # EBU Tech 3306: of the file, of the data, in 64 bits
                    size64 = struct.unpack("<QQ", data.read(16))[1]
                    size -= 16
                data.seek(size + size % 2, os.SEEK_CUR)
    return _Head(counted)


@contextmanager
def _opened(file):
    if isinstance(file, io.IOBase):
        file.seek(0)
        yield file
    else:
        with open(file, "rb") as opened:
            yield opened


# ---- FFmpeg: what has to be decoded to be counted ------------------------------------------------


def _ffmpeg(file, where):
    """wav [C, T], rate, and the frames that the file announces (0: it does not)."""
    import av

    with _opened(file) as data:
        try:
            # tags need not be UTF-8, and are not used
            with av.open(data, options={"format_whitelist": DEMUXERS}, metadata_errors="replace") as container:
                stream = _stream(container, where)
                pieces, damaged, rate = _pieces(container, stream, where)
                announced = _stated(container, stream, rate, data)
        # MemoryError: a damaged head asks for more than there is
        except (av.FFmpegError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or error
            raise AudioError(
                f"{where}: not sound, or damaged (FFmpeg: {reason}); give a wav, flac, ogg or mp3 file, or convert it to one"
            ) from error
    if not pieces:
        raise AudioError(f"{where}: no samples can be decoded from it; record or export it again")
    if damaged:
        warnings.warn(f"{where}: {damaged} damaged pieces of it were passed over", SoundWarning, stacklevel=4)
    wav = np.concatenate(pieces, axis=1)
    if container.format.name.startswith("mov") and announced:  # what follows is padding of the last frame
        wav = wav[:, :announced]
    return wav, rate, announced


def _stream(container, where):
    """The first stream of sound that can be decoded."""
    if not container.streams.audio:
        raise AudioError(f"{where}: there is no sound in it; give an audio file")
    for stream in container.streams.audio:
        if stream.codec_context is not None:
            return stream
    raise AudioError(
        f"{where}: its sound is coded in a way that FFmpeg does not know here; convert it to wav or "
        "flac where it was made"
    )


def _pieces(container, stream, where):
    """The decoded pieces [C, t], how many packets could not be decoded, and the rate."""
    import av

    pieces, damaged, rate = [], 0, stream.rate
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.InvalidDataError:  # such as the head of the second of two files in one
            damaged += packet.size > 0
            continue
        for frame in frames:
            piece = _samples(frame)
            if frame.sample_rate != rate or pieces and len(piece) != len(pieces[0]):
                raise AudioError(
                    f"{where}: its rate or channels change on the way ({rate} Hz, then {frame.sample_rate} Hz); "
                    "give the parts as files of their own"
                )
            pieces.append(piece)
    heads = 1 if container.format.name == "mp3" else 0  # the Info frame of a second file in the same file
    return pieces, max(0, damaged - heads), rate


def _samples(frame):
    """The samples of a frame as float32 [C, t], full scale 1.0."""
    found = frame.to_ndarray()
    if not frame.format.is_planar:
        found = found.reshape(-1, frame.layout.nb_channels).T
    if found.dtype == np.uint8:
        return (found.astype(np.float32) - 128) / 128
    scale = -float(np.iinfo(found.dtype).min) if found.dtype.kind == "i" else 1.0
    return (found / scale).astype(np.float32)


def _stated(container, stream, rate, data):
    """Frames that the file states: an mp3 with an Info or Xing frame, an mp4; 0 where the length is a guess."""
    if container.format.name.startswith("mov") and stream.duration is not None:
        return round(float(stream.duration * stream.time_base) * rate)
    if container.format.name != "mp3":
        return 0
    data.seek(0)
    return _xing_frames(data, rate)


def _xing_frames(data, rate):
    """Frames that the Info or Xing frame of an mp3 file counts, less what its padding may be; 0 without one."""
    tag = data.read(10)
    size = sum((byte & 127) << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0))) + 10 if tag[:3] == b"ID3" else 0
    data.seek(size)
    head = data.read(1 << 13)
    sync = next((at for at in range(len(head) - 1) if head[at] == 0xFF and head[at + 1] >= 0xE0), len(head))
    for behind in (13, 15, 21, 23, 36, 38):  # the frame's side information, which is of no use in it, stands between
        if head[sync + behind : sync + behind + 4] in (b"Info", b"Xing") and len(head) >= sync + behind + 12:
            flags, count = struct.unpack(">II", head[sync + behind + 4 : sync + behind + 12])
            # both ends may be padded by as much as a frame: that less is missing is no matter
            return max(0, (count - 2) * (1152 if rate >= 32_000 else 576)) if flags & 1 else 0
    return 0
