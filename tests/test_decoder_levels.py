"""The octaves of a decoder are brought to the truth's level: by the tone, then by the noise, each within its bounds."""

import copy

import numpy as np
import pytest
import torch
from tiny import make_decoder_network

from accompgen.tokens.decoder import StereoDecoder
from accompgen.tokens.decoder_network import DecoderConfig, mel_hertz, mel_interpolation
from accompgen.training.decoder_levels import MOST_NOISE_DB, MOST_TONE_DB, level_octaves, octave_powers, scale
from accompgen.training.decoder_songs import Sound

SIZES = DecoderConfig(codebooks=2, bins=16, latent=8, width=16, hidden=32, blocks=1, noise_bands=24, pan_bands=4)
FRAMES = 150


@pytest.fixture(scope="module")
def network():
    return make_decoder_network(SIZES)


def sounds_of(network):
    """What a network plays of random codes, as if it were the truth."""
    codes = torch.randint(16, (3, 2, FRAMES), generator=torch.Generator().manual_seed(1))
    wav = StereoDecoder(SIZES, network).decode(codes, seed=5).numpy()
    assert np.abs(wav).max() < 1
    return [Sound(np.round(row * 32767).astype(np.int16), ids.numpy(), False) for row, ids in zip(wav, codes)]


def scaled(network, tone_db, noise_db=(0.0,) * 6):
    other = copy.deepcopy(network)
    scale(other, tone_db, noise_db)
    return other


def powers(network):
    middles = (sound.wav.mean(0).astype(np.float32) / 32767 for sound in sounds_of(network))
    return np.mean([octave_powers(wav, 48_000) for wav in middles], axis=0)


def test_a_gain_is_that_of_its_octave_and_fades_out_above(network):
    with torch.no_grad():
        network = copy.deepcopy(network)
        network.out.bias[sum(network.sizes[:2]) :] = -20  # hardly any noise
    before, after = powers(network), powers(scaled(network, (0, 0, 0, 0, 6, 6)))
    gains = 10 * np.log10(after / before)
    assert abs(gains[:3]).max() < 0.1 and 4.5 < gains[5] < 6.1 and 3 < gains[4] < 6.1
    spectrum = scaled(network, (0, 0, 0, 0, 0, 6)).out.weight / network.out.weight
    rows = spectrum[: SIZES.tone_bins, 0]
    at = lambda hertz: round(hertz * SIZES.tone_window / SIZES.sample_rate)  # noqa: E731
    assert rows[at(2_850)] == pytest.approx(10 ** (6 / 20), rel=0.02)
    assert rows[at(6_000)] == pytest.approx(1) and rows[at(900)] == pytest.approx(1)


def test_octaves_that_are_too_soft_are_found_and_raised(network):
    asked = (1.0, 1.0, 1.5, 1.5, 2.0, 2.0)
    truth = sounds_of(scaled(network, asked))
    found = copy.deepcopy(network)
    gains = level_octaves(found, truth, FRAMES)
    assert gains["tone_db"] == pytest.approx(asked, abs=0.35) and max(gains["noise_db"]) == 0
    wanted = powers(scaled(network, asked))
    assert np.abs(10 * np.log10(powers(found) / wanted)).max() < 0.3


def test_noise_is_raised_where_the_tone_does_not_do(network):
    truth = sounds_of(scaled(network, (0, 0, 0, 0, 0, 12.0), (0, 0, 0, 0, 0, 6.0)))
    gains = level_octaves(copy.deepcopy(network), truth, FRAMES)
    assert gains["tone_db"][5] == MOST_TONE_DB and gains["noise_db"][5] == MOST_NOISE_DB
    assert max(gains["noise_db"][:4]) == 0


def test_nothing_is_made_softer_and_silence_asks_for_nothing(network):
    louder = scaled(network, (3.0,) * 6)
    assert level_octaves(louder, sounds_of(network), FRAMES) == {"tone_db": [0.0] * 6, "noise_db": [0.0] * 6}
    silent = [Sound(np.zeros_like(sound.wav), sound.codes, False) for sound in sounds_of(network)]
    assert level_octaves(copy.deepcopy(network), silent, FRAMES)["tone_db"] == [0.0] * 6


def test_bands_of_noise_lie_where_their_weights_are_largest():
    hertz, weights = mel_hertz(24, 12_000.0), mel_interpolation(24, 24_001, 12_000.0)
    assert hertz[0].item() == pytest.approx(80) and hertz[-1].item() == pytest.approx(12_000)
    torch.testing.assert_close(weights[1:-1].argmax(1) / 2, hertz[1:-1], atol=0.51, rtol=0)
