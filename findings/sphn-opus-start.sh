#!/usr/bin/env bash
# sphn.write_opus writes a pre-skip of 3840 samples at 48 kHz into the file, while its encoder
# delays the sound by 312. A reader that skips what the file says (soundfile, PyAV) loses the first
# 73 ms of the sound. The end suffers too: what does not fill a packet of 20 ms is not written.
# sphn.read_opus skips nothing, so a round trip by sphn alone keeps the start and does not tell;
# and it hands out a file by soundfile 312 samples late. One would have guessed that a writer and a
# reader of one format agree with the others. Write Opus by soundfile, or put 3528 samples of
# silence before the sound and 30 ms behind it, and read by another library.
# Seen with sphn 0.2.1, soundfile 0.14.0, av 18.1.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    sphn==0.2.1 soundfile==0.14.0 av==18.1.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import av
import numpy as np
import soundfile
import sphn

RATE, LENGTH, TONE = 48_000, 100_001, 2400
START, MIDDLE = 480, 48_000
# two tones of 50 ms in silence, one 10 ms after the start
tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(TONE) / RATE) * np.hanning(TONE)
sound = np.zeros(LENGTH, np.float32)
for place in (START, MIDDLE):
    sound[place : place + TONE] = tone


def av_read(path):
    with av.open(path) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


READERS = {
    "sphn": lambda path: sphn.read_opus(path)[0][0],
    "soundfile": lambda path: soundfile.read(path)[0],
    "av": av_read,
}


def look(path):
    """Of each reader: samples, how late the second tone is, and how much of the first is heard."""
    seen = {}
    for name, read in READERS.items():
        heard = read(path)
        lags = np.arange(-5000, 5000)
        fits = [heard[MIDDLE + lag : MIDDLE + lag + TONE] @ tone for lag in lags]
        part = (heard[: MIDDLE // 2] ** 2).sum() / (tone**2).sum()
        seen[name] = len(heard), int(lags[np.argmax(fits)]), round(float(part), 2)
    return seen


sphn.write_opus("sphn.opus", sound, RATE)
sphn.write_opus("padded.opus", np.pad(sound, (3528, RATE * 30 // 1000)), RATE)
soundfile.write("soundfile.opus", sound, RATE, format="OGG", subtype="OPUS")
head = open("sphn.opus", "rb").read(100)
skip = int.from_bytes(head[head.index(b"OpusHead") + 10 :][:2], "little")
ours, padded, theirs = (look(f"{name}.opus") for name in ("sphn", "padded", "soundfile"))
print(f"sphn {version('sphn')}: pre-skip {skip}; {LENGTH} samples were written")
print("each reader's (samples, how late, how much of the first tone):")
print("by sphn.write_opus:", ours)
print("by sphn.write_opus, with silence around it:", padded)
print("by soundfile:", theirs)
assert skip == 3840, "sphn writes another pre-skip now"
assert ours["sphn"][0] == LENGTH // 960 * 960, "sphn writes the last packet now"
assert 300 < ours["sphn"][1] < 320 and ours["sphn"][2] > 0.8, "sphn reads its own otherwise now"
for name in ("soundfile", "av"):
    assert -3540 < ours[name][1] < -3520 and ours[name][2] < 0.1, f"{name} finds the start now"
    for seen in (padded[name], theirs[name]):
        assert seen[0] >= LENGTH and abs(seen[1]) < 5 and seen[2] > 0.8, f"{name} has changed"
assert theirs["sphn"][1] > 300, "sphn heeds the pre-skip now"
PYTHON
