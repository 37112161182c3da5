"""A MusicXML file -> `Written`, what stands in it in quarter notes; the only file that imports music21.

Repeats are left as they are written, unexpanded. Ties are joined, grace notes dropped.
"""

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
    """A chord symbol as MusicXML has it; degrees are (add | subtract | alter, degree, semitones)."""

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
    """What a score says. `words` are the texts at its first staff as (time, text), `fifths` as (time, sharps)."""

    bars: tuple[Bar, ...]
    staves: tuple[Staff, ...]
    symbols: tuple[Symbol, ...]
    tempi: tuple[Tempo, ...]
    words: tuple[tuple[float, str], ...]
    fifths: tuple[tuple[float, int], ...]


def read(path) -> Written:
    """Read a MusicXML file, compressed (.mxl) or not.

    Raises: ScoreError where the file cannot be read, has no bars, a tempo that is no number above 0 or a chord symbol
        without a root; FileNotFoundError; ImportError without music21.
    """
    path = Path(path)
    root = _root(path)
    _check(root, path)
    harmonies = _lift_harmonies(root)
    score = _parse(ElementTree.tostring(root), path)
    staves = [_bars_of(part) for part in score.parts]
    if not staves or not all(staves):
        raise ScoreError(f"{path}: it has no bars; expected a score with at least one part")
    if len({len(bars) for bars in staves}) > 1:
        counts = ", ".join(str(len(bars)) for bars in staves)
        raise ScoreError(f"{path}: its parts have {counts} bars; give every part the same number")
    bars = _master_bars(staves)
    symbols, marks, words, fifths = [], [], [], []
    for staff in staves:
        for bar, measure in zip(bars, staff, strict=True):
            for time, found in _elements(measure, bar, "TextExpression"):
                if found.content.startswith(HARMONY):
                    symbols.append(
                        _symbol(harmonies[int(found.content[len(HARMONY) :])], time, bar)
                    )
                elif staff is staves[0]:
                    words.append((time, found.content))
            marks += [
                _tempo(found, time, bar, path)
                for time, found in _elements(measure, bar, "MetronomeMark")
            ]
            if staff is staves[0]:
                fifths += [
                    (time, found.sharps) for time, found in _elements(measure, bar, "KeySignature")
                ]
    tempi = sorted({mark for mark in marks if mark})
    return Written(
        bars,
        _staves(score.parts, staves, bars),
        tuple(sorted(symbols, key=lambda s: s.time)),
        tuple(tempi),
        tuple(words),
        tuple(fifths),
    )


