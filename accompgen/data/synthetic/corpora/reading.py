"""A MusicXML file -> `Sheet`: what is sung, what accompanies it, chords, key, beats and tempo."""

import re

import numpy as np

from accompgen.analysis.labels import harmony
from accompgen.data.synthetic.corpora import chord_estimator, chord_symbols, musicxml
from accompgen.data.synthetic.corpora.bars import longest_stretch
from accompgen.data.synthetic.corpora.sheet import Sheet, TempoMark
from accompgen.data.synthetic.corpora.tempi import tempo_range
from accompgen.data.synthetic.score import PITCH_NAMES, Beat, Chord, Note, ScoreError

VOICES = "voice|vocal|voix|voce|sing|gesang|chant|canto|sopran|tenor|melody|lead"
KEYBOARDS = "piano|klavier|clavier|keyboard|harp|cembalo|guitar|organ|orgue|orgel"
MAIN_SHARE = 0.5  # of the most syllables that a staff has: the first one with as many is sung
STRAY_SHARE = 0.1  # up to which syllables are words that belong to no voice
TEMPO_LIMITS = (20.0, 320.0)  # beats a minute; what is beyond is a slip of the pen
# Krumhansl and Kessler's probe-tone ratings (1982), from the tonic
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
LAST_BASS = 0.2  # what a last bass note on the tonic adds to the correlation with a key


def read_sheet(path):
    """Read one song from a MusicXML file: its longest stretch in one metre, repeats unexpanded.

    The chords are the score's symbols, or where it has none estimated from the accompaniment.

    Raises: ScoreError, which names the file, for a score without a melody, without anything to take
        chords from or without a stretch in one metre, and for a chord symbol or tempo that makes no
        sense; FileNotFoundError.
    """
    written = musicxml.read(path)
    stretch = longest_stretch(written.bars, path, written.tempi)
    start, beat = stretch.start, stretch.counting.beat
    sung, keyboard, other = _roles(written.staves, path)
    melody, piano, bridge = (_notes(notes, stretch) for notes in (sung, keyboard, other))
    if not melody:
        raise ScoreError(f"{path}: no melody; the part to be sung has no note in bars of one metre")
    symbols = _symbols(written.symbols, path)
    if symbols:
        chords = _chords(symbols, stretch)
    elif keyboard:
        chords = _estimated(keyboard, stretch)
    else:
        raise ScoreError(
            f"{path}: no chords; write chord symbols, or a part for piano or guitar to find them in"
        )
    grid = stretch.grid([(time * beat + start) for time, _, _ in chords])
    return Sheet(
        key=_key(written, stretch, melody, piano, chords),
        metre=stretch.counting.metre,
        length=(stretch.end - start) / beat,
        melody=melody,
        chords=chords,
        beats=tuple(Beat((time - start) / beat, position) for time, position in grid),
        tempo_range=tempo_range(
            stretch.counting, [text for time, text in written.words if time <= start + beat]
        ),
        tempi=_tempi(written.tempi, stretch, path),
        piano=piano,
        bridge=bridge,
    )


def _roles(staves, path):
    """Notes of the voice, of the keyboard or guitar and of another instrument; () for none."""
    staves = [staff for staff in staves if staff.notes]
    most = max((staff.syllables for staff in staves), default=0)
    if most:
        voices = [staff for staff in staves if staff.syllables >= MAIN_SHARE * most]
    else:
        voices = [staff for staff in staves if _named(staff, VOICES)]
        voices = voices or (staves if len(staves) == 1 else [])
    if not voices:
        names = ", ".join(repr(staff.name) for staff in staves) or "no notes"
        raise ScoreError(
            f"{path}: no melody; expected a part with lyrics or named Voice, found {names}"
        )
    stray = STRAY_SHARE * most
    unsung = [staff for staff in staves if staff not in voices and staff.syllables <= stray]
    # other staves of the voice's part are variants of it, unless the whole song stands in one part;
    # a choir alone is accompanied by its lower voices
    rest = [staff for staff in unsung if staff.part != voices[0].part] or unsung or voices[1:]
    parts = [staff.part for staff in rest]
    keyboard = [s for s in rest if parts.count(s.part) > 1 or _named(s, KEYBOARDS)]
    keyboard = keyboard or (rest[:1] if unsung else rest)
    others = [staff for staff in rest if staff not in keyboard]
    played = sorted(note for staff in keyboard for note in staff.notes)
    return voices[0].notes, played, others[0].notes if others else ()


