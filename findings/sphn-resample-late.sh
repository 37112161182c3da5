#!/usr/bin/env bash
# sphn.resample, and sphn.read with sample_rate, hand out the sound late: by 5 ms from 96 to 48 kHz,
# 12 ms between 44.1 and 48, 64 ms from 8 to 48. The filter's delay is left in, and how long it is
# depends on the pair of rates. The result is a number of whole blocks: mostly longer than the
# sound, yet from 32 to 44.1 kHz, or from 24 to 16, it stops almost 20 ms before the sound has all
# come out. One would have guessed that a whole sound comes back in its place, as from soxr or
# librosa. Labels in seconds, and tracks of one song that come from different rates, are off by that
# much. Read by sphn at the file's own rate, and resample by soxr.
# Seen with sphn 0.2.1 beside soxr 1.1.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    sphn==0.2.1 soxr==1.1.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import soxr
import sphn

SECONDS = 10
PAIRS = ((96, 48), (48, 24), (48, 44.1), (44.1, 48), (24, 16), (32, 44.1), (8, 48))


def place(sound, rate):
    """Where the first click is, in ms after its place at 1 s, and whether the last is there."""
    last = round((SECONDS - 0.01) * rate)
    late = 1000 * (int(np.argmax(np.abs(sound[: 5 * rate]))) - rate) / rate
    return round(late, 1), bool(np.abs(sound[last - rate :]).max() > 0.1)


found, right = {}, {}
print(f"sphn {version('sphn')}, {SECONDS} s of silence with a click at 1 s and one near the end:")
for source, target in PAIRS:
    source, target = round(1000 * source), round(1000 * target)
    clicks = np.zeros(SECONDS * source, np.float32)
    # one click at 1 s, and one 10 ms before the end
    clicks[[source, len(clicks) - source // 100]] = 1
    here = sphn.resample(clicks[None], source, target)[0]
    there = soxr.resample(clicks, source, target)
    found[source, target], right[source, target] = place(here, target), place(there, target)
    late, end = found[source, target]
    kept = "kept" if end else "lost"
    print(f"{source} to {target} Hz: {late} ms late,", end=" ")
    print(f"{len(here) - SECONDS * target} samples too many, the last click {kept}")
    assert len(there) == SECONDS * target
assert all(late == 0 and end for late, end in right.values()), "soxr's results have changed"
print("soxr: none is late, none has another length, each last click is kept")
assert all(late >= 5 for late, _ in found.values()), "sphn takes the delay out now"
assert found[44_100, 48_000][0] > 11 and found[8000, 48_000][0] > 60, "other delays than before"
for pair in ((32_000, 44_100), (24_000, 16_000)):
    assert not found[pair][1], f"the end of {pair} is there now"

noise = np.random.default_rng(0).uniform(-0.1, 0.1, 48_000).astype(np.float32)
noise[24_000] = 1
sphn.write_wav("a.wav", noise, 48_000)
read = sphn.read("a.wav", sample_rate=24_000)[0][0]
print("sphn.read at half the rate: a click at 12000 is at", int(np.argmax(read)), "of", len(read))
assert np.argmax(read) - 12_000 > 200, "sphn.read takes the delay out now"
PYTHON
