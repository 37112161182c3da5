"""What the codec is trained on: crops of accompaniments and stems, read as they are drawn."""

import math

import numpy as np
import torch

from accompgen import audio
from accompgen.config import ConfigError
from accompgen.data.pairs import mix_length, read_mix
from accompgen.data.songs import read_manifest
from accompgen.training.codec_figures import RATE

FULL_SCALE = np.float32(32767)
# samples read around a span, so that the resampler's filter finds what it would in the whole
MARGIN = 1024


class SongFile:
    """A sound file, or the sum of several, of any rate and number of channels as mono int16 at 24 kHz.

    It has a length, and a slice reads samples. Nothing is held in memory, so that a training may
    have any number of songs and begins at once.
    """

    def __init__(self, *paths):
        frames, rate = mix_length(paths)
        self.paths, self.samples = paths, round(frames * RATE / rate)
        common = math.gcd(RATE, rate)
        # so many samples of ours last as long as these of the file
        self.ours, self.theirs = RATE // common, rate // common
        self.margin = MARGIN if rate != RATE else 0

    def __len__(self):
        return self.samples

    def __getitem__(self, span: slice) -> np.ndarray:
        start, stop, _ = span.indices(self.samples)
        # where a sample of ours and one of the file fall together
        first = max(0, start - self.margin) // self.ours * self.ours
        frames = math.ceil((stop + self.margin - first) * self.theirs / self.ours)
        wav, rate = read_mix(self.paths, first // self.ours * self.theirs, frames)
        mono = audio.resample(audio.to_mono(wav), rate, RATE)[start - first : stop - first]
        return np.round(mono.clip(-1, 1) * FULL_SCALE).astype(np.int16)


def training_sounds(config) -> tuple[list[SongFile], list[SongFile]]:
    """The accompaniments of the training songs, and all their stems, where the manifest names any.

    `config.songs` limits the songs. Raises ConfigError if the manifest has none.
    """
    songs = _songs(config, "train", config.songs)
    stems = [SongFile(path) for song in songs if config.stem_share for path in song.tracks.stems.values()]
    return [SongFile(*song.tracks.accompaniment) for song in songs], stems


def validation_sounds(config) -> list[np.ndarray]:
    """The first `validation_seconds` of the accompaniments that are measured, each float32 [T].

    Raises ConfigError if the manifest has no validation songs.
    """
    samples = int(config.validation_seconds * RATE)
    songs = _songs(config, "validation", config.validation_songs)
    return [SongFile(*song.tracks.accompaniment)[:samples] / FULL_SCALE for song in songs]


def _songs(config, split, limit):
    songs = [song for song in read_manifest(config.manifest) if song.split == split]
    songs = [song for song in songs if song.tracks.accompaniment]
    if not songs:
        raise ConfigError(f"{config.manifest} has no {split} songs; prepare some first")
    return songs[:limit] if limit else songs


def step_random(seed: int, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """Random numbers of one step: for crops and codebooks, and for the codebooks' dead codes."""
    numbers = np.random.default_rng([seed, step])
    return numbers, torch.Generator().manual_seed(int(numbers.integers(2**62)))


def draw_crops(config, sounds: list, random: np.random.Generator, stems: list = ()) -> torch.Tensor:
    """Crops [B, T] float32 of random sounds at random places, at a random level and polarity.

    Args:
        sounds, stems: SongFiles or arrays int16 [T]. Where there are stems, `config.stem_share` of
            the crops are theirs.
    """
    samples = int(config.crop_seconds * RATE)
    crops = np.zeros((config.batch_size, samples), np.float32)
    for crop in crops:
        pool = stems if stems and random.random() < config.stem_share else sounds
        sound = pool[random.integers(len(pool))]
        start = random.integers(max(1, len(sound) - samples + 1))
        piece = sound[start : start + samples] / FULL_SCALE
        gain = 10 ** (random.uniform(*config.gain_db) / 20) * random.choice([-1, 1])
        crop[: len(piece)] = piece * (gain / max(1.0, abs(gain) * np.abs(piece).max()))
    return torch.from_numpy(crops)