def _named(staff, words):
    return re.search(words, staff.name.casefold()) is not None


def _notes(written, stretch):
    """The notes of a part inside the stretch, in beats from its start."""
    start, end, beat = stretch.start, stretch.end, stretch.counting.beat
    inside = (n for n in written if n.start < end - 1e-6 and n.end > start + 1e-6)
    edges = (
        ((max(n.start, start) - start) / beat, (min(n.end, end) - start) / beat, n) for n in inside
    )
    return tuple(Note(first, last, n.pitch, n.velocity) for first, last, n in edges)


def _symbols(symbols, path):
    """(time in quarter notes, label), sorted; of two at one time the last counts."""
    return sorted({symbol.time: chord_symbols.label(symbol, path) for symbol in symbols}.items())


def _chords(symbols, stretch):
    """Chords in beats without gaps; before the first symbol there is none."""
    start, end, beat = stretch.start, stretch.end, stretch.counting.beat
    before = ["N", *(label for time, label in symbols if time <= start)]
    changes = [(start, before[-1]), *(s for s in symbols if start < s[0] < end)]
    chords = []
    for (time, label), (following, _) in zip(changes, [*changes[1:], (end, "")], strict=True):
        if chords and chords[-1].label == label:
            chords[-1] = chords[-1]._replace(end=(following - start) / beat)
        else:
            chords.append(Chord((time - start) / beat, (following - start) / beat, label))
    return tuple(chords)


def _estimated(notes, stretch):
    """Chords in beats of a written-out accompaniment; a beat of a half note may have two."""
    beat = stretch.counting.beat
    times = np.array([time for time, _ in stretch.grid()])
    if beat > 1.5:
        times = np.append(times, times + beat / 2)
    times = np.unique(np.round([stretch.start, *times[times < stretch.end - 1e-6], stretch.end], 6))
    strong = np.isin(np.round(times[:-1], 3), np.round(stretch.bars, 3))
    found = chord_estimator.estimate([n[:3] for n in notes], times, strong)
    beats = [((a - stretch.start) / beat, (b - stretch.start) / beat) for a, b, _ in found]
    return tuple(Chord(*span, label) for span, (_, _, label) in zip(beats, found, strict=True))


def _tempi(tempi, stretch, path):
    """The score's tempi in beats, the first one at 0; none where none stands at its beginning."""
    low, high = TEMPO_LIMITS
    marks = []
    for tempo in tempi:
        time = (tempo.time - stretch.start) / stretch.counting.beat
        bpm = tempo.quarters_per_minute / stretch.counting.beat
        if tempo.time >= stretch.end:
            break
        if not low <= bpm <= high:
            raise ScoreError(
                f"{path}, bar {tempo.bar}: a tempo of {bpm:.0f} beats a minute; "
                f"write one from {low:.0f} to {high:.0f}"
            )
        if marks and (time <= marks[-1].time + 1e-6 or time <= 0):
            marks.pop()
        marks.append(TempoMark(max(time, 0.0), bpm))
    first = (stretch.bars[0] - stretch.start) / stretch.counting.beat
    if not marks or marks[0].time > first + 1e-6:
        return ()
    return (marks[0]._replace(time=0.0), *marks[1:])


def _key(written, stretch, melody, piano, chords):
    """Of the two keys of the signature the one that the tones are nearer to.

    Signatures rarely say the mode, and where they do it is `major` for minor songs too.
    """
    tones = np.zeros(12)
    for note in (*melody, *piano):
        tones[note.pitch % 12] += note.end - note.start
    for chord in () if piano else chords:
        for pitch_class in getattr(harmony(chord.label), "pitch_classes", ()):
            tones[pitch_class] += chord.end - chord.start
    sharps = [count for time, count in written.fifths if time <= stretch.start] or [0]
    tonic = 7 * sharps[-1] % 12
    named = [harmony(chord.label) for chord in chords if chord.label != "N"]
    last = named[-1].bass if named else None
    scores = {}
    for root, mode, ratings in ((tonic, "maj", MAJOR), ((tonic - 3) % 12, "min", MINOR)):
        correlation = np.corrcoef(np.roll(ratings, root), tones)[0, 1]
        scores[f"{PITCH_NAMES[root]}:{mode}"] = correlation + LAST_BASS * (last == root)
    return max(scores, key=scores.get)
