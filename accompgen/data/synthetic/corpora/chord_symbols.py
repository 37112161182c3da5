"""Chord symbols of MusicXML -> this project's labels. Pure."""

from accompgen.analysis.labels import DEGREES, harmony, pitch_class
from accompgen.data.synthetic.score import ScoreError

# MusicXML's kind -> a shorthand of Harte's and the degrees above it. An eleventh is played without
# its third, and a thirteenth without its eleventh, as players do. The kinds behind the line are not
# MusicXML's, yet music21 writes them.
KINDS = {
    "major": ("maj", ()), "minor": ("min", ()), "augmented": ("aug", ()),
    "diminished": ("dim", ()), "dominant": ("7", ()), "major-seventh": ("maj7", ()),
    "minor-seventh": ("min7", ()), "diminished-seventh": ("dim7", ()),
    "augmented-seventh": ("aug", ("b7",)), "half-diminished": ("hdim7", ()),
    "major-minor": ("minmaj7", ()), "major-sixth": ("maj6", ()), "minor-sixth": ("min6", ()),
    "dominant-ninth": ("7", ("9",)), "major-ninth": ("maj7", ("9",)),
    "minor-ninth": ("min7", ("9",)), "dominant-11th": ("sus4", ("b7", "9")),
    "major-11th": ("maj7", ("9", "11")), "minor-11th": ("min7", ("9", "11")),
    "dominant-13th": ("7", ("9", "13")), "major-13th": ("maj7", ("9", "13")),
    "minor-13th": ("min7", ("9", "13")), "suspended-second": ("sus2", ()),
    "suspended-fourth": ("sus4", ()), "power": ("5", ()), "pedal": ("1", ()),
    # ----
    "minor-major": ("minmaj7", ()), "maj69": ("maj6", ("9",)),
    "augmented-ninth": ("aug", ("b7", "9")),
}  # fmt: skip
CHANGES = ("add", "alter", "subtract")
NINTHS = {"7": "9", "maj7": "maj9", "min7": "min9"}  # shorthands with the ninth inside


def label(symbol, path):
    """The label of a `musicxml.Symbol`, such as `Bb:7(b9)/3`; ScoreError where it has none."""
    if symbol.kind == "none":
        return "N"
    where = f"{path}, bar {symbol.bar}: the chord symbol {symbol.root}{symbol.text}"
    if symbol.kind not in KINDS:
        raise ScoreError(
            f"{where} is of the kind {symbol.kind!r}; write one that MusicXML knows, such as minor"
        )
    shorthand, degrees = KINDS[symbol.kind]
    degrees = list(degrees)
    for change, degree, semitones in symbol.degrees:
        if change not in CHANGES or not 1 <= degree <= 13 or abs(semitones) > 2:
            raise ScoreError(
                f"{where} has the degree {change} {degree} {semitones:+d}; write one from 1 to 13"
            )
        if change == "add":
            # counted as in a dominant chord, whose seventh is minor
            degrees.append(_degree(degree, semitones - (degree == 7)))
            continue
        above = next((name for name in degrees if name.lstrip("#b") == str(degree)), None)
        inside = above or _in_chord(shorthand, degree)
        if above:
            degrees.remove(above)
        else:
            degrees.append(f"*{inside}")
        if change == "alter":
            degrees.append(_degree(degree, semitones + inside.count("#") - inside.count("b")))
    if degrees and degrees[0] == "9" and shorthand in NINTHS:
        shorthand, degrees = NINTHS[shorthand], degrees[1:]
    extras = f"({','.join(degrees)})" if degrees else ""
    try:
        found = f"{symbol.root}:{shorthand}{extras}{_bass(symbol)}"
        harmony(found)
    except ValueError as error:
        raise ScoreError(f"{where} cannot be read: {error}") from error
    return found


def _degree(number, semitones):
    return ("#" * semitones if semitones > 0 else "b" * -semitones) + str(number)


def _in_chord(shorthand, number):
    """How a degree stands in a chord: the fifth of `dim` is b5."""
    flat = {
        3: ("min", "min7", "min6", "minmaj7", "dim", "dim7", "hdim7"),
        5: ("dim", "dim7", "hdim7"),
        7: ("7", "min7", "hdim7"),
    }
    if number == 5 and shorthand == "aug":
        return "#5"
    if number == 7 and shorthand == "dim7":
        return "bb7"
    return _degree(number, -(shorthand in flat.get(number, ())))


def _bass(symbol):
    if not symbol.bass:
        return ""
    return f"/{DEGREES[(pitch_class(symbol.bass) - pitch_class(symbol.root)) % 12]}"
