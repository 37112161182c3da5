"""Augmented copies in token shards."""

import dataclasses

import numpy as np
import pytest
import torch
from counting import Counter, CountingJob, make_songs

from accompgen import audio
from accompgen.config import StageConfig
from accompgen.data import shards, tokenize
from accompgen.data.augment import Augment
from accompgen.data.batches import training_songs
from accompgen.data.songs import read_manifest, write_manifest
from accompgen.data.tokenize_song import Tokenizing

real = Counter.encode
AUGMENT = Augment(copies=2, pitch_probability=0.0, speed_probability=0.0, gain_probability=1.0)


@pytest.fixture
def songs(tmp_path, monkeypatch):
    """Four songs of 0.4 s, the last for validation, the second separated."""
    monkeypatch.setattr(tokenize, "Job", CountingJob)
    manifest, *tokenizers = make_songs(tmp_path, 4)
    listed = read_manifest(manifest)
    values = [dict(vars(song)) for song in listed]
    values[3]["split"], values[1]["separated"] = "validation", True
    write_manifest(manifest, [type(listed[0])(**value) for value in values])
    return manifest, *tokenizers


def read(folder):
    store = shards.open_shards(folder)
    entries = {song["id"]: song for shard in store.index["shards"] for song in shard["songs"]}
    return store, {song.id: store.read(song) for song in store.songs}, entries


def test_training_songs_have_copies_and_stay_as_they_are(songs, tmp_path):
    tokenize.tokenize_manifest(*songs, tmp_path / "plain", workers=0)
    done = tokenize.tokenize_manifest(*songs, tmp_path / "out", config=Tokenizing(augment=AUGMENT), workers=0)
    plain, (store, tokens, entries) = read(tmp_path / "plain")[1], read(tmp_path / "out")
    assert list(tokens) == [*(f"s{n}{copy}" for n in range(3) for copy in ("", "+1", "+2")), "s3"]
    assert done["songs"] == 10 and store.index["augment"]["copies"] == 2
    for name, expected in plain.items():
        assert all(np.array_equal(tokens[name][stream], expected[stream]) for stream in expected)
        assert "changes" not in entries[name]
        if name != "s3":
            assert entries[f"{name}+1"]["changes"]["vocal_decibel"] != entries[f"{name}+2"]["changes"]["vocal_decibel"]
            assert not np.array_equal(tokens[f"{name}+1"]["semantic/vocal"], expected["semantic/vocal"])
    assert ["noise_sigma" in entries[f"s{n}+1"]["changes"] for n in range(3)] == [False, True, False]


def test_copies_depend_on_nothing_but_seed_song_and_number(songs, tmp_path):
    settings, other = Tokenizing(augment=AUGMENT, seed=5), Tokenizing(augment=AUGMENT, seed=6)
    tokenize.tokenize_manifest(*songs, tmp_path / "one", settings, workers=0)
    tokenize.tokenize_manifest(*songs, tmp_path / "many", settings, workers=0, shard_minutes=0.01)
    tokenize.tokenize_manifest(*songs, tmp_path / "other", other, workers=0)
    (_, one, a), (_, many, b), (_, _, c) = (read(tmp_path / name) for name in ("one", "many", "other"))
    assert len(list((tmp_path / "many").glob("shard-*"))) == 4 and a == b
    assert all(np.array_equal(one[name][stream], many[name][stream]) for name in one for stream in one[name])
    assert a["s0+1"]["changes"] != c["s0+1"]["changes"]


def test_a_faster_copy_is_shorter_in_every_stream(songs, tmp_path):
    pytest.importorskip("librosa")
    fast = Augment(1, pitch_probability=0.0, speed_probability=1.0, speed=(1.25, 1.25), gain_probability=0.0)
    tokenize.tokenize_manifest(*songs, tmp_path / "out", config=Tokenizing(augment=fast), workers=0)
    _, tokens, entries = read(tmp_path / "out")
    assert (entries["s0"]["blocks"], entries["s0+1"]["blocks"]) == (10, 8)
    assert entries["s0+1"]["changes"] == {"speed": 1.25}
    assert tokens["s0+1"]["semantic/vocal"].shape == tokens["s0+1"]["semantic/all"].shape == (16,)
    assert tokens["s0+1"]["acoustic/all"].shape == (8, 24)


