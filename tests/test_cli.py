"""The command line: what it prints where, its exit status, its options, and that nothing is left half-done."""

import argparse
import errno
import importlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny import BINS, COARSE, FINE, VOCAB, sing

import accompgen
from accompgen import audio
from accompgen.cli import main
from accompgen.config import ConfigError
from accompgen.data.tokenize_song import Tokenizing
from accompgen.generation import pipeline
from accompgen.generation.settings import sampling_of
from accompgen.generation.song import parts_of
from accompgen.stages import STEMS
from accompgen.tokens.files import decode_file, encode_file
from accompgen.training import decoder
from accompgen.verbs.generate_options import per_stage
from accompgen.verbs.shared import out_path


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return pipeline.load(tiny_checkpoint, "cpu")


@pytest.fixture
def generate(model, tiny_checkpoint, monkeypatch):
    """`accompgen generate` with the tiny checkpoint, loaded once for all tests."""
    monkeypatch.setattr(pipeline, "load", lambda *_, **__: model)
    return lambda *arguments: main(["generate", "--checkpoint", str(tiny_checkpoint), *map(str, arguments)])


@pytest.fixture
def vocal(tmp_path):
    path = tmp_path / "in" / "voice.wav"
    path.parent.mkdir()
    audio.write(path, sing(0.3), 44_100)
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_help_answers_at_once():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "accompgen", "--help"], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # time of the processor, not of a busy machine
    assert done.returncode == 0 and "generate" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


@pytest.mark.parametrize(
    "verb",
    "generate chart encode decode synthesize prepare tokenize train export evaluate baselines fetch info".split(),
)
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as exit:
        main([verb, "--help"])
    assert exit.value.code == 0 and len(capsys.readouterr().out) > 100


def test_generate_prints_the_paths_it_wrote(generate, vocal, tmp_path, capsys):
    assert generate(vocal, "-o", tmp_path / "out", "--seed", 5) == 0
    captured = capsys.readouterr()
    written = ["voice.accompaniment.wav", "voice.json", "voice.mix.wav"]
    assert names(tmp_path / "out") == written
    assert sorted(captured.out.splitlines()) == [str(tmp_path / "out" / name) for name in written]
    assert "0.3 s of sound" in captured.err
    assert json.loads((tmp_path / "out" / "voice.json").read_text())["seed"] == 5


def test_the_same_command_gives_the_same_sound(generate, vocal, tmp_path):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert generate(vocal, "-o", tmp_path / folder, "--seed", seed, "--quiet") == 0
    a, b, c = ((tmp_path / folder / "voice.mix.wav").read_bytes() for folder in "abc")
    assert a == b != c


@pytest.mark.parametrize("options, name", [([], "band"), (["--stream"], "pocket"), (["--stream", "--checkpoint", "x"], "x")])
def test_a_whole_song_and_a_stream_have_a_checkpoint_each(root, vocal, tmp_path, monkeypatch, options, name):
    asked = []

    def load(checkpoint, *_):
        asked.append(checkpoint)
        raise ValueError("seen enough")

    monkeypatch.setattr("accompgen.generation.single_stage.load_any", load)
    monkeypatch.setattr("accompgen.generation.pipeline.load", load)
    monkeypatch.setattr("accompgen.checkpoint.find_checkpoint", lambda _: root / "checkpoints" / "pocket")
    assert main(["generate", str(vocal), "-o", str(tmp_path), *options]) == 1
    assert asked == [name]


