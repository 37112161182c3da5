"""A trained decoder learns how loud bands are, slowly, from all that was played before
(tokens/timbre.py).

Its losses stand in logarithms of power over most of a second, where nothing but levels is left to
learn. So a small network is enough, and all else that the decoder says stays as it is.
"""

import math

import numpy as np
import torch
from torch.nn import functional as F

from accompgen.tokens.decoder_network import DecoderNetwork, hann_window, mel_interpolation
from accompgen.tokens.noise import with_phases
from accompgen.tokens.timbre import STEP_FRAMES, Past
from accompgen.training.decoder_songs import Sound

WINDOW = 2048  # samples of a spectrum, 43 ms at 48 kHz
OVER_STEPS = 4  # that levels are means of: .8 s around a gain's place
GAINS_OF_A_SOUND = 24  # drawn at random from each: they hardly change from one to the next
FLOOR_DB = -80.0  # below the mean level of a sound; less is silence
SILENT = 1e-5  # power, of a sound whose mean level is nothing
SIDE_WEIGHT = 0.5
# of what is added to the noise of a mix, a share of its power, by which it is less like the truth
LIKENESS_WEIGHT = 10.0
STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 8000, 256, 2e-3, 0.05
# of the statistics and of the hidden layer; with (.2, .3) levels of held-out stems were off by
# .1 dB more, those of the training songs by .2
DROPOUT = (0.05, 0.1)
LEAST_DEVIATION, NOTHING = 1e-2, 1e4  # of features, and by what one is divided then
BETA_DB = 3.0  # from which on the loss is linear


def learn_timbre(
    network: DecoderNetwork, sounds: list[Sound], held_out: list[Sound], seed: int = 0
) -> dict:
    """Fit the gains of a network in place.

    Args:
        sounds: mixes and stems with their codes. held_out: others, by which it is measured.
        seed: of weights, draws and noise.

    Returns:
        {"before_db", "after_db"}: mean distances of the middle's levels to the true ones, of
        `held_out`.
    """
    timbre, device = network.timbre, network.code_vectors.device
    random = np.random.default_rng(seed)
    features, levels, stems = gather(network, sounds, random, GAINS_OF_A_SOUND)
    timbre.mean.copy_(features.mean(0))
    # what is always the same, as the tone above its end, says nothing
    deviation = features.std(0)
    timbre.scale.copy_(torch.where(deviation < LEAST_DEVIATION, NOTHING, deviation))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        _fit(timbre, features, levels, stems, network.of_tone)
    timbre.requires_grad_(False)
    with torch.no_grad():
        features, levels, _ = gather(network, held_out, random, GAINS_OF_A_SOUND)
        gains = timbre(features)
        figures = {
            "before_db": distances(torch.zeros_like(gains), levels, network.of_tone),
            "after_db": distances(gains, levels, network.of_tone),
        }
    return {name: round(float(value[:, 0].abs().mean()), 3) for name, value in figures.items()}


def _fit(timbre, features, levels, stems, of_tone):
    timbre.hidden.reset_parameters()
    torch.nn.init.zeros_(timbre.out.weight)
    torch.nn.init.zeros_(timbre.out.bias)
    timbre.requires_grad_(True)
    optimizer = torch.optim.AdamW(timbre.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    weights = torch.tensor([1.0, SIDE_WEIGHT], device=features.device)[:, None]
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - step / STEPS)
        chosen = torch.randint(len(features), (BATCH,)).to(features.device)
        gains, powers = timbre(features[chosen], *DROPOUT), levels[chosen]
        errors = distances(gains, powers, of_tone)
        losses = F.smooth_l1_loss(
            errors, torch.zeros_like(errors), beta=BETA_DB, reduction="none"
        )
        unlike = louder_noise(gains, powers) * ~stems[chosen]
        loss = (weights * losses).mean() + LIKENESS_WEIGHT * unlike.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def distances(gains: torch.Tensor, levels: torch.Tensor, of_tone) -> torch.Tensor:
    """By how many dB bands are too loud with some gains.

    Args:
        gains: natural logarithms [N, 2, bands]. levels: powers [N, 7, bands], see `gather`.
        of_tone: what gains are to the tone, see `DecoderNetwork`.

    Returns:
        [N, 2, bands] of the middle and of the side.
    """
    tone, noise, beside, side, *_ = levels.unbind(1)
    true, true_side, floor = levels[:, 4], levels[:, 5], levels[:, 6, :1]
    louder = (2 * of_tone(gains[:, 0])).exp()
    played = tone * louder + noise * (2 * gains[:, 0]).exp()
    played_side = beside * louder + side * (2 * gains[:, 1]).exp()
    parts = [(played, true), (played_side, true_side)]
    return torch.stack(
        [10 / math.log(10) * ((a + floor) / (b + floor)).log() for a, b in parts], dim=1
    )


