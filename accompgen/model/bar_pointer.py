"""From what a network hears of beats and downbeats in each frame to beat times with their place in the bar.

The model is that of a pointer that moves through bars of steady beats (Whiteley, Cemgil and Godsill, "Bayesian modelling of
temporal structure in musical audio", ISMIR 2006; Krebs, Böck and Widmer, "An efficient state-space model for joint tempo and
meter tracking", ISMIR 2015). A state is a tempo, a place in a bar of 3 or of 4 beats, and the frame of the beat. It differs
from theirs in one point: tempi lie on a fine logarithmic grid instead of being whole numbers of frames, and each beat comes up
to two frames before or after its time. So a tempo of 23.5 frames is as good as one of 23, and a singer may be early or late.

Viterbi's algorithm gives the likeliest sequence of beats in view of all frames. It covers the whole span: where nobody sings,
the tempo goes on.
"""

from functools import lru_cache

import numpy as np

from accompgen.config import ConfigError
from accompgen.time import SEMANTIC_HZ

METRES = {3: 0.1, 4: 0.9}  # beats of a bar, and how likely such bars are before anything is heard
SLOWEST_BPM, FASTEST_BPM = 35.0, 205.0
TEMPO_STEP = 0.015  # of the grid, as a share of the tempo
USUAL_BPM, TEMPO_SPREAD = 78.0, 0.3  # of a log-normal prior; of songs with a voice
TEMPO_WEIGHT = 1.0  # power of that prior
KNOWN_BPM = (30, 300)
KNOWN_SPREAD = 0.004  # of the prior around a tempo that the user knows
KNOWN_WIDTH, KNOWN_STEPS = 0.01, 8  # share by which such a tempo may differ, at most; tempi in between
LARGEST_CHANGE = 2  # steps of the grid, from one beat to the next
CHANGE_COST = 4.0  # nats a step
EARLY_OR_LATE = np.arange(-2, 3)  # frames between a beat and its time
LOOSENESS, KNOWN_LOOSENESS = 0.7, 0.3  # standard deviation of that, frames; where the tempo is known
NEAR = np.array([0.25, 0.6, 1.0, 0.6, 0.25])  # chance of a beat that the network learns, in the frames around one
BEAT_EVIDENCE, DOWNBEAT_EVIDENCE = 0.3, 0.3  # powers of what is heard: neighbouring frames tell much the same
# what the network says where it hears nothing: logit of a beat (one frame in ten), share of downbeats among beats
NO_BEAT_LOGIT, DOWNBEAT_SHARE = -2.2, 0.25
START = -1  # a move from nowhere: the first beat
SMOOTHED_BEATS = 4  # to both sides, that a beat's time is fitted to
TEMPO_MEMORY = 16  # settled beats from which the tempo goes on


