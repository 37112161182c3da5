"""Configuration: frozen dataclasses, read from TOML, written as JSON.

An unknown key is an error, and so is a value of another type or out of its range. A config holds values, never names of
classes. Sizes live in the recipes' TOML files, not here.
"""

import dataclasses
import json
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

from accompgen.files import TextError, read_text
from accompgen.stages import ACOUSTIC, GRAPHS, PUBLISHED, Graph, GraphError
from accompgen.time import blocks_of


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the file, the key, what was found and what was expected."""


@dataclass(frozen=True)
class StageConfig:
    """The model of one stage. Width 512, 12 layers, V = 500, 4 + 4 codebooks of 1024 is the published system's size."""

    retired: typing.ClassVar = {"positions": "index"}  # keys of older files, and the one value that they may still have
    stage: str  # of the graph
    graph: str = PUBLISHED  # one of stages.GRAPHS, or in a TOML file the path of a graph of one's own; see `rows`
    own_graph: Graph | None = None  # the graph itself, where it is none of those
    width: int = 512  # D
    layers: int = 12  # decoder blocks
    heads: int = 8  # H; each of width // heads
    kv_heads: int = 0  # of the decoder's keys and values, each shared by H / kv_heads heads of queries; 0: H. A smaller cache
    context: str = "aligned"  # prefix: [context, target] in one causal sequence | aligned: encoded, summed at the same tick
    context_layers: int = 4  # blocks of the context encoder; only with context = aligned
    context_width: int = 0  # of a context encoder with embeddings and heads of its own (model/listener.py); 0: D, and shared
    context_pool: int = 1  # frames that this encoder reads as one: cheaper, and attention is over notes, not frames
    pattern: str = "interleave"  # of the codebooks: interleave (published) | delay: all at once, Q times fewer steps
    relative_buckets: int = 32
    relative_max_distance: int = 128  # steps; beyond it, distances share the last bucket
    dropout: float = 0.0  # of each block's two branches, in training
    semantic_vocab: int = 500
    bins: int = 1024
    coarse_codebooks: int = 4
    fine_codebooks: int = 4
    text_vocab: int = 0  # pieces that prompts are made of; 0: no prompts
    text_pieces: int = 0  # of them so many are read

    def __post_init__(self):
        if self.own_graph is None:
            _one_of("graph", self.graph, tuple(GRAPHS))
        try:
            _one_of("stage", self.stage, self.rows.stage_names)
        except GraphError as error:
            raise ConfigError(str(error)) from error
        _one_of("context", self.context, ("prefix", "aligned"))
        _one_of("pattern", self.pattern, ("interleave", "delay"))
        if self.heads < 1 or self.width % self.heads:
            raise ConfigError(f"width {self.width} must be a multiple of heads {self.heads}")
        if self.kv_heads < 0 or self.kv_heads and self.heads % self.kv_heads:
            raise ConfigError(f"kv_heads is {self.kv_heads}; expected 0 (as many as heads) or a divisor of heads {self.heads}")
        _in_range("width", self.width, 1, 10**6)
        _in_range("layers", self.layers, 1, 1000)
        _in_range("context_layers", self.context_layers, 0, 1000)
        _in_range("context_pool", self.context_pool, 1, 1000)
        _in_range("context_width", self.context_width, 0, 10**6)
        if self.context_width and self.context != "aligned":
            raise ConfigError(f"context_width is {self.context_width}, but context is {self.context!r}; set it to 0")
        if self.context_width % (self.width // self.heads):
            raise ConfigError(
                f"context_width {self.context_width} must be a multiple of width / heads = {self.width // self.heads}"
            )
        if self.context_pool > 1 and not self.context_width:
            raise ConfigError(f"context_pool is {self.context_pool}, but context_width is 0; set it to the encoder's width")
        _in_range("dropout", self.dropout, 0.0, 0.9)
        for name in ("semantic_vocab", "bins"):
            _in_range(name, getattr(self, name), 2, 10**6)
        for name in ("coarse_codebooks", "fine_codebooks"):
            _in_range(name, getattr(self, name), 1, 100)
        if self.relative_buckets < 2 or self.relative_max_distance <= self.relative_buckets // 2:
            raise ConfigError(
                f"relative_max_distance {self.relative_max_distance} must exceed relative_buckets // 2 = "
                f"{self.relative_buckets // 2}, and relative_buckets be at least 2"
            )

    @property
    def rows(self) -> Graph:
        """The graph that the stage is of."""
        if self.own_graph is not None:
            return self.own_graph
        return GRAPHS[self.graph](
            self.semantic_vocab, self.bins, self.coarse_codebooks, self.fine_codebooks, text_vocab=self.text_vocab,
            text_pieces=self.text_pieces,
        )  # fmt: skip

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """The trained tokenizers whose ids the stage reads or writes."""
        return self.rows.tokenizers_of(self.stage)


@dataclass(frozen=True)
class SingleStageConfig:
    """The transformer of MusicGen or STAGE. The defaults are those of MusicGen-small, but for `context`, which STAGE has."""

    width: int = 1024  # D
    layers: int = 24
    heads: int = 16  # H
    hidden: int = 4096  # inner width of the feed-forward
    codebooks: int = 4
    bins: int = 2048  # id `bins` fills slots without a code
    text_width: int = 768  # of the states of the text encoder
    context: bool = False  # a context is heard: before the target in the sequence, id `bins + 1` between the two

    def __post_init__(self):
        for name in ("width", "layers", "heads", "hidden", "codebooks", "bins", "text_width"):
            _in_range(name, getattr(self, name), 1, 10**6)
        if self.width % (2 * self.heads):
            raise ConfigError(f"width is {self.width}; expected a multiple of twice the heads, {2 * self.heads}")


@dataclass(frozen=True)
class TrainConfig:
    """How one stage is trained. Batch size and learning rate exist here alone: DeepSpeed's settings derive from them."""

    kind: typing.ClassVar = "stage"
    retired: typing.ClassVar = {"history_swapping": 0.0, "history_drawn": {}}
    model: StageConfig
    shards: str  # directory of token shards
    semantic_tokenizer: str = ""  # component directories whose vectors the embeddings start from (training/start.py);
    acoustic_tokenizer: str = ""  # those that the stage depends on are needed, or none: at random
    text_tokenizer: str = ""  # component directory, with `captions`: what a stage that is told a text learns it from
    captions: str = ""  # manifest of the songs of the shards: their meta files say what is known of them
    caption_players: float = 0.0  # share of captions that name somebody of the window's stem
    stem_weights: dict = field(default_factory=dict)  # stem -> how often it is learned, beside the 1 of those not named
    start_from: str = ""  # directory of a trained stage, of the same model and tokenizers, whose weights to go on with
    seed: int = 0
    steps: int = 1000
    minutes: float = 0.0  # end after this wall time of all calls together, the learning rate following it; 0: no limit
    batch_size: int = 8  # windows per process and micro-step
    accumulation: int = 1  # micro-steps per optimiser step: it sees batch_size * accumulation * processes windows
    window_seconds: float = 10.0  # a multiple of 0.04
    learning_rate: float = 3e-4
    warmup_steps: int = 100
    final_learning_rate: float = 0.1  # the cosine ends at this fraction of learning_rate
    weight_decay: float = 0.01
    clip_norm: float = 1.0  # of the whole gradient; a large value: no clipping
    optimizer: str = "adamw"  # adamw | muon: orthogonalised steps for the matrices of the blocks (training/optimizer.py)
    betas: tuple[float, float] = (0.9, 0.95)  # of AdamW
    context_dropout: float = 0.1  # probability that a window's whole context is the null token
    context_masking: float = 0.0  # of the others, at most this share is the null token, in spans of half a second
    stream_dropout: dict = field(default_factory=dict)  # stream or prefix -> probability that it alone is not heard in a window
    stream_masking: dict = field(default_factory=dict)  # stream -> at most this share of it alone is not heard, in such spans
    history_masking: float = 0.7  # probability that a window hides a random share of its target history
    history_dropout: float = 0.0  # probability that it hides all: only then a text says more of the sound
    listening_weight: float = 0.0  # of a second loss: the target as the context encoder alone names it; context = aligned
    encoder_learns: str = "joint"  # joint: from both losses | apart: from the second | alone: likewise, and the rest rests
    dtype: str = "float32"  # float32 | bfloat16 (of the products; weights, optimiser and loss stay float32)
    zero_stage: int = 0  # shared out among the processes: 0 nothing | 1 optimiser state | 2 and gradients
    activation_checkpointing: bool = False  # compute each block again in the backward pass: less memory, a third more time
    attention: str = "auto"  # flex: the bias is no matrix (model/flex.py), GPUs alone | plain | auto: flex where it can be
    compile: bool = False  # torch.compile: a minute at the start, then 1.4 times the speed on a CPU; needs a C++ compiler there
    ema_decay: float = 0.0  # such as 0.999: validate and keep a running average of the weights (training/average.py); 0: none
    log_every: int = 10  # steps
    tensorboard: bool = True  # write the log for TensorBoard, too
    peak_tflops: float = 0.0  # of one device in dtype, what model FLOP utilisation is told of; 0: that of a product, measured
    validate_every: int = 250  # steps; costs forward passes over the windows under 2 to 7 contexts (training/listening.py)
    validation_windows: int = 64
    sample_windows: int = 0  # of them so many as sound in TensorBoard at each validation; coarse and fine, on a CPU slow
    save_every: int = 250  # steps: what a killed process can lose
    device: str = "auto"  # auto | cpu | cuda

    def __post_init__(self):
        _one_of("dtype", self.dtype, ("float32", "bfloat16"))
        _one_of("attention", self.attention, ("auto", "plain", "flex"))
        for name in ("steps", "batch_size", "accumulation", "log_every", "validate_every", "validation_windows", "save_every"):
            _in_range(name, getattr(self, name), 1, 10**9)
        _in_range("sample_windows", self.sample_windows, 0, self.validation_windows)
        if self.sample_windows and ACOUSTIC in self.model.tokenizers and not self.acoustic_tokenizer:
            raise ConfigError(f"sample_windows is {self.sample_windows}, but acoustic_tokenizer, which decodes it, is not set")
        for name in ("warmup_steps", "minutes", "weight_decay", "peak_tflops", "listening_weight"):
            _in_range(name, getattr(self, name), 0, 10**9)
        if self.listening_weight and self.model.context != "aligned":
            raise ConfigError(
                f"listening_weight is {self.listening_weight}, but the context is {self.model.context!r} and has no encoder; "
                "set it to 0, or the context to 'aligned'"
            )
        _one_of("encoder_learns", self.encoder_learns, ("joint", "apart", "alone"))
        if self.encoder_learns != "joint" and not (self.model.context_width and self.listening_weight):
            raise ConfigError(
                f"encoder_learns is {self.encoder_learns!r}, which needs an encoder of its own (model.context_width is "
                f"{self.model.context_width}) and its loss (listening_weight is {self.listening_weight}); set both"
            )
        of_history = ("history_masking", "history_dropout")
        for name in ("context_dropout", *of_history, "final_learning_rate", "caption_players"):
            _in_range(name, getattr(self, name), 0.0, 1.0)
        _in_range("context_masking", self.context_masking, 0.0, 0.99)
        row = self.model.rows.stage(self.model.stage)
        for key, known in (("stream_dropout", (*row.context, *row.prefix)), ("stream_masking", row.context)):
            _numbers(key, getattr(self, key), known, 1.0 if key == "stream_dropout" else 0.99)
        _numbers("stem_weights", self.stem_weights, self.model.rows.stems, 10**6)
        for name in ("learning_rate", "clip_norm"):
            _in_range(name, getattr(self, name), 1e-12, 1e6)
        for name, value in (("ema_decay", self.ema_decay), ("betas[0]", self.betas[0]), ("betas[1]", self.betas[1])):
            _in_range(name, value, 0.0, 0.999999)
        _in_range("window_seconds", self.window_seconds, 0.04, 3600.0)
        window_blocks(self.window_seconds)
        if bool(self.captions) != bool(self.text_tokenizer):
            raise ConfigError(
                f"captions is {self.captions!r} and text_tokenizer {self.text_tokenizer!r}; texts need both"
            )
        _one_of("zero_stage", self.zero_stage, (0, 1, 2))
        _one_of("optimizer", self.optimizer, ("adamw", "muon"))
        if self.optimizer == "muon" and self.zero_stage:
            raise ConfigError(f"optimizer 'muon' needs whole matrices, but zero_stage is {self.zero_stage}; set it to 0")


def window_blocks(seconds: float) -> int:
    """Blocks of 40 ms in a window. Raises ConfigError if `seconds` is not a positive multiple of 0.04."""
    try:
        return blocks_of(seconds)
    except ValueError as error:
        raise ConfigError(f"window_seconds is {seconds!r}; expected a positive multiple of 0.04") from error


def _one_of(key, value, allowed):
    if value not in allowed:
        raise ConfigError(f"{key} is {value!r}; expected one of {', '.join(map(repr, allowed))}")


def _numbers(key, values, names, highest):
    """Raise ConfigError unless `values` has numbers from 0 to `highest`, by some of `names`."""
    for name, value in values.items():
        _one_of(key, name, names)
        if not isinstance(value, (int, float)):
            raise ConfigError(f"{key}.{name} is {value!r}; expected a number")
        _in_range(f"{key}.{name}", value, 0.0, highest)


def _in_range(key, value, low, high):
    if not low <= value <= high:
        raise ConfigError(f"{key} is {value!r}; expected a value from {low} to {high}")


def read_toml(path: str | Path, overrides: typing.Iterable[str] = ()) -> dict:
    """Values of a TOML file, with `overrides` such as "model.width=256" (the right side is TOML) put over them.

    Raises ConfigError for a file that cannot be read, for TOML that does not parse and for an override without "=".
    """
    try:
        values = tomllib.loads(read_text(path))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, TextError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"override {override!r} has no '='; write key=value, for example model.width=256")
        node = values
        *parents, last = key.strip().split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ConfigError(f"override {override!r}: {parent!r} is a value, not a table")
        node[last] = _toml_value(text.strip())
    return values


