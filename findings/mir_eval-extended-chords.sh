#!/usr/bin/env bash
# mir_eval.chord.encode gives C:9 the tones of C:7, and C:maj(9) those of C:maj, unless it is told to reduce extended chords;
# and its grammar lets aug7 and maj11 pass, which encode then refuses: a label that validates need not encode.
# Seen with mir_eval 0.8.2.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mir_eval==0.8.2
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import mir_eval
from mir_eval import chord


def tones(label, **options):
    root, bitmap, _ = chord.encode(label, **options)
    return [(root + step) % 12 for step, there in enumerate(bitmap) if there]


plain, reduced = tones("C:9"), tones("C:9", reduce_extended_chords=True)
print(f"mir_eval {mir_eval.__version__}: C:9 has {plain}, with reduce_extended_chords {reduced}; C:7 has {tones('C:7')}")
refused = []
for label in ("C:aug7", "C:maj11"):
    chord.validate_chord_label(label)
    try:
        chord.encode(label, reduce_extended_chords=True)
    except chord.InvalidChordException:
        refused.append(label)
print("valid by its grammar, refused by encode:", refused)
assert plain == tones("C:7") and 2 in reduced and refused == ["C:aug7", "C:maj11"], "mir_eval reads them otherwise now"
PYTHON
