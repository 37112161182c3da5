"""Songs made by rule for tests: a sung line and a band that plays its chords, and the faults that recordings have."""

import numpy as np
from band_like import noise, tones

RATE = 24000
VERSE = (60, 64, 67), (57, 60, 64), (62, 65, 69), (55, 59, 62)
CHORUS = (65, 69, 72), (67, 71, 74), (64, 67, 71), (57, 60, 64)
LATENESS = 0.015  # seconds, of a singer


def song(parts, seed=0, key=0, rate=RATE, beat=0.5):
    """Voice and band [T] each, and sections (start, end, name).

    parts: (name, chords of a bar each, bars, sung, drums, level) in order. `key` moves all of it by semitones, a beat lasts
    `beat` seconds, a bar four of them. In a beat that is sung the voice takes a tone of the chord, half of the time two.
    """
    rng = np.random.default_rng(seed)
    bars = sum(part[2] for part in parts)
    voice, band = (np.zeros(round(bars * 4 * beat * rate), np.float32) for _ in range(2))
    sections, bar = [], 0
    for name, chords, length, sung, drums, level in parts:
        sections.append((bar * 4 * beat, (bar + length) * 4 * beat, name))
        for index in range(length):
            chord = [_hertz(pitch + key) for pitch in chords[index % len(chords)]]
            start = (bar + index) * 4 * beat
            _add(band, 0.05 * level * tones([chord[0] / 4, *chord], 4 * beat, rate, 1.2), start, rate)
            for count in range(4):
                if drums:
                    _add(band, 0.3 * level * tones([50], 0.2, rate, 0.06), start + count * beat, rate)
                    _add(band, 0.1 * level * noise(rng, 0.1, rate, 0.03), start + (count + 0.5) * beat, rate)
                if sung and rng.random() < 0.85:
                    for half in range(1 + (rng.random() < 0.5)):
                        note = _sung(2 * rng.choice(chord) * 2 ** (rng.normal(0, 5) / 1200), 0.22, rate, rng)
                        late = abs(rng.normal(0, LATENESS))
                        _add(voice, 0.2 * note, start + (count + half / 2) * beat + late, rate)
        bar += length
    return voice, band, sections


def verses(seed=0, key=0, beat=0.5, bars=10):
    """A pair without form, voice and band: its chords in an order drawn by the seed."""
    chords = np.random.default_rng(seed).permutation(VERSE + CHORUS)
    return song([("verse", chords.tolist(), bars, True, True, 1.0)], seed, key, beat=beat)[:2]


def low_passed(wav, hz, rate=RATE):
    spectrum = np.fft.rfft(wav)
    spectrum[np.fft.rfftfreq(len(wav), 1 / rate) > hz] = 0
    return np.fft.irfft(spectrum, len(wav)).astype(np.float32)


def clipped(wav, decibel):
    limit = np.abs(wav).max() * 10 ** (-decibel / 20)
    return np.clip(wav, -limit, limit)


def noisy(wav, decibel, seed=5):
    """With white noise so far below the mean level."""
    level = np.sqrt(np.mean(wav**2)) * 10 ** (-decibel / 20)
    return (wav + level * np.random.default_rng(seed).normal(size=len(wav))).astype(np.float32)


def _hertz(pitch):
    return 440 * 2 ** ((pitch - 69) / 12)


def _sung(hertz, seconds, rate, rng):
    """A tone with vibrato and the breath of a consonant before it."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * hertz * (time + 0.002 * np.sin(2 * np.pi * 5.5 * time) / 5.5)
    shape = np.minimum(time / 0.02, 1) * np.minimum((seconds - time) / 0.04, 1)
    wave = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 12))
    wave = wave * shape
    wave[: rate // 50] += 0.3 * rng.normal(size=rate // 50)
    return wave


def _add(wave, sound, seconds, rate):
    start = round(seconds * rate)
    part = wave[start : start + len(sound)]
    part += sound[: len(part)].astype(np.float32)
