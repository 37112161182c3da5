"""Trains the decoder of a codec's codes: 48 kHz, stereo, without clicks. The codec itself stands still, and so do its codes.

Three losses, since none alone will do: the tone by itself is held to the waveform, its sum with the noise to the truth by
the spectral energy distance, and the sum's peaks to the truth's nearby (decoder_losses.py). Of the tone alone no treble
comes, of the energy distance alone no tune, and spectra do not see how high the noise of a stroke stands. A discriminator may
join (`adversarial_weight`), as published for EnCodec, on machines that can pay for it.

All randomness of a step comes from (seed, step). A run directory holds config.json, codes/, log.jsonl, last/state.pt (resumes
exactly), snapshot/ and, when done, model/: component directories.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from accompgen import audio
from accompgen.component import component_hash, tokens_hash
from accompgen.config import ConfigError, from_dict, read_toml, to_dict
from accompgen.device import choose_device
from accompgen.time import ACOUSTIC_HZ
from accompgen.tokens.decoder import StereoDecoder
from accompgen.tokens.decoder_network import DecoderConfig
from accompgen.tokens.noise import with_phases
from accompgen.training.codec_figures import chroma, chroma_correlation, correlation, onset_envelope, si_sdr
from accompgen.training.decoder_adversary import Adversary
from accompgen.training.decoder_levels import level_octaves
from accompgen.training.decoder_losses import energy_distance, log_magnitude, overshoot, tone_loss
from accompgen.training.decoder_songs import Sound, middle_and_side, read_sounds
from accompgen.training.decoder_start import build
from accompgen.training.decoder_timbre import learn_timbre
from accompgen.training.discriminator import DiscriminatorConfig
from accompgen.training.optimizer import learning_rate
from accompgen.training.run_log import RunLog
from accompgen.training.run_state import goes_on, lasting, load_state, save_state
from accompgen.training.stops import stop_signals

LOOKS = ((1.0, 0.0), (1.0, 1.0), (1.0, -1.0), (0.0, 1.0))  # of (middle, side): the middle, left, right and the side
DISTANCE_WINDOWS = (64, 128, 256, 512, 1024, 2048)  # at 24 kHz, of the figure `spectra`
NOT_SAVED = {"model", "manifest", "codec", "start_from", "device"}  # of the configuration, in the component
# when a run goes on, beside its length
MAY_CHANGE = ("manifest", "codec", "songs", "learning_rate", "validation_songs", "validation_seconds")


@dataclass(frozen=True)
class DecoderTraining:
    """How the decoder is trained."""

    kind: ClassVar = "decoder"
    manifest: str  # JSONL of songs; their accompaniments, and stems where they are named, are learned
    codec: str  # component directory of the codec whose codes are decoded
    model: DecoderConfig
    start_from: str = ""  # component directory of a decoder, of the same model and codes, whose weights to go on with
    seed: int = 0
    steps: int = 10_000
    minutes: float = 0.0  # end after this wall time of all calls together, the learning rate following it; 0: no limit
    batch_size: int = 4
    crop_seconds: float = 2.0
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    final_learning_rate: float = 0.05  # the cosine ends at this fraction of learning_rate
    clip_norm: float = 1.0
    ema_decay: float = 0.998  # of the running average of the weights that is validated and kept
    windows: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)  # of the energy distance, in samples
    windows_per_step: int = 2  # so many of them, drawn for each step
    tone_windows: tuple[int, ...] = (256, 1024, 4096, 8192)  # of the tone's spectra, in samples at 24 kHz
    tone_weight: float = 4.0
    side_weight: float = 0.5  # of the side's waveform beside the middle's
    peak_weight: float = 0.0  # of what stands above the truth's peaks nearby
    stem_share: float = 0.4  # of the crops that are a stem alone
    stem_seconds: float = 10.0  # of each stem
    adversarial_weight: float = 0.0  # of a discriminator's judgement; 0: there is none. With one, losses are balanced
    matching_weight: float = 4.0  # of the likeness of what the discriminator sees, times adversarial_weight
    discriminator_learning_rate: float = 3e-4
    discriminator_share: float = 0.67  # of the steps in which the discriminator learns, too
    level_octaves: bool = False  # at the end, bring octaves to the level of the validation songs'
    coarse_share: float = 0.15  # of the crops whose fine half of the codebooks is not heard
    gain_db: tuple[float, float] = (-6.0, 6.0)  # random level of a sound, no louder than full scale
    songs: int = 0  # read at most so many training songs; 0: all. A song of 30 s with stems takes 12 MB of memory
    discriminator: DiscriminatorConfig = DiscriminatorConfig(windows=(4096, 2048, 1024, 512, 256), channels=2)
    dtype: str = "float32"  # of the products: float32 | bfloat16
    device: str = "auto"  # auto | cpu | cuda | cuda:N
    log_every: int = 50
    validate_every: int = 1000
    save_every: int = 500
    validation_songs: int = 12
    validation_seconds: float = 10.0  # of each of them

    def __post_init__(self):
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError(f"dtype is {self.dtype!r}; expected 'float32' or 'bfloat16'")
        counts = ("steps", "batch_size", "windows_per_step", "log_every", "validate_every", "save_every")
        for name in (*counts, "validation_songs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        for name in ("stem_share", "coarse_share", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 or more, less than 1")
        if self.windows_per_step > len(self.windows):
            raise ConfigError(f"windows_per_step is {self.windows_per_step}; there are {len(self.windows)} windows")
        inner = (self.frames - 2 * self.margin) * self.model.hop_samples
        needed = max(2 * max(self.windows), max(self.tone_windows) * self.model.sample_rate // 24000)
        if inner < needed:
            least = (needed / self.model.hop_samples + 2 * self.margin) / ACOUSTIC_HZ
            raise ConfigError(f"crop_seconds is {self.crop_seconds}; expected {least:.2f} or more")

    @property
    def frames(self) -> int:
        """Of codes in a crop."""
        return round(ACOUSTIC_HZ * self.crop_seconds)

    @property
    def validation_frames(self) -> int:
        """Of codes: how many of a validation song are measured."""
        return round(ACOUSTIC_HZ * self.validation_seconds)

    @property
    def margin(self) -> int:
        """Frames at each end of a crop that count for no loss: what lies beyond them is not known."""
        return self.model.reach // 3


def read_config(path, overrides=()) -> DecoderTraining:
    """The TOML file of a training with `key=value` overrides. Raises ConfigError."""
    return from_dict(DecoderTraining, read_toml(path, overrides), str(path))


def train(config: DecoderTraining, run_dir, pause_after_minutes: float = 0.0) -> dict:
    """Train, or go on with, the run in `run_dir`; when it has come to its end it holds the component run_dir/model.

    Args:
        pause_after_minutes: stop this call after so much wall time, saved; 0: do not.

    Returns:
        {"step", "finished", "validation"}.

    Raises:
        ConfigError: the run was begun with other sizes, seed or levels, the codec has other codes than the model's,
            there are no training or validation songs, or no such device.
        CheckpointError: no codec, or `start_from` has other sizes or other codes. FloatingPointError: a step was not finite.
    """
    entered, run_dir = time.monotonic(), Path(run_dir)
    device = torch.device(choose_device(config.device))
    network, average, tokenizer = build(config, device)
    adversary = Adversary(config, device) if config.adversarial_weight else None
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, betas=(0.8, 0.99))
    parts = {"network": network, "average": average, "optimizer": optimizer}
    parts |= {"adversary": adversary} if adversary else {}
    step, seconds, figures, learned = _resume(config, run_dir, parts)

    def share_done(seconds):
        return max(step / config.steps, seconds / (60 * config.minutes) if config.minutes else 0.0)

    share = share_done(seconds)
    goes_on(run_dir, share)
    if share >= 1:
        if not (run_dir / "model").exists():
            _save_component(config, run_dir / "model", average.module, step, figures, learned)
        return {"step": step, "finished": True, "validation": figures}
    songs, held_out = (
        read_sounds(config, split, count, tokenizer, run_dir / "codes" / split)
        for split, count in (("train", config.songs), ("validation", config.validation_songs))
    )
    log = RunLog(run_dir, config, step, config.batch_size * config.crop_seconds)
    pausing, learned = False, {}
    (run_dir / "config.json").write_text(json.dumps(to_dict(config), indent=2) + "\n", encoding="utf-8")
    log.start(seconds)
    log(step=step, sounds=len(songs), stems=sum(sound.stem for sound in songs), validation_songs=len(held_out))

    with stop_signals() as stopped:
        while share < 1 and not pausing:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step, share)
            losses = training_step(config, step, songs, network, optimizer, adversary, device)
            average.update_parameters(network)
            step += 1
            share = share_done(log.seconds)
            log.step(step, share, losses)
            late = bool(pause_after_minutes) and time.monotonic() - entered > 60 * pause_after_minutes
            pausing = share < 1 and (stopped() or late)
            if step % config.validate_every == 0 or share >= 1:
                if share >= 1:
                    learned = _learn_levels(config, average.module, songs, held_out)
                if learned:
                    log(step=step, **learned)
                figures = decoder_figures(average.module, config, held_out)
                log(step=step, validation=figures)
                for name in ("snapshot", "model") if share >= 1 else ("snapshot",):
                    _save_component(config, run_dir / name, average.module, step, figures, learned)
            if pausing or step % config.save_every == 0 or share >= 1:
                state = {name: part.state_dict() for name, part in parts.items()}
                now = {"step": step, "seconds": log.seconds, "figures": figures, "learned": learned}
                now |= {"config": lasting(config, *MAY_CHANGE)}
                save_state(run_dir, state | now)
    if pausing:
        log(f"stopped at step {step}, saved; the same command goes on from here")
    return {"step": step, "finished": share >= 1, "validation": figures}


# ---- one step, in parts --------------------------------------------------------------------------


def training_step(config, step, songs, network, optimizer, adversary, device) -> dict:
    """One step; the losses as numbers."""
    random = np.random.default_rng([config.seed, step])
    wav, codes, counts = draw_crops(config, songs, random)
    generator = torch.Generator().manual_seed(int(random.integers(2**62)))
    said = network(heard_vectors(network, codes.to(device), counts), config.dtype == "bfloat16")
    losses = reconstruction_losses(config, network, said, wav, random, generator)
    optimizer.zero_grad(set_to_none=True)
    if adversary:
        losses |= adversary.losses(network, said, wav.to(device), random, generator)
        adversary.backward(losses, said)
    else:
        (losses["energy"] + config.tone_weight * losses["tone"] + config.peak_weight * losses["peaks"]).backward()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
    if not torch.isfinite(norm):
        raise FloatingPointError(f"step {step}: the gradient is not finite; lower learning_rate and start the call again")
    optimizer.step()
    return {name: value.item() for name, value in losses.items()} | {"norm": norm.item()}


def draw_crops(config, songs: list[Sound], random: np.random.Generator):
    """Crops of random sounds: wav [B, 2, T] float32 (middle, side), codes [B, Q, F], and how many codebooks each hears [B]."""
    mixes, stems = ([sound for sound in songs if sound.stem is stem] for stem in (False, True))
    hop, frames, wavs, codes = config.model.hop_samples, config.frames, [], []
    for _ in range(config.batch_size):
        pool = stems if stems and random.random() < config.stem_share else mixes
        sound = pool[random.integers(len(pool))]
        first = int(random.integers(max(1, sound.codes.shape[1] - frames + 1)))
        piece = sound.wav[:, first * hop : (first + frames) * hop].astype(np.float32) / 32767
        wavs.append(middle_and_side(audio.fit(piece, frames * hop)))
        found = sound.codes[:, first : first + frames]
        codes.append(np.pad(found, ((0, 0), (0, frames - found.shape[1])), mode="edge"))
    books = config.model.codebooks
    coarse = random.random(config.batch_size) < config.coarse_share
    counts = torch.from_numpy(np.where(coarse, max(1, books // 2), books))
    return torch.from_numpy(np.stack(wavs)), torch.from_numpy(np.stack(codes).astype(np.int64)), counts


def heard_vectors(network, codes, counts):
    """The sum of the first `counts` [B] code vectors of each row: [B, latent, F]."""
    total = 0
    for index in range(codes.shape[1]):
        counted = (counts > index).to(codes.device)[:, None, None]
        total = total + network.code_vectors[index][codes[:, index]] * counted
    return total.transpose(1, 2)


def reconstruction_losses(config, network, said, wav, random, generator) -> dict:
    """What was said of crops wav [B, 2, T] (middle, side) against them: `tone`; of one look at each, `energy`; and `peaks`, of
    those looks that are the middle."""
    rate, hop, margin = config.model.sample_rate, config.model.hop_samples, config.margin
    tone, pan, level = network.parts(said)
    low = torch.from_numpy(audio.resample(wav.numpy(), rate, 24000)).to(said.device)
    both = torch.stack([network.tone(tone, 24000), network.tone(tone * pan, 24000)], dim=1)
    inside = slice(margin * 320, -margin * 320)
    losses = {"tone": tone_loss(low[..., inside], both[..., inside], config.tone_windows, config.side_weight)}

    look = torch.tensor([LOOKS[index] for index in random.integers(len(LOOKS), size=len(wav))], device=said.device)
    middle, side = look[:, 0, None, None], look[:, 1, None, None]
    heard = network.tone(tone * (middle + side * pan), rate)
    # independent noises of middle and side add up by their powers
    loud = ((middle * level[:, :, 0]).square() + (side * level[:, :, 1]).square() + 1e-12).sqrt()
    inside = slice(margin * hop, -margin * hop)
    noises = [network.noise(with_phases(loud, generator)) for _ in range(2)]
    draws = [(heard + noise)[:, inside] for noise in noises]
    truth = (wav.to(said.device) * look[:, :, None]).sum(1)[:, inside]
    windows = random.choice(config.windows, config.windows_per_step, replace=False)
    # a side is so quiet beside the middle that its peaks do not matter, and held down by them it lost 4 dB
    alone = side[:, 0, 0] == 0
    losses["peaks"] = sum(overshoot(truth[alone], draw[alone], rate) for draw in draws) / len(draws)
    return losses | {"energy": energy_distance(truth, *draws, windows.tolist(), rate)}


# ---- figures and state ---------------------------------------------------------------------------


@torch.no_grad()
def decoder_figures(network, config, held_out: list[Sound]) -> dict:
    """Means over some sounds: SI-SDR (dB), chroma and onset correlation of the middle at 24 kHz, mean absolute difference of
    its log spectra (nats, windows of 64 to 2048 samples), width (side over middle, dB) beyond the truth's."""
    decoder = StereoDecoder(config.model, network)
    rows = []
    for sound in held_out:
        codes, true = sound.beginning(config.validation_frames)
        back = middle_and_side(decoder.decode(codes)[0].cpu().numpy())
        rows.append(compare_middles(true, back, config.model.sample_rate))
    network.train()
    return {name: round(float(np.nanmean([row[name] for row in rows])), 4) for name in rows[0]}


