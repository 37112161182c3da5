"""The octaves of a trained decoder are brought to the level of the truth's.

Its losses leave them too soft: a waveform that is only half known fits best at half its level, and a distance of the
logarithms of single bins is least at their median, which lies below their mean. What the last layer says of the tone, and where
that does not do of the noise, is scaled; so it costs nothing when sound is made, and no other training is needed.
"""

import numpy as np
import torch

from accompgen.tokens.decoder_network import DecoderNetwork, mel_hertz
from accompgen.training.decoder_adversary import complex_normal
from accompgen.training.decoder_songs import Sound, middle_and_side

# Edges of six octaves. Above them nearly all is noise, and more of it costs likeness and raises peaks.
OCTAVES_HZ = tuple(62.5 * 2**octave for octave in range(7))
MOST_TONE_DB, MOST_NOISE_DB = 5.0, 1.0
WINDOW_SECONDS = 0.085  # of a spectrum, in which the lowest octave has five bins
PASSES = 2  # gains run on from one octave to the next, so that they do not give quite what was asked


@torch.no_grad()
def level_octaves(network: DecoderNetwork, sounds: list[Sound], frames: int, seed: int = 0) -> dict[str, list[float]]:
    """Scale a network in place so that the octaves of OCTAVES_HZ are as loud as those of some sounds, in the middle.

    Args:
        sounds: true sounds with their codes, of which the first `frames` are played.
        seed: of the noise.

    Returns:
        {"tone_db", "noise_db"}: the gain of each octave, 0 to MOST_TONE_DB and 0 to MOST_NOISE_DB.
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
    return {name: [round(float(gain), 2) for gain in row] for name, row in zip(("tone_db", "noise_db"), gains)}


@torch.no_grad()
def scale(network: DecoderNetwork, tone_db, noise_db) -> None:
    """Make tone and noise louder in place, by a gain in dB at the middle of each of OCTAVES_HZ.

    Between them gains run in a line over the logarithm of the frequency, and above to 0 within an octave.
    """
    config, out = network.config, network.out
    tone, places, _ = network.sizes
    bins = torch.arange(config.tone_bins) * config.sample_rate / config.tone_window
    factor = (10 ** (_between(bins.numpy(), tone_db) / 20)).repeat(2 * config.tone_frames).to(out.weight)
    out.weight[:tone] *= factor[:, None]
    out.bias[:tone] *= factor
    # levels of noise are told as logarithms
    louder = np.log(10) / 20 * _between(mel_hertz(config.noise_bands, config.sample_rate / 2).numpy(), noise_db)
    out.bias[tone + places :] += louder.repeat(2 * config.noise_frames).to(out.bias)


def _powers(network, sounds, frames, seed):
    """Power of tone and of noise beside the truth's in each octave [octaves], over sounds of which none counts more."""
    config, rows = network.config, []
    generator = torch.Generator().manual_seed(seed)
    device = network.code_vectors.device
    for sound in sounds:
        codes = torch.from_numpy(sound.codes[None, :, :frames].astype(np.int64)).to(device)
        tone, _, level = network.parts(network(network.vectors(codes)))
        level = level[:, :, 0]
        played = network.tone(tone, config.sample_rate), network.noise(level, complex_normal(level, generator))
        length = codes.shape[-1] * config.hop_samples
        true = middle_and_side(sound.wav[:, :length].astype(np.float32) / 32767)[0]
        parts = [octave_powers(wav, config.sample_rate) for wav in (*(wav[0].cpu().numpy() for wav in played), true)]
        rows.append(np.array(parts) / max(float(np.mean(np.square(true))), 1e-9))
    *played, true = np.mean(rows, axis=0)
    return [power / true for power in played]


def octave_powers(wav: np.ndarray, rate: int) -> np.ndarray:
    """Mean power of a bin [octaves] of sound [T] at `rate` in each of OCTAVES_HZ, with a floor of -120 dB of full scale."""
    window = 2 ** round(np.log2(WINDOW_SECONDS * rate))
    spectra = torch.stft(
        torch.from_numpy(wav), window, window // 2, window=torch.hann_window(window), return_complex=True
    )
    power = spectra.abs().square().mean(1).numpy() * (2 / window) ** 2
    edges = [round(hertz * window / rate) for hertz in OCTAVES_HZ]
    return np.array([power[low:high].mean() for low, high in zip(edges, edges[1:])]) + 1e-12


def _between(hertz, decibels):
    """Gains in dB at some frequencies, as `scale` has them."""
    middles = np.log2(OCTAVES_HZ[:-1]) + 0.5
    places = [*middles, middles[-1] + 1]
    return torch.from_numpy(np.interp(np.log2(np.maximum(hertz, 1)), places, [*decibels, 0.0]))


def _decibel(power):
    return 10 * np.log10(power)
