"""A MusicXML file -> `Written`, what stands in it; the only file that imports music21.

Repeats are left as they are written, unexpanded. Ties are joined, grace notes dropped.
"""

import re
import warnings
import xml.etree.ElementTree as ElementTree
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from accompgen.data.synthetic.score import ScoreError

SUFFIXES = (".mxl", ".musicxml", ".xml")
SAME_TIME = 1e-4  # quarter notes; tuplets are fractions of them
HARMONY = "chord symbol "  # before the number of one in the text that music21 is given
LASTING = "p+|mp|mf|f+"  # dynamics that hold until the next one; sf and fp do not
LOUDNESS = 0.5  # of 0 to 1 where no dynamic stands, between mezzo piano and mezzo forte


class WrittenNote(NamedTuple):
    start: float  # quarter notes from the start of the score
    end: float
    pitch: int  # MIDI number
    velocity: int


class Bar(NamedTuple):
    number: str  # as printed
    start: float
    length: float  # as filled, in quarter notes
    metre: str  # as written, such as 2/2
    full: float  # length that the metre asks for


class Symbol(NamedTuple):
    """A chord symbol; degrees are (add, alter or subtract; number; semitones)."""

    time: float
    bar: str
    root: str  # such as Bb; "" where the kind is none
    kind: str
    text: str  # as printed, where that is told
    bass: str  # "" where it is the root
    degrees: tuple[tuple[str, int, int], ...]


class Tempo(NamedTuple):
    time: float
    quarters_per_minute: float
    bar: str


class Staff(NamedTuple):
    part: str  # id of the part it belongs to
    name: str  # of that part, as printed
    syllables: int  # notes with lyrics
    notes: tuple[WrittenNote, ...]  # by start


@dataclass(frozen=True)
class Written:
    """What a score says. `words`, the texts at its first staff, are (time, text), `fifths` (time,
    sharps of the key signature).
    """

    bars: tuple[Bar, ...]
    staves: tuple[Staff, ...]
    symbols: tuple[Symbol, ...]
    tempi: tuple[Tempo, ...]
    words: tuple[tuple[float, str], ...]
    fifths: tuple[tuple[float, int], ...]


def read(path) -> Written:
    """Read a MusicXML file, compressed (.mxl) or not.

    Raises: ScoreError for a file that is no score, for a tempo that is no number above 0 and for a
        chord symbol without root or kind; FileNotFoundError; ImportError without music21.
    """
    path = Path(path)
    root = _root(path)
    _check(root, path)
    harmonies = _lift_harmonies(root)
    score = _parse(ElementTree.tostring(root), path)
    staves = [list(part.getElementsByClass("Measure")) for part in score.parts]
    if not staves or not all(staves):
        raise ScoreError(f"{path}: it has no bars; expected a score with at least one part")
    if len({len(measures) for measures in staves}) > 1:
        counts = ", ".join(str(len(measures)) for measures in staves)
        raise ScoreError(f"{path}: its parts have {counts} bars; give every part the same number")
    bars = _master_bars(staves, path)
    texts = [_found(measures, bars, "TextExpression") for measures in staves]
    symbols = [
        _symbol(harmonies[int(text.content.removeprefix(HARMONY))], time, bar, path)
        for time, bar, text in sum(texts, [])
        if text.content.startswith(HARMONY)
    ]
    words = ((time, t.content) for time, _, t in texts[0] if not t.content.startswith(HARMONY))
    marks = [mark for measures in staves for mark in _found(measures, bars, "MetronomeMark")]
    tempi = {_tempo(mark, time, bar, path) for time, bar, mark in marks} - {None}
    signatures = _found(staves[0], bars, "KeySignature")
    return Written(
        bars=bars,
        staves=_staves(score.parts, staves, bars),
        symbols=tuple(sorted(symbols, key=lambda symbol: symbol.time)),
        tempi=tuple(sorted(tempi)),
        words=tuple(words),
        fifths=tuple((time, signature.sharps) for time, _, signature in signatures),
    )


def _root(path):
    """The root of a file's XML. A container's index is not asked: some break at an ampersand."""
    text = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if not n.startswith("META-INF")]
            names = [n for n in names if n.endswith(SUFFIXES)]
            if not names:
                raise ScoreError(f"{path}: no score in this container; expected a .xml file inside")
            text = archive.read(names[0])
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ScoreError(f"{path}: no well-formed XML ({error}); export the score again") from error
    if root.tag != "score-partwise":
        raise ScoreError(f"{path}: <{root.tag}>, expected <score-partwise>; export it as MusicXML")
    return root


def _check(root, path):
    """Refuse, with the bar, a tempo that music21 passes over and a symbol that it fails at."""
    for measure in root.iter("measure"):
        where = f"{path}, bar {measure.get('number')}"
        for sound in measure.iter("sound"):
            tempo = sound.get("tempo", "1")
            if not _above_zero(tempo):
                raise ScoreError(
                    f"{where}: a tempo of {tempo}; write quarter notes a minute, above 0"
                )
        for harmony in measure.iter("harmony"):
            kind = harmony.findtext("kind")
            if kind is None or (kind != "none" and harmony.find("root/root-step") is None):
                raise ScoreError(
                    f"{where}: a chord symbol without root or kind; write both, or N.C."
                )


def _above_zero(number):
    try:
        return float(number) > 0
    except ValueError:
        return False


def _lift_harmonies(root):
    """Put a numbered text in the place of every chord symbol -> the symbols.

    music21 then says where each one stands and leaves it at that: realising the notes of a symbol
    takes it 35 ms, and it reads an added seventh as a major one where MusicXML means a minor one.
    """
    lifted = []
    for parent in list(root.iter()):
        for place, child in enumerate(parent):
            if child.tag == "harmony":
                text = ElementTree.Element("direction")
                kind = ElementTree.SubElement(text, "direction-type")
                ElementTree.SubElement(kind, "words").text = f"{HARMONY}{len(lifted)}"
                text.extend(child.findall("offset"))
                lifted.append(child)
                parent[place] = text
    return lifted


