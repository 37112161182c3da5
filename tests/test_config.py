"""Configuration: what is wrong is refused by name, and what is right survives TOML, dict and JSON."""

import dataclasses
import json
import math
from dataclasses import dataclass, field

import pytest

from accompgen.config import ConfigError, StageConfig, TrainConfig, from_dict, read_toml, to_dict
from accompgen.stages import accompgen, band

MODEL = {"stage": "coarse", "width": 64, "heads": 4}
TRAIN = {"model": MODEL, "shards": "shards"}


@dataclass(frozen=True)
class Inner:
    size: int


@dataclass(frozen=True)
class Outer:
    inner: Inner
    name: str
    rate: float = 1.0
    flag: bool = False
    pair: tuple[float, float] = (0.5, 0.5)
    sizes: tuple[int, ...] = (1,)
    limit: int | None = None
    labels: list[str] = field(default_factory=list)


GOOD = {"inner": {"size": 3}, "name": "x"}


def test_nested_values_defaults_and_the_int_that_is_a_float():
    outer = from_dict(Outer, GOOD | {"rate": 2, "pair": [0, 0.25], "sizes": [4, 5, 6], "limit": 7})
    assert outer.inner == Inner(3) and outer.limit == 7
    assert (outer.rate, outer.pair, outer.sizes) == (2.0, (0.0, 0.25), (4, 5, 6))
    assert type(outer.rate) is float and type(outer.pair[0]) is float
    assert outer.flag is False and outer.labels == []


@pytest.mark.parametrize(
    "change, message",
    [
        ({"nmae": "y"}, "here: unknown key 'nmae'; Outer knows flag, inner, labels, limit, name, pair, rate, sizes"),
        ({"inner": {"size": 3, "depth": 1}}, "here: inner: unknown key 'depth'; Inner knows size"),
        ({"inner": {}}, "here: inner: 'size' is missing; Inner needs it"),
        ({"inner": 3}, "here: inner is 3; expected a table"),
        ({"inner": {"size": "3"}}, "here: inner: size is '3' of type str; expected int"),
        ({"inner": {"size": 3.0}}, "here: inner: size is 3.0 of type float; expected int"),
        ({"inner": {"size": True}}, "here: inner: size is True of type bool; expected int"),
        ({"name": 1}, "here: name is 1 of type int; expected str"),
        ({"rate": "1"}, "here: rate is '1' of type str; expected float"),
        ({"rate": True}, "here: rate is True of type bool; expected float"),
        ({"flag": 0}, "here: flag is 0 of type int; expected bool"),
        ({"limit": "7"}, "here: limit is '7' of type str; expected int"),
        ({"labels": "a"}, "here: labels is 'a' of type str; expected list"),
        ({"pair": 0.5}, "here: pair is 0.5; expected a list"),
        ({"pair": [0.5]}, "here: pair has 1 values; expected 2"),
        ({"pair": [0.5, "b"]}, "here: pair[1] is 'b' of type str; expected float"),
        ({"sizes": [1, 2.5]}, "here: sizes[1] is 2.5 of type float; expected int"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(change, message):
    with pytest.raises(ConfigError) as caught:
        from_dict(Outer, GOOD | change, "here")
    assert str(caught.value) == message


def test_a_missing_key_is_named():
    with pytest.raises(ConfigError, match="here: 'name' is missing; Outer needs it"):
        from_dict(Outer, {"inner": {"size": 1}}, "here")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"stage": "medium"}, "stage is 'medium'; expected one of 'semantic', 'coarse', 'fine'"),
        ({"context": "cross"}, "context is 'cross'; expected one of 'prefix', 'aligned'"),
        ({"graph": "choir"}, "graph is 'choir'; expected one of 'accompgen', 'band'"),
        ({"stage": "chart"}, "stage is 'chart'; expected one of 'semantic', 'coarse', 'fine'"),
        ({"graph": "band", "stage": "medium"}, "expected one of 'chart', 'semantic', 'coarse', 'fine'"),
        ({"positions": "time"}, "positions is 'time', which is no more; leave it out"),
        ({"heads": 3}, "width 64 must be a multiple of heads 3"),
        ({"heads": 0}, "width 64 must be a multiple of heads 0"),
        ({"width": 0}, "width is 0"),
        ({"layers": 0}, "layers is 0; expected a value from 1 to 1000"),
        ({"context_layers": -1}, "context_layers is -1"),
        ({"dropout": 1.0}, "dropout is 1.0; expected a value from 0.0 to 0.9"),
        ({"relative_max_distance": 16}, "relative_max_distance 16 must exceed relative_buckets // 2 = 16"),
        ({"relative_buckets": 1}, "relative_buckets be at least 2"),
        ({"semantic_vocab": 1}, "semantic_vocab is 1"),
        ({"bins": 0}, "bins is 0"),
        ({"coarse_codebooks": 0}, "coarse_codebooks is 0"),
        ({"fine_codebooks": 0}, "fine_codebooks is 0"),
    ],
)
def test_a_stage_out_of_range(change, message):
    with pytest.raises(ConfigError, match="^conf/coarse.toml: model: .*") as caught:
        from_dict(TrainConfig, TRAIN | {"model": MODEL | change}, "conf/coarse.toml")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "key, value",
    [
        ("dtype", "float16"),
        ("steps", 0),
        ("batch_size", 0),
        ("accumulation", 0),
        ("window_seconds", 0.0),
        ("window_seconds", 0.05),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("final_learning_rate", 1.5),
        ("warmup_steps", -1),
        ("minutes", -1.0),
        ("weight_decay", -0.1),
        ("clip_norm", 0.0),
        ("betas", [0.9, 1.0]),
        ("context_dropout", 1.1),
        ("history_masking", -0.1),
        ("zero_stage", 3),
        ("ema_decay", 1.0),
        ("log_every", 0),
        ("validate_every", 0),
        ("validation_windows", -1),
        ("save_every", 0),
    ],
)
def test_a_training_out_of_range(key, value):
    with pytest.raises(ConfigError, match=f"^coarse: {key}.* is .*; expected"):
        from_dict(TrainConfig, TRAIN | {key: value}, "coarse")


