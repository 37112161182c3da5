"""The beat tracker of a checkpoint: units of vocals and annotated beats -> what `generate --pulse` goes by.

Beats come from the songs' `meta` files; those of an augmented copy follow from the speed it is played at. A run directory holds
config.json, log.jsonl, last/state.pt (resumes exactly) and, when done, model/ (a component directory).
"""

import bisect
import copy
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from accompgen.checkpoint import load_component, save_component
from accompgen.config import ConfigError, from_dict, read_toml, to_dict, window_blocks
from accompgen.data.shards import open_shards
from accompgen.data.songs import read_manifest
from accompgen.device import choose_device
from accompgen.files import read_text
from accompgen.model.beat_tracker import PHASES, BeatTracker, BeatTrackerConfig
from accompgen.stages import ALL, SEMANTIC, VOICE
from accompgen.time import SEMANTIC_HZ, frames_of
from accompgen.training.kept import lasting, load_state, save_state
from accompgen.training.optimizer import learning_rate
from accompgen.training.run_log import RunLog

NEARNESS = (0.25, 0.6, 1.0, 0.6, 0.25)  # what the network shall say two frames before a beat to two frames after it
HIDDEN_FRAMES = (5, 45)  # length of a span that is not heard
SEEN_BEFORE = 50.0  # frames that each unit counts as seen, spread over the phases, before any are counted
NOT_TOLD = {"model", "shards", "manifest", "device"}  # of the configuration, in the component

VOCAL, BAND = f"{SEMANTIC}/{VOICE}", f"{SEMANTIC}/{ALL}"  # arrays of the shards


@dataclass(frozen=True)
class BeatTrainConfig:
    """How the beat tracker is trained."""

    kind: ClassVar = "beat tracker"
    model: BeatTrackerConfig
    shards: str  # directory of token shards, of which vocal and accompaniment units are read
    manifest: str  # JSONL of the songs they were made from; those whose `meta` has beats are used
    seed: int = 0
    steps: int = 2000
    minutes: float = 0.0  # end after this wall time of all calls together, the learning rate following it; 0: no limit
    batch_size: int = 16
    window_seconds: float = 20.0  # a multiple of 0.04
    learning_rate: float = 4e-3
    warmup_steps: int = 50
    final_learning_rate: float = 0.03  # the cosine ends at this fraction of learning_rate
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    masking: float = 0.2  # share of the vocal that is hidden on average, in spans of half a second that may overlap
    ema_decay: float = 0.995  # of the running average of the weights that is validated and kept
    log_every: int = 20
    validate_every: int = 200
    save_every: int = 200
    device: str = "auto"  # auto | cpu | cuda | cuda:N

    def __post_init__(self):
        if not 0 <= self.masking < 1 or not 0 <= self.ema_decay < 1:
            raise ConfigError(f"masking is {self.masking} and ema_decay {self.ema_decay}; expected 0 or more, less than 1")
        window_blocks(self.window_seconds)
        for name in ("steps", "batch_size", "log_every", "validate_every", "save_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")

    @property
    def frames(self) -> int:
        """Of a window."""
        return frames_of(window_blocks(self.window_seconds), SEMANTIC_HZ)


@dataclass(frozen=True)
class _Song:
    """Units and beats of a song: vocal and band [S] int16, beats in seconds."""

    vocal: np.ndarray
    band: np.ndarray
    beats: np.ndarray


def read_config(path, overrides=()) -> BeatTrainConfig:
    """The TOML file of a training with `key=value` overrides. Raises ConfigError."""
    return from_dict(BeatTrainConfig, read_toml(path, overrides), str(path))


