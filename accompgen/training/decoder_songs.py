"""What a decoder is trained on: sounds in stereo at its rate, and their codes."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from accompgen import audio
from accompgen.config import ConfigError
from accompgen.data.pairs import read_mix
from accompgen.data.songs import read_manifest
from accompgen.data.tracks import ACCOMPANIMENT
from accompgen.files import replacing
from accompgen.tokens.acoustic import AcousticTokenizer

LOUDEST = 0.99  # of a sound at its drawn level


@dataclass(frozen=True)
class Sound:
    """A mix or a stem: wav int16 [2, F * hop] at the decoder's rate, codes int16 [Q, F]."""

    wav: np.ndarray
    codes: np.ndarray
    stem: bool

    def beginning(self, frames: int) -> tuple[torch.Tensor, np.ndarray]:
        """The first `frames` of it, or all.

        Codes int64 [1, Q, f]; middle and side, float32 [2, f * hop].
        """
        hop = self.wav.shape[1] // self.codes.shape[1]
        codes = torch.from_numpy(self.codes[None, :, :frames].astype(np.int64))
        return codes, middle_and_side(self.wav[:, : frames * hop].astype(np.float32) / 32767)


def read_sounds(config, split: str, songs: int, tokenizer: AcousticTokenizer, cache: Path, progress=None) -> list[Sound]:
    """The accompaniments and stems of a split, each at a level of its own, with their codes, which `cache` keeps.

    Args:
        config: with manifest, model, seed, gain_db and stem_seconds.
        songs: at most so many; 0: all.
        progress: called as progress(done, total) after every song.

    Raises ConfigError where there is none.
    """
    found = [song for song in read_manifest(config.manifest) if song.split == split and song.tracks.accompaniment]
    found = found[:songs] if songs else found
    if not found:
        raise ConfigError(f"{config.manifest} has no {split} songs with an accompaniment; prepare some first")
    cache.mkdir(parents=True, exist_ok=True)
    sounds = []
    for number, song in enumerate(found):
        sounds += sounds_of(config, song, tokenizer, cache)
        if progress:
            progress(number + 1, len(found))
    return sounds


def sounds_of(config, song, tokenizer: AcousticTokenizer, cache: Path) -> list[Sound]:
    """The accompaniment of a song and, of one to train on, a piece of each stem that plays. What is
    drawn depends on the seed, the song and the track alone."""
    rate, training, sounds = config.model.sample_rate, song.split == "train", []
    for name in (ACCOMPANIMENT, *(song.tracks.stems if training else ())):
        random = np.random.default_rng([config.seed, zlib.crc32(f"{song.id}/{name}".encode())])
        wav, stem = read_stereo(*song.tracks.files_of(name), rate=rate), name != ACCOMPANIMENT
        if stem:
            wav = _sounding_piece(wav, round(config.stem_seconds * rate), random)
        if wav is None:
            continue
        if training:
            gain = 10 ** (random.uniform(*config.gain_db) / 20)
            wav = wav * np.float32(min(gain, LOUDEST / max(audio.peak(wav), 1e-9)))
        sounds.append(_with_codes(wav, config.model, tokenizer, cache / f"{song.id}.{name}.npy", stem))
    return sounds


def read_stereo(*paths, rate: int) -> np.ndarray:
    """The sum of files as float32 [2, T] at `rate`: one channel in both places, more than two by their mean."""
    wav, own = read_mix(paths)
    return audio.resample(wav if len(wav) == 2 else audio.spread(audio.to_mono(wav)[None], 2), own, rate)


def middle_and_side(wav: np.ndarray) -> np.ndarray:
    """[..., 2, T] left and right -> (L + R) / 2 and (L - R) / 2."""
    left, right = wav[..., 0, :], wav[..., 1, :]
    return np.stack([(left + right) / 2, (left - right) / 2], axis=-2)


def _sounding_piece(wav, samples, random):
    """A random piece of a stem that sounds; None where all of it is silent."""
    if audio.peak(wav) < audio.SILENCE:
        return None
    for _ in range(20):
        start = int(random.integers(max(1, wav.shape[1] - samples + 1)))
        if audio.peak(wav[:, start : start + samples]) >= audio.SILENCE:
            return wav[:, start : start + samples]
    place = int(np.abs(wav).max(0).argmax())
    start = max(0, min(place - samples // 2, wav.shape[1] - samples))
    return wav[:, start : start + samples]


def _with_codes(wav, sizes, tokenizer, path, stem):
    if path.exists():
        codes = np.load(path, allow_pickle=False)
    else:
        mono = audio.resample(audio.to_mono(wav), sizes.sample_rate, tokenizer.sample_rate)
        codes = tokenizer.encode(torch.from_numpy(mono)[None], sizes.codebooks)[0].cpu().numpy().astype(np.int16)
        with replacing(path) as file:
            np.save(file, codes)
    frames = min(codes.shape[1], wav.shape[1] // sizes.hop_samples)
    wav = np.round(wav[:, : frames * sizes.hop_samples] * 32767).astype(np.int16)
    return Sound(np.ascontiguousarray(wav), codes[:, :frames], stem)
