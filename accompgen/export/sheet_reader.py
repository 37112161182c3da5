"""The text of a chord sheet -> `sheet.Sheet`.

Bars stand between `|`, any number of them on a line; a text without `|` has a bar for each chord.
In a bar there is one chord, one sign a beat, or as many signs as divide its beats. Besides chords,
signs are

    . / -   the chord goes on                 ?       no chord is given here
    %       alone in a bar, the bar before it again; a bar left empty: its chord goes on
    |: :|   a repeat, played twice or, as in `:| x3`, so often; one at the end of the sheet goes
            on until the song ends

Comments begin with #; headings in [brackets] and times may stand before the first bar of a line. A
head may say `key:`, `tempo:`, `metre:` and `pickup:`.
"""

import re
from typing import NamedTuple

from accompgen.analysis.labels import LabelError, read_key
from accompgen.chart import FASTEST_BPM, SLOWEST_BPM, ChartError
from accompgen.export.beats import LONGEST_BAR
from accompgen.export.sheet import HELD, UNKNOWN, Sheet, SheetBar
from accompgen.export.text import chord_in, read_chart_text
from accompgen.files import text_lines

HELD_SIGNS = (".", "/", "-")
REPEAT_BAR = "%"
MOST_REPEATS = 100
HEADS = {
    "key": "key",
    "tempo": "bpm",
    "bpm": "bpm",
    "metre": "metre",
    "meter": "metre",
    "time": "metre",
    "pickup": "pickup",
}
_HEAD = re.compile(rf"\s*({'|'.join(HEADS)})\s*[:=]\s*(.+)", re.IGNORECASE)
_TIMES = re.compile(r"\s*(?:x\s*(\d+)|(\d+)\s*x)\s*", re.IGNORECASE)


OPEN = "|:"


class _Close(NamedTuple):
    """The end of a repeat: how often it is played (None: not said), and where it stands."""

    times: int | None
    where: str


def read_sheet(path) -> Sheet:
    """A chord sheet of a file. Raises ChartError, which names line and bar, for what cannot be
    read."""
    return parse_sheet(read_chart_text(path), str(path))


def parse_sheet(text: str, name: str, repeat: bool = False) -> Sheet:
    """A chord sheet of a text; errors name it `name`.

    Args:
        repeat: whether a sheet without any repeat goes on from its beginning until the song ends.

    Raises ChartError as `read_sheet`.
    """
    head, lines = {}, []
    for number, line in enumerate(text_lines(text), 1):
        line = re.sub(r"(^|\s)#.*", "", line)
        found = _HEAD.fullmatch(line)
        if found:
            field = HEADS[found[1].lower()]
            value = _head_value(field, found[2].strip(), f"{name}, line {number}")
            head |= {} if value is None else {field: value}
            continue
        line = re.sub(r"^\s*\[[^|\]]*\]", "", line)
        if line.strip():
            lines.append((number, line))
    begin = int(head.get("pickup", 0) > 0)
    marks = list(_marks(lines, name, begin))
    if not any(isinstance(mark, SheetBar) for mark in marks):
        raise ChartError(f"{name}: no bars; expected chords between |, such as | Am | F | C | G |")
    if repeat and len(marks) > begin and all(isinstance(mark, SheetBar) for mark in marks):
        marks.append(_Close(None, name))
    bars, repeat_from = _written_out(marks, begin)
    return Sheet(name, tuple(bars), repeat_from, **head)


def _head_value(field, text, where):
    """The value of a line of the head; None for a tempo that is only said to be about right."""
    if field == "key":
        try:
            return read_key(text)
        except LabelError as error:
            raise ChartError(f"{where}: {error}") from error
    if field == "bpm":
        found = re.fullmatch(r"(ca\.?|about|~)?\s*(\d+(?:\.\d+)?)\s*(?:bpm)?", text, re.IGNORECASE)
        if not found or not found[1] and not SLOWEST_BPM <= float(found[2]) <= FASTEST_BPM:
            raise ChartError(
                f"{where}: tempo {text!r}; "
                f"expected {SLOWEST_BPM:g} to {FASTEST_BPM:g} beats a minute"
            )
        return None if found[1] else float(found[2])
    found = re.fullmatch(r"(\d+)(?:/(?:2|4|8|16))?", text)
    if not found or not 1 <= int(found[1]) <= LONGEST_BAR:
        raise ChartError(
            f"{where}: {field} {text!r}; expected beats, 1 to {LONGEST_BAR}, such as 4 or 4/4"
        )
    return int(found[1])


def _marks(lines, name, pickup):
    """What stands on the lines, in order: a SheetBar, OPEN or a _Close."""
    bar, above = 1 - pickup, None
    for number, text, left, right in _cells(lines, name):
        where = f"{name}, line {number}"
        if left.startswith(":"):
            times = _TIMES.match(text)
            text = text[times.end() :] if times else text
            yield _Close(_times_played(times, where), where)
        if left.endswith(":"):
            yield OPEN
        # between two plain bar lines a bar may be left empty
        if text.strip() or left == right == "|":
            above = _bar(text.split(), f"{where}, bar {bar}", above)
            yield above
            bar += 1


def _cells(lines, name):
    """(number of the line, text, bar line before it, bar line behind it) of all that bar lines
    divide."""
    divided = any("|" in line for _, line in lines)
    for number, line in lines:
        if not divided:
            yield from ((number, chord, "", "") for chord in line.split())
            continue
        if "|" not in line:
            where = f"{name}, line {number}"
            raise ChartError(
                f"{where}: {line.strip()!r} has no bar lines; "
                "expected bars between |, or # before a comment"
            )
        first, *rest = re.split(r"(:?\|+:?)", line)
        # a time or a number may stand before the first bar line
        if not re.fullmatch(r"[\d:.\s]*", first) or not first.strip(" .\t"):
            yield number, first, "", rest[0]
        for left, text, right in zip(rest[0::2], rest[1::2], [*rest[2::2], ""]):
            yield number, text, re.sub(r"\|+", "|", left), re.sub(r"\|+", "|", right)


def _times_played(found, where):
    if not found:
        return None
    times = int(found[1] or found[2])
    if not 1 <= times <= MOST_REPEATS:
        raise ChartError(f"{where}: a repeat played {times} times; expected 1 to {MOST_REPEATS}")
    return times


def _bar(signs, where, above):
    """The bar of some signs, `above` the one before it."""
    if signs == [REPEAT_BAR]:
        if above is None:
            raise ChartError(f"{where}: {REPEAT_BAR} repeats the bar before it, and there is none")
        return SheetBar(above.signs, where)
    if REPEAT_BAR in signs:
        raise ChartError(
            f"{where}: {REPEAT_BAR} stands alone in its bar, and here is {' '.join(signs)!r}"
        )
    if not signs:
        return SheetBar((HELD,), where)
    return SheetBar(tuple(_sign(sign, where) for sign in signs), where)


def _sign(text, where):
    if text in HELD_SIGNS:
        return HELD
    return UNKNOWN if text == UNKNOWN else chord_in(text, where)


def _written_out(marks, begin):
    """The bars with repeats written out, and the first of those that a repeat at the end goes on
    with, or None."""
    bars = []
    for index, mark in enumerate(marks):
        if isinstance(mark, SheetBar):
            bars.append(mark)
        elif mark == OPEN:
            begin = len(bars)
        elif begin >= len(bars):
            raise ChartError(f"{mark.where}: :| with no bars to repeat")
        elif mark.times is None and index == len(marks) - 1:
            return bars, begin
        else:
            bars += bars[begin:] * ((mark.times or 2) - 1)
            begin = len(bars)
    return bars, None
