"""From what a network hears of beats and downbeats in each frame to times of beats in their bars.

The model is that of a pointer that moves through bars of steady beats (Whiteley, Cemgil, Godsill,
"Bayesian modelling of temporal structure in musical audio", ISMIR 2006; Krebs, Böck, Widmer, "An
efficient state-space model for joint tempo and meter tracking", ISMIR 2015). A state is a tempo, a
place in a bar of 3 or of 4 beats, and the frame of the beat. It differs from theirs in one point:
tempi lie on a fine logarithmic grid instead of being whole numbers of frames, and each beat comes
up to one frame before or after its time. So a beat of 23.5 frames is as good as one of 23, and a
singer may be early or late.

Viterbi's algorithm gives the likeliest sequence of beats in view of all frames. It covers the
whole span: where nobody sings, the tempo goes on.
"""

from functools import lru_cache

import numpy as np

from accompgen.config import ConfigError
from accompgen.time import SEMANTIC_HZ

METRES = {3: 0.1, 4: 0.9}  # beats of a bar, and how likely such bars are before anything is heard
SLOWEST_BPM, FASTEST_BPM = 35.0, 205.0
TEMPO_STEP = 0.02  # of the grid, as a share of the tempo
USUAL_BPM, TEMPO_SPREAD = 76.0, 0.3  # of a log-normal prior: songs with a voice
TEMPO_WEIGHT = 4.0  # power of that prior
KNOWN_BPM = (30, 300)  # that a person may ask for
KNOWN_WIDTH = 0.01  # share by which beats may differ from such a tempo
KNOWN_SPREAD, KNOWN_STEPS = 0.004, 8  # standard deviation of a known tempo; steps of its grid
LARGEST_CHANGE = 1  # steps of the grid, from one beat to the next
CHANGE_COST = 1.5  # nats a step
EARLY_OR_LATE = np.arange(-1, 2)  # frames between a beat and its time
LOOSENESS, KNOWN_LOOSENESS = 0.7, 0.3  # standard deviation of that, frames
NEAR = np.array([0.25, 0.6, 1.0, 0.6, 0.25])  # what the network learns to say around a beat
# powers of what is heard: neighbouring frames, and beats that repeat, tell much the same
BEAT_EVIDENCE, DOWNBEAT_EVIDENCE = 0.5, 0.5
# what the network says where it hears nothing: one frame in ten is near a beat, one beat in four
# a downbeat
NO_BEAT_LOGIT, DOWNBEAT_SHARE = -1.3, 0.25
SMOOTHED_BEATS = 4  # to both sides, that a beat's time is fitted to
TEMPO_MEMORY = 16  # settled beats from which the tempo goes on
START = -1  # the move to a first beat


