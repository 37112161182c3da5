#!/usr/bin/env bash
# pretty_midi takes tempo changes from the first track alone. A file whose tempo map stands in its second track (MIDI type 1
# allows a set-tempo event anywhere, and some programs write it so) is read at 120 beats a minute, with every time wrong.
# mido, whose length of the same file is right, reads the events of all tracks.
# Seen with pretty_midi 0.2.11 and mido 1.3.3: tempo 120 instead of 60, a note of one beat ends at 0.5 s instead of 1 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'setuptools<81' pretty_midi==0.2.11 mido==1.3.3
"$folder/venv/bin/python" -W ignore - "$folder/song.mid" <<'PYTHON'
import sys

import mido
import pretty_midi

path = sys.argv[1]
song = mido.MidiFile(type=1, ticks_per_beat=480)
notes, tempo = mido.MidiTrack(), mido.MidiTrack()
notes += [mido.Message("note_on", note=60, velocity=90, time=0), mido.Message("note_off", note=60, time=480)]
tempo += [mido.MetaMessage("set_tempo", tempo=1_000_000, time=0)]
song.tracks += [notes, tempo]
song.save(path)

read = pretty_midi.PrettyMIDI(path)
tempi, end = read.get_tempo_changes()[1].tolist(), read.instruments[0].notes[0].end
print(f"pretty_midi {pretty_midi.__version__}: tempo {tempi}, the note ends at {end} s; mido: {mido.MidiFile(path).length} s")
assert pretty_midi.__version__ == "0.2.11"
assert mido.MidiFile(path).length == 1.0
assert tempi == [120.0] and end == 0.5, "pretty_midi reads the tempo now"
PYTHON
