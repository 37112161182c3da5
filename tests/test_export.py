"""Runs -> a checkpoint that generation reads."""

import json
import shutil

import pytest
import torch
from fake_shards import make_shards
from tiny import BINS as CODES
from tiny import COARSE, FINE, make_checkpoint
from tiny import VOCAB as VOICE_UNITS

from accompgen.checkpoint import read_checkpoint, required_components
from accompgen.component import (
    CheckpointError,
    component_hash,
    file_hash,
    load_component,
    save_component,
)
from accompgen.config import to_dict
from accompgen.model.beat_tracker import BeatTracker, BeatTrackerConfig
from accompgen.stages import GRAPHS, PUBLISHED
from accompgen.tokens.decoder import VocosDecoder
from accompgen.tokens.load import load_decoder, load_tokenizer
from accompgen.tokens.vocos import VocosConfig, VocosNetwork
from accompgen.training.export import export_checkpoint

FIGURES = {
    "cross_entropy": 1.5, "bigram": 2.0, "per_codebook": [1.5], "accuracy": [0.5], "windows": 4,
    "gain": {"shuffled": {"all": [0.25, 0.01], "first_second": [0.5, 0.02], "changes": None, "per_second": [1.0, 0.1]}},
    "vocal_late": {"1": [0.125, 0.01]}, "vocal_transposed": {"1": [0.375, 0.01]},
}  # fmt: skip


@pytest.fixture
def runs(tmp_path):
    """Five run directories as the trainings leave them, from the parts of a tiny checkpoint."""
    return make_runs(tmp_path, PUBLISHED)


def make_runs(tmp_path, graph):
    pocket = make_checkpoint(tmp_path / "pocket", graph=graph)
    for part in required_components(GRAPHS[graph]()):
        shutil.copytree(pocket / part, tmp_path / f"run-{part}" / "model")
        path = tmp_path / f"run-{part}" / "model" / "config.json"
        values = json.loads(path.read_text())
        if "stage" in values:
            values |= {"step": 12, "seed": 0, "training_hours": 0.5, "validation": FIGURES}
            path.write_text(json.dumps(values))
    return sorted(tmp_path.glob("run-*"))


def test_runs_in_any_order_become_a_checkpoint_with_a_card(runs, tmp_path):
    config = export_checkpoint(runs[::-1], tmp_path / "out", {"name": "tiny", "licence": "Apache-2.0"})
    read = read_checkpoint(tmp_path / "out")
    assert read.config == config
    assert config["stages"]["coarse"]["steps"] == 12 and config["stages"]["fine"]["validation"] == FIGURES
    card = (tmp_path / "out" / "README.md").read_text()
    assert "silence" not in config  # one track is made as published
    assert card.startswith("# tiny\n") and "**Licence.** Apache-2.0" in card
    assert "| 12 | 0.8 s | 1.500 | 2.000 | 0.2500 +- 0.0100 | 0.5000 +- 0.0200 |" in card
    assert "1 s: 0.1250 +- 0.0100" in card and "costs it 1 higher: 0.3750 +- 0.0100" in card


def test_one_stage_trained_further_and_the_rest_of_an_older_checkpoint(runs, tmp_path):
    config, tensors = load_component(tmp_path / "run-semantic" / "model")
    shutil.rmtree(tmp_path / "run-semantic" / "model")
    save_component(tmp_path / "run-semantic" / "model", config, tensors | {"unit_chroma": torch.rand(VOICE_UNITS, 12)})
    sampling = {"coarse": {"guidance": 2.0}}
    export_checkpoint(runs, tmp_path / "old", {"sampling": sampling, "licence": "Apache-2.0", "name": "old"}, dtype="float32")
    trained = tmp_path / "run-coarse"
    made = export_checkpoint([trained], tmp_path / "new", {"name": "own"}, dtype="float32", base=tmp_path / "old")
    old, new = read_checkpoint(tmp_path / "old"), read_checkpoint(tmp_path / "new")
    assert made["sampling"] == sampling and made["licence"] == "Apache-2.0" and made["name"] == "own"
    assert set(new.components) == set(old.components)
    # another semantic stage of the same units keeps what they sound like
    save_component(tmp_path / "bare", config, tensors)
    export_checkpoint([tmp_path / "bare"], tmp_path / "bared", dtype="float32", base=tmp_path / "old")
    kept = load_component(tmp_path / "bared" / "semantic")[1]["unit_chroma"]
    assert torch.equal(kept, load_component(tmp_path / "old" / "semantic")[1]["unit_chroma"])


