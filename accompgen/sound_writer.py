"""Samples -> sound files, piece by piece: wav, flac and mp3 (soundfile).

What is written may be an array or Pieces, which are computed as they are written: a song of ten minutes and several
stems never lies in memory as a whole for its files.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from accompgen.broadcast import put_in_front, stamp_chunk
from accompgen.files import replacing
from accompgen.sound_file import AudioError

SUBTYPES = {".wav": ("PCM_24", "PCM_16", "FLOAT"), ".flac": ("PCM_24", "PCM_16"), ".mp3": ("MPEG_LAYER_III",)}  # first: default
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
MAX_CHANNELS = {".wav": 1024, ".flac": 8, ".mp3": 2}
BLOCK_FRAMES = 1 << 16
RAW = np.dtype("<f4")  # of files without a head, [T, C]


class Pieces:
    """Sound [C, T] that is computed where it is read, `pieces[:, start:stop]`, so that memory holds that part alone.

    Args:
        shape: (C, T).
        piece: a place such as `(slice(None), slice(start, stop))` -> the samples there [C, t].
    """

    def __init__(self, shape: tuple[int, int], piece: Callable[[tuple], np.ndarray]):
        self.shape, self._piece = shape, piece

    def __getitem__(self, place) -> np.ndarray:
        return self._piece(place)

    def __len__(self):
        return self.shape[0]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:, :], dtype)


def scaled(wav, gain: float) -> Pieces:
    """Sound [C, T], an array or Pieces, by a gain."""
    return Pieces(wav.shape, lambda place: wav[place] * np.float32(gain))


def pieces_of(wav) -> Iterator[np.ndarray]:
    """The samples of an array [C, T], or of Pieces, one part [C, t] after the other, as float32."""
    for start in range(0, wav.shape[1], BLOCK_FRAMES):
        yield np.asarray(wav[:, start : start + BLOCK_FRAMES], np.float32)


def on_disk(path, parts: Iterable[np.ndarray], samples: int | None = None) -> Pieces:
    """Sound that comes in parts [C, t], one or more, put into a file from which it is read.

    The file has no head. With `samples` it is the first so many of the sound, at most.

    Raises AudioError for a place that cannot be written or a full disk.
    """
    channels, length = 0, 0
    try:
        with open(path, "wb") as file:
            for part in parts:
                file.write(np.ascontiguousarray(part.T, RAW).data)
                channels, length = len(part), length + part.shape[1]
    except OSError as error:
        todo = "make room or choose another folder"
        raise AudioError(f"cannot write {path}: {error.strerror}; {todo}") from error

    def read(place):
        # opened for each part: what stays open would count as memory
        whole = np.memmap(path, RAW, "r", shape=(length, channels)).T
        return np.ascontiguousarray(whole[:, :shown][place])

    shown = length if samples is None else min(samples, length)
    return Pieces((channels, shown), read)


def peak(wav) -> float:
    """The largest absolute sample of an array or of Pieces, 0 for no samples; NaN if there is one."""
    parts = [wav] if isinstance(wav, np.ndarray) else pieces_of(wav)
    # unlike Python's max, NumPy's keeps NaN
    return float(np.max([0.0, *(max(part.max(), -part.min()) for part in parts if part.size)]))


def write(path, wav, rate: int, subtype: str | None = None) -> None:
    """Write sound as the format of the path's ending: .wav, .flac or .mp3. An existing file is replaced.

    Args:
        wav: an array [C, T] or [T], or Pieces.
        subtype: PCM_24 (default), PCM_16 or, for wav alone, FLOAT.

    Raises:
        AudioError: an ending, subtype, rate or number of channels the format does not have; samples that are not finite or
            (but for FLOAT) lie beyond full scale; a place that cannot be written, or a full disk.
    """
    write_files({path: lambda file: write_sound(file, wav, rate, Path(path).suffix, subtype, path)})


def encode(wav, rate: int, suffix: str, subtype: str | None = None, where="sound", stamp: int | None = None) -> bytes:
    """The bytes of an audio file; arguments and errors as `write_sound`."""
    buffer = io.BytesIO()
    write_sound(buffer, wav, rate, suffix, subtype, where, stamp)
    return buffer.getvalue()


def write_sound(
    file, wav, rate: int, suffix: str, subtype: str | None = None, where="sound", stamp: int | None = None
) -> None:
    """Write sound as an audio file of the format `suffix` (".wav", ".flac", ".mp3") into a file that is open for reading and
    writing; arguments and errors as `write`.

    With a `stamp`, in samples since midnight at `rate`, a wav file is a broadcast wave; the other formats have none.
    """
    suffix = suffix.lower()
    wav = wav if isinstance(wav, Pieces) else np.atleast_2d(np.asarray(wav, np.float32))
    check_format(rate, len(wav), suffix, subtype, where)
    subtype = subtype or SUBTYPES[suffix][0]
    level = peak(wav)
    if not np.isfinite(level):
        raise AudioError(f"{where}: the samples to write are NaN or infinite")
    if level > 1.0 and subtype != "FLOAT":
        raise AudioError(f"{where}: the peak {level:.3f} lies beyond full scale and would clip; lower it or write FLOAT")
    chunk = b"" if stamp is None or suffix != ".wav" else stamp_chunk(stamp, Path(where).name)
    _write_samples(_Behind(file, len(chunk)), wav, rate, suffix, subtype)
    if chunk:
        put_in_front(file, chunk)


def _write_samples(place, wav, rate, suffix, subtype):
    import soundfile

    try:
        with soundfile.SoundFile(place, "w", rate, len(wav), subtype, format=suffix[1:].upper()) as sound:
            for piece in pieces_of(wav):
                sound.write(piece.T)
                place.check()
    finally:
        place.check()


class _Behind:
    """The place in an open file behind so many bytes, as soundfile writes to it.

    libsndfile calls it from C, where an exception is printed and lost: `check` raises the first one.
    """

    def __init__(self, file, offset: int):
        self._file, self._offset, self._error = file, offset, None
        self.seek(0)

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """As a file's."""
        return self._do(lambda: self._file.seek(place + (self._offset if whence == io.SEEK_SET else 0), whence)) - self._offset

    def tell(self) -> int:
        """As a file's."""
        return self._do(self._file.tell) - self._offset

    def write(self, data: bytes) -> int:
        """As a file's; 0 where it failed."""
        return self._do(lambda: self._file.write(data))

    def read(self, count: int) -> bytes:
        """As a file's."""
        return self._file.read(count)

    def check(self) -> None:
        """Raise what went wrong."""
        if self._error is not None:
            raise self._error

    def _do(self, call):
        try:
            return call()
        except BaseException as error:  # Ctrl-C, too
            self._error = self._error or error
            return 0


