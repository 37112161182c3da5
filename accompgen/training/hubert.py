"""The small HuBERT of the default checkpoint, from scratch: songs -> semantic tokenizer.

Masked prediction as in HuBERT's first iteration, with three choices of ours: the targets are clusters of MFCC and chroma
(hubert_targets.py), so that units carry pitch as well as phones; frames that are not masked are predicted too, because a unit
has to say what sounds now; the first convolution is a bank of tuned filters, a semitone apart, that is not trained, so that
minutes are enough. Targets come from the clean sound, the network hears it with noise, another level and another colour.

A run directory holds config.json, log.jsonl, last/state.pt (resumes exactly) and, when done, model/ (a component directory).
"""

import json
import math
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from accompgen.config import ConfigError, from_dict, read_toml, to_dict
from accompgen.data.songs import read_manifest
from accompgen.device import choose_device
from accompgen.tokens import kmeans
from accompgen.tokens.hubert import SAMPLE_RATE, Hubert, HubertConfig
from accompgen.training import hubert_targets as targets
from accompgen.training.hubert_units import PARTS, choose_tokenizer, read_sound, spaced
from accompgen.training.optimizer import learning_rate
from accompgen.training.run_log import RunLog
from accompgen.training.run_state import goes_on, lasting, load_state, save_state
from accompgen.training.stops import stop_signals


@dataclass(frozen=True)
class HubertTrainConfig:
    """How the small HuBERT and its k-means are trained."""

    kind: ClassVar = "semantic tokenizer"
    model: HubertConfig
    manifest: str  # JSONL of songs; only those with a vocal and an accompaniment of their own are used
    units: int = 500  # V, of the targets and of the tokenizer
    chroma_weight: float = 2.0  # of the chroma beside MFCC of unit total variance, in the targets; 0: they are MFCC alone
    seed: int = 0
    steps: int = 2000
    minutes: float = 0.0  # stop learning after this wall time and make the tokenizer of what there is; 0: no limit
    batch_size: int = 10  # segments per step
    segment_seconds: float = 6.0
    pool_songs: int = 16  # songs in memory that a step draws its segments from
    steps_per_song: int = 2  # a new song enters the pool after so many steps
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    final_learning_rate: float = 0.05  # the cosine ends at this fraction of learning_rate
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    mask_share: float = 0.3  # expected share of masked frames, overlaps counted twice
    mask_frames: int = 10
    unmasked_weight: float = 1.0  # weight of the loss of frames that are heard
    noise: float = 0.01  # standard deviation of the noise on half of the segments
    lowest_hz: float = 55.0  # lowest of the tuned filters that the first convolution is; 0: it is random and trained
    cluster_songs: int = 60  # training songs whose frames the k-means see
    probe_songs: int = 40  # held-out songs that choose the layer
    probe_layers: tuple[int, ...] = (1, 2, 3, 4)
    log_every: int = 20
    validate_every: int = 200
    save_every: int = 200
    dtype: str = "float32"  # float32 | bfloat16, of the transformer's arithmetic; the convolutions stay float32
    device: str = "auto"  # auto | cpu | cuda | cuda:N

    def __post_init__(self):
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError(f"dtype is {self.dtype!r}; expected 'float32' or 'bfloat16'")
        if not 0 <= self.chroma_weight < math.inf:
            raise ConfigError(f"chroma_weight is {self.chroma_weight}; expected 0 (targets without chroma) or more")
        if any(not 0 < layer <= self.model.layers for layer in self.probe_layers) or not self.probe_layers:
            raise ConfigError(f"probe_layers {list(self.probe_layers)} must name layers from 1 to {self.model.layers}")
        if self.model.hop_samples != targets.HOP:
            raise ConfigError(f"conv_strides multiply to {self.model.hop_samples}; expected {targets.HOP}, 50 frames a second")


def read_config(path, overrides=()) -> HubertTrainConfig:
    """The TOML file of a training with `key=value` overrides. Raises ConfigError."""
    return from_dict(HubertTrainConfig, read_toml(path, overrides), str(path))