def test_a_beat_tracker_comes_with_the_others(runs, tmp_path):
    from accompgen.generation.load import load_stages

    tracker = BeatTracker(BeatTrackerConfig(VOICE_UNITS, width=8, layers=2))
    about = {
        "beat_tracker": to_dict(tracker.config), "step": 7, "validation": {"right_phase": 0.625, "songs": 4},
        "tokenizers": {"semantic": component_hash(tmp_path / "run-semantic_tokenizer" / "model")},
    }  # fmt: skip
    save_component(tmp_path / "run-beats" / "model", about, tracker.state_dict())
    export_checkpoint([*runs, tmp_path / "run-beats"], tmp_path / "out", dtype="float32")
    card = (tmp_path / "out" / "README.md").read_text()
    assert (
        "| beat tracker | 0.00 M | 7 |" in card
        and "right to an eighth of a beat in 62 % of the frames (4 held-out songs" in card
    )
    stages = load_stages(read_checkpoint(tmp_path / "out"), "cpu").stages
    found = stages["semantic"].model.beat_tracker
    assert not found.training and torch.equal(found.enter.weight, tracker.enter.weight)
    assert stages["coarse"].model.beat_tracker is None


def test_a_vocos_comes_with_the_others(runs, tmp_path):
    books = COARSE + FINE
    sizes = dict(width=8, hidden=16, blocks=1, trained_with=(books,))
    network = VocosNetwork(VocosConfig(codebooks=books, bins=CODES, latent=8, **sizes))
    codec = {"acoustic": component_hash(tmp_path / "run-acoustic_tokenizer" / "model")}
    VocosDecoder(network).save(tmp_path / "vocos", {"tokenizers": codec, "licence": "MIT"})
    export_checkpoint([*runs, tmp_path / "vocos"], tmp_path / "out")
    read = read_checkpoint(tmp_path / "out")
    assert read.decoder == read.component("decoder")
    decoder = load_decoder(read.decoder)
    assert isinstance(decoder, VocosDecoder)
    for name, weight in network.state_dict().items():
        assert torch.equal(decoder.network.state_dict()[name], weight), name
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| decoder | 0.01 M |  |" in card and "The decoder plays" not in card
    # one that was trained here has figures
    figures = {"si_sdr": 3.25, "chroma": 0.875}
    VocosDecoder(network).save(tmp_path / "own", {"tokenizers": codec, "step": 5, "validation": figures})
    export_checkpoint([*runs, tmp_path / "own"], tmp_path / "other")
    card = (tmp_path / "other" / "README.md").read_text()
    assert "| decoder | 0.01 M | 5 |" in card and "an SI-SDR of 3.2 dB and a chroma correlation of 0.875" in card
    VocosDecoder(network).save(tmp_path / "foreign", {"tokenizers": {"acoustic": "0" * 64}})
    with pytest.raises(CheckpointError, match="the decoder was trained on another acoustic tokenizer"):
        export_checkpoint([*runs, tmp_path / "foreign"], tmp_path / "no")


def test_runs_of_a_band_become_a_checkpoint_that_says_its_graph(tmp_path):
    runs = make_runs(tmp_path, "band")
    config = export_checkpoint(runs, tmp_path / "out")
    read = read_checkpoint(tmp_path / "out")
    assert read.graph.name == config["graph"]["name"] == "band" and list(config["stages"]) == list(read.graph.stage_names)
    assert read.components == [*required_components(read.graph)]
    silence = load_tokenizer(tmp_path / "out", "semantic", "cpu").encode(torch.zeros(1, 16_000))
    assert config["silence"]["semantic"] == [silence[0, 25].item()] and len(config["silence"]["acoustic"]) == COARSE + FINE
    assert "\n| chart | " in (tmp_path / "out" / "README.md").read_text()
    others = [run for run in runs if run.name != "run-chart"]
    with pytest.raises(CheckpointError, match="no run gives the chart; a checkpoint needs .*, chart, semantic, coarse"):
        export_checkpoint(others, tmp_path / "other")


