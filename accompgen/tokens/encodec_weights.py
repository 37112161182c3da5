"""The weight files of EnCodec, and their only reader.

Formats: the published `.th` files (24 and 48 kHz), audiocraft's `compression_state_dict.bin` (32 kHz),
directories of transformers (an EnCodec, or a MusicGen that has one inside), our own components. All
end in the same: sizes, and plain weights by the names of transformers, the weight norm folded.
"""

import re
from pathlib import Path

import torch

from accompgen.checkpoint import read_info
from accompgen.component import (
    CONFIG_FILE,
    CheckpointError,
    file_hash,
    load_component,
    save_component,
)
from accompgen.config import ConfigError, from_dict, to_dict
from accompgen.tokens.encodec import CodecConfig, OtherCodecConfig, build_network
from accompgen.tokens.foreign import (
    ENCODEC,
    GROUP_NORM,
    is_safetensors,
    kind_of,
    safetensors_kind,
    weights_alone,
)
from accompgen.tokens.weight_files import find_weights, read_content, read_yaml, tensors_of

FORMAT = "encodec"  # of our own components
AUDIOCRAFT_FILE = "compression_state_dict.bin"
EXPECTED = (
    f"only an EnCodec of 24, 32 or 48 kHz is read: its .th file, audiocraft's {AUDIOCRAFT_FILE}, a "
    "directory of transformers whose config.json says model_type 'encodec' (itself or, of a MusicGen, "
    "under audio_encoder), or a tokenizer of ours"
)
TRAINING_ONLY = (
    "cluster_size",
    "embed_avg",
    "inited",
)  # buffers of a codebook that encoding does not need
READABLE = {  # what a transformers directory must say, where it says anything
    "trim_right_ratio": 1.0,
    "kernel_size": 7,
    "last_kernel_size": 7,
    "residual_kernel_size": 3,
    "num_residual_layers": 1,
    "compress": 2,
}
AUDIOCRAFT_READABLE = {  # likewise, of the table `seanet` in an audiocraft file
    "activation": "ELU",
    "norm": "weight_norm",
    "kernel_size": 7,
    "last_kernel_size": 7,
    "residual_kernel_size": 3,
    "n_residual_layers": 1,
    "compress": 2,
}
# What no tensor says, as the package `encodec` builds them. OtherCodecConfig knows the chunks.
OF_24KHZ = {"sample_rate": 24000, "ratios": (8, 5, 4, 2), "causal": True, "pad_mode": "reflect"}
OF_48KHZ = {
    "sample_rate": 48000,
    "ratios": (8, 5, 4, 2),
    "causal": False,
    "pad_mode": "reflect",
    "in_chunks": True,
}


def load_network(path) -> tuple[CodecConfig, torch.nn.Module]:
    """Sizes and network of an EnCodec in any of the formats.

    Raises CheckpointError naming the file for anything missing, altered, cut, or no EnCodec.
    """
    return network_of(*read_weights(path), path)


def network_of(config: CodecConfig, state: dict, path) -> tuple[CodecConfig, torch.nn.Module]:
    """The network of plain weights as `read_weights` gives them.

    Raises CheckpointError, naming `path`, for weights that do not fit.
    """
    with torch.random.fork_rng(
        devices=[]
    ):  # building draws random weights, which nobody shall notice
        network = build_network(config)
    try:
        lost = network.load_state_dict(state, strict=False)
    except RuntimeError as error:  # of weights of other shapes
        shape = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(f"{path}: this is no {config.description[3:]}: {shape}") from error
    missing = [name for name in lost.missing_keys if not name.endswith(TRAINING_ONLY)]
    if missing or lost.unexpected_keys:
        what = "missing" if missing else "unknown"
        names = ", ".join((missing or lost.unexpected_keys)[:3])
        raise CheckpointError(f"{path}: weights {what}: {names}; this is no EnCodec of {config}")
    return config, network


def save_network(
    directory, config: CodecConfig, network: torch.nn.Module, force: bool = False
) -> None:
    """Write a component directory. Raises CheckpointError as `save_component`."""
    state = network.state_dict()
    keep = {name: value for name, value in state.items() if not name.endswith(TRAINING_ONLY)}
    save_component(directory, {"format": FORMAT, **to_dict(config)}, keep, force=force)


def read_weights(path) -> tuple[CodecConfig, dict]:
    """Sizes and plain weights (names of transformers, weight norm folded) of any of the formats."""
    path = Path(path)
    if path.is_dir():
        return _read_directory(path)
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist; expected a .th file, "
            "or a directory with config.json and weights"
        )
    if is_safetensors(path):
        found = safetensors_kind(path)
        _refuse_other(found, path)
        raise weights_alone(path, found)
    named = re.search(r"-([0-9a-f]{8})\.th$", path.name)
    if named and named[1] != file_hash(path)[:8]:
        raise CheckpointError(
            f"{path} was altered or cut: its sha256 begins with {file_hash(path)[:8]}, "
            f"its name says {named[1]}; fetch it again"
        )
    content = read_content(path)
    if "best_state" in content or "xp.cfg" in content or "pretrained" in content:
        return _read_audiocraft(content, path)
    _refuse_other(kind_of(content), path)
    return _read_published(tensors_of(content, path), path)