class BarPointer:
    """Tempi, places in the bar, and the moves between them.

    Args:
        hz: frames a second.
        bpm: a tempo that is known; None: any from SLOWEST_BPM to FASTEST_BPM, the usual ones more
            likely.
    """

    def __init__(self, hz: int, bpm: float | None = None):
        if bpm is None:
            low, high, centre, spread = SLOWEST_BPM, FASTEST_BPM, USUAL_BPM, TEMPO_SPREAD
            steps = round(np.log(high / low) / TEMPO_STEP)
            weight, looseness = TEMPO_WEIGHT, LOOSENESS
        else:
            low, high, centre = bpm * (1 - KNOWN_WIDTH), bpm * (1 + KNOWN_WIDTH), bpm
            spread, steps, weight, looseness = KNOWN_SPREAD, KNOWN_STEPS, 1.0, KNOWN_LOOSENESS
        bpms = np.geomspace(low, high, steps + 1)
        self.hz, self.periods = hz, 60 * hz / bpms  # [tempi], frames
        prior = -0.5 * (np.log(bpms / centre) / spread) ** 2
        self.tempo_prior = weight * (prior - np.logaddexp.reduce(prior))
        whole = np.round(self.periods).astype(int)
        self.intervals = np.maximum(1, whole + EARLY_OR_LATE[:, None])  # [early or late, tempi]
        self.interval_scores = -0.5 * ((self.intervals - self.periods) / looseness) ** 2
        self.longest = int(self.intervals.max())
        changes = np.arange(-LARGEST_CHANGE, LARGEST_CHANGE + 1)
        self.change_scores = -CHANGE_COST * np.abs(changes)
        rows = [(metre, place) for metre in METRES for place in range(1, metre + 1)]
        self.metre, self.place = (np.array(column) for column in zip(*rows))  # [rows]
        # the row of the beat before
        self.before = np.array([rows.index((m, (place - 2) % m + 1)) for m, place in rows])
        share = np.array([METRES[metre] / metre for metre in self.metre])
        self.row_prior = np.log(share / share.sum())

    def decode(self, logits: np.ndarray, start=None) -> tuple[np.ndarray, np.ndarray]:
        """The likeliest beats.

        Args:
            logits: [N, 2], that a beat falls in each frame, and that one there is a downbeat.
            start: None: the first beat falls anywhere in the first period. Otherwise there was a
                beat just before the first frame, and these are the scores of its tempo and row
                [tempi, rows] (`going_on`).

        Returns:
            Frames of the beats [K], rising, and their places in the bar [K], from 1.
        """
        heard = self._scores(logits)  # [N, rows]
        (frames, rows), tempi, size = heard.shape, len(self.periods), self.longest + 1
        # the best score of a beat [ring of frames, tempi, rows]: no move reaches further back
        best = np.full((size, tempi, rows), -np.inf)
        first = (self.tempo_prior - np.log(self.periods))[:, None] + self.row_prior
        if start is not None:
            best[-1] = start
        moves = np.full((frames, tempi, rows), START, np.int8)
        for n in range(frames):
            score, move = self._arrive(best, n)
            if start is None and n < self.longest:
                starts = (n < self.periods)[:, None] & (first > score)
                score, move = np.where(starts, first, score), np.where(starts, START, move)
            best[n % size] = score + heard[n]
            moves[n] = move
        return self._trace(best, moves)

    def _arrive(self, best, n):
        """The best score of all ways to a beat in frame `n`, and which way that is: [tempi, rows].

        A way is one of EARLY_OR_LATE in the tempo before, then a change of tempo.
        """
        size, tempi, rows = best.shape
        ways = ((n - self.intervals) % size) * tempi + np.arange(tempi)
        arrived = best.reshape(size * tempi, rows).take(ways, axis=0)  # [shifts, tempi, rows]
        arrived += self.interval_scores[..., None]
        arrived, shift = _largest(arrived)
        edge = np.full((LARGEST_CHANGE, rows), -np.inf), np.zeros((LARGEST_CHANGE, rows), np.int8)
        arrived, shift = (np.concatenate([e, x, e]) for e, x in zip(edge, (arrived, shift)))
        changes = range(len(self.change_scores))
        changed = [arrived[k : k + tempi] + self.change_scores[k] for k in changes]
        moves = [shift[k : k + tempi] * len(changes) + k for k in changes]
        score, change = _largest(changed)
        move = np.choose(change, moves)
        return score[:, self.before], move[:, self.before]

    def _scores(self, logits):
        """What a beat in each place of the bar is worth in each frame [N, rows].

        It is the log likelihood of what the network says around the frame, against no beat. A
        posterior over its prior is a likelihood, so that what is not heard counts nothing.
        """
        beat, downbeat = np.asarray(logits, float).T[..., None]  # [N, 1] each
        falls = BEAT_EVIDENCE * (beat - NO_BEAT_LOGIT)
        down = -np.logaddexp(0, -downbeat) - np.log(DOWNBEAT_SHARE)
        not_down = -np.logaddexp(0, downbeat) - np.log(1 - DOWNBEAT_SHARE)
        of_place = falls + DOWNBEAT_EVIDENCE * np.where(self.place == 1, down, not_down)
        edge = len(NEAR) // 2
        padded = np.pad(of_place, ((edge, edge), (0, 0)))
        return sum(weight * padded[k : k + len(of_place)] for k, weight in enumerate(NEAR))

    def _trace(self, best, moves):
        """Follow the best path back from its last beat, which falls in the last period."""
        frames, size = len(moves), len(best)
        ends = np.arange(max(0, frames - size + 1), frames)
        last = (frames - ends)[:, None] <= self.periods  # [ends, tempi]: none is left out behind it
        scores = np.where(last[..., None], best[ends % size], -np.inf)
        end, tempo, row = np.unravel_index(scores.argmax(), scores.shape)
        # after settled beats, a span that is shorter than a beat may have none
        if not np.isfinite(scores[end, tempo, row]):
            return np.zeros(0, int), np.zeros(0, int)
        n, path = int(ends[end]), []
        while n >= 0:
            path.append((n, self.place[row]))
            move = int(moves[n, tempo, row])
            if move == START:
                break
            shift, change = divmod(move, len(self.change_scores))
            tempo, row = tempo + change - LARGEST_CHANGE, self.before[row]
            n -= int(self.intervals[shift, tempo])
        times, places = zip(*reversed(path))
        return np.array(times), np.array(places)

    def going_on(self, settled) -> np.ndarray:
        """Scores of the tempo and row of the last of some beats, (seconds, place) each.

        The tempo is near that of the last TEMPO_MEMORY beats; bars are as long as the last whole
        one, if there is one. -> [tempi, rows].
        """
        seconds, places = (np.array(column) for column in zip(*settled[-TEMPO_MEMORY:]))
        tempi = self.tempo_prior
        if len(seconds) > 1:
            span = self.hz * (seconds[-1] - seconds[0])
            spread = TEMPO_STEP + 1 / span  # each time is right to about a frame
            tempi = -0.5 * (np.log(self.periods * (len(seconds) - 1) / span) / spread) ** 2
        rows = np.where(self.place == places[-1], self.row_prior, -np.inf)
        wraps = np.flatnonzero(places[1:] == 1)
        if len(wraps):
            rows = np.where(self.metre == places[wraps[-1]], rows, -np.inf)
        return tempi[:, None] + rows


