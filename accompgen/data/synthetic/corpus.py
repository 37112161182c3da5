"""POP909 on disk -> `Score`; the only file that imports mido.

The corpus is the public repository music-x-lab/POP909-Dataset (MIT; Wang et al., ISMIR 2020): one folder per song with
one MIDI file (tracks MELODY, BRIDGE, PIANO) and text annotations of beats, chords and key.
"""

from pathlib import Path

import numpy as np

from accompgen.data.synthetic.score import Beat, Chord, Note, Score, monophonic


def split_of(number):
    """The split of a POP909 song by its number: 20 divides it -> validation, remainder 10 -> test, else train."""
    return {0: "validation", 10: "test"}.get(number % 20, "train")


def song_numbers(corpus, split=None):
    """Sorted numbers of the songs in a POP909 folder, of one split or of all; FileNotFoundError where there are none."""
    numbers = sorted(int(p.parent.name) for p in Path(corpus).glob("[0-9][0-9][0-9]/[0-9][0-9][0-9].mid"))
    if not numbers:
        raise FileNotFoundError(
            f"no POP909 songs in {corpus}: expected folders 001, 002, ... each with a MIDI file and chord_midi.txt; "
            "unpack the folder POP909 of music-x-lab/POP909-Dataset there"
        )
    return [n for n in numbers if split in (None, split_of(n))]


def read_song(corpus, number):
    """The whole song `number` of a POP909 folder as a `Score`, the melody made monophonic."""
    folder = Path(corpus) / f"{number:03d}"
    tracks = _read_tracks(folder / f"{number:03d}.mid")
    beats, metre = _read_beats(folder / "beat_midi.txt")
    chords = tuple(
        Chord(float(start), float(end), label)
        for start, end, label in (line.split() for line in (folder / "chord_midi.txt").read_text().splitlines() if line)
    )
    piano, bridge = tuple(tracks.get("PIANO", ())), tuple(tracks.get("BRIDGE", ()))
    return Score(
        title=f"POP909 {number:03d}",
        seconds=max([beats[-1].time, chords[-1].end] + [n.end for n in piano]),
        key=(folder / "key_audio.txt").read_text().split()[2],
        bpm=60 / float(np.median(np.diff([b.time for b in beats]))),
        metre=metre,
        melody=monophonic(tracks.get("MELODY", ())),
        chords=chords,
        beats=beats,
        piano=piano,
        bridge=bridge,
    )


def _read_beats(path):
    """Beats with their place in the bar. Columns: time, downbeat in half bars, downbeat in bars; where a bar has six
    beats the half-bar reading gives bars of three."""
    table = np.loadtxt(path, ndmin=2)
    triple = int(np.median(np.diff(np.flatnonzero(table[:, 2])))) == 6
    downbeats = table[:, 1 if triple else 2] > 0
    per_bar = 3 if triple else 4
    position = 1 + (-int(np.argmax(downbeats))) % per_bar
    beats = []
    for time, downbeat in zip(table[:, 0], downbeats, strict=True):
        position = 1 if downbeat else position
        beats.append(Beat(float(time), position))
        position = position % per_bar + 1
    return tuple(beats), "3/4" if triple else "4/4"


def _read_tracks(path):
    """{track name: notes sorted by start}, ticks turned into seconds by the file's tempo map."""
    try:
        import mido
    except ImportError as error:
        raise ImportError("reading MIDI needs mido: pip install 'accompgen[train]'") from error
    midi = mido.MidiFile(path)
    changes = {0: 500_000}  # tick -> microseconds per quarter note
    for track in midi.tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "set_tempo":
                changes[tick] = message.tempo
    ticks = np.array(sorted(changes), float)
    seconds_per_tick = np.array([changes[int(t)] for t in ticks]) / midi.ticks_per_beat / 1e6
    seconds = np.concatenate([[0.0], np.cumsum(np.diff(ticks) * seconds_per_tick[:-1])])

    def at(tick):
        i = int(np.searchsorted(ticks, tick, "right")) - 1
        return float(seconds[i] + (tick - ticks[i]) * seconds_per_tick[i])

    tracks = {}
    for track in midi.tracks:
        notes, sounding, tick = [], {}, 0
        for message in track:
            tick += message.time
            if message.type == "note_on" and message.velocity > 0:
                sounding[message.note] = (tick, message.velocity)
            elif message.type in ("note_off", "note_on") and message.note in sounding:
                start, velocity = sounding.pop(message.note)
                notes.append(Note(at(start), at(tick), message.note, velocity))
        if notes:
            tracks[track.name.strip()] = sorted(notes)
    return tracks
