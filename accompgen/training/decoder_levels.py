"""The octaves of a trained decoder are brought to the level of the truth's.

Its losses leave them too soft: a waveform that is only half known fits best at half its level, and
a distance of the logarithms of single bins is least at their median, which lies below their mean.
What the last layer says of the tone, and where that does not do of the noise, is scaled; so it
costs nothing when sound is made, and no other training is needed.
"""

import numpy as np
import torch

from accompgen.tokens.decoder_network import DecoderNetwork, mel_hertz
from accompgen.tokens.noise import with_phases
from accompgen.training.codec_losses import power_spectrum
from accompgen.training.decoder_songs import Sound

# Edges of six octaves. Above them nearly all is noise, and more of it costs likeness and raises
# peaks.
OCTAVES_HZ = tuple(62.5 * 2**octave for octave in range(7))
# A tone made 5 dB louder bought .05 of FAD, and the treble of a bass showed the frames that it
# fits: a frame lock up to 1.20, with 3 dB 1.18.
MOST_TONE_DB, MOST_NOISE_DB = 3.0, 1.0
WINDOW_SECONDS = 0.085  # of a spectrum, in which the lowest octave has five bins
# Gains run on from one octave to the next, so that one pass does not give quite what was asked.
PASSES = 2


@torch.no_grad()
def level_octaves(
    network: DecoderNetwork, sounds: list[Sound], frames: int, seed: int = 0
) -> dict[str, list[float]]:
    """Scale a network in place so that the middle's octaves are as loud as those of some sounds.

    Args:
        sounds: true sounds with their codes, of which the first `frames` are played.
        seed: of the noise.

    Returns:
        {"tone_db", "noise_db"}: the gain of each of OCTAVES_HZ, at most MOST_TONE_DB and
        MOST_NOISE_DB, at least 0.
    """
    gains = np.zeros((2, len(OCTAVES_HZ) - 1))
    for _ in range(PASSES):
        tone, noise = _powers(network, sounds, frames, seed)
        wanted = _decibel(np.maximum(1 - noise, 1e-9) / tone)
        more = np.clip(gains[0] + wanted, 0, MOST_TONE_DB) - gains[0]
        left = np.maximum(1 - tone * 10 ** (more / 10), 1e-9)
        louder = np.clip(gains[1] + _decibel(left / noise), 0, MOST_NOISE_DB) - gains[1]
        louder[gains[0] + more < MOST_TONE_DB] = 0  # the tone does
        scale(network, more, louder)
        gains += more, louder
    tone_db, noise_db = ([round(float(gain), 2) for gain in row] for row in gains)
    return {"tone_db": tone_db, "noise_db": noise_db}


@torch.no_grad()
def scale(network: DecoderNetwork, tone_db, noise_db) -> None:
    """Make tone and noise louder in place, by a gain in dB at the middle of each of OCTAVES_HZ.

    Between them gains run in a line over the logarithm of the frequency, and above to 0 within an
    octave.
    """
    config, out = network.config, network.out
    tone, places, _ = network.sizes
    bins = torch.arange(config.tone_bins) * config.sample_rate / config.tone_window
    factor = 10 ** (_between(bins.numpy(), tone_db) / 20)
    factor = factor.repeat(2 * config.tone_frames).to(out.weight)
    out.weight[:tone] *= factor[:, None]
    out.bias[:tone] *= factor
    # levels of noise are natural logarithms
    bands = mel_hertz(config.noise_bands, config.sample_rate / 2)
    louder = np.log(10) / 20 * _between(bands.numpy(), noise_db)
    out.bias[tone + places :] += louder.repeat(2 * config.noise_frames).to(out.bias)


def _powers(network, sounds, frames, seed):
    """Power of tone and of noise beside the truth's [octaves]; all sounds count alike."""
    rate, rows = network.config.sample_rate, []
    generator = torch.Generator().manual_seed(seed)
    for sound in sounds:
        codes, (true, _) = sound.beginning(frames)
        said = network(network.vectors(codes.to(network.code_vectors.device)))
        tone, _, level = network.parts(said)
        level = level[:, :, 0]
        noise = network.noise(with_phases(level, generator))
        played = [wav[0].cpu().numpy() for wav in (network.tone(tone, rate), noise)]
        powers = np.array([octave_powers(wav, rate) for wav in (*played, true)])
        rows.append(powers / max(float(np.mean(np.square(true))), 1e-9))
    *played, true = np.mean(rows, axis=0)
    return [power / true for power in played]


def octave_powers(wav: np.ndarray, rate: int) -> np.ndarray:
    """Mean power of a bin [octaves] of sound [T] at `rate`, no less than -120 dB of full scale."""
    window = 2 ** round(np.log2(WINDOW_SECONDS * rate))
    power = power_spectrum(torch.from_numpy(wav)[None], window)[0].mean(1).numpy()
    power *= (2 / window) ** 2  # of full scale
    edges = [round(hertz * window / rate) for hertz in OCTAVES_HZ]
    return np.array([power[low:high].mean() for low, high in zip(edges, edges[1:])]) + 1e-12


def _between(hertz, decibels):
    """Gains in dB at some frequencies, as `scale` has them."""
    middles = np.log2(OCTAVES_HZ[:-1]) + 0.5
    places = [*middles, middles[-1] + 1]
    return torch.from_numpy(np.interp(np.log2(np.maximum(hertz, 1)), places, [*decibels, 0.0]))


def _decibel(power):
    return 10 * np.log10(power)
