#!/usr/bin/env bash
# symusic moves a track's lyrics to a second track of the same name, which has no notes: who looks for the words of a track beside
# its notes finds none. mido, which wrote the file, and pretty_midi keep them together or apart from tracks.
# Seen with symusic 0.6.0 and mido 1.3.3.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check symusic==0.6.0 mido==1.3.3
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import importlib.metadata
import io

import mido
import symusic

file = mido.MidiFile(ticks_per_beat=480)
track = mido.MidiTrack([mido.MetaMessage("track_name", name="chords")])
for word, pitch in (("Am", 57), ("F", 53)):
    track.append(mido.MetaMessage("lyrics", text=word))
    track.append(mido.Message("note_on", note=pitch, velocity=80))
    track.append(mido.Message("note_off", note=pitch, velocity=0, time=480))
file.tracks.append(track)
data = io.BytesIO()
file.save(file=data)
score = symusic.Score.from_midi(data.getvalue())
found = sorted((track.name, len(track.notes), len(track.lyrics)) for track in score.tracks)
print(f"symusic {importlib.metadata.version('symusic')}: (track, notes, lyrics) of one track with 2 of each:", found)
assert found == [("chords", 0, 2), ("chords", 2, 0)], "symusic keeps them together now"
PYTHON
