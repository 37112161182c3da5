"""The files of a published Vocos, and their only reader: config.yaml beside the weights.

The config names classes. None of them is imported: the names say which network the weights are of,
and all but the one for EnCodec's codes are refused.
"""

from pathlib import Path

import torch

from accompgen.component import CheckpointError
from accompgen.config import ConfigError
from accompgen.tokens.vocos import VocosConfig, VocosNetwork
from accompgen.tokens.weight_files import find_weights, read_content, read_yaml, tensors_of

PUBLISHED = "charactr/vocos-encodec-24khz"
CLASSES = {  # of each part of the config, the one that is read
    "feature_extractor": "vocos.feature_extractors.EncodecFeatures",
    "backbone": "vocos.models.VocosBackbone",
    "head": "vocos.heads.ISTFTHead",
}
FIXED = {  # what the config must say, where it says anything
    "feature_extractor": {"encodec_model": "encodec_24khz"},
    "head": {"hop_length": VocosConfig.hop_samples, "padding": "same"},
}
BANDWIDTHS = (1.5, 3.0, 6.0, 12.0)  # kbit/s, of the package where the config is silent
CODE_VECTORS = "feature_extractor.codebook_weights"
LEFT_OUT = (
    "feature_extractor.encodec.",
    "head.istft.",
)  # the codec itself, and the window, which is Hann's
# Relative difference between a Vocos's code vectors and its codec's. Half precision is off by .0005.
LARGEST_DIFFERENCE = 0.01


def read_vocos(path, bins: int = 1024) -> VocosNetwork:
    """The network of a published directory, or of a weight file with config.yaml beside it.

    Args:
        path: a directory or a file.
        bins: codes in a codebook of the codec; the files do not say it.

    Raises:
        CheckpointError: a file that is missing, damaged or of another model; weights that do not fit.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist; expected a directory with config.yaml and weights"
        )
    parts = _read_config(folder / "config.yaml")
    file = find_weights(folder) if path.is_dir() else path
    state = tensors_of(read_content(file), file)
    if CODE_VECTORS not in state:
        names = ", ".join(sorted(state)[:3])
        raise CheckpointError(
            f"{file} holds no Vocos for EnCodec's codes: {CODE_VECTORS} is not among {names}, ..."
        )
    config = _sizes_of(state, parts, bins, file)
    with torch.random.fork_rng(
        devices=[]
    ):  # building draws random weights, which nobody shall notice
        network = VocosNetwork(config)
    vectors = {"code_vectors": state.pop(CODE_VECTORS).view(config.codebooks, bins, -1)}
    named = {name: value for name, value in state.items() if not name.startswith(LEFT_OUT)}
    named = {
        name.removeprefix("backbone.").removeprefix("head."): value for name, value in named.items()
    }
    _check_window(state.get("head.istft.window"), file)
    try:
        network.load_state_dict(named | vectors)
    except RuntimeError as error:
        first = " ".join(str(error).split(":", 1)[-1].split())[:200]
        raise CheckpointError(f"{file}: the weights do not fit its config.yaml: {first}") from error
    return network


def check_code_vectors(network: VocosNetwork, codec_vectors: torch.Tensor, path) -> None:
    """Raise CheckpointError unless a Vocos was made for a codec's codes.

    Args:
        network: the Vocos.
        codec_vectors: [Q, bins, D'] of the codec.
        path: of the Vocos, for the message.
    """
    config = network.config
    if (
        codec_vectors.shape[1:] != (config.bins, config.latent)
        or len(codec_vectors) < config.codebooks
    ):
        raise CheckpointError(
            f"{path} reads {config.codebooks} codebooks of {config.bins} code vectors of "
            f"{config.latent} values; the codec has {' x '.join(map(str, codec_vectors.shape))}: it is another one"
        )
    expected = codec_vectors[: config.codebooks]
    difference = ((network.code_vectors - expected).norm() / expected.norm()).item()
    if not difference < LARGEST_DIFFERENCE:
        raise CheckpointError(
            f"{path} was made for another codec: its code vectors differ from this codec's by "
            f"{100 * difference:.0f} %; {PUBLISHED} plays the codes of encodec-24khz alone"
        )


def _read_config(path) -> dict:
    """The arguments of each part. Raises CheckpointError for a file that describes something else."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); it belongs beside the weights of a Vocos"
        ) from error
    values, parts = read_yaml(text, path), {}
    for part, expected in CLASSES.items():
        table = values.get(part)
        if not isinstance(table, dict) or not isinstance(table.get("init_args", {}), dict):
            raise CheckpointError(
                f"{path} has no {part} with its class_path and init_args; it describes no Vocos"
            )
        if table.get("class_path") != expected:
            raise CheckpointError(
                f"{path}: {part} is {table.get('class_path')}; expected {expected}. "
                f"Of the published ones only {PUBLISHED} plays codes (that for mel spectrograms, vocos-mel-24khz, does not)"
            )
        parts[part] = table.get("init_args", {})
        for key, value in FIXED.get(part, {}).items():
            if parts[part].get(key, value) != value:
                raise CheckpointError(
                    f"{path}: {key} is {parts[part][key]!r}; only a Vocos with {value!r} is read"
                )
    return parts


def _sizes_of(state, parts, bins, file) -> VocosConfig:
    """Sizes by the tensors, and what only the config says: the bit rates of the training."""
    try:
        rows, latent = state[CODE_VECTORS].shape
        if rows % bins:
            raise CheckpointError(
                f"{file} holds {rows} code vectors; expected a multiple of the codec's {bins}"
            )
        rates = parts["feature_extractor"].get("bandwidths", BANDWIDTHS)
        frame_hz = VocosConfig.sample_rate // VocosConfig.hop_samples
        kbps = frame_hz * (bins.bit_length() - 1) / 1000  # of one codebook
        choices = state["backbone.norm.scale.weight"].shape[0]
        if choices != len(rates):
            raise CheckpointError(
                f"{file} has norms for {choices} bit rates; "
                f"its config.yaml names {len(rates)}: {rates}"
            )
        return VocosConfig(
            codebooks=rows // bins,
            bins=bins,
            latent=latent,
            width=state["backbone.embed.weight"].shape[0],
            hidden=state["backbone.convnext.0.pwconv1.weight"].shape[0],
            blocks=sum(name.endswith(".dwconv.weight") for name in state),
            window=state["head.out.weight"].shape[0] - 2,
            trained_with=tuple(int(rate / kbps + 1e-6) for rate in rates),
        )
    except KeyError as error:
        raise CheckpointError(f"{file} holds no whole Vocos: {error.args[0]} is missing") from error
    except CheckpointError:
        raise
    except (ConfigError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file}: {error}") from error


def _check_window(window, file):
    """The inverse STFT here has a Hann window; the files carry theirs, maybe in half precision."""
    if window is not None and (window - torch.hann_window(len(window))).abs().max() > 0.01:
        raise CheckpointError(f"{file}: its window is not Hann's; only such a Vocos is read")
