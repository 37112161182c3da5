"""Settings of stages, for all stems or for one: whose word counts, from the checkpoint's config.json to the song's report."""

import json
import shutil

import pytest
import torch
from tiny import sing

import accompgen
from accompgen import Sampling, audio
from accompgen.cli import main
from accompgen.component import CheckpointError
from accompgen.generation.sampling import PUBLISHED
from accompgen.generation.settings import chosen_settings, sampling_of, setting_names
from accompgen.stages import accompgen as published
from accompgen.stages import band, single_stage

NAMES = ("coarse", "coarse/drums", "coarse/bass")


def checkpoint_with(source, directory, sampling):
    """A copy of a checkpoint whose config.json asks for these settings."""
    shutil.copytree(source, directory)
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sampling": sampling}))
    return directory


def test_what_is_given_counts_more_and_a_stem_more_than_its_stage():
    own = {"coarse": Sampling(temperature=0.5, guidance=3.0), "coarse/bass": Sampling(temperature=0.7, guidance=1.0)}
    given = {"coarse": Sampling(guidance=2.0), "coarse/drums": Sampling(guidance=4.0)}
    chosen = {name: (row.temperature, row.guidance) for name, row in chosen_settings(given, own, NAMES).items()}
    assert chosen == {"coarse": (0.5, 2.0), "coarse/drums": (0.5, 4.0), "coarse/bass": (0.7, 2.0)}
    assert chosen_settings(None, own, NAMES) == own
    with pytest.raises(ValueError, match=r"no stage 'coarse/flute'; this checkpoint has coarse, coarse/drums, coarse/bass"):
        chosen_settings({"coarse/flute": Sampling()}, own, NAMES)


def test_only_stages_that_are_played_for_stems_have_settings_by_stem():
    names = setting_names(band())
    assert "coarse/bass" in names and not any(name.startswith("chart/") for name in names)
    assert setting_names(published()) == ("semantic", "coarse", "fine")
    assert setting_names(single_stage(("drums", "bass"), 16, 4, 50, context=True, prompt_share=0.0)) == ("drums", "bass")


def test_a_checkpoint_asks_for_settings_by_stem(band_checkpoint, tmp_path):
    asked = {"coarse": {"guidance": 3.0}, "coarse/bass": {"guidance": 1.0}}
    path = checkpoint_with(band_checkpoint, tmp_path / "asks", asked)
    own = sampling_of(path)
    assert own["coarse/bass"] == Sampling(guidance=1.0).over(PUBLISHED) and own["semantic"] == PUBLISHED
    assert set(own) == {"chart", "semantic", "coarse", "fine", "coarse/bass"}
    with pytest.raises(CheckpointError, match="unknown stage 'coarse/flute'"):
        sampling_of(checkpoint_with(band_checkpoint, tmp_path / "wrong", {"coarse/flute": {}}))


def test_a_stem_is_drawn_by_its_own_settings(band_checkpoint, tmp_path):
    model, vocal = accompgen.load(band_checkpoint, device="cpu"), (sing(1.0), 44_100)
    before = model.accompany(vocal, seed=1)
    other = model.accompany(vocal, seed=1, sampling={"coarse/bass": Sampling(temperature=0.1)})
    codes = [{stem: tokens.codes for stem, tokens in song.tokens.items()} for song in (before, other)]
    assert torch.equal(codes[0]["drums"], codes[1]["drums"]) and not torch.equal(codes[0]["bass"], codes[1]["bass"])
    assert other.report["settings"]["coarse/bass"]["temperature"] == 0.1
    path = checkpoint_with(band_checkpoint, tmp_path / "asks", {"coarse/bass": {"temperature": 0.1}})
    again = accompgen.load(path, device="cpu").accompany(vocal, seed=1)
    assert torch.equal(again.tokens["bass"].codes, codes[1]["bass"])


def test_the_command_line_gives_them_too(band_checkpoint, tmp_path):
    audio.write(tmp_path / "voice.wav", sing(1.0), 44_100)
    vocal_file = tmp_path / "voice.wav"
    path = checkpoint_with(band_checkpoint, tmp_path / "asks", {"coarse/bass": {"guidance": 1.0, "temperature": 0.7}})
    command = ["generate", str(vocal_file), "--checkpoint", str(path), "-o", str(tmp_path), "--device", "cpu", "--quiet"]
    assert main([*command, "--guidance", "2,coarse/drums=1.5", "--stems", "drums,bass"]) == 0
    settings = json.loads((tmp_path / f"{vocal_file.stem}.json").read_text())["settings"]
    assert settings["coarse/drums"]["guidance"] == 1.5 and settings["coarse"]["guidance"] == 2.0
    assert settings["coarse/bass"]["guidance"] == 2.0 and settings["coarse/bass"]["temperature"] == 0.7
