"""Folders of short songs for the tests of the evaluation: a sung line, chords with a beat, and what is known of them."""

import json

import numpy as np

from accompgen import audio

RATE = 24000
ROOTS = (60, 65, 67, 57, 62, 64)


def tone(pitch, seconds, rate=RATE):
    time = np.arange(round(seconds * rate)) / rate
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    return sum(0.1 / h * np.sin(2 * np.pi * h * frequency * time) for h in range(1, 7)) * np.minimum(1, 20 * (seconds - time))


def band(root, seconds, period, rate=RATE):
    """A major triad struck on each beat in some inversion, with a click."""
    wav = np.zeros(round(seconds * rate), np.float32)
    rng = np.random.default_rng(root)
    for time in np.arange(0.1, seconds, period):
        start = round(time * rate)
        chord = sum(tone(root + step + 12 * rng.integers(-1, 2), 0.9 * period, rate) for step in (-12, 0, 4, 7))
        chord[:240] += 0.3 * rng.normal(size=240)
        piece = wav[start : start + len(chord)]
        piece += chord[: len(piece)].astype(np.float32)
    return wav


def voice(root, seconds, rate=RATE):
    steps = np.random.default_rng(root + 100).choice([0, 4, 7, 12], size=round(seconds * 2) + 1)
    return np.concatenate([tone(root + step, 0.5, rate) for step in steps])[: round(seconds * rate)].astype(np.float32)


def make_songs(folder, count=4, seconds=4.0, rate=RATE):
    """folder/vocals, folder/reference (wav) and folder/annotations: `count` songs named song0, song1, ..."""
    for part in ("vocals", "reference", "annotations"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        root, period = ROOTS[i % len(ROOTS)], 0.5 + 0.02 * i
        audio.write(folder / "vocals" / f"song{i}.wav", voice(root, seconds, rate), rate, "PCM_16")
        audio.write(folder / "reference" / f"song{i}.wav", 0.5 * band(root, seconds, period, rate), rate, "PCM_16")
        known = {
            "beats": [[float(t), 1] for t in np.arange(0.1, seconds, period)], "bpm": 60 / period,
            "chords": [[0.0, seconds, f"{'C Db D Eb E F Gb G Ab A Bb B'.split()[root % 12]}:maj"]],
            "key": f"{'C Db D Eb E F Gb G Ab A Bb B'.split()[root % 12]}:maj",
        }  # fmt: skip
        (folder / "annotations" / f"song{i}.json").write_text(json.dumps(known))
    return folder