def _toml_value(text):
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string, so that --set dtype=bfloat16 needs no quotes in a shell


def from_dict(cls, values: dict, where: str = "configuration"):
    """Build the dataclass `cls` from plain values; nested dataclasses from nested tables.

    Raises ConfigError naming `where` and the key for an unknown key, a missing one or a value of another type.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if "kind" in values and "kind" in hints:  # what a file is of: no value, but nothing that may be another
        if values["kind"] != cls.kind:
            raise ConfigError(f"{where}: kind is {values['kind']!r}; expected {cls.kind!r}")
        values = {name: value for name, value in values.items() if name != "kind"}
    for name, value in getattr(cls, "retired", {}).items():
        if values.get(name, value) != value:
            raise ConfigError(f"{where}: {name} is {values[name]!r}, which is no more; leave it out")
        values = {key: kept for key, kept in values.items() if key != name}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; {cls.__name__} knows {', '.join(sorted(fields))}")
    required = (f for f in fields.values() if f.default is f.default_factory is dataclasses.MISSING)
    missing = [field.name for field in required if field.name not in values]
    if missing:
        raise ConfigError(f"{where}: {missing[0]!r} is missing; {cls.__name__} needs it")
    built = {name: _convert(hints[name], value, f"{where}: {name}") for name, value in values.items()}
    try:
        return cls(**built)
    except (ConfigError, GraphError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _convert(hint, value, where):
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ConfigError(f"{where} is {value!r}; expected a table")
        return from_dict(hint, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        inner = next(argument for argument in arguments if argument is not type(None))
        return _convert(inner, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} is {value!r}; expected a list")
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise ConfigError(f"{where} has {len(value)} values; expected {len(arguments)}")
        hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_convert(h, v, f"{where}[{i}]") for i, (h, v) in enumerate(zip(hints, value)))
    if origin in (dict, list):
        hint = origin
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{where} is {value!r} of type {type(value).__name__}; expected {hint.__name__}")
    return value


def to_dict(config) -> dict:
    """Plain values of a dataclass: tuples become lists, so that JSON and TOML round trips agree."""
    return json.loads(json.dumps(dataclasses.asdict(config)))