def _parse(text, path):
    try:
        from music21 import converter
    except ImportError as error:
        raise ImportError("MusicXML is read by music21: pip install 'accompgen[train]'") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about layout and spelling
            return converter.parseData(text, format="musicxml")
    except Exception as error:  # music21 raises whatever its parts raise, RecursionError among them
        raise ScoreError(
            f"{path}: music21 cannot read it ({type(error).__name__}: {error}); "
            "open it in a notation program, mend what it complains of and export it again"
        ) from error


def _master_bars(staves, path):
    """One timeline for all staves: a bar is as long as in its longest staff."""
    bars, start, metre, full = [], 0.0, "", 0.0
    for measures in zip(*staves, strict=True):
        signature = next((m.timeSignature for m in measures if m.timeSignature), None)
        if signature is not None:
            metre, full = signature.ratioString, float(signature.barDuration.quarterLength)
        if not metre:
            # bars of three quarter notes may be 3/4 or 6/8
            raise ScoreError(f"{path}, bar 1: no time signature; write the metre")
        length = max(float(m.highestTime) for m in measures)
        if length < SAME_TIME or abs(length - full) < SAME_TIME:
            length = full
        bars.append(Bar(str(measures[0].measureNumberWithSuffix()), start, length, metre, full))
        start += length
    return tuple(bars)


def _found(measures, bars, kind):
    """(time in quarter notes, bar, element) of everything of a class in a staff and its voices."""
    found = []
    for bar, measure in zip(bars, measures, strict=True):
        for holder in (measure, *measure.voices):
            begin = bar.start + (0.0 if holder is measure else float(holder.offset))
            elements = holder.getElementsByClass(kind)
            found += [(begin + float(element.offset), bar, element) for element in elements]
    return found


def _staves(streams, staves, bars):
    """Staves with their notes; a dynamic counts for all staves of its part."""
    parts = [str(stream.id).partition("-Staff")[0] for stream in streams]
    loudness = {part: [] for part in parts}
    for part, measures in zip(parts, staves, strict=True):
        for time, _, mark in _found(measures, bars, "Dynamic"):
            if re.fullmatch(LASTING, mark.value):
                loudness[part].append((time, mark.volumeScalar))
    result = []
    for stream, part, measures in zip(streams, parts, staves, strict=True):
        notes, syllables = _notes(_found(measures, bars, "NotRest"), sorted(loudness[part]))
        name = " ".join((stream.partName or "").split())
        result.append(Staff(part, name, syllables, tuple(sorted(notes))))
    return tuple(result)


def _notes(elements, loudness):
    """The sounding notes of a staff with ties joined, and how many of them carry a syllable."""
    notes, open_ties, syllables = [], {}, 0
    for time, _, element in sorted(elements, key=lambda found: found[0]):
        if element.duration.isGrace or element.quarterLength <= 0:
            continue
        syllables += bool(element.lyrics)
        end = time + float(element.quarterLength)
        for single in getattr(element, "notes", (element,)):
            if not hasattr(single, "pitch"):
                continue  # percussion
            pitch, tie = single.pitch.midi, single.tie.type if single.tie else ""
            tied = tie in ("stop", "continue")
            index = open_ties.pop((pitch, round(time, 3)), None) if tied else None
            if index is None:
                index = len(notes)
                notes.append(WrittenNote(time, end, pitch, _velocity(loudness, time)))
            else:
                notes[index] = notes[index]._replace(end=end)
            if tie in ("start", "continue"):
                open_ties[pitch, round(end, 3)] = index
    return notes, syllables


def _velocity(loudness, time):
    """MIDI velocity by the last dynamic that stands at or before a time: 40 to 110."""
    standing = [scalar for when, scalar in loudness if when <= time + SAME_TIME]
    return round(40 + 70 * (standing[-1] if standing else LOUDNESS))


def _symbol(harmony, time, bar, path):
    kind = harmony.find("kind")
    name, text = (kind.text or "").strip(), kind.get("text", "")
    if name == "none":
        return Symbol(time, bar.number, "", name, text, "", ())
    root, bass = _note_name(harmony.find("root"), "root"), _note_name(harmony.find("bass"), "bass")
    tags = ("degree-type", "degree-value", "degree-alter")
    degrees = [[found.findtext(tag) for tag in tags] for found in harmony.findall("degree")]
    try:
        degrees = tuple((change, int(value), int(float(by or 0))) for change, value, by in degrees)
    except (TypeError, ValueError) as error:
        raise ScoreError(
            f"{path}, bar {bar.number}: the degrees of the chord symbol {root}{text} are no "
            f"numbers ({error}); write them again"
        ) from error
    return Symbol(time, bar.number, root, name, text, bass if bass != root else "", degrees)


def _note_name(element, which):
    """`Bb` for a step and its alteration; "" where there is no such element."""
    if element is None:
        return ""
    alter = round(float(element.findtext(f"{which}-alter") or 0))
    return element.findtext(f"{which}-step").strip() + ("#" * alter if alter > 0 else "b" * -alter)


def _tempo(mark, time, bar, path):
    """The tempo of a metronome mark, None where it is a text without a number."""
    number = mark.numberSounding if mark.number is None else mark.number
    if number is None:
        return None
    if not number > 0:
        raise ScoreError(f"{path}, bar {bar.number}: a tempo of {number}; write one above 0")
    return Tempo(time, float(mark.getQuarterBPM()), bar.number)
