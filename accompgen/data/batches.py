"""Shards -> batches of aligned windows for one stage: seeded, rank-aware, resumable by two integers.

An epoch cuts every song of the split into windows from a random start on and shuffles them all; the plan follows from
(seed, epoch) alone. So do the masks of a window from (seed, epoch, place in the plan): neither the number of processes nor a
stop in the middle changes what is seen.
"""

from dataclasses import dataclass

import numpy as np
import torch

from accompgen.config import ConfigError, StageConfig, TrainConfig, window_blocks
from accompgen.data.shards import TRANSPOSED, Entry, Shards
from accompgen.data.submixes import stems_of
from accompgen.stages import ALL, OTHERS, SEMANTIC, STEM_TOKEN, TEXT, TOKENIZERS, VOICE, Graph, Stream
from accompgen.time import frames_of, seconds_of

SPAN_BLOCKS = 12  # of the context hidden at once: 0.48 s


@dataclass(frozen=True)
class Window:
    """A span of a song, in blocks of 40 ms; the stem to make there, and the mixture of others that is heard beside it."""

    song: Entry
    first_block: int
    stem: str = ""  # "": of a stage that is played once for a song
    others: str = ""  # "": none


@dataclass(frozen=True)
class Batch:
    """Aligned windows.

    context: name -> ids [B, Q, T], -1 where they are dropped; prefix_ids: name -> ids [B, length],
    likewise; target ids [B, Q, F];
    drop bool [B, blocks of 40 ms], where nothing is heard; hide bool [B, F * Q], hidden as history.
    """

    context: dict
    prefix_ids: dict
    target: torch.Tensor
    drop: torch.Tensor
    hide: torch.Tensor
    windows: list


