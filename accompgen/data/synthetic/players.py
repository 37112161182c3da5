"""Written parts become played ones: feel, accents and dynamics of each player. Pure, seeded; no audio.

What a part writes on the grid a player plays a little before or behind it, louder on the strong beats, along the
dynamics of the sections; the instruments of a band differ in all of it. Annotated beats stay where they are.
"""

from dataclasses import dataclass, replace

import numpy as np

from accompgen.data.synthetic.band import GUITARS

# seconds behind the beat (mean, standard deviation) and looseness around it (least, most)
_LAGS = {"keys": (0.0, 0.005), "bass": (0.003, 0.005), "pad": (0.005, 0.008), "lead": (0.004, 0.008), "drums": (0.0, 0.003)}
_LOOSENESS = {"keys": (3, 9), "bass": (3, 8), "pad": (4, 12), "lead": (5, 12), "drums": (1.5, 6)}  # milliseconds
SWING_SHARE = 0.25  # of the songs that can swing
TOGETHER = 0.005  # seconds; notes that are written closer than this are one chord


@dataclass(frozen=True)
class Player:
    """How one player plays; drawn for a song and kept for all of it."""

    lag: float  # seconds behind the beat
    looseness: float  # seconds, standard deviation around the lag
    swing: float  # share of a beat by which its second half comes late: 0 straight, 1/6 triplets
    accents: float  # velocity steps between a downbeat and a weak place
    unevenness: float  # velocity steps, standard deviation
    strum: float  # seconds from the first to the last note of a chord
    length: float  # of a note, against what is written


def draw_player(part, program, swing, rng):
    """A player of a part for a song whose swing is `swing`."""
    strum = rng.uniform(0.008, 0.035) if part == "keys" and program in GUITARS else rng.uniform(0.0, 0.008)
    values = {
        "lag": np.clip(rng.normal(*_LAGS[part]), -0.012, 0.02),
        "looseness": rng.uniform(*_LOOSENESS[part]) / 1000,
        "swing": swing * rng.uniform(0.85, 1.15),
        "accents": rng.uniform(0, 10),
        "unevenness": rng.uniform(2, 7),
        "strum": 0.0 if part in ("bass", "drums", "lead") else strum,
        "length": rng.uniform(0.8, 1.05) if part in ("keys", "bass") else 1.0,
    }
    return Player(**{name: round(float(value), 4) for name, value in values.items()})


def draw_swing(score, rng):
    """The song's swing; 0 where it is straight, has three steps to a beat, or too many notes between the half beats."""
    if rng.random() >= SWING_SHARE or score.steps_per_beat == 3 or not score.beats:
        return 0.0
    phases = _places(score, np.array([n.start for n in (*score.melody, *score.piano)]))[1]
    between = np.abs((phases + 0.25) % 0.5 - 0.25) > 0.1
    return round(float(rng.uniform(0.05, 1 / 6)), 4) if between.mean() < 0.1 else 0.0


def swung(score, notes, swing):
    """Notes with the second halves of their beats late by `swing` beats; what lies between moves in proportion."""
    if not swing or not notes:
        return tuple(notes)
    starts = _swing_times(score, np.array([n.start for n in notes]), swing)
    ends = np.maximum(_swing_times(score, np.array([n.end for n in notes]), swing), starts + 0.02)
    moved = zip(notes, starts.clip(0), np.minimum(ends, score.seconds), strict=True)
    return tuple(n._replace(start=float(start), end=float(end)) for n, start, end in moved)


def play_along(arrangement, score, players, rng):
    """The arrangement as the players {part: Player} play it: the same notes, other times and velocities.

    Every note starts within 80 ms of where its player's swing would put it, and within the song.
    """
    loudness = dynamics(arrangement.passages, 60 / score.bpm * score.beats_per_bar)
    events = {part: _played(notes, score, players[part], loudness, rng) for part, notes in arrangement.events.items()}
    return replace(arrangement, events=events)


