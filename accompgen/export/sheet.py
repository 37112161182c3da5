"""Chords as a sheet of bars that people read, edit and give back.

    key: A:min
    tempo: 120
    metre: 4/4
    pickup: 1

    0:00.00 | E7 |
    0:00.50 | Am . . . | F . G . | C . . . | . . . . |

One sign a beat: a chord, `.` for one that goes on, `?` where none is known. sheet_reader.py reads
more than is written here.
"""

from dataclasses import dataclass

import numpy as np

from accompgen.analysis.labels import chord_symbol
from accompgen.chart import FASTEST_BPM, SLOWEST_BPM, Chart, ChartError, chord_at

HELD, UNKNOWN = ".", "?"
LINE_BARS = 4
STEADY_SECONDS = 0.001  # beats this near to a line have one tempo


@dataclass(frozen=True)
class SheetBar:
    """The signs of a bar, `.`, `?` or labels, and where it stands, for messages."""

    signs: tuple[str, ...]
    where: str


@dataclass(frozen=True)
class Sheet:
    """Bars of chords, not yet laid on a song.

    Attributes:
        name: file or option that it came from, for messages.
        bars: in order, repeats written out.
        repeat_from: the bar from which on to repeat until the song ends; None: the bars must be as
            many as the song's.
        pickup: beats of the first bar, which then lies before the song's bar 1; 0: bars begin at
            bar 1.
        key, bpm, metre: of its head; None where it does not say.
    """

    name: str
    bars: tuple[SheetBar, ...]
    repeat_from: int | None = None
    pickup: int = 0
    key: str | None = None
    bpm: float | None = None
    metre: int | None = None

    def chords(self, chart: Chart) -> tuple[tuple[float, float, str], ...]:
        """(start, end, label) of the chords, laid on the bars of a chart.

        Raises ChartError for bars or signs that do not fit, and for a chart without beats.
        """
        spans = []
        for bar, times in self._pairs(chart):
            spans += _spans(bar, times, chart.metre)
        return _joined(spans)

    def _pairs(self, chart):
        """(bar of the sheet, times [n + 1] of its beats in the song)."""
        song = chart.bars()
        times = [bar.times for bar in song]
        before = len(times[0]) - 1 if song[0].number == 0 else 0
        begin = times[0][0]
        if begin > 0 and self.pickup == before + 1:
            # a sign for what sounds before the song's first beat
            times = [(0.0, *times[0]), *times[1:]] if before else [(0.0, begin), *times]
        elif self.pickup != before:
            if self.pickup:
                raise ChartError(
                    f"{self.name}: its pickup has {self.pickup} of the beats before bar 1, "
                    f"the song's {before}"
                )
            times = times[1:]
        else:
            times[0] = (0.0, *times[0][1:])
        return zip(self._as_many_as(len(times)), times)

    def _as_many_as(self, count):
        """The bars of the sheet for so many of the song."""
        bars, have = list(self.bars), len(self.bars)
        while len(bars) < count and self.repeat_from is not None:
            bars += self.bars[self.repeat_from :]
        # a progression that goes round ends where the song does, in its first round, too
        bar_1 = 1 if self.pickup else 0
        goes_round = self.repeat_from is not None and self.repeat_from <= bar_1 < count
        if (have > count and not goes_round) or len(bars) < count:
            hint = "add the others, or end it with :| to repeat it to the song's end"
            hint = "take some out" if have > count else hint
            pickup, own = (1, " and a pickup") if self.pickup else (0, "")
            own = f"{have - pickup} bar{'s' * (have - pickup != 1)}{own}"
            raise ChartError(f"{self.name}: it has {own}, the song has {count - pickup}; {hint}")
        return bars[:count]


def write_sheet(chart: Chart, name: str = "the song") -> str:
    """The sheet of a chart; `sheet_reader.read_sheet` reads it, and `Sheet.chords` gives the chords
    again.

    Chords that change on beats come back as they were. In bars of the usual length chords may also
    change half a beat after one; others move to the nearest of these places. Raises ChartError with
    fewer than two beats.
    """
    bars = [(bar.number, bar.times) for bar in chart.bars()]
    bars = _with_lead(chart, bars)
    shown, last = [], None
    for number, times in bars:
        edges = _slots(chart, times)
        signs = []
        for start, end in zip(edges, edges[1:]):
            index = chord_at(chart.chords, (start + end) / 2)
            if index == last and (shown or signs):
                signs.append(HELD)
            else:
                signs.append(UNKNOWN if index is None else chord_symbol(chart.chords[index][2]))
            last = index
        shown.append((number, times[0], " ".join(signs)))
    return "\n".join([*_head(chart, bars, name), "", *_lines(shown)]) + "\n"


