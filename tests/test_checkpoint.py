"""Weights on disk: what is written comes back, and every way in which a directory can be wrong is refused by name."""

import configparser
import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from accompgen import checkpoint as module  # noqa: E402
from accompgen.checkpoint import (  # noqa: E402
    ACOUSTIC_TOKENIZER,
    SEMANTIC_TOKENIZER,
    available_checkpoints,
    cache_directory,
    find_checkpoint,
    read_checkpoint,
    read_graph,
    required_components,
    write_checkpoint,
)
from accompgen.component import (  # noqa: E402
    CheckpointError,
    component_hash,
    file_hash,
    load_component,
    save_component,
)
from accompgen.config import StageConfig, to_dict  # noqa: E402
from accompgen.generation.load import load_stages  # noqa: E402
from accompgen.stages import GRAPHS, PUBLISHED  # noqa: E402

GRAPH = GRAPHS[PUBLISHED]()
TOKENIZERS = (SEMANTIC_TOKENIZER, ACOUSTIC_TOKENIZER)
COMPONENTS = required_components(GRAPH)
VOICE = {"name": "vocal", "tokenizer": "semantic", "track": "vocal", "vocab": 3}


@pytest.fixture(autouse=True)
def own_search_path(tmp_path, monkeypatch):
    """No checkpoint of this machine is found by accident."""
    monkeypatch.setenv("ACCOMPGEN_CHECKPOINTS", "")
    monkeypatch.setenv("ACCOMPGEN_CACHE", str(tmp_path / "cache"))


def make_components(folder, seed=0):
    """Five small components; the stages remember the tokenizers they were trained on."""
    made = {}
    for i, name in enumerate(TOKENIZERS):
        made[name] = folder / name
        save_component(made[name], {"kind": name}, {"w": torch.full((2, 3), float(seed + i))})
    hashes = {"semantic": component_hash(made[TOKENIZERS[0]]), "acoustic": component_hash(made[TOKENIZERS[1]])}
    for name in GRAPH.stage_names:
        made[name] = folder / name
        save_component(made[name], {"stage": name, "tokenizers": hashes}, {"w": torch.arange(4.0) + seed})
    return made


@pytest.fixture
def components(tmp_path):
    return make_components(tmp_path / "components")


def make_beat_tracker(components, tokenizer=None):
    """Add the optional sixth component, of the semantic tokenizer there or of another."""
    about = {"beat_tracker": {}, "tokenizers": {"semantic": component_hash(tokenizer or components["semantic_tokenizer"])}}
    components["beat_tracker"] = components["semantic"].parent / "beat_tracker"
    save_component(components["beat_tracker"], about, {"w": torch.ones(2)})
    return components


@pytest.fixture
def checkpoint(tmp_path, components):
    write_checkpoint(tmp_path / "models" / "tiny", components, {"seed": 7, "step": 30})
    return tmp_path / "models" / "tiny"


