"""Places that lack what most places have: permissions, a home."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from accompgen import audio, checkpoint, files


def test_a_place_without_permissions_keeps_what_was_written(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    audio.write_bytes(tmp_path / "a.bin", b"whole")
    checkpoint.save_component(tmp_path / "part", {"a": 1}, {})
    assert (tmp_path / "a.bin").read_bytes() == b"whole" and checkpoint.load_component(tmp_path / "part")[0] == {"a": 1}


def test_a_full_disk_is_still_an_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "chmod", full)
    with pytest.raises(audio.AudioError, match="No space left"):
        audio.write_bytes(tmp_path / "a.bin", b"whole")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("letter", ["x", "ü", os.fsdecode(b"\xe9")])
def test_long_names_are_cut_and_stay_apart(letter, tmp_path):
    first, second = files.short_name(300 * letter + "a"), files.short_name(300 * letter + "b")
    assert first != second and len(os.fsencode(first)) <= files.NAME_BYTES
    (tmp_path / f"{first}.accompaniment.part.wav").write_bytes(b"")
    assert files.short_name(letter) == letter


@pytest.fixture
def homeless(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    for name in ("ACCOMPGEN_CACHE", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)


def test_who_has_no_home_finds_the_checkpoints_all_the_same(homeless):
    assert checkpoint.find_checkpoint("pocket").name == "pocket"
    with pytest.raises(checkpoint.CheckpointError, match="no home folder for a cache; set ACCOMPGEN_CACHE"):
        checkpoint.cache_directory()


def test_numba_gets_a_place_that_can_be_written_and_goes(homeless, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    files.give_numba_a_cache()
    assert os.access(os.environ["NUMBA_CACHE_DIR"], os.W_OK)
    os.rmdir(os.environ["NUMBA_CACHE_DIR"])


def test_numba_is_left_alone_where_there_is_a_home(tmp_path):
    code = "import os; from accompgen.files import give_numba_a_cache as give; give(); print(os.environ.get('NUMBA_CACHE_DIR'))"
    for home, given in ((tmp_path, False), (tmp_path / "none", True)):
        environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"} | {"HOME": str(home)}
        said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
        assert (said.strip() != "None") == given
        assert not given or not os.path.exists(said.strip())  # removed when the process ends