def compare_middles(true: np.ndarray, back: np.ndarray, rate: int) -> dict:
    """The figures of one sound, both [2, T] (middle, side) at `rate`."""
    x, y = (audio.resample(wav[0], rate, 24000) for wav in (true, back))
    spectra = [
        (log_magnitude(torch.from_numpy(x[None]), w) - log_magnitude(torch.from_numpy(y[None]), w)).abs().mean().item()
        for w in DISTANCE_WINDOWS
    ]
    width = [20 * np.log10((np.std(wav[1]) + 1e-6) / (np.std(wav[0]) + 1e-6)) for wav in (true, back)]
    return {
        "si_sdr": si_sdr(x, y),
        "chroma": chroma_correlation(chroma(x), chroma(y)),
        "onset": correlation(onset_envelope(x), onset_envelope(y)),
        "spectra": float(np.mean(spectra)),
        "width": width[1] - width[0],
    }


def _learn_levels(config, network, songs, held_out) -> dict:
    """What is learned at the end, as it stands in the component: octaves, then bands by timbre."""
    learned = {}
    if config.level_octaves:
        learned["levels"] = level_octaves(network, held_out, config.validation_frames, config.seed)
    if config.model.timbre_seconds:
        learned["timbre"] = learn_timbre(network, songs, held_out, config.seed)
    return learned


def _resume(config, run_dir, parts):
    """(step, seconds spent, last figures, what was learned at the end) of what was saved; the start if nothing was."""
    state = load_state(run_dir, lasting(config, *MAY_CHANGE))
    if state is None:
        return 0, 0.0, {}, {}
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["step"], state["seconds"], state["figures"], state.get("learned", {})


def _save_component(config, directory, network, step, figures, learned):
    about = {
        "tokenizers": {"acoustic": tokens_hash(config.codec)},
        "step": step,
        "seed": config.seed,
        "started_from": component_hash(config.start_from) if config.start_from else None,
        "training": {name: value for name, value in to_dict(config).items() if name not in NOT_SAVED},
        "validation": figures,
        **learned,
    }
    StereoDecoder(config.model, network).save(directory, about, force=True)
    network.requires_grad_(True)