def listing(folder):
    """Every path below a folder, hidden ones too: leftovers of a failed write would show."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# Components


def test_a_component_comes_back_as_it_was(tmp_path):
    tensors = {
        "half": torch.tensor([[1.5, -2.0]], dtype=torch.bfloat16),
        "ids": torch.tensor([3, 1], dtype=torch.int64),
        "view": torch.arange(6.0).reshape(2, 3).T,
    }
    save_component(tmp_path / "a" / "b", {"width": 3, "name": "é"}, tensors)
    config, loaded = load_component(tmp_path / "a" / "b")
    assert config == {"width": 3, "name": "é"} and set(loaded) == set(tensors)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype and torch.equal(loaded[name], tensor)
    assert listing(tmp_path / "a") == ["b", "b/config.json", "b/model.safetensors"]


def test_component_hash_is_of_both_files(tmp_path):
    save_component(tmp_path / "a", {"n": 1}, {"w": torch.zeros(2)})
    save_component(tmp_path / "same", {"n": 1}, {"w": torch.zeros(2)})
    save_component(tmp_path / "config", {"n": 2}, {"w": torch.zeros(2)})
    save_component(tmp_path / "weights", {"n": 1}, {"w": torch.ones(2)})
    hashes = {name: component_hash(tmp_path / name) for name in ("a", "same", "config", "weights")}
    assert hashes["a"] == hashes["same"] and len(set(hashes.values())) == 3


def test_file_hash_is_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert file_hash(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(CheckpointError, match="cannot read .*none: No such file"):
        file_hash(tmp_path / "none")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda d: (d / "config.json").unlink(), "cannot read .*config.json: No such file"),
        (lambda d: (d / "config.json").write_text("{"), "config.json is not valid JSON"),
        (lambda d: (d / "config.json").write_bytes(b'"\xff"'), "config.json is not valid JSON"),
        (lambda d: (d / "config.json").write_text("[1]"), "config.json holds a list; expected an object"),
        (lambda d: (d / "model.safetensors").unlink(), "model.safetensors is missing; a component is a directory with"),
        (lambda d: (d / "model.safetensors").write_bytes(b"no tensors"), "model.safetensors is not a readable"),
        (lambda d: os.truncate(d / "model.safetensors", 90), "model.safetensors is not a readable safetensors file"),
    ],
)
def test_a_spoilt_component(tmp_path, spoil, message):
    save_component(tmp_path / "c", {}, {"w": torch.zeros(64)})
    spoil(tmp_path / "c")
    with pytest.raises(CheckpointError, match=message):
        load_component(tmp_path / "c")


def test_a_component_is_overwritten_only_by_force(tmp_path):
    save_component(tmp_path / "c", {"n": 1}, {"w": torch.zeros(2)})
    with pytest.raises(CheckpointError, match=r"c exists; .* or --force \(force=True\) to "):
        save_component(tmp_path / "c", {"n": 2}, {"w": torch.ones(2)})
    assert load_component(tmp_path / "c")[0] == {"n": 1}
    save_component(tmp_path / "c", {"n": 2}, {"w": torch.ones(2)}, force=True)
    assert load_component(tmp_path / "c")[0] == {"n": 2} and listing(tmp_path) == [
        "c",
        "c/config.json",
        "c/model.safetensors",
    ]


@pytest.mark.parametrize("files", [["song.wav"], ["config.json"], ["config.json", "song.wav"]])
def test_force_replaces_no_folder_that_is_no_component(tmp_path, files):
    (tmp_path / "songs").mkdir()
    for name in files:
        (tmp_path / "songs" / name).write_text("{}")
    with pytest.raises(CheckpointError, match="songs exists and is no component, so it is not replaced"):
        save_component(tmp_path / "songs", {}, {"w": torch.zeros(2)}, force=True)
    assert listing(tmp_path / "songs") == files


def test_force_takes_an_empty_folder(tmp_path):
    (tmp_path / "c").mkdir()
    save_component(tmp_path / "c", {}, {"w": torch.zeros(2)}, force=True)
    assert torch.equal(load_component(tmp_path / "c")[1]["w"], torch.zeros(2))


def test_a_write_that_fails_in_the_middle_leaves_the_old_component(tmp_path, monkeypatch):
    save_component(tmp_path / "c", {"n": 1}, {"w": torch.zeros(2)})
    before = component_hash(tmp_path / "c")

    def full_disk(_, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(CheckpointError, match="cannot write .*c: No space left on device"):
        save_component(tmp_path / "c", {"n": 2}, {"w": torch.ones(2)}, force=True)
    with pytest.raises(CheckpointError, match="No space left"):
        save_component(tmp_path / "new", {"n": 2}, {"w": torch.ones(2)})
    assert component_hash(tmp_path / "c") == before
    assert listing(tmp_path) == ["c", "c/config.json", "c/model.safetensors"]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_component(tmp_path / "c", {}, {"w": torch.zeros(2)})
    assert listing(tmp_path) == []


def test_a_rename_that_fails_puts_the_old_directory_back(tmp_path, monkeypatch):
    save_component(tmp_path / "c", {"n": 1}, {"w": torch.zeros(2)})
    rename, calls = os.rename, []

    def second_fails(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(module.os, "rename", second_fails)
    with pytest.raises(CheckpointError, match="Input/output error"):
        save_component(tmp_path / "c", {"n": 2}, {"w": torch.ones(2)}, force=True)
    assert load_component(tmp_path / "c")[0] == {"n": 1}
    assert listing(tmp_path) == ["c", "c/config.json", "c/model.safetensors"]


def test_ctrl_c_behind_the_last_rename_leaves_the_new_directory_alone(tmp_path, monkeypatch):
    save_component(tmp_path / "c", {"n": 1}, {"w": torch.zeros(2)})
    rename, calls = os.rename, []

    def interrupted(source, target):
        rename(source, target)
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(module.os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_component(tmp_path / "c", {"n": 2}, {"w": torch.ones(2)}, force=True)
    assert load_component(tmp_path / "c")[0] == {"n": 2}
    assert listing(tmp_path) == ["c", "c/config.json", "c/model.safetensors"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot write beside"):
        save_component(tmp_path / "file" / "c", {}, {"w": torch.zeros(2)})


# Checkpoints


def test_a_checkpoint_comes_back_with_its_components(checkpoint, components):
    found = read_checkpoint(checkpoint)
    assert found.path == checkpoint and found.config["format_version"] == 2
    assert (found.config["seed"], found.config["step"]) == (7, 30)
    assert len(found.config["sha256"]) == 10
    for name in COMPONENTS:
        assert component_hash(found.component(name)) == found.component_hash(name) == component_hash(components[name])
    assert torch.equal(load_component(found.component("fine"))[1]["w"], torch.arange(4.0))


def test_info_cannot_forge_version_and_hashes(tmp_path, components):
    write_checkpoint(tmp_path / "c", components, {"format_version": 99, "sha256": {}})
    assert read_checkpoint(tmp_path / "c").config["format_version"] == 2


@pytest.mark.parametrize("name", [f"{c}/{f}" for c in COMPONENTS for f in ("config.json", "model.safetensors")])
def test_a_missing_file_is_named(checkpoint, name):
    (checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing; get the checkpoint again"):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize("name", [f"{c}/{f}" for c in COMPONENTS for f in ("config.json", "model.safetensors")])
def test_one_altered_byte_is_noticed(checkpoint, name):
    content = bytearray((checkpoint / name).read_bytes())
    content[-2] ^= 1
    (checkpoint / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name} was altered: its sha256 is [0-9a-f]{{12}}"):
        read_checkpoint(checkpoint)


def edit(checkpoint, **changes):
    path = checkpoint / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("version", [0, 3, "1", None])
def test_an_unknown_format_version(checkpoint, version):
    edit(checkpoint, format_version=version)
    with pytest.raises(CheckpointError, match=f"has format_version {version!r}; this version of accompgen reads 1 and 2"):
        read_checkpoint(checkpoint)


def as_version_1(checkpoint):
    """Write a checkpoint's config.json as the first version was: without a graph."""
    path = checkpoint / "config.json"
    values = json.loads(path.read_text()) | {"format_version": 1}
    del values["graph"]
    path.write_text(json.dumps(values))


