#!/usr/bin/env bash
# loudness (libloudness) reads a steady tone in steps of 0.1 LU: it counts gated blocks in a histogram and sums the middles of
# its bins. Of 21 tones 0.01 dB apart it tells 5 values, two neighbours differ by 0.04 to 0.06 LU or not at all, and the same tone in two
# channels need not read 3.01 LU above one. pyloudnorm tells all 21. Within EBU Tech 3341's 0.1 LU, so no fault: a gain found from a
# reading is not confirmed by a second one to more than a step.
# Seen with loudness 0.2.0 beside pyloudnorm 0.2.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check loudness==0.2.0 pyloudnorm==0.2.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import loudness
import numpy as np
import pyloudnorm

RATE = 48_000
tone = np.sin(2 * np.pi * 997 * np.arange(4 * RATE) / RATE)[:, None]
gains = 10 ** (np.arange(-20.1, -19.895, 0.01) / 20)
steps = [loudness.integrated_loudness((gain * tone).astype(np.float32), RATE) for gain in gains]
exact = [pyloudnorm.Meter(RATE).integrated_loudness(gain * tone) for gain in gains]
print("loudness 0.2.0:", sorted({round(value, 3) for value in steps}))
print("pyloudnorm 0.2.0:", len({round(value, 3) for value in exact}), "values from", round(exact[0], 3), "to", round(exact[-1], 3))
assert len({round(value, 3) for value in exact}) == len(gains), "pyloudnorm's values have changed"
assert len({round(value, 3) for value in steps}) == 5 and max(np.diff(steps)) < 0.07, "the steps have changed"
assert max(abs(np.subtract(steps, exact))) < 0.15
PYTHON
