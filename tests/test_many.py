"""Accompaniments to many vocals: as by single calls, resumable, and one that fails does not stop the others."""

import json
import shutil

import numpy as np
import pytest
from tiny import sing

from accompgen import audio
from accompgen.data.executors import run_tasks
from accompgen.generation import pipeline
from accompgen.generation.many import GenerateJob
from accompgen.generation.sampling import Sampling

QUICK = dict.fromkeys(("semantic", "coarse", "fine"), Sampling(guidance=1.0, top_k=4))


@pytest.fixture(scope="module")
def vocals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocals")
    for number in range(2):
        audio.write(folder / f"{number}.wav", sing(0.3 + number / 10, 16_000), 16_000)
    (folder / "bad.wav").write_text("no sound")
    return {"one": folder / "0.wav", "bad": folder / "bad.wav", "two": folder / "1.wav"}


def make(checkpoint, vocals, folder, workers=0, **settings):
    job = GenerateJob(
        str(folder), str(checkpoint), "cpu", **{"seed": 3, "sampling": QUICK, **settings}
    )
    return dict(run_tasks(job, {name: (name, path) for name, path in vocals.items()}, workers=workers))


def test_they_are_what_single_calls_make(tiny_checkpoint, vocals, tmp_path):
    made = make(tiny_checkpoint, vocals, tmp_path)
    assert made["bad"]["paths"] == [] and "bad.wav: not sound" in made["bad"]["error"]
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.{part}" for name in ("one", "two") for part in ("accompaniment.wav", "mix.wav", "json")
    }
    model = pipeline.load(tiny_checkpoint, "cpu")
    single = model.accompany(vocals["two"], 3, sampling=QUICK)
    found, rate = audio.read(tmp_path / "two.mix.wav")
    assert rate == 16_000 and np.abs(found - single.mix).max() < 2**-22


def test_what_is_finished_is_kept_and_what_was_made_otherwise_refused(tiny_checkpoint, vocals, tmp_path):
    good = {name: vocals[name] for name in ("one", "two")}
    make(tiny_checkpoint, good, tmp_path)
    before = (tmp_path / "one.json").stat().st_mtime_ns
    (tmp_path / "two.json").unlink()
    assert "two.accompaniment.wav exists" in make(tiny_checkpoint, good, tmp_path)["two"]["error"]  # whose is it?
    (tmp_path / ".two.begun").touch()  # ours: killed while the files of this song were put in place
    made = make(tiny_checkpoint, good, tmp_path)
    assert [made[name]["made"] for name in ("one", "two")] == [False, True]
    assert (tmp_path / "one.json").stat().st_mtime_ns == before and not (tmp_path / ".two.begun").exists()
    assert [path.rpartition("/")[2] for path in made["one"]["paths"]] == ["one.accompaniment.wav", "one.mix.wav", "one.json"]
    other = make(tiny_checkpoint, good, tmp_path, seed=4, noise=0.0)
    assert "differs in seed and settings" in other["one"]["error"]
    swapped = make(tiny_checkpoint, {"one": vocals["two"]}, tmp_path)
    assert "differs in vocal;" in swapped["one"]["error"]
    assert (tmp_path / "one.json").stat().st_mtime_ns == before
    forced = make(tiny_checkpoint, good, tmp_path, seed=4, force=True)
    assert forced["one"]["made"] and json.loads((tmp_path / "one.json").read_text())["seed"] == 4


def test_a_song_with_a_long_name_is_found_again(tiny_checkpoint, vocals, tmp_path):
    name = "a" * 205  # a manifest may have it, and its files are named by a shorter one
    assert make(tiny_checkpoint, {name: vocals["one"]}, tmp_path)[name]["error"] is None
    again = make(tiny_checkpoint, {name: vocals["one"]}, tmp_path)[name]
    assert (again["error"], again["made"]) == (None, False)


@pytest.mark.parametrize("text", ["[]", "{"])
def test_a_report_that_is_none_stops_no_other_song(tiny_checkpoint, vocals, tmp_path, text):
    make(tiny_checkpoint, {"one": vocals["one"]}, tmp_path)
    (tmp_path / "one.json").write_text(text)
    made = make(tiny_checkpoint, {name: vocals[name] for name in ("one", "two")}, tmp_path)
    assert "one.json is no report of a song" in made["one"]["error"] and made["two"]["made"]


def test_a_report_of_an_earlier_version_lacks_what_was_no_setting(tiny_checkpoint, vocals, tmp_path):
    one, path = {"one": vocals["one"]}, tmp_path / "one.json"
    make(tiny_checkpoint, one, tmp_path)
    report = json.loads(path.read_text())
    assert report["settings"]["semantic"].pop("pulse") == 0.0
    path.write_text(json.dumps(report))
    assert make(tiny_checkpoint, one, tmp_path)["one"]["error"] is None
    report["settings"]["semantic"]["top_k"] = 3
    path.write_text(json.dumps(report))
    assert "differs in settings" in make(tiny_checkpoint, one, tmp_path)["one"]["error"]