def test_a_checkpoint_of_the_first_version_is_of_the_published_graph(checkpoint, tiny_checkpoint, tmp_path):
    as_version_1(checkpoint)
    assert read_checkpoint(checkpoint).graph == read_graph(checkpoint) == GRAPH
    old = shutil.copytree(tiny_checkpoint, tmp_path / "old")
    as_version_1(old)
    found, expected = read_checkpoint(old), read_checkpoint(tiny_checkpoint)
    assert found.graph == expected.graph and found.graph.vocal.vocab == 20, "its sizes are those of its stages"
    assert found.components == expected.components


def test_a_checkpoint_carries_its_graph(tiny_checkpoint, band_checkpoint):
    for path, name in ((tiny_checkpoint, PUBLISHED), (band_checkpoint, "band")):
        config = json.loads((path / "config.json").read_text())
        assert config["format_version"] == 2 and config["graph"]["name"] == name
        sizes = dict(semantic_vocab=20, bins=16, coarse_codebooks=2, fine_codebooks=2)
        assert read_checkpoint(path).graph == GRAPHS[name](**sizes)
    assert read_checkpoint(band_checkpoint).components[2:6] == ["chart", "semantic", "coarse", "fine"]


def test_stages_are_of_the_graph_that_the_checkpoint_carries(band_checkpoint, monkeypatch):
    """Also where the graph of its name has become another one."""
    verified = read_checkpoint(band_checkpoint)
    before = load_stages(verified, "cpu", ["coarse"]).stages["coarse"].model.layout
    band = GRAPHS["band"]

    def another(*sizes, **texts):
        graph = band(*sizes, **texts)
        rows = [replace(row, context=("semantic",), prefix=()) if row.name == "coarse" else row for row in graph.stages]
        return replace(graph, stages=tuple(rows))

    monkeypatch.setitem(GRAPHS, "band", another)
    after = load_stages(verified, "cpu", ["coarse"]).stages["coarse"].model.layout
    assert after.context == before.context and [name for name, *_ in after.prefix] == ["stem"]


