#!/usr/bin/env bash
# partitura takes the kind of a MusicXML chord symbol from the attribute `text`, which says how the kind is printed, and not
# from the element's content, which says what it is. So <kind>minor-seventh</kind> on D, which is valid and complete, is read
# as a plain D, without a warning, and <kind text="m7">minor-seventh</kind> as the kind "m7", which is none of MusicXML's names.
# Whoever reads lead sheets by it must look at the content in the file.
# Seen with partitura 1.9.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check partitura==1.9.0
"$folder/venv/bin/python" -W ignore - "$folder" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import partitura

SCORE = """<?xml version="1.0" encoding="UTF-8"?>
<score-partwise version="3.1">
<part-list><score-part id="P1"><part-name>Voice</part-name></score-part></part-list>
<part id="P1"><measure number="1">
<attributes><divisions>1</divisions><time><beats>4</beats><beat-type>4</beat-type></time></attributes>
<harmony><root><root-step>D</root-step></root>{kind}</harmony>
<note><pitch><step>D</step><octave>4</octave></pitch><duration>4</duration><voice>1</voice><type>whole</type></note>
</measure></part></score-partwise>
"""
found = {}
for kind in ("<kind>minor-seventh</kind>", '<kind text="m7">minor-seventh</kind>', "<kind>major</kind>"):
    path = Path(sys.argv[1]) / "song.musicxml"
    path.write_text(SCORE.format(kind=kind), encoding="utf-8")
    part = partitura.load_musicxml(path).parts[0]
    (chord,) = part.iter_all(partitura.score.ChordSymbol)
    found[kind] = chord.kind
    print(f"partitura {version('partitura')}: {kind} on {chord.root} has the kind {chord.kind!r}")
assert list(found.values()) == [None, "m7", None], "partitura reads the kind's content now"
PYTHON
