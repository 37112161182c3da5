"""HuBERT weights from elsewhere -> Hubert: fairseq's .pt (Base, Large, fine-tuned), a transformers directory, our own.

fairseq itself is not needed: its files are read without running anything of them (unpickle.py) and their keys renamed.
"""

import json
import re
from pathlib import Path

import torch

from accompgen import component
from accompgen.config import from_dict
from accompgen.tokens.foreign import (
    HUBERT,
    is_safetensors,
    kind_of,
    safetensors_kind,
    weights_alone,
)
from accompgen.tokens.hubert import Hubert, HubertConfig
from accompgen.tokens.unpickle import plain, read_torch

EXPECTED = (
    "give a HuBERT: fairseq's .pt file, a directory of transformers whose config.json says "
    "model_type 'hubert', or a semantic tokenizer"
)

_POSITIONS = "encoder.pos_conv_embed.conv"
_POSITIONS_WEIGHT = f"{_POSITIONS}.parametrizations.weight.original"
# fairseq's key -> transformers'. What matches nothing here and is not in _UNUSED is an error.
_RENAMED = [
    (r"mask_emb", "masked_spec_embed"),
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.(weight|bias)", r"feature_extractor.conv_layers.\1.conv.\2"),
    (r"feature_extractor\.conv_layers\.(\d+)\.2(?:\.1)?\.(weight|bias)", r"feature_extractor.conv_layers.\1.layer_norm.\2"),
    (r"layer_norm\.(weight|bias)", r"feature_projection.layer_norm.\1"),
    (r"post_extract_proj\.(weight|bias)", r"feature_projection.projection.\1"),
    (r"encoder\.pos_conv\.0\.(?:weight_g|parametrizations\.weight\.original0)", f"{_POSITIONS_WEIGHT}0"),
    (r"encoder\.pos_conv\.0\.(?:weight_v|parametrizations\.weight\.original1)", f"{_POSITIONS_WEIGHT}1"),
    (r"encoder\.pos_conv\.0\.bias", f"{_POSITIONS}.bias"),
    (r"encoder\.layers\.(\d+)\.self_attn\.([kvq]|out)_proj\.(weight|bias)", r"encoder.layers.\1.attention.\2_proj.\3"),
    (r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.(weight|bias)", r"encoder.layers.\1.layer_norm.\2"),
    (r"encoder\.layers\.(\d+)\.fc1\.(weight|bias)", r"encoder.layers.\1.feed_forward.intermediate_dense.\2"),
    (r"encoder\.layers\.(\d+)\.fc2\.(weight|bias)", r"encoder.layers.\1.feed_forward.output_dense.\2"),
    (r"encoder\.layers\.(\d+)\.final_layer_norm\.(weight|bias)", r"encoder.layers.\1.final_layer_norm.\2"),
    (r"encoder\.layer_norm\.(weight|bias)", r"encoder.layer_norm.\1"),
]  # fmt: skip
_UNUSED = re.compile(r"(final_proj(\.\d+)?\.(weight|bias)|label_embs_concat|proj\.(weight|bias))$")
_FINE_TUNED_PREFIX = "w2v_encoder.w2v_model."


def load_hubert(path) -> Hubert:
    """A HuBERT in evaluation mode, on the CPU, float32.

    Args:
        path: a fairseq .pt file; a directory of transformers (config.json with model_type hubert); or a directory of ours
            (a semantic tokenizer, whose HuBERT is taken).

    Raises:
        FileNotFoundError: there is nothing at `path`.
        CheckpointError (UnsafeFileError), ValueError: it is something else, names what may not be run, or does not fit.
    """
    path = Path(path)
    if path.is_file():
        return _from_file(path)
    if not (path / component.CONFIG_FILE).is_file():
        raise FileNotFoundError(f"{path}: neither a HuBERT file nor a directory with {component.CONFIG_FILE}")
    settings = component.read_json(path / component.CONFIG_FILE)
    if settings.get("kind") == "semantic_tokenizer":
        from accompgen.tokens.semantic import SemanticTokenizer

        return SemanticTokenizer.load(path).hubert
    if settings.get("model_type") == "hubert":
        return _from_transformers(path)
    found = settings.get("kind") or settings.get("model_type")
    raise component.CheckpointError(f"{path} holds {found!r}; {EXPECTED}")


def _from_transformers(path):
    """Read a directory of transformers.HubertModel or of a model built on it (HubertForCTC)."""
    from safetensors import SafetensorError
    from transformers import HubertModel

    try:
        network = HubertModel.from_pretrained(
            path, dtype=torch.float32, use_safetensors=_has_safetensors(path)
        )
    except SafetensorError as error:
        raise component.CheckpointError(
            f"{path} holds a damaged safetensors file ({error}); copy it again"
        ) from error
    sizes, preprocessor = network.config, path / "preprocessor_config.json"
    normalise = sizes.feat_extract_norm == "layer"  # what the published ones do, where no file says it
    if preprocessor.is_file():
        normalise = bool(json.loads(preprocessor.read_text(encoding="utf-8")).get("do_normalize", normalise))
    if getattr(sizes, "conv_pos_batch_norm", False) or not sizes.feat_proj_layer_norm:
        raise ValueError(f"{path}: a HuBERT with conv_pos_batch_norm, or without feat_proj_layer_norm, is not supported")
    if (found := {sizes.hidden_act, sizes.feat_extract_activation} - {"gelu"}):
        raise ValueError(f"{path}: a HuBERT whose activation is {found.pop()!r} is not supported, only those with 'gelu'")
    config = HubertConfig(
        conv_channels=tuple(sizes.conv_dim), conv_kernels=tuple(sizes.conv_kernel), conv_strides=tuple(sizes.conv_stride),
        conv_bias=sizes.conv_bias, conv_norm=sizes.feat_extract_norm, width=sizes.hidden_size, layers=sizes.num_hidden_layers,
        heads=sizes.num_attention_heads, feed_forward=sizes.intermediate_size, position_taps=sizes.num_conv_pos_embeddings,
        position_groups=sizes.num_conv_pos_embedding_groups, norm_first=sizes.do_stable_layer_norm,
        normalise_waveform=normalise,
    )  # fmt: skip
    return _filled(config, network.state_dict(), path)


def _has_safetensors(path):
    return (path / "model.safetensors").is_file() or (path / "model.safetensors.index.json").is_file()


def _from_file(path):
    if is_safetensors(path):
        raise _not_fairseq(path, safetensors_kind(path))
    content = read_torch(path)
    model = content.get("model")
    if not isinstance(model, dict):
        raise _not_fairseq(path, kind_of(content))
    weights = {key.removeprefix(_FINE_TUNED_PREFIX): value for key, value in model.items()}
    if "encoder.pos_conv.0.bias" not in weights:
        raise _not_fairseq(path, kind_of(weights))
    return _from_fairseq(content, weights, path)


def _not_fairseq(path, found):
    if found == HUBERT:
        return weights_alone(path, found)
    return component.CheckpointError(f"{path} holds {found}; {EXPECTED}")


def _from_fairseq(content, weights, path):
    """Read a fairseq checkpoint: sizes from its configuration where it has one, else from the shapes of its weights."""
    model, task = _fairseq_settings(content)
    config = _fairseq_config(weights, model, task)
    return _filled(config, _renamed(weights, config, path), path)


def _fairseq_settings(content):
    """The settings of model and task: of `cfg` (a dict or omegaconf), else of the older `args`, else nothing."""
    settings = plain(content.get("cfg")) or {}
    model, task = settings.get("model") or {}, settings.get("task") or {}
    if not model:
        model = task = plain(content.get("args")) or {}
    inner = model.get("w2v_args")  # a fine-tuned model keeps the settings of what it was made from
    if isinstance(inner, dict):
        inner = inner.get("model", inner)
        model, task = {**model, **inner}, {**inner, **task}
    return model, task


def _fairseq_config(weights, model, task):
    convolution = re.compile(r"feature_extractor\.conv_layers\.(\d+)\.0\.weight")
    convolutions = sorted(int(match[1]) for key in weights if (match := convolution.fullmatch(key)))
    shapes = [weights[f"feature_extractor.conv_layers.{i}.0.weight"].shape for i in convolutions]
    layers = 1 + max(int(m[1]) for key in weights if (m := re.match(r"encoder\.layers\.(\d+)\.", key)))
    width = weights["encoder.pos_conv.0.bias"].shape[0]
    taps = next(weights[key] for key in weights if re.fullmatch(r"encoder\.pos_conv\.0\.(weight_v|param.*original1)", key))
    layer_norm = "feature_extractor.conv_layers.1.2.1.weight" in weights
    strides = _strides(model.get("conv_feature_layers"), len(shapes))
    return HubertConfig(
        conv_channels=tuple(shape[0] for shape in shapes),
        conv_kernels=tuple(shape[2] for shape in shapes),
        conv_strides=strides,
        conv_bias="feature_extractor.conv_layers.0.0.bias" in weights,
        conv_norm="layer" if layer_norm else "group",
        width=width,
        layers=layers,
        heads=int(model.get("encoder_attention_heads") or max(1, width // 64)),
        feed_forward=weights["encoder.layers.0.fc1.weight"].shape[0],
        position_taps=taps.shape[2],
        position_groups=width // taps.shape[1],
        norm_first=bool(model.get("layer_norm_first", layer_norm)),
        normalise_waveform=bool(task.get("normalize", layer_norm)),
    )


def _strides(text, count):
    """Strides of conv_feature_layers, such as "[(512,10,5)] + [(512,3,2)] * 4"; without it those of every published HuBERT."""
    if not text:
        if count != 7:
            raise ValueError(f"a HuBERT of {count} convolutions whose file does not say their strides (conv_feature_layers)")
        return (5, 2, 2, 2, 2, 2, 2)
    strides = []
    for group in re.findall(r"\[([^\]]*)\](?:\s*\*\s*(\d+))?", text):
        strides += [int(stride) for stride in re.findall(r"\(\s*\d+\s*,\s*\d+\s*,\s*(\d+)\s*\)", group[0])] * int(group[1] or 1)
    if len(strides) != count:
        raise ValueError(f"conv_feature_layers {text!r} names {len(strides)} convolutions, the file has {count}")
    return tuple(strides)


def _renamed(weights, config, path):
    renamed = {}
    for key, value in weights.items():
        for pattern, name in _RENAMED:
            if match := re.fullmatch(pattern, key):
                renamed[match.expand(name)] = value.float()
                break
        else:
            if not _UNUSED.search(key):
                raise ValueError(f"{path} has the weight {key!r}, which no HuBERT has; expected the layout of fairseq's models")
    if "feature_projection.projection.weight" not in renamed:  # fairseq leaves the projection out where the widths agree
        renamed["feature_projection.projection.weight"] = torch.eye(config.width)
        renamed["feature_projection.projection.bias"] = torch.zeros(config.width)
    return renamed


def _filled(config, weights, path):
    hubert = Hubert(from_dict(HubertConfig, vars(config), str(path)))
    weights = {"masked_spec_embed": torch.zeros(config.width), **weights}
    try:
        hubert.network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the weights of {path} do not fit the sizes it names: {error}") from error
    return hubert.eval()
