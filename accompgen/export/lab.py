"""Chords as a .lab file: `start<TAB>end<TAB>label` a line, as mir_eval, Sonic Visualiser and
Audacity read and write it."""

import re

from accompgen.chart import ChartError
from accompgen.export.text import chord_in, numbered_lines, read_chart_text, seconds_in

SLACK_SECONDS = 0.001  # times of three digits may overlap by so much


def write_lab(chart) -> str:
    """The chords of a chart, times to a microsecond."""
    return "".join(f"{start:.6f}\t{end:.6f}\t{label}\n" for start, end, label in chart.chords)


def read_lab(path) -> tuple[tuple[float, float, str], ...]:
    """(start, end, label) of each chord of a .lab file. Labels may be chord symbols; tabs, commas
    or blanks divide.

    Raises ChartError, which names the line, for what cannot be read and for chords out of order.
    """
    return parse_lab(read_chart_text(path), str(path))


def parse_lab(text: str, name: str) -> tuple[tuple[float, float, str], ...]:
    """`read_lab` of a text; errors name it `name`."""
    chords = []
    for number, line in numbered_lines(text):
        where = f"{name}, line {number}"
        fields = re.split(r"[\t ,;]+", line.strip(), maxsplit=2)
        if len(fields) < 3:
            raise ChartError(
                f"{where}: {line.strip()!r}; expected start, end and chord, such as 0.0 1.5 A:min"
            )
        start, end = (seconds_in(field, where) for field in fields[:2])
        if end <= start:
            raise ChartError(
                f"{where}: the chord ends at {end:g} s, not after its start at {start:g} s"
            )
        if chords and start < chords[-1][1]:
            if start < chords[-1][1] - SLACK_SECONDS:
                raise ChartError(
                    f"{where}: begins at {start:g} s, "
                    f"before the chord above it ends at {chords[-1][1]:g} s"
                )
            start = chords[-1][1]
        chords.append((start, end, chord_in(fields[2].strip().strip('"'), where)))
    if not chords:
        raise ChartError(
            f"{name}: no chords; expected lines of start, end and chord, such as 0.0 1.5 A:min"
        )
    return tuple(chords)


def is_lab(text: str) -> bool:
    """Whether the first line of a text, comments left out, begins with two times."""
    first = next((line for _, line in numbered_lines(text)), "")
    return (
        re.match(r"\s*[\d.eE+-]+[\t ,;]+[\d.eE+-]+[\t ,;]+\S", first) is not None
        and "|" not in first
    )