def test_an_unfinished_run_is_refused_unless_asked_for(runs, tmp_path):
    stage = next(run for run in runs if run.name == "run-fine")
    (stage / "model").rename(stage / "snapshot")
    with pytest.raises(CheckpointError, match="run-fine has not ended"):
        export_checkpoint(runs, tmp_path / "out")
    export_checkpoint(runs, tmp_path / "out", unfinished=True)
    assert read_checkpoint(tmp_path / "out").component("fine").is_dir()


def test_missing_double_and_foreign_parts_are_named(runs, tmp_path):
    with pytest.raises(CheckpointError, match="no run gives the acoustic_tokenizer"):
        export_checkpoint([run for run in runs if "acoustic" not in run.name], tmp_path / "out")
    with pytest.raises(CheckpointError, match="are both the fine"):
        export_checkpoint([*runs, runs[-1].parent / "run-fine" / "model"], tmp_path / "out")
    with pytest.raises(CheckpointError, match="neither a finished run"):
        export_checkpoint([tmp_path], tmp_path / "out")
    tokenizer = next(run for run in runs if run.name == "run-semantic_tokenizer") / "model" / "config.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")  # another hash
    with pytest.raises(CheckpointError, match="trained on another semantic tokenizer"):
        export_checkpoint(runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_trained_stage_can_be_exported(runs, tmp_path):
    pytest.importorskip("deepspeed", reason="training needs the extra `train`")
    from accompgen.component import component_hash
    from accompgen.config import StageConfig, TrainConfig
    from accompgen.training.loop import train

    folder = make_shards(tmp_path / "shards")
    index = json.loads((folder / "index.json").read_text())
    for kind in ("semantic", "acoustic"):
        index["tokenizers"][kind] = component_hash(tmp_path / f"run-{kind}_tokenizer" / "model")
    sizes = dict(semantic_vocab=VOICE_UNITS, bins=CODES, coarse_codebooks=2, fine_codebooks=2)  # those of the other stages
    (folder / "index.json").write_text(json.dumps(index | {name: sizes[name] for name in ("semantic_vocab", "bins")}))
    model = StageConfig("fine", width=16, layers=1, heads=2, **sizes)
    settings = TrainConfig(model, str(folder), steps=1, batch_size=1, window_seconds=0.4, validation_windows=2, device="cpu")
    shutil.rmtree(tmp_path / "run-fine")
    train(settings, tmp_path / "run-fine")
    config = export_checkpoint(runs, tmp_path / "out")
    assert config["stages"]["fine"]["steps"] == 1 and config["stages"]["fine"]["validation"]["windows"] == 2


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_stages_are_stored_in_a_type_and_the_tokenizers_as_they_are(runs, tmp_path, dtype):
    config = export_checkpoint(runs, tmp_path / "out", dtype=dtype)
    assert config["dtype"] == dtype
    checkpoint = read_checkpoint(tmp_path / "out")
    _, stored = load_component(checkpoint.component("coarse"))
    _, trained = load_component(tmp_path / "run-coarse" / "model")
    assert {str(tensor.dtype) for tensor in stored.values()} == {f"torch.{dtype}"}
    for name, tensor in trained.items():
        assert torch.allclose(stored[name].float(), tensor, rtol=2**-8, atol=1e-6), name
    same = file_hash(tmp_path / "run-acoustic_tokenizer" / "model" / "model.safetensors")
    assert file_hash(checkpoint.component("acoustic_tokenizer") / "model.safetensors") == same


def test_an_unknown_type_is_refused(runs, tmp_path):
    with pytest.raises(CheckpointError, match="stored as 'int4'; choose one of bfloat16, float16, float32"):
        export_checkpoint(runs, tmp_path / "out", dtype="int4")