class BarPointer:
    """Tempi, places in the bar and the moves between them.

    Args:
        bpm: a tempo that is known; None: any from SLOWEST_BPM to FASTEST_BPM, the usual ones more likely.
        hz: frames a second.
    """

    def __init__(self, hz: int, bpm: float | None = None):
        if bpm is None:
            low, high, centre, spread = SLOWEST_BPM, FASTEST_BPM, USUAL_BPM, TEMPO_SPREAD
            steps, weight = round(np.log(high / low) / TEMPO_STEP), TEMPO_WEIGHT
        else:
            low, high, centre, spread = bpm * (1 - KNOWN_WIDTH), bpm * (1 + KNOWN_WIDTH), bpm, KNOWN_SPREAD
            steps, weight = KNOWN_STEPS, 1.0
        bpms = np.geomspace(low, high, steps + 1)
        self.hz, self.periods = hz, 60 * hz / bpms  # [tempi], frames
        prior = -0.5 * (np.log(bpms / centre) / spread) ** 2
        self.tempo_prior = weight * (prior - np.logaddexp.reduce(prior))
        whole = np.round(self.periods).astype(int)
        self.intervals = np.maximum(1, whole + EARLY_OR_LATE[:, None])  # [early or late, tempi]
        looseness = LOOSENESS if bpm is None else KNOWN_LOOSENESS
        self.interval_scores = -0.5 * ((self.intervals - self.periods) / looseness) ** 2
        self.longest = int(self.intervals.max())
        self.change_scores = -CHANGE_COST * np.abs(np.arange(-LARGEST_CHANGE, LARGEST_CHANGE + 1))
        rows = [(metre, place) for metre in METRES for place in range(1, metre + 1)]
        self.metre, self.place = (np.array(column) for column in zip(*rows))  # [rows]
        self.before = np.array([rows.index((metre, (place - 2) % metre + 1)) for metre, place in rows])
        share = np.array([METRES[metre] / metre for metre in self.metre])
        self.row_prior = np.log(share / share.sum())

    def decode(self, beat_logits, downbeat_logits, start=None) -> tuple[np.ndarray, np.ndarray]:
        """The likeliest beats.

        Args:
            beat_logits: [N], log odds that a beat falls in each frame.
            downbeat_logits: [N], log odds that a beat there would be a downbeat.
            start: None: the first beat falls anywhere in the first period. Otherwise there was a beat in the frame before the
                first of these, and these are the scores of its tempo and row [tempi, rows] (`going_on`).

        Returns:
            Frames of the beats [K], rising, and their places in the bar [K], from 1.
        """
        scores = self._scores(np.asarray(beat_logits, float), np.asarray(downbeat_logits, float))
        (frames, rows), tempi, size = scores.shape, len(self.periods), self.longest + 1
        # best score of a beat in a frame [ring of frames, tempi, rows]; no move reaches further back
        best = np.full((size, tempi, rows), -np.inf)
        if start is None:
            first = (self.tempo_prior - np.log(self.periods))[:, None] + self.row_prior
        else:
            best[-1] = start
        moves = np.full((frames, tempi, rows), START, np.int8)
        columns, steps = np.arange(tempi), len(self.change_scores)
        margin = np.full((LARGEST_CHANGE, rows), -np.inf)
        for n in range(frames):
            arrived = best[(n - self.intervals) % size, columns] + self.interval_scores[..., None]
            shift = arrived.argmax(0)
            arrived = np.concatenate([margin, np.take_along_axis(arrived, shift[None], 0)[0], margin])
            changed = np.stack([arrived[k : k + tempi] + score for k, score in enumerate(self.change_scores)])
            changed = changed[..., self.before]
            change = changed.argmax(0)  # [tempi, rows]
            now = np.take_along_axis(changed, change[None], 0)[0]
            source = (columns[:, None] + change - LARGEST_CHANGE).clip(0, tempi - 1)
            move = shift[source, self.before] * steps + change
            if start is None and n < self.longest:
                starts = (n < self.periods)[:, None] & (first > now)
                now, move = np.where(starts, first, now), np.where(starts, START, move)
            best[n % size] = now + scores[n]
            moves[n] = move
        return self._trace(best, moves)

    def _scores(self, beat_logits, downbeat_logits):
        """What a beat in each place of the bar is worth in each frame [N, rows]: the log likelihood of what the network says
        around it, against no beat. Posteriors over priors are likelihoods, so that what it does not hear counts nothing."""
        falls = BEAT_EVIDENCE * (beat_logits - NO_BEAT_LOGIT)
        down = DOWNBEAT_EVIDENCE * (-np.logaddexp(0, -downbeat_logits) - np.log(DOWNBEAT_SHARE))
        not_down = DOWNBEAT_EVIDENCE * (-np.logaddexp(0, downbeat_logits) - np.log(1 - DOWNBEAT_SHARE))
        of_place = np.where(self.place == 1, down[:, None], not_down[:, None]) + falls[:, None]
        edge = len(NEAR) // 2
        padded = np.pad(of_place, ((edge, edge), (0, 0)))
        return sum(weight * padded[k : k + len(of_place)] for k, weight in enumerate(NEAR)).astype(np.float32)

    def _trace(self, best, moves):
        """Follow the best path back from its last beat, which falls in the last period of the span."""
        frames, size = len(moves), len(best)
        ends = np.arange(max(0, frames - size + 1), frames)
        last = (frames - ends)[:, None] <= self.periods  # [ends, tempi]: no beat is left out behind it
        scores = np.where(last[..., None], best[ends % size], -np.inf)
        end, tempo, row = np.unravel_index(scores.argmax(), scores.shape)
        if not np.isfinite(scores[end, tempo, row]):  # the span is shorter than a beat
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
        """Scores of the tempo and row of the last of some beats, (seconds, place) each: [tempi, rows].

        The tempo is near that of the last TEMPO_MEMORY beats; bars are as long as the last whole one, if there is one.
        """
        seconds, places = (np.array(column) for column in zip(*settled[-TEMPO_MEMORY:]))
        tempi = self.tempo_prior
        if len(seconds) > 1:
            period = self.hz * (seconds[-1] - seconds[0]) / (len(seconds) - 1)
            spread = TEMPO_STEP + 1 / (self.hz * (seconds[-1] - seconds[0]))
            tempi = -0.5 * (np.log(self.periods / period) / spread) ** 2
        rows = np.where(self.place == places[-1], self.row_prior, -np.inf)
        wraps = np.flatnonzero(places[1:] == 1)
        if len(wraps):
            rows = np.where(self.metre == places[wraps[-1]], rows, -np.inf)
        return tempi[:, None] + rows


