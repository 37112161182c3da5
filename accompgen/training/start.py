"""Where a stage starts: at the weights of a trained one, or with embeddings at what its tokens sound like, not at random.

A unit of the semantic tokenizer is a centre in HuBERT's feature space, a code of the acoustic tokenizer a vector of a codebook.
Tokens that sound alike then begin as neighbours, in the embedding and in the head that predicts them, and what is learned of
one is learned of the others: with little data, a voice's pitch need not be found out anew for each of 500 units.
"""

import torch

from accompgen.component import CheckpointError, load_component
from accompgen.config import StageConfig, from_dict, to_dict
from accompgen.layout import SPECIALS, Layout
from accompgen.model.attention import RelativeBias, relative_buckets
from accompgen.model.context_encoder import EMBEDDING_STD
from accompgen.model.stage_lm import StageLM
from accompgen.stages import ACOUSTIC, SEMANTIC

ENCODER_SIZES = ("context_layers", "context_width", "context_pool")
REACH = ("relative_buckets", "relative_max_distance")
GRAPH = ("graph", "own_graph", "text_vocab", "text_pieces")
ENCODER_PARTS = ("encoder.", "listener.", "heard.")
NOISE_SHARE = 0.5  # of the random start that stays, so that equal vectors can part


def start_embeddings(model: StageLM, tokenizers: dict[str, str]) -> None:
    """Start the token embeddings and the heads of `model` from the vectors of the tokenizers.

    Args:
        model: fresh; its random values are kept at NOISE_SHARE beneath the vectors.
        tokenizers: component directories, "semantic" and "acoustic", those the stage depends on.

    Raises:
        CheckpointError: a directory that is no such tokenizer, or whose sizes are not the model's.
    """
    vectors = {kind: {SEMANTIC: _units, ACOUSTIC: _codes}[kind](tokenizers[kind]) for kind in model.config.tokenizers}
    grids = {
        stream.name: vectors[stream.tokenizer][stream.first : stream.first + stream.codebooks]
        for stream in model.layout.streams
        if stream.tokenizer in vectors
    }  # the chart's ids stay random
    with torch.no_grad():
        for stream, offset in zip(model.layout.streams, model.layout.offsets):
            if stream.name not in grids:
                continue
            rows = slice(offset, offset + stream.codebooks * stream.vocab)
            _start(model.token_embedding.weight[rows], grids[stream.name], stream)
            if model.listener is not None and stream is not model.layout.target:
                _start(model.listener.embedding.weight[rows], grids[stream.name], stream)
        target = model.layout.target
        for heads in [model.heads] if model.listener is None else [model.heads, model.listener.heads]:
            if target.name in grids:
                _start(heads, grids[target.name], target)


def start_weights(model: StageLM, directory: str, tokenizers: dict[str, str]) -> bool:
    """Give `model` the weights of a trained stage; but for its context encoder, where that has other sizes. Where the relative
    bias has other buckets, each begins with what its distances had. Of a stage of another graph, streams and the prefix keep
    their embeddings by name; new ones begin as they are in `model`.

    Args:
        directory: component directory of the stage: `model/` or `snapshot/` of a run, or a stage of a checkpoint.
        tokenizers: hashes of those that made the tokens to train on, "semantic" and "acoustic".

    Returns:
        whether the context encoder has its weights, too, and does not begin anew.

    Raises:
        CheckpointError: no such component, another decoder, or tokens that mean something else.
    """
    config, tensors = load_component(directory)
    if not isinstance(config.get("stage"), dict):
        raise CheckpointError(f"{directory} is no trained stage; give the directory model/ of a run or a stage of a checkpoint")
    found, expected = to_dict(from_dict(StageConfig, config["stage"], directory)), to_dict(model.config)
    whole = all(found[key] == expected[key] for key in ENCODER_SIZES)
    rebucket = any(found[key] != expected[key] for key in REACH)
    for key, value in expected.items():
        if found[key] != value and key not in (*ENCODER_SIZES, *REACH, *GRAPH, "dropout"):
            raise CheckpointError(f"{directory} has {key} = {found[key]!r}, the model to train {value!r}; make them equal")
    earlier = from_dict(StageConfig, config["stage"], directory)
    for kind in set(model.config.tokenizers) & set(earlier.tokenizers):
        if config["tokenizers"][kind] != tokenizers[kind]:
            raise CheckpointError(f"{directory} was trained on tokens of another {kind} tokenizer than these shards hold")
    for name, module in model.named_modules():
        if rebucket and isinstance(module, RelativeBias) and f"{name}.table" in tensors:
            tensors[f"{name}.table"] = _rebucketed(tensors[f"{name}.table"], found["relative_max_distance"], module)
    if not whole:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(ENCODER_PARTS)}
        tensors |= {name: tensor for name, tensor in model.state_dict().items() if name.startswith(ENCODER_PARTS)}
    own = model.state_dict()
    before = Layout.of(earlier.stage, earlier.rows, earlier.pattern)
    for name in _EMBEDDINGS & set(tensors) & set(own):
        tensors[name] = _by_name(name, tensors[name], before, own[name], model.layout)
    model.load_state_dict(tensors)
    return whole


