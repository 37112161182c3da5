"""The beats and bars of a file that has bars from its very beginning, as MIDI has, whatever the
song begins with.

Without a count-in the file begins where the song does, so that both are put at the same place. What
the song has before its first beat is a beat of its own there, as long as it takes. With a count-in
whole bars of clicks come before the bar in which the song has its first beat, and the song begins
`offset` seconds after the file.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from accompgen.chart import PACE_BEATS, ChartError, pace

TICKS = 480  # of a beat, which is a quarter note here
FASTEST_STEP = (
    0.0625  # seconds of a quarter note: 960 a minute, about the most that sequencers play
)
MOST_COUNT_IN = 16  # bars


class GridBeat(NamedTuple):
    """A beat: seconds of the song (below 0 in a count-in), place in the bar (0: what comes before
    the first beat), ticks."""

    seconds: float
    place: int
    ticks: int


class GridBar(NamedTuple):
    """A bar: the tick where it begins, its signature, and its number in the song (None in a
    count-in)."""

    tick: int
    numerator: int
    denominator: int
    number: int | None


@dataclass(frozen=True)
class Grid:
    """Beats and bars of a file, and where it ends, in seconds of the song."""

    beats: tuple[GridBeat, ...]
    bars: tuple[GridBar, ...]
    seconds: float

    @property
    def offset(self) -> float:
        """Seconds of the file before the song begins."""
        return max(0.0, -self.beats[0].seconds)

    @cached_property
    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Seconds of the song and ticks of each beat [n + 1], of the end of the last one behind
        them."""
        times = [beat.seconds for beat in self.beats]
        last = (
            pace(times[-PACE_BEATS - 1 :]) * self.beats[-1].ticks / TICKS
            if len(times) > 1
            else self.seconds - times[0]
        )
        ticks = np.cumsum([0] + [beat.ticks for beat in self.beats])
        return np.array([*times, times[-1] + last]), ticks

    def tick(self, seconds: float) -> int:
        """The tick of a time of the song."""
        times, ticks = self.edges
        return round(float(np.interp(seconds, times, ticks)))


def grid_of(chart, count_in: int = 0) -> Grid:
    """The grid of a chart and so many bars of count-in.

    Raises ChartError with fewer than two beats and for another number of bars than 0 to 16.
    """
    if not 0 <= count_in <= MOST_COUNT_IN:
        raise ChartError(f"a count-in of {count_in} bars; expected 0 to {MOST_COUNT_IN}")
    song = [GridBeat(time, place, TICKS) for time, place in chart.continued().beats]
    numbers = [bar.number for bar in chart.bars()]
    if count_in:
        before = _count_in(song, chart, count_in)
        numbers = [None] * count_in + numbers
    else:
        song, before = _lead_in(song)
        if before and song[0].place == 1:
            numbers = [0, *numbers]
    beats = (*before, *song)
    return Grid(beats, _bars(beats, numbers), chart.seconds)


def _count_in(song, chart, bars):
    """The beats of whole bars before the bar of the first beat, and those that this bar has before
    it."""
    # a short song has one beat within itself, and its chart has two
    step = pace([time for time, _ in chart.beats[: PACE_BEATS + 1]])
    places = [*range(1, chart.metre + 1)] * bars + [*range(1, song[0].place)]
    first = song[0].seconds - len(places) * step
    return [GridBeat(first + number * step, place, TICKS) for number, place in enumerate(places)]


def _lead_in(song):
    """The song's beats, and what comes before the first of them.

    It is a quarter note, or an eighth or sixteenth where a quarter would be too fast for
    sequencers. What is too short for a sixteenth, 16 ms, joins the first beat.
    """
    first = song[0].seconds
    ticks = next(
        (part for part in (TICKS, TICKS // 2, TICKS // 4) if first * TICKS / part >= FASTEST_STEP),
        None,
    )
    if ticks is None:
        return [song[0]._replace(seconds=0.0), *song[1:]], []
    return song, [GridBeat(0.0, 0, ticks)]


def _bars(beats, numbers):
    """The bars that beats make; the last one, which the song may break off, has the signature of
    the one before it."""
    starts = [index for index, beat in enumerate(beats) if beat.place == 1 or not index]
    ticks = np.cumsum([0] + [beat.ticks for beat in beats])
    bars = []
    for start, end, number in zip(starts, [*starts[1:], len(beats)], numbers, strict=True):
        unit = min(beat.ticks for beat in beats[start:end])
        signature = (int(ticks[end] - ticks[start]) // unit, 4 * TICKS // unit)
        if bars and end == len(beats) and signature[0] < bars[-1].numerator:
            signature = bars[-1][1:3]
        bars.append(GridBar(int(ticks[start]), *signature, number))
    return tuple(bars)
