"""Trains a small EnCodec from scratch on the accompaniments of a manifest: one function, read from top to bottom.

The course of a training, each part because leaving it out failed:
1. every convolution is rescaled on a real batch (codec_init.py), and the inner ones move in orthogonal steps
   (codec_optimizer.py);
2. `plain_steps` without quantiser: while the encoder moves, no codebook keeps up with it. The first `wave_steps` see the
   waveform alone, since a loss led by mels diverges at the start; then the mel loss joins, else the treble stays empty;
3. then the encoder stands still: k-means codebooks on its latents, refined by EMA, and the decoder learns to hear them,
   with a random number of codebooks per crop, so that the first four alone can be decoded.

With `start_from` there is but the third part, without k-means and EMA: encoder and codebooks of a trained codec stay, and with
them the codes it gives, so that shards and stages made with it can go on with the new decoder.

All randomness of a step comes from (seed, step): a resumed training draws what an uninterrupted one would have drawn.
There is no discriminator; one would add its loss beside `codec_losses.reconstruction_losses`.
"""

import json
import math
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from accompgen.checkpoint import tokens_hash
from accompgen.config import ConfigError, from_dict, to_dict
from accompgen.device import choose_device
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.encodec import CodecConfig, build_network
from accompgen.training.codec_figures import accompaniment_paths, codec_figures, evaluate_codec, read_mono
from accompgen.training.codec_init import (
    quantize,
    rescale_convolutions,
    start_codebooks,
    update_codebooks,
)
from accompgen.training.codec_losses import MEL_BANDS, MEL_WINDOWS, mel_filters, reconstruction_losses
from accompgen.training.codec_optimizer import CodecOptimizer

__all__ = ["CodecTraining", "evaluate_codec", "train_codec"]

KMEANS_BATCHES = 40


@dataclass(frozen=True)
class CodecTraining:
    """How the codec is trained. `minutes` stops a run early, resumable; the schedule follows `steps` alone."""

    manifest: str
    model: CodecConfig
    start_from: str = ""  # directory of a codec of these sizes, whose decoder alone goes on
    seed: int = 0
    steps: int = 1600
    minutes: float = 0.0  # wall time of this call; 0: no limit
    batch_size: int = 8
    crop_seconds: float = 1.0
    learning_rate: float = 0.015  # relative to the size of a weight, see codec_optimizer.py
    warmup_steps: int = 50
    decay_share: float = 0.6  # the last share of the steps, in which the rate falls linearly to final_learning_rate
    final_learning_rate: float = 0.02  # as a fraction of learning_rate
    clip_norm: float = 1000.0  # far above the usual 20: stops a broken batch alone
    wave_steps: int = 150  # at the start, with the waveform loss alone
    plain_steps: int = 1000  # without quantiser; after them the encoder is frozen
    mel_ramp_steps: int = 600  # after wave_steps: the mel weight goes from mel_weight[0] to mel_weight[1]
    mel_weight: tuple[float, float] = (0.5, 0.8)
    mel_floor: float = 1e-3  # magnitudes below it count as it does; 1e-3 is about -60 dB of full scale
    wave_weight: float = 1.0
    flux_weight: float = 0.0  # of how log mels change from frame to frame
    onset_weight: float = 0.0  # of the onset envelope
    octave_weight: float = 0.0  # of the octaves' energy in tenths of a second: what is hard to predict must not be left out
    gain_db: tuple[float, float] = (-6.0, 3.0)  # random level of a crop
    songs: int = 0  # read at most so many training songs; 0: all
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
        if self.crop_seconds * 24000 < 2 * max(MEL_WINDOWS):
            least = 2 * max(MEL_WINDOWS) / 24000
            raise ConfigError(f"crop_seconds is {self.crop_seconds}; expected {least:.2f} or more")


