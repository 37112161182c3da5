#!/usr/bin/env bash
# An OSError that a file object raises in write() never reaches who writes sound to it by soundfile: cffi prints it to stderr as
# "Exception ignored" and goes on. Ogg and MP3 then end without any error, cut off; WAV and FLAC by an AssertionError without
# words. Whoever writes to a place that can be full must ask the file object itself. Seen with soundfile 0.14.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check soundfile==0.14.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - 2>errors <<'PYTHON'
import io

import numpy as np
import soundfile

ROOM = 100_000


class SmallDisk(io.BytesIO):
    """A file that has no room for more bytes."""

    def write(self, data):
        if self.tell() + len(data) > ROOM:
            raise OSError(28, "No space left on device")
        return super().write(data)


sound = np.random.default_rng(0).uniform(-0.5, 0.5, 20 * 48_000).astype(np.float32)
ends = {}
for kind, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")):
    place = SmallDisk()
    try:
        with soundfile.SoundFile(place, "w", 48_000, 1, subtype, format=kind) as file:
            file.write(sound)
        ends[kind] = "no error"
    except Exception as error:
        ends[kind] = f"{type(error).__name__} {str(error)!r}"
    print(f"soundfile {soundfile.__version__}, {kind}: {ends[kind]}, {len(place.getvalue())} bytes written")
assert ends["OGG"] == ends["MP3"] == "no error", "the error reaches the caller now"
assert ends["WAV"] == ends["FLAC"] == "AssertionError ''", "another error than before"
PYTHON
echo "on stderr: $(grep -c 'Exception ignored' errors) times 'Exception ignored', $(grep -c 'No space left' errors) times the reason"
grep -q "No space left" errors
