#!/usr/bin/env bash
# PyAV refuses a sound file for a byte in a tag that nobody asked for: an MP3 whose ID3v1 title is Latin-1, as old ones are,
# ends av.open with a bare UnicodeDecodeError that names no file, although FFmpeg itself reads it. metadata_errors="replace"
# opens it. Seen with av 18.1.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import av
import numpy as np

with av.open("a.mp3", "w", format="mp3", options={"id3v2_version": "0"}) as container:
    stream = container.add_stream("libmp3lame", rate=44_100, layout="mono")
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 44_100), np.int16), format="s16", layout="mono")
    frame.sample_rate = 44_100
    resampler = av.AudioResampler(stream.format, "mono", 44_100, frame_size=1152)
    for piece in (*resampler.resample(frame), *resampler.resample(None)):
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))
with open("a.mp3", "ab") as file:
    file.write(b"TAG" + "Café".encode("latin-1").ljust(125, b"\0"))

try:
    av.open("a.mp3").close()
    refused = None
except UnicodeDecodeError as error:
    refused = str(error)
with av.open("a.mp3", metadata_errors="replace") as container:
    title, samples = container.metadata["title"], sum(frame.samples for frame in container.decode(audio=0))
print(f"av {av.__version__}: plain open says {refused!r}; with metadata_errors='replace': title {title!r}, {samples} samples")
assert refused and "a.mp3" not in refused and samples >= 44_100, "PyAV opens it now"
PYTHON