def train(config: HubertTrainConfig, run_dir, stop_at: int | None = None, pause_after_minutes: float = 0.0) -> Path | None:
    """Train, or go on with, the run in `run_dir`; returns the tokenizer's component directory run_dir/model.

    Args:
        stop_at: leave after this step, saved, without making the tokenizer (returns None).
        pause_after_minutes: the same after so much wall time of this call; 0: do not.

    Raises:
        ConfigError: the run was begun with another configuration, the manifest lacks songs, or there is no such device.
    """
    entered, run_dir = time.monotonic(), Path(run_dir)
    device = torch.device(choose_device(config.device))
    songs = {split: _songs(config.manifest, split) for split in ("train", "validation")}
    lasts = lasting(config, "manifest", "probe_layers", "probe_songs")
    state = load_state(run_dir, lasts)
    step, seconds = (state["step"], state["seconds"]) if state else (0, 0.0)
    log = RunLog(run_dir, config, step, config.batch_size * config.segment_seconds)
    if state is None:
        log(f"{len(songs['train'])} training songs, {len(songs['validation'])} held-out songs; clustering the targets")
        mean, deviation, centres = _cluster_targets(config, songs["train"])
    else:
        mean, deviation, centres = state["targets"]
    torch.manual_seed(config.seed)
    hubert = Hubert(config.model).to(device).train()
    if config.lowest_hz:
        _tune_filters(hubert, config.lowest_hz)
    head = nn.Linear(config.model.width, config.units).to(device)
    parameters = [p for p in (*hubert.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98))
    if state is not None:
        hubert.network.load_state_dict(state["hubert"])
        head.load_state_dict(state["head"])
        optimizer.load_state_dict(state["optimizer"])
        log(f"resumed at step {step}")

    @lru_cache(maxsize=config.pool_songs + 2)
    def sound_and_labels(split, index):
        return [_labelled(config, songs[split][index], part, mean, deviation, centres) for part in PARTS]

    validation = _validation_batch(config, len(songs["validation"]), sound_and_labels)
    last_step = config.steps if stop_at is None else min(config.steps, stop_at)
    log.start(seconds)
    goes_on(run_dir, step / config.steps)
    with stop_signals() as stopped:
        while step < last_step and not (config.minutes and log.seconds > 60 * config.minutes):
            after_warmup = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
            rate = learning_rate(config, step, after_warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = _batch(config, step, len(songs["train"]), sound_and_labels)
            loss, figures = _loss(config, hubert, head, *(tensor.to(device) for tensor in batch))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm)
            optimizer.step()
            step += 1
            spent = log.seconds / (60 * config.minutes) if config.minutes else 0.0
            share = max(step / config.steps, min(spent, 1.0))
            log.step(step, share, {**figures, "norm": norm.item(), "lr": rate}, now=step == last_step)
            if step % config.validate_every == 0 or step == last_step:
                with torch.no_grad():
                    figures = _loss(config, hubert, head, *(tensor.to(device) for tensor in validation))[1]
                log(step=step, **{f"validation_{key}": value for key, value in figures.items()})
            late = bool(pause_after_minutes) and time.monotonic() - entered > 60 * pause_after_minutes
            pausing = step < last_step and (stopped() or late)
            if step % config.save_every == 0 or step == last_step or pausing:
                weights = {"hubert": hubert.network.state_dict(), "head": head.state_dict()}
                weights |= {"optimizer": optimizer.state_dict()}
                progress = {"step": step, "seconds": log.seconds, "targets": (mean, deviation, centres)}
                save_state(run_dir, {**weights, **progress, "config": lasts})
            if pausing:
                log(f"paused at step {step}, saved; the same command goes on from here")
                return None
    if stop_at is not None and step >= stop_at:
        return None
    _write_json(run_dir / "config.json", {**to_dict(config), "trained_steps": step})
    tokenizer = choose_tokenizer(config, hubert.eval(), songs, (mean, deviation, centres), log)
    tokenizer.save(run_dir / "model", force=True)
    return run_dir / "model"


def _songs(manifest, split):
    """Songs of a split: dicts with "meta" and, of vocal and accompaniment, the files that sum to them."""
    try:
        songs = [song for song in read_manifest(manifest) if song.split == split and song.tracks.vocal and song.meta]
    except OSError as error:
        raise ConfigError(f"cannot read the manifest {manifest}: {error.strerror}") from error
    if not songs:
        raise ConfigError(f"{manifest} has no song of the split {split} with vocal, accompaniment and meta")
    return [{part: song.tracks.files_of(part) for part in PARTS} | {"meta": song.meta} for song in songs]


def _labelled(config, song, part, mean, deviation, centres):
    wav = read_sound(*song[part])
    return wav, kmeans.assign(targets.describe(wav, mean, deviation, config.chroma_weight), centres)


def _cluster_targets(config, songs):
    """Mean and deviation of MFCC [39] and the centres [V, 51] of the described frames, of `cluster_songs` songs."""
    wavs = [read_sound(*song[part]) for song in spaced(songs, config.cluster_songs) for part in PARTS]
    values = torch.cat([targets.mfcc(wav) for wav in wavs])
    mean, deviation = values.mean(0), values.std(0).clamp_min(1e-3)
    rows = torch.cat([targets.describe(wav, mean, deviation, config.chroma_weight) for wav in wavs])
    return mean, deviation, kmeans.fit(rows, config.units, seed=config.seed)


