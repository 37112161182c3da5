"""What the units sound like, measured on songs whose units are their pitch classes."""

import json

import numpy as np
import pytest
import torch
from fake_shards import VOCAB, make_shards

from accompgen import audio
from accompgen.component import load_component
from accompgen.config import ConfigError
from accompgen.data.shards import open_shards
from accompgen.data.songs import Song, write_manifest
from accompgen.data.tracks import Tracks
from accompgen.training.unit_chroma import unit_chroma

UNHEARD = 7  # a unit that is silent


@pytest.fixture
def heard(tmp_path):
    """Shards and the manifest of their songs: where unit u stands, pitch class u sounds."""
    shards = open_shards(make_shards(tmp_path / "shards"))
    songs = []
    for song in shards.songs:
        units = np.repeat(shards.read(song)["semantic/all"].astype(int), 320)  # 50 Hz -> 16 kHz
        phase = np.cumsum(2 * np.pi * 261.63 * 2 ** (units / 12) / 16000)
        sound = np.where(units == UNHEARD, 0.0, 0.3 * np.sin(phase))
        tracks = Tracks({part: tmp_path / f"{song.id}.{part}.flac" for part in ("vocal", "accompaniment")})
        for path in tracks.values():
            audio.write(path, sound[None].astype(np.float32), 16000, subtype="PCM_16")
        songs.append(Song(song.id, song.split, "none", song.blocks / 25, tracks))
    write_manifest(tmp_path / "manifest.jsonl", songs)
    return shards, tmp_path / "manifest.jsonl"


def test_a_unit_is_told_by_the_pitch_classes_of_its_frames(heard):
    shards, manifest = heard
    table = unit_chroma(shards, manifest)
    assert table.shape == (VOCAB, 12)
    sounding = [unit for unit in range(VOCAB) if unit != UNHEARD]
    assert table.argmax(1)[sounding].tolist() == sounding
    assert table[UNHEARD].norm() < 0.3 * table[sounding].norm(dim=1).min()  # silent, but for what reaches over from beside it
    units = np.concatenate([shards.read(song)["semantic/all"] for song in shards.songs if song.split == "train"]).astype(int)
    assert table[units].square().sum(1).mean() == pytest.approx(1.0, rel=1e-4)


def test_songs_that_are_not_of_the_shards_are_refused(heard, tmp_path):
    shards, manifest = heard
    lines = [json.dumps(json.loads(line) | {"id": f"other-{n}"}) for n, line in enumerate(manifest.read_text().splitlines())]
    (tmp_path / "other.jsonl").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="no training song of .*shards is in .*other.jsonl; give the manifest"):
        unit_chroma(shards, tmp_path / "other.jsonl")


def test_an_exported_checkpoint_knows_it(heard, tmp_path):
    from test_export import FIGURES
    from tiny import make_checkpoint

    from accompgen.generation.load import load_stages
    from accompgen.training.export import export_checkpoint

    shards, manifest = heard
    tiny = make_checkpoint(tmp_path / "tiny")
    runs = [tmp_path / "tiny" / part for part in ("semantic_tokenizer", "acoustic_tokenizer", "coarse", "fine")]
    run = tmp_path / "semantic"
    run.mkdir()
    (tiny / "semantic").rename(run / "model")
    (run / "config.json").write_text(json.dumps({"shards": str(shards.directory)}))
    for folder in (*runs[2:], run / "model"):
        values = json.loads((folder / "config.json").read_text())
        values |= {"step": 12, "seed": 0, "training_hours": 0.5, "validation": FIGURES}
        (folder / "config.json").write_text(json.dumps(values))
    export_checkpoint([*runs, run], tmp_path / "out", dtype="float32", songs=manifest)
    stored = load_component(tmp_path / "out" / "semantic")[1]["unit_chroma"]
    assert torch.equal(stored, unit_chroma(shards, manifest))
    from accompgen.checkpoint import read_checkpoint

    stages = load_stages(read_checkpoint(tmp_path / "out"), "cpu").stages
    assert torch.equal(stages["semantic"].model.unit_chroma, stored) and stages["coarse"].model.unit_chroma is None
