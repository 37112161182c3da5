"""Sing the sample vocal of the demo: the tune of "Amazing Grace", by the singer of the synthetic songs.

    python tools/make_sample_vocal.py VOICES_FOLDER [--force]

VOICES_FOLDER keeps the syllable banks (`voices` of a folder of rendered songs will do; flite builds a missing one).
Writes vocal.flac (24 kHz, mono) and vocal.json (what was sung: notes, chords, beats) into recipes/synthetic/sample.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from accompgen import audio
from accompgen.data.synthetic.bank import open_bank
from accompgen.data.synthetic.microphone import Recording
from accompgen.data.synthetic.score import Beat, Chord, Note, Score
from accompgen.data.synthetic.singer import KINDS, singer_of
from accompgen.data.synthetic.singing import sing
from accompgen.data.synthetic.voices import VOICES
from accompgen.data.synthetic.world import SAMPLE_RATE

SEED, BPM, SECONDS, RATE, LUFS = 1, 132, 23.4, 24_000, -24.0
BARS = 17  # the first one holds the upbeat alone

# (beats, MIDI pitch) from the third beat of the first bar on, in G major; tune "New Britain", printed by 1829
TUNE = (
    (1, 62), (2, 67), (0.5, 71), (0.5, 67), (2, 71), (1, 69), (2, 67), (1, 64), (2, 62),
    (1, 62), (2, 67), (0.5, 71), (0.5, 67), (2, 71), (1, 69), (5, 74),
    (1, 71), (2, 74), (0.5, 71), (0.5, 67), (2, 71), (1, 69), (2, 67), (1, 64), (2, 62),
    (1, 62), (2, 67), (0.5, 71), (0.5, 67), (2, 71), (1, 69), (5, 67),
)  # fmt: skip
BREATHS = (8, 15, 24)  # indices of the notes that end a line
# (beats, chord) from the beginning
CHORDS = (
    (6, "G:maj"), (3, "G:7"), (3, "C:maj"), (6, "G:maj"), (3, "E:min"), (6, "D:maj"),
    (3, "G:maj"), (3, "G:7"), (3, "C:maj"), (3, "G:maj"), (3, "E:min"), (2, "G:maj"), (1, "D:7"), (6, "G:maj"),
)  # fmt: skip


def amazing_grace():
    """The tune once, as a Score in 3/4."""
    period, beat, melody, chords = 60 / BPM, 2.0, [], []
    for i, (beats, pitch) in enumerate(TUNE):
        sounding = beats - (0.35 if i in BREATHS else 0)
        melody.append(Note(beat * period, (beat + sounding) * period, pitch, 92 + 8 * (beat % 3 == 0)))
        beat += beats
    assert beat == 3 * BARS - 1  # a rest ends it
    start = 0
    for beats, label in CHORDS:
        chords.append(Chord(start * period, (start + beats) * period, label))
        start += beats
    assert start == 3 * BARS
    ticks = tuple(Beat(k * period, k % 3 + 1) for k in range(3 * BARS))
    return Score("Amazing Grace", SECONDS, "G:maj", BPM, "3/4", tuple(melody), tuple(chords), ticks)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voices", help="folder of syllable banks")
    parser.add_argument("--force", action="store_true", help="replace the files")
    arguments = parser.parse_args()
    folder = Path(__file__).resolve().parents[1] / "recipes" / "synthetic" / "sample"
    if (folder / "vocal.flac").exists() and not arguments.force:
        sys.exit(f"{folder / 'vocal.flac'} exists; give --force to replace it")
    score = amazing_grace()
    alto = singer_of(VOICES["slt"], KINDS["woman"][0])
    singer = replace(alto, recording=Recording(room_seconds=0.8, room_db=-22.0))
    wave = sing(score.melody, singer, open_bank(singer.voice, arguments.voices), np.random.default_rng(SEED), SECONDS)
    wave = audio.fit(audio.resample(wave, SAMPLE_RATE, RATE), round(SECONDS * RATE))
    wave = wave * 10 ** ((LUFS - audio.loudness(wave, RATE)) / 20)
    folder.mkdir(parents=True, exist_ok=True)
    audio.write(folder / "vocal.flac", wave, RATE, subtype="PCM_16")
    about = {"title": score.title, "key": score.key, "metre": score.metre, "bpm": score.bpm, "seconds": SECONDS, "seed": SEED}
    about |= {"notes": score.melody, "chords": score.chords, "beats": score.beats}
    rounded = json.loads(json.dumps(about), parse_float=lambda text: round(float(text), 4))
    audio.write_bytes(folder / "vocal.json", (json.dumps(rounded) + "\n").encode())
    print(folder / "vocal.flac")


if __name__ == "__main__":
    main()