def _tune_filters(hubert, lowest_hz):
    """Fix the first convolution as windowed cosines in three phases: five octaves of semitones, then wider up to 7 kHz."""
    weight = hubert.network.feature_extractor.conv_layers[0].conv.weight  # [C, 1, K]
    channels, _, taps = weight.shape
    bands = channels // 3
    tuned = lowest_hz * 2 ** (torch.arange(60) / 12)
    top = torch.logspace(math.log10(float(tuned[-1]) * 1.06), math.log10(7000), max(1, bands - 60))
    hz = torch.cat([tuned, top])[:bands]
    at = (torch.arange(taps) - (taps - 1) / 2) / SAMPLE_RATE
    filters = torch.zeros(channels, taps)
    for index, frequency in enumerate(hz.tolist()):
        length = min(taps / SAMPLE_RATE, 20 / frequency)  # s
        window = torch.where(at.abs() < length / 2, (torch.pi * at / length).cos().square(), 0.0)
        gain = 32 * math.sqrt(frequency / 440) / float(window.sum())
        for phase in range(3):
            filters[3 * index + phase] = gain * window * (2 * torch.pi * (frequency * at + phase / 3)).cos()
    with torch.no_grad():
        weight.copy_(filters[:, None])
    weight.requires_grad_(False)


def _batch(config, step, songs, sound_and_labels):
    """wav [B, T], labels [B, S] and mask [B, S] of a step: a function of the seed and the step alone."""
    rng = np.random.default_rng([config.seed, 1, step])
    newest = step // config.steps_per_song + config.pool_songs
    pool = [_song_at(config.seed, position, songs) for position in range(newest - config.pool_songs, newest)]
    rows = []
    for row in range(config.batch_size):
        song = sound_and_labels("train", int(rng.choice(pool)))
        rows.append(_segment(config, rng, *song[row % len(PARTS)]))
    return tuple(torch.stack(column) for column in zip(*rows))


def _song_at(seed, position, songs):
    """Song at a position of the endless sequence of shuffled passes."""
    passed, index = divmod(position, songs)
    return int(_order(seed, passed, songs)[index])


@lru_cache(maxsize=4)
def _order(seed, passed, songs):
    return np.random.default_rng([seed, 2, passed]).permutation(songs)


def _segment(config, rng, wav, labels):
    """A random segment, its labels and its mask; the sound gets another level and colour, and half of the time noise."""
    frames = round(config.segment_seconds * SAMPLE_RATE / targets.HOP)
    start = int(rng.integers(0, max(1, len(labels) - frames + 1)))
    samples = slice(start * targets.HOP, (start + frames) * targets.HOP)
    sound = F.pad(wav[samples], (0, max(0, frames * targets.HOP - len(wav[samples]))))
    labels = F.pad(labels[start : start + frames], (0, max(0, frames - len(labels))), value=-100)
    colour, decibels, noisy = rng.uniform(-0.4, 0.4), rng.uniform(-14, 6), rng.random() < 0.5
    sound = sound - colour * F.pad(sound, (1, 0))[:-1]
    sound = sound * 10 ** (decibels / 20)
    noise = torch.from_numpy(rng.standard_normal(len(sound), dtype=np.float32))
    starts = rng.random(frames) < config.mask_share / config.mask_frames
    mask = np.convolve(starts, np.ones(config.mask_frames))[:frames] > 0
    return sound + config.noise * noisy * noise, labels, torch.from_numpy(mask)


def _validation_batch(config, songs, sound_and_labels):
    rng = np.random.default_rng([config.seed, 3])
    rows = [
        _segment(config, rng, *sound_and_labels("validation", index)[part])
        for index in range(min(songs, config.pool_songs))
        for part in range(len(PARTS))
    ]
    return tuple(torch.stack(column) for column in zip(*rows))


def _loss(config, hubert, head, wav, labels, mask):
    """Cross-entropy of masked and of heard frames -> (loss, figures)."""
    left, right = _margins(config.model)
    x = torch.cat([hubert.project(conv) for conv in hubert.convolve(F.pad(wav, (left, right)))], dim=1)  # [B, S, D]
    x = torch.where(mask[..., None], hubert.network.masked_spec_embed, x)
    with torch.autocast(wav.device.type, torch.bfloat16, enabled=config.dtype == "bfloat16"):
        logits = head(hubert.encode(x, config.model.layers)).float()  # [B, S, V]
    figures, loss = {}, 0.0
    for name, chosen, weight in (("masked", mask, 1.0), ("heard", ~mask, config.unmasked_weight)):
        chosen = chosen & (labels >= 0)
        part = F.cross_entropy(logits[chosen], labels[chosen], reduction="sum") / chosen.sum().clamp_min(1)
        right_share = (logits[chosen].argmax(-1) == labels[chosen]).float().sum() / chosen.sum().clamp_min(1)
        loss = loss + weight * part
        figures |= {f"{name}_loss": part.item(), f"{name}_accuracy": right_share.item()}
    return loss, figures


def _margins(model):
    """Zeros before and after a segment, so that it gives a frame per hop (as tokens.semantic.pad does)."""
    left = (model.field_samples - model.hop_samples) // 2
    return left, model.field_samples - model.hop_samples - left


def _write_json(path, values):
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
