"""A decoder learns how loud bands are from who plays, and gives it back when it decodes."""

import copy

import numpy as np
import pytest
import torch
from tiny import make_decoder_network

from accompgen.tokens.decoder import StereoDecoder
from accompgen.tokens.decoder_network import DecoderConfig
from accompgen.training import decoder_timbre
from accompgen.training.decoder_levels import octave_powers
from accompgen.training.decoder_songs import Sound
from accompgen.training.decoder_timbre import learn_timbre

SIZES = DecoderConfig(
    codebooks=2,
    bins=16,
    latent=8,
    width=16,
    hidden=32,
    blocks=1,
    noise_bands=12,
    pan_bands=4,
    timbre_seconds=1.0,
)
FRAMES, DARKER_DB = 150, 9.0


@pytest.fixture(scope="module")
def network():
    return make_decoder_network(SIZES)


def sounds_of(network, count, seed):
    """Bright instruments, of the lower half of the codes, and dark ones: above 1 kHz all is softer."""
    random, sounds = np.random.default_rng(seed), []
    for number in range(count):
        dark = number % 2
        codes = random.integers(8 * dark, 8 * dark + 8, (2, FRAMES))
        wav = (
            StereoDecoder(SIZES, network)
            .decode(torch.from_numpy(codes)[None], seed=number)[0]
            .numpy()
        )
        if dark:
            spectrum = np.fft.rfft(wav)
            spectrum[:, np.fft.rfftfreq(wav.shape[1], 1 / 48_000) > 1_000] *= 10 ** (
                -DARKER_DB / 20
            )
            wav = np.fft.irfft(spectrum, wav.shape[1])
        sounds.append(Sound(np.round(wav * 32767).astype(np.int16), codes.astype(np.int16), False))
    return sounds


@pytest.fixture(scope="module")
def learned(network):
    """A network that has learned of such sounds, and its figures."""
    other = copy.deepcopy(network)
    steps, decoder_timbre.STEPS = decoder_timbre.STEPS, 400
    try:
        figures = learn_timbre(other, sounds_of(network, 16, seed=1), sounds_of(network, 6, seed=2))
    finally:
        decoder_timbre.STEPS = steps
    return other, figures


def test_levels_come_nearer_to_the_truth(learned):
    _, figures = learned
    assert (
        figures["before_db"] > 0.3 * DARKER_DB and figures["after_db"] < 0.4 * figures["before_db"]
    )


def test_what_it_has_learned_is_heard(network, learned):
    for sound in sounds_of(network, 2, seed=3):
        codes, (true, _) = sound.beginning(FRAMES)
        errors = []
        for version in (network, learned[0]):
            played = StereoDecoder(SIZES, version).decode(codes)[0].mean(0).numpy()
            louder = octave_powers(played, 48_000) / octave_powers(true, 48_000)
            errors.append(abs(10 * np.log10(louder)[4:].mean()))
        assert errors[1] < max(1.5, 0.4 * errors[0])


def test_it_is_the_same_for_a_seed_and_leaves_all_else_alone(network, learned, monkeypatch):
    monkeypatch.setattr(decoder_timbre, "STEPS", 400)
    torch.manual_seed(123)
    other = copy.deepcopy(network)
    learn_timbre(other, sounds_of(network, 16, seed=1), sounds_of(network, 6, seed=2))
    for name, value in other.state_dict().items():
        assert torch.equal(value, learned[0].state_dict()[name])
        if not name.startswith("timbre"):
            assert torch.equal(value, network.state_dict()[name])
    assert not any(value.requires_grad for value in other.timbre.parameters())


def test_silence_and_short_sounds_are_taken(network):
    random = np.random.default_rng(0)
    silent = Sound(
        np.zeros((2, FRAMES * 640), np.int16),
        random.integers(16, size=(2, FRAMES)).astype(np.int16),
        True,
    )
    short = Sound(np.zeros((2, 20 * 640), np.int16), silent.codes[:, :20], True)
    features, levels, stems = decoder_timbre.gather(network, [silent, short], random, 5)
    assert (
        len(features) == len(levels) == 5
        and stems.tolist() == [True] * 5
        and torch.isfinite(levels).all()
    )