def _read_directory(path):
    if not (path / CONFIG_FILE).is_file():
        if (path / AUDIOCRAFT_FILE).is_file():
            return read_weights(path / AUDIOCRAFT_FILE)
        there = ", ".join(sorted(file.name for file in path.iterdir())[:5]) or "nothing"
        raise CheckpointError(
            f"{path} has no {CONFIG_FILE} (it holds {there}); give the .th file of EnCodec, "
            f"{AUDIOCRAFT_FILE}, or a directory of transformers with {CONFIG_FILE} and "
            "model.safetensors"
        )
    values = read_info(path)
    if values.get("format") == FORMAT:
        sizes = {name: value for name, value in values.items() if name != "format"}
        kind = OtherCodecConfig if "sample_rate" in sizes else CodecConfig
        return from_dict(kind, sizes, f"{path}/config.json"), load_component(path)[1]
    prefix = ""
    if isinstance(values.get("audio_encoder"), dict):  # of a MusicGen
        values, prefix = values["audio_encoder"], "audio_encoder."
    if values.get("model_type") != "encodec":
        named = [name for name in ("model_type", "format", "kind") if name in values]
        found = f"{named[0]} = {values[named[0]]!r}" if named else "no model_type"
        raise CheckpointError(f"{path}/{CONFIG_FILE} says {found}; {EXPECTED}")
    _check_values(values, READABLE, path)
    file = find_weights(path)
    state = tensors_of(read_content(file, prefix), file)
    _refuse_other(kind_of(state), file)
    return _sizes_of(state, _transformers_settings(values, path), file)


def _transformers_settings(values, path):
    """What no tensor says, of a transformers config.json."""
    norm = values.get("norm_type", "weight_norm")
    in_chunks = norm == "time_group_norm"
    if (
        norm not in ("weight_norm", "time_group_norm")
        or bool(values.get("normalize", False)) != in_chunks
    ):
        raise CheckpointError(
            f"{path}: norm_type is {norm!r} and normalize {values.get('normalize', False)!r}; only an "
            "EnCodec with weight norm that does not normalise is read, or one with group norm that does"
        )
    settings = {
        "sample_rate": values.get("sampling_rate", 24000),
        "ratios": tuple(values.get("upsampling_ratios", (8, 5, 4, 2))),
        "causal": values.get("use_causal_conv", True),
        "pad_mode": values.get("pad_mode", "reflect"),
    }
    if bool(values.get("chunk_length_s")) != in_chunks:
        raise CheckpointError(
            f"{path}: chunk_length_s is {values.get('chunk_length_s')!r}, norm_type {norm!r}"
        )
    if in_chunks:
        chunk = int(values["chunk_length_s"] * settings["sample_rate"])
        stride = max(1, int((1.0 - (values.get("overlap") or 0.0)) * chunk))
        settings |= {"in_chunks": True, "chunk_samples": chunk, "stride_samples": stride}
    return settings


def _read_audiocraft(content, path):
    """audiocraft's export: weights under `best_state`, the configuration of the training as YAML."""
    if "pretrained" in content:
        raise CheckpointError(
            f"{path} holds no weights; it says that the codec is {content['pretrained']!r}: "
            "get that one"
        )
    if not isinstance(content.get("best_state"), dict) or not isinstance(
        content.get("xp.cfg"), str
    ):
        raise CheckpointError(
            f"{path} is a file of audiocraft without best_state and xp.cfg (it holds "
            f"{', '.join(sorted(map(str, content)))}); expected {AUDIOCRAFT_FILE}"
        )
    state = tensors_of(content["best_state"], path)
    _refuse_other(kind_of(state), path)
    cfg = read_yaml(content["xp.cfg"], f"{path}: xp.cfg")
    codec, network = (resolved(cfg, cfg.get(name, {})) for name in ("encodec", "seanet"))
    if (
        cfg.get("compression_model", "encodec") != "encodec"
        or codec.get("renormalize")
        or not network.get("ratios")
    ):
        raise CheckpointError(f"{path}: its xp.cfg describes no EnCodec that is read: {codec}")
    _check_values(network, AUDIOCRAFT_READABLE, path)
    settings = {
        "sample_rate": codec.get("sample_rate", resolved(cfg, {"": "${sample_rate}"})[""]),
        "ratios": tuple(network["ratios"]),
        "causal": bool(codec.get("causal", False)),
        "pad_mode": network.get("pad_mode", "reflect"),
    }
    return of_package(state, settings, path)