def dynamics(passages, bar):
    """(times [K] in seconds, levels [K] in dB): each passage swells as it says, and its last bar leads into a louder next."""
    times, levels = [], []
    for passage, following in zip(passages, [*passages[1:], None], strict=True):
        last = passage.level + passage.swell / 2
        target = max(last, following.level - following.swell / 2) if following else last
        turn = max(passage.start + 0.5 * (passage.end - passage.start), passage.end - bar)
        times += [passage.start, turn, passage.end - 1e-3]
        levels += [passage.level - passage.swell / 2, last, (last + target) / 2]
    return np.array(times), np.array(levels)


def _played(notes, score, player, loudness, rng):
    notes = sorted(notes, key=lambda n: (n.start, n.pitch))
    written = np.array([n.start for n in notes])
    chord = np.concatenate([[0], np.cumsum(np.diff(written) > TOGETHER)])  # [N]: which chord a note belongs to
    beside = rng.normal(0, player.looseness, chord[-1] + 1).clip(-0.025, 0.025)[chord]
    starts = _swing_times(score, written, player.swing) + player.lag + beside + player.strum * _ranks(chord, rng)
    starts = starts.clip(0)
    lengths = player.length * (np.array([n.end for n in notes]) - written)
    ends = np.maximum(starts + lengths, starts + 0.03)
    decibel = np.interp(written, *loudness)
    velocities = np.array([n.velocity for n in notes]) * 10 ** (decibel / 40)  # a synthesizer's gain is velocity squared
    velocities += player.accents * _weights(score, written) + rng.normal(0, player.unevenness, len(notes))
    velocities = np.rint(velocities).clip(1, 127).astype(int)
    played = zip(notes, starts.tolist(), ends.tolist(), velocities.tolist(), strict=True)
    return tuple(n._replace(start=start, end=end, velocity=velocity) for n, start, end, velocity in played)


def _ranks(chord, rng):
    """Place of each note in its chord from 0 to 1, from the bottom or, for one chord in five, from the top."""
    first = np.searchsorted(chord, chord)
    count = np.searchsorted(chord, chord, "right") - first
    rank = (np.arange(len(chord)) - first) / np.maximum(count - 1, 1)
    down = (rng.random(chord[-1] + 1) < 0.2)[chord]
    return np.where(down, 1 - rank, rank)


def _places(score, times):
    """Beat that each of `times` [N] lies in, counted from 0 (before the first one negative), and its phase there, 0 to 1."""
    beats, period = _grid(score)
    inside = np.interp(times, beats, np.arange(len(beats)))
    outside = np.minimum(times - beats[0], 0) / period + np.maximum(times - beats[-1], 0) / period
    place = np.round(inside + outside, 6)
    number = np.floor(place)
    return number.astype(int), place - number


def _swing_times(score, times, swing):
    if not swing:
        return times
    beats, period = _grid(score)
    number, phase = _places(score, times)
    late = np.interp(phase, (0, 0.5, 1), (0, 0.5 + swing, 1))
    edges = np.concatenate([beats, [beats[-1] + period]])
    inside = number.clip(0, len(beats) - 1)
    starts, lengths = edges[inside], np.diff(edges)[inside]
    return np.where(number == inside, starts + late * lengths, times)


def _weights(score, times):
    """Metrical weight of each time: 1 on downbeats, .5 in the middle of the bar, 0 on other beats, less between them."""
    if not score.beats:
        return np.zeros(len(times))
    number, phase = _places(score, times + 0.02)  # what is a little early belongs to the beat that it leads to
    positions = np.array([b.position for b in score.beats])
    position = np.where(number < 0, 0, positions[number.clip(0, len(positions) - 1)])
    middle = score.beats_per_bar // 2 + 1 if score.beats_per_bar % 2 == 0 else 0
    on_beat = np.select([position == 1, position == middle], [1.0, 0.5], 0.0)
    half = np.abs(phase - 0.5) < 0.15
    return np.where(phase < 0.15, on_beat, np.where(half, -0.5, -0.8))


def _grid(score):
    """Beat times [K] and the length of a beat, in seconds; a song without beats has one at 0."""
    return np.array([b.time for b in score.beats] or [0.0]), 60 / score.bpm
