"""A recording made ready: read, checked, and as the units of a voice, or of other players, are made of it."""

import hashlib
import os
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from accompgen import audio
from accompgen.analysis import pitch
from accompgen.component import file_hash
from accompgen.files import SoundWarning
from accompgen.seeding import make_generator
from accompgen.time import blocks_covering, frames_of
from accompgen.tokens.semantic import SemanticTokenizer

VOCAL_NOISE = 0.01  # sigma of the noise on the waveform before HuBERT, as in AccompGen's inference script
VOCAL_LUFS = -21.0  # how loud HuBERT hears every vocal: the middle of the training songs. The mix has the vocal as it came

OTHERS_LUFS = -21.0  # how loud other players are heard: as a stem of the training songs
LENGTH_TOLERANCE_SECONDS = 0.1  # by which they may be longer or shorter than the vocal


@dataclass(frozen=True)
class Vocal:
    """A recording that was read and found usable: wav [C, T]. `stamp`: where a DAW had it, samples since midnight."""

    name: str
    wav: np.ndarray
    rate: int
    source: str
    sha256: str
    stamp: int | None = None

    @cached_property
    def melodies(self) -> dict[int, np.ndarray]:
        """What `melody` found, by so many blocks: the chart and the stems both ask."""
        return {}

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.wav.shape[1] / self.rate

    def at(self, rate: int) -> "Vocal":
        """The same recording at another rate in Hz."""
        if rate == self.rate:
            return self
        stamp = None if self.stamp is None else round(self.stamp * rate / self.rate)
        return replace(self, wav=audio.resample(self.wav, self.rate, rate), rate=rate, stamp=stamp)

    def within(self, channels: int) -> "Vocal":
        """The same recording in no more than so many channels; in one as the stages hear it."""
        if len(self.wav) <= channels:
            return self
        return replace(self, wav=audio.spread(audio.downmix(self.wav)[None], channels))

    @cached_property
    def lufs(self) -> float:
        """Loudness of all of it, measured once."""
        return audio.loudness(self.wav, self.rate)


def read_vocal(vocal) -> Vocal:
    """Read and check a vocal: a path, or (wav [C, T] or [T], rate). A Vocal is returned as it is. Raises audio.AudioError.

    Samples may be floats of any width with full scale 1.0, or signed integers of any width with their own full scale.
    """
    if isinstance(vocal, Vocal):
        return vocal
    if isinstance(vocal, tuple):
        if len(vocal) != 2:
            raise TypeError(f"the vocal is a tuple of {len(vocal)}; expected its samples and their rate: (wav, 44100)")
        wav, rate, stamp = audio.from_array(vocal[0]), int(vocal[1]), None
        name, source, digest = "song", "samples", hashlib.sha256(wav.tobytes()).hexdigest()
        audio.check_samples(wav, rate, source)
    elif not isinstance(vocal, (str, os.PathLike)):
        raise TypeError(
            f"the vocal is a {type(vocal).__name__}; expected the path of a recording, or samples and rate as a pair: "
            "accompany((wav, 44100))"
        )
    else:
        path = Path(vocal)
        wav, rate = audio.read(path)
        name, source, digest, stamp = path.stem, str(path), file_hash(path), audio.time_reference(path)
    audio.check_vocal(wav, rate, source)
    if (lost := audio.cancelled(wav)) > audio.CANCELLED_DB:
        remark = f"{source}: its channels cancel out, their mean lies {lost:.0f} dB below the louder one, which is heard alone"
        warnings.warn(remark, SoundWarning, stacklevel=2)
    return Vocal(name, wav, rate, source, digest, stamp)


def conditioning(vocal, noise, seed):
    """What HuBERT hears [1, T]: mono, 16 kHz, at one loudness, whole blocks of 40 ms, with seeded noise."""
    rate = SemanticTokenizer.sample_rate
    mono = audio.downmix(vocal.wav)
    # its own loudness counts: that of two channels is another, and of two that cancel far off
    lufs = vocal.lufs if len(vocal.wav) == 1 else audio.loudness(mono, vocal.rate)
    level = 10 ** ((VOCAL_LUFS - lufs) / 20)
    mono = audio.resample(mono, vocal.rate, rate) * np.float32(level)
    blocks = blocks_covering(vocal.wav.shape[1], vocal.rate)
    mono = torch.from_numpy(audio.fit(mono, frames_of(blocks, rate)))[None]
    return mono + noise * torch.randn(mono.shape, generator=make_generator(seed, "noise", 0))


def melody(vocal: Vocal, blocks: int) -> np.ndarray:
    """Share of each block of 40 ms that the voice has each pitch class: float32 [blocks, 12]."""
    if blocks not in vocal.melodies:
        mono = audio.resample(audio.downmix(vocal.wav), vocal.rate, pitch.RATE)
        vocal.melodies[blocks] = pitch.vocal_chroma(mono, blocks)
    return vocal.melodies[blocks]


def others_conditioning(wav: np.ndarray, rate: int, blocks: int) -> torch.Tensor:
    """What HuBERT hears of other players, sound [C, T] at `rate` -> [1, T] at its own rate, so many blocks of 40 ms."""
    own = SemanticTokenizer.sample_rate
    return torch.from_numpy(audio.fit(audio.resample(audio.downmix(wav), rate, own), frames_of(blocks, own)))[None]


def read_others(vocal: Vocal, others) -> Vocal:
    """What else is played beside a vocal, a path or a pair as for `read_vocal`: at the vocal's rate and of its length.

    Raises audio.AudioError for one that is no sound, or whose length is more than a tenth of a second off.
    """
    found = read_vocal(others)
    if abs(found.seconds - vocal.seconds) > LENGTH_TOLERANCE_SECONDS:
        raise audio.AudioError(
            f"{found.source} lasts {found.seconds:.2f} s and the vocal {vocal.seconds:.2f} s; they must start and end together"
        )
    wav = audio.fit(audio.resample(found.wav, found.rate, vocal.rate), vocal.wav.shape[1])
    return replace(found, wav=wav, rate=vocal.rate)


def others_sound(others: Vocal, rate: int) -> np.ndarray:
    """Mono sound [1, T] of other players at `rate`, as loud as a stage knows them."""
    mono = audio.downmix(others.wav)
    level = 10 ** ((OTHERS_LUFS - audio.loudness(mono, others.rate)) / 20)
    return audio.resample(mono, others.rate, rate)[None] * np.float32(level)
