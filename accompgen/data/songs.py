"""The manifest: one song a line, as JSON; paths are relative to the manifest file."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

SPLITS = ("train", "validation", "test")
_PATHS = ("vocal", "accompaniment", "mixture", "meta")


class ManifestError(ValueError):
    """A manifest that cannot be used; the message names file and line."""


@dataclass(frozen=True)
class Song:
    """A song of a manifest: a vocal and its accompaniment, or a mixture still to be separated.

    `meta` names a JSON file with what is known about the music (beats, chords, key, bpm, notes), or is None. `separated` says
    that the two were one recording, so that each holds residue of the other. `stems` are the files, by name, that sum to the
    accompaniment; none where they are not known.
    """

    id: str
    split: str
    licence: str
    seconds: float
    vocal: Path | None = None
    accompaniment: Path | None = None
    mixture: Path | None = None
    meta: Path | None = None
    separated: bool = False
    stems: dict[str, Path] = field(default_factory=dict, hash=False)

    def __post_init__(self):
        if not self.id or any(c in self.id for c in "/\\\0") or self.id.startswith("."):
            raise ManifestError(f"song id {self.id!r} cannot be a file name; use letters, digits, - and _")
        if self.split not in SPLITS:
            raise ManifestError(f"split {self.split!r} of song {self.id} is none of {', '.join(SPLITS)}")
        if not self.seconds > 0:
            raise ManifestError(f"song {self.id} has {self.seconds} seconds; expected more than 0")
        pair = (self.vocal is not None, self.accompaniment is not None)
        if pair != ((True, True) if self.mixture is None else (False, False)):
            raise ManifestError(f"song {self.id} needs either vocal and accompaniment, or mixture alone")


def read_manifest(path):
    """The songs of a manifest, in order, their paths resolved against its folder.

    Raises ManifestError (unreadable line, unknown or missing field, an id twice), OSError where it cannot be opened.
    """
    path = Path(path)
    songs, seen = [], set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            for name in _PATHS:
                if values.get(name) is not None:
                    values[name] = path.parent / values[name]
            values["stems"] = {name: path.parent / file for name, file in values.get("stems", {}).items()}
            song = Song(**values)
        except (ManifestError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ManifestError(f"{path}, line {number}: {error}") from error
        if song.id in seen:
            raise ManifestError(f"{path}, line {number}: song id {song.id} stands there twice")
        seen.add(song.id)
        songs.append(song)
    return songs


def write_manifest(path, songs):
    """Write the songs, one a line, their paths relative to the manifest's folder; the file is replaced as a whole."""
    path = Path(path)
    lines = []

    def relative(file):
        return Path(os.path.relpath(file, path.parent)).as_posix()

    for song in songs:
        values = {name: value for name, value in vars(song).items() if value not in (None, False, {})}
        for name in set(_PATHS) & set(values):
            values[name] = relative(values[name])
        if song.stems:
            values["stems"] = {name: relative(file) for name, file in song.stems.items()}
        lines.append(json.dumps(values, ensure_ascii=False) + "\n")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text("".join(lines), encoding="utf-8")
    os.replace(temporary, path)
