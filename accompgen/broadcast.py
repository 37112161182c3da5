"""The time stamp of a broadcast wave (EBU Tech 3285): a chunk `bext` in a wav file, by which a DAW finds its place.

libsndfile writes such chunks and soundfile has no call for them; FFmpeg changes what else is in the head. So the chunk is
put here into the file that libsndfile wrote. FFmpeg reads it (ffmpeg.py).
"""

import struct

# description, originator, its reference, date, time, samples since midnight, version, and what is not known: UMID,
# loudness (five numbers), 180 bytes that are reserved
BEXT = struct.Struct("<256s32s32s10s8sQH64s10s180s")
VERSION = 1  # of the chunk; 2 would promise loudness
HEAD = 12  # bytes: RIFF, the size of all that follows, WAVE


def stamped(wav: bytes, stamp: int, description: str = "") -> bytes:
    """A wav file (RIFF) with a time stamp, every byte of its sound and format as it was.

    Args:
        stamp: samples since midnight, 0 or more.
        description: what the sound is; of ASCII 256 characters are kept.
    """
    text = description.encode("ascii", "replace")[:256]
    chunk = BEXT.pack(text, b"accompgen", b"", b"", b"", stamp, VERSION, b"", b"", b"")
    chunk = struct.pack("<4sI", b"bext", len(chunk)) + chunk
    size = struct.pack("<I", len(wav) - 8 + len(chunk))
    return wav[:4] + size + wav[8:HEAD] + chunk + wav[HEAD:]