def train(config: BeatTrainConfig, run_dir, pause_after_minutes: float = 0.0) -> dict:
    """Train, or go on with, the run in `run_dir`; when it has come to its end it holds the component run_dir/model.

    Args:
        pause_after_minutes: stop this call after so much wall time, saved; 0: do not.

    Returns:
        {"step", "finished", "validation"}.

    Raises:
        ConfigError: the run was begun with another configuration, no training song or no validation song (in its first
            window) has beats and the length of a window, a meta file cannot be read, the units do not fit the model, or there
            is no such device.
        ShardError: a shard is missing or was altered.
    """
    entered, run_dir = time.monotonic(), Path(run_dir)
    device = torch.device(choose_device(config.device))
    shards = open_shards(config.shards)
    if shards.index["semantic_vocab"] != config.model.semantic_vocab:
        raise ConfigError(
            f"model.semantic_vocab is {config.model.semantic_vocab}; {config.shards} has {shards.index['semantic_vocab']} units"
        )
    songs = {split: _songs(config, shards, split) for split in ("train", "validation")}
    torch.manual_seed(config.seed)
    model = BeatTracker(config.model).to(device)
    average = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    step, seconds = _resume(run_dir, config, model, average, optimizer)
    log, pausing = RunLog(run_dir, config, step, config.batch_size * config.window_seconds), False
    log.start(seconds)
    log(step=step, songs=len(songs["train"]), validation_songs=len(songs["validation"]))

    def progress():
        return max(step / config.steps, log.seconds / (60 * config.minutes) if config.minutes else 0.0)

    share = progress()
    if share >= 1 and (run_dir / "model").exists():
        return {"step": step, "finished": True, "validation": load_component(run_dir / "model")[0]["validation"]}
    while share < 1 and not pausing:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step, share)
        torch.manual_seed(_number(config.seed, step))  # of the dropout: a run that was stopped goes on with the same
        model.train()
        loss = _loss(model, *(tensor.to(device) for tensor in _batch(config, step, songs["train"])))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        step += 1
        weight = 1 - min(config.ema_decay, step / (9 + step))  # young averages forget their start
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), weight)
        share = progress()
        log.step(step, min(1.0, share), {"loss": loss.item(), "lr": optimizer.param_groups[0]["lr"]})
        if step % config.validate_every == 0 and share < 1:
            log(step=step, validation=_validate(config, average, songs["validation"]))
        pausing = bool(pause_after_minutes) and time.monotonic() - entered > 60 * pause_after_minutes and share < 1
        if pausing or step % config.save_every == 0 or share >= 1:
            _save(run_dir, config, model, average, optimizer, step, log.seconds)
    validation = None if pausing else _finish(run_dir, config, shards, songs, average, step)
    if validation:
        log(step=step, validation=validation)
    return {"step": step, "finished": not pausing, "validation": validation}


def _finish(run_dir, config, shards, songs, tracker, step):
    """Count the units, validate, write the component -> the figures."""
    tracker.unit_phases.copy_(unit_phases(songs["train"], config.model.semantic_vocab))
    validation = _validate(config, tracker, songs["validation"])
    about = {
        "beat_tracker": to_dict(config.model),
        "tokenizers": {SEMANTIC: shards.tokenizers[SEMANTIC]},
        "step": step,
        "seed": config.seed,
        "training": {name: value for name, value in to_dict(config).items() if name not in NOT_TOLD},
        "training_hours": round(sum(len(song.vocal) for song in songs["train"]) / SEMANTIC_HZ / 3600, 2),
        "validation": validation,
    }
    save_component(run_dir / "model", about, tracker.state_dict(), force=True)
    return validation


def unit_phases(songs: list, vocab: int) -> torch.Tensor:
    """p(unit | phase) / p(unit) of the accompaniments' units between the first and the last beat: [V, K] float32.

    A unit counts as seen in SEEN_BEFORE frames more than it was, spread over the phases, so that rare ones tell little.
    """
    counts = np.zeros(vocab * PHASES)
    for song in songs:
        phases = phases_of(song.beats, len(song.band))
        known = phases >= 0
        counts += np.bincount(song.band[known].astype(int) * PHASES + phases[known], minlength=vocab * PHASES)
    counts = counts.reshape(vocab, PHASES)
    frames = counts.sum(0)  # of each phase
    phase_share = frames / frames.sum()
    expected = counts.sum(1, keepdims=True) * phase_share  # of a unit that does not mind the beat
    ratio = (counts + SEEN_BEFORE * phase_share) / (expected + SEEN_BEFORE * phase_share)
    return torch.from_numpy(ratio).float()


def phases_of(beats: np.ndarray, frames: int) -> np.ndarray:
    """Which of the K phases the middle of each frame lies in [frames]; -1 before the first beat and from the last on."""
    middles = (np.arange(frames) + 0.5) / SEMANTIC_HZ
    before = np.searchsorted(beats, middles, side="right") - 1
    known = (before >= 0) & (before < len(beats) - 1)
    at = np.where(known, before, 0)
    place = (middles - beats[at]) / (beats[at + 1] - beats[at])
    return np.where(known, (place * PHASES).astype(int).clip(0, PHASES - 1), -1)


def _songs(config, shards, split):
    """The songs of a split, copies included, as long as a window and with beats; held-out ones in their first window."""
    metas = {song.id: song.meta for song in read_manifest(config.manifest) if song.meta}
    about = {song["id"]: song for shard in shards.index["shards"] for song in shard["songs"]}
    found = []
    for entry in shards.songs:
        origin, speed = about[entry.id].get("song", entry.id), about[entry.id].get("changes", {}).get("speed", 1.0)
        if entry.split != split or origin not in metas or 2 * entry.blocks < config.frames:
            continue
        beats = _read_beats(metas[origin]) / speed
        heard = phases_of(beats, config.frames if split == "validation" else 2 * entry.blocks) if len(beats) else []
        if np.any(np.array(heard) >= 0):
            tokens = shards.read(entry, arrays=[VOCAL, BAND])
            found.append(_Song(tokens[VOCAL], tokens[BAND], beats))
    if not found:
        where = "its first window" if split == "validation" else "it"
        raise ConfigError(
            f"no {split} song of {config.shards} is {config.window_seconds} s long and has beats in {where} by the meta file "
            f"that {config.manifest} names; the beat tracker learns from annotated beats (docs/training.md)"
        )
    return found