def _root(path):
    """The root of a file's XML. A container's index is not asked: some break at an ampersand in the title."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [
                n
                for n in archive.namelist()
                if not n.startswith("META-INF") and n.endswith(SUFFIXES)
            ]
            if not names:
                raise ScoreError(
                    f"{path}: no score in this container; expected a .xml or .musicxml file inside"
                )
            text = archive.read(names[0])
    else:
        text = path.read_bytes()
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ScoreError(
            f"{path}: not well-formed XML ({error}); export the score again"
        ) from error
    if root.tag not in ("score-partwise", "score-timewise"):
        raise ScoreError(
            f"{path}: its root is <{root.tag}>, expected <score-partwise>: export it as MusicXML"
        )
    return root


def _check(root, path):
    """Refuse, with the bar, a tempo that is no number above 0, which music21 passes over, and a chord without a root."""
    for measure in root.iter("measure"):
        where = f"{path}, bar {measure.get('number')}"
        for sound in measure.iter("sound"):
            if (tempo := sound.get("tempo")) is not None and not _above_zero(tempo):
                raise ScoreError(
                    f"{where}: a tempo of {tempo}; write one above 0 quarter notes a minute"
                )
        for harmony in measure.iter("harmony"):
            if harmony.find("root/root-step") is None and harmony.findtext("kind") != "none":
                raise ScoreError(
                    f"{where}: a chord symbol without a root; write the chord, or N.C. for none"
                )


def _lift_harmonies(root):
    """Put a numbered text in the place of every chord symbol -> the symbols.

    music21 then says where each one stands and leaves it at that: realising the notes of a symbol takes it 35 ms, and
    it reads an added seventh as a major one where MusicXML means a minor one.
    """
    lifted = []
    for parent in list(root.iter()):
        for place, child in enumerate(parent):
            if child.tag == "harmony":
                text = ElementTree.Element("direction")
                words = ElementTree.SubElement(
                    ElementTree.SubElement(text, "direction-type"), "words"
                )
                words.text = f"{HARMONY}{len(lifted)}"
                text.extend(child.findall("offset"))
                lifted.append(child)
                parent[place] = text
    return lifted


def _above_zero(number):
    try:
        return float(number) > 0
    except ValueError:
        return False


def _parse(text, path):
    try:
        from music21 import converter
    except ImportError as error:
        raise ImportError(
            "reading MusicXML needs music21: pip install 'accompgen[train]'"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about layout and spelling
            return converter.parseData(text, format="musicxml")
    except Exception as error:  # music21 raises whatever its parts raise, RecursionError among them
        raise ScoreError(
            f"{path}: music21 cannot read it ({type(error).__name__}: {error}); "
            "open it in a notation program, mend what it complains of and export it again"
        ) from error


def _bars_of(part):
    return list(part.getElementsByClass("Measure"))


def _master_bars(staves):
    """One timeline for all staves: a bar is as long as its longest staff, so that a staff with a gap stays in step."""
    bars, start, metre, full = [], 0.0, "4/4", 4.0
    for measures in zip(*staves, strict=True):
        signature = next((m.timeSignature for m in measures if m.timeSignature), None)
        if signature is not None:
            metre, full = signature.ratioString, float(signature.barDuration.quarterLength)
        length = max(float(m.highestTime) for m in measures)
        if length < SAME_TIME or abs(length - full) < SAME_TIME:
            length = full
        bars.append(Bar(str(measures[0].measureNumberWithSuffix()), start, length, metre, full))
        start += length
    return tuple(bars)


def _elements(measure, bar, kind):
    """(time in quarter notes, element) of a bar and of its voices, of one class."""
    for holder in (measure, *measure.voices):
        offset = bar.start + (0.0 if holder is measure else float(holder.offset))
        for found in holder.getElementsByClass(kind):
            yield offset + float(found.offset), found


def _staves(streams, staves, bars):
    """Staves with their notes; a dynamic counts for all staves of its part."""
    parts = [str(stream.id).partition("-Staff")[0] for stream in streams]
    loudness = {}
    for part, staff in zip(parts, staves, strict=True):
        for bar, measure in zip(bars, staff, strict=True):
            for time, mark in _elements(measure, bar, "Dynamic"):
                if mark.volumeScalar is not None:
                    loudness.setdefault(part, []).append((time, mark.volumeScalar))
    found = []
    for stream, part, staff in zip(streams, parts, staves, strict=True):
        notes, syllables = _notes(staff, bars, sorted(loudness.get(part, ())))
        found.append(
            Staff(part, " ".join((stream.partName or "").split()), syllables, tuple(sorted(notes)))
        )
    return tuple(found)


def _notes(staff, bars, loudness):
    """The sounding notes of a staff with ties joined, and how many of them carry a syllable."""
    notes, open_ties, syllables = [], {}, 0
    for bar, measure in zip(bars, staff, strict=True):
        for time, found in sorted(_elements(measure, bar, "NotRest"), key=lambda pair: pair[0]):
            if "Harmony" in found.classes or found.duration.isGrace or found.quarterLength <= 0:
                continue
            syllables += bool(found.lyrics)
            end = time + float(found.quarterLength)
            velocity = _velocity(loudness, time)
            for single in getattr(found, "notes", (found,)):
                if not hasattr(single, "pitch"):
                    continue  # percussion
                pitch, tie = single.pitch.midi, single.tie.type if single.tie else None
                index = (
                    open_ties.pop((pitch, round(time, 3)), None)
                    if tie in ("stop", "continue")
                    else None
                )
                if index is None:
                    index = len(notes)
                    notes.append(WrittenNote(time, end, pitch, velocity))
                else:
                    notes[index] = notes[index]._replace(end=end)
                if tie in ("start", "continue"):
                    open_ties[pitch, round(end, 3)] = index
    return notes, syllables


def _velocity(loudness, time):
    """MIDI velocity by the last dynamic that stands at or before a time: 40 to 110."""
    standing = [scalar for when, scalar in loudness if when <= time + SAME_TIME]
    return round(40 + 70 * (standing[-1] if standing else LOUDNESS))


def _symbol(harmony, time, bar):
    kind = harmony.find("kind")
    name, text = (kind.text or "").strip(), kind.get("text", "")
    if name == "none":
        return Symbol(time, bar.number, "", name, text, "", ())
    degrees = tuple(
        (
            d.findtext("degree-type"),
            int(d.findtext("degree-value")),
            int(float(d.findtext("degree-alter") or 0)),
        )
        for d in harmony.findall("degree")
    )
    root, bass = _note_name(harmony.find("root"), "root"), _note_name(harmony.find("bass"), "bass")
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
