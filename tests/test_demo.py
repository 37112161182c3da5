"""`make demo`: what it writes and prints, what it says of a bad vocal, and that make finds its way to it."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from tiny import sing

from accompgen import audio


@pytest.fixture
def demo(load_tools, tiny_checkpoint, monkeypatch, tmp_path):
    """The demo with the tiny checkpoint, into tmp_path/out; the picture (test_picture.py) is only asked for."""
    module = load_tools("demo")
    asked = []
    stand_in = SimpleNamespace(run=lambda command, **_: asked.append(command) or SimpleNamespace(returncode=0))
    monkeypatch.setattr(module, "subprocess", stand_in)

    def run(vocal, *options):
        return module.main([str(vocal), "-o", str(tmp_path / "out"), "--checkpoint", str(tiny_checkpoint), *options])

    return run, asked


def test_it_writes_the_three_sounds_and_says_where_they_are(demo, tmp_path, capsys):
    run, asked = demo
    loud = sing(0.3, level=1.5)  # 32-bit float may lie beyond full scale
    audio.write(tmp_path / "voice.wav", loud, 44_100, "FLOAT")
    assert run(tmp_path / "voice.wav") == 0
    printed, out = capsys.readouterr().out, tmp_path / "out"
    channels = {"voice.vocal.wav": 1, "voice.accompaniment.wav": 2, "voice.mix.wav": 2}
    for name, count in channels.items():
        assert audio.read(out / name)[0].shape == (count, loud.shape[1]) and str(out / name) in printed
    assert (audio.read(out / "voice.vocal.wav")[0] == loud).all()
    (command,) = asked
    assert command[0] == sys.executable and command[1].name == "picture.py" and command[1].is_file()
    assert command[2:] == [*(out / f"voice.{part}.wav" for part in ("vocal", "accompaniment", "mix")), "-o", out / "voice.png"]
    for step in ("load the weights", "semantic", "coarse", "fine", "total", "draw the picture"):
        assert f"  {step} " in printed


def test_the_shipped_band_is_played_by_stems_on_a_chart(demo, band_checkpoint, tmp_path, capsys):
    run, _ = demo
    audio.write(tmp_path / "voice.wav", sing(0.6), 44_100)
    assert run(tmp_path / "voice.wav", "--checkpoint", str(band_checkpoint)) == 0
    printed = capsys.readouterr().out
    written = {path.name.removeprefix("voice.") for path in (tmp_path / "out").iterdir()}
    assert {"drums.wav", "bass.wav", "harmony.wav", "mid", "chords.txt", "mix.wav", "json"} <= written
    assert all(f"voice.{ending}" in printed for ending in written)


def test_a_bad_vocal_is_one_line(demo, tmp_path, capsys):
    run, asked = demo
    assert run(tmp_path / "nobody.wav") == 1
    assert capsys.readouterr().err.endswith("demo: " + str(tmp_path / "nobody.wav") + ": no such file\n")
    assert asked == [] and not (tmp_path / "out").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_calls_it_and_alone_prints_help(root):
    def make(*arguments):
        alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
        command = ["make", *arguments]  # the tests themselves may have been started by make
        return subprocess.run(command, cwd=root, env=alone, capture_output=True, text=True, check=True).stdout

    help = make()
    for target in ("demo", "test", "lint", "install"):
        assert f"make {target} " in help
    last = make("--dry-run", "demo", "VOCAL=my song.wav", "OUT=there").splitlines()[-1]
    assert last.strip().endswith("tools/demo.py 'my song.wav' -o 'there'")  # a folder of the user's: nothing is forced
    assert make("--dry-run", "demo").splitlines()[-1].strip().endswith("sample/vocal.flac' -o 'demo' --force")


def test_the_sample_vocal_is_small_and_usable(root):
    path = root / "recipes" / "synthetic" / "sample" / "vocal.flac"
    assert path.stat().st_size < 500_000
    wav, rate = audio.read(path)
    audio.check_vocal(wav, rate, path)
    assert wav.shape[1] / rate > 5
