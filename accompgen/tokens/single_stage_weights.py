"""The weight files of MusicGen and STAGE, and their only reader.

Formats: directories of transformers (a MusicGen), audiocraft's `state_dict.bin` with
`compression_state_dict.bin` beside it, STAGE's own file. All end in the same: sizes, weights by the
names of model/single_stage.py, a codec, and a T5's weights where the files have them.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from accompgen.checkpoint import read_info
from accompgen.component import CONFIG_FILE, CheckpointError
from accompgen.config import ConfigError, SingleStageConfig
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.encodec_weights import (
    AUDIOCRAFT_FILE,
    network_of,
    of_package,
    resolved,
)
from accompgen.tokens.foreign import is_safetensors, kind_of, safetensors_kind
from accompgen.tokens.single_stage_names import (
    of_audiocraft,
    of_stage,
    of_transformers,
    shapes_of,
)
from accompgen.tokens.t5 import PIECES_FILE, encoder_weights
from accompgen.tokens.weight_files import find_weights, read_content, read_yaml, tensors_of

LM_FILE = "state_dict.bin"
EXPECTED = (
    f"only a MusicGen is read, its transformers directory or audiocraft's {LM_FILE} beside "
    f"{AUDIOCRAFT_FILE}, or a STAGE, such as stage-drums.safetensors"
)
HEAD_WIDTH = 64  # of STAGE, which no tensor says
# of STAGE's codec, as its code builds it
CODEC_OF_STAGE = {
    "sample_rate": 32000,
    "ratios": (8, 5, 4, 4),
    "causal": False,
    "pad_mode": "reflect",
}
T5_OF_STAGE = "condition_provider.embedders.description.t5."
# What an audiocraft file's table `transformer_lm` must say, where it says anything: what no tensor
# shows. Its `cross_attention` is false even where there is one: audiocraft switches it on later.
READABLE_XP = {
    "norm_first": True,
    "positional_embedding": "sin",
    "activation": "gelu",
    "past_context": None,
}
READABLE = {"activation_function": "gelu", "scale_embedding": False}  # of a transformers decoder


@dataclass(frozen=True)
class SingleStageWeights:
    """What a file or a directory holds.

    Attributes:
        config, state: sizes, and weights by the names of model/single_stage.py, float32.
        dtype: in which the file has them.
        codec: of its codes.
        t5: weights of the text encoder, None where the files have none; `pieces`: where its
            sentencepiece model lies, None where it does not lie there.
    """

    config: SingleStageConfig
    state: dict
    dtype: torch.dtype
    codec: AcousticTokenizer
    t5: dict | None = None
    pieces: Path | None = None


def read_single_stage(path, codec=None) -> SingleStageWeights:
    """What a MusicGen's or a STAGE's file or directory holds.

    Args:
        path: of it.
        codec: an EnCodec, as `load_network` reads it, for an audiocraft file that has none beside
            it.

    Raises CheckpointError naming the file for anything missing, altered, cut, or neither of them.
    """
    path = Path(path)
    if path.is_dir():
        if (path / CONFIG_FILE).is_file():
            return _read_transformers(path)
        if not (path / LM_FILE).is_file():
            there = ", ".join(sorted(file.name for file in path.iterdir())[:5]) or "nothing"
            raise CheckpointError(
                f"{path} holds neither {CONFIG_FILE} nor {LM_FILE} (it holds {there}); {EXPECTED}"
            )
        path = path / LM_FILE
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; {EXPECTED}")
    if is_safetensors(path):
        found = safetensors_kind(path)
        content = read_content(path) if _is_stage(_names(path)) else None
    else:
        try:
            content = read_content(path)
        except CheckpointError as error:
            raise CheckpointError(f"{error}; {EXPECTED}") from error
        found = kind_of(content)
        if isinstance(content.get("best_state"), dict):
            return _read_audiocraft(content, path, codec)
    if content is None or not _is_stage(content):
        raise CheckpointError(f"{path} holds {found}; {EXPECTED}")
    return _read_stage(content, path)


def _is_stage(names):
    return "lm.decoder.token_emb.emb.0.weight" in names


def _names(path):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return set(file.keys())


def _read_transformers(path):
    values = read_info(path)
    decoder = values.get("decoder")
    if values.get("model_type") != "musicgen" or not isinstance(decoder, dict):
        raise CheckpointError(
            f"{path}/{CONFIG_FILE} says model_type = {values.get('model_type')!r}; {EXPECTED}"
        )
    _check(decoder, READABLE, path)
    if decoder.get("audio_channels", 1) != 1:
        raise CheckpointError(
            f"{path} is a MusicGen of {decoder['audio_channels']} channels; only mono ones are read"
        )
    file = find_weights(path)
    content = read_content(file)
    parts = {"text_encoder.": {}, "audio_encoder.": {}, "": {}}
    for name, value in content.items():
        prefix = next(prefix for prefix in parts if name.startswith(prefix))
        parts[prefix][name.removeprefix(prefix)] = value
    # the sines, which older files hold
    parts[""] = {
        name: value for name, value in parts[""].items() if ".embed_positions." not in name
    }
    dtype = _dtype_of(parts[""])
    state = of_transformers(tensors_of(parts[""], file))
    t5 = encoder_weights(tensors_of(parts["text_encoder."], file)) or None
    pieces = path / PIECES_FILE
    return SingleStageWeights(
        *_sized(state, decoder.get("num_attention_heads", 16), file), dtype, _loaded(path), t5,
        pieces if pieces.is_file() else None,
    )  # fmt: skip


def _read_audiocraft(content, path, codec):
    if not isinstance(content.get("xp.cfg"), str):
        raise CheckpointError(f"{path} is a file of audiocraft without xp.cfg; {EXPECTED}")
    cfg = read_yaml(content["xp.cfg"], f"{path}: xp.cfg")
    sizes = resolved(cfg, cfg.get("transformer_lm", {}))
    if "num_heads" not in sizes:
        raise CheckpointError(
            f"{path}: its xp.cfg describes no language model ({kind_of(content['best_state'])}); "
            f"{EXPECTED}"
        )
    _check(sizes, READABLE_XP, path)
    delays = (cfg.get("codebooks_pattern") or {}).get("delay") or {}
    if delays.get("delays", [0, 1, 2, 3]) != list(range(sizes.get("n_q", 4))):
        raise CheckpointError(
            f"{path}: its codebooks are delayed by {delays['delays']}; only mono MusicGens are read"
        )
    if codec is None and not path.with_name(AUDIOCRAFT_FILE).is_file():
        missing = path.with_name(AUDIOCRAFT_FILE)
        raise CheckpointError(
            f"{missing} is missing: the codec of {path.name}; put the two files into one directory"
        )
    tensors = tensors_of(content["best_state"], path)
    state = of_audiocraft(tensors)
    config, state = _sized(state, sizes["num_heads"], path)
    codec = _loaded(codec or path.with_name(AUDIOCRAFT_FILE))
    return SingleStageWeights(config, state, _dtype_of(content["best_state"]), codec)


def _read_stage(content, path):
    parts = {"encodec_model.": {}, T5_OF_STAGE: {}, "": {}}
    for name, value in content.items():
        prefix = next(prefix for prefix in parts if name.startswith(prefix))
        parts[prefix][name.removeprefix(prefix)] = value
    dtype = _dtype_of(parts[""])
    state = of_stage(tensors_of(parts[""], path))
    if not parts["encodec_model."]:
        raise CheckpointError(
            f"{path} holds no codec (encodec_model.*), so it is not whole; get it again"
        )
    sizes = of_package(tensors_of(parts["encodec_model."], path), CODEC_OF_STAGE, path)
    width = state["embedding.0"].shape[1]
    config, state = _sized(state, max(1, width // HEAD_WIDTH), path)
    t5 = encoder_weights(tensors_of(parts[T5_OF_STAGE], path)) or None
    return SingleStageWeights(
        config, state, dtype, AcousticTokenizer(*network_of(*sizes, path)), t5
    )


def _loaded(codec):
    """The codec of these files. Raises CheckpointError, too, for one that codes sound in chunks."""
    return AcousticTokenizer.load(codec, any_rate=True)


def _sized(state, heads, path):
    """Sizes read off the weights, and the weights with those of all codebooks in one tensor each."""
    try:
        tables, outputs = (_stacked(state, kind) for kind in ("embedding", "heads"))
        config = SingleStageConfig(
            width=tables.shape[2],
            layers=sum(
                re.fullmatch(r"decoder\.blocks\.\d+\.attention\.q\.weight", name) is not None
                for name in state
            ),
            heads=heads,
            hidden=state["decoder.blocks.0.expand.weight"].shape[0],
            codebooks=tables.shape[0],
            bins=outputs.shape[1],
            text_width=state["text_projection.weight"].shape[1],
            context=tables.shape[1] == outputs.shape[1] + 2,
        )
    except (KeyError, RuntimeError, ConfigError, IndexError) as error:
        raise CheckpointError(
            f"{path} holds no whole MusicGen or STAGE: {error} is missing or does not fit"
        ) from error
    if tables.shape[1] - config.context != config.bins + 1:
        raise CheckpointError(
            f"{path} has embeddings of {tables.shape[1]} ids for {config.bins} codes; "
            "expected one more, or two in a STAGE"
        )
    state = {**state, "embedding": tables, "heads": outputs}
    _check_shapes(state, shapes_of(config), path)
    return config, state


def _check_shapes(state, expected, path):
    """Raise CheckpointError for a weight that is missing, unknown, or of another shape."""
    for name in sorted({*state, *expected}):
        found, wanted = tuple(state[name].shape) if name in state else None, expected.get(name)
        if found != wanted:
            raise CheckpointError(
                f"{path}: the weight {name} has the shape {found}, expected {wanted} "
                "(None: there is none); "
                f"this is no whole MusicGen or STAGE"
            )


def _stacked(state, kind):
    """The tensors kind.0, kind.1, ... taken out of `state`, as one."""
    count = sum(name.startswith(f"{kind}.") for name in state)
    return torch.stack([state.pop(f"{kind}.{index}") for index in range(max(1, count))])


def _dtype_of(state):
    """In which type a file holds its weights, of those that components are written in."""
    found = {value.dtype for value in state.values() if isinstance(value, torch.Tensor)}
    return (
        found.pop()
        if len(found) == 1 and found <= {torch.float16, torch.bfloat16}
        else torch.float32
    )


def _check(values, expected, path):
    for key, value in expected.items():
        if values.get(key, value) != value:
            raise CheckpointError(
                f"{path}: {key} is {values[key]!r}; such a model is read where it is {value!r}"
            )
