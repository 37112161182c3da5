"""What was worked out once is kept by the content of the files it came from: a killed evaluation goes on where it was."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from accompgen import audio

VERSION = 1  # raise it when an analysis changes


def key(*parts) -> str:
    """A name for the result of plain values (strings, numbers, lists, dicts): the start of their sha256."""
    return hashlib.sha256(json.dumps([VERSION, *parts], sort_keys=True).encode()).hexdigest()[:40]


class Cache:
    """A folder of results: arrays and plain values by key. Every entry is written whole or not at all."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def _path(self, name, ending):
        return self.folder / name[:2] / f"{name}{ending}"

    def arrays(self, name: str, make) -> Path:
        """The path of the entry `name`; `make() -> {field: array}` is called where there is none or it is damaged."""
        path = self._path(name, ".npz")
        if not _readable(path):
            buffer = io.BytesIO()
            np.savez(buffer, **make())
            path.parent.mkdir(parents=True, exist_ok=True)
            audio.write_bytes(path, buffer.getvalue())
        return path

    def values(self, name: str, make):
        """The plain value `name`, as JSON knows it; `make()` is called where there is none, or `null`."""
        value = self.peek(name)
        if value is None:
            value = make()
            path = self._path(name, ".json")
            path.parent.mkdir(parents=True, exist_ok=True)
            audio.write_bytes(path, (json.dumps(value) + "\n").encode())
        return value

    def peek(self, name: str):
        """The plain value `name`, None where there is none."""
        try:
            return json.loads(self._path(name, ".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


def read(path) -> dict[str, np.ndarray]:
    """The arrays of an entry."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _readable(path):
    try:
        read(path)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return False
    return True


class Embeddings(Mapping):
    """A set of songs for `distances`: name -> rows [n, D], read from its entry whenever it is asked for."""

    def __init__(self, paths: dict[str, Path]):
        self.paths = paths

    def __getitem__(self, name):
        return read(self.paths[name])["rows"]

    def __iter__(self):
        return iter(self.paths)

    def __len__(self):
        return len(self.paths)
