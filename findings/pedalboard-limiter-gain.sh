#!/usr/bin/env bash
# pedalboard.Limiter makes what is soft louder, by 3.75 dB less the threshold: 13.75 dB where that
# is -10. What is loud comes out at full scale, 0 dB, where the threshold is -10 or lower, and a
# note of -.9 dB at -2.8 where it is -1. One would have guessed that a limiter leaves alone what
# lies below its threshold, and that nothing passes it. As the last effect of a stem it changes the
# balance of a mix, and its threshold is no ceiling that a codec could rely on.
# Seen with pedalboard 0.9.26.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pedalboard==0.9.26 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import pedalboard

RATE, SECONDS = 48_000, 2
note = np.sin(2 * np.pi * 440 * np.arange(SECONDS * RATE) / RATE).astype(np.float32)


def decibels(amplitude):
    return 20 * np.log10(amplitude)


def limited(level_db, threshold_db):
    """The peak, in dB of full scale, of the second second of a note that had level_db."""
    limiter = pedalboard.Limiter(threshold_db=threshold_db)
    sound = limiter((note * np.float32(10 ** (level_db / 20)))[None], RATE)[0]
    return decibels(np.abs(sound[RATE:]).max())


print(f"pedalboard {version('pedalboard')}, the peak of a note behind Limiter(threshold_db):")
for threshold in (0, -1, -10, -20):
    soft, loud = limited(-40, threshold), limited(-0.9, threshold)
    print(f"{threshold:4d} dB: -40 dB -> {soft:.2f} dB, -.9 dB -> {loud:.2f} dB")
    assert abs(soft - (-40 + 3.75 - threshold)) < 0.1, "soft notes get another gain now"
    if threshold <= -10:
        assert abs(loud) < 0.1, "loud notes do not come out at full scale now"
assert limited(-0.9, -1) < -2, "a note at the threshold is another one now"
PYTHON
