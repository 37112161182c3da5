#!/usr/bin/env bash
# pedalboard.Convolution brings every impulse response to one energy, that of a single sample of
# .125: how loud the file is makes no difference. A response of one sample of 1, of .5 or of .01
# makes a sound 18 dB softer; so does a room by which noise is 25 dB louder where numpy convolves it.
# One would have guessed a convolution, as numpy's or scipy's. A measured room loses what it
# said of its distance, a filter its gain, and `mix` no longer weighs what the file says.
# Seen with pedalboard 0.9.26 beside numpy 2.4.6.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    pedalboard==0.9.26 numpy==2.4.6 soundfile==0.14.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import pedalboard
import soundfile

RATE = 48_000
random = np.random.default_rng(0)
sound = random.uniform(-0.05, 0.05, 2 * RATE).astype(np.float32)
room = random.standard_normal(RATE // 2) * np.exp(-np.arange(RATE // 2) / 4000)
room /= np.abs(room).max()


def gain(response):
    """Of pedalboard and of numpy, in dB, and how alike their results are."""
    soundfile.write("response.wav", response, RATE, subtype="FLOAT")
    here = pedalboard.Convolution("response.wav", mix=1.0)(sound[None], RATE)[0]
    there = np.convolve(sound, response)[: len(sound)]
    likeness = np.corrcoef(here, there)[0, 1]
    gains = (20 * np.log10(np.std(result) / np.std(sound)) for result in (here, there))
    return *gains, likeness


print(f"pedalboard {version('pedalboard')}, gains in dB; numpy's of the same response:")
responses = {f"a sample of {value}": np.eye(1, 64)[0] * value for value in (1, 0.5, 0.01)}
responses |= {"a room": room, "the room, 40 dB softer": room / 100}
for name, response in responses.items():
    here, there, likeness = gain(response)
    print(f"{name}: {here:.2f}; {there:.2f}")
    assert likeness > 0.999, "the shape is no convolution now"
    assert abs(here - 20 * np.log10(0.125)) < 0.3, "responses keep more of their level now"
PYTHON
