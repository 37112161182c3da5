"""Bars as written -> the longest stretch in one metre, as beats of the metres that the band plays. Pure.

The band plays 4/4, 3/4 and 6/8. Other metres are counted as one of them: two bars of 2/4 are a bar of 4/4, a bar of 12/8
is two of 6/8, and so on. 9/8 and the odd metres have no such reading and are refused.
"""

from dataclasses import dataclass
from typing import NamedTuple

from accompgen.data.synthetic.score import METRES, ScoreError

SAME_TIME = 1e-3  # quarter notes
FEWEST_BARS = 8


class Counting(NamedTuple):
    metre: str  # of score.METRES
    beat: float  # quarter notes in a beat
    joined: int = 1  # written bars in a bar
    parted: int = 1  # bars in a written bar


COUNTED_AS = {
    "4/4": Counting("4/4", 1.0), "2/4": Counting("4/4", 1.0, joined=2), "2/2": Counting("4/4", 2.0, joined=2),
    "4/2": Counting("4/4", 2.0), "4/8": Counting("4/4", 0.5), "8/8": Counting("4/4", 1.0), "8/4": Counting("4/4", 2.0),
    "3/4": Counting("3/4", 1.0), "3/2": Counting("3/4", 2.0), "6/4": Counting("3/4", 1.0, parted=2),
    "6/8": Counting("6/8", 1.5), "3/8": Counting("6/8", 1.5, joined=2), "12/8": Counting("6/8", 1.5, parted=2),
    "6/16": Counting("6/8", 0.75),
}  # fmt: skip


@dataclass(frozen=True)
class Stretch:
    """Bars that follow each other in one metre. Times are quarter notes from the start of the score.

    `bars` are the starts of the written bars behind the pickup, if there is one; `full` is the length of each.
    """

    start: float
    end: float
    full: float
    counting: Counting
    bars: tuple[float, ...]

    def grid(self, changes=()):
        """The beats, as (time, position in the bar from 1), back into the pickup too.

        Where two written bars make one, the pairs begin where more of the times `changes` (of chords) lie.
        """
        per_bar, beat = METRES[self.counting.metre][0], self.counting.beat
        firsts = self._firsts(changes)
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
            changing = [
                any(abs(time - first) < SAME_TIME for time in changes) for first in self.bars
            ]
            return self.bars[sum(changing[1::2]) > sum(changing[0::2]) :: 2]
        return self.bars


def longest_stretch(bars, path):
    """The longest run of bars in one metre that can be counted -> Stretch.

    Args:
        bars: musicxml.Bar of the whole score.
        path: for the message.
    Raises: ScoreError where there is none of at least 8 bars.
    """
    runs = [run for run in _runs(_whole_bars(bars)) if run[0].metre in COUNTED_AS]
    best = max(runs, key=lambda run: run[-1].start + run[-1].length - run[0].start, default=())
    if len(best) < FEWEST_BARS:
        metres = ", ".join(dict.fromkeys(bar.metre for bar in bars))
        raise ScoreError(
            f"{path}: no {FEWEST_BARS} full bars in one metre follow each other (its metres: {metres}; known are "
            f"{', '.join(COUNTED_AS)}); leave the piece out, or fill its bars and write its metre"
        )
    firsts = [bar.start for bar in best]
    full = best[0].full
    if best[0].length < full - SAME_TIME:
        firsts = firsts[1:]
    return Stretch(
        best[0].start,
        best[-1].start + best[-1].length,
        full,
        COUNTED_AS[best[0].metre],
        tuple(firsts),
    )


def _whole_bars(bars):
    """Two short bars that fill one, as around a repeat sign, become one bar; the first bar may be a pickup."""
    whole = []
    for bar in bars:
        last = whole[-1] if whole else None
        if (
            last
            and last.metre == bar.metre
            and abs(last.length + bar.length - bar.full) < SAME_TIME
        ):
            whole[-1] = last._replace(length=bar.full)
        else:
            whole.append(bar)
    return whole


def _runs(bars):
    """Runs of bars in one metre. A short bar may begin a run as its pickup, or end it; no bar is longer than its metre."""
    runs, run = [], []
    for bar in bars:
        if run and (
            bar.metre != run[-1].metre
            or (len(run) > 1 and run[-1].length < run[-1].full - SAME_TIME)
        ):
            runs, run = [*runs, run], []
        if bar.length > bar.full + SAME_TIME:
            runs, run = [*runs, run], []
        else:
            run.append(bar)
    return [run for run in (*runs, run) if run]
