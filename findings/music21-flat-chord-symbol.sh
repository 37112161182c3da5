#!/usr/bin/env bash
# music21 reads the chord symbol "Bb7", as lead sheets write it, as B with a flat seventh, without an error: its own sign for
# flat is "-", and what stands behind the root is taken for the degree that follows. "Bb" alone is refused. "B-7" is right,
# and so is MusicXML's <root-alter>.
# Seen with music21 10.5.1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check music21==10.5.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import music21
from music21.harmony import ChordSymbol

for figure in ("Bb7", "B-7"):
    chord = ChordSymbol(figure)
    print(f"music21 {music21.__version__}: {figure} has the root {chord.root().name}, tones {[p.name for p in chord.pitches]}")
assert ChordSymbol("B-7").root().pitchClass == 10
assert ChordSymbol("Bb7").root().pitchClass == 11, "music21 reads Bb7 as B flat seven now"
try:
    print("Bb:", ChordSymbol("Bb").root().name)
except ValueError as error:
    print("Bb is refused:", error)
PYTHON