class Batches:
    """Endless training batches of one rank. `state()` after n calls of `next()`, loaded elsewhere, gives the same n + 1st."""

    def __init__(self, shards: Shards, config: TrainConfig, rank: int = 0, world: int = 1, texts=None):
        check_sizes(shards, config.model)
        self.texts = texts  # called with a window and a numpy Generator -> ids of its text, -1 behind its end
        self.shards, self.config, self.rank, self.world = shards, config, rank, world
        self.blocks = window_blocks(config.window_seconds)
        songs = training_songs(shards, config.model)
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
        windows = [window for window, _ in places]
        context, target = read_windows(self.shards, self.config.model, windows, self.blocks)
        prefix_ids = self._prefix_ids(places)
        self._mute(context, prefix_ids, places)
        masks = [self._masks(key, target[0].numel()) for _, key in places]
        drop = torch.from_numpy(np.stack([dropped for dropped, _ in masks]))
        hide = torch.from_numpy(np.stack([hidden for _, hidden in masks]))
        return Batch(context, prefix_ids, target, drop, hide, windows)

    def _take(self):
        """The next window of the plan and the key of its draws."""
        if self._plan is None:
            self._plan = plan_epoch(self.songs, self.blocks, self.config.seed, self._epoch)
        key = (self.config.seed, self._epoch, self._position)
        song, block = self._plan[self._position]
        rng = np.random.default_rng((*key, 2))
        stem = draw_stem(self.songs[song], self.config.model, rng, self.config.stem_weights)
        window = Window(self.songs[song], int(block), *stem)
        self._position += 1
        if self._position == len(self._plan):
            self._epoch, self._position, self._plan = self._epoch + 1, 0, None
        return window, key

    def _prefix_ids(self, places):
        """The ids of the windows' prefixes, name -> [B, length]."""
        prefix_ids = prefix_ids_of(self.config.model, [window for window, _ in places])
        if self.texts is not None and TEXT in prefix_ids:
            rows = [self.texts(window, np.random.default_rng((*key, 4))) for window, key in places]
            prefix_ids[TEXT] = torch.tensor(rows)
        return prefix_ids

    def _mute(self, context, prefix_ids, places):
        """Put -1 where a stream or a part of the prefix is dropped by itself, in place."""
        for row, (_, key) in enumerate(places):
            rng = np.random.default_rng((*key, 3))
            for name, ids in (*context.items(), *prefix_ids.items()):
                if rng.random() < self.config.stream_dropout.get(name, 0.0):
                    ids[row] = -1
            for name, ids in context.items():
                if share := self.config.stream_masking.get(name, 0.0):
                    hidden = torch.from_numpy(_spans(self.blocks, share * rng.random(), rng))
                    ids[row, :, hidden.repeat_interleave(ids.shape[-1] // self.blocks)] = -1

    def _masks(self, key, tokens):
        """Where a window's context is dropped [blocks], and which of its target's tokens are hidden as history [F * Q]."""
        rng = np.random.default_rng((*key, 1))
        dropped = rng.random() < self.config.context_dropout
        share = rng.random() if rng.random() < self.config.history_masking else 0.0
        if self.config.history_dropout and rng.random() < self.config.history_dropout:
            share = 1.0
        hidden = rng.random(tokens) < share
        return dropped | _spans(self.blocks, self.config.context_masking * rng.random(), rng), hidden


def _spans(blocks, share, rng):
    """Bool [blocks]: spans of SPAN_BLOCKS, which may overlap, that on average cover `share` of them."""
    starts = rng.random(blocks + SPAN_BLOCKS - 1) < 1 - (1 - share) ** (1 / SPAN_BLOCKS)
    return np.lib.stride_tricks.sliding_window_view(starts, SPAN_BLOCKS).any(axis=1)


def training_songs(shards: Shards, model: StageConfig) -> list[Entry]:
    """The songs of the training split that a stage can learn from: those with its target."""
    return _songs(shards, model, "train")


def _songs(shards, model, split):
    return [song for song in shards.songs if song.split == split and stems_there(song, model)]


def stems_there(song: Entry, model: StageConfig) -> list[str]:
    """The stems of a song that a stage can learn to make; [""] where it is played once for the song, [] without its target."""
    graph, row = model.rows, model.rows.stage(model.stage)
    once = graph.made_for_song(row)
    needed = [graph.stream(name) for name in (*row.context, row.target)]

    def whole(stem):
        """Whether all is there that a tokenizer gives: a chart, and what the others play, may be missing."""
        arrays = [s.array(stem) for s in needed if s.tokenizer in TOKENIZERS and s.track != OTHERS]
        return all(array in song.arrays for array in [*arrays, graph.stream(row.target).array(stem)])

    return [stem for stem in ([""] if once else graph.stems) if whole(stem)]


def draw_stem(song: Entry, model: StageConfig, rng: np.random.Generator, weights: dict | None = None) -> tuple[str, str]:
    """The stem that a stage makes of a song, and the mixture without it that it hears beside it, or "" as one more choice.

    `weights`: stem -> how often it is drawn, beside the others' 1.
    """
    graph = model.rows
    there = stems_there(song, model)
    if weights:
        stem = _weighted(there, weights, rng)
    else:
        stem = there[int(rng.integers(len(there)))]
    streams = [graph.stream(name) for name in graph.stage(model.stage).context]
    # whatever plays is part of the whole
    if stem == ALL or not any(stream.track == OTHERS for stream in streams):
        return stem, ""
    mixtures = [name.partition("/")[2] for name in song.arrays if name.startswith(f"{SEMANTIC}/") and name != TRANSPOSED]
    beside = [name for name in mixtures if name != VOICE and stems_of(name) <= set(graph.stems) - {ALL, stem}]
    return stem, ["", *beside][int(rng.integers(len(beside) + 1))]


def _weighted(stems, weights, rng):
    shares = np.array([weights.get(stem, 1.0) for stem in stems])
    if not shares.sum():
        raise ConfigError(
            f"stem_weights are {weights}, and a song of the shards has {stems} alone; "
            "give one of them a weight"
        )
    return stems[int(rng.choice(len(stems), p=shares / shares.sum()))]


def without_dropped(context: dict, dropout: dict) -> dict:
    """A context [B, Q, T] by stream, unknown (-1) where `stream_dropout` of a training is 1: what
    was never learned is not given to validate or to generate, either."""
    return {
        name: torch.full_like(ids, -1) if dropout.get(name) == 1 else ids
        for name, ids in context.items()
    }


def prefix_ids_of(model: StageConfig, windows: list[Window]) -> dict[str, torch.Tensor]:
    """The ids of the prefixes of windows, name -> [B, length]; no text: -1."""
    graph, prefix_ids = model.rows, {}
    for name, _, length in graph.prefix_sizes(model.stage):
        prefix_ids[name] = torch.full((len(windows), length), -1)
        if name == STEM_TOKEN:
            prefix_ids[name][:, 0] = torch.tensor([graph.stems.index(window.stem) for window in windows])
    return prefix_ids


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


def held_out_windows(
    shards: Shards, model: StageConfig, blocks: int, count: int, lead_blocks: int, seed: int, weights: dict | None = None
) -> list[Window]:
    """`count` windows of the validation split, spread over its songs, with `lead_blocks` before each where the song allows.

    `weights`: of stems, as `draw_stem` has them.

    Raises ConfigError if the split has no song of that length.
    """
    songs = [song for song in _songs(shards, model, "validation") if song.blocks >= blocks]
    if not songs:
        raise ConfigError(f"no validation song of {shards.directory} is as long as a window of {seconds_of(blocks)} s")
    rng = np.random.default_rng((seed, 2**32 - 1))
    windows = []
    for number in range(count):
        song = songs[number % len(songs)]
        latest = song.blocks - blocks
        first = int(rng.integers(min(lead_blocks, latest), latest + 1))
        windows.append(Window(song, first, *draw_stem(song, model, rng, weights)))
    return windows


def read_windows(
    shards: Shards, model: StageConfig, windows: list[Window], blocks: int, delay_blocks: int = 0, transposed: bool = False
):
    """The streams of a stage over `windows`: (context: name -> ids [B, Q, T], target ids [B, Q, F]), int64.

    A stream that a song lacks is -1. `delay_blocks` lets the vocal come that much too late: what is heard at block b is the
    vocal of block b - delay. Before the start of the song its first frame is held. `transposed` takes the vocal that was sung
    higher, of songs that have one.
    """
    graph = model.rows
    row = graph.stage(model.stage)
    names = (*row.context, row.target)
    rows = [{name: _read(shards, window, blocks, graph.stream(name)) for name in names} for window in windows]
    if graph.vocal.name in row.context and (delay_blocks or transposed):
        for found, window in zip(rows, windows):
            if transposed:
                found[graph.vocal.name] = shards.read(window.song, window.first_block, blocks, [TRANSPOSED])[TRANSPOSED][None]
            else:
                found[graph.vocal.name] = _delayed_vocal(shards, window, blocks, delay_blocks, graph)
    stacked = {name: torch.from_numpy(np.stack([found[name] for found in rows]).astype(np.int64)) for name in names}
    return {name: stacked[name] for name in row.context}, stacked[row.target]


def _read(shards, window, blocks, stream: Stream):
    """Ids [Q, T] of a stream over a window; -1 where the song has none."""
    array = stream.array(window.stem, window.others)
    if array is None or array not in window.song.arrays:
        return np.full((stream.codebooks, frames_of(blocks, stream.hz)), -1, np.int16)
    ids = shards.read(window.song, window.first_block, blocks, [array])[array]
    return ids[None] if ids.ndim == 1 else ids[stream.first : stream.first + stream.codebooks]


def _delayed_vocal(shards, window, blocks, delay_blocks, graph: Graph):
    array = graph.vocal.array("")
    first = max(0, window.first_block - delay_blocks)
    lead = first - (window.first_block - delay_blocks)  # blocks that would lie before the song's start
    held = np.repeat(shards.read(window.song, 0, 1, [array])[array][:1], frames_of(min(lead, blocks), graph.vocal.hz))
    rest = shards.read(window.song, first, blocks - lead, [array])[array] if lead < blocks else held[:0]
    return np.concatenate([held, rest])[None]


def check_sizes(shards: Shards, model: StageConfig) -> None:
    """Raise ConfigError unless the vocabularies of the model are those of the shards."""
    for key, found in (("semantic_vocab", shards.index["semantic_vocab"]), ("bins", shards.index["bins"])):
        size = getattr(model, key)
        if model.own_graph is None and size != found:
            raise ConfigError(f"model.{key} is {size}, but the shards in {shards.directory} have {found}; set it so")
    codebooks = max((stream.first + stream.codebooks for stream in model.rows.codes), default=0)
    if codebooks > shards.index["codebooks"]:
        raise ConfigError(
            f"the model needs {codebooks} codebooks; the shards in {shards.directory} have {shards.index['codebooks']}"
        )
