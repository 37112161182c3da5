"""Trains a small EnCodec from scratch on the songs of a manifest.

It hears the accompaniments and, where the manifest names them, their stems, so that each stem has
its own 6 kbps. The course of a training, each part because leaving it out failed:
1. every convolution is rescaled on a real batch (codec_init.py), and the inner ones move in
   orthogonal steps (codec_optimizer.py);
2. `plain_steps` without quantiser: while the encoder moves, no codebook keeps up with it. The first
   `wave_steps` see the waveform alone, since a loss led by mels diverges at the start; then the mel
   loss joins, else the treble stays empty;
3. then the encoder stands still: k-means codebooks on its latents, refined by EMA, and the decoder
   learns to hear them, with a random number of codebooks per crop, so that the first four alone can
   be decoded.

All randomness of a step comes from (seed, step): a resumed training draws what an uninterrupted one
would have drawn.
"""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from accompgen.config import ConfigError, from_dict, to_dict
from accompgen.device import choose_device
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.encodec import CodecConfig, build_network
from accompgen.training.codec_figures import codec_figures, evaluate_codec
from accompgen.training.codec_init import (
    quantize,
    rescale_convolutions,
    start_codebooks,
    update_codebooks,
)
from accompgen.training.codec_losses import (
    MEL_BANDS,
    MEL_WINDOWS,
    mel_filters,
    reconstruction_losses,
)
from accompgen.training.codec_optimizer import CodecOptimizer
from accompgen.training.codec_songs import (
    draw_crops,
    step_random,
    training_sounds,
    validation_sounds,
)
from accompgen.training.optimizer import warmed_up
from accompgen.training.run_log import RunLog
from accompgen.training.run_state import goes_on, lasting, load_state, save_state
from accompgen.training.state import write_text
from accompgen.training.stops import stop_signals

__all__ = ["CodecTraining", "evaluate_codec", "train_codec"]

KMEANS_BATCHES = 40
# of the configuration, beside the length of the run, when it goes on
MAY_CHANGE = ("manifest", "learning_rate", "validation_songs", "validation_seconds")


