"""The ablation table: what its measures say of units and sounds that are known, and that finished variants are kept."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fake_shards import BINS, VOCAB, make_shards

from accompgen import cli
from accompgen.analysis.keys import NAMES
from accompgen.config import StageConfig
from accompgen.data.batches import Window, held_out_windows
from accompgen.data.shards import open_shards

BLOCKS = 75  # 3 s
STAGE = f"""kind = "stage"
batch_size = 2
window_seconds = 0.8
validation_windows = 4
device = "cpu"
[model]
width = 16
layers = 1
heads = 2
context_layers = 1
semantic_vocab = {VOCAB}
bins = {BINS}
coarse_codebooks = 2
fine_codebooks = 2
"""


@pytest.fixture(scope="module")
def tool(load_tools):
    return load_tools("bench_report", "ablation_measures", "ablations")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Shards, and a manifest of songs whose chord in each frame has the band's unit as its root."""
    folder = tmp_path_factory.mktemp("ablations")
    opened = open_shards(make_shards(folder / "shards", blocks=BLOCKS, band=True))
    lines = []
    for song in opened.songs:
        units = opened.read(song)["semantic/all"]
        chords = [[0.02 * at, 0.02 * (at + 1), f"{NAMES[unit]}:maj"] for at, unit in enumerate(units)]
        (folder / f"{song.id}.json").write_text(json.dumps({"chords": chords}))
        paths = {"vocal": "none.wav", "accompaniment": "none.wav", "meta": f"{song.id}.json"}
        lines.append(json.dumps({"id": song.id, "split": song.split, "licence": "none", "seconds": 3.0, **paths}))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    for stage in ("semantic", "coarse"):
        (folder / f"{stage}.toml").write_text(STAGE.replace("[model]", f'[model]\nstage = "{stage}"'))
    return folder


def test_units_that_name_the_root_count_and_others_do_not(tool, corpus):
    shards = open_shards(corpus / "shards")
    known = {song.id: json.loads((corpus / f"{song.id}.json").read_text()) for song in shards.songs}
    model = StageConfig("semantic", semantic_vocab=VOCAB)
    windows = held_out_windows(shards, model, 25, 2, 0, 0)
    song = windows[0].song
    windows.append(Window(song, 0))
    known[song.id]["chords"] = [chord for chord in known[song.id]["chords"] if chord[0] >= 1]  # none in the last window
    units = [shards.read(window.song, window.first_block, 25)["semantic/all"].astype(np.int64) for window in windows]
    share = tool.measures.root_shares(shards, known, windows)
    true = torch.from_numpy(np.stack(units))[:, None]
    assert share(true)[1:] == [1.0, None]
    half = true.clone()
    half[:, :, 25:] = (half[:, :, 25:] + 1) % VOCAB
    assert share(half)[1] == pytest.approx(0.5)
    assert share((true + 1) % VOCAB)[1] == 0.0


def test_sound_on_the_tones_of_the_chord_counts(tool, monkeypatch):
    """A codec whose code is a pitch in semitones above middle C."""

    def sound(codes):
        time = torch.arange(codes.shape[-1] * 320) / 24000
        return torch.sin(2 * torch.pi * 261.63 * 2 ** (codes[:, 0, :1] / 12) * time)

    monkeypatch.setattr(tool.measures.AcousticTokenizer, "load", lambda path: SimpleNamespace(decode=sound))
    song = SimpleNamespace(id="song")
    known = {"song": {"chords": [[0.0, 4.0, "C:maj"], [4.0, 8.0, "D:maj"]]}}
    share = tool.measures.tone_shares("codec", known, [Window(song, 0), Window(song, 100)])  # the second one begins at 4 s
    low, high = share(torch.full((2, 1, 240), 4))
    assert low > 0.95 and high < 0.05  # E is in C major, not in D major
    low, high = share(torch.full((2, 1, 240), 6))
    assert low < 0.05 and high > 0.95


def test_shards_without_units_keep_all_else(tool, corpus, tmp_path):
    tool.measures.leave_units_out(corpus / "shards", tmp_path / "one")
    before, after = open_shards(corpus / "shards"), open_shards(tmp_path / "one")
    assert before.songs == after.songs and before.tokenizers == after.tokenizers
    for song in before.songs:
        old, new = before.read(song), after.read(song)
        assert (new["semantic/all"] == 0).all() and (old["semantic/all"] != 0).any()
        assert all((old[name] == new[name]).all() for name in ("semantic/vocal", "acoustic/all"))


