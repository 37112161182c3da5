"""The recipes' configurations and rules: every file is one that a verb reads, and `base` is the published size."""

import re
import shutil
import subprocess
import tomllib

import pytest

from accompgen.config import StageConfig, TrainConfig, from_dict, read_toml

STAGES = ("semantic", "coarse", "fine")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("size", ["tiny", "pocket", "base"])
def test_the_stages_of_a_size_are_configurations(root, size, stage):
    path = root / "recipes" / "synthetic" / "conf" / size / f"{stage}.toml"
    config = from_dict(TrainConfig, read_toml(path), str(path))
    assert config.model.stage == stage
    if size == "base":  # whose parameters test_stage_lm.py counts
        assert config.model == StageConfig(stage, width=640, heads=10, layers=12, context="prefix")


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


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("size", ["tiny", "pocket"])
def test_make_goes_from_songs_to_a_checkpoint(root, tmp_path, size):
    folder = root / "recipes" / "synthetic"
    call = ["make", "--dry-run", f"SIZE={size}", f"WORK={tmp_path}", "DEVICE=cpu", "all"]
    done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=True)
    calls = re.findall(r"accompgen (\w+) (\S+)", done.stdout)
    assert [verb for verb, _ in calls] == ["synthesize", "train", "train", "tokenize", "train", "train", "train", "export"]
    configured = [name for verb, name in calls if verb == "train"]
    assert [name.rpartition("/")[2] for name in configured] == [f"{part}.toml" for part in ("hubert", "codec", *STAGES)]
    assert all((folder / name).is_file() for name in configured)
