"""Bars as written -> the longest stretch in one metre, in beats that the band plays. Pure.

The band plays 4/4, 3/4 and 6/8. Other metres are counted as one of them: two bars of 2/4 are a bar
of 4/4, a bar of 12/8 is two of 6/8, and so on. 9/8 and the odd metres have no such reading and are
refused.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from accompgen.data.synthetic.score import METRES, ScoreError

SAME_TIME = 1e-3  # quarter notes
FEWEST_BARS = 8


class Counting(NamedTuple):
    metre: str  # of score.METRES
    beat: float  # quarter notes in a beat
    joined: int = 1  # written bars in a bar
    parted: int = 1  # bars in a written bar


COUNTED_AS = {
    "4/4": Counting("4/4", 1.0), "2/4": Counting("4/4", 1.0, joined=2),
    "2/2": Counting("4/4", 2.0, joined=2), "4/2": Counting("4/4", 2.0),
    "4/8": Counting("4/4", 0.5), "8/8": Counting("4/4", 1.0), "8/4": Counting("4/4", 2.0),
    "3/4": Counting("3/4", 1.0), "3/2": Counting("3/4", 2.0),
    "6/4": Counting("3/4", 1.0, parted=2), "6/8": Counting("6/8", 1.5),
    "3/8": Counting("6/8", 1.5, joined=2), "12/8": Counting("6/8", 1.5, parted=2),
    "6/16": Counting("6/8", 0.75),
}  # fmt: skip
# the same where fewer beats a minute would pass: nobody taps so slowly
SLOWEST_BEAT = 40.0
COUNTED_SLOWLY = {
    "2/2": Counting("4/4", 1.0),
    "3/8": Counting("3/4", 0.5),
    "6/8": Counting("3/4", 0.5, parted=2),
    "4/4": Counting("4/4", 0.5, parted=2),
}


@dataclass(frozen=True)
class Stretch:
    """Bars that follow each other in one metre; times are quarter notes from the score's start.

    `bars` are the starts of the written bars behind the pickup, if any; `full` is their length.
    """

    start: float
    end: float
    full: float
    counting: Counting
    bars: tuple[float, ...]

    def grid(self, changes=()):
        """The beats, as (time, position in the bar from 1), back into the pickup too.

        Where two written bars make one, the pairs begin where more of the times `changes` (of
        chords) lie.
        """
        per_bar, beat = METRES[self.counting.metre][0], self.counting.beat
        firsts = [time for time in self._firsts(changes) if time < self.end - SAME_TIME]
        beats = []
        for k in range(int((firsts[0] - self.start + SAME_TIME) / beat), 0, -1):
            beats.append((firsts[0] - k * beat, -k % per_bar + 1))
        for first, following in zip(firsts, [*firsts[1:], self.end], strict=True):
            count = 0
            while first + count * beat < following - SAME_TIME:
                beats.append((first + count * beat, count % per_bar + 1))
                count += 1
        return tuple(beats)

    def _firsts(self, changes):
        """Times at which a bar of the band's metre begins."""
        if self.counting.parted == 2:
            return [time for first in self.bars for time in (first, first + self.full / 2)]
        if self.counting.joined == 2:
            changing = np.isin(np.round(self.bars, 3), np.round(changes, 3))
            return self.bars[int(changing[1::2].sum() > changing[0::2].sum()) :: 2]
        return self.bars


def longest_stretch(bars, path, tempi=()):
    """The longest run of bars in one metre that can be counted -> Stretch.

    Args:
        bars: musicxml.Bar of the whole score.
        path: for the message.
        tempi: musicxml.Tempo of the score; in a slow one shorter beats are counted.
    Raises: ScoreError where there is none of at least 8 bars.
    """
    runs = [run for run in _runs(_whole_bars(bars)) if run[0].metre in COUNTED_AS]
    best = max(runs, key=lambda run: run[-1].start + run[-1].length - run[0].start, default=())
    if len(best) < FEWEST_BARS:
        metres = ", ".join(dict.fromkeys(bar.metre for bar in bars))
        raise ScoreError(
            f"{path}: no {FEWEST_BARS} full bars in one metre follow each other (it has {metres}; "
            f"known: {', '.join(COUNTED_AS)}); leave it out, or fill its bars and write its metre"
        )
    full, end = best[0].full, best[-1].start + best[-1].length
    firsts = [bar.start for bar in best]
    if best[0].length < full - SAME_TIME:
        firsts = firsts[1:]
    counting = COUNTED_AS[best[0].metre]
    pace = [tempo.quarters_per_minute for tempo in tempi if tempo.time <= firsts[0]]
    if pace and pace[-1] / counting.beat < SLOWEST_BEAT:
        counting = COUNTED_SLOWLY.get(best[0].metre, counting)
    return Stretch(best[0].start, end, full, counting, tuple(firsts))


def _whole_bars(bars):
    """Two short bars that fill one, as around a repeat sign, become one bar."""
    whole = []
    for bar in bars:
        last = whole[-1] if whole else bar
        fills = abs(last.length + bar.length - bar.full) < SAME_TIME
        if whole and fills and last.metre == bar.metre:
            whole[-1] = last._replace(length=bar.full)
        else:
            whole.append(bar)
    return whole


def _runs(bars):
    """Runs of bars in one metre. The first and the last bar of a run may be short, none is long."""
    runs, run = [], []
    for bar in bars:
        ended = len(run) > 1 and run[-1].length < run[-1].full - SAME_TIME
        long = bar.length > bar.full + SAME_TIME
        if run and (ended or long or bar.metre != run[-1].metre):
            runs.append(run)
            run = []
        if not long:
            run.append(bar)
    return [*runs, run] if run else runs