def test_differences_are_taken_window_by_window(tool):
    assert tool.mean_and_error([0.2, 0.4, None]) == "0.300 +- 0.100"
    assert tool.mean_and_error([0.2, 0.4, None], [0.1, 0.3, 0.5]) == "+0.100 +- 0.000"
    result = {"cross_entropy": 1.0, "vocal_late": {"1": [0.02, 0.01]}}
    result["gain"] = {"shuffled": {"all": [0.03, 0.01], "first_second": [0.05, 0.01]}}
    rows = {}
    for variant, share in zip(tool.VARIANTS["semantic"], (0.5, 0.4, 0.1, 0.3)):
        about = {"processor_minutes": 2.0, "hours": 1.5, "validation": result}
        rows[variant.title] = about | {"share": {"generated": [share, share]}}
    rows["base"]["share"]["truth"] = [0.9, 0.9]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in tool.table("semantic", rows).splitlines()]
    assert "1.50 h of sound" in tool.table("semantic", rows)
    assert lines[2][-3:] == ["0.500 +- 0.000", "", ""]
    assert lines[3][-2:] == ["base", "-0.100 +- 0.000"]
    assert lines[4][0] == "context = prefix" and lines[4][-2:] == ["listening_weight = 0", "-0.300 +- 0.000"]
    assert lines[6][0] == "truth" and lines[6][6] == "0.900 +- 0.000"


def test_variants_are_trained_once_and_their_figures_stand_in_the_table(tool, corpus, tmp_path, monkeypatch, capsys):
    pytest.importorskip("deepspeed", reason="training needs the extra `train`")
    kept = {"semantic": slice(1), "coarse": slice(2), "band": slice(3)}
    monkeypatch.setattr(tool, "VARIANTS", {part: tool.VARIANTS[part][rows] for part, rows in kept.items()})
    monkeypatch.setattr(tool.measures, "SECONDS", {"semantic": 0.8, "coarse": 0.8})
    monkeypatch.setattr(tool.measures, "tone_shares", lambda tokenizer, known, windows: lambda codes: [0.25] * len(codes))
    trained = []

    def run(words, stdout):
        trained.append(words[words.index("--run-dir") + 1].relative_to(tmp_path).as_posix())
        return SimpleNamespace(returncode=cli.main([str(word) for word in words[3:]]))

    monkeypatch.setattr(tool, "subprocess", SimpleNamespace(run=run))
    command = [corpus / "manifest.jsonl", corpus / "shards", "-o", tmp_path, "--conf", corpus, "--windows", 4]
    command += ["--semantic-tokenizer", "none", "--acoustic-tokenizer", "none", "--steps", *(f"{part}=3" for part in kept)]
    command += ["--parts", *kept, "--set", *(f"{part}.{kind}_tokenizer=" for part in kept for kind in ("semantic", "acoustic"))]
    command += ["coarse.window_seconds=0.8", 'band.model.graph="band"']
    command = [str(word) for word in command]
    assert tool.main(command) == 0
    assert trained == [
        "semantic/base", "coarse/base", "coarse/without-the-semantic-stage",
        "band/base", "band/without-a-chart", "band/one-track"
    ]  # fmt: skip
    text, found = capsys.readouterr().out, json.loads((tmp_path / "ablations.json").read_text())
    assert found["semantic"]["base"]["share"]["truth"] == [1.0] * 4
    assert found["semantic"]["base"]["hours"] == pytest.approx(3 * 4 * 0.8 / 3600)
    deaf = found["coarse"]["without the semantic stage"]["validation"]["gain"]
    assert deaf["shuffled_semantic"]["all"] == [0.0, 0.0]  # all units are alike
    assert found["coarse"]["base"]["validation"]["gain"]["shuffled_semantic"]["all"] != [0.0, 0.0]
    assert f"{found['coarse']['base']['validation']['cross_entropy']:.3f}" in text
    _, chartless, whole = found["band"].values()
    assert chartless["validation"]["gain"]["shuffled_chord"]["all"] == [0.0, 0.0], "nothing untrained is heard"
    assert chartless["validation"]["gain"]["shuffled_vocal"]["all"] != [0.0, 0.0]
    assert set(whole["share"]) == {"generated", "truth", "shuffled pairs"} and whole["share"]["truth"] == [1.0] * 4
    assert set(chartless["share"]) == {"generated"} and len(chartless["share"]["generated"]) == 4
    assert tool.main(command) == 0 and len(trained) == 6
    assert tool.main([*command, "--seed", "1"]) == 1 and len(trained) == 7  # another seed wants another folder
    assert "seed = 0" in capsys.readouterr().err
