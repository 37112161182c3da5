"""Sound files -> samples. Nothing is believed of a length that a reader has only guessed.

libsndfile (soundfile) reads what stores samples one after the other or counts them: wav, aiff, flac and the like. Of mp3 and
ogg files, of flac from a pipe and of wav files with a broken head it guesses the length, or stops too early; FFmpeg (PyAV)
decodes those to their end, and what libsndfile does not know: m4a, webm, the sound of a video. What encoders put before
the sound and behind it is left out where the file says how much it is (edit lists of mp4, pre-skip of Opus, LAME's frame).
"""

import io
import os
import struct
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from accompgen.files import SoundWarning

MIN_RATE, MAX_RATE = 8_000, 192_000
COUNTED = (b"RIFF", b"RF64", b"riff", b"FORM", b"fLaC", b"caff", b".snd")  # how files begin of which libsndfile counts samples
# Demuxers that read the file they are given and nothing else: a playlist must not make this program open other files.
DEMUXERS = (
    "mp3,ogg,flac,wav,w64,aiff,au,caf,aac,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,ac3,amr,wv,tta,ape,avi,flv,mpegts,mpeg"
)
STREAMED = 0x7FFFF000  # bytes; as many or more say that the writer of a wav file, to a pipe, did not know them
MOVIE_SCALES = (600, 1000)  # ticks of a second in which mp4 files state their length, if not in samples
END_SECONDS = 0.01  # an end that is stated may be that far from the real one
MATROSKA_SECONDS = 0.1  # its duration counts what encoders put before the sound and behind it
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
        _, rate, samples, _ = _ffmpeg(path, path, first=sys.maxsize)  # decoded, and none of it kept
    return samples, rate


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


def _kinds(container):
    return " and ".join(sorted({"pictures" if stream.type == "video" else stream.type for stream in container.streams})) or "a head"


@dataclass
class _Heard:
    """What is known of a stream as it is decoded: samples until now, packets that could not be decoded, and
    where its last packet says that it ends, in samples."""

    rate: int
    count: int = 0
    damaged: int = 0
    end: int = 0


def _ffmpeg(file, where, first=0, frames=None):
    """`frames` samples from `first` on [C, t] (None: all), the rate, the samples there are in all, and those that
    the file announces (0: it does not).

    Memory holds the part that is asked for. All before it is decoded: only so its place is known to the sample.
    """
    import av

    with _opened(file) as data:
        try:
            # tags need not be UTF-8, and are not used
            with av.open(data, options={"format_whitelist": DEMUXERS}, metadata_errors="replace") as container:
                stream = _stream(container, where)
                heard = _Heard(stream.rate)
                stated, stop = _stated(container, stream, data), None if frames is None else first + frames
                pieces = []
                for piece in _pieces(container, stream, where, heard):
                    begin = heard.count - piece.shape[1]
                    wanted = piece[:, max(0, first - begin) : None if stop is None else max(0, stop - begin)]
                    if wanted.size or not pieces:
                        pieces.append(wanted.copy())  # a view would keep all of the piece
                    if stop is not None and heard.count >= stop and not 0 < stated < stop + END_SECONDS * heard.rate:
                        break  # what follows need not be decoded
                is_mov = container.format.name.startswith("mov")
        # MemoryError: a damaged head asks for more than there is
        except (av.FFmpegError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or error
            raise AudioError(
                f"{where}: not sound, or damaged or cut off (FFmpeg: {reason}); give a wav, flac, mp3, ogg, m4a or webm "
                "file, or convert it to one"
            ) from error
    if not pieces:
        raise AudioError(f"{where}: no samples can be decoded from it; record or export it again")
    if heard.damaged:
        warnings.warn(f"{where}: {heard.damaged} damaged pieces of it were passed over", SoundWarning, stacklevel=4)
    if is_mov and stated:  # what follows is padding of the last frame
        stated = _to_the_sample(stated, heard)
        heard.count = min(heard.count, stated)
    wav = np.concatenate(pieces, axis=1)
    return wav[:, : max(0, heard.count - first)], heard.rate, heard.count, stated


def _to_the_sample(stated, heard):
    """The length of an mp4 file whose edit list counts in thousandths or six-hundredths of a second, by its last packet."""
    for scale in MOVIE_SCALES:
        rounded = round(stated * scale / heard.rate)
        if round(rounded * heard.rate / scale) == stated and abs(heard.end - stated) * scale < heard.rate:
            return heard.end
    return stated


def _stream(container, where):
    """The first stream of sound that can be decoded."""
    if not container.streams.audio:
        raise AudioError(f"{where}: there is no sound in it, only {_kinds(container)}; give a file with sound")
    for stream in container.streams.audio:
        if stream.codec_context is not None:
            return stream
    raise AudioError(
        f"{where}: its sound is coded in a way that FFmpeg does not know here; convert it to wav or "
        "flac where it was made"
    )


def _pieces(container, stream, where, heard):
    """The decoded pieces [C, t]; `heard` is brought up to date before each."""
    import av

    channels = None
    # the Info frame of a second file in the same file cannot be decoded
    heads = 1 if container.format.name == "mp3" else 0
    for packet in container.demux(stream):
        if packet.pts is not None and packet.duration:
            heard.end = round((packet.pts + packet.duration) * packet.time_base * heard.rate)
        try:
            frames = packet.decode()
        except av.InvalidDataError:  # such as the head of the second of two files in one
            if packet.size > 0 and not heads:
                heard.damaged += 1
            heads -= heads and packet.size > 0
            continue
        for frame in frames:
            piece = _samples(frame)
            channels = channels or len(piece)
            if frame.sample_rate != heard.rate or len(piece) != channels:
                raise AudioError(
                    f"{where}: its rate or channels change on the way ({heard.rate} Hz, then {frame.sample_rate} Hz); "
                    "give the parts as files of their own"
                )
            heard.count += piece.shape[1]
            yield piece


def _samples(frame):
    """The samples of a frame as float32 [C, t], full scale 1.0."""
    found = frame.to_ndarray()
    if not frame.format.is_planar:
        found = found.reshape(-1, frame.layout.nb_channels).T
    if found.dtype == np.uint8:
        return (found.astype(np.float32) - 128) / 128
    scale = -float(np.iinfo(found.dtype).min) if found.dtype.kind == "i" else 1.0
    return (found / scale).astype(np.float32)


def _stated(container, stream, data):
    """Samples that the file states: an mp3 with an Info or Xing frame, an mp4, a finished webm; 0 where the length is a guess."""
    kind, rate = container.format.name, stream.rate
    if kind.startswith("mov") and stream.duration is not None:
        return round(float(stream.duration * stream.time_base) * rate)
    # of a film the length is that of its pictures
    if kind.startswith("matroska") and container.duration and len(container.streams) == 1:
        return max(0, round((container.duration / 1e6 - MATROSKA_SECONDS) * rate))
    if kind != "mp3":
        return 0
    place = data.tell()  # FFmpeg goes on reading there
    data.seek(0)
    frames = _xing_frames(data, rate)
    data.seek(place)
    return frames


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
