"""What every test may use: the shared folder with golden files and real recordings, where it is at hand."""

import importlib.util
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from accompgen.analysis.librosa_import import import_librosa

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Before torch is imported, and for all that tests start: networks here are minute, and a second
# thread that spins beside another program made three files of tests take four times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# `make test WORKERS=2` hands its variables on; the recipes that tests start have their own.
for variable in ("MAKEFLAGS", "MAKEOVERRIDES", "WORKERS"):
    os.environ.pop(variable, None)
# before any test imports librosa by itself: a cache of compiled functions for each process of tests
with suppress(ImportError):
    import_librosa("these tests need", "dev")
ROOT = Path(__file__).resolve().parents[1]
FLITE = ("slt", "rms", "awb", "kal16")


@pytest.fixture(scope="session")
def root():
    """The repository's folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared():
    """The folder of golden files and recordings beside the repository; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("the folder `shared` with golden files is not beside the repository")
    return folder


@pytest.fixture(scope="session")
def load_tools(root):
    """Call it with names of tools/: each becomes a module of that name, so that they find each other; the last is given."""

    def load(*names):
        for name in names:
            spec = importlib.util.spec_from_file_location(name, root / "tools" / f"{name}.py")
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def two_threads():
    """torch has two threads in the test: as many as it takes to have a helper, or to give one back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory):
    """The directory of a checkpoint of minute networks with random weights (tests/tiny.py). Do not change it: copy it."""
    from tiny import make_checkpoint

    return make_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="session")
def band_checkpoint(tmp_path_factory):
    """The same of the graph `band`: with a chart, and stems that are made one by one. Do not change it: copy it."""
    from tiny import make_checkpoint

    return make_checkpoint(tmp_path_factory.mktemp("band") / "band", graph="band")


@pytest.fixture(scope="session")
def voices(tmp_path_factory):
    """A folder with a small syllable bank of each of flite's voices."""
    pytest.importorskip("pyworld", reason="pyworld is not installed (extra `train`)")
    if shutil.which("flite") is None:
        pytest.skip("flite is not installed (system package `flite`)")
    from accompgen.data.synthetic.bank import build

    folder = tmp_path_factory.mktemp("voices")
    for voice in FLITE:
        build(voice, size=16).save(folder / f"{voice}.npz")
    return folder


@pytest.fixture
def ctrl_c(monkeypatch):
    """`ctrl_c(module)`: Ctrl-C comes in the second step of a training of this module."""

    def press(module):
        true, calls = module.learning_rate, []

        def learning_rate(*values):
            calls.append(values)
            if len(calls) == 2:
                signal.raise_signal(signal.SIGINT)
            return true(*values)

        monkeypatch.setattr(module, "learning_rate", learning_rate)

    return press
