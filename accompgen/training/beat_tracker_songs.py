"""What the beat tracker learns from: units of songs and their annotated beats, window by window.

Beats and their places in the bar come from the songs' `meta` files; those of an augmented copy
follow from the speed it is played at.
"""

import bisect
import json
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from accompgen.config import ConfigError
from accompgen.data.songs import read_manifest
from accompgen.files import read_text
from accompgen.model.bar_pointer import NEAR
from accompgen.model.beat_tracker import PHASES
from accompgen.stages import ALL, SEMANTIC, VOICE
from accompgen.time import SEMANTIC_HZ

VOCAL, BAND = f"{SEMANTIC}/{VOICE}", f"{SEMANTIC}/{ALL}"  # arrays of the shards
HIDDEN_FRAMES = (5, 45)  # length of a span that is not heard


@dataclass(frozen=True)
class BeatSong:
    """Units and beats of a song.

    Attributes: `vocal` and `band` [S] int16 (the latter may be empty), `beats` in seconds [N], `downbeats` [N] bool: which of
    them.
    """

    vocal: np.ndarray
    band: np.ndarray
    beats: np.ndarray
    downbeats: np.ndarray


def find_songs(config, shards, split: str) -> list[BeatSong]:
    """The songs of a split, copies included, that are as long as a window and have beats; held-out
    ones in their first window.

    Raises ConfigError if there is none, or for a meta file that cannot be read.
    """
    metas = {song.id: song.meta for song in read_manifest(config.manifest) if song.meta}
    about = {song["id"]: song for shard in shards.index["shards"] for song in shard["songs"]}
    found = []
    for entry in shards.songs:
        origin = about[entry.id].get("song", entry.id)
        frames = 2 * entry.blocks
        if entry.split != split or origin not in metas or frames < config.frames:
            continue
        beats, places = _read_beats(metas[origin], config.model.downbeats)
        beats = beats / about[entry.id].get("changes", {}).get("speed", 1.0)
        judged = config.frames if split == "validation" else frames
        if len(beats) and (phases_of(beats, judged) >= 0).any():
            found.append(BeatSong(*_read_units(shards, entry), beats, places == 1))
    if not found:
        where = "its first window" if split == "validation" else "it"
        raise ConfigError(
            f"no {split} song of {config.shards} is {config.window_seconds} s long and has beats "
            f"in {where} by the meta file that {config.manifest} names; the beat tracker learns from "
            "annotated beats (docs/training.md)"
        )
    return found


def _read_units(shards, entry):
    """Units of a song's vocal and of its band, [S] int16 each; of the band none where its stems alone are there."""
    arrays = [name for name in (VOCAL, BAND) if name in entry.arrays]
    tokens = shards.read(entry, arrays=arrays)
    return tokens[VOCAL], tokens.get(BAND, np.zeros(0, np.int16))


def _read_beats(path, with_places):
    """The beats of a meta file in seconds [N] and their places in the bar [N], 0 if those are not
    asked for; none where it has none."""
    second = "place in the bar" if with_places else "..."
    expected = f"expected a list of [seconds, {second}]"
    try:
        beats = json.loads(read_text(path)).get("beats", [])
        times = np.array([beat[0] for beat in beats], dtype=float)
        places = np.array([beat[1] if with_places else 0 for beat in beats], dtype=int)
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise ConfigError(f"{path}: its beats cannot be read ({error}); {expected}") from error
    if (np.diff(times) <= 0).any():
        raise ConfigError(f"{path}: its beats do not rise; {expected} in the order of time")
    return times, places


def phases_of(beats: np.ndarray, frames: int) -> np.ndarray:
    """Which of the K phases the middle of each frame lies in [frames]; -1 before the first beat and
    from the last on."""
    middles = (np.arange(frames) + 0.5) / SEMANTIC_HZ
    before = np.searchsorted(beats, middles, side="right") - 1
    known = (before >= 0) & (before < len(beats) - 1)
    at = np.where(known, before, 0)
    place = (middles - beats[at]) / (beats[at + 1] - beats[at])
    return np.where(known, (place * PHASES).astype(int).clip(0, PHASES - 1), -1)


def draw_batch(config, step: int, songs: list[BeatSong]) -> tuple[torch.Tensor, ...]:
    """The windows of a step, by the seed and the step alone.

    Returns:
        Units [B, S], chances of a beat and of a downbeat [B, S, 2], which frames count [B, S].
    """
    rng = np.random.default_rng([config.seed, step])
    length = np.cumsum([len(song.vocal) for song in songs])
    rows = []
    for _ in range(config.batch_size):
        # long songs are met as often as they are long
        song = songs[bisect.bisect_right(length, rng.integers(length[-1]))]
        units, beats = _window(config, rng, song)
        spans = rng.poisson(config.masking * config.frames / np.mean(HIDDEN_FRAMES))
        firsts, lengths = rng.integers(0, config.frames, spans), rng.integers(*HIDDEN_FRAMES, spans)
        for first, frames in zip(firsts, lengths):
            units[first : first + frames] = config.model.semantic_vocab
        rows.append((torch.from_numpy(units), *_targets(beats, song.downbeats, config.frames)))
    return tuple(torch.stack(column) for column in zip(*rows))


def _window(config, rng, song):
    """Units [S] from somewhere in a song, half of the time read faster or slower, and the song's
    beats in seconds from there.

    Leaving units out or reading them twice costs nothing, and gives each song many tempi.
    """
    speed = 1.0
    if rng.random() < 0.5:
        fastest = min(config.stretch, len(song.vocal) / config.frames)
        speed = float(np.exp(rng.uniform(-np.log(config.stretch), np.log(fastest))))
    places = (np.arange(config.frames) * speed).astype(int)
    first = int(rng.integers(len(song.vocal) - places[-1]))
    return song.vocal[first + places].astype(np.int64), (song.beats - first / SEMANTIC_HZ) / speed


def _targets(beats, downbeats, frames):
    """Of a window of so many frames: the chances of a beat and of a downbeat [S, 2], and whether
    each frame lies where beats are annotated [S]."""
    margin = len(NEAR) // 2
    at = np.floor(beats * SEMANTIC_HZ).astype(int) + margin
    inside = (at >= 0) & (at < frames + 2 * margin)
    falls = torch.zeros(2, 1, frames + 2 * margin)
    falls[0, 0, torch.from_numpy(at[inside])] = 1.0
    falls[1, 0, torch.from_numpy(at[inside & downbeats])] = 1.0
    near = torch.tensor(NEAR, dtype=torch.float32)[None, None]
    chances = F.conv1d(falls, near)[:, 0].clamp(max=1.0)
    return chances.T, torch.from_numpy(phases_of(beats, frames) >= 0)