def find_beats(logits, bpm=None, settled=(), start: float = 0.0) -> list[tuple[float, int]]:
    """Beats of logits [S, 2] at 50 Hz, of a beat and of its being a downbeat.

    Arguments, result and errors as BeatTracker.beats has them.
    """
    if bpm is not None and not KNOWN_BPM[0] <= bpm <= KNOWN_BPM[1]:
        low, high = KNOWN_BPM
        raise ConfigError(f"the tempo is {bpm} beats a minute; expected {low} to {high}")
    settled = [(float(seconds), int(place)) for seconds, place in settled]
    pointer, begin, before = _pointer(bpm), 0, None
    if settled:
        begin = int(np.floor((settled[-1][0] - start) * SEMANTIC_HZ)) + 1
        before = pointer.going_on(settled)
        nothing = NO_BEAT_LOGIT, np.log(DOWNBEAT_SHARE / (1 - DOWNBEAT_SHARE))
        # frames between the last settled beat and the first unit are not heard
        unheard = np.tile(nothing, (max(0, -begin), 1))
        logits = np.concatenate([unheard, logits])[max(0, begin) :]
    if not len(logits):
        return settled
    frames, places = pointer.decode(logits, before)
    earlier = [(seconds - start) * SEMANTIC_HZ - 0.5 for seconds, _ in settled[-SMOOTHED_BEATS:]]
    times = smooth(np.concatenate([earlier, frames + begin]), fixed=len(earlier))[len(earlier) :]
    seconds = start + (times + 0.5) / SEMANTIC_HZ  # a beat lies in the middle of its frame
    found = [(float(time), int(place)) for time, place in zip(seconds, places)]
    return settled + [beat for beat in found if beat[0] >= start or settled]


def smooth(frames: np.ndarray, fixed: int = 0) -> np.ndarray:
    """Times of beats [K] in frames, each on a line through its neighbours; the first `fixed` stay.

    A frame lasts 20 ms, and singers are early or late: the beats of a band are steadier.
    """
    times = np.asarray(frames, float)
    smoothed = times.copy()
    for k in range(fixed, len(times)):
        first, last = max(0, k - SMOOTHED_BEATS), min(len(times), k + SMOOTHED_BEATS + 1)
        if last - first > 2:
            smoothed[k] = np.polyfit(np.arange(first, last) - k, times[first:last], 1)[1]
    return smoothed


def _largest(values):
    """The largest of some arrays [...], and which it is: much quicker than argmax for a few."""
    best, which = values[0], np.zeros(values[0].shape, np.int8)
    for k, other in enumerate(values[1:], 1):
        better = other > best
        best = np.where(better, other, best)
        which[better] = k
    return best, which


@lru_cache(maxsize=4)
def _pointer(bpm):
    return BarPointer(SEMANTIC_HZ, bpm)
