"""The recipes' configurations and rules: every file is one that a verb reads, `base` is the published size, and make calls
the verbs in their order, on one process or many, stops in time and goes on. `make recipes` runs them whole.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib

import pytest

from accompgen.config import StageConfig, TrainConfig, from_dict, read_toml
from accompgen.training import text_tokenizer
from accompgen.training.beat_tracker import read_config

STAGES = ("semantic", "coarse", "fine")
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.mark.parametrize("size", ["tiny", "pocket"])
def test_the_listener_is_trained_for_the_stage_that_goes_on_with_it(root, size):
    folder = root / "recipes" / "synthetic" / "conf" / size
    alone, stage = (from_dict(TrainConfig, read_toml(folder / f"{name}.toml"), name) for name in ("listener", "semantic"))
    assert alone.model == stage.model and alone.encoder_learns == "alone" and stage.encoder_learns == "apart"


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("size", ["tiny", "pocket", "base"])
def test_the_stages_of_a_size_are_configurations(root, size, stage):
    path = root / "recipes" / "synthetic" / "conf" / size / f"{stage}.toml"
    config = from_dict(TrainConfig, read_toml(path), str(path))
    assert config.model.stage == stage
    if size == "base":  # whose parameters test_stage_lm.py counts
        assert config.model == StageConfig(stage, width=640, heads=10, layers=12, context="prefix")


@pytest.mark.parametrize("size", ["tiny", "pocket", "base"])
def test_the_beat_tracker_of_a_size_reads_its_units(root, size):
    folder = root / "recipes" / "synthetic" / "conf" / size
    units = read_toml(folder / "semantic.toml")["model"]["semantic_vocab"]
    assert read_config(folder / "beat_tracker.toml").model.semantic_vocab == units


@pytest.mark.parametrize("size", ["tiny", "pocket"])
def test_the_parts_of_a_size_fit_each_other(root, size):
    folder = root / "recipes" / "synthetic" / "conf" / size
    read = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.toml")}
    models = [from_dict(StageConfig, read[stage]["model"]) for stage in STAGES]
    assert {model.semantic_vocab for model in models} == {read["hubert"]["units"]}
    assert len({(model.bins, model.coarse_codebooks, model.fine_codebooks) for model in models}) == 1
    codec = read["codec"]["model"]
    assert models[0].bins == codec.get("bins", 1024)
    assert models[0].coarse_codebooks + models[0].fine_codebooks <= codec.get("codebooks", 32)


def make(root, recipe, *arguments, status=0):
    """What make says of a recipe; its exit status must be `status`."""
    call = ["make", "-C", str(root / "recipes" / recipe), f"PYTHON={sys.executable}", *map(str, arguments)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    done = subprocess.run(call, capture_output=True, text=True, env={**clean, "PYTHONPATH": str(root)})
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def calls(text):
    """[(verb, its first argument)] of every call of accompgen."""
    return re.findall(r"accompgen (\w+) (\S+)", text)


FROM_SHARDS = ["tokenize", "train", "train", "train", "export", "generate", "baselines", "evaluate"]
LISTENING_FIRST = ["tokenize", "train", *FROM_SHARDS[1:]]


def with_beats(verbs):
    """A beat tracker is trained after the stages."""
    return [*verbs[: verbs.index("export")], "train", *verbs[verbs.index("export") :]]


@needs_make
@pytest.mark.parametrize("size", ["tiny", "pocket", "base"])
def test_make_goes_from_songs_to_a_table(root, tmp_path, size):
    said = make(root, "synthetic", "--dry-run", f"SIZE={size}", f"WORK={tmp_path}", "DEVICE=cpu")
    own = () if size == "base" else ("hubert", "codec", "decoder")
    tokenizers = ["train"] * len(own) or ["adopt", "adopt"]
    assert [verb for verb, _ in calls(said)] == [
        "synthesize", *tokenizers, *with_beats(FROM_SHARDS if size == "base" else LISTENING_FIRST)
    ]  # fmt: skip
    configured = [name for verb, name in calls(said) if verb == "train"]
    parts = (*own, *(() if size == "base" else ("listener",)), *STAGES, "beat_tracker")
    assert ("--set start_from=" in said) == (size != "base") and ("--augment" in said) == (size != "base")
    assert [name.rpartition("/")[2] for name in configured] == [f"{part}.toml" for part in parts]
    assert all((root / "recipes" / "synthetic" / name).is_file() for name in configured)
    assert (f"--acoustic-tokenizer {tmp_path}/codec/model " in said) == (size != "base")
    assert (f"--set codec={tmp_path}/codec/model" in said) == (f"{tmp_path}/decoder " in said) == (size != "base")
    assert f"--set manifest={tmp_path}/songs/manifest.jsonl" in said and f"{tmp_path}/beat_tracker -o " in said
    if size == "base":
        assert "adopt hubert 'hubert-base'" in said and "--layer 9" in said and "--units 500" in said


@needs_make
def test_a_decoder_is_trained_for_the_codec_and_exported_with_it_where_a_size_has_one(root, tmp_path):
    conf = tmp_path / "conf"
    shutil.copytree(root / "recipes" / "synthetic" / "conf" / "tiny", conf)
    dials = ("--dry-run", "SIZE=tiny", f"CONF={conf}", f"WORK={tmp_path}/work")
    said = make(root, "synthetic", *dials, "checkpoint").replace("\\\n", "")
    lines = [line for line in said.splitlines() if "accompgen " in line]
    trained = {part: next(n for n, line in enumerate(lines) if f"/{part}.toml " in line) for part in ("codec", "decoder")}
    assert trained["codec"] < trained["decoder"]
    songs, codec = f"--set manifest={tmp_path}/work/songs/manifest.jsonl", f"--set codec={tmp_path}/work/codec/model"
    assert f"{songs} {codec}" in lines[trained["decoder"]] and codec not in lines[trained["codec"]]
    assert re.search(r" export \S+/hubert \S+/codec \S+/decoder\s+\S+/semantic ", lines[-1])
    assert "/decoder" not in make(root, "synthetic", *dials, "shards"), "tokens do not need it"
    (conf / "decoder.toml").unlink()
    assert "/decoder" not in make(root, "synthetic", *dials, "checkpoint")
    assert "/decoder" not in make(root, "musdb18", "--dry-run", "SIZE=pocket", "DATA=x", "SEPARATE=no", f"WORK={tmp_path}/w")


@needs_make
def test_ctrl_c_after_a_component_was_written_leaves_it_whole(root, tmp_path):
    """Make deletes what a stopped rule has written; half of a component is none, and no verb replaces it."""
    work, verb = tmp_path / "work", tmp_path / "verb"
    (work / "songs").mkdir(parents=True)
    (work / "songs" / "manifest.jsonl").write_text("")
    model = work / "hubert" / "model" / "config.json"
    verb.write_text(f"mkdir -p {model.parent}; echo {{}} > {model}; sleep 60\n")
    call = ["make", "-C", str(root / "recipes" / "synthetic"), "SIZE=tiny", f"WORK={work}", f"ACCOMPGEN=sh {verb}", str(model)]
    making = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    deadline = time.monotonic() + 30
    while not model.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(making.pid, signal.SIGINT)
    said, _ = making.communicate(timeout=30)
    assert making.returncode and model.exists(), said


@needs_make
def test_clips_that_were_cut_otherwise_are_refused(root, tmp_path):
    """The header of the table says how clips were cut by the dials of the call that makes the table."""
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "clips.json").write_text("{}")
    (clips / "dials").write_text("SECONDS=10 HOP=10 LEVEL=-40 SHARE=0.5 CLIPS=0\n")
    ask = ("musdb18", "--dry-run", "DATA=x", "SEPARATE=no", f"WORK={tmp_path}", "evaluate", "SCORED=pocket")
    make(root, *ask, "SEED=3")  # which draws nothing where all clips are taken
    said = make(root, *ask, "SECONDS=5", status=2)
    assert "were cut with SECONDS=10 HOP=10" in said and "this call says SECONDS=5 HOP=10" in said


@needs_make
@pytest.mark.parametrize("recipe", ["synthetic", "musdb18", "stems"])
def test_a_folder_with_a_space_is_refused_by_name(root, tmp_path, recipe):
    said = make(root, recipe, "--dry-run", "SIZE=tiny", "DATA=x", "SEPARATE=no", f"WORK={tmp_path}/a b", status=2)
    assert f"WORK is '{tmp_path}/a b'" in said and "space" in said


@pytest.mark.parametrize("stage", ["chart", *STAGES])
@pytest.mark.parametrize("size", ["tiny-band", "band"])
def test_the_stages_of_a_band_are_configurations(root, size, stage):
    path = root / "recipes" / "synthetic" / "conf" / size / f"{stage}.toml"
    config = from_dict(TrainConfig, read_toml(path), str(path))
    assert (config.model.graph, config.model.stage) == ("band", stage)


@needs_make
@pytest.mark.parametrize("size", ["tiny", "tiny-band", "band"])
def test_a_text_tokenizer_is_trained_from_the_songs_captions(root, tmp_path, size):
    path = root / "recipes" / "synthetic" / "conf" / size / "text_tokenizer.toml"
    assert text_tokenizer.read_config(path).vocab == {"tiny": 128, "tiny-band": 128, "band": 512}[size]
    said = make(root, "synthetic", "--dry-run", f"SIZE={size}", f"WORK={tmp_path}", "SET=compile=false", "text")
    assert [verb for verb, _ in calls(said)] == ["synthesize", "train"]
    run = f"train conf/{size}/text_tokenizer.toml --run-dir {tmp_path}/text_tokenizer"
    assert f"{run} --set manifest={tmp_path}/songs/manifest.jsonl" in said and "compile" not in said


@needs_make
def test_settings_of_the_stages_do_not_reach_the_beat_tracker(root, tmp_path):
    said = make(root, "synthetic", "--dry-run", "SIZE=tiny", f"WORK={tmp_path}", "SET=compile=false", "checkpoint")
    trainings = [line for line in said.splitlines() if " train conf/" in line]
    assert ["compile=false" in line for line in trainings] == [True] * (len(trainings) - 1) + [False]
    assert "beat_tracker" in trainings[-1]


@needs_make
def test_the_musdb18_recipe_trains_on_what_the_dials_name(root, tmp_path):
    dials = ["SIZE=pocket", "HUBERT=h.pt", "KMEANS=km.bin", "ENCODEC=e.th", "MORE=a b", "SEPARATOR=net", "EXECUTOR=ray"]
    said = make(root, "musdb18", "--dry-run", "DATA=data", f"WORK={tmp_path}", "SEPARATE=no", "AUGMENT=Makefile", *dials)
    assert [verb for verb, _ in calls(said)] == ["adopt", "adopt", "prepare", *LISTENING_FIRST]
    assert re.search(r"songs.py 'data' -o \S+ +--more a +--more b", said) and "--separator 'net'" in said
    assert "adopt hubert 'h.pt'" in said and "--kmeans 'km.bin'" in said and "adopt encodec 'e.th'" in said
    assert "--executor ray" in said and "--workers" not in said and "--augment 'Makefile'" in said
    assert f"export {tmp_path}/semantic_tokenizer {tmp_path}/acoustic_tokenizer" in said and "No row of separated" in said


@needs_make
def test_without_a_size_or_data_make_lists_its_targets(root, tmp_path):
    for recipe in ("synthetic", "musdb18"):
        said = make(root, recipe, f"WORK={tmp_path}")
        assert "make evaluate" in said and "GPUS=1" in said and not calls(said)
    assert "give DATA=folder" in make(root, "musdb18", "songs", f"WORK={tmp_path}", status=2)


@needs_make
def test_a_dry_run_needs_no_python(root, tmp_path):
    """As in a fresh clone, which has no virtual environment yet; a true run says how to make one."""
    gone = f"VENV={tmp_path / 'none'}"
    call = ["make", "--no-print-directory", "-C"]
    for recipe, dials in (("synthetic", ["SIZE=tiny"]), ("musdb18", ["SIZE=tiny", "DATA=songs", "all"])):
        place = [str(root / "recipes" / recipe), gone, f"WORK={tmp_path / 'work'}", *dials]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
        dry, true = (
            subprocess.run([*call, *place, *option], capture_output=True, text=True, env=clean) for option in (["-n"], [])
        )
        assert dry.returncode == 0 and not dry.stderr, dry.stderr
        assert calls(dry.stdout)[-1][0] == "evaluate" and f"{tmp_path / 'none'}/bin/python -m accompgen" in dry.stdout
        assert true.returncode and "run `make develop` in" in true.stderr
        assert not (tmp_path / "work").exists()


@needs_make
def test_stages_are_trained_by_many_processes(root, tmp_path):
    one = make(root, "synthetic", "--dry-run", "SIZE=tiny", f"WORK={tmp_path}", "train")
    many = make(root, "synthetic", "--dry-run", "SIZE=tiny", f"WORK={tmp_path}", "train", "GPUS=8")
    nodes = make(root, "synthetic", "--dry-run", "SIZE=tiny", f"WORK={tmp_path}", "train", "GPUS=8", "HOSTFILE=hosts")
    assert "torch.distributed" not in one and "deepspeed" not in one and calls(one) == calls(many) == calls(nodes)
    assert len(re.findall(r"-m torch.distributed.run --standalone --nproc-per-node 8 -m accompgen train conf/tiny/", many)) == 4
    assert len(re.findall(r"deepspeed --hostfile 'hosts' --num_gpus 8 --module accompgen train conf/tiny/", nodes)) == 4


@needs_make
def test_on_a_cluster_no_number_of_workers_is_asked_for(root, tmp_path):
    for target in ("all", "judge", "sweep", "examples"):
        said = make(root, "synthetic", "--dry-run", "SIZE=tiny", f"WORK={tmp_path}", "EXECUTOR=ray", target)
        assert "synthesize" in said and "--workers" not in said, target


def test_make_stops_in_time_and_where_a_training_has_not_ended(root, tmp_path):
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "manifest.jsonl").write_text("")
    arguments = ["SIZE=tiny", f"WORK={tmp_path}", "tokenizers", "ACCOMPGEN=echo would"]
    said = make(root, "synthetic", *arguments, "PAUSE=9", status=2)  # make's own status for any rule that failed
    assert re.search(r"would train conf/tiny/hubert.toml .*--pause (8\.9|9)", said)
    assert "hubert is not at its end yet: the same make goes on from here" in said and "codec.toml" not in said
    assert "0 minutes are over" in make(root, "synthetic", *arguments, "PAUSE=0", status=2)
    for part in ("hubert", "codec"):  # a training that ends writes model/
        (tmp_path / part / "model").mkdir(parents=True)
        (tmp_path / part / "model" / "config.json").write_text("{}")
    assert "would" not in make(root, "synthetic", *arguments, "PAUSE=9")


@needs_make
def test_a_new_checkpoint_is_played_anew(root, tmp_path):
    scores, checkpoint = tmp_path / "scores", tmp_path / "checkpoint"
    for place in (scores / "songs", scores / "isolated", checkpoint):
        place.mkdir(parents=True)
    for number, file in enumerate((scores / "songs" / ".done", checkpoint / "config.json", scores / "isolated" / ".done")):
        file.write_text("{}")
        os.utime(file, (1000 + number, 1000 + number))
    (scores / "isolated" / "old.wav").write_text("of an earlier checkpoint")
    arguments = ["SIZE=tiny", f"SCORED={checkpoint}", f"SCORES={scores}", "SCORE_FROM=elsewhere", "ACCOMPGEN=true"]
    target = scores / "isolated" / ".done"
    make(root, "synthetic", *arguments, target)
    assert (scores / "isolated" / "old.wav").exists()  # up to date
    os.utime(checkpoint / "config.json", (2000, 2000))
    said = make(root, "synthetic", *arguments, "--dry-run", target)
    assert f"rm -r {scores}/isolated" in said and "--skip-existing" in said


def test_the_configuration_in_the_docs_is_whole_and_can_be_used(root, tmp_path):
    """The block of docs/training.md, as a reader copies it: it parses, and each of its keys is explained or plain."""
    text = (root / "docs" / "training.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.S)
    (tmp_path / "semantic.toml").write_text(block, encoding="utf-8")
    values = read_toml(tmp_path / "semantic.toml")
    config = from_dict(TrainConfig, values, "docs/training.md")
    assert config.model.stage == "semantic" and config.shards == "shards"
    keys = [line for line in block.splitlines() if "=" in line and not line.startswith("#")]
    assert sum("#" in line for line in keys) >= len(keys) - 3
    wider = from_dict(TrainConfig, read_toml(tmp_path / "semantic.toml", ["model.width=128", "batch_size=4"]), "--set")
    assert (wider.model.width, wider.batch_size) == (128, 4)
    for stage in ("coarse", "fine"):
        from_dict(TrainConfig, read_toml(tmp_path / "semantic.toml", [f"model.stage={stage}"]), stage)