_EMBEDDINGS = {"token_embedding.weight", "listener.embedding.weight", "stream_embedding.weight", "codebook_embedding.weight"}


def _by_name(embedding, weight, before, fresh, layout):
    """Rows of an embedding of one layout where another layout has them; those it has not are the fresh ones."""
    result = fresh.clone()
    if embedding == "codebook_embedding.weight":
        count = min(len(weight), len(fresh))
        result[:count] = weight[:count]
        return result
    if embedding == "stream_embedding.weight":
        places = {stream.name: (index, 1) for index, stream in enumerate(layout.streams)}
        earlier = {stream.name: (index, 1) for index, stream in enumerate(before.streams)}
    else:
        places, earlier = _rows_of(layout), _rows_of(before)
    for name, (first, count) in places.items():
        if name in earlier and earlier[name][1] == count and first + count <= len(fresh):
            at = earlier[name][0]
            result[first : first + count] = weight[at : at + count]
    return result


def _rows_of(layout):
    """First row and number of rows of the embedding table: of the special tokens, of each stream
    and of each part of the prefix."""
    rows = {"": (0, SPECIALS)}
    for stream, offset in zip(layout.streams, layout.offsets):
        rows[stream.name] = (offset, stream.codebooks * stream.vocab)
    first = layout.stream_rows
    for name, vocab, _ in layout.prefix:
        rows[f"prefix {name}"] = (first, vocab)
        first += vocab
    return rows


def _rebucketed(table, max_distance, bias):
    """The table [buckets, H] of a relative bias for the buckets of another: means over their distances, 0 without one."""
    farthest = max(max_distance, bias.max_distance)
    distance = torch.arange(-farthest if bias.signed else 0, farthest + 1)
    before = relative_buckets(distance, len(table), max_distance, bias.signed)
    after = relative_buckets(distance, len(bias.table), bias.max_distance, bias.signed)
    total, count = torch.zeros(len(bias.table), table.shape[1]), torch.zeros(len(bias.table), 1)
    total.index_add_(0, after, table[before].float())
    count.index_add_(0, after, torch.ones(len(distance), 1))
    return total / count.clamp_min(1)


def _start(weight, grid, stream):
    """Set random weights [Q * V, D] or [Q, V, D] to the vectors [Q, V, d] of a stream, in place."""
    vectors = _fit(grid, stream, weight.shape[-1])  # [Q, V, D]
    weight.mul_(NOISE_SHARE).add_(vectors.reshape(weight.shape), alpha=EMBEDDING_STD)


def _fit(grid, stream, width):
    """Vectors [Q, V, d] -> [Q, V, D], mean 0 and variance 1 a codebook: principal components, spread over all D by a rotation.

    The codebooks of a stream share one rotation and one set of components, since they are residuals in one space.
    """
    if tuple(grid.shape[:2]) != (stream.codebooks, stream.vocab):
        found, expected = " x ".join(map(str, grid.shape[:2])), f"{stream.codebooks} x {stream.vocab}"
        raise CheckpointError(f"the tokenizer has {found} codebooks x ids; the model's stream {stream.name} has {expected}")
    centred = grid - grid.mean(1, keepdim=True)
    centred = centred / centred.std((1, 2), keepdim=True).clamp_min(1e-8)
    _, _, components = torch.linalg.svd(centred.flatten(0, 1), full_matrices=False)  # [d, d], strongest first
    kept = centred @ components[:width].T  # [Q, V, min(d, D)]
    rotation = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(0)))[0]
    spread = kept @ rotation[: kept.shape[-1]]
    return spread / spread.std((1, 2), keepdim=True).clamp_min(1e-8)


def _units(directory):
    _, tensors = load_component(directory)
    if "centres" not in tensors:
        raise CheckpointError(f"{directory} is no semantic tokenizer: its weights have no 'centres'")
    return tensors["centres"].float()[None]  # [1, V, d]


def _codes(directory):
    _, tensors = load_component(directory)
    names = (f"quantizer.layers.{codebook}.codebook.embed" for codebook in range(len(tensors)))
    books = [tensors[name].float() for name in names if name in tensors]
    if not books:
        raise CheckpointError(f"{directory} is no acoustic tokenizer: its weights have no codebooks")
    return torch.stack(books)  # [Q, V, d]