@pytest.mark.parametrize(
    "graph, words",
    [
        ({}, "graph: 'name' is missing"),
        ({"name": "x", "streams": [], "stages": []}, "needs one stream of the track 'vocal'"),
        ({"name": "x", "streams": [VOICE | {"tokenizer": "mel"}], "stages": []}, "'mel'"),
    ],
)
def test_a_graph_that_cannot_be_is_refused(checkpoint, graph, words):
    edit(checkpoint, graph=graph)
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(checkpoint)


def test_an_unknown_component_is_refused(checkpoint):
    hashes = json.loads((checkpoint / "config.json").read_text())["sha256"]
    edit(checkpoint, sha256=hashes | {"choir/config.json": "0" * 64})
    with pytest.raises(CheckpointError, match="lists the component 'choir', which the graph 'accompgen' does not know"):
        read_checkpoint(checkpoint)


def test_an_unknown_component_is_not_packed(tmp_path, components):
    components["choir"] = components["fine"]
    with pytest.raises(CheckpointError, match="needs the components .*; got .*choir"):
        write_checkpoint(tmp_path / "out", components, {})


def test_stages_of_two_graphs_are_not_packed(tmp_path, components):
    for name, graph in (("semantic", "accompgen"), ("coarse", "band")):
        config, tensors = load_component(components[name])
        config["stage"] = to_dict(StageConfig(name, graph=graph, width=16, heads=2))
        save_component(components[name], config, tensors, force=True)
    with pytest.raises(CheckpointError, match="of the graph 'accompgen', .*coarse of 'band' .*has stages of one graph"):
        write_checkpoint(tmp_path / "out", components, {})


def test_a_file_without_a_hash(checkpoint):
    edit(checkpoint, sha256={})
    with pytest.raises(CheckpointError, match="lists no sha256 of semantic_tokenizer/config.json; export"):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize("text, message", [("{", "is not valid JSON"), ("[]", "holds a list"), (None, "cannot read")])