def train_codec(config: CodecTraining, run_dir, pause_after_minutes: float = 0.0) -> dict:
    """Train, or resume what `run_dir` holds; returns the last validation figures.

    `run_dir` gets config.json, log.jsonl, last/state.pt (everything a resumed run needs, replaced atomically), snapshot/, a
    component directory rewritten at each validation, usable from the first one after `plain_steps` on, and at the end
    model/, the same, so that its presence says that the run has ended.

    Args:
        pause_after_minutes: stop this call after so much wall time, saved; 0: do not. `config.minutes` does the same.

    Raises:
        ConfigError: the manifest has no training or no validation songs, or `run_dir` has another model or seed.
    """
    entered, run_dir = time.monotonic(), Path(run_dir)
    device = torch.device(choose_device(config.device))
    sounds = list(_read_songs(config, "train", config.songs))
    held_out = [
        wav[: int(config.validation_seconds * 24000)] / np.float32(32767)
        for wav in _read_songs(config, "validation", config.validation_songs)
    ]

    going_on = bool(config.start_from)
    tokenizer = _start_from(config, device) if going_on else _start_anew(config, sounds, device)
    network = tokenizer.network.train()
    optimizer = CodecOptimizer(network, config.learning_rate)
    mels = [mel_filters(window, bands).to(device) for window, bands in zip(MEL_WINDOWS, MEL_BANDS)]
    step, figures = _resume(config, run_dir, network, optimizer, device)

    began, first_step = time.monotonic(), step
    ended = step >= config.steps and (run_dir / "model").exists()  # by an earlier call: it is not trained on
    if not ended and (run_dir / "model").exists():  # the run goes on: snapshot/ holds the same weights
        shutil.rmtree(run_dir / "model")
    sums, log = {}, open(run_dir / "log.jsonl", "a", encoding="utf-8")
    while not ended:
        crops_random, generator = step_random(config.seed, step)
        plain = step < config.plain_steps and not going_on
        if step == config.plain_steps and not going_on:
            start_codebooks(network.quantizer, _latents(config, network, sounds, device), generator)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        wav = draw_crops(config, sounds, crops_random).to(device)  # [B, T]

        network.encoder.requires_grad_(plain)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.dtype == "bfloat16"):
            latent = network.encoder(wav[:, None])
        latent = latent.float()  # [B, D, F]
        heard, replaced = latent, 0
        if not plain:
            heard, replaced = quantize_crops(network.quantizer, latent, crops_random, None if going_on else generator)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.dtype == "bfloat16"):
            back = network.decoder(heard)
        back = back[:, 0, : wav.shape[1]].float()  # [B, T]

        parts = reconstruction_losses(wav, back, mels, config.mel_floor)
        loss = config.wave_weight * parts["wave"] + mel_weight(config, step) * parts["mel"]
        loss = loss + config.flux_weight * parts["flux"] + config.octave_weight * parts["octaves"]
        loss = loss + config.onset_weight * parts["onsets"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
        if not math.isfinite(norm):
            raise FloatingPointError(f"step {step}: the gradient is not finite; lower learning_rate and resume {run_dir}")
        optimizer.step()
        step += 1

        parts = {name: part.detach() for name, part in (dict(loss=loss) | parts).items()}
        for name, value in (parts | dict(norm=norm, replaced=replaced)).items():
            sums[name] = sums.get(name, 0.0) + float(value) / config.log_every
        seconds = time.monotonic() - began
        if step % config.log_every == 0:
            speed = (step - first_step) * config.batch_size * config.crop_seconds / seconds
            left = (config.steps - step) * seconds / (step - first_step) / 60
            print(
                f"step {step}/{config.steps}  loss {sums['loss']:.3f}  wave {sums['wave']:.3f}  mel {sums['mel']:.3f}  "
                f"flux {sums['flux']:.3f}  octaves {sums['octaves']:.3f}  onsets {sums['onsets']:.3f}  "
                f"norm {sums['norm']:.2f}  replaced {sums['replaced']:.1f}  "
                f"lr {learning_rate(config, step):.1e}  {speed:.1f} s/s  {left:.0f} min left",
                flush=True,
            )
            _write_line(log, step=step, **sums)
            sums = {}
        ended = step >= config.steps or (config.minutes > 0 and seconds > 60 * config.minutes)
        ended = ended or bool(pause_after_minutes and time.monotonic() - entered > 60 * pause_after_minutes)
        if ended or step % config.validate_every == 0:
            network.eval()
            figures = codec_figures(tokenizer, held_out)
            network.train()
            print(f"step {step}/{config.steps}  validation {json.dumps(figures)}", flush=True)
            _write_line(log, step=step, validation=figures)
            for name in ("snapshot", "model") if step >= config.steps else ("snapshot",):
                tokenizer.save(run_dir / name, force=True)
            _save(config, run_dir, step, figures, network, optimizer)
    log.close()
    return figures


# ---- one step, in parts ------------------------------------------------------------------------------------------


def step_random(seed: int, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """Random numbers of one step: for the crops and codebooks, and for the codebooks' dead codes."""
    numbers = np.random.default_rng([seed, step])
    return numbers, torch.Generator().manual_seed(int(numbers.integers(2**62)))


def draw_crops(config: CodecTraining, sounds: list[np.ndarray], random: np.random.Generator) -> torch.Tensor:
    """Crops [B, T] float32 of random songs at random places, at a random level and polarity."""
    samples = int(config.crop_seconds * 24000)
    crops = np.zeros((config.batch_size, samples), np.float32)
    for crop in crops:
        sound = sounds[random.integers(len(sounds))]
        start = random.integers(max(1, len(sound) - samples + 1))
        piece = sound[start : start + samples] / np.float32(32767)
        gain = 10 ** (random.uniform(*config.gain_db) / 20) * random.choice([-1, 1])
        crop[: len(piece)] = piece * (gain / max(1.0, abs(gain) * np.abs(piece).max()))
    return torch.from_numpy(crops)


def quantize_crops(quantizer, latent, random, generator):
    """Quantise [B, D, F] with a random number of codebooks per crop, and let the codebooks learn, unless `generator` is None.

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
    return heard, update_codebooks(quantizer, codes, residuals, generator) if generator else 0


def learning_rate(config: CodecTraining, step: int) -> float:
    """Linear warmup, constant, linear fall over the last `decay_share` of the steps."""
    left = (config.steps - step) / max(1.0, config.decay_share * config.steps)
    fall = config.final_learning_rate + (1 - config.final_learning_rate) * min(1.0, max(0.0, left))
    return config.learning_rate * fall * min(1.0, (step + 1) / config.warmup_steps)


def mel_weight(config: CodecTraining, step: int) -> float:
    """0 in the wave steps, then a ramp between the two values; with `start_from` the second one throughout."""
    if config.start_from:
        return config.mel_weight[1]
    if step < config.wave_steps:
        return 0.0
    done = min(1.0, (step - config.wave_steps) / config.mel_ramp_steps)
    return config.mel_weight[0] + done * (config.mel_weight[1] - config.mel_weight[0])


# ---- songs and state ---------------------------------------------------------------------------------------------


def _read_songs(config, split, limit):
    paths = accompaniment_paths(config.manifest, split)
    if not paths:
        raise ConfigError(f"{config.manifest} has no {split} songs; prepare some first")
    for path in paths[:limit] if limit else paths:
        yield np.round(read_mono(path).clip(-1, 1) * 32767).astype(np.int16)  # 16 bits: nine hours fit in 1.6 GB


def _start_anew(config, sounds, device):
    """A codec with random weights whose convolutions fit the sounds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = build_network(config.model).to(device)
    rescale_convolutions(network, draw_crops(config, sounds, step_random(config.seed, 0)[0])[:, None].to(device))
    return AcousticTokenizer(config.model, network)


def _start_from(config, device):
    """The codec of `start_from`, which names the codes that it gives."""
    tokenizer = AcousticTokenizer.load(config.start_from, device)
    found = replace(tokenizer.config, codes_of="")
    if found != config.model:
        raise ConfigError(
            f"{config.start_from} has the sizes {to_dict(found)}; this configuration says {to_dict(config.model)}"
        )
    named = replace(found, codes_of=tokens_hash(config.start_from))
    return AcousticTokenizer(named, tokenizer.network, tokenizer.codebooks)


@torch.no_grad()
def _latents(config, network, sounds, device):
    """Latents [N, D] of fresh crops, for the k-means."""
    parts = []
    for batch in range(KMEANS_BATCHES):
        crops = draw_crops(config, sounds, np.random.default_rng([config.seed, config.plain_steps, batch])).to(device)
        parts.append(network.encoder(crops[:, None]).transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)


def _resume(config, run_dir, network, optimizer, device):
    """Load last/state.pt if there is one; returns (step, figures)."""
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / "last" / "state.pt"
    if not path.is_file():
        return 0, {}
    state = torch.load(path, map_location=device, weights_only=True)
    if state["model"] != to_dict(config.model) or state["seed"] != config.seed:
        raise ConfigError(
            f"{run_dir} was started with the model {state['model']} and seed {state['seed']}; "
            f"this configuration says {to_dict(config.model)} and seed {config.seed}: use another run directory"
        )
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["figures"]


def _save(config, run_dir, step, figures, network, optimizer):
    """Replace last/state.pt in one move, so that an interruption leaves the old one or the new one."""
    (run_dir / "last").mkdir(exist_ok=True)
    (run_dir / "config.json").write_text(json.dumps(to_dict(config), indent=2) + "\n", encoding="utf-8")
    state = {
        "step": step, "figures": figures, "seed": config.seed, "model": to_dict(config.model),
        "network": network.state_dict(), "optimizer": optimizer.state_dict(),
    }  # fmt: skip
    torch.save(state, run_dir / "last" / "state.tmp")
    os.replace(run_dir / "last" / "state.tmp", run_dir / "last" / "state.pt")


def _write_line(log, **values):
    log.write(json.dumps(values) + "\n")
    log.flush()


def run(values: dict, run_dir, pause_after_minutes: float = 0.0) -> dict:
    """Train from the plain values of a TOML file; see `train_codec`."""
    return train_codec(from_dict(CodecTraining, values, "codec configuration"), run_dir, pause_after_minutes)