def of_package(state: dict, settings: dict, path) -> tuple[CodecConfig, dict]:
    """Sizes and plain weights of a state_dict of the packages `encodec` or `audiocraft`; `settings` are
    what no tensor says.

    Raises CheckpointError, naming `path`, for anything else.
    """
    return _sizes_of(_renamed(state), settings, path)


def resolved(cfg, table):
    """A table with references such as ${encodec.causal} replaced by what they name."""

    def value_of(value, depth=0):
        match = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
        if match is None or depth > 9:
            return value
        found = cfg
        for key in match[1].split("."):
            found = found.get(key) if isinstance(found, dict) else None
        return value_of(found, depth + 1)

    return (
        {name: value_of(value) for name, value in table.items()} if isinstance(table, dict) else {}
    )


def _check_values(values, expected, path):
    for key, value in expected.items():
        if values.get(key, value) != value:
            raise CheckpointError(
                f"{path}: {key} is {values[key]!r}; an EnCodec is read where it is {value!r}"
            )


def _read_published(state, path):
    """A file of the package `encodec`, named after its sha256: encodec_24khz-d7cc33bc.th."""
    stereo = any(re.match(GROUP_NORM, name) for name in state)
    if not re.search(r"-[0-9a-f]{8}\.th$", path.name):
        if not any(name.startswith("encoder.model.") for name in state):  # names of transformers
            raise weights_alone(path, kind_of(state))
        name = f"encodec_{'48' if stereo else '24'}khz-{file_hash(path)[:8]}.th"
        raise CheckpointError(f"{path} does not carry its hash; expected the name {name}")
    return _sizes_of(_renamed(state), OF_48KHZ if stereo else OF_24KHZ, path)


def _renamed(state):
    """Weights of the packages `encodec` and `audiocraft` by the names of transformers."""
    renamed = {}
    for name, value in state.items():
        name = name.replace("quantizer.vq.layers", "quantizer.layers").replace(
            "._codebook.", ".codebook."
        )
        name = re.sub(r"^(encoder|decoder)\.model\.", r"\1.layers.", name)
        name = re.sub(r"\.conv(tr)?\.norm\.", ".norm.", name)
        renamed[re.sub(r"\.conv(tr)?\.conv(tr)?\.", ".conv.", name)] = value
    return renamed


def _refuse_other(found, path):
    """Raise CheckpointError for weights of something else than an EnCodec, by the words of foreign.py."""
    if not found.startswith(ENCODEC):
        raise CheckpointError(f"{path} holds {found}; {EXPECTED}")


def _fold_weight_norm(state):
    """weight = g * v / |v|, the norm over all axes but the first (Salimans and Kingma 2016).

    Other tensors stay as they are.
    """
    plain = {}
    for name, value in state.items():
        if name.endswith((".weight_g", ".parametrizations.weight.original0")):
            continue
        stem = re.sub(r"\.(weight_v|parametrizations\.weight\.original1)$", "", name)
        if stem == name:
            plain[name] = value
            continue
        scale = state.get(
            f"{stem}.weight_g", state.get(f"{stem}.parametrizations.weight.original0")
        )
        if scale is None:
            raise CheckpointError(
                f"the weights hold {name} but not the scale beside it; the file is not complete"
            )
        plain[f"{stem}.weight"] = torch._weight_norm(value, scale, 0)
    return plain


def _sizes_of(state, settings, path) -> tuple[CodecConfig, dict]:
    """Sizes read off the tensors, and what no tensor says; the weights, weight norm folded.

    Whether residual blocks have a shortcut is read off the tensors as well: one published revision of
    the 32 kHz model's config.json says that they have, and they have not.
    """
    state = _fold_weight_norm(state)
    try:
        embed, first = (
            state["quantizer.layers.0.codebook.embed"],
            state["encoder.layers.0.conv.weight"],
        )
        sizes = {
            "filters": first.shape[0],
            "latent": embed.shape[1],
            "codebooks": sum(name.endswith("codebook.embed") for name in state),
            "bins": embed.shape[0],
            "lstm_layers": sum(
                re.search(r"^encoder\..*lstm\.weight_ih_l\d+$", name) is not None for name in state
            ),
            "shortcut": any(".shortcut." in name for name in state),
        }
    except KeyError as error:
        raise CheckpointError(f"{path} holds no EnCodec: {error.args[0]} is missing") from error
    try:
        settings = {"channels": first.shape[1], "in_chunks": False, **settings}
        fixed = ("sample_rate", "channels", "ratios", "causal", "in_chunks")
        if all(settings[name] == getattr(CodecConfig, name) for name in fixed):
            return CodecConfig(**sizes, pad_mode=settings["pad_mode"]), state
        return OtherCodecConfig(**sizes, **settings), state
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{path}: {error}") from error
