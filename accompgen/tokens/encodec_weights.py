"""The weight files of EnCodec, and their only reader: the published `.th` file, a transformers directory, our own component.

All end in the same: sizes, and plain weights by the names of transformers, the weight norm folded.
"""

import hashlib
import re
from pathlib import Path

import torch

from accompgen.checkpoint import CONFIG_FILE, CheckpointError, load_component, read_info
from accompgen.config import from_dict
from accompgen.tokens.encodec import CodecConfig
from accompgen.tokens.foreign import (
    ENCODEC,
    is_safetensors,
    kind_of,
    safetensors_kind,
    weights_alone,
)
from accompgen.tokens.unpickle import read_torch

FORMAT = "encodec"  # of our own components
EXPECTED = (
    "only the EnCodec of 24 kHz, mono and causal, is read: its .th file, a directory of transformers "
    "whose config.json says model_type 'encodec', or a tokenizer of ours"
)
READABLE = {  # what a transformers directory must say, where it says anything
    "sampling_rate": 24000,
    "audio_channels": 1,
    "normalize": False,
    "norm_type": "weight_norm",
    "use_causal_conv": True,
    "trim_right_ratio": 1.0,
    "upsampling_ratios": [8, 5, 4, 2],
    "kernel_size": 7,
    "last_kernel_size": 7,
    "residual_kernel_size": 3,
    "num_residual_layers": 1,
    "compress": 2,
}


def read_weights(path) -> tuple[CodecConfig, dict]:
    """Sizes and plain weights (names of transformers, weight norm folded) of any of the three formats."""
    path = Path(path)
    if path.is_dir():
        return _read_directory(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; expected a .th file, or a directory with config.json and weights")
    return _read_published(path)


def _read_directory(path):
    if not (path / CONFIG_FILE).is_file():
        there = ", ".join(sorted(file.name for file in path.iterdir())[:5]) or "nothing"
        raise CheckpointError(
            f"{path} has no {CONFIG_FILE} (it holds {there}); give the .th file of EnCodec, or a "
            f"directory of transformers with {CONFIG_FILE} and model.safetensors"
        )
    values = read_info(path)
    if values.get("format") == FORMAT:
        sizes = {name: value for name, value in values.items() if name != "format"}
        return from_dict(CodecConfig, sizes, f"{path}/config.json"), load_component(path)[1]
    if values.get("model_type") != "encodec":
        named = [name for name in ("model_type", "format", "kind") if name in values]
        found = f"{named[0]} = {values[named[0]]!r}" if named else "no model_type"
        raise CheckpointError(f"{path}/{CONFIG_FILE} says {found}; {EXPECTED}")
    for key, expected in READABLE.items():
        if values.get(key, expected) != expected:
            raise CheckpointError(
                f"{path}: {key} is {values[key]!r}; only the 24 kHz causal mono EnCodec is read, where it is {expected!r}"
            )
    if (path / "model.safetensors").is_file():
        state = load_component(path)[1]
        _check_kind(state, path)
    elif (path / "pytorch_model.bin").is_file():
        state = _load_pickled_tensors(path / "pytorch_model.bin")
    else:
        raise CheckpointError(f"{path} holds neither model.safetensors nor pytorch_model.bin")
    state = _fold_weight_norm(state)
    return _sizes_of(state, values.get("pad_mode", "reflect"), path), state


def _read_published(path):
    """The package `encodec` names a file after the first 8 hex digits of its sha256: encodec_24khz-d7cc33bc.th."""
    if is_safetensors(path):
        found = safetensors_kind(path)
        _refuse_other(found, path)
        raise weights_alone(path, found)
    named = re.search(r"-([0-9a-f]{8})\.th$", path.name)
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if named is None:
        _load_pickled_tensors(path)  # says so if it is something else
        raise CheckpointError(f"{path} does not carry its hash; expected the name encodec_24khz-{found[:8]}.th")
    if named[1] != found[:8]:
        raise CheckpointError(
            f"{path} was altered or cut: its sha256 begins with {found[:8]}, its name says {named[1]}; fetch it again"
        )
    state = {}
    for name, value in _load_pickled_tensors(path).items():
        name = name.replace("quantizer.vq.layers", "quantizer.layers").replace("._codebook.", ".codebook.")
        name = re.sub(r"^(encoder|decoder)\.model\.", r"\1.layers.", name)
        state[re.sub(r"\.conv(tr)?\.conv(tr)?\.", ".conv.", name)] = value
    state = _fold_weight_norm(state)
    return _sizes_of(state, "reflect", path), state


def _load_pickled_tensors(path):
    state = read_torch(path, ())
    _check_kind(state, path)
    return state


def _check_kind(state, path):
    """Raise CheckpointError for the weights of something else than a 24 kHz mono EnCodec, saying what they are."""
    _refuse_other(kind_of(state), path)


def _refuse_other(found, path):
    if found != ENCODEC:
        raise CheckpointError(f"{path} holds {found}; {EXPECTED}")


def _fold_weight_norm(state):
    """weight = g * v / |v|, the norm over all axes but the first (Salimans and Kingma 2016); other tensors as they are."""
    plain = {}
    for name, value in state.items():
        if name.endswith((".weight_g", ".parametrizations.weight.original0")):
            continue
        stem = re.sub(r"\.(weight_v|parametrizations\.weight\.original1)$", "", name)
        if stem == name:
            plain[name] = value
            continue
        scale = state.get(f"{stem}.weight_g", state.get(f"{stem}.parametrizations.weight.original0"))
        if scale is None:
            raise CheckpointError(f"the weights hold {name} but not the scale beside it; the file is not complete")
        plain[f"{stem}.weight"] = torch._weight_norm(value, scale, 0)
    return plain


def _sizes_of(state, pad_mode, path):
    """Read the sizes off the tensors themselves."""
    try:
        embed = state["quantizer.layers.0.codebook.embed"]
        return CodecConfig(
            filters=state["encoder.layers.0.conv.weight"].shape[0],
            latent=embed.shape[1],
            codebooks=sum(name.endswith("codebook.embed") for name in state),
            bins=embed.shape[0],
            lstm_layers=sum(re.search(r"^encoder\..*lstm\.weight_ih_l\d+$", name) is not None for name in state),
            shortcut=any(".shortcut." in name for name in state),
            pad_mode=pad_mode,
        )
    except KeyError as error:
        raise CheckpointError(f"{path} holds no EnCodec: {error.args[0]} is missing") from error
