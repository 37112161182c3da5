"""The beat tracker of a checkpoint: units of vocals and annotated beats -> where beats and bars lie.

Copies with degraded voices (data/degrade.py) teach it to listen through noise, rooms and separation.
A run directory holds config.json, log.jsonl, last/state.pt (resumes exactly) and, when done, model/
(a component directory).
"""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from accompgen.analysis.beats import BEAT_WINDOW_SECONDS, beat_f1, tempo, tempo_error
from accompgen.component import CheckpointError, component_hash, load_component, save_component
from accompgen.config import ConfigError, from_dict, read_toml, to_dict, window_blocks
from accompgen.data.shards import open_shards
from accompgen.device import choose_device
from accompgen.model.beat_tracker import PHASES, BeatTracker, BeatTrackerConfig
from accompgen.stages import SEMANTIC
from accompgen.time import SEMANTIC_HZ, frames_of
from accompgen.training.average import make_average
from accompgen.training.beat_tracker_songs import draw_batch, find_songs, phases_of
from accompgen.training.optimizer import learning_rate
from accompgen.training.run_log import RunLog
from accompgen.training.run_state import goes_on, lasting, load_state, save_state
from accompgen.training.stops import stop_signals

SEEN_BEFORE = 50.0  # frames that each unit counts as seen, spread over the phases, before any are counted
NOT_SAVED = {"model", "shards", "manifest", "start_from", "device"}  # of the configuration, in the component



