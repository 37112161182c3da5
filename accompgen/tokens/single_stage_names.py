"""The names of a MusicGen's or a STAGE's weights in each program's files, and here.

Those here are the ones of model/single_stage.py. The embeddings and the heads of the codebooks,
which lie in one tensor each there, are `embedding.<q>` and `heads.<q>` in between.
"""

import re

from accompgen.config import SingleStageConfig

# (a pattern of a file's names, the name here), applied one after the other
_AUDIOCRAFT = (
    (r"transformer\.layers\.(\d+)\.self_attn\.", r"decoder.blocks.\1.attention."),
    (r"transformer\.layers\.(\d+)\.cross_attention\.", r"decoder.blocks.\1.text_attention."),
    (r"transformer\.layers\.(\d+)\.norm1\.", r"decoder.blocks.\1.attention_norm."),
    (r"transformer\.layers\.(\d+)\.norm_cross\.", r"decoder.blocks.\1.text_norm."),
    (r"transformer\.layers\.(\d+)\.norm2\.", r"decoder.blocks.\1.feed_forward_norm."),
    (r"transformer\.layers\.(\d+)\.linear1\.", r"decoder.blocks.\1.expand."),
    (r"transformer\.layers\.(\d+)\.linear2\.", r"decoder.blocks.\1.contract."),
    (r"\.out_proj\.", ".out."),
    (r"out_norm\.", "decoder.norm."),
    (r"condition_provider\.conditioners\.description\.output_proj\.", "text_projection."),
    (r"emb\.(\d+)\.weight", r"embedding.\1"),
    (r"linears\.(\d+)\.weight", r"heads.\1"),
)
_TRANSFORMERS = (
    (r"decoder\.model\.decoder\.layers\.(\d+)\.self_attn\.", r"decoder.blocks.\1.attention."),
    (
        r"decoder\.model\.decoder\.layers\.(\d+)\.encoder_attn\.",
        r"decoder.blocks.\1.text_attention.",
    ),
    (
        r"decoder\.model\.decoder\.layers\.(\d+)\.self_attn_layer_norm\.",
        r"decoder.blocks.\1.attention_norm.",
    ),
    (
        r"decoder\.model\.decoder\.layers\.(\d+)\.encoder_attn_layer_norm\.",
        r"decoder.blocks.\1.text_norm.",
    ),
    (
        r"decoder\.model\.decoder\.layers\.(\d+)\.final_layer_norm\.",
        r"decoder.blocks.\1.feed_forward_norm.",
    ),
    (r"decoder\.model\.decoder\.layers\.(\d+)\.fc1\.", r"decoder.blocks.\1.expand."),
    (r"decoder\.model\.decoder\.layers\.(\d+)\.fc2\.", r"decoder.blocks.\1.contract."),
    (r"\.(q|k|v|out)_proj\.", r".\1."),
    (r"decoder\.model\.decoder\.layer_norm\.", "decoder.norm."),
    (r"enc_to_dec_proj\.", "text_projection."),
    (r"decoder\.model\.decoder\.embed_tokens\.(\d+)\.weight", r"embedding.\1"),
    (r"decoder\.lm_heads\.(\d+)\.weight", r"heads.\1"),
)
# of a block of STAGE, whose x-transformers numbers its three branches through
_BRANCHES = (
    ("attention", "attention_norm"),
    ("text_attention", "text_norm"),
    ("", "feed_forward_norm"),
)
_STAGE = (
    (r"lm\.decoder\.attn_layers\.final_norm\.", "decoder.norm."),
    (r"condition_provider\.embedders\.description\.output_proj\.", "text_projection."),
    (r"lm\.decoder\.token_emb\.emb\.(\d+)\.weight", r"embedding.\1"),
    (r"lm\.decoder\.to_logits\.linears\.(\d+)\.weight", r"heads.\1"),
)


def of_audiocraft(state: dict) -> dict:
    """Weights of audiocraft's language model by the names here."""
    return _renamed(_divided(state), _AUDIOCRAFT)


def of_transformers(state: dict) -> dict:
    """Weights of a transformers.MusicgenForConditionalGeneration, without its codec and its T5, by the
    names here."""
    return _renamed(state, _TRANSFORMERS)


def of_stage(state: dict) -> dict:
    """Weights of STAGE's module, without its codec and its T5, by the names here."""
    return _renamed({_of_branch(name): value for name, value in state.items()}, _STAGE)


def shapes_of(config: SingleStageConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight of model/single_stage.py."""
    width, square = config.width, (config.width, config.width)
    shapes = {
        "embedding": (config.codebooks, config.bins + 1 + config.context, width),
        "heads": (config.codebooks, config.bins, width),
        "text_projection.weight": (width, config.text_width),
        "text_projection.bias": (width,),
    }
    norms = ["decoder.norm"]
    for block in (f"decoder.blocks.{number}" for number in range(config.layers)):
        norms += [f"{block}.{norm}" for _, norm in _BRANCHES]
        for attention in ("attention", "text_attention"):
            shapes |= {
                f"{block}.{attention}.{part}.weight": square for part in ("q", "k", "v", "out")
            }
        shapes[f"{block}.expand.weight"] = (config.hidden, width)
        shapes[f"{block}.contract.weight"] = (width, config.hidden)
    return shapes | {f"{norm}.{part}": (width,) for norm in norms for part in ("weight", "bias")}


def _of_branch(name):
    """The name here of a weight in a block of STAGE; any other name as it is."""
    found = re.fullmatch(r"lm\.decoder\.attn_layers\.layers\.(\d+)\.(.+)", name)
    if not found:
        return name
    block, branch = divmod(int(found[1]), len(_BRANCHES))
    attention, norm = _BRANCHES[branch]
    rest = re.sub(r"^0\.0\.", f"{norm}.", found[2])
    if attention:
        rest = re.sub(r"^1\.to_(q|k|v|out)\.", rf"{attention}.\1.", rest)
    else:
        rest = re.sub(r"^1\.ff\.0\.0\.", "expand.", rest)
        rest = re.sub(r"^1\.ff\.2\.", "contract.", rest)
    return f"decoder.blocks.{block}.{rest}"


def _divided(state):
    """audiocraft's weights, of which those of queries, keys and values lie in one tensor."""
    plain = {}
    for name, value in state.items():
        if name.endswith(".in_proj_weight"):
            for part, weight in zip("qkv", value.chunk(3)):
                plain[name.replace("in_proj_weight", f"{part}.weight")] = weight
        else:
            plain[name] = value
    return plain


def _renamed(state, names):
    renamed = {}
    for name, value in state.items():
        for pattern, here in names:
            name = re.sub(f"^{pattern}" if not pattern.startswith(r"\.") else pattern, here, name)
        renamed[name] = value
    return renamed
