"""The pitch of a sung line: what a singer makes of the score's steps."""

import numpy as np

from accompgen.data.synthetic import world

try:
    import scipy.signal
except ImportError as error:
    raise ImportError("the singer needs scipy: pip install 'accompgen[train]'") from error

FPS = world.FRAMES_PER_SECOND
_EARLY_SECONDS = 0.04  # a glide begins before the note, in its consonants


def pitch_curve(notes, frames, singer, rng):
    """f0 [frames] in Hz every 5 ms for the whole line, gaps included.

    The score's steps pass a second-order system (portamento and overshoot; `glide`, `damping`), and
    scoops, delayed vibrato, tremor, drift and jitter come on top.
    """
    steps = np.full(frames, np.nan)
    for note in notes:
        missed = rng.normal(0, singer.note_cents / 100)
        steps[int(note.start * FPS) : int(note.end * FPS)] = note.pitch + missed
    known = np.flatnonzero(~np.isnan(steps))
    held = np.maximum.accumulate(np.where(np.isnan(steps), known[0], np.arange(frames)))
    early = int(_EARLY_SECONDS * FPS)
    steps = np.concatenate([steps[held][early:], np.full(early, steps[held][-1])])
    w, z = singer.glide, singer.damping
    b, a = scipy.signal.bilinear([w * w], [1, 2 * z * w, w * w], FPS)
    curve = scipy.signal.lfilter(b, a, steps - steps[0]) + steps[0]
    for note in notes:
        _ornament(curve, int(note.start * FPS), min(frames, int(note.end * FPS)), singer, rng)
    curve += _wander(rng, frames, seconds=1.5, deviation=singer.drift_cents / 100)
    curve += _wander(rng, frames, seconds=0.1, deviation=0.04) + rng.normal(size=frames) * 0.03
    if singer.tremor_cents:
        phase = 2 * np.pi * np.arange(frames) * singer.tremor_hz / FPS + _wander(
            rng, frames, 0.5, 0.7
        )
        curve += singer.tremor_cents / 100 * np.sin(phase)
    return 440 * 2 ** ((curve + singer.detune_cents / 100 - 69) / 12)


def _wander(rng, frames, seconds, deviation):
    """Noise [frames] of a standard deviation that forgets itself within some seconds."""
    keep = np.exp(-1 / (seconds * FPS))
    start = rng.normal() * deviation
    steps = rng.normal(size=frames) * deviation * np.sqrt(1 - keep**2)
    return scipy.signal.lfilter([1], [1, -keep], steps, zi=[keep * start])[0]


def _ornament(curve, first, last, singer, rng):
    """Scoop, delayed vibrato and fall-off of one note, in place, in semitones."""
    length = last - first
    if length > 20 and rng.random() < singer.scoop:
        k = min(length, int(singer.scoop_seconds * FPS))
        curve[first : first + k] -= rng.uniform(0.5, 1.8) * np.linspace(1, 0, k) ** 2
    if length > 70:
        onset = int(rng.uniform(0.18, 0.35) * FPS)
        k = length - onset
        rate = singer.vibrato_hz * (1 + 0.04 * rng.normal()) * (1 + 0.03 * rng.normal(size=k))
        depth = singer.vibrato_cents / 100 * rng.uniform(0.5, 1.2)
        swell = np.minimum(1, np.arange(k) / 60)
        curve[first + onset : last] += swell * depth * np.sin(2 * np.pi * np.cumsum(rate) / FPS)
    if length > 40 and rng.random() < 0.2:
        curve[last - 16 : last] -= rng.uniform(0.3, 1.5) * np.linspace(0, 1, 16) ** 2