@pytest.mark.parametrize("options, name", [([], "band"), (["--stream"], "pocket")])
def test_help_shows_the_settings_of_the_checkpoint_that_would_play(options, name, capsys):
    with pytest.raises(SystemExit):
        main(["generate", *options, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    used = {stage: sampling.temperature for stage, sampling in sampling_of(name).items()}
    assert f"(default: {', '.join(f'{stage}={value:g}' for stage, value in used.items())})" in shown


def test_quiet_says_nothing_on_stderr(generate, vocal, tmp_path, capsys):
    assert generate(vocal, "-o", tmp_path / "out", "--quiet") == 0
    captured = capsys.readouterr()
    assert captured.err == "" and len(captured.out.splitlines()) == 3


def test_options_reach_the_song(generate, vocal, tmp_path):
    options = ["--guidance", "2", "--temperature", "semantic=1.1,coarse=0.8", "--top-k", "10,fine=3", "--top-p", "0.9"]
    options += ["--listening", "semantic=0.5", "--consonance", "semantic=0", "--pulse", "0", "--balance", "-9"]
    options += ["--noise", "0.02", "--format", "flac", "--bit-depth", "16"]
    assert generate(vocal, "-o", tmp_path, *options) == 0
    settings = json.loads((tmp_path / "voice.json").read_text())["settings"]
    assert [settings[stage]["temperature"] for stage in ("semantic", "coarse", "fine")] == [1.1, 0.8, 0.9]
    assert [settings[stage]["top_k"] for stage in ("semantic", "coarse", "fine")] == [10, 10, 3]
    assert {settings[stage]["guidance"] for stage in ("semantic", "coarse", "fine")} == {2.0}
    assert [settings[stage]["listening"] for stage in ("semantic", "coarse")] == [0.5, 0.0]
    assert settings["fine"]["top_p"] == 0.9 and settings["balance_lu"] == -9.0 and settings["noise"] == 0.02
    wav, rate = audio.read(tmp_path / "voice.mix.flac")
    assert (wav.shape, rate) == ((2, 13_230), 44_100)
    assert np.array_equal(wav, np.round(wav * 32_768) / 32_768)  # 16 bits


def test_existing_files_are_kept_skipped_or_forced(generate, vocal, tmp_path, capsys):
    assert generate(vocal, "-o", tmp_path / "out") == 0
    mix = tmp_path / "out" / "voice.mix.wav"
    mix.write_text("mine")
    assert generate(vocal, "-o", tmp_path / "out") == 1 and mix.read_text() == "mine"
    assert "exists" in capsys.readouterr().err
    assert generate(vocal, "-o", tmp_path / "out", "--skip-existing") == 0 and mix.read_text() == "mine"
    captured = capsys.readouterr()
    assert "skipped" in captured.err and captured.out == ""
    assert generate(vocal, "-o", tmp_path / "out", "--force") == 0 and mix.stat().st_size > 1000


def test_one_vocal_that_fails_does_not_stop_the_others(generate, vocal, tmp_path, capsys):
    silent, second = tmp_path / "silent.wav", tmp_path / "second.wav"
    audio.write(silent, np.zeros((1, 44_100), np.float32), 44_100)
    audio.write(second, sing(0.2), 8_000)
    assert generate(vocal, silent, second, "-o", tmp_path / "out", "--quiet") == 1
    captured = capsys.readouterr()
    assert [line.partition(":")[0] for line in captured.err.splitlines()] == ["accompgen"] and "silent.wav" in captured.err
    assert len(captured.out.splitlines()) == 6 and not (tmp_path / "out" / "silent.mix.wav").exists()


def test_ctrl_c_ends_with_130_and_leaves_nothing(generate, vocal, tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("accompgen.files.os.replace", interrupt)  # while the files are being written
    assert generate(vocal, "-o", tmp_path / "out", "--quiet") == 130
    assert capsys.readouterr().err == "accompgen: interrupted; what was finished is kept, nothing is half-written\n"
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize("arguments, message", [
    (["generate"], "give recordings (VOCAL...), or --manifest with many of them"),
    (["sing", "a.wav"], "invalid choice"),
    ([], "required: VERB"),
    (["generate", "a.wav", "--temperature", "hot"], "--temperature: invalid number value: 'hot'"),
    (["generate", "a.wav", "--format", "aac"], "invalid choice: 'aac'"),
    (["generate", "a.wav", "--force", "--skip-existing"], "not allowed with"),
    (["generate", "a.wav", "--stream", "--format", "mp3"], "--stream writes wav of 16 or 24 bits"),
    (["generate", "x/a.wav", "y/a.flac"], "x/a.wav and y/a.flac would write the same files"),
    (["generate", "a.wav", "--stream", "--with", "b.wav"], "it does not go with --with\n"),
    (["generate", "a.wav", "--stream", "--bpm", "90"], "it does not go with --bpm\n"),
    (
        "generate a.wav --stream --click --count-in 1 --chords C --stems x --prompt y".split(),
        "it does not go with --stems, --prompt, --click, --chords, --count-in\n",
    ),
])  # fmt: skip
def test_wrong_usage_exits_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    captured = capsys.readouterr()
    assert exit.value.code == 2 and message in captured.err and captured.out == ""


@pytest.mark.parametrize("command, takes", [
    ("generate v.wav", "wav, flac or mp3, or a folder"),
    ("chart v.wav", "a folder"),
    ("encode v.wav", "a folder"),
    ("decode v.safetensors", "a folder"),
    ("project v.json", "a folder"),
    ("synthesize --count 1", "a folder"),
    ("prepare songs", "a folder"),
    ("tokenize m.jsonl --semantic-tokenizer s --acoustic-tokenizer a", "a folder"),
    ("adopt encodec x", "a folder"),
    ("export run", "a folder"),
    ("evaluate --system s --vocals v", "a folder"),
    ("baselines --vocals v --reference r", "a folder"),
])  # fmt: skip
def test_a_file_is_no_folder_to_write_into(command, takes, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit:
        main([*command.split(), "-o", str(tmp_path / "new" / "mix.ogg")])
    said = capsys.readouterr().err
    assert exit.value.code == 2 and f"mix.ogg ends like a file; -o takes {takes}\n" in said
    assert names(tmp_path) == []


def test_which_paths_are_taken_for_files(tmp_path):
    (tmp_path / "old.wav").mkdir()
    for name in ("old.wav", "new", "v1.5", "song.project", "."):
        assert out_path(str(tmp_path / name)) == tmp_path / name
    assert out_path(str(tmp_path / "new.WAV"), ("wav",)) == tmp_path / "new.WAV"
    (tmp_path / "there.lab").write_text("mine")
    for name in ("new.wav", "new.MID", "there.lab", "x.safetensors"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"{name} ends like a file"):
            out_path(str(tmp_path / name))


def test_help_names_the_files_of_every_checkpoint(capsys):
    stems, endings = parts_of(STEMS, has_chart=True)
    with pytest.raises(SystemExit):
        main(["generate", "--help"])
    described = " ".join(capsys.readouterr().out.split()).partition("positional arguments")[0]
    for ending in (".accompaniment.wav", ".mix.wav", ".json", f".{stems[0]}.wav", *endings):
        assert f"<name>{ending}" in described


@pytest.mark.parametrize("options, message", [
    (["--prompt", "soft"], "'tiny' does not read texts; leave --prompt out"),
    (["--bpm", "90"], "hears the voice alone and plays without a chart; leave --bpm out"),
    (["--click"], "hears the voice alone, and neither a click nor beats; leave --click out"),
    (["--click", "--bpm", "90"], "neither a click nor beats; leave --click, --bpm out"),
    (["--stems", "drums"], "no stem 'drums'"),
    (["--format", "flac", "--bit-depth", "32f"], "flac has no 32-bit float"),
    (["--format", "mp3", "--rate", "96000"], "mp3 has no sample rate of 96000 Hz"),
])  # fmt: skip
def test_what_cannot_be_for_any_vocal_is_said_once(
    options, message, generate, vocal, tmp_path, capsys
):
    damaged = tmp_path / "damaged.wav"
    damaged.write_text("no sound")
    assert generate(damaged, vocal, "-o", tmp_path / "out", *options) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not (tmp_path / "out").exists()


def test_where_nothing_can_be_written_is_said_once(generate, vocal, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert generate(vocal, vocal.with_name("other.wav"), "-o", tmp_path / "out") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cannot write into {tmp_path / 'out'}" in line


def test_others_and_a_stream_are_refused_by_name(
    generate, band_checkpoint, vocal, tmp_path, capsys
):
    assert generate(vocal, "-o", tmp_path / "out", "--with", vocal) == 1
    assert "'tiny' hears the voice alone; leave --with out" in capsys.readouterr().err
    vocals = [str(vocal), str(vocal.with_name("other.wav"))]
    call = ["generate", *vocals, "-o", str(tmp_path / "out"), "--checkpoint", str(band_checkpoint)]
    assert main([*call, "--stream"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "'band' makes drums, bass, harmony one after the other" in line and "--stream is" in line


def test_a_fault_of_ours_keeps_its_traceback(generate, vocal, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "read_vocal", lambda path: {}["fault"])
    with pytest.raises(KeyError):
        generate(vocal, "-o", tmp_path / "out")


def test_encode_and_decode_are_a_round_trip_through_one_tokenizer(tiny_checkpoint, model, vocal, tmp_path, capsys):
    from safetensors.numpy import load_file

    common = ["--checkpoint", str(tiny_checkpoint), "--device", "cpu"]
    assert main(["encode", str(vocal), "-o", str(tmp_path / "t"), *common]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "t" / "voice.safetensors")
    codes = load_file(tmp_path / "t" / "voice.safetensors")["codes"]
    assert codes.shape == (COARSE + FINE, 23) and codes.max() < BINS
    assert main(["decode", str(tmp_path / "t" / "voice.safetensors"), "-o", str(tmp_path / "s"), *common]) == 0
    wav, rate = audio.read(tmp_path / "s" / "voice.wav")
    assert (wav.shape, rate) == ((2, 14_400), 48_000)
    expected = model.decoder.decode(torch.from_numpy(codes)[None].long())[0, :, :14_400].numpy()
    assert np.abs(wav - expected).max() < 1e-6 or audio.peak(expected) > 1
    assert main(["encode", str(vocal), "-o", str(tmp_path / "u"), "--tokenizer", "semantic", *common]) == 0
    units = load_file(tmp_path / "u" / "voice.safetensors")["units"]
    assert units.shape == (15,) and units.max() < VOCAB
    capsys.readouterr()
    assert main(["decode", str(tmp_path / "u" / "voice.safetensors"), "-o", str(tmp_path / "s2"), *common]) == 1
    assert "no sound can be made" in capsys.readouterr().err and names(tmp_path / "s2") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--codebooks", "99"], "99 codebooks asked for; this codec has 1 to"),
        (["--codebooks", "1", "--tokenizer", "semantic"], "semantic units have one"),
    ],
)
def test_codebooks_that_a_tokenizer_lacks_are_refused_once(
    tiny_checkpoint, vocal, tmp_path, capsys, options, message
):
    shutil.copy(vocal, tmp_path / "another.wav")
    sounds = [str(vocal), str(tmp_path / "another.wav")]
    out = tmp_path / "t"
    place = ["-o", str(out), "--checkpoint", str(tiny_checkpoint), "--device", "cpu"]
    assert main(["encode", *sounds, *options, *place]) == 1
    assert capsys.readouterr().err.count(message) == 1 and not out.exists()


@pytest.mark.parametrize("peak, gain", [(0.5, 1.0), (1.7, audio.PEAK_LIMIT / 1.7)])
def test_decode_writes_a_song_piece_by_piece(model, vocal, tmp_path, peak, gain):
    """In memory is one piece of it, and how loud all of it may be its last one says."""
    encode_file(vocal, tmp_path, model.tokenizer_of("acoustic"))
    pieces = [torch.full((1, 2, 4800), value) for value in (0.25, -0.25, peak)]

    class Decoder:
        sample_rate = 48_000

        def pieces(self, codes, seed):
            assert codes.shape == (1, COARSE + FINE, 23) and seed == 3
            return iter(pieces)

    path = decode_file(tmp_path / "voice.safetensors", tmp_path / "out", Decoder(), seed=3)
    wav, rate = audio.read(path)
    assert rate == 48_000 and wav.shape == (2, 14_400)
    expected = gain * torch.cat(pieces, dim=-1)[0].numpy()
    np.testing.assert_allclose(wav, expected, atol=1e-6)
    assert names(tmp_path / "out") == ["voice.wav"]


def test_what_cannot_be_decoded_leaves_nothing(model, vocal, tmp_path):
    encode_file(vocal, tmp_path, model.tokenizer_of("acoustic"))

    class Decoder:
        sample_rate = 48_000

        def pieces(self, codes, seed):
            yield torch.zeros(1, 2, 4800)
            raise ValueError("no more of it")

    with pytest.raises(ValueError, match="no more of it"):
        decode_file(tmp_path / "voice.safetensors", tmp_path / "out", Decoder())
    assert names(tmp_path / "out") == []


def test_decode_refuses_what_encode_did_not_write(tiny_checkpoint, vocal, tmp_path, capsys):
    common = ["--checkpoint", str(tiny_checkpoint), "-o", str(tmp_path / "s")]
    weights = tiny_checkpoint / "fine" / "model.safetensors"
    for wrong, message in ((vocal, "not readable as safetensors"), (weights, "its format is None"), ("no.file", "no.file")):
        assert main(["decode", str(wrong), *common]) == 1
        error = capsys.readouterr().err
        assert message in error and len(error.splitlines()) == 1
    assert names(tmp_path / "s") == []


@pytest.fixture
def recorded(monkeypatch):
    """Stand-ins for functions of the package that tell what they were called with."""
    calls = []

    def record(where, result=None):
        module, name = where.rsplit(".", 1)

        def stand_in(*positional, **named):
            calls.append((name, positional, named))
            return result

        monkeypatch.setattr(importlib.import_module(f"accompgen.{module}"), name, stand_in)

    return calls, record


def test_train_finds_the_trainer_of_a_configuration(recorded, root, tmp_path, capsys):
    calls, record = recorded
    record("training.loop.train_file", {"step": 3})
    record("training.hubert.train")
    record("training.codec.run", {"step": 4})
    for part in ("semantic", "coarse", "fine", "hubert", "codec"):
        path = root / "recipes" / "synthetic" / "conf" / "tiny" / f"{part}.toml"
        assert main(["train", str(path), "--run", str(tmp_path / part), "--set", "seed=5"]) == 0
    assert [name for name, _, _ in calls] == ["train_file"] * 3 + ["train", "run"]
    assert calls[0][1] == (root / "recipes/synthetic/conf/tiny/semantic.toml", ["seed=5"], tmp_path / "semantic")
    assert calls[3][1][0].seed == 5 and calls[4][1][0]["seed"] == 5 and calls[4][1][1] == tmp_path / "codec"
    assert capsys.readouterr().out.splitlines()[:2] == ["step: 3", str(tmp_path / "semantic")]
    assert all("pause_after_minutes" not in named for _, _, named in calls)
    for part in ("fine", "hubert", "codec"):
        path = root / "recipes" / "synthetic" / "conf" / "tiny" / f"{part}.toml"
        assert main(["train", str(path), "--run", str(tmp_path / part), "--pause", "9.5"]) == 0
    assert [named for _, _, named in calls[5:]] == [{"pause_after_minutes": 9.5}] * 3
    with pytest.raises(SystemExit):
        main(["train", str(path), "--pause", "0"])


def test_train_knows_a_beat_tracker(recorded, root, tmp_path, capsys):
    calls, record = recorded
    record("training.beat_tracker.train", {"step": 5})
    path = root / "recipes" / "synthetic" / "conf" / "tiny" / "beat_tracker.toml"
    assert main(["train", str(path), "--run", str(tmp_path / "run"), "--set", "seed=5", "--pause", "9.5"]) == 0
    ((name, (config, run_dir), named),) = calls
    assert name == "train" and config.seed == 5 and config.masking == 0.2 and run_dir == tmp_path / "run"
    assert named == {"pause_after_minutes": 9.5}
    assert capsys.readouterr().out.splitlines() == ["step: 5", str(tmp_path / "run")]
    lines = [line for line in path.read_text().splitlines() if not line.startswith("manifest")]
    (tmp_path / "beats.toml").write_text("masking = 0.1\n" + "\n".join(lines))
    assert main(["train", str(tmp_path / "beats.toml")]) == 1
    assert "'manifest' is missing; BeatTrainConfig needs it" in capsys.readouterr().err


@pytest.mark.parametrize("line, says", [("", "kind is missing"), ('kind = "stag"', "kind is 'stag'")])
def test_train_is_told_what_to_train(line, says, tmp_path, capsys):
    (tmp_path / "a.toml").write_text(f"{line}\nsteps = 3\n")
    assert main(["train", str(tmp_path / "a.toml")]) == 1
    error = capsys.readouterr().err
    assert says in error and "a.toml" in error and '"beat tracker"' in error


@pytest.mark.parametrize("stage", ["semantic", "coarse", "fine"])
def test_a_typo_is_told_of_the_kind_that_the_file_says(stage, root, tmp_path, capsys):
    text = (root / "recipes" / "synthetic" / "conf" / "tiny" / f"{stage}.toml").read_text()
    (tmp_path / "a.toml").write_text(f"stepz = 3\n{text}")
    assert main(["train", str(tmp_path / "a.toml"), "--run", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert "a.toml: unknown key 'stepz'; TrainConfig knows" in error and "Codec" not in error
    assert not (tmp_path / "run").exists()


def test_a_configuration_of_another_kind_is_refused(root):
    path = root / "recipes" / "synthetic" / "conf" / "tiny" / "codec.toml"
    with pytest.raises(ConfigError, match="kind is 'acoustic tokenizer'; expected 'decoder'"):
        decoder.read_config(path)


def test_data_verbs_pass_on_what_they_were_given(recorded, tmp_path, capsys):
    calls, record = recorded
    record("data.synthetic.make.make_songs", "songs/manifest.jsonl")
    record("data.prepare.prepare", {})
    record("data.prepare.table", "songs 2 of 3 kept")
    record("data.tokenize.tokenize_manifest", {"songs": 2, "hours": 0.1, "left_out": {}})
    record("training.export.export_checkpoint")
    record("tokens.fetch.fetch", "cache/file.pt")
    singers = ["--voices", "slt, lp", "--hts-voices", "hts"]
    command = "synthesize -o songs --count 3 --validation 1 --test 2 --seconds 8 --seed 4 --workers 1 --quiet".split()
    assert main([*command, *singers]) == 0
    assert main("prepare found -o pairs --set segment_seconds=20.0 --separator htdemucs --executor ray --quiet".split()) == 0
    assert main("tokenize m.jsonl -o shards --semantic-tokenizer s --acoustic-tokenizer a --workers 1".split()) == 0
    about = ["--about", "name=small", "--about", "data=x = y"]
    assert main(["export", "a", "b", "-o", "checkpoint", *about, "--songs", "m", "--force"]) == 0
    assert main(["fetch", "hubert-base", "--quiet"]) == 0
    assert main("synthesize -o songs --count 1 --no-stems --soundfont a.sf2 --soundfont b.sf2 --quiet".split()) == 0
    songs, pairs, _, shards, checkpoint, fetched, other = calls
    assert songs[2]["stems"] and not other[2]["stems"]
    assert songs[2]["soundfonts"] == [] and other[2]["soundfonts"] == [Path("a.sf2"), Path("b.sf2")]
    assert songs[1] == (Path("songs"), 3, 4) and (songs[2]["validation"], songs[2]["test"], songs[2]["seconds"]) == (1, 2, 8.0)
    assert (other[2]["validation"], other[2]["test"]) == (None, None)  # as many as go with the count
    assert songs[2]["voices"] == ["slt", "lp"] and songs[2]["hts_voices"] == Path("hts")
    assert pairs[1][:2] == (Path("found"), Path("pairs")) and pairs[1][2].segment_seconds == 20.0
    assert (pairs[2]["separator"], pairs[2]["executor"], pairs[2]["workers"]) == ("htdemucs", "ray", None)
    assert shards[1] == (Path("m.jsonl"), Path("s"), Path("a"), Path("shards"), Tokenizing()) and shards[2]["workers"] == 1
    assert checkpoint[1] == ([Path("a"), Path("b")], Path("checkpoint"), {"name": "small", "data": "x = y"}, "bfloat16")
    assert checkpoint[2] == {"force": True, "unfinished": False, "songs": Path("m"), "base": None}
    assert fetched[1][0] == "hubert-base"
    assert capsys.readouterr().out.split("\n")[:3] == ["songs/manifest.jsonl", "songs 2 of 3 kept", "songs: 2"]


def test_songs_that_tokenize_left_out_are_told_and_counted_as_a_failure(recorded, capsys):
    _, record = recorded
    record("data.tokenize.tokenize_manifest", {"songs": 2, "left_out": {"one": "one: lost.wav: no such file"}})
    assert main("tokenize m.jsonl -o shards --semantic-tokenizer s --acoustic-tokenizer a".split()) == 1
    captured = capsys.readouterr()
    assert captured.out == "songs: 2\n" and captured.err == "accompgen: one: lost.wav: no such file\n"


def test_info_names_versions_devices_and_checkpoints(tiny_checkpoint, monkeypatch, capsys):
    monkeypatch.setenv("ACCOMPGEN_CHECKPOINTS", str(tiny_checkpoint.parent))
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for part in ("torch: 2", "cpu:", "tiny:", str(tiny_checkpoint), "every hash as it should be", "cache:"):
        assert part in out


def test_values_for_stages_are_read(generate, tmp_path, capsys):
    read = per_stage(float)
    assert read("0.9") == {None: 0.9}
    assert read("fine=0.5") == {"fine": 0.5}
    assert read("1, semantic = 0") == {None: 1.0, "semantic": 0.0}
    assert generate(tmp_path / "a.wav", "--top-k", "fin=3") == 1
    assert "'fin' is no stage of" in (said := capsys.readouterr().err) and "semantic, coarse, fine" in said


def test_streaming_writes_the_same_song_and_lets_it_be_heard_before(generate, vocal, tmp_path, monkeypatch, capsys):
    from accompgen.generation.song import GrowingWav

    grown, add = [], GrowingWav.add

    def add_and_read(self, piece):
        add(self, piece)
        grown.append(soundfile.info(tmp_path / "out" / "voice.accompaniment.part.wav").frames)

    monkeypatch.setattr(GrowingWav, "add", add_and_read)
    assert generate(vocal, "-o", tmp_path / "whole") == 0
    capsys.readouterr()
    assert generate(vocal, "-o", tmp_path / "out", "--stream") == 0
    captured = capsys.readouterr()
    assert names(tmp_path / "out") == ["voice.accompaniment.wav", "voice.json", "voice.mix.wav"]
    assert captured.err.count(" s ready after ") == len(grown) == 2 and grown[0] < grown[1] == 13_230
    whole, streamed = (audio.read(tmp_path / folder / "voice.mix.wav")[0] for folder in ("whole", "out"))
    assert np.abs(whole - streamed).max() < 1e-4 and len(captured.out.splitlines()) == 3


class SmallDisk(io.FileIO):
    """A file on a disk that is full after a thousand bytes, and stays so: closing the file fails as well."""

    full = False

    def write(self, data):
        self.full = self.full or self.tell() + len(data) > 1_000
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("why, status", [("interrupted", 130), ("full disk", 1)])
def test_a_stream_that_breaks_off_leaves_what_was_there(generate, vocal, tmp_path, monkeypatch, capsys, why, status):
    from accompgen.generation import song

    add, calls = song.GrowingWav.add, []

    def interrupt(self, piece):
        add(self, piece)
        calls.append(piece)
        if len(calls) == 2:
            raise KeyboardInterrupt

    if why == "interrupted":
        monkeypatch.setattr(song.GrowingWav, "add", interrupt)
    else:
        monkeypatch.setattr(song, "open", lambda path, _: io.BufferedWriter(SmallDisk(path, "w")), raising=False)
    assert generate(vocal, "-o", tmp_path / "new", "--stream") == status and names(tmp_path / "new") == []
    if why == "full disk":
        assert "new/voice.accompaniment.part.wav: No space left on device; make room" in capsys.readouterr().err
    calls.clear()
    earlier = {f"voice.{part}": part.encode() for part in ("accompaniment.wav", "json", "mix.wav")}
    (tmp_path / "old").mkdir()
    for name, content in earlier.items():
        (tmp_path / "old" / name).write_bytes(content)
    assert generate(vocal, "-o", tmp_path / "old", "--stream", "--force") == status
    assert {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()} == earlier


@pytest.mark.parametrize(
    "folder, encoding, printed", [("Grün", "ascii", rb"Gr\xfcn"), (os.fsdecode(b"caf\xe9"), "utf-8", b"caf\xe9")]
)
def test_a_name_that_stdout_cannot_show_is_no_failure(generate, vocal, tmp_path, monkeypatch, folder, encoding, printed):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding=encoding))
    assert generate(vocal, "-o", tmp_path / folder, "--quiet") == 0
    sys.stdout.flush()
    assert names(tmp_path / folder) == ["voice.accompaniment.wav", "voice.json", "voice.mix.wav"]
    assert shown.getvalue().count(printed) == 3


def test_a_file_as_out_gets_the_mix_alone(generate, vocal, tmp_path, capsys):
    target = tmp_path / "new" / "song.flac"
    assert generate(vocal, "-o", target) == 0 and names(target.parent) == ["song.flac"]
    before = target.read_bytes()
    assert generate(vocal, "-o", target, "--seed", "2") == 1 and target.read_bytes() == before
    assert generate(vocal, "-o", tmp_path / "folder") == 0
    assert np.abs(audio.read(target)[0] - audio.read(tmp_path / "folder" / "voice.mix.wav")[0]).max() < 1e-6
    with pytest.raises(SystemExit):
        generate(vocal, vocal.with_name("other.wav"), "-o", tmp_path / "two.wav")


def test_loudness_is_reached_or_said_to_be_out_of_reach(generate, vocal, tmp_path, capsys):
    for asked in ("-35", "-0.5"):
        assert generate(vocal, "-o", tmp_path, "--loudness", asked, "--force") == 0
        wav, rate = audio.read(tmp_path / "voice.mix.wav")
        levels = json.loads((tmp_path / "voice.json").read_text())["levels"]
        assert levels["mix_lufs"] == pytest.approx(audio.loudness(wav, rate), abs=0.05)
        assert audio.peak(wav) <= audio.PEAK_LIMIT + 1e-6
        assert (abs(levels["mix_lufs"] + 35) < 0.1) == (asked == "-35")
    assert "instead of -0.5" in capsys.readouterr().err


def test_a_users_own_part_file_is_kept(generate, vocal, tmp_path):
    mine = tmp_path / "voice.accompaniment.part.wav"
    mine.write_text("mine")
    assert generate(vocal, "-o", tmp_path, "--stream") == 1
    assert names(tmp_path) == ["in", mine.name] and mine.read_text() == "mine"


@pytest.mark.parametrize("words, says", [(["--tempo", "9"], "no --tempo"), (["--temprature", "1"], "mean --temperature")])
def test_an_unknown_option_gets_the_verbs_own_usage(words, says, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["generate", "x.wav", *words])
    said = capsys.readouterr().err
    assert exit.value.code == 2 and "usage: accompgen generate" in said and says in said


def test_a_reader_that_goes_is_no_error():
    code = "import sys; from accompgen.cli import main; sys.exit(main(['generate', '--help']))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_song_shows_itself(model):
    song = model.accompany((sing(0.3), 44_100), sampling={"semantic": accompgen.Sampling(temperature=0.8)})
    assert repr(song) == "Song('song', 0.3 s, mono, 44100 Hz, seed 0)" or "stereo" in repr(song)
    assert song._repr_html_().count("<audio controls") == 2
    assert song.report["settings"]["semantic"]["temperature"] == 0.8
    with pytest.raises(TypeError, match="pair"):
        accompgen.accompany(sing(0.3), 44_100)
    with pytest.raises(ValueError, match="choose one of 16, 24, 32f"):
        song.save("nowhere", bit_depth=20)
