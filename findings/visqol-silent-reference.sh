#!/usr/bin/env bash
# visqol-python gives its best score, 4.73, when the *reference* is silent, whatever the other sound is; a silent sound against
# a reference that sounds gives NaN. A mean over the windows of a song with pauses is lifted by the first and lost by the second.
# Seen with visqol-python 3.8.0, audio mode, 48 kHz.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check visqol-python==3.8.0
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import math

import numpy as np
from visqol import VisqolApi

noise, silence = 0.1 * np.random.default_rng(0).normal(size=96_000), np.zeros(96_000)
api = VisqolApi()
api.create(mode="audio")
pairs = {"silent reference, noise played": (silence, noise), "noise as reference, silence played": (noise, silence)}
scores = {name: float(api.measure_from_arrays(*pair, 48_000).moslqo) for name, pair in pairs.items()}
print("visqol-python 3.8.0:", scores)
best, lost = scores.values()
assert best > 4.7 and math.isnan(lost), "the scores of silence have changed"
PYTHON
