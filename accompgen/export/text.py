"""Lines of a text file of a chart, and numbers and labels in them, each fault with its place."""

import math
from pathlib import Path

from accompgen.analysis.labels import LabelError, full_label, read_chord
from accompgen.chart import ChartError
from accompgen.files import read_text, text_lines


def read_chart_text(path) -> str:
    """The text of a file. Raises ChartError for one that cannot be opened, files.TextError for one
    that is no text."""
    path = Path(path)
    try:
        return read_text(path)
    except FileNotFoundError as error:
        raise ChartError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise ChartError(f"{path}: a folder; give a text file") from error
    except OSError as error:
        raise ChartError(f"{path}: cannot be read: {error.strerror}") from error


def numbered_lines(text: str) -> list[tuple[int, str]]:
    """(number, line) of each line that is neither empty nor a comment, which begins with #."""
    lines = enumerate(text_lines(text), 1)
    return [
        (number, line)
        for number, line in lines
        if line.strip() and not line.lstrip().startswith("#")
    ]


def seconds_in(text: str, where: str) -> float:
    """A time in seconds. Raises ChartError, which says `where`, for anything else."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise ChartError(f"{where}: {text!r} is no time; expected seconds from 0 on, such as 12.34")
    return seconds


def chord_in(text: str, where: str) -> str:
    """A chord label with its quality. Raises ChartError, which says `where`, for what cannot be
    read."""
    try:
        return full_label(read_chord(text))
    except LabelError as error:
        raise ChartError(f"{where}: {error}") from error