def check_format(rate: int, channels: int, suffix: str, subtype: str | None = None, where="sound") -> None:
    """Raise AudioError unless files of the ending `suffix` exist with this rate, number of channels and subtype."""
    suffix = suffix.lower()
    if suffix not in SUBTYPES:
        raise AudioError(f"{where}: the ending {suffix!r} is not one of {', '.join(SUBTYPES)}, the formats that can be written")
    if subtype is not None and subtype not in SUBTYPES[suffix]:
        raise AudioError(f"{where}: {suffix[1:]} has no subtype {subtype}; choose one of {', '.join(SUBTYPES[suffix])}")
    if channels > MAX_CHANNELS[suffix]:
        raise AudioError(f"{where}: {suffix[1:]} holds at most {MAX_CHANNELS[suffix]} channels, not {channels}; choose wav")
    if suffix == ".mp3" and rate not in MP3_RATES:
        raise AudioError(f"{where}: mp3 has no sample rate of {rate} Hz (it goes up to 48000); choose wav or flac")


def write_bytes(path, data: bytes) -> None:
    """Write one file whole or not at all; errors as `write_files`."""
    write_files({path: data})


def write_files(files: dict) -> None:
    """Write files (path -> bytes) so that all of them appear, or none: temporary neighbours first, then renames.

    What is large may be a function that writes it into the open file: memory holds a piece of it then.

    Raises AudioError for a place that cannot be written or a full disk.
    """
    path = None
    try:
        with ExitStack() as parts:
            for path, data in files.items():
                file = parts.enter_context(replacing(path))
                if callable(data):
                    data(file)
                else:
                    file.write(data)
                file.flush()  # a full disk is noticed before the first of them is renamed
    except OSError as error:
        place = error.filename2 or path  # a rename that fails names its target
        raise AudioError(
            f"cannot write {place}: {error.strerror}; make room or choose another folder"
        ) from error