def dominant_hz(wav):
    """Ids [B, T / 320] that all are the frequency with most energy, in Hz."""
    spectrum = torch.fft.rfft(wav * torch.hann_window(wav.shape[-1])).abs()
    return (spectrum.argmax(-1) * 16000 / wav.shape[-1]).round().long()[:, None].repeat(1, wav.shape[-1] // 320)


def test_validation_vocals_are_stored_a_semitone_higher_where_asked_for(songs, tmp_path, monkeypatch):
    pytest.importorskip("librosa")
    tone = np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000, dtype=np.float32)
    audio.write(tmp_path / "3.vocal.wav", 0.5 * tone[None], 16_000)
    audio.write(tmp_path / "3.accompaniment.wav", 0.1 * tone[None], 16_000)
    monkeypatch.setattr(Counter, "encode", lambda self, wav, q=None: dominant_hz(wav) if q is None else real(self, wav, q))
    tokenize.tokenize_manifest(*songs, tmp_path / "plain", workers=0)
    with pytest.raises(shards.ShardError, match="other songs, tokenizers or settings"):
        tokenize.tokenize_manifest(*songs, tmp_path / "plain", config=Tokenizing(transposed_vocals=True), workers=0)
    tokenize.tokenize_manifest(*songs, tmp_path / "out", config=Tokenizing(transposed_vocals=True), workers=0)
    (_, plain, _), (store, tokens, entries) = read(tmp_path / "plain"), read(tmp_path / "out")
    assert [name for name, streams in tokens.items() if shards.TRANSPOSED in streams] == ["s3"]
    assert entries["s3"]["transposed"] == 1.0 and "transposed" not in entries["s0"]
    higher = tokens["s3"].pop(shards.TRANSPOSED)
    assert np.all(tokens["s3"]["semantic/vocal"] == 440) and np.all(np.abs(higher - 440 * 2 ** (1 / 12)) < 3)
    assert higher.shape == (100,) and higher.dtype == np.int16
    assert all(np.array_equal(tokens[name][stream], plain[name][stream]) for name in plain for stream in plain[name])
    assert store.read(store.songs[-1], 10, 5)[shards.TRANSPOSED].shape == (10,)


def test_other_changes_are_another_plan(songs, tmp_path):
    tokenize.tokenize_manifest(*songs, tmp_path / "out", config=Tokenizing(augment=AUGMENT), workers=0)
    with pytest.raises(shards.ShardError, match="other songs, tokenizers or settings"):
        config = Tokenizing(augment=Augment(copies=2, pitch_probability=0.0))
        tokenize.tokenize_manifest(*songs, tmp_path / "out", config, workers=0)


def test_a_song_that_is_called_like_a_copy_is_refused(songs, tmp_path):
    listed = read_manifest(songs[0])
    twin = type(listed[0])(**vars(listed[0]) | {"id": "s0+1"})
    write_manifest(songs[0], [*listed, twin])
    with pytest.raises(shards.ShardError, match=r"there is a song s0\+1, as copy 1 of s0"):
        tokenize.tokenize_manifest(*songs, tmp_path / "out", config=Tokenizing(augment=AUGMENT), workers=0)


def test_the_command_line_reads_the_values_of_an_augmentation(songs, tmp_path, capsys):
    from accompgen.cli import main

    manifest, semantic, acoustic = map(str, songs)
    (tmp_path / "a.toml").write_text("copies = 3\npitch_probability = 0.0\nspeed_probability = 0.0\nnoise_sigma = [0.2, 0.3]\n")
    command = ["tokenize", manifest, "-o", str(tmp_path / "out"), "--semantic-tokenizer", semantic]
    command += ["--acoustic-tokenizer", acoustic, "--workers", "0", "--augment"]
    assert main([*command, str(tmp_path / "a.toml")]) == 0
    assert "songs: 13\n" in capsys.readouterr().out
    assert 0.2 <= read(tmp_path / "out")[2]["s1+3"]["changes"]["noise_sigma"] <= 0.3
    (tmp_path / "b.toml").write_text("copys = 3\n")
    assert main([*command, str(tmp_path / "b.toml")]) == 1
    assert "b.toml: unknown key 'copys'" in capsys.readouterr().err


def test_copies_without_codes_are_for_the_semantic_stage_alone(songs, tmp_path):
    without = dataclasses.replace(AUGMENT, codes=False)
    tokenize.tokenize_manifest(*songs, tmp_path / "out", config=Tokenizing(augment=without), workers=0)
    tokenize.tokenize_manifest(*songs, tmp_path / "with", config=Tokenizing(augment=AUGMENT), workers=0)
    (store, tokens, _), (other, whole, _) = read(tmp_path / "out"), read(tmp_path / "with")
    assert list(tokens) == list(whole) and all("acoustic/all" in song.arrays for song in other.songs)
    for song in store.songs:
        assert ("acoustic/all" in song.arrays) == ("+" not in song.id) == ("acoustic/all" in tokens[song.id])
        assert all(np.array_equal(tokens[song.id][name], whole[song.id][name]) for name in ("semantic/vocal", "semantic/all"))
    of = {stage: {song.id for song in training_songs(store, StageConfig(stage))} for stage in ("semantic", "coarse", "fine")}
    assert of["semantic"] > of["coarse"] == of["fine"] and of["fine"] and not any("+" in name for name in of["fine"])