def test_a_spoilt_config(checkpoint, text, message):
    if text is None:
        (checkpoint / "config.json").unlink()
    else:
        (checkpoint / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(checkpoint)


FIRST_OF = {"semantic": "semantic", "acoustic": "coarse"}  # the first stage that depends on a tokenizer


@pytest.mark.parametrize("kind", ["semantic", "acoustic"])
def test_tokenizers_of_another_training_are_not_packed(tmp_path, components, kind):
    others = make_components(tmp_path / "others", seed=5)
    mixed = components | {f"{kind}_tokenizer": others[f"{kind}_tokenizer"]}
    with pytest.raises(CheckpointError, match=f"out: the {FIRST_OF[kind]} stage was trained on another {kind} tokenizer"):
        write_checkpoint(tmp_path / "out", mixed, {})
    assert listing(tmp_path) == [p for p in listing(tmp_path) if p.startswith(("components", "others"))]


@pytest.mark.parametrize("kind", ["semantic", "acoustic"])
def test_a_tokenizer_exchanged_in_a_checkpoint_with_its_hash_is_refused(tmp_path, checkpoint, kind):
    """Even where config.json was adapted to the new files, the stages know what they were trained on."""
    other = make_components(tmp_path / "others", seed=5)[f"{kind}_tokenizer"]
    shutil.copytree(other, checkpoint / f"{kind}_tokenizer", dirs_exist_ok=True)
    hashes = json.loads((checkpoint / "config.json").read_text())["sha256"]
    edit(checkpoint, sha256={file: file_hash(checkpoint / file) for file in hashes})
    with pytest.raises(CheckpointError, match=f"stage was trained on another {kind} tokenizer .*train it again"):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize("stage", GRAPH.stage_names)
def test_a_stage_that_does_not_say_its_tokenizers(tmp_path, components, stage):
    save_component(components[stage], {"stage": stage}, {"w": torch.zeros(2)}, force=True)
    with pytest.raises(CheckpointError, match=f"the {stage} stage was trained on another .* tokenizer .hash None"):
        write_checkpoint(tmp_path / "out", components, {})


def test_all_five_components_are_needed(tmp_path, components):
    del components["fine"]
    words = "components .*fine, and may have .*beat_tracker.*; got acoustic_tokenizer, coarse, semantic,"
    with pytest.raises(CheckpointError, match=words):
        write_checkpoint(tmp_path / "out", components, {})


def test_an_incomplete_component_is_named(tmp_path, components):
    (components["coarse"] / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="coarse/model.safetensors is missing; the component coarse is not complete"):
        write_checkpoint(tmp_path / "out", components, {})
    assert not (tmp_path / "out").exists() and [p for p in os.listdir(tmp_path) if p.startswith(".")] == []


def test_a_checkpoint_is_overwritten_only_by_force(checkpoint, components):
    with pytest.raises(CheckpointError, match=r"tiny exists; .* or --force \(force=True\) to "):
        write_checkpoint(checkpoint, components, {"seed": 8})
    assert read_checkpoint(checkpoint).config["seed"] == 7
    write_checkpoint(checkpoint, components, {"seed": 8}, force=True)
    assert read_checkpoint(checkpoint).config["seed"] == 8 and os.listdir(checkpoint.parent) == ["tiny"]


@pytest.mark.parametrize("name", ["song.wav", "config.json"])
def test_force_replaces_no_folder_that_is_no_checkpoint(tmp_path, components, name):
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / name).write_text("{}")
    with pytest.raises(CheckpointError, match="songs exists and is no checkpoint, so it is not replaced"):
        write_checkpoint(tmp_path / "songs", components, {}, force=True)
    assert listing(tmp_path / "songs") == [name]


def test_force_replaces_no_component_by_a_checkpoint(components):
    with pytest.raises(CheckpointError, match="coarse exists and is no checkpoint"):
        write_checkpoint(components["coarse"], components, {}, force=True)


def test_a_checkpoint_write_that_fails_in_the_middle_leaves_the_old_one(checkpoint, components, monkeypatch):
    copy, copied = shutil.copyfile, []

    def disk_fills(source, target):
        copied.append(target)
        if len(copied) == 4:
            raise OSError(28, "No space left on device")
        copy(source, target)

    monkeypatch.setattr(module.shutil, "copyfile", disk_fills)
    with pytest.raises(CheckpointError, match="No space left on device"):
        write_checkpoint(checkpoint, components, {"seed": 8}, force=True)
    assert read_checkpoint(checkpoint).config["seed"] == 7 and os.listdir(checkpoint.parent) == ["tiny"]


# Names