def _read_beats(path):
    """The beats of a meta file in seconds [N]; none where it has none."""
    try:
        beats = json.loads(read_text(path)).get("beats", [])
        times = np.array([beat[0] for beat in beats], dtype=float)
    except (OSError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path}: its beats cannot be read ({error}); expected a list of [seconds, ...]") from error
    if (np.diff(times) <= 0).any():
        raise ConfigError(f"{path}: its beats do not rise; expected a list of [seconds, ...] in the order of time")
    return times


def _batch(config, step, songs):
    """units [B, S], chance of a beat [B, S] and which frames count [B, S] of a step: of the seed and the step alone."""
    rng = np.random.default_rng([config.seed, step])
    length = np.cumsum([len(song.vocal) for song in songs])
    rows = []
    for _ in range(config.batch_size):
        song = songs[bisect.bisect_right(length, rng.integers(length[-1]))]  # long songs are met as often as they are long
        start = int(rng.integers(len(song.vocal) - config.frames + 1))
        units = song.vocal[start : start + config.frames].astype(np.int64)
        spans = rng.poisson(config.masking * config.frames / np.mean(HIDDEN_FRAMES))
        for first, frames in zip(rng.integers(0, config.frames, spans), rng.integers(*HIDDEN_FRAMES, spans)):
            units[first : first + frames] = config.model.semantic_vocab
        rows.append((torch.from_numpy(units), *_targets(song.beats, start, config.frames)))
    return tuple(torch.stack(column) for column in zip(*rows))


def _targets(beats, start, frames):
    """Of the frames from `start` on: the chance of a beat [S], and whether they lie where beats are annotated [S]."""
    margin = len(NEARNESS) // 2
    at = np.floor(beats * SEMANTIC_HZ).astype(int) - start + margin
    falls = torch.zeros(frames + 2 * margin)
    falls[torch.from_numpy(at[(at >= 0) & (at < len(falls))])] = 1.0
    chance = F.conv1d(falls[None, None], torch.tensor(NEARNESS)[None, None])[0, 0].clamp(max=1.0)
    return chance, torch.from_numpy(phases_of(beats - start / SEMANTIC_HZ, frames) >= 0)


def _loss(model, units, chance, counts):
    """Cross-entropy a frame, over those that count."""
    nats = F.binary_cross_entropy_with_logits(model(units), chance, reduction="none")
    return (nats * counts).sum() / counts.sum().clamp(min=1)


def _validate(config, model, songs):
    """Figures on the first window of each song: cross-entropy of the phase in nats (no idea: log K), and the share of frames
    in which the mean phase is right to an eighth of a beat."""
    nats, right, device = [], [], next(model.parameters()).device
    angles = 2 * math.pi * (torch.arange(PHASES) + 0.5) / PHASES
    for song in songs:
        truth = torch.from_numpy(phases_of(song.beats, config.frames))
        known = truth >= 0  # in some frame: see `_songs`
        units = torch.from_numpy(song.vocal[: config.frames].astype(np.int64))[None].to(device)
        found = model.phases(units)[0].cpu()  # [S, K]
        nats.append(-found[known, truth[known]].clamp(min=1e-6).log().mean())
        mean = torch.atan2(found @ angles.sin(), found @ angles.cos())
        off = torch.remainder(mean - angles[truth] + math.pi, 2 * math.pi) - math.pi
        right.append((off[known].abs() < math.pi / 4).float().mean())
    return {
        "phase_cross_entropy": round(torch.stack(nats).mean().item(), 4),
        "uniform": round(math.log(PHASES), 4),
        "right_phase": round(torch.stack(right).mean().item(), 4),
        "songs": len(nats),
    }


def _number(*seeds):
    return int(np.random.SeedSequence(seeds).generate_state(1)[0])


def _resume(run_dir, config, model, average, optimizer):
    """Load what was saved last, if anything was -> (step, seconds spent)."""
    state = load_state(run_dir, lasting(config))
    if state is None:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "config.json").write_text(json.dumps(to_dict(config), indent=2) + "\n", encoding="utf-8")
        return 0, 0.0
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["seconds"]


def _save(run_dir, config, model, average, optimizer, step, seconds):
    parts = {"model": model, "average": average, "optimizer": optimizer}
    weights = {name: part.state_dict() for name, part in parts.items()}
    save_state(run_dir, {**weights, "step": step, "seconds": seconds, "config": lasting(config)})