def louder_noise(gains: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """What gains add to the noise of the middle, by the truth's power [N], see `distances`."""
    noise, true, floor = levels[:, 1], levels[:, 4], levels[:, 6, 0]
    added = (noise * ((2 * gains[:, 0]).exp() - 1)).sum(-1)
    added = added.clamp(min=0)
    return added / (true.sum(-1) + floor + added)


@torch.no_grad()
def gather(network: DecoderNetwork, sounds: list[Sound], random: np.random.Generator, most: int):
    """What gives gains, and levels without them, of at most so many places of each sound.

    Returns:
        features [N, D] of timbre; powers [N, 7, bands]: of the middle its tone and noise, of the
        side both, true ones of middle and side, and what counts as silence; bool [N], which are of
        stems.
    """
    rate, device = network.config.sample_rate, network.code_vectors.device
    bands = mel_interpolation(network.config.noise_bands, WINDOW // 2 + 1, rate / 2).T.to(device)
    generator = torch.Generator().manual_seed(int(random.integers(2**62)))
    features, levels, stems = [], [], []
    for sound in sounds:
        steps = sound.codes.shape[1] // STEP_FRAMES
        if steps < OVER_STEPS:
            continue
        codes, true = sound.beginning(steps * STEP_FRAMES)
        latent = network.vectors(codes.to(device))
        hidden = network.hidden(latent)
        said = network.out(hidden)
        tone, pan, level = network.parts(said)
        noise = with_phases(level.transpose(1, 2), generator)
        waves = [
            *(network.tone(tone, rate), network.noise(noise[:, 0])),
            *(network.tone(tone * pan, rate), network.noise(noise[:, 1])),
            *torch.from_numpy(true).to(device)[:, None],
        ]
        powers = torch.stack(
            [_powers(wave, bands, steps, network.config.hop_samples) for wave in waves], dim=1
        )
        floor = 10 ** (FLOOR_DB / 10) * powers[:, 4].sum(-1).mean() + SILENT
        powers = torch.cat([powers, floor.expand(steps, 1, powers.shape[-1])], dim=1)
        chosen = torch.from_numpy(random.permutation(steps)[:most].copy()).to(device)
        past = Past()
        past.add(
            network.frame_features(latent, hidden, said),
            torch.ones(steps * STEP_FRAMES, dtype=torch.bool, device=device),
        )
        features.append(network.timbre.features(past, chosen)[0])
        levels.append(powers[chosen])
        stems += [sound.stem] * len(chosen)
    return torch.cat(features), torch.cat(levels), torch.tensor(stems, device=device)


def _powers(wave, bands, steps, hop):
    """Mean powers of bands [steps, bands] around each step's place, of a wave [1, T]."""
    hann = hann_window(WINDOW, wave.device)
    spectra = torch.stft(wave, WINDOW, hop, window=hann, return_complex=True)[0]
    power = (spectra.real.square() + spectra.imag.square()).T @ bands
    power = power[: steps * STEP_FRAMES].view(steps, STEP_FRAMES, -1).mean(1)
    ends = F.pad(power.T[None], (OVER_STEPS // 2, OVER_STEPS // 2 - 1), mode="replicate")[0].T
    return ends.unfold(0, OVER_STEPS, 1).mean(-1)
