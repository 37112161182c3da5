"""POP909 on disk -> `Score`; the only file that imports symusic.

The corpus is the public repository music-x-lab/POP909-Dataset (MIT; Wang et al., ISMIR 2020): one
folder per song with one MIDI file (tracks MELODY, BRIDGE, PIANO) and text annotations of beats,
chords and key.
"""

from pathlib import Path

import numpy as np

from accompgen.analysis.labels import harmony
from accompgen.data.synthetic.score import Beat, Chord, Note, Score, ScoreError, monophonic

NAME = "POP909"
LICENCE = (
    "POP909 (Wang et al., ISMIR 2020): MIT for the transcriptions; the compositions are commercial "
    "songs, whose rights are their owners'"
)
EXPECTED = (
    "folders 001, 002, ... each with a MIDI file and chord_midi.txt "
    "(POP909 of music-x-lab/POP909-Dataset)"
)


def find(folder):
    """Names of the songs in a folder (`001`, `002`, ...), sorted; none where it is no POP909."""
    return sorted(p.parent.name for p in Path(folder).glob("[0-9][0-9][0-9]/[0-9][0-9][0-9].mid"))


def split_of(name):
    """The split of a song by its number: 20 divides it -> validation, remainder 10 -> test, else
    train.
    """
    return {0: "validation", 10: "test"}.get(int(name) % 20, "train")


def read(folder, name):
    """The whole song `name` as a `Score`, the melody made monophonic.

    Raises: ScoreError for a song without melody or beats, or with a line that cannot be read.
    """
    folder = Path(folder) / name
    tracks = _read_tracks(folder / f"{name}.mid")
    if not tracks.get("MELODY"):
        raise ScoreError(f"{folder / name}.mid: no melody; expected notes in a track named MELODY")
    beats, metre = _read_beats(folder / "beat_midi.txt")
    chords = _read_chords(folder / "chord_midi.txt")
    piano, bridge = tracks.get("PIANO", ()), tracks.get("BRIDGE", ())
    return Score(
        title=f"{NAME} {name}",
        seconds=max([beats[-1].time, chords[-1].end] + [n.end for n in piano]),
        key=_read_key(folder / "key_audio.txt"),
        bpm=60 / float(np.median(np.diff([b.time for b in beats]))),
        metre=metre,
        melody=monophonic(tracks["MELODY"]),
        chords=chords,
        beats=beats,
        piano=piano,
        bridge=bridge,
    )


def _read_beats(path):
    """Beats with their place in the bar. Columns: time, downbeat in half bars, downbeat in bars;
    where a bar has six beats the half-bar reading gives bars of three."""
    try:
        table = np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise ScoreError(
            f"{path}: {error}; expected three numbers a line: time, downbeat, downbeat"
        ) from error
    if len(table) < 2 or table.shape[1] != 3 or not (np.diff(table[:, 0]) > 0).all():
        raise ScoreError(
            f"{path}: expected at least two beats, later ones at later times, in three columns"
        )
    downbeats = np.flatnonzero(table[:, 2])
    triple = len(downbeats) > 1 and int(np.median(np.diff(downbeats))) == 6
    downbeats = table[:, 1 if triple else 2] > 0
    per_bar = 3 if triple else 4
    position = 1 + (-int(np.argmax(downbeats))) % per_bar
    beats = []
    for time, downbeat in zip(table[:, 0], downbeats, strict=True):
        position = 1 if downbeat else position
        beats.append(Beat(float(time), position))
        position = position % per_bar + 1
    return tuple(beats), "3/4" if triple else "4/4"


def _read_chords(path):
    """Chords of `start end label` lines."""
    chords = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            start, end, label = line.split()
            harmony(label)
            chords.append(Chord(float(start), float(end), label))
        except ValueError as error:
            raise ScoreError(
                f"{path}, line {number}: {error}; expected `start end root:quality/bass`"
            ) from error
    if not chords:
        raise ScoreError(f"{path}: no chords; expected lines of `start end root:quality/bass`")
    return tuple(chords)


def _read_key(path):
    words = path.read_text().split()
    if len(words) < 3:
        raise ScoreError(f"{path}: no key; expected `start end key`, such as 0.0 180.0 Gb:maj")
    return words[2]


def _read_tracks(path):
    """{track name: notes sorted by start}, in seconds. Notes of one pitch that overlap end first
    in, first out.
    """
    try:
        import symusic
    except ImportError as error:
        raise ImportError("reading MIDI needs symusic: pip install 'accompgen[train]'") from error
    try:
        midi = symusic.Score(str(path), ttype="second")
    except (ValueError, RuntimeError) as error:
        raise ScoreError(f"{path}: no MIDI file ({error}); unpack the corpus again") from error
    tracks = {}
    for track in midi.tracks:
        notes = [Note(n.time, n.time + n.duration, n.pitch, n.velocity) for n in track.notes]
        tracks.setdefault(track.name.strip(), []).extend(notes)
    return {name: tuple(sorted(notes)) for name, notes in tracks.items()}