@dataclass(frozen=True)
class CodecTraining:
    """How the codec is trained. The schedule follows `steps` alone."""

    kind: ClassVar = "acoustic tokenizer"
    manifest: str
    model: CodecConfig
    seed: int = 0
    steps: int = 1600
    minutes: float = 0.0  # wall time after which a call stops, to be resumed; 0: no limit
    batch_size: int = 8
    crop_seconds: float = 1.0
    learning_rate: float = 0.015  # relative to the size of a weight, see codec_optimizer.py
    warmup_steps: int = 50
    decay_share: float = 0.6  # in the last share of the steps the rate falls linearly
    final_learning_rate: float = 0.02  # of the fall, as a fraction of learning_rate
    clip_norm: float = 1000.0  # far above the usual 20: stops a broken batch alone
    wave_steps: int = 150  # at the start, with the waveform loss alone
    plain_steps: int = 1000  # without quantiser; after them the encoder is frozen
    mel_ramp_steps: int = 600  # after wave_steps: from mel_weight[0] to mel_weight[1]
    mel_weight: tuple[float, float] = (0.5, 0.8)
    mel_floor: float = 1e-3  # smaller magnitudes count as it does; about -60 dB of full scale
    wave_weight: float = 1.0
    flux_weight: float = 0.0  # of how log mels change from frame to frame
    onset_weight: float = 0.0  # of the onset envelope
    # of the octaves' energy in tenths of a second: what is hard to predict must not be left out
    octave_weight: float = 0.0
    gain_db: tuple[float, float] = (-6.0, 3.0)  # random level of a crop
    songs: int = 0  # of the training songs, so many at most; 0: all
    stem_share: float = 0.4  # of the crops that are a stem alone, where songs have stems
    dtype: str = "float32"  # of the convolutions: float32 | bfloat16
    device: str = "auto"
    log_every: int = 25
    validate_every: int = 500
    validation_songs: int = 12
    validation_seconds: float = 8.0  # of each of them

    def __post_init__(self):
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError(f"dtype is {self.dtype!r}; expected 'float32' or 'bfloat16'")
        counts = ("steps", "batch_size", "warmup_steps", "plain_steps", "mel_ramp_steps")
        for name in (*counts, "log_every", "validate_every", "validation_songs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if not 0 <= self.stem_share <= 1:
            raise ConfigError(f"stem_share is {self.stem_share}; expected 0 to 1")
        if self.crop_seconds * 24000 < 2 * max(MEL_WINDOWS):
            least = 2 * max(MEL_WINDOWS) / 24000
            raise ConfigError(f"crop_seconds is {self.crop_seconds}; expected {least:.2f} or more")


def train_codec(config: CodecTraining, run_dir, pause_after_minutes: float = 0.0) -> dict:
    """Train, or resume what `run_dir` holds; returns the last validation figures.

    `run_dir` gets config.json, log.jsonl, last/state.pt (everything a resumed run needs, replaced
    atomically), snapshot/, a component directory rewritten at each validation, usable from the
    first one after `plain_steps` on, and at the end model/, the same, so that its presence says
    that the run has ended.

    Args:
        pause_after_minutes: stop this call after so much wall time, saved; 0: do not.
            `config.minutes` does the same.

    Raises:
        ConfigError: the manifest has no training or no validation songs, or the run was begun with
            another configuration.
    """
    limits = [minutes for minutes in (config.minutes, pause_after_minutes) if minutes]
    deadline, run_dir = time.monotonic() + 60 * min(limits, default=math.inf), Path(run_dir)
    device = torch.device(choose_device(config.device))
    lasts = lasting(config, *MAY_CHANGE)
    state = load_state(run_dir, lasts)
    sounds, stems = training_sounds(config)
    held_out = validation_sounds(config)

    def crops(random):
        return draw_crops(config, sounds, random, stems).to(device)  # [B, T]

    network = _build(config, device)
    if state is None:
        rescale_convolutions(network, crops(step_random(config.seed, 0)[0])[:, None])
    tokenizer = AcousticTokenizer(config.model, network)
    optimizer = CodecOptimizer(network.train(), config.learning_rate)
    mels = [mel_filters(*sizes).to(device) for sizes in zip(MEL_WINDOWS, MEL_BANDS)]
    step, seconds, figures = 0, 0.0, {}
    if state is not None:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        step, seconds, figures = state["step"], state["seconds"], state["figures"]
    log = RunLog(run_dir, config, step, config.batch_size * config.crop_seconds)
    log.start(seconds)
    log(step=step, songs=len(sounds), stems=len(stems))

    # ended by an earlier call: it is not trained on
    ended = step >= config.steps and (run_dir / "model").exists()
    goes_on(run_dir, step / config.steps)
    with stop_signals() as stopped:
        while not ended:
            random, generator = step_random(config.seed, step)
            if step == config.plain_steps:
                start_codebooks(network.quantizer, _latents(config, network, crops), generator)
            parts = _step(config, network, optimizer, crops(random), mels, step, random, generator)
            step += 1
            log.step(step, step / config.steps, parts)
            ended = step >= config.steps or time.monotonic() > deadline or stopped()
            if ended or step % config.validate_every == 0:
                network.eval()
                figures = codec_figures(tokenizer, held_out)
                network.train()
                log(step=step, validation=figures)
                for name in ("snapshot", "model") if step >= config.steps else ("snapshot",):
                    tokenizer.save(run_dir / name, force=True)
                write_text(run_dir / "config.json", json.dumps(to_dict(config), indent=2) + "\n")
                weights = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
                now = {"step": step, "seconds": log.seconds, "figures": figures, "config": lasts}
                save_state(run_dir, weights | now)
    if step < config.steps:
        log(f"stopped at step {step}, saved; the same command goes on from here")
    return figures


def _step(config, network, optimizer, wav, mels, step, random, generator):
    """Follow the gradient once -> figures of the step. Raises FloatingPointError where it is not finite."""
    rate = learning_rate(config, step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss, parts = _loss(config, network, wav, mels, step, random, generator)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
    if not math.isfinite(norm):
        raise FloatingPointError(f"step {step}: the gradient is not finite; lower learning_rate and resume the run")
    optimizer.step()
    return {"loss": loss.detach(), **parts, "norm": norm, "lr": rate}


# ---- one step, in parts --------------------------------------------------------------------------


def _loss(config, network, wav, mels, step, random, generator):
    """The loss of crops [B, T] in step `step`, and its parts, detached."""
    plain = step < config.plain_steps
    network.encoder.requires_grad_(plain)
    with torch.autocast(wav.device.type, torch.bfloat16, enabled=config.dtype == "bfloat16"):
        latent = network.encoder(wav[:, None])
    latent = latent.float()  # [B, D, F]
    heard, replaced = latent, 0
    if not plain:
        heard, replaced = quantize_crops(network.quantizer, latent, random, generator)
    with torch.autocast(wav.device.type, torch.bfloat16, enabled=config.dtype == "bfloat16"):
        back = network.decoder(heard)
    back = back[:, 0, : wav.shape[1]].float()  # [B, T]

    parts = reconstruction_losses(wav, back, mels, config.mel_floor)
    loss = config.wave_weight * parts["wave"] + mel_weight(config, step) * parts["mel"]
    loss = loss + config.flux_weight * parts["flux"] + config.octave_weight * parts["octaves"]
    loss = loss + config.onset_weight * parts["onsets"]
    return loss, {name: part.detach() for name, part in parts.items()} | {"replaced": replaced}


def quantize_crops(quantizer, latent, random, generator):
    """Quantise [B, D, F] with a random number of codebooks per crop, and let the codebooks learn.

    Half of the crops hear all codebooks, 3 in 10 the coarse half, the others any number.

    Returns:
        quantised latent [B, D, F] (without gradient), number of replaced codes.
    """
    batch, width, frames = latent.shape
    books = len(quantizer.layers)
    flat = latent.detach().transpose(1, 2).reshape(-1, width)  # [B * F, D]
    codes, residuals = quantize(quantizer, flat)
    choice = random.random(batch)
    any_number = random.integers(1, books + 1, batch)
    counts = np.where(choice < 0.5, books, np.where(choice < 0.8, max(1, books // 2), any_number))
    counts = torch.as_tensor(counts, device=latent.device).repeat_interleave(frames)  # [B * F]
    heard = torch.zeros_like(flat)
    for index, (layer, chosen) in enumerate(zip(quantizer.layers, codes)):
        heard += layer.codebook.embed[chosen] * (index < counts)[:, None]
    heard = heard.reshape(batch, frames, width).transpose(1, 2)
    return heard, update_codebooks(quantizer, codes, residuals, generator)


def learning_rate(config: CodecTraining, step: int) -> float:
    """Linear warmup, constant, linear fall over the last `decay_share` of the steps."""
    left = (config.steps - step) / max(1.0, config.decay_share * config.steps)
    return warmed_up(config, step, min(1.0, max(0.0, left)))


def mel_weight(config: CodecTraining, step: int) -> float:
    """0 in the wave steps, then a ramp between the two values."""
    if step < config.wave_steps:
        return 0.0
    done = min(1.0, (step - config.wave_steps) / config.mel_ramp_steps)
    return config.mel_weight[0] + done * (config.mel_weight[1] - config.mel_weight[0])


def _build(config, device):
    """The network with random weights of the seed; the caller's random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build_network(config.model).to(device)


@torch.no_grad()
def _latents(config, network, crops):
    """Latents [N, D] of fresh crops, for the k-means."""
    parts = []
    for batch in range(KMEANS_BATCHES):
        wav = crops(np.random.default_rng([config.seed, config.plain_steps, batch]))
        parts.append(network.encoder(wav[:, None]).transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)


def run(values: dict, run_dir, pause_after_minutes: float = 0.0) -> dict:
    """Train from the plain values of a TOML file; see `train_codec`."""
    config = from_dict(CodecTraining, values, "codec configuration")
    return train_codec(config, run_dir, pause_after_minutes)
