"""What a training of a decoder begins with: random weights, or those of another decoder."""

from dataclasses import replace
from pathlib import Path

import torch

from accompgen.component import CONFIG_FILE, CheckpointError, read_json, tokens_hash
from accompgen.config import ConfigError, to_dict
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.decoder import StereoDecoder
from accompgen.tokens.decoder_network import DecoderNetwork
from accompgen.training.average import make_average
from accompgen.training.run_state import differing


def build(config, device):
    """Network, its running average, and the codec, whose code vectors the network gets.

    Raises ConfigError for a codec of other codes than the model's, CheckpointError as `train` does.
    """
    tokenizer = AcousticTokenizer.load(config.codec, device, config.model.codebooks)
    vectors = torch.stack(
        [
            layer.codebook.embed
            for layer in tokenizer.network.quantizer.layers[: config.model.codebooks]
        ]
    )
    expected = (config.model.codebooks, config.model.bins, config.model.latent)
    if tuple(vectors.shape) != expected:
        raise ConfigError(
            f"{config.codec} has code vectors {tuple(vectors.shape)}; "
            f"the model of this configuration {expected}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = DecoderNetwork(config.model).to(device)
    if config.start_from:
        _start(network, config.start_from, tokens_hash(config.codec))
    network.code_vectors.copy_(vectors)
    return network, make_average(network, config.ema_decay), tokenizer


def _start(network, directory, codes):
    """Give `network` the weights of the decoder in `directory`, which reads the same `codes` (a
    hash)."""
    about = read_json(Path(directory) / CONFIG_FILE)
    if about.get("tokenizers", {}).get("acoustic") != codes:
        raise CheckpointError(
            f"{directory} decodes other codes than those of `codec`; "
            "name its codec, or begin without start_from"
        )
    begun = StereoDecoder.load(directory)
    # timbre is learned at the end, whatever it was, a tone can end lower, and noise have a knee
    here = network.config
    lower = min(here.tone_hz, begun.config.tone_hz)
    expected = replace(
        begun.config,
        timbre_seconds=here.timbre_seconds,
        tone_hz=lower,
        noise_knee=here.noise_knee,
    )
    if expected != here:
        before, now = differing("model", to_dict(expected), to_dict(here))
        raise CheckpointError(
            f"{directory} has {before}, the configuration {now}; "
            "use its sizes, or begin without start_from"
        )
    weights = {
        name: value
        for name, value in begun.network.state_dict().items()
        if not name.startswith("timbre.")
    }
    rows = _tone_rows(begun.config, here.tone_bins)
    weights |= {name: weights[name][rows] for name in ("out.weight", "out.bias")}
    network.load_state_dict(network.state_dict() | weights)


def _tone_rows(config, bins):
    """The rows of a last layer but those of the tone above its first `bins`."""
    spectra = 2 * config.tone_frames
    tone = torch.arange(spectra * config.tone_bins).view(spectra, -1)[:, :bins].flatten()
    return torch.cat([tone, torch.arange(config.sizes[0], sum(config.sizes))])
