"""Sound that has to be decoded to be counted: mp3, ogg, m4a, webm, a film. The only file that imports PyAV (FFmpeg).

What encoders put before the sound and behind it is left out where the file says how much it is: edit lists of mp4,
pre-skip of Opus, the Info frame of LAME.
"""

import struct
import warnings
from dataclasses import dataclass

import numpy as np

from accompgen.files import SoundWarning

# Demuxers that read the file they are given and nothing else: a playlist must not make this program open other files.
DEMUXERS = (
    "mp3,ogg,flac,wav,w64,aiff,au,caf,aac,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,ac3,amr,wv,tta,ape,avi,flv,mpegts,mpeg"
)
MOVIE_SCALES = (600, 1000)  # ticks of a second in which mp4 files state their length, if not in samples
END_SECONDS = 0.01  # an end that is stated may be that far from the real one
LATEST_STAMP = 1 << 53  # samples since midnight; a head that says more is damaged
MATROSKA_SECONDS = 0.1  # its duration counts what encoders put before the sound and behind it


class AudioError(ValueError):
    """Sound that cannot be read, used or written; the message names the file, what was found and what to do."""


@dataclass
class _Heard:
    """What is known of a stream as it is decoded: samples until now, packets that could not be decoded, and
    where its last packet says that it ends, in samples."""

    rate: int
    count: int = 0
    damaged: int = 0
    end: int = 0


def decode(data, where, first: int = 0, frames: int | None = None) -> tuple[np.ndarray, int, int, int]:
    """Decode sound from an open file, to its end or to that of the part asked for.

    Memory holds that part alone. All before it is decoded: only so its place is known to the sample.

    Args:
        data: open for reading bytes, at its beginning.
        where: what messages call it.
        first, frames: so many samples from `first` on, or as many as there are; None: all from there on.

    Returns:
        wav float32 [C, t], its rate in Hz, the samples counted (all there are, unless the part ended before), and
        those that the file announces; 0: it does not.

    Raises AudioError for what is no sound, has none, or cannot be decoded.
    """
    import av

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


def time_reference(data) -> int | None:
    """The time stamp of a broadcast wave (EBU Tech 3285): samples since midnight; None for another file, or one without.

    Args:
        data: a wav file open for reading bytes, at its beginning.
    """
    import av

    try:
        with av.open(data, options={"format_whitelist": "wav"}, metadata_errors="replace") as container:
            found = container.metadata.get("time_reference")
    except av.FFmpegError:
        return None
    stamp = int(found) if found is not None and found.isdecimal() else None
    return stamp if stamp is not None and stamp < LATEST_STAMP else None


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


def _kinds(container):
    kinds = {"pictures" if stream.type == "video" else stream.type for stream in container.streams}
    return " and ".join(sorted(kinds)) or "a head"


def _pieces(container, stream, where, heard):
    """The decoded pieces [C, t]; `heard` is brought up to date before each."""
    import av

    channels = None
    # of an mp3 one packet may fail: the Info frame of a second file in the same file
    forgiven = container.format.name == "mp3"
    for packet in container.demux(stream):
        if packet.pts is not None and packet.duration:
            heard.end = round((packet.pts + packet.duration) * packet.time_base * heard.rate)
        try:
            frames = packet.decode()
        except av.InvalidDataError:  # such as the head of the second of two files in one
            if packet.size > 0:
                heard.damaged += not forgiven
                forgiven = False
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
    """Samples that a file states: an mp3 with an Info or Xing frame, an mp4, a finished webm; 0: its length is a guess."""
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
