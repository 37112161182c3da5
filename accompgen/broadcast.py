"""The time stamp of a broadcast wave (EBU Tech 3285): a chunk `bext` in a wav file, by which a DAW finds its place.

libsndfile writes such chunks and soundfile has no call for them; FFmpeg changes what else is in the head. So the chunk is
put here into the file that libsndfile wrote. FFmpeg reads it (ffmpeg.py).
"""

import os
import struct

# description, originator, its reference, date, time, samples since midnight, version, and what is not known: UMID,
# loudness (five numbers), 180 bytes that are reserved
BEXT = struct.Struct("<256s32s32s10s8sQH64s10s180s")
VERSION = 1  # of the chunk; 2 would promise loudness
HEAD = 12  # bytes: RIFF, the size of all that follows, WAVE


def stamp_chunk(stamp: int, description: str = "") -> bytes:
    """The chunk of a time stamp.

    Args:
        stamp: samples since midnight, 0 or more.
        description: what the sound is; of ASCII 256 characters are kept.
    """
    text = description.encode("ascii", "replace")[:256]
    chunk = BEXT.pack(text, b"accompgen", b"", b"", b"", stamp, VERSION, b"", b"", b"")
    return struct.pack("<4sI", b"bext", len(chunk)) + chunk


def put_in_front(file, chunk: bytes) -> None:
    """Make a chunk the first one of the wav file (RIFF) that lies in an open file behind as many bytes as the chunk has.

    The wav file begins with the open file then; every byte of its sound and format stays where it is.
    """
    file.seek(len(chunk))
    head = file.read(HEAD)
    size = struct.unpack("<I", head[4:8])[0] + len(chunk)
    file.seek(0)
    file.write(head[:4] + struct.pack("<I", size) + head[8:] + chunk)
    file.seek(0, os.SEEK_END)
