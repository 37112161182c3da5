"""Shards -> batches of aligned windows for one stage: seeded, rank-aware, resumable by two integers.

An epoch cuts every song of the split into windows from a random start on and shuffles them all; the plan follows from
(seed, epoch) alone. So do the masks of a window from (seed, epoch, place in the plan): neither the number of processes nor a
stop in the middle changes what is seen.
"""

from dataclasses import dataclass

import numpy as np
import torch

from accompgen.config import ConfigError, StageConfig, TrainConfig, window_blocks
from accompgen.data.shards import Entry, Shards
from accompgen.stages import STAGES
from accompgen.time import SEMANTIC_HZ, frames_of, seconds_of

SPAN_BLOCKS = 12  # of the context hidden at once: 0.48 s


@dataclass(frozen=True)
class Window:
    """A span of a song, in blocks of 40 ms."""

    song: Entry
    first_block: int


@dataclass(frozen=True)
class Batch:
    """Aligned windows. context: name -> ids [B, Q, T]; target and history ids [B, Q, F]; drop bool [B, blocks of 40 ms], where
    the context is not heard; hide bool [B, F * Q].

    The history is the target, but for spans that are another window's.
    """

    context: dict
    target: torch.Tensor
    history: torch.Tensor
    drop: torch.Tensor
    hide: torch.Tensor
    windows: list


class Batches:
    """Endless training batches of one rank. `state()` after n calls of `next()`, loaded elsewhere, gives the same n + 1st."""

    def __init__(self, shards: Shards, config: TrainConfig, rank: int = 0, world: int = 1):
        check_sizes(shards, config.model)
        self.shards, self.config, self.rank, self.world = shards, config, rank, world
        self.blocks = window_blocks(config.window_seconds)
        songs = training_songs(shards, config.model.stage)
        self.songs = [song for song in songs if song.blocks >= self.blocks]
        self.left_out = len(songs) - len(self.songs)  # songs shorter than a window
        if not self.songs:
            raise ConfigError(
                f"no training song of {shards.directory} is as long as a window of {config.window_seconds} s "
                f"({len(songs)} are shorter); lower window_seconds or add songs"
            )
        self._epoch, self._position, self._plan = 0, 0, None

    def state(self) -> dict:
        """Where the data stands: plain integers, the same on every rank."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state(self, state: dict) -> None:
        """Go on from `state`, also at another number of ranks."""
        self._epoch, self._position, self._plan = int(state["epoch"]), int(state["position"]), None

    def next(self) -> Batch:
        """This rank's next batch; the ranks together take the next `world * batch_size` windows of the plan."""
        size = self.config.batch_size
        places = [self._take() for _ in range(size * self.world)][self.rank * size : (self.rank + 1) * size]
        windows = [window for window, _, _ in places]
        context, target = read_windows(self.shards, self.config.model, windows, self.blocks)
        masks = [self._masks(key, target[0].numel()) for _, key, _ in places]
        drop = torch.from_numpy(np.stack([dropped for dropped, _ in masks]))
        hide = torch.from_numpy(np.stack([hidden for _, hidden in masks]))
        return Batch(context, target, self._history(target, places), drop, hide, windows)

    def _take(self):
        """The next window of the plan, the key of its masks, and another window of the plan."""
        if self._plan is None:
            self._plan = plan_epoch(self.songs, self.blocks, self.config.seed, self._epoch)
        window = self._window(self._position)
        key = (self.config.seed, self._epoch, self._position, 1)
        other = self._window(np.random.default_rng((*key[:3], 2)).integers(len(self._plan)))
        self._position += 1
        if self._position == len(self._plan):
            self._epoch, self._position, self._plan = self._epoch + 1, 0, None
        return window, key, other

    def _window(self, position):
        song, block = self._plan[position]
        return Window(self.songs[song], int(block))

    def _history(self, target, places):
        """The target [B, Q, F], in which some rows are another window's over a random span of frames."""
        history = target.clone()
        for row, (_, key, other) in enumerate(places):
            rng = np.random.default_rng((*key[:3], 3))
            if rng.random() < self.config.history_swapping:
                first, end = sorted(rng.integers(0, target.shape[-1] + 1, 2))
                foreign = read_windows(self.shards, self.config.model, [other], self.blocks)[1]
                history[row, :, first:end] = foreign[0, :, first:end]
        return history

    def _masks(self, key, tokens):
        """Where a window's context is dropped [blocks], and which of its target's tokens are hidden as history [F * Q]."""
        rng = np.random.default_rng(key)
        dropped = rng.random() < self.config.context_dropout
        share = rng.random() if rng.random() < self.config.history_masking else 0.0
        hidden = rng.random(tokens) < share
        return dropped | _spans(self.blocks, self.config.context_masking * rng.random(), rng), hidden