def test_a_checkpoint_is_its_weights(tiny_checkpoint, vocals, tmp_path):
    one, path = {"one": vocals["one"]}, shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    make(path, one, tmp_path / "out")
    config = json.loads((path / "config.json").read_text()) | {"sampling": {"coarse": {"top_k": 7}}}
    (path / "config.json").write_text(json.dumps(config))
    again = make(path, one, tmp_path / "out")["one"]  # with the same explicit settings
    assert (again["error"], again["made"]) == (None, False)
    report = json.loads((tmp_path / "out/one.json").read_text())
    report["checkpoint"]["sha256"]["fine"] = "0" * 64
    (tmp_path / "out/one.json").write_text(json.dumps(report))
    assert "differs in checkpoint;" in make(path, one, tmp_path / "out")["one"]["error"]


def test_settings_out_of_range_are_named_before_the_work(tmp_path):
    with pytest.raises(ValueError, match="balance is 90"):
        GenerateJob(str(tmp_path), balance=90.0)


def test_the_command_line_passes_a_manifest_on(tiny_checkpoint, vocals, tmp_path, capsys):
    from accompgen.cli import main

    lines = [{"id": name, "vocal": str(path), "split": "test" if name == "one" else "train"} for name, path in vocals.items()]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    common = ["--manifest", str(tmp_path / "m.jsonl"), "--checkpoint", str(tiny_checkpoint), "--workers", "0", "--quiet"]
    common += ["--guidance", "1", "--top-k", "4", "--seed", "3", "--device", "cpu"]
    assert main(["generate", *common, "-o", str(tmp_path / "test"), "--split", "test"]) == 0
    assert capsys.readouterr().out.split() == [
        str(tmp_path / "test" / f"one.{end}") for end in ("accompaniment.wav", "mix.wav", "json")
    ]
    assert main(["generate", *common, "-o", str(tmp_path / "all")]) == 1
    captured = capsys.readouterr()
    assert captured.out.count(".mix.wav") == 2 and "bad.wav" in captured.err
    assert (tmp_path / "all/one.mix.wav").read_bytes() == (tmp_path / "test/one.mix.wav").read_bytes()
    for wrong in ([], [str(vocals["one"]), "--manifest", "m.jsonl"]):
        with pytest.raises(SystemExit) as exit:
            main(["generate", *wrong])
        assert exit.value.code == 2 and "or --manifest" in capsys.readouterr().err


@pytest.mark.parametrize("options, message", [
    (["--prompt", "soft"], "does not read texts; leave --prompt out"),
    (["--stems", "drums"], "no stem 'drums'"),
    (["--format", "flac", "--bit-depth", "32f"], "flac has no 32-bit float"),
])  # fmt: skip
def test_what_cannot_be_for_any_vocal_is_said_once(
    options, message, tiny_checkpoint, vocals, tmp_path, capsys
):
    from accompgen.cli import main

    command = ["generate", "--manifest", str(vocals["one"].parent), "-o", str(tmp_path / "out")]
    command += ["--checkpoint", str(tiny_checkpoint), "--workers", "0", "--device", "cpu"]
    assert main([*command, *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not (tmp_path / "out").exists()


def test_a_band_without_a_beat_tracker_asks_for_the_beat_once(
    band_checkpoint, vocals, tmp_path, capsys
):
    from accompgen.cli import main

    checkpoint = tmp_path / "band"
    shutil.copytree(band_checkpoint, checkpoint)
    shutil.rmtree(checkpoint / "beat_tracker")
    config = json.loads((checkpoint / "config.json").read_text())
    config["sha256"] = {
        file: hash for file, hash in config["sha256"].items() if "beat_tracker" not in file
    }
    (checkpoint / "config.json").write_text(json.dumps(config))
    command = ["generate", "--manifest", str(vocals["one"].parent), "-o", str(tmp_path / "out")]
    command += ["--checkpoint", str(checkpoint), "--workers", "0", "--device", "cpu"]
    assert main(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "'band' has no beat tracker; give the beat, by --bpm or --beats" in line
    assert not (tmp_path / "out").exists()
    main([*command, "--bpm", "90"])
    assert "no beat tracker" not in capsys.readouterr().err


def test_a_folder_with_a_doubled_vocal_is_done_but_for_that_one(tiny_checkpoint, vocals, tmp_path, capsys):
    from accompgen.cli import main

    folder = tmp_path / "takes"
    folder.mkdir()
    for name in ("take.wav", "take.flac", "other.wav", "notes.txt"):
        (folder / name).write_bytes(vocals["one"].read_bytes())
    command = ["generate", "--manifest", str(folder), "-o", str(tmp_path / "out"), "--checkpoint", str(tiny_checkpoint)]
    assert main([*command, "--workers", "0", "--guidance", "1", "--top-k", "4", "--device", "cpu"]) == 1
    captured = capsys.readouterr()
    assert captured.out.count("other.mix.wav") == 1 and captured.out.count(".mix.wav") == 1
    assert "accompgen: take: take.flac and take.wav in " in captured.err and "keep one of them" in captured.err
    assert f"passed over, no sound by their names: {folder / 'notes.txt'}" in captured.err


def test_files_are_asked_for_the_channels_that_they_have(tiny_checkpoint, tmp_path):
    audio.write(tmp_path / "wide.wav", np.repeat(sing(0.3, 16_000), 6, axis=0), 16_000)
    wide = {"wide": tmp_path / "wide.wav"}
    assert "mp3 holds at most 2 channels, not 6" in make(tiny_checkpoint, wide, tmp_path / "a", format="mp3")["wide"]["error"]
    assert make(tiny_checkpoint, wide, tmp_path / "b", format="mp3", channels=2)["wide"]["made"]
