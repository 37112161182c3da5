"""Labels of keys and chords as people write them -> one spelling of each, that of Harte et al.
(ISMIR 2005).

`A minor`, `Am` and `a:min` are the key `A:min`; `Am7`, `A-7` and `A:min7` the chord `A:min7`. What
a chord label means, mir_eval says: a chord symbol is only spelled as the label that its grammar
reads.
"""

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np

LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
# of a scale, by semitones above its first
DEGREES = ("1", "b2", "2", "b3", "3", "4", "b5", "5", "b6", "6", "b7", "7")
NO_CHORD = ("N", "X")
# shorthands that mir_eval's grammar reads and its table of qualities lacks, spelled out
SPELLED_OUT = {"aug7": "aug(b7)", "maj11": "maj9(11)"}
# modes by the first three letters of their names; ionian is major, aeolian minor
MODES = {
    "maj": "maj", "min": "min", "dor": "dor", "phr": "phr", "lyd": "lyd", "mix": "mix",
    "loc": "loc", "ion": "maj", "aeo": "min",
}  # fmt: skip
MODE_NAMES = tuple("major minor dorian phrygian lydian mixolydian locrian ionian aeolian".split())
# how chord symbols name qualities -> Harte's shorthand, and degrees that it lacks
QUALITIES = {
    "": ("maj", ()), "M": ("maj", ()), "maj": ("maj", ()), "major": ("maj", ()), "ma": ("maj", ()),
    "m": ("min", ()), "min": ("min", ()), "minor": ("min", ()), "mi": ("min", ()), "-": ("min", ()),
    "7": ("7", ()), "dom7": ("7", ()), "dom": ("7", ()),
    "maj7": ("maj7", ()), "M7": ("maj7", ()), "ma7": ("maj7", ()), "j7": ("maj7", ()),
    "m7": ("min7", ()), "min7": ("min7", ()), "mi7": ("min7", ()), "-7": ("min7", ()),
    "mM7": ("minmaj7", ()), "mmaj7": ("minmaj7", ()), "minmaj7": ("minmaj7", ()),
    "m(maj7)": ("minmaj7", ()),
    "-maj7": ("minmaj7", ()), "-M7": ("minmaj7", ()),
    "6": ("maj6", ()), "M6": ("maj6", ()), "maj6": ("maj6", ()),
    "m6": ("min6", ()), "min6": ("min6", ()), "-6": ("min6", ()),
    "69": ("maj6", ("9",)), "6/9": ("maj6", ("9",)), "m69": ("min6", ("9",)),
    "m6/9": ("min6", ("9",)),
    "9": ("9", ()), "maj9": ("maj9", ()), "M9": ("maj9", ()), "m9": ("min9", ()),
    "min9": ("min9", ()), "-9": ("min9", ()),
    "11": ("11", ()), "maj11": ("maj11", ()), "M11": ("maj11", ()), "m11": ("min11", ()),
    "min11": ("min11", ()),
    "13": ("13", ()), "maj13": ("maj13", ()), "M13": ("maj13", ()), "m13": ("min13", ()),
    "min13": ("min13", ()),
    "dim": ("dim", ()), "o": ("dim", ()), "dim7": ("dim7", ()), "o7": ("dim7", ()),
    "ø": ("hdim7", ()), "ø7": ("hdim7", ()), "hdim7": ("hdim7", ()), "hdim": ("hdim7", ()),
    "m7b5": ("hdim7", ()), "min7b5": ("hdim7", ()), "-7b5": ("hdim7", ()), "m7(b5)": ("hdim7", ()),
    "aug": ("aug", ()), "+": ("aug", ()), "aug7": ("aug", ("b7",)), "+7": ("aug", ("b7",)),
    "sus": ("sus4", ()), "sus4": ("sus4", ()), "sus2": ("sus2", ()), "7sus": ("sus4", ("b7",)),
    "7sus4": ("sus4", ("b7",)),
    "7sus2": ("sus2", ("b7",)), "9sus": ("sus4", ("b7", "9")), "9sus4": ("sus4", ("b7", "9")),
    "13sus4": ("sus4", ("b7", "9", "13")), "13sus": ("sus4", ("b7", "9", "13")),
    "5": ("5", ()), "2": ("maj", ("9",)), "4": ("maj", ("11",)), "m2": ("min", ("9",)),
}  # fmt: skip
# Harte's shorthands as lead sheets have them, where that is another word
SYMBOLS = {
    "maj": "", "min": "m", "min7": "m7", "minmaj7": "mM7", "maj6": "6", "min6": "m6",
    "min9": "m9", "min11": "m11", "min13": "m13", "hdim7": "m7b5", "maj(9)": "add9",
    "min(9)": "madd9", "sus4(b7)": "7sus4", "sus2(b7)": "7sus2", "aug(b7)": "aug7",
}  # fmt: skip
ASCII = {"♯": "#", "♭": "b", "Δ": "maj7", "△": "maj7", "°": "o", "–": "-", "−": "-"}
_SYMBOL = re.compile(r"([A-G][#b]*)(.*?)(?:/([A-G][#b]*|[#b]*\d+))?")
_CHANGE = re.compile(r"(add|no|omit)?([#b]*)(\d+)")


