"""Chords of a written-out accompaniment: templates for every beat, smoothed by Viterbi. Pure.

A chord explains how the time of a beat is shared by the pitch classes that sound, and by those that
lie lowest, with two multinomial distributions. A change costs less where a bar begins.
"""

import numpy as np

from accompgen.analysis.labels import DEGREES, harmony
from accompgen.data.synthetic.score import PITCH_NAMES

# quality -> log prior; the rarer ones must be heard clearly
QUALITIES = {
    "maj": 0.0, "min": 0.0, "7": -0.4, "min7": -0.4, "maj7": -1.2, "dim": -1.5, "hdim7": -1.1,
    "dim7": -0.6, "aug": -1.5, "sus4": -1.5, "min6": -2.0,
}  # fmt: skip
# share of a chord tone by its interval, before they are normalised, and of every other pitch class
TONE_SHARES = {
    0: 0.34, 3: 0.22, 4: 0.22, 5: 0.2, 6: 0.24, 7: 0.26, 8: 0.24, 9: 0.18, 10: 0.18, 11: 0.18,
}  # fmt: skip
OTHER_SHARE = 0.015
BASS_SHARES = {"root": 0.6, "tone": 0.12, "other": 0.02}
TONE_WEIGHT, BASS_WEIGHT = 6.0, 1.0  # independent observations that a beat counts as
CHANGE_COST, CHANGE_COST_IN_BAR = 1.0, 3.3  # nats
# a chord tone is named as the bass where it lies lowest for as much of the chord's time
MOSTLY = 0.6


def estimate(notes, beats, strong):
    """The chords that a written-out part plays.

    Args:
        notes: (start, end, pitch) rows [N, 3], in any unit of time.
        beats: times of T + 1 beats, the last one the end.
        strong: bool [T], whether a bar begins at a beat.
    Returns: ((start, end, label), ...) without gaps, `N` before the first and after the last note.
    """
    beats, notes = np.asarray(beats, float), np.asarray(notes, float).reshape(-1, 3)
    tones, lowest = _profiles(notes, beats)
    labels, tone_log, bass_log, priors = _templates()
    scores = TONE_WEIGHT * tones @ tone_log.T + BASS_WEIGHT * lowest @ bass_log.T + priors
    silent = tones.sum(axis=1) == 0
    scores[silent] = priors  # whatever sounded before goes on
    path = _viterbi(scores, np.where(strong, CHANGE_COST, CHANGE_COST_IN_BAR))
    return _spans(path, beats, labels, lowest, silent)


def _profiles(notes, beats):
    """Shares of the pitch classes in every beat by sounding time, of all notes and of the lowest:
    two of [T, 12], 0 where nothing sounds.
    """
    tones, lowest = np.zeros((len(beats) - 1, 12)), np.zeros((len(beats) - 1, 12))
    if not len(notes):
        return tones, lowest
    sounding = np.minimum(notes[:, 1:2], beats[1:]) - np.maximum(notes[:, 0:1], beats[:-1])
    sounding = np.maximum(sounding, 0)  # [N, T]
    pitch = np.where(sounding > 0, notes[:, 2:3], np.inf)
    bass = np.where(pitch == pitch.min(axis=0), sounding, 0)
    for pitch_class in range(12):
        of_class = notes[:, 2] % 12 == pitch_class
        tones[:, pitch_class] = sounding[of_class].sum(axis=0)
        lowest[:, pitch_class] = bass[of_class].sum(axis=0)
    total, total_lowest = tones.sum(axis=1, keepdims=True), lowest.sum(axis=1, keepdims=True)
    return tones / np.maximum(total, 1e-9), lowest / np.maximum(total_lowest, 1e-9)


def _templates():
    """Labels [C], log shares of tones [C, 12] and of the bass [C, 12], log priors [C]."""
    labels, tone_shares, bass_shares, priors = [], [], [], []
    for quality, prior in QUALITIES.items():
        intervals = harmony(f"C:{quality}").intervals
        tones = np.full(12, OTHER_SHARE)
        bass = np.full(12, BASS_SHARES["other"])
        for interval in intervals:
            tones[interval] = TONE_SHARES[interval]
            # a fourth below is a root of its own
            bass[interval] = BASS_SHARES["other" if interval == 5 else "tone"]
        bass[0] = BASS_SHARES["root"]
        for root in range(12):
            labels.append(f"{PITCH_NAMES[root]}:{quality}")
            tone_shares.append(np.roll(tones / tones.sum(), root))
            bass_shares.append(np.roll(bass / bass.sum(), root))
            priors.append(prior)
    return labels, np.log(tone_shares), np.log(bass_shares), np.array(priors)


def _viterbi(scores, change_costs):
    """The path [T] of the largest sum of scores [T, C] less the cost [T] of every change."""
    total, back = scores[0], np.zeros(scores.shape, int)
    own = np.arange(scores.shape[1])
    for t in range(1, len(scores)):
        best = int(total.argmax())
        changed = total[best] - change_costs[t]
        back[t] = np.where(total >= changed, own, best)
        total = np.maximum(total, changed) + scores[t]
    path = [int(total.argmax())]
    for t in range(len(scores) - 1, 0, -1):
        path.append(int(back[t, path[-1]]))
    return path[::-1]


def _spans(path, beats, labels, lowest, silent):
    """Runs of one chord, with the silence before the first note and after the last as `N`."""
    sounding = np.flatnonzero(~silent)
    first, last = (sounding[0], sounding[-1]) if len(sounding) else (len(path), -1)
    named = [labels[c] if first <= t <= last else "N" for t, c in enumerate(path)]
    edges = [0, *(t for t in range(1, len(named)) if named[t] != named[t - 1]), len(named)]
    spans = []
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        label = named[start]
        spans.append(
            (
                float(beats[start]),
                float(beats[end]),
                label + _bass(label, lowest[start:end].sum(axis=0)),
            )
        )
    return tuple(spans)


def _bass(label, lowest):
    """`/degree` of a chord tone other than the root that lies lowest for most of the time."""
    tones = harmony(label)
    if tones is None or not lowest.sum():
        return ""
    step = (int(lowest.argmax()) - tones.root) % 12
    if step == 0 or step not in tones.intervals or lowest.max() < MOSTLY * lowest.sum():
        return ""
    return f"/{DEGREES[step]}"