def _with_lead(chart, bars):
    """Bars and times [n + 1] that begin with the song: a chord that sounds before the first beat
    alone gets a sign."""
    number, times = bars[0]
    if times[0] <= 0:
        return bars
    if chord_at(chart.chords, times[0] / 2) == chord_at(chart.chords, (times[0] + times[1]) / 2):
        return bars
    if number:
        return [(0, (0.0, times[0])), *bars]
    return [(0, (0.0, *times)), *bars[1:]]


def _slots(chart, times):
    """Edges of the signs of a bar: its beats, or half beats where a chord changes between two
    beats."""
    if len(times) - 1 != chart.metre:
        return times
    inside = [time for chord in chart.chords for time in chord[:2] if times[0] < time < times[-1]]
    places = np.interp(inside, times, np.arange(len(times))) % 1
    if not ((places >= 0.25) & (places < 0.75)).any():
        return times
    return np.interp(np.arange(2 * len(times) - 1) / 2, np.arange(len(times)), times)


def _head(chart, bars, name):
    """Comments and head of a sheet. A tempo that varies is marked `ca.`, so that it is not taken
    for one that is asked for."""
    yield f"# chords of {' '.join(name.split())}"
    yield "# a sign a beat: . the chord goes on, N no chord, ? not known; % repeats a bar"
    if chart.key:
        yield f"key: {chart.key}"
    times = [time for time, _ in chart.beats]
    if len(times) > 1:
        step, first = np.polyfit(range(len(times)), times, 1)
        steady = np.abs(first + step * np.arange(len(times)) - times).max() < STEADY_SECONDS
        steady &= SLOWEST_BPM <= 60 / step <= FASTEST_BPM
        yield f"tempo: {60 / step:.6g}" if steady else f"tempo: ca. {60 / step:.1f}"
    yield f"metre: {chart.metre}/4"
    if bars[0][0] == 0:
        yield f"pickup: {len(bars[0][1]) - 1}"


def _lines(shown):
    """Lines of four bars, each bar as wide as the widest in its column."""
    rows = [shown[:1]] if shown[0][0] == 0 else []
    rest = shown[len(rows) :]
    full = [rest[start : start + LINE_BARS] for start in range(0, len(rest), LINE_BARS)]
    widths = [
        max(len(row[column][2]) for row in full if column < len(row))
        for column in range(max(map(len, full), default=0))
    ]
    for row in rows + full:
        cells = [
            text.ljust(width) for (_, _, text), width in zip(row, widths if row in full else [0])
        ]
        minutes, seconds = divmod(round(row[0][1], 2), 60)
        yield f"{int(minutes)}:{seconds:05.2f} | {' | '.join(cells)} |"


def _spans(bar, times, metre):
    """(start, end, sign) of each sign of a bar."""
    signs, beats = bar.signs, len(times) - 1
    if len(signs) == 1:
        edges = [times[0], times[-1]]
    elif len(signs) == beats:
        edges = times
    else:
        edges = _edges(bar, beats, metre)
        edges = np.interp(
            [edge for edge in edges if edge < beats] + [beats], np.arange(beats + 1), times
        )
        signs = signs[: len(edges) - 1]
    return [
        (float(start), float(end), sign, bar.where)
        for start, end, sign in zip(edges, edges[1:], signs)
    ]


def _edges(bar, beats, metre):
    """Where signs begin, in beats: as many as a bar of the usual length divides into; a shorter bar
    has the first of them."""
    count = len(bar.signs)
    length = metre if beats != metre else beats
    if length % count and count % length:
        raise ChartError(
            f"{bar.where}: {count} signs in a bar of {beats} beats; "
            "give it one, or one a beat with . for a chord that goes on"
        )
    return [index * length / count for index in range(count)]


def _joined(spans):
    """Spans of signs -> chords: a held one goes on, an unknown one is left out."""
    chords, sounding, begun = [], False, False
    for start, end, sign, where in spans:
        if sign == HELD:
            if not begun:
                raise ChartError(
                    f"{where}: it begins with {HELD}, and there is no chord before it to go on"
                )
            if sounding:
                chords[-1] = (chords[-1][0], end, chords[-1][2])
            continue
        begun, sounding = True, sign != UNKNOWN
        if sounding:
            chords.append((start, end, sign))
    return tuple(chords)
