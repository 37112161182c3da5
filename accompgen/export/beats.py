"""Beats as a text file: `seconds` or `seconds<TAB>place in the bar` a line, as madmom and mir_eval
have them.

Read as well: what Sonic Visualiser (`seconds,label`) and Audacity (`start end label`) export, taps
among them.
"""

import re
from typing import NamedTuple

from accompgen.chart import FASTEST_BPM, ChartError
from accompgen.export.text import numbered_lines, read_chart_text, seconds_in

LONGEST_BAR = 32  # beats


class GivenBeats(NamedTuple):
    """Times of beats in seconds, and their places in the bar, None where the file has none; `name`
    is that of the file."""

    times: tuple[float, ...]
    places: tuple[int, ...] | None
    name: str


def write_beats(chart) -> str:
    """The beats of a chart, times to a microsecond."""
    return "".join(f"{time:.6f}\t{place}\n" for time, place in chart.beats)


def read_beats(path) -> GivenBeats:
    """The beats or taps of a file.

    A place may be written `3`, `3.0`, or `12.3` for beat 3 of bar 12. Labels without any number,
    such as `New Point`, are left out.

    Raises ChartError, which names the line, for what cannot be read, for times out of order or
    nearer than at 300 beats a minute, for places without a 1 in 32, and for fewer than two beats.
    """
    times, labels = [], []
    for number, line in numbered_lines(read_chart_text(path)):
        where = f"{path}, line {number}"
        fields = _fields(line)
        time = seconds_in(fields[0], where)
        if times and time - times[-1] < 60 / FASTEST_BPM - 1e-3:
            raise ChartError(
                f"{where}: {time:g} s is {time - times[-1]:.3f} s after the beat before it; "
                f"expected times in order, {60 / FASTEST_BPM:g} s apart or more "
                f"({FASTEST_BPM:g} beats a minute)"
            )
        times.append(time)
        labels.append((where, fields[1] if len(fields) > 1 else ""))
    if len(times) < 2:
        raise ChartError(
            f"{path}: {len(times)} beats; expected two or more, a time in seconds a line"
        )
    return GivenBeats(tuple(times), _places(labels), str(path))


def _fields(line):
    """[time] or [time, label] of a line."""
    fields = [field.strip().strip('"') for field in line.strip("\r\n ").split("\t")]
    # a label of Audacity lasts from a time to a time, the same one for a tap
    if len(fields) == 3 and re.fullmatch(r"[\d.]+", fields[1]):
        return [fields[0], fields[2]]
    return [field.strip('"') for field in re.split(r"[\t ,;]+", line.strip(), maxsplit=1)]


def _places(labels):
    """The place of each beat; None where no label has a number."""
    if not any(re.search(r"\d", label) for _, label in labels):
        return None
    places, length = [], 0
    for where, label in labels:
        found = re.fullmatch(r"(\d+)(?:\.(\d+))?", label)
        # 12.3: beat 3 of bar 12; 3.0 and 3.000: a place that was written as a decimal number
        place = int(found[2] if found[2] and int(found[2]) else found[1]) if found else 0
        if not 1 <= place <= LONGEST_BAR:
            raise ChartError(
                f"{where}: {label!r} is no place in the bar; "
                f"expected 1 to {LONGEST_BAR} behind each time, or behind none"
            )
        places.append(place)
        length = 1 if place == 1 else length + 1
        if length > LONGEST_BAR:
            raise ChartError(
                f"{where}: no bar begins here or in the {LONGEST_BAR} beats before; "
                "expected 1 as the place of beats that begin a bar"
            )
    return tuple(places)
