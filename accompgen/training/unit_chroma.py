"""What the units of a semantic tokenizer sound like: the chroma of the band where they stand, which `consonance` weighs."""

import numpy as np
import torch

from accompgen.config import ConfigError
from accompgen.data.shards import Shards
from accompgen.data.songs import read_manifest
from accompgen.stages import ALL, SEMANTIC
from accompgen.training.hubert_targets import chroma
from accompgen.training.hubert_units import read_sound, spaced

BAND = f"{SEMANTIC}/{ALL}"
SONGS = 200  # that are listened to at most, spread over the training songs


def unit_chroma(shards: Shards, manifest) -> torch.Tensor:
    """How the mean chroma of each unit differs from that of all frames, over the accompaniments of training songs.

    Args:
        shards: which unit stands where.
        manifest: the songs they were made from.

    Returns:
        [V, 12] float32, pitch class 0 = C, scaled so that the mean square of a row's length is 1 over the frames; 0 for units
        that do not occur.

    Raises:
        ConfigError: none of the training songs of the shards is in the manifest.
    """
    sounds = {song.id: song.tracks.accompaniment for song in read_manifest(manifest)}
    songs = [song for song in shards.songs if song.split == "train" and song.id in sounds and BAND in song.arrays]
    if not songs:
        raise ConfigError(f"no training song of {shards.directory} is in {manifest}; give the manifest they were made from")
    total, count = torch.zeros(shards.index["semantic_vocab"], 12), torch.zeros(shards.index["semantic_vocab"], 1)
    for song in spaced(songs, SONGS):
        units = torch.from_numpy(shards.read(song, arrays=[BAND])[BAND].astype(np.int64))
        heard = chroma(read_sound(*sounds[song.id]))[: len(units)]
        heard = heard / heard.sum(1, keepdim=True).clamp_min(1e-6)
        total.index_add_(0, units[: len(heard)], heard)
        count.index_add_(0, units[: len(heard)], torch.ones(len(heard), 1))
    apart = torch.where(count > 0, total / count.clamp_min(1) - total.sum(0) / count.sum(), 0)
    return apart / ((count * apart.square()).sum() / count.sum()).sqrt()