def smooth(frames: np.ndarray, fixed: int = 0) -> np.ndarray:
    """Times of beats [K] in frames, each on a straight line through those of its neighbours; the first `fixed` stay.

    A frame lasts 20 ms, and a singer is early or late: beats of a band are steadier.
    """
    times = np.asarray(frames, float)
    smoothed = times.copy()
    for k in range(fixed, len(times)):
        first, last = max(0, k - SMOOTHED_BEATS), min(len(times), k + SMOOTHED_BEATS + 1)
        if last - first > 2:
            _, at = np.polyfit(np.arange(first, last) - k, times[first:last], 1)
            smoothed[k] = at
    return smoothed


def find_beats(logits: np.ndarray, bpm=None, settled=(), start: float = 0.0) -> list[tuple[float, int]]:
    """Beats from logits [S, 2] of a beat in each frame and of its being a downbeat: see BeatTracker.beats."""
    if bpm is not None and not KNOWN_BPM[0] <= bpm <= KNOWN_BPM[1]:
        raise ConfigError(f"the tempo is {bpm} beats a minute; expected {KNOWN_BPM[0]} to {KNOWN_BPM[1]}")
    settled = [(float(seconds), int(place)) for seconds, place in settled]
    pointer, begin, tempo_and_row = _pointer(bpm), 0, None
    if settled:
        begin = int(np.floor((settled[-1][0] - start) * SEMANTIC_HZ)) + 1
        tempo_and_row = pointer.going_on(settled)
        # frames that are not heard lie between the last settled beat and the first unit
        missing = max(0, -begin)
        logits = np.concatenate([np.tile([NO_BEAT_LOGIT, np.log(DOWNBEAT_SHARE / (1 - DOWNBEAT_SHARE))], (missing, 1)), logits])[max(0, begin) :]
    if not len(logits):
        return settled
    frames, places = pointer.decode(logits[:, 0], logits[:, 1], tempo_and_row)
    earlier = [(seconds - start) * SEMANTIC_HZ - 0.5 for seconds, _ in settled[-SMOOTHED_BEATS:]]
    times = smooth(np.concatenate([earlier, frames + begin]), fixed=len(earlier))[len(earlier) :]
    seconds = start + (times + 0.5) / SEMANTIC_HZ  # a beat lies in the middle of its frame
    found = [(float(at), int(place)) for at, place in zip(seconds, places)]
    return settled + [beat for beat in found if beat[0] >= start or settled]
    

@lru_cache(maxsize=4)
def _pointer(bpm):
    return BarPointer(SEMANTIC_HZ, bpm)
