"""A chart as a Standard MIDI File; the only file that imports mido.

mido writes what a file of this kind holds event by event, markers and signatures among them, in
pure Python. symusic, which reads scores for training, is quicker, but compiled, and times of its
events are those of notes.

Tracks: tempo map, signatures and markers; chords as notes, their names as lyrics; a click on
General MIDI's wood blocks.
"""

import io

import numpy as np

from accompgen.analysis.labels import chord_symbol, harmony, pitch_class
from accompgen.export.grid import TICKS, grid_of

TOLERANCE_US = 500  # beats lie so near, in microseconds; a tempo holds as long as they do
MARKED_BARS = 4  # a marker every so many bars, as the lines of a chord sheet
LOWEST_BASS, LOWEST_CHORD = 36, 55  # C2 and G3: an octave of each
CHORD_VELOCITY = 80
DRUMS, HIGH_BLOCK, LOW_BLOCK = 9, 76, 77  # channel 10 of General MIDI and its wood blocks
# semitones from a mode's tonic up to that of the major key with the same signature
RELATIVE_MAJOR = {"maj": 0, "min": 3, "dor": 10, "phr": 8, "lyd": 7, "mix": 5, "loc": 1}
SIGNATURES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
MINOR_SIGNATURES = ("Cm", "C#m", "Dm", "Ebm", "Em", "Fm", "F#m", "Gm", "G#m", "Am", "Bbm", "Bm")


def midi_bytes(chart, name: str = "", count_in: int = 0, sections=()) -> bytes:
    """A MIDI file of format 1, 480 ticks a beat; with a marker for each of `sections`: (seconds, name).

    Without a count-in the file begins with the recording. With one the recording begins where the
    marker `recording` stands, `grid_of(chart, count_in).offset` seconds after the file.

    Raises ChartError with fewer than two beats or a count-in out of range.
    """
    import mido

    grid = grid_of(chart, count_in)
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS, charset="utf-8")
    name = name.encode("utf-8", "replace").decode("utf-8")
    end = grid.tick(chart.seconds)
    for title, events in (
        (name, _map(grid, chart, sections)),
        ("chords", _chords(grid, chart)),
        ("click", _click(grid, end)),
    ):
        file.tracks.append(_track(mido, title, events, end))
    data = io.BytesIO()
    file.save(file=data)
    return data.getvalue()


def _track(mido, title, events, end):
    """A track of (tick, type, values) in any order; at one tick notes end before others begin."""
    track = mido.MidiTrack([mido.MetaMessage("track_name", name=title)])
    now = 0
    for tick, kind, values in [
        *sorted(events, key=lambda event: (event[0], event[1] != "note_off")),
        (end, "end_of_track", {}),
    ]:
        tick = max(now, min(tick, end))
        message = (
            mido.Message if kind in ("note_on", "note_off", "program_change") else mido.MetaMessage
        )
        track.append(message(kind, time=tick - now, **values))
        now = tick
    return track


def marks(grid) -> list[tuple[int, str]]:
    """(tick, text) of the markers of count-in, recording and bars."""
    found = []
    if grid.bars[0].number is None:
        found = [(0, "count-in"), (grid.tick(0.0), "recording")]
    bars = [(bar.tick, bar.number) for bar in grid.bars if bar.number and bar.number % MARKED_BARS == 1]
    return found + [(tick, f"bar {number}") for tick, number in bars]


def _map(grid, chart, sections):
    times, ticks = grid.edges
    micros = (times + grid.offset) * 1e6
    for index, tempo in tempo_changes(micros, np.diff(ticks) / TICKS):
        yield int(ticks[index]), "set_tempo", {"tempo": tempo}
    signature = None
    for bar in grid.bars:
        if signature != (signature := bar[1:3]):
            yield (
                bar.tick,
                "time_signature",
                {"numerator": bar.numerator, "denominator": bar.denominator},
            )
    if chart.key:
        yield 0, "key_signature", {"key": key_signature(chart.key)}
    for tick, text in marks(grid):
        yield tick, "marker", {"text": text}
    for start, text in sections:
        yield grid.tick(start), "marker", {"text": text}


def _chords(grid, chart):
    yield 0, "program_change", {"channel": 0, "program": 0}
    for start, end, label in chart.chords:
        first, last = grid.tick(start), grid.tick(end)
        if last <= first:
            continue
        yield first, "lyrics", {"text": "N.C." if label == "N" else chord_symbol(label)}
        for note in voicing(label):
            yield first, "note_on", {"channel": 0, "note": note, "velocity": CHORD_VELOCITY}
            yield last, "note_off", {"channel": 0, "note": note, "velocity": 0}


def _click(grid, end):
    _, ticks = grid.edges
    for beat, tick in zip(grid.beats, ticks):
        if beat.place and tick < end:
            note = HIGH_BLOCK if beat.place == 1 else LOW_BLOCK
            velocity = 110 if beat.place == 1 else 80
            yield int(tick), "note_on", {"channel": DRUMS, "note": note, "velocity": velocity}
            yield (
                min(int(tick) + TICKS // 4, end),
                "note_off",
                {"channel": DRUMS, "note": note, "velocity": 0},
            )


def voicing(label: str) -> list[int]:
    """MIDI notes of a chord: its bass from C2 on, its tones from G3 to F#4; none for N and X."""
    tones = harmony(label)
    if tones is None:
        return []
    upper = {LOWEST_CHORD + (pitch - LOWEST_CHORD) % 12 for pitch in tones.pitch_classes}
    return sorted({LOWEST_BASS + tones.bass, *upper})


def key_signature(key: str) -> str:
    """The signature of a key such as `A:min`, as mido names it; of another mode, that of the major
    key with its tones."""
    tonic, _, mode = key.partition(":")
    if mode == "min":
        return MINOR_SIGNATURES[pitch_class(tonic)]
    return SIGNATURES[(pitch_class(tonic) + RELATIVE_MAJOR[mode or "maj"]) % 12]


def tempo_changes(micros, quarters) -> list[tuple[int, int]]:
    """Tempi that lead from beat to beat: as few as keep each beat within half a millisecond of its
    time.

    A tempo is a whole number of microseconds, so that rounding would add up over a song; each is
    chosen from where the ones before it have really led.

    Args:
        micros: times of the beats and of the end [n + 1], in microseconds.
        quarters: quarter notes from each beat to the next [n].

    Returns:
        (index of the beat, microseconds of a quarter note) of each change.
    """
    changes, now, index = [], micros[0], 0
    while index < len(quarters):
        shortest, longest, length, stop, wished = 0.0, np.inf, 0.0, index, 0.0
        while stop < len(quarters):
            length += quarters[stop]
            span = micros[stop + 1] - now
            low, high = (
                max(shortest, (span - TOLERANCE_US) / length),
                min(longest, (span + TOLERANCE_US) / length),
            )
            if np.ceil(low) > np.floor(high):
                break
            shortest, longest, wished, stop = low, high, span / length, stop + 1
        tempo = int(min(max(round(wished), np.ceil(shortest)), np.floor(longest)))
        now += tempo * sum(quarters[index:stop])
        changes.append((index, tempo))
        index = stop
    return changes
