"""Places that lack what most places have: permissions, a home."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from accompgen import audio, checkpoint, component, files
from accompgen.analysis import librosa_import
from accompgen.data import prepare_song, songs
from accompgen.data.synthetic import bank
from accompgen.data.tracks import Tracks
from accompgen.training import run_state, state, stops


@pytest.mark.parametrize("fault", [ValueError, OSError, KeyboardInterrupt])
def test_a_file_is_replaced_whole_or_not_at_all(fault, tmp_path):
    path = tmp_path / f"{250 * 'n'}.txt"
    path.write_text("old")
    with pytest.raises(fault), files.replacing(path) as file:
        file.write(b"half of what is n")
        file.flush()
        assert len(list(tmp_path.iterdir())) == 2 and path.read_text() == "old"
        raise fault
    assert list(tmp_path.iterdir()) == [path] and path.read_text() == "old"
    with files.replacing(path) as file:
        file.write(b"new")
    assert list(tmp_path.iterdir()) == [path] and path.read_text() == "new"


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    with files.replacing(tmp_path / "a") as first, files.replacing(tmp_path / "a") as second:
        first.write(b"first")
        second.write(b"second")
    assert (tmp_path / "a").read_bytes() == b"first"  # renamed last
    with pytest.raises(FileNotFoundError), files.replacing(tmp_path / "none" / "a"):
        raise AssertionError("there is no such folder")


def _bank(path, number):
    wave, ends = np.full((2, 45), number, np.float32), np.array([2], np.int32)
    first = np.array([0, 2], np.int32)
    bank.Bank(wave, wave[:, :1], np.zeros(2, bool), first, ends - 2, ends).save(path)


def _song(path, number):
    songs.write_manifest(path, [songs.Song(f"song {number}", "train", "x", 1.0, Tracks(vocal="v", accompaniment="a"))])


def _state(path, number):
    run_state.save_state(path.parents[1], {"step": number})


WRITERS = {
    "songs/manifest.jsonl": _song,
    "songs/report.json": lambda path, number: prepare_song.write_json(path, {"number": number}),
    "last/state.pt": _state,
    "voices/slt.npz": _bank,
    "run/config.json": lambda path, number: state.write_text(path, f"{number}"),
}


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_whole_stays_through_a_fault(name, fault, tmp_path, monkeypatch):
    path, write = tmp_path / name, WRITERS[name]
    path.parent.mkdir()
    write(path, 1)
    old = path.read_bytes()

    def fails(*_):
        raise fault

    with monkeypatch.context() as patch, pytest.raises((type(fault), stops.TrainingError)):
        patch.setattr(os, "replace", fails)
        write(path, 2)
    assert list(path.parent.iterdir()) == [path] and path.read_bytes() == old
    write(path, 2)
    assert list(path.parent.iterdir()) == [path] and path.read_bytes() != old


def test_a_place_without_permissions_keeps_what_was_written(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    audio.write_bytes(tmp_path / "a.bin", b"whole")
    component.save_component(tmp_path / "part", {"a": 1}, {})
    assert (tmp_path / "a.bin").read_bytes() == b"whole" and component.load_component(tmp_path / "part")[0] == {"a": 1}


def test_an_interruption_between_two_renames_keeps_the_weights_that_were_there(tmp_path, monkeypatch):
    component.save_component(tmp_path / "part", {"a": 1}, {})
    rename, calls = os.rename, []

    def interrupted(*places):
        calls.append(places)
        if len(calls) == 2:
            raise KeyboardInterrupt
        rename(*places)

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        component.save_component(tmp_path / "part", {"a": 2}, {}, force=True)
    assert len(calls) == 3 and component.load_component(tmp_path / "part")[0] == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_a_full_disk_is_still_an_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "chmod", full)
    with pytest.raises(component.CheckpointError, match="No space left"):
        component.save_component(tmp_path / "part", {"a": 1}, {})
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
    with pytest.raises(component.CheckpointError, match="no home folder for a cache; set ACCOMPGEN_CACHE"):
        checkpoint.cache_directory()


def test_who_has_no_home_gets_a_folder_that_can_be_written(homeless):
    with librosa_import._folder_to_write() as folder:
        assert os.access(folder, os.W_OK) and os.environ["XDG_CACHE_HOME"] == folder
    assert "XDG_CACHE_HOME" not in os.environ
    os.rmdir(folder)


HOMELESS = """
import os, pwd
def nobody(uid):
    raise KeyError(uid)
pwd.getpwuid = nobody
from accompgen.analysis.librosa_import import import_librosa
print(len(import_librosa("this test needs", "eval").filters.mel(sr=16000, n_fft=512)), os.environ.get("XDG_CACHE_HOME"))
"""


def test_who_has_no_home_at_all_can_use_librosa():
    pytest.importorskip("librosa")
    gone = ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    done = subprocess.run([sys.executable, "-c", HOMELESS], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["128", "None"], done.stderr[-500:]


def test_a_home_whose_caches_cannot_be_written_is_as_good_as_none(tmp_path):
    (tmp_path / ".cache").write_text("a file where a folder is wanted")
    assert not librosa_import._writable(str(tmp_path / ".cache")) and librosa_import._writable(str(tmp_path / "new" / ".cache"))


NUMBAS_CACHE = """
import os, subprocess, sys
from accompgen.analysis.librosa_import import NUMBA_CACHE, import_librosa
import_librosa("this test needs", "eval")
from numba import config
assert config.CACHE_DIR == os.environ[NUMBA_CACHE]
print(config.CACHE_DIR, flush=True)
if sys.argv[1:]:
    subprocess.run([sys.executable, *sys.orig_argv[1:-1]], check=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("named", [False, True])
def test_no_two_processes_have_one_cache_of_numbas(named, tmp_path):
    pytest.importorskip("librosa")
    environment = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR")}
    environment |= {"NUMBA_CACHE_DIR": str(tmp_path / "c")} if named else {"HOME": str(tmp_path)}
    caches = tmp_path / ("c" if named else ".cache") / librosa_import.OF_PROCESSES

    def start(*arguments):
        code = [sys.executable, "-c", NUMBAS_CACHE, *arguments]
        return subprocess.Popen(code, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    first = start("with a child")
    said = [first.stdout.readline().strip() for _ in range(2)]  # its own, and that of the process it starts
    with start() as second:
        said.append(second.stdout.readline().strip())
        first.communicate("")
        with start() as heir:  # of who has ended
            assert heir.stdout.readline().strip() == said[0]
            heir.communicate("")
        second.communicate("")
    assert said == [str(caches / number) for number in "012"]


def test_a_cache_of_another_user_is_passed_over(tmp_path, monkeypatch):
    class Lock:
        def __init__(self, path, **_):
            self.number = int(path.parent.name)

        def acquire(self, timeout):
            if self.number < 2:
                raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(librosa_import, "FileLock", Lock)
    monkeypatch.setattr(librosa_import, "_held", [])
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    librosa_import._own_numba_cache(tmp_path)
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / librosa_import.OF_PROCESSES / "2")
    monkeypatch.setattr(librosa_import, "MOST", 2)
    with pytest.raises(OSError, match="none of the 2 caches of numba .* can be locked; set NUMBA_CACHE_DIR"):
        librosa_import._own_numba_cache(tmp_path)


def test_a_named_cache_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(librosa_import, "_held", [])
    monkeypatch.setattr(librosa_import, "_library", librosa_import._library.__wrapped__)  # anew
    with pytest.raises(NotADirectoryError, match="file"):
        librosa_import.import_librosa("this test needs", "eval")