class LabelError(ValueError):
    """A key or a chord that cannot be read; the message says what was found and what is
    expected."""


class Harmony(NamedTuple):
    """The tones of a chord: pitch classes with C = 0, intervals in semitones above the root, 0 to
    11."""

    root: int
    bass: int
    intervals: tuple[int, ...]

    @property
    def pitch_classes(self):
        return tuple((self.root + interval) % 12 for interval in self.intervals)


def pitch_class(name: str) -> int:
    """0 to 11 of a note name such as F# or Bb; LabelError for anything else."""
    if name[:1] not in LETTERS or name[1:].strip("#b"):
        raise LabelError(
            f"{name!r} is no note name; expected a letter A to G with # or b behind it"
        )
    return (LETTERS[name[0]] + name.count("#") - name.count("b")) % 12


def read_key(text: str) -> str:
    """A key as `A:min`, `Bb:maj`, `D:dor`, from spellings such as `A minor`, `Am`, `Bb`, `c# min`,
    `D dorian`, `F sharp major`.

    Raises LabelError for anything else, a small letter alone among them: `a` is A major to some
    and A minor to others.
    """
    plain = _plain(text)
    found = re.fullmatch(
        r"([A-Ga-g])(#{1,2}|b{1,2}|[ -]?[Ff]lat|[ -]?[Ss]harp)?[ :_-]*([A-Za-z]*)", plain
    )
    mode = found and _mode(found[3], found[1])
    if mode is None:
        raise LabelError(
            f"key {text!r} cannot be read; expected a tonic and a mode, such as 'A minor', 'Am' or 'A:min'"
        )
    sign = (found[2] or "").lower().lstrip(" -").replace("flat", "b").replace("sharp", "#")
    return f"{found[1].upper()}{sign}:{mode}"


def _mode(word, letter):
    """The mode of a key by its name or its short form; None for what is neither."""
    if word == "":
        return "maj" if letter.isupper() else None
    if word in ("m", "M"):
        return "min" if word == "m" else "maj"
    long = len(word) >= 3 and any(name.startswith(word.lower()) for name in MODE_NAMES)
    return MODES[word[:3].lower()] if long else None


def _plain(text):
    """A label with signs of ASCII."""
    if not isinstance(text, str):
        raise LabelError(f"{text!r} cannot be read; expected a text such as 'A minor' or 'Am7'")
    for sign, plain in ASCII.items():
        text = text.replace(sign, plain)
    return text.strip().replace("maj77", "maj7")


@lru_cache(maxsize=4096)
def read_chord(text: str) -> str:
    """A chord as mir_eval's grammar has it, `root:quality(degrees)/bass`, or N, from labels and
    from chord symbols.

    Labels of that grammar are returned as they are. Symbols are those of lead sheets, such as
    `Am`, `F#m7`, `Bbmaj7`, `G7sus4`, `Cadd9`, `D7(b9)`, `Bm7b5`, `C/E`; `N.C.` and nothing at all
    are N.

    Raises LabelError for anything else, ImportError without mir_eval.
    """
    label = _plain(text)
    if label.upper().replace(".", "").replace(" ", "") in ("", "NC", "N", "NOCHORD"):
        return "N"
    if not _is_label(label):
        label = _spell(label, text)
    harmony(label)
    return label


@lru_cache(maxsize=4096)
def chord_symbol(label: str) -> str:
    """A chord label as lead sheets write it, such as `Am7` or `C/E`, where `read_chord` reads the
    label from it again; else the label itself, such as `D:maj(*5)`.

    A root alone stands for its major chord, `C` for `C:maj`.
    """
    upper, _, bass = label.partition("/")
    root, _, quality = upper.partition(":")
    if bass in DEGREES and quality:
        bass = _note_above(root, bass)
    symbol = f"{root}{SYMBOLS.get(quality, quality)}" + (f"/{bass}" if bass else "")
    try:
        return symbol if quality and full_label(read_chord(symbol)) == label else label
    except LabelError:
        return label


