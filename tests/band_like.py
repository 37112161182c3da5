"""Sound like a band's for tests: drums from a machine, bass, chords and air, made by rule and
without any fault."""

import numpy as np


def band(seconds: float, rate: int = 24000, seed: int = 0, bpm: float = 125.0) -> np.ndarray:
    """Mono [T], peak about 0.5. At 125 beats a minute every sixteenth falls on the same place of a
    75 Hz frame."""
    rng = np.random.default_rng(seed)
    length = round(seconds * rate)
    wav = 0.002 * rng.normal(size=length)
    beat = 60 / bpm
    for step, time in enumerate(np.arange(0, seconds, beat / 4)):
        hit = [0.03 * noise(rng, 0.06, rate, 0.02)]
        if step % 8 == 4:
            hit.append(0.15 * noise(rng, 0.2, rate, 0.05))
        if step % 8 == 0:
            hit.append(0.3 * tones([55], 0.25, rate, 0.08))
        if step % 4 == 0:
            root = 110 * 2 ** (rng.choice([0, 3, 5, 7]) / 12)
            hit.append(
                0.04 * tones([root / 2, root, root * 1.26, root * 1.498], 2 * beat, rate, beat)
            )
        for part in hit:
            start = round(time * rate)
            piece = wav[start : start + len(part)]
            piece += part[: len(piece)]
    return wav.astype(np.float32)


def noise(rng, seconds, rate, decay):
    time = np.arange(round(seconds * rate)) / rate
    return rng.normal(size=len(time)) * np.exp(-time / decay)


def tones(roots, seconds, rate, decay):
    """Struck strings: eight harmonics each, the higher the shorter."""
    time = np.arange(round(seconds * rate)) / rate
    rise = np.minimum(time / 0.003, 1)
    return rise * sum(
        np.sin(2 * np.pi * h * root * time + h * root) / h * np.exp(-time * h**0.5 / decay)
        for root in roots
        for h in range(1, 9)
    )
