"""Augmented copies of a pair: what is done to both is the same to the sample, so that they stay aligned.

    copies = 2                    # of each training song, beside the song as it is
    noise_probability = 1.0       # Gaussian noise on a separated vocal: it hides the residue of the instruments in it, which
    noise_sigma = [0.005, 0.02]   # a model would otherwise complete instead of listening to the voice (SingSong)
    pitch_probability = 0.5       # both, in semitones (STAGE: up to 4)
    pitch_semitones = [-4.0, 4.0]
    speed_probability = 0.5       # both, at the same pitch (STAGE: 0.8 to 1.2)
    speed = [0.8, 1.2]
    tape_probability = 0.0        # both played faster or slower, as a tape, in place of the two above: pitch and tempo go
    tape_semitones = [-3, 3]      # together, in whole semitones: a song in another key, in tune, without a vocoder's traces
    gain_probability = 0.5        # each by itself
    gain_decibel = [-6.0, 3.0]
    degraded_probability = 0.0    # the vocal with noise, in a room, by telephone or with residue of the band: data/degrade.py
    codes = true                  # false: copies without EnCodec codes, for the semantic stage alone, at a third of the work

What is drawn follows from (seed, song, copy) alone.
"""

import hashlib
from dataclasses import asdict, dataclass

import numpy as np

from accompgen import audio
from accompgen.analysis.librosa_import import import_librosa
from accompgen.config import ConfigError
from accompgen.data.degrade import Degradation, degrade, draw_degradation

SAME_SPEED = 1e-4  # stretching by less is left out: it is what rounding to whole sampling rates comes to, 1 ms in 10 s


@dataclass(frozen=True)
class Augment:
    """Which changes copies of training songs undergo: probabilities 0 to 1, and ranges of uniformly drawn values."""

    copies: int = 1
    noise_probability: float = 1.0
    noise_sigma: tuple[float, float] = (0.005, 0.02)
    pitch_probability: float = 0.5
    pitch_semitones: tuple[float, float] = (-4.0, 4.0)
    speed_probability: float = 0.5
    speed: tuple[float, float] = (0.8, 1.2)
    tape_probability: float = 0.0
    tape_semitones: tuple[int, int] = (-3, 3)
    gain_probability: float = 0.5
    gain_decibel: tuple[float, float] = (-6.0, 3.0)
    degraded_probability: float = 0.0
    codes: bool = True

    def __post_init__(self):
        if not 1 <= self.copies <= 1000:
            raise ConfigError(f"copies is {self.copies}; expected 1 to 1000")
        for name in ("noise", "pitch", "speed", "tape", "gain", "degraded"):
            if not 0 <= getattr(self, f"{name}_probability") <= 1:
                raise ConfigError(f"{name}_probability is {getattr(self, f'{name}_probability')}; expected 0 to 1")
        limits = {"noise_sigma": (0, 1), "pitch_semitones": (-12, 12), "speed": (0.5, 2), "gain_decibel": (-40, 20)}
        limits["tape_semitones"] = (-12, 12)
        for name, (lowest, highest) in limits.items():
            low, high = getattr(self, name)
            if not lowest <= low <= high <= highest:
                raise ConfigError(f"{name} is [{low}, {high}]; expected [low, high] between {lowest} and {highest}")


@dataclass(frozen=True)
class Change:
    """What was drawn for one copy; the values of a Change() leave sound as it is. noise_sigma None: as for every song."""

    semitones: float = 0.0
    speed: float = 1.0
    vocal_decibel: float = 0.0
    band_decibel: float = 0.0
    noise_sigma: float | None = None
    degradation: Degradation | None = None

    def values(self) -> dict:
        """What differs from a Change(), for the index of the shards."""
        return {name: value for name, value in asdict(self).items() if value != getattr(Change, name)}


def seeded(seed: int, song: str, copy: int = 0) -> int:
    """A number below 2^63 that depends on all three."""
    name = f"{seed}:{song}" + (f":{copy}" if copy else "")
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def draw(config: Augment, seed: int, song: str, copy: int, separated: bool) -> Change:
    """The change of copy 1, 2, ... of a song. Noise is drawn for vocals that were separated from a mixture, alone."""
    rng = np.random.default_rng(seeded(seed, song, copy))
    values = {}
    for name, low_high, probability in (
        ("semitones", config.pitch_semitones, config.pitch_probability),
        ("speed", config.speed, config.speed_probability),
        ("vocal_decibel", config.gain_decibel, config.gain_probability),
        ("band_decibel", config.gain_decibel, config.gain_probability),
        ("noise_sigma", config.noise_sigma, config.noise_probability),
    ):
        happens, value = rng.random() < probability, round(float(rng.uniform(*low_high)), 4)  # both: no draw shifts another
        if happens and (name != "noise_sigma" or separated):
            values[name] = value
    if rng.random() < config.tape_probability:
        low, high = config.tape_semitones
        values["semitones"] = float(rng.choice([step for step in range(low, high + 1) if step or low == high]))
        values["speed"] = 2 ** (values["semitones"] / 12)
    if config.degraded_probability and rng.random() < config.degraded_probability:
        values["degradation"] = draw_degradation(rng)
    return Change(**values)


def apply(change: Change, vocal: np.ndarray, band: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Pitch, speed and gain of a vocal and a track of its band [T] each at `rate` Hz -> [round(T / speed)] each; and what
    degrades the vocal.

    An event at t seconds sounds at t / speed. A gain that would clip is lowered to just below full scale. Gaussian
    noise of `noise_sigma` is left to the tokenising.
    """
    vocal, band = (stretch(wav, change.semitones, change.speed, rate) for wav in (vocal, band))
    if change.degradation:
        vocal = degrade(vocal, band, change.degradation, rate)
    return _gain(vocal, change.vocal_decibel), _gain(band, change.band_decibel)


def stretch(wav: np.ndarray, semitones: float, speed: float, rate: int) -> np.ndarray:
    """Sound [T] at `rate` Hz at another pitch and speed, [round(T / speed)].

    Longer or shorter by a phase vocoder, then played faster or slower by resampling, so that both are right in the end.
    """
    if semitones == 0 and speed == 1:
        return wav
    faster = round(rate * 2 ** (semitones / 12)) / rate  # a ratio of whole rates: exact for the resampler
    stretched = _time_stretch(wav, speed / faster)
    return audio.fit(audio.resample(stretched, round(rate * faster), rate), round(len(wav) / speed))


def _time_stretch(wav, rate):
    if abs(rate - 1) < SAME_SPEED:
        return wav
    return import_librosa("changing pitch and speed needs", "train").effects.time_stretch(wav, rate=rate)


def _gain(wav, decibel):
    if decibel == 0:
        return wav
    gain = 10 ** (decibel / 20)
    return wav * np.float32(min(gain, max(audio.PEAK_LIMIT, audio.peak(wav)) / max(audio.peak(wav), 1e-9)))