def test_the_default_stage_is_the_published_size():
    stage = StageConfig("semantic")
    assert (stage.width, stage.layers, stage.semantic_vocab, stage.bins) == (512, 12, 500, 1024)
    assert (stage.coarse_codebooks, stage.fine_codebooks, stage.relative_buckets) == (4, 4, 32)


def test_keys_of_older_files_are_read_where_they_say_what_there_is_now():
    old = TRAIN | {"model": MODEL | {"positions": "index"}, "history_swapping": 0.0, "history_drawn": {}}
    assert from_dict(TrainConfig, old) == from_dict(TrainConfig, TRAIN)
    with pytest.raises(ConfigError, match="here: history_swapping is 0.25, which is no more; leave it out"):
        from_dict(TrainConfig, TRAIN | {"history_swapping": 0.25}, "here")
    with pytest.raises(ConfigError, match="here: history_drawn is {'bass': 0.3}, which is no more; leave it out"):
        from_dict(TrainConfig, TRAIN | {"history_drawn": {"bass": 0.3}}, "here")


def test_a_stage_has_its_graph():
    sizes = dict(semantic_vocab=20, bins=16, coarse_codebooks=2, fine_codebooks=3)
    assert StageConfig("coarse", **sizes).rows == accompgen(**sizes)
    told = StageConfig("semantic", graph="band", text_vocab=9, text_pieces=2, **sizes)
    assert told.rows == band(**sizes, text_vocab=9, text_pieces=2)
    assert StageConfig("coarse").tokenizers == ("semantic", "acoustic") and told.tokenizers == ("semantic",)
    own = dataclasses.replace(accompgen(**sizes), name="own")
    config = StageConfig("coarse", own_graph=own)
    assert config.rows == own and from_dict(StageConfig, json.loads(json.dumps(to_dict(config)))) == config
    with pytest.raises(ConfigError, match="own_graph: .*needs one stream of the track 'vocal'"):
        from_dict(StageConfig, {"stage": "coarse", "own_graph": {"name": "x", "streams": [], "stages": []}}, "here")


def test_to_dict_is_plain_and_comes_back_through_json():
    config = from_dict(TrainConfig, TRAIN | {"betas": [0.8, 0.9]})
    values = to_dict(config)
    assert values["betas"] == [0.8, 0.9] and values["model"]["stage"] == "coarse"
    assert from_dict(TrainConfig, json.loads(json.dumps(values))) == config


def test_configs_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        StageConfig("fine").width = 3


TOML = """
shards = "shards"
steps = 10
[model]
stage = "coarse"
width = 64
heads = 4
"""


@pytest.fixture
def toml(tmp_path):
    path = tmp_path / "coarse.toml"
    path.write_text(TOML, encoding="utf-8")
    return path


def test_toml_becomes_a_config(toml):
    assert from_dict(TrainConfig, read_toml(toml)) == from_dict(TrainConfig, TRAIN | {"steps": 10})


def test_overrides_are_toml_and_bare_words_are_strings(toml):
    overrides = ["model.width=128", "dtype=bfloat16", 'shards="a b"', "betas=[0.5, 0.6]", "ema_decay = 0.5", "new.deep.key=1"]
    values = read_toml(toml, overrides)
    assert values["model"] == {"stage": "coarse", "width": 128, "heads": 4}
    assert (values["dtype"], values["shards"], values["betas"]) == ("bfloat16", "a b", [0.5, 0.6])
    assert values["ema_decay"] == 0.5 and values["new"] == {"deep": {"key": 1}}


def test_the_last_override_wins_and_may_hold_an_equals_sign(toml):
    assert read_toml(toml, ["shards=a", "shards=b=c"])["shards"] == "b=c"


def test_an_override_does_not_reach_the_file(toml):
    read_toml(toml, ["steps=99"])
    assert read_toml(toml)["steps"] == 10


@pytest.mark.parametrize(
    "override, message",
    [
        ("steps", "override 'steps' has no '='; write key=value"),
        ("steps.deep=1", "override 'steps.deep=1': 'steps' is a value, not a table"),
    ],
)
def test_an_override_that_cannot_be_used(toml, override, message):
    with pytest.raises(ConfigError) as caught:
        read_toml(toml, [override])
    assert message in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the configuration .*none.toml: No such file"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        read_toml(tmp_path)


@pytest.mark.parametrize("content", [b"steps = ", b"a = 1\na = 2", b'name = "\xff"'])
def test_a_file_that_is_not_toml(tmp_path, content):
    (tmp_path / "bad.toml").write_bytes(content)
    with pytest.raises(ConfigError, match="bad.toml is not valid TOML"):
        read_toml(tmp_path / "bad.toml")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_toml_as_editors_of_windows_write_it(tmp_path, encoding):
    (tmp_path / "a.toml").write_bytes('name = "Grün"\r\n[model]\r\nwidth = 4\r\n'.encode(encoding))
    assert read_toml(tmp_path / "a.toml") == {"name": "Grün", "model": {"width": 4}}
