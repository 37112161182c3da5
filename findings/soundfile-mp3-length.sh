#!/usr/bin/env bash
# The number of frames that soundfile (libsndfile) gives of an MP3 without a Xing or Info frame is a guess from its first
# frame's bitrate, and read() stops there: of 4 s at a changing bitrate, whose first frame is small or large, it gives another
# length than the file has, without an error. PyAV decodes all of it. Seen with soundfile 0.14.0, av 18.1.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check soundfile==0.14.0 av==18.1.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import av
import numpy as np
import soundfile

RATE = 44_100
time = np.arange(4 * RATE) / RATE
random = np.random.default_rng(0)
# a loud hiss first and a quiet tone afterwards: the first frames are the largest
sound = np.where(time < 0.3, 0.3 * random.normal(size=len(time)).clip(-3, 3), 0.2 * np.sin(2 * np.pi * 220 * time))
with av.open("a.mp3", "w", format="mp3", options={"write_xing": "0"}) as container:
    stream = container.add_stream("libmp3lame", rate=RATE, layout="mono")
    stream.options = {"global_quality": "472", "flags": "qscale"}
    frame = av.AudioFrame.from_ndarray((sound[None] * 32767).astype(np.int16), format="s16", layout="mono")
    frame.sample_rate = RATE
    resampler = av.AudioResampler(stream.format, "mono", RATE, frame_size=1152)
    for piece in (*resampler.resample(frame), *resampler.resample(None)):
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))

told = soundfile.info("a.mp3").frames
read = len(soundfile.read("a.mp3")[0])
with av.open("a.mp3") as container:
    decoded = sum(frame.samples for frame in container.decode(audio=0))
print(f"soundfile {soundfile.__version__} ({soundfile.__libsndfile_version__}): {told / RATE:.2f} s told, {read / RATE:.2f} s read")
print(f"av {av.__version__}: {decoded / RATE:.2f} s decoded, of 4 s that were encoded")
assert decoded >= 4 * RATE and read < 0.9 * 4 * RATE, "soundfile reads it to its end now"
PYTHON
