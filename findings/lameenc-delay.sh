#!/usr/bin/env bash
# An MP3 that lameenc wrote starts 1105 samples late where it is read, 25 ms at 44.1 kHz, and ends as
# much and more too late: it has no frame that says how many samples are LAME's own delay. One would
# have guessed that of LAME, whose command and whose use by libsndfile and FFmpeg write that frame,
# so that sound comes back in its place. Stems of one song, one saved by lameenc (as separators
# save theirs) and one otherwise, are not together any more.
# Seen with lameenc 1.9.0 beside soundfile 0.14.0 and av 16.0.1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    lameenc==1.9.0 numpy==2.4.6 soundfile==0.14.0 av==16.0.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import av
import lameenc
import numpy as np
import soundfile

SECONDS = 2
print(f"lameenc {version('lameenc')}: a click at 1 s of {SECONDS} s, in samples after its place")


def by_lameenc(clicks, rate, path):
    encoder = lameenc.Encoder()
    encoder.set_bit_rate(192)
    encoder.set_in_sample_rate(rate)
    encoder.set_channels(1)
    encoder.silence()
    coded = encoder.encode(clicks.tobytes()) + encoder.flush()
    with open(path, "wb") as file:
        file.write(coded)


def by_av(path):
    with av.open(path) as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return np.concatenate(frames)


for rate in (44_100, 48_000):
    clicks = np.zeros(SECONDS * rate, np.int16)
    clicks[rate] = 30_000
    by_lameenc(clicks, rate, "lameenc.mp3")
    soundfile.write("libsndfile.mp3", clicks, rate)
    for path, late in (("lameenc.mp3", 1105), ("libsndfile.mp3", 0)):
        for reader, sound in (("soundfile", soundfile.read(path)[0]), ("av", by_av(path))):
            place = int(np.argmax(np.abs(sound))) - rate
            print(f"{rate} Hz, {path} by {reader}: {place}, length {len(sound) - len(clicks):+d}")
            assert place == late, "the click is elsewhere now"
            assert (len(sound) > len(clicks)) == (late > 0), "another length than before"
PYTHON
