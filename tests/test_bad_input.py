"""What bad input gets: one clear line on stderr, exit 1, nothing written, and the other files of the same call still done.

A row here is a row of the table in docs/errors.md.
"""

import errno
import json
import os
import shutil
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile
from tiny import make_checkpoint, sing

from accompgen import audio, sound_file, sound_writer
from accompgen.cli import main
from accompgen.generation import pipeline


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return pipeline.load(tiny_checkpoint, "cpu")


def write_float(path, wav):
    soundfile.write(path, wav.T, 44_100, "FLOAT")


def with_value(value):
    wav = sing(0.5)
    wav[0, 11_025] = value
    return wav


def cut_header(path):
    audio.write(path, sing(0.5), 44_100)
    path.write_bytes(path.read_bytes()[:30])


def cut_flac(path):
    audio.write(path.with_suffix(".flac"), sing(0.5), 44_100)
    path.write_bytes(path.with_suffix(".flac").read_bytes()[:2_000])


# what the file is -> how to make it, and what the message must say
FILES = {
    "missing": (lambda path: None, "no such file"),
    "a folder": (lambda path: path.mkdir(), "a folder; give an audio file"),
    "not audio": (lambda path: path.write_text("la la la\n" * 1000), "not sound, or damaged"),
    "truncated header": (cut_header, "not sound, or damaged"),
    "cut off": (cut_flac, "damaged or cut off"),
    "empty": (lambda path: path.write_bytes(b""), "the file is empty (0 bytes)"),
    "zero samples": (lambda path: soundfile.write(path, np.zeros((0, 1)), 44_100), "no samples"),
    "shorter than 0.2 s": (lambda path: audio.write(path, sing(0.19), 44_100), "0.190 s long; at least 0.2 s"),
    "silent": (lambda path: audio.write(path, sing(0.5, level=0.0009), 44_100), "silent, its peak is -6"),
    "NaN": (lambda path: write_float(path, with_value(np.nan)), "1 samples are NaN or infinite, the first at 0.250 s"),
    "infinity": (lambda path: write_float(path, with_value(np.inf)), "NaN or infinite"),
    "rate too low": (lambda path: soundfile.write(path, sing(0.5)[0], 4_000), "sample rate is 4000 Hz; 8000 to 192000"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_bad_file_is_named_and_the_next_one_is_done(kind, model, tiny_checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "load", lambda *_, **__: model)
    make, message = FILES[kind]
    bad, good = tmp_path / "bad.wav", tmp_path / "good.wav"
    make(bad)
    audio.write(good, sing(0.2), 44_100)
    options = ["-o", str(tmp_path / "out"), "--checkpoint", str(tiny_checkpoint), "--quiet"]
    complaint(capsys, main(["generate", str(bad), str(good), *options]), str(bad), message)
    assert names(tmp_path / "out") == ["good.accompaniment.wav", "good.json", "good.mix.wav"]


def complaint(capsys, status, *parts):
    """Exit 1 and one line on stderr that has all the parts."""
    lines = capsys.readouterr().err.splitlines()
    assert status == 1 and len(lines) == 1 and lines[0].startswith("accompgen: "), lines
    for part in parts:
        assert part in lines[0]


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def generate(tiny_checkpoint, tmp_path):
    """`accompgen generate` on a good vocal, with the tiny checkpoint unless another one is given."""
    vocal = tmp_path / "voice.wav"
    audio.write(vocal, sing(0.2, 96_000), 96_000)

    def call(*arguments, out=tmp_path / "out", checkpoint=tiny_checkpoint):
        return main(["generate", str(vocal), "-o", str(out), "--checkpoint", str(checkpoint), "--quiet", *arguments])

    return call


def test_a_file_that_may_not_be_read(generate, tmp_path, monkeypatch, capsys):
    def denied(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(sound_file, "open", denied, raising=False)  # the superuser may read everything, so chmod shows nothing
    complaint(capsys, generate(), "voice.wav: cannot be read: Permission denied")
    assert names(tmp_path / "out") == []


def test_output_that_exists(generate, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "voice.json").write_text("mine")
    complaint(capsys, generate(), "voice.json exists", "--force")
    assert names(tmp_path / "out") == ["voice.json"] and (tmp_path / "out" / "voice.json").read_text() == "mine"


def test_an_output_folder_that_is_a_file(generate, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        complaint(capsys, generate(out=out), f"cannot write into {out}", "is no folder")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_output_folder_without_permission(generate, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(audio.os, "access", lambda *_: False)
    complaint(capsys, generate(), f"cannot write into {tmp_path / 'out'}: no permission")
    assert names(tmp_path / "out") == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 160 kB: room for the first file and not for the second."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", folder]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_really_full(generate, small_disk, capsys):
    complaint(capsys, generate("--bit-depth", "32f", out=small_disk), "voice.mix.wav: No space left on device")
    assert names(small_disk) == []


def test_a_full_disk(generate, tmp_path, monkeypatch, capsys):
    from accompgen import files

    real, calls = files.replacing, []

    @contextmanager
    def full_at_the_second_file(path):
        calls.append(path)
        with real(path) as file:
            if len(calls) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            yield file

    monkeypatch.setattr(sound_writer, "replacing", full_at_the_second_file)
    complaint(capsys, generate(), "voice.mix.wav: No space left on device")
    assert names(tmp_path / "out") == []  # not even the first file


def test_an_unknown_checkpoint_lists_those_there_are(generate, tiny_checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ACCOMPGEN_CHECKPOINTS", str(tiny_checkpoint.parent))
    complaint(capsys, generate(checkpoint="poket"), "no checkpoint 'poket'", "tiny")
    assert names(tmp_path / "out") == []


@pytest.fixture
def damaged(tiny_checkpoint, tmp_path):
    """A copy of the checkpoint, to be damaged."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "damaged")


def rewrite_config(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def swap_tokenizer(folder):
    """Another tokenizer than that of the training, with hashes that are right."""
    other = make_checkpoint(folder.parent / "other", seed=1)
    for file in ("config.json", "model.safetensors"):
        shutil.copy(other / "semantic_tokenizer" / file, folder / "semantic_tokenizer" / file)
    hashes = json.loads((folder / "config.json").read_text())["sha256"]
    theirs = json.loads((other / "config.json").read_text())["sha256"]
    rewrite_config(folder, sha256=hashes | {name: value for name, value in theirs.items() if name.startswith("semantic_tok")})


def alter(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


CHECKPOINTS = {
    "missing file": (lambda folder: (folder / "fine" / "model.safetensors").unlink(), "fine/model.safetensors is missing"),
    "altered weights": (lambda folder: alter(folder / "coarse" / "model.safetensors"), "coarse/model.safetensors was altered"),
    "altered config": (lambda folder: rewrite_config(folder / "fine", window_seconds=9.0), "fine/config.json was altered"),
    "unknown format version": (lambda folder: rewrite_config(folder, format_version=99), "format_version 99; this version"),
    "other tokenizers": (swap_tokenizer, "the semantic stage was trained on another semantic tokenizer"),
    "not JSON": (lambda folder: (folder / "config.json").write_text("{"), "is not valid JSON"),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_checkpoint_that_cannot_be_used(kind, generate, damaged, tmp_path, capsys):
    damage, message = CHECKPOINTS[kind]
    damage(damaged)
    complaint(capsys, generate(checkpoint=damaged), str(damaged), message)
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize("arguments, message", [
    (["--guidance", "-1"], "guidance is -1.0; expected 0 or more"),
    (["--guidance", "nan"], "guidance is nan"),
    (["--temperature", "fine=-0.5"], "temperature is -0.5; expected 0 (greedy) or a positive number"),
    (["--top-k", "-3"], "top_k is -3; expected a whole number"),
    (["--top-p", "1.5"], "top_p is 1.5; expected more than 0 and at most 1"),
    (["--balance", "99"], "balance is 99.0 LU; expected -40 to 40"),
    (["--noise", "nan"], "noise is nan; expected a sigma from 0 to 1"),
    (["--device", "cuda:99"], "no such device: 'cuda:99'; here there are cpu"),
    (["--device", "gpu"], "no such device: 'gpu'"),
    (["--format", "mp3"], "mp3 has no sample rate of 96000 Hz"),
    (["--format", "flac", "--bit-depth", "32f"], "flac has no 32-bit float; choose bit depth 16 or 24"),
])  # fmt: skip
def test_settings_that_cannot_be_used(arguments, message, generate, tmp_path, capsys):
    complaint(capsys, generate(*arguments), message)
    assert names(tmp_path / "out") == []