def _note_above(root, degree):
    """The note of a degree above a root, spelled by its letter: the b3 of A is C, that of F# is A."""
    steps = int(degree.strip("#b")) - 1
    letter = "CDEFGAB"[("CDEFGAB".index(root[0]) + steps) % 7]
    semitones = (pitch_class(root) + DEGREES.index(degree) - LETTERS[letter] + 6) % 12 - 6
    return letter + ("#" * semitones if semitones > 0 else "b" * -semitones)


def full_label(label: str) -> str:
    """A label that names its quality: `C` and `C/3` are `C:maj` and `C:maj/3`, others stay."""
    if label in NO_CHORD or ":" in label:
        return label
    root, slash, bass = label.partition("/")
    return f"{root}:maj{slash}{bass}"


def _is_label(label):
    chord = _mir_eval_chord()
    try:
        chord.validate_chord_label(label)
    except chord.InvalidChordException:
        return False
    return True


def _spell(symbol, text):
    """The label of a chord symbol."""
    found = _SYMBOL.fullmatch(symbol.replace(" ", ""))
    # a six-nine chord has a slash of its own
    if found and found[3] == "9" and found[2].endswith("6"):
        root, rest, bass = found[1], f"{found[2]}/9", None
    elif found:
        root, rest, bass = found.groups()
    else:
        raise _unreadable(text)
    rest = rest.removeprefix(":")
    heads = [
        name
        for name in QUALITIES
        if rest.startswith(name) and _changes(rest[len(name) :]) is not None
    ]
    head = max(heads, key=len, default=None)
    if head is None:
        raise _unreadable(text)
    shorthand, degrees = QUALITIES[head]
    degrees = [*degrees, *_changes(rest[len(head) :])]
    if bass and bass[0] in LETTERS:
        bass = DEGREES[(pitch_class(bass) - pitch_class(root)) % 12]
    extras = f"({','.join(dict.fromkeys(degrees))})" if degrees else ""
    return f"{root}:{shorthand}{extras}" + (f"/{bass}" if bass and bass != "1" else "")


def _changes(text):
    """What stands behind a quality, `b9`, `(#11)`, `add9`, `no3`, as Harte's degrees; None where
    it is something else."""
    changes = []
    for part in re.split(r"[(),]", text):
        place = 0
        while place < len(part):
            found = _CHANGE.match(part, place)
            word, sign, degree = found.groups() if found else ("", "", "0")
            if not 2 <= int(degree) <= 13:
                return None
            if word in ("no", "omit"):
                changes.append(f"*{sign}{degree}")
            elif degree == "5" and sign:  # an altered fifth takes the place of the fifth
                changes += ["*5", f"{sign}5"]
            elif sign or word:
                changes.append(f"{sign}{'9' if degree == '2' else degree}")
            else:
                changes.append(degree)
            place = found.end()
    return changes


def _unreadable(text):
    return LabelError(
        f"chord {text!r} cannot be read; expected a symbol such as Am7 or F#m7b5/E, or root:quality/bass such as C:min7 or "
        "Bb:maj/3, or N"
    )


@lru_cache(maxsize=4096)
def harmony(label: str) -> Harmony | None:
    """The tones that a chord label stands for, None for no chord (`N`) and an unknown one (`X`).

    Labels are read as mir_eval reads them, where ninths to thirteenths are tones of their own.
    Other than in mir_eval the bass is no tone of the chord unless its quality has it, and `aug7`
    and `maj11` are read.

    Returns: Harmony, its intervals sorted. Raises: LabelError for a label that cannot be read.
    """
    if label in NO_CHORD:
        return None
    chord = _mir_eval_chord()
    upper, _, degree = label.partition("/")
    root, _, quality = upper.partition(":")
    shorthand, bracket, degrees = quality.partition("(")
    try:
        chord.validate_chord_label(label)
        if shorthand in SPELLED_OUT:
            spelled = SPELLED_OUT[shorthand]
            upper = f"{root}:{spelled[:-1]},{degrees}" if bracket else f"{root}:{spelled}"
        root, bitmap, _ = chord.encode(upper, reduce_extended_chords=True)
        bass = (root + chord.scale_degree_to_semitone(degree or "1")) % 12
    except chord.InvalidChordException as error:
        raise LabelError(
            f"chord {label!r} cannot be read ({error}); "
            "expected root:quality/bass such as C:min7 or Bb:maj/3, or N"
        ) from error
    return Harmony(root, bass, tuple(int(step) for step in np.flatnonzero(bitmap)))


def _mir_eval_chord():
    try:
        import mir_eval.chord
    except ImportError as error:
        raise ImportError("chord labels need mir_eval: pip install 'accompgen[eval]'") from error
    return mir_eval.chord