@dataclass(frozen=True)
class BeatTrainConfig:
    """How the beat tracker is trained."""

    kind: ClassVar = "beat tracker"
    model: BeatTrackerConfig
    shards: str  # directory of token shards, of which vocal and accompaniment units are read
    manifest: str  # JSONL of the songs they were made from; those whose `meta` has beats are used
    # component directory of a beat tracker of the same sizes, to begin with its weights; downbeats
    # begin anew where it has none
    start_from: str = ""
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
    # of the downbeats' cross-entropy against that of the beats; 1: the likelihood of both together
    downbeat_weight: float = 1.0
    stretch: float = 1.25  # half of the windows are read faster or slower, by up to this factor
    masking: float = 0.2  # share of the vocal that is hidden on average, in spans of half a second that may overlap
    ema_decay: float = 0.995  # of the running average of the weights that is validated and kept
    log_every: int = 20
    validate_every: int = 200
    save_every: int = 200
    dtype: str = "float32"  # of the products: float32 | bfloat16
    device: str = "auto"  # auto | cpu | cuda | cuda:N

    def __post_init__(self):
        if not 0 <= self.masking < 1 or not 0 < self.ema_decay < 1:
            raise ConfigError(f"masking is {self.masking} and ema_decay {self.ema_decay}; expected 0 or more, less than 1")
        if not 1 <= self.stretch <= 2 or self.downbeat_weight < 0:
            raise ConfigError(
                f"stretch is {self.stretch} and downbeat_weight {self.downbeat_weight}; expected 1 to "
                "2, and 0 or more"
            )
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError(f"dtype is {self.dtype!r}; expected 'float32' or 'bfloat16'")
        window_blocks(self.window_seconds)
        for name in ("steps", "batch_size", "log_every", "validate_every", "save_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")

    @property
    def frames(self) -> int:
        """Of a window."""
        return frames_of(window_blocks(self.window_seconds), SEMANTIC_HZ)


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
        CheckpointError: `start_from` has other sizes or reads other units.
    """
    entered, run_dir = time.monotonic(), Path(run_dir)
    device = torch.device(choose_device(config.device))
    shards = open_shards(config.shards)
    if shards.index["semantic_vocab"] != config.model.semantic_vocab:
        raise ConfigError(
            f"model.semantic_vocab is {config.model.semantic_vocab}; {config.shards} has {shards.index['semantic_vocab']} units"
        )
    songs = {split: find_songs(config, shards, split) for split in ("train", "validation")}
    torch.manual_seed(config.seed)
    model = BeatTracker(config.model).to(device)
    if config.start_from:
        _start(model, config.start_from, shards.tokenizers[SEMANTIC])
    average = make_average(model, config.ema_decay).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    step, seconds = _resume(run_dir, config, model, average, optimizer)
    log, pausing = RunLog(run_dir, config, step, config.batch_size * config.window_seconds), False
    log.start(seconds)
    log(step=step, songs=len(songs["train"]), validation_songs=len(songs["validation"]))

    def progress():
        return max(step / config.steps, log.seconds / (60 * config.minutes) if config.minutes else 0.0)

    share = progress()
    goes_on(run_dir, share)
    if share >= 1 and (run_dir / "model").exists():
        return {"step": step, "finished": True, "validation": load_component(run_dir / "model")[0]["validation"]}
    with stop_signals() as stopped:
        while share < 1 and not pausing:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step, share)
            torch.manual_seed(_number(config.seed, step))  # of the dropout: a run that was stopped goes on with the same
            model.train()
            batch = draw_batch(config, step, songs["train"])
            loss = _loss(config, model, *(tensor.to(device) for tensor in batch))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            step += 1
            average.update_parameters(model)
            share = progress()
            log.step(step, min(1.0, share), {"loss": loss.item(), "lr": optimizer.param_groups[0]["lr"]})
            if step % config.validate_every == 0 and share < 1:
                log(step=step, validation=_validate(config, average.module, songs["validation"]))
            late = bool(pause_after_minutes) and time.monotonic() - entered > 60 * pause_after_minutes
            pausing = share < 1 and (stopped() or late)
            if pausing or step % config.save_every == 0 or share >= 1:
                _save(run_dir, config, model, average, optimizer, step, log.seconds)
    if pausing:
        log(f"stopped at step {step}, saved; the same command goes on from here")
    validation = None if pausing else _finish(run_dir, config, shards, songs, average.module, step)
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
        "started_from": component_hash(config.start_from) if config.start_from else None,
        "training": {name: value for name, value in to_dict(config).items() if name not in NOT_SAVED},
        "training_hours": round(sum(len(song.vocal) for song in songs["train"]) / SEMANTIC_HZ / 3600, 2),
        "validation": validation,
    }
    save_component(run_dir / "model", about, tracker.state_dict(), force=True)
    return validation


def unit_phases(songs: list, vocab: int) -> torch.Tensor:
    """p(unit | phase) / p(unit) of the accompaniments' units between the first and the last beat: [V, K] float32.

    A unit counts as seen in SEEN_BEFORE frames more than it was, spread over the phases, so that rare ones tell little. All is
    1 where no song has the units of its whole band.
    """
    if not any(len(song.band) for song in songs):
        return torch.ones(vocab, PHASES)
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


def _loss(config, model, units, chances, counts):
    """Cross-entropy a frame, over those that count: of a beat, and of that being a downbeat.

    The second is weighted by the chance of a beat: together they are the cross-entropy of "downbeat,
    other beat, none".
    """
    with torch.autocast(units.device.type, torch.bfloat16, enabled=config.dtype == "bfloat16"):
        logits = model(units)
    logits, beat, downbeat = logits.float(), chances[..., 0], chances[..., 1]
    nats = F.binary_cross_entropy_with_logits(logits[..., 0], beat, reduction="none")
    if config.model.downbeats:
        share = downbeat / beat.clamp(min=1e-6)
        of_place = F.binary_cross_entropy_with_logits(logits[..., 1], share, reduction="none")
        nats = nats + config.downbeat_weight * beat * of_place
    return (nats * counts).sum() / counts.sum().clamp(min=1)


def _validate(config, model, songs):
    """Figures on the first window of each song: of the phase and, with downbeats, of beats found."""
    figures, device = [], next(model.parameters()).device
    for song in songs:
        units = torch.from_numpy(song.vocal[: config.frames].astype(np.int64))[None].to(device)
        found = _phase_figures(model.phases(units)[0].cpu(), phases_of(song.beats, config.frames))
        if config.model.downbeats:
            found |= _beat_figures(model.beats(units[0]), song, config.window_seconds)
        figures.append(found)
    means = {name: float(np.mean([found[name] for found in figures])) for name in figures[0]}
    means = {name: round(mean, 4) for name, mean in means.items()}
    return {"uniform": round(math.log(PHASES), 4), **means, "songs": len(songs)}


def _phase_figures(found, truth):
    """Of phases [S, K] against annotated ones [S], -1 where there is none: cross-entropy in nats (no
    idea: log K), and the share of frames in which the mean phase is right to an eighth of a beat."""
    angles = 2 * math.pi * (torch.arange(PHASES) + 0.5) / PHASES
    truth = torch.from_numpy(truth)
    known = truth >= 0  # in some frame: see `_songs`
    nats = -found[known, truth[known]].clamp(min=1e-6).log().mean()
    mean = torch.atan2(found @ angles.sin(), found @ angles.cos())
    off = torch.remainder(mean - angles[truth] + math.pi, 2 * math.pi) - math.pi
    right = (off[known].abs() < math.pi / 4).float().mean()
    return {"phase_cross_entropy": nats.item(), "right_phase": right.item()}


def _beat_figures(found, song, seconds):
    """F1 of beats and downbeats within 70 ms, where beats are annotated; is the tempo right to 4 %?"""
    times, places = np.array([time for time, _ in found]), np.array([place for _, place in found])
    annotated = song.beats < seconds
    beats, downbeats = song.beats[annotated], song.beats[annotated & song.downbeats]
    inside = (times > beats[0] - BEAT_WINDOW_SECONDS) & (times < beats[-1] + BEAT_WINDOW_SECONDS)
    error, level = tempo_error(tempo(times), tempo(beats))
    return {
        "beat_f1": beat_f1(times[inside], beats) or 0.0,
        "downbeat_f1": beat_f1(times[inside & (places == 1)], downbeats) or 0.0,
        "right_tempo": float(error is not None and error < 4 and not level),
    }


def _start(model, directory, units):
    """Give `model` the weights of the tracker in `directory`, which reads the same `units` (a hash)."""
    about, tensors = load_component(directory)
    if about.get("tokenizers", {}).get(SEMANTIC) != units:
        raise CheckpointError(
            f"{directory} was trained on other units than those of the shards; tokenize with its "
            "semantic tokenizer, or begin without start_from"
        )
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    try:
        if model.config.downbeats and not about["beat_tracker"].get("downbeats", False):
            for name in ("leave.weight", "leave.bias"):
                both = torch.zeros_like(model.state_dict()[name])
                both[0::2] = tensors[name]  # of each frame the beat, then the downbeat
                tensors[name] = both
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{directory} has the sizes {about['beat_tracker']}; the configuration has {model.config}"
        ) from error


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
