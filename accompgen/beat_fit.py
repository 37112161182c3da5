"""Beats that a person gives only in part -> beats of a song: a tempo without a place, taps without
bars, another metre."""

import numpy as np

from accompgen.chart import Chart, pace

NEAR_SECONDS = 0.05  # beats of a voice lie about so near to those of the band
MATCHED_SECONDS = 0.07  # those this near say where exactly a steady beat lies
# a recording that a DAW cut at a bar begins with it; trackers are no more exact than this
START_SECONDS = 0.03
STEP_SECONDS = 0.01  # between the places that are tried
BEATS_AROUND = 4  # on each side, whose median distance a missing tap is known by


def steady_near(found: Chart, bpm: float, metre: int) -> Chart:
    """Beats of one tempo where they fit best to found ones and to the bars found; from 0 s on where
    none were found.

    Found beats at half or twice the tempo fit, too. A bar that would begin within 30 ms of 0 s
    begins there. Raises ChartError for a tempo out of range.
    """
    if not found.beats:
        return Chart.steady(found.seconds, bpm, metre)
    Chart.steady(0.0, bpm, metre)  # refuses a tempo out of range
    times = np.array([time for time, _ in found.beats])
    begins = np.array([time for time, place in found.beats if place == 1])
    step = 60 / bpm
    firsts = np.arange(0, metre * step, STEP_SECONDS)
    fit = np.exp(-((_off(times, firsts, step) / NEAR_SECONDS) ** 2)).mean(axis=1)
    if len(begins):
        fit = fit + np.exp(-((_off(begins, firsts, metre * step) / NEAR_SECONDS) ** 2)).mean(axis=1)
    first = float(firsts[fit.argmax()])
    off = _off(times, np.array([first]), step)[0]
    matched = off[np.abs(off) < MATCHED_SECONDS]
    first += float(matched.mean()) if len(matched) else 0.0
    bar = metre * step
    first = 0.0 if abs((first + bar / 2) % bar - bar / 2) < START_SECONDS else first % bar
    return Chart.steady(found.seconds, bpm, metre, first)


def _off(times, firsts, period):
    """Seconds [firsts, times] from the nearest multiple of a period after each of `firsts`."""
    return (times - firsts[:, None] + period / 2) % period - period / 2


def placed(times, metre: int, begins=()) -> tuple[tuple[float, int], ...]:
    """(seconds, place in the bar) of beats whose bars have `metre` beats each.

    Args:
        times: of the beats, in seconds.
        begins: times where bars probably begin; most of them decide which beats do. Without any,
            the first beat does.
    """
    times = np.asarray(times, float)
    votes = np.zeros(metre, int)
    for begin in begins:
        nearest = int(np.abs(times - begin).argmin())
        votes[nearest % metre] += abs(times[nearest] - begin) < 0.35 * pace(times)
    first = int(votes.argmax())
    return tuple((float(time), (index - first) % metre + 1) for index, time in enumerate(times))


def filled(times) -> np.ndarray:
    """Taps, and evenly between two of them those that were left out: where a distance is two or
    more of those around it."""
    steps = np.diff(times)
    beats = [np.array(times[:1], float)]
    for index, step in enumerate(steps):
        usual = np.median(steps[max(0, index - BEATS_AROUND) : index + BEATS_AROUND + 1])
        beats.append(
            times[index]
            + step * np.arange(1, max(1, round(step / usual)) + 1) / max(1, round(step / usual))
        )
    return np.concatenate(beats)
