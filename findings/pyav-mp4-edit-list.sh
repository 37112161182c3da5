#!/usr/bin/env bash
# FFmpeg writes the length of the sound of an MP4 or M4A into its edit list in whole milliseconds, rounded down, whatever the
# sample rate. Of 100001 samples at 44.1 kHz that is 2267 ms or 99975 samples, which stream.duration then tells: a reader that
# stops there cuts up to a millisecond off. Decoding gives too many, as the encoder's padding is among them; the end of the last
# packet is right. The muxer's option movie_timescale, set to the sample rate, keeps the length.
# Seen with av 18.1.0 (FFmpeg 8.1.2).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import av
import numpy as np

RATE, SAMPLES = 44_100, 100_001
sound = (0.5 * np.sin(2 * np.pi * 440 * np.arange(SAMPLES) / RATE)).astype(np.float32)[None]


def lengths(muxer, **options):
    with av.open("a.m4a", "w", format=muxer, options=options) as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open("a.m4a") as container:
        stream = container.streams.audio[0]
        told, unit = stream.duration, stream.time_base
        end = max(packet.pts + packet.duration for packet in container.demux(stream) if packet.pts is not None)
    with av.open("a.m4a") as container:
        decoded = sum(frame.samples for frame in container.decode(audio=0))
    assert unit * RATE == 1
    print(f"av {av.__version__}, {muxer}{options or ''}: {told} samples told, packets end at {end}, {decoded} decoded")
    return told, end, decoded


for muxer in ("ipod", "mp4", "mov"):
    told, end, decoded = lengths(muxer)
    assert told == round(SAMPLES * 1000 // RATE * RATE / 1000) == 99_975, "the edit list has another length now"
    assert end == SAMPLES < decoded, "the packets end elsewhere now"
assert lengths("ipod", movie_timescale=str(RATE))[0] == SAMPLES, "movie_timescale does not keep the length now"
PYTHON