def _spans(blocks, share, rng):
    """Bool [blocks]: spans of SPAN_BLOCKS, which may overlap, that on average cover `share` of them."""
    starts = rng.random(blocks + SPAN_BLOCKS - 1) < 1 - (1 - share) ** (1 / SPAN_BLOCKS)
    return np.lib.stride_tricks.sliding_window_view(starts, SPAN_BLOCKS).any(axis=1)


def training_songs(shards: Shards, stage: str) -> list[Entry]:
    """The songs of the training split that a stage can learn from: only the semantic stage needs no codes."""
    return [song for song in shards.songs if song.split == "train" and (song.codes or stage == "semantic")]


def plan_epoch(songs: list[Entry], blocks: int, seed: int, epoch: int) -> np.ndarray:
    """The windows of an epoch in their order: [windows, 2] of song number and first block.

    Every song is cut from a random start below one window's length on, so that over the epochs all alignments occur.
    """
    rng = np.random.default_rng((seed, epoch))
    lengths = np.array([song.blocks for song in songs])
    starts = rng.integers(0, np.minimum(blocks - 1, lengths - blocks) + 1)
    counts = (lengths - starts) // blocks
    song = np.repeat(np.arange(len(songs)), counts)
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    plan = np.stack([song, starts[song] + inside * blocks], axis=1)
    return rng.permutation(plan)


def held_out_windows(shards: Shards, blocks: int, count: int, lead_blocks: int, seed: int) -> list[Window]:
    """`count` windows of the validation split, spread over its songs, with `lead_blocks` before each where the song allows.

    Raises ConfigError if the split has no song of that length.
    """
    songs = [song for song in shards.songs if song.split == "validation" and song.blocks >= blocks]
    if not songs:
        raise ConfigError(f"no validation song of {shards.directory} is as long as a window of {seconds_of(blocks)} s")
    rng = np.random.default_rng((seed, 2**32 - 1))
    windows = []
    for number in range(count):
        song = songs[number % len(songs)]
        latest = song.blocks - blocks
        windows.append(Window(song, int(rng.integers(min(lead_blocks, latest), latest + 1))))
    return windows


def read_windows(
    shards: Shards, model: StageConfig, windows: list[Window], blocks: int, delay_blocks: int = 0, transposed: bool = False
):
    """The streams of a stage over `windows`: (context: name -> ids [B, Q, T], target ids [B, Q, F]), int64.

    `delay_blocks` lets the vocal come that much too late: what is heard at block b is the vocal of block b - delay. Before the
    start of the song its first frame is held. `transposed` takes the vocal that was sung higher, of songs that have one.
    """
    stage = STAGES[model.stage]
    rows = [_streams(shards, window, blocks, model) for window in windows]
    if delay_blocks and "vocal" in stage.context:
        for row, window in zip(rows, windows):
            row["vocal"] = _delayed_vocal(shards, window, blocks, delay_blocks)
    if transposed:
        for row, window in zip(rows, windows):
            row["vocal"] = shards.read(window.song, window.first_block, blocks)["vocal_transposed"][None]
    names = (*stage.context, stage.target)
    stacked = {name: torch.from_numpy(np.stack([row[name] for row in rows]).astype(np.int64)) for name in names}
    return {name: stacked[name] for name in stage.context}, stacked[stage.target]


def _streams(shards, window, blocks, model):
    tokens = shards.read(window.song, window.first_block, blocks)
    streams = {"vocal": tokens["vocal"][None], "semantic": tokens["semantic"][None]}  # [1, S]
    if window.song.codes:
        coarse, fine = model.coarse_codebooks, model.fine_codebooks
        streams |= {"coarse": tokens["codes"][:coarse], "fine": tokens["codes"][coarse : coarse + fine]}  # [Q, F]
    return streams


def _delayed_vocal(shards, window, blocks, delay_blocks):
    first = max(0, window.first_block - delay_blocks)
    lead = first - (window.first_block - delay_blocks)  # blocks that would lie before the song's start
    held = np.repeat(shards.read(window.song, 0, 1)["vocal"][:1], frames_of(min(lead, blocks), SEMANTIC_HZ))
    rest = shards.read(window.song, first, blocks - lead)["vocal"] if lead < blocks else held[:0]
    return np.concatenate([held, rest])[None]


def check_sizes(shards: Shards, model: StageConfig) -> None:
    """Raise ConfigError unless the vocabularies of the model are those of the shards."""
    for key, found in (("semantic_vocab", shards.index["semantic_vocab"]), ("bins", shards.index["bins"])):
        size = getattr(model, key)
        if size != found:
            raise ConfigError(f"model.{key} is {size}, but the shards in {shards.directory} have {found}; set it so")
    codebooks = model.coarse_codebooks + model.fine_codebooks
    if codebooks > shards.index["codebooks"]:
        raise ConfigError(
            f"the model needs {codebooks} codebooks (coarse + fine); the shards in {shards.directory} have "
            f"{shards.index['codebooks']}"
        )
