"""The MUSDB18 recipe on folders shaped like MUSDB18 and MUSDB18-HQ, made of short synthetic songs."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys

import musdb18_like
import numpy as np
import pytest
import tiny
from musdb18_like import RATE

from accompgen import audio
from accompgen.data.sources import read_sources


def load(root, name):
    """A script of the recipe as a module; scripts import their neighbours by name."""
    path = root / "recipes" / "musdb18" / "local" / f"{name}.py"
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def musdb(tmp_path_factory):
    """{train,test}/<track>/{vocals,drums,bass,other}.wav, stereo at 44.1 kHz, 4 s."""
    data = tmp_path_factory.mktemp("musdb18hq")
    musdb18_like.write_tracks(data / "train", dict.fromkeys(musdb18_like.TRAIN, 0), 4.0)
    musdb18_like.write_tracks(data / "test", musdb18_like.TEST, 4.0)
    return data


def test_the_songs_to_train_on_are_listed(root, musdb, tmp_path, capsys):
    load(root, "songs").main([str(musdb), "-o", str(tmp_path / "songs.jsonl")])
    songs = read_sources(tmp_path / "songs.jsonl")
    assert {song.id: song.split for song in songs} == {
        "A_Band_-_Second_Song": "train",
        "Leaf_-_Summerghost": "validation",
        "Somebody_-_Else_s": "train",
        "Third_Last": "train",
    }
    assert songs[0].tracks.vocal == musdb / "train" / "A Band - Second Song" / "vocals.wav"
    assert [*songs[0].tracks.stems] == ["drums", "bass", "other"]
    assert all(file.is_file() for song in songs for file in song.files) and "MUSDB18" in songs[0].licence
    said = capsys.readouterr()
    assert "4 tracks in train/, stems complete, 2 tracks in test/" in said.out
    assert "train/ holds 4 tracks, the data set 100: taken as a subset" in said.err
    assert "lacks 13 of the validation tracks" in said.err and "Young Griffo - Pennies" in said.err


def test_a_subset_without_validation_tracks_holds_some_out(root, musdb, tmp_path):
    shutil.copytree(musdb, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "train" / "Leaf - Summerghost")
    load(root, "songs").main([str(tmp_path / "data"), "-o", str(tmp_path / "songs.jsonl")])
    assert [song.split for song in read_sources(tmp_path / "songs.jsonl")] == ["validation", "train", "train"]


def test_more_songs_join_the_training_split(root, musdb, tmp_path, capsys):
    more = tmp_path / "more"
    for name in ("a.wav", "test/b.wav", "valid/c.wav"):
        (more / name).parent.mkdir(parents=True, exist_ok=True)
        audio.write(more / name, np.zeros((1, 8000), np.float32), 8000)
    (tmp_path / "pairs.jsonl").write_text(
        '{"vocal": "v.wav", "accompaniment": "a.wav", "id": "pair", "bpm": 90, "tags": ["x"]}'
    )
    out = tmp_path / "work" / "songs.jsonl"
    load(root, "songs").main([str(musdb), "-o", str(out), "--more", str(more), "--more", str(tmp_path / "pairs.jsonl")])
    songs = {song.id: song for song in read_sources(out)}
    assert len(songs) == 7 and songs["a"].split == "train" and songs["valid-c"].split == "validation"
    assert songs["a"].tracks.mixture == more / "a.wav" and songs["pair"].tracks.vocal == tmp_path / "v.wav"
    assert (songs["pair"].bpm, songs["pair"].tags, songs["pair"].split) == (90, ("x",), "train")
    assert f"{more}: 2 more songs; 1 of the split test are left out" in capsys.readouterr().out


def test_what_a_folder_lacks_is_named(root, musdb, tmp_path):
    songs, data = load(root, "songs"), tmp_path / "data"
    shutil.copytree(musdb, data)
    (data / "train" / "Third & Last" / "bass.wav").unlink()
    (data / "train" / "Leaf - Summerghost" / "vocals.wav").unlink()
    (data / "train" / "Leaf - Summerghost" / "other.wav").unlink()
    with pytest.raises(SystemExit, match="train/Leaf - Summerghost: vocals.wav, other.wav\n.*train/Third & Last: bass.wav"):
        songs.main([str(data)])
    shutil.rmtree(data / "train")
    with pytest.raises(SystemExit, match="is no MUSDB18: it has no train/ .found: test."):
        songs.main([str(data)])
    (data / "train").mkdir()
    with pytest.raises(SystemExit, match="train is empty: expected folders with vocals.wav"):
        songs.main([str(data)])
    with pytest.raises(SystemExit, match="no folder at all"):
        songs.main([str(tmp_path / "nowhere")])


def test_clips_are_cut_where_voice_and_band_sound(root, musdb, tmp_path, capsys):
    load(root, "clips").main([str(musdb), "-o", str(tmp_path), "--seconds", "2", "--hop", "1"])
    about = json.loads((tmp_path / "clips.json").read_text())
    first, second = "A_Band_-_First_Song", "B_C_-_Second"
    assert about["names"] == [f"{first}@000.0", f"{first}@001.0", f"{first}@002.0", f"{second}@001.0", f"{second}@002.0"]
    assert (about["seconds"], about["hop"], about["level"], about["share"]) == (2.0, 1.0, -40.0, 0.5)
    vocals, reference, mixture = (
        audio.read(tmp_path / part / f"{first}@001.0.wav")[0] for part in ("vocals", "reference", "mixture")
    )
    whole = audio.read(musdb / "test" / "A Band - First Song" / "vocals.wav")[0]
    assert vocals.shape == (2, 2 * RATE)
    np.testing.assert_allclose(vocals, whole[:, RATE : 3 * RATE], atol=1e-4)
    np.testing.assert_allclose(vocals + reference, mixture, atol=1e-3)
    assert "5 clips of 2 s from 2 tracks" in capsys.readouterr().out


def test_fewer_clips_are_drawn_by_the_seed(root, musdb, tmp_path):
    names = []
    for seed in (0, 0, 1, 2):
        out = tmp_path / str(len(names))
        load(root, "clips").main(
            [str(musdb), "-o", str(out), "--seconds", "1", "--hop", "0.5", "--clips", "3", "--seed", str(seed)]
        )
        names.append(json.loads((out / "clips.json").read_text())["names"])
    assert len(names[0]) == 3 and names[0] == names[1] and len({tuple(n) for n in names}) > 1


def test_stem_mp4_is_read_stream_by_stream(root, musdb, tmp_path):
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    songs = load(root, "songs")
    tracks = sys.modules["tracks"]
    folder = musdb / "test" / "A Band - First Song"
    parts, _ = tracks.read_track(folder)
    audio.write(tmp_path / "mixture.wav", parts["mixture"], RATE)
    files = [tmp_path / "mixture.wav", *(folder / f"{stem}.wav" for stem in ("drums", "bass", "other", "vocals"))]
    target = tmp_path / "test" / "A song.stem.mp4"
    target.parent.mkdir()
    inputs = [argument for file in files for argument in ("-i", file)]
    maps = [argument for i in range(5) for argument in ("-map", f"{i}:a")]
    subprocess.run(["ffmpeg", "-v", "error", *inputs, *maps, "-c:a", "aac", "-b:a", "192k", target], check=True)
    assert list(tracks.find_tracks(tmp_path, "test")) == ["A song"]
    read, rate = tracks.read_track(target)
    assert rate == RATE
    for part, wav in parts.items():
        length = min(wav.shape[1], read[part].shape[1])
        assert abs(wav.shape[1] - length) < 4096
        assert np.corrcoef(wav[0, :length], read[part][0, :length])[0, 1] > 0.9, part
    lines = songs.own_songs({"A song": target, "B": folder}, tmp_path / "decoded")  # for training: two files, one gain
    band, rate = audio.read(lines[0]["tracks"]["accompaniment"])
    assert rate == RATE and lines[0]["id"] == "A_song" and [line["split"] for line in lines] == ["validation", "train"]
    gain = np.abs(audio.read(lines[0]["tracks"]["vocal"])[0]).max() / np.abs(read["vocals"]).max()
    np.testing.assert_allclose(band, gain * read["reference"], atol=2e-4)


def test_other_folders_are_refused(root, tmp_path):
    with pytest.raises(SystemExit, match="is no MUSDB18"):
        load(root, "clips").main([str(tmp_path), "-o", str(tmp_path / "out")])


def test_separation_without_demucs_says_what_to_install(load_tools, tmp_path, monkeypatch):
    audio.write(tmp_path / "a.wav", np.zeros((1, 8000), np.float32), 16000)
    monkeypatch.setitem(sys.modules, "demucs", None)
    with pytest.raises(SystemExit, match="accompgen\\[separate\\]"):
        load_tools("separate").main([str(tmp_path), "-o", str(tmp_path / "out")])


def test_every_mixture_is_separated_once(load_tools, tmp_path, monkeypatch):
    module = load_tools("separate")

    class Separator:
        rate = 8000

        def split(self, wav, rate):
            assert rate == 16000
            return 0.5 * wav[:, ::2], 0.5 * wav[:, ::2]

    monkeypatch.setattr(module, "load_separator", lambda model, device: Separator())
    sound = 0.4 * np.sin(np.arange(16000) / 50).astype(np.float32)[None]
    for name in ("a", "b"):
        audio.write(tmp_path / f"{name}.wav", sound, 16000, "PCM_16")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.wav").write_bytes(b"made before")
    module.main([str(tmp_path), "-o", str(tmp_path / "out")])
    voice, rate = audio.read(tmp_path / "out" / "a.wav")
    assert rate == 8000
    np.testing.assert_allclose(voice, 0.5 * sound[:, ::2], atol=1e-4)
    assert (tmp_path / "out" / "b.wav").read_bytes() == b"made before"


@pytest.mark.skipif("CI" in os.environ, reason="continuous integration runs the recipe as a whole: make recipes")
def test_one_command_makes_the_whole_table(root, musdb, tmp_path):
    """Everything but the data set and the published weights: clips, generation, baselines, evaluation, table."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    pytest.importorskip("librosa", reason="the evaluation needs librosa: pip install 'accompgen[eval]'")
    pytest.importorskip("mir_eval", reason="the evaluation needs mir_eval: pip install 'accompgen[eval]'")
    checkpoint = tiny.make_checkpoint(tmp_path / "checkpoint")
    values = {
        "DATA": musdb, "SCORED": checkpoint, "EMBEDDING": checkpoint, "WORK": tmp_path / "work", "PYTHON": sys.executable,
        "SECONDS": "1", "HOP": "1", "SEPARATE": "no", "DEVICE": "cpu", "CACHE": tmp_path / "cache",
    }  # fmt: skip
    command = ["make", "-C", root / "recipes" / "musdb18", "evaluate", *(f"{name}={value}" for name, value in values.items())]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    scores = tmp_path / "work" / "scores" / "checkpoint"
    results = json.loads((scores / "evaluation" / "results.json").read_text())
    assert list(results["rows"]) == "isolated truth codec shuffled retrieval random silence click noise".split()
    assert results["rows"]["truth"]["fad"]["value"] == pytest.approx(0, abs=1e-6)
    assert results["rows"]["click"]["beat_f1"]["value"] > results["rows"]["noise"]["beat_f1"]["value"]
    text = (scores / "table.md").read_text()
    assert "Clips: 1 s every 1 s" in text and "No row of separated vocals" in text and "| isolated | 6 |" in text
    assert "2604.09054v4" in text and (scores / "evaluation" / "report.html").is_file()