def test_a_name_is_found_through_the_environment(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCOMPGEN_CHECKPOINTS", os.pathsep.join([str(tmp_path / "nowhere"), str(checkpoint.parent)]))
    assert find_checkpoint("tiny") == checkpoint and available_checkpoints()["tiny"] == checkpoint


def test_a_name_is_found_in_the_cache(checkpoint, tmp_path):
    shutil.move(checkpoint, tmp_path / "cache" / "checkpoints" / "kept")
    assert find_checkpoint("kept") == tmp_path / "cache" / "checkpoints" / "kept"


def test_the_first_of_a_name_counts(checkpoint, tmp_path, monkeypatch):
    shutil.copytree(checkpoint, tmp_path / "second" / "tiny")
    places = [str(tmp_path / "second"), str(checkpoint.parent)]
    monkeypatch.setenv("ACCOMPGEN_CHECKPOINTS", os.pathsep.join(places))
    assert find_checkpoint("tiny") == tmp_path / "second" / "tiny"


def test_a_path_is_taken_as_it_is(checkpoint, monkeypatch):
    assert find_checkpoint(checkpoint) == find_checkpoint(str(checkpoint)) == checkpoint


def test_an_unknown_name_lists_those_there_are(checkpoint, monkeypatch):
    shutil.copytree(checkpoint, checkpoint.parent / "also")
    monkeypatch.setenv("ACCOMPGEN_CHECKPOINTS", str(checkpoint.parent))
    with pytest.raises(CheckpointError, match="no checkpoint 'huge': neither .* nor one of those found .*also.*tiny"):
        find_checkpoint("huge")


def test_no_checkpoint_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "search_path", lambda: [tmp_path / "nowhere"])
    with pytest.raises(CheckpointError, match=r"those found \(none\)"):
        find_checkpoint("pocket")


def test_the_cache_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("ACCOMPGEN_CACHE", str(tmp_path / "mine"))
    assert cache_directory() == tmp_path / "mine"
    monkeypatch.setenv("ACCOMPGEN_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "accompgen"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_directory() == tmp_path / "home" / ".cache" / "accompgen"


def test_a_beat_tracker_is_optional_and_verified_like_the_others(tmp_path, components, checkpoint):
    assert "beat_tracker" not in read_checkpoint(checkpoint).components
    six = tmp_path / "six"
    write_checkpoint(six, make_beat_tracker(components), {})
    assert read_checkpoint(six).components == [*COMPONENTS, "beat_tracker"]
    file = six / "beat_tracker" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(CheckpointError, match="beat_tracker/model.safetensors was altered"):
        read_checkpoint(six)
    file.unlink()
    with pytest.raises(CheckpointError, match="beat_tracker/model.safetensors is missing"):
        read_checkpoint(six)


def test_a_beat_tracker_that_is_not_listed_is_refused(tmp_path, components, checkpoint):
    shutil.copytree(make_beat_tracker(components)["beat_tracker"], checkpoint / "beat_tracker")
    with pytest.raises(CheckpointError, match="beat_tracker is not listed in config.json; remove it, or export"):
        read_checkpoint(checkpoint)


def test_a_beat_tracker_of_other_units_is_refused(tmp_path, components):
    other = make_components(tmp_path / "others", seed=5)["semantic_tokenizer"]
    with pytest.raises(CheckpointError, match="the beat tracker was trained on another semantic tokenizer"):
        write_checkpoint(tmp_path / "six", make_beat_tracker(components, other), {})
    assert not (tmp_path / "six").exists()


def test_all_of_the_shipped_checkpoints_is_installed():
    """`pip install .` takes the folders that setup.cfg names, and no others."""
    root = Path(__file__).resolve().parents[1]
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg")
    shipped = [read_checkpoint(root / "checkpoints" / name) for name in ("band", "pocket")]
    named = [line for text in setup["options.data_files"].values() for line in text.split()]
    installed = {path for pattern in named for path in root.glob(pattern)}
    files = {one.path / file for one in shipped for file in [*one.config["sha256"], "config.json", "README.md"]}
    assert files == installed
