"""The manifest: one song a line, as JSON; paths are relative to the manifest file."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

from accompgen import files
from accompgen.data.tracks import FIELDS, ManifestError, Tracks, take_tracks

SPLITS = ("train", "validation", "test")
MOST_PROBLEMS = 20  # lines that one error names
# bytes of a song's id: prepare adds the number of a piece to the name of a file
ID_BYTES = files.NAME_BYTES + 8


@dataclass(frozen=True)
class Expected:
    """What a field of a manifest holds: a test of its value, and what to say where it fails."""

    fits: Callable[[object], bool]
    what: str


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_list(value):
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_table(value):
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


_TEXT = {
    "id": 'a text such as "song 17"', "split": f"one of {', '.join(SPLITS)}", "licence": 'a text such as "CC BY 4.0"',
    "key": 'a text such as "A minor"', "vocal": "the path of a file", "accompaniment": "the path of a file",
    "mixture": "the path of a file", "meta": "the path of a JSON file",
}  # fmt: skip
EXPECTED = {name: Expected(lambda value: isinstance(value, str), what) for name, what in _TEXT.items()} | {
    "bpm": Expected(lambda value: _is_number(value) and 0 < value < 1000, "a number of beats a minute such as 120"),
    "seconds": Expected(lambda value: _is_number(value) and 0 < value < float("inf"), "a number of seconds, more than 0"),
    "separated": Expected(lambda value: isinstance(value, bool), "true or false"),
    "tags": Expected(_is_list, 'a list of texts such as ["pop"]'),
    "tracks": Expected(_is_table, 'files by name, such as {"vocal": "v.wav", "bass": "b.wav"}'),
    "stems": Expected(
        lambda value: _is_list(value) or _is_table(value), 'a list of files such as ["bass.wav"], or files by name'
    ),
}  # fmt: skip


def _shown(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class Song:
    """A song of a manifest: a vocal and its accompaniment, or a mixture still to be separated.

    tracks: its sound files by name. meta: a JSON file with what is known about the music (beats,
    chords, key, bpm, notes), or None. separated: voice and accompaniment were one recording, so
    that each holds residue of the other.
    """

    id: str
    split: str
    licence: str
    seconds: float
    tracks: Tracks = field(hash=False)
    meta: Path | None = None
    separated: bool = False

    def __post_init__(self):
        if not self.id or any(c in self.id for c in "/\\\0") or self.id.startswith("."):
            raise ManifestError(f"song id {self.id!r} cannot be a file name; use letters, digits, - and _")
        check_length(self.id, ID_BYTES)
        if self.split not in SPLITS:
            raise ManifestError(f"split {self.split!r} of song {self.id} is none of {', '.join(SPLITS)}")
        if not self.seconds > 0:
            raise ManifestError(f"song {self.id} has {self.seconds} seconds; expected more than 0")
        pair = bool(self.tracks.vocal and self.tracks.accompaniment)
        if not pair and not self.tracks.mixture or self.tracks.mixture and len(self.tracks) > 1:
            raise ManifestError(f"song {self.id} needs either vocal and accompaniment, or mixture alone")


def check_length(song_id: str, most: int) -> None:
    """Raise ManifestError for an id of more than `most` bytes, or without any: files are named by
    it."""
    try:
        size = len(song_id.encode(errors="surrogateescape"))
    except UnicodeEncodeError as error:  # half of a pair of surrogates
        raise ManifestError(f"song id {song_id!r} cannot be a file name; use letters, digits, - and _") from error
    if size > most:
        raise ManifestError(
            f"song id {song_id[:40]!r}... of {size} bytes is too long for a file name; "
            f"use up to {most} bytes"
        )


def check_fields(values) -> None:
    """Raise ManifestError for a song that is no object, or whose fields hold values of another kind than expected."""
    if not isinstance(values, dict):
        raise ManifestError(f'{_shown(values)} is no song; expected an object such as {{"id": "one", "vocal": "one.wav"}}')
    wrong = []
    for name, value in values.items():
        expected = EXPECTED.get(name)
        if value is not None and expected and not expected.fits(value):
            wrong.append(f'"{name}" is {_shown(value)}; expected {expected.what}')
    if wrong:
        raise ManifestError("; ".join(wrong))


def raise_all(path, problems: dict[int, str]) -> None:
    """Raise one ManifestError for all lines (number -> what is wrong there) that cannot be used, if there are any."""
    if problems:
        said = [f"line {number}: {text}" for number, text in list(problems.items())[:MOST_PROBLEMS]]
        more = len(problems) - len(said)
        rest = [f"and {more} more lines"] if more else []
        raise ManifestError(f"{path}, " + "; ".join([*said, *rest]))


def read_text(path) -> str:
    """The text of a manifest. Raises ManifestError for a file that is none, or cannot be opened."""
    try:
        return files.read_text(path)
    except files.TextError as error:
        raise ManifestError(str(error)) from error
    except OSError as error:
        raise ManifestError(f"cannot read {path}: {error.strerror}") from error


def json_lines(path):
    """(line number, the value in it or a ManifestError) of the lines of a JSONL file that are not empty.

    Raises ManifestError for a file that is no text, or that cannot be opened.
    """
    text = read_text(path)
    for number, line in enumerate(files.text_lines(text), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                yield number, ManifestError(f"no JSON: {error}")


def check_manifest(path) -> None:
    """Raise ManifestError where no manifest is at `path`: to know it before the work."""
    path = Path(path)
    expected = "expected the manifest.jsonl that `accompgen prepare` wrote"
    if not path.exists():
        raise ManifestError(f"{path}: no such file; {expected}")
    if path.is_dir():
        inside = path / "manifest.jsonl"
        more = f": give {inside}" if inside.is_file() else ""
        raise ManifestError(f"{path} is a folder; {expected}{more}")
    if path.suffix.lower() in files.SOUND_ENDINGS:
        raise ManifestError(f"{path} is sound; {expected}")


def read_manifest(path):
    """The songs of a manifest, in order, their paths resolved against its folder.

    Raises ManifestError for a path where there is none (see `check_manifest`), and for lines that
    cannot be used, all of which it names (no JSON, a field that is unknown, missing or of another
    kind, an id twice).
    """
    path = Path(path)
    check_manifest(path)
    songs, seen, problems = [], set(), {}
    for number, values in json_lines(path):
        try:
            song = _song(values, path.parent)
            if song.id in seen:
                raise ManifestError(f"song id {song.id} stands there twice")
        except ManifestError as error:
            problems[number] = str(error)
            continue
        seen.add(song.id)
        songs.append(song)
    raise_all(path, problems)
    return songs


def _song(values, folder):
    if isinstance(values, ManifestError):
        raise values
    check_fields(values)
    values = {name: value for name, value in values.items() if value is not None}
    known = [field.name for field in fields(Song)]
    unknown = sorted(set(values) - {*known, *FIELDS})
    if unknown:
        raise ManifestError(f"unknown field {unknown[0]!r}; known are {', '.join(known)}")
    missing = [name for name in ("id", "split", "licence", "seconds") if name not in values]
    if missing:
        raise ManifestError(f"{missing[0]!r} is missing; accompgen prepare writes manifests with all that is needed")
    values["tracks"] = take_tracks(values, folder)
    if "meta" in values:
        values["meta"] = files.in_either_form(folder / values["meta"])
    return Song(**values)


def write_manifest(path, songs):
    """Write the songs, one a line, their paths relative to the manifest's folder; the file is replaced as a whole."""
    path = Path(path)
    lines = []
    for song in songs:
        values = {name: value for name, value in vars(song).items() if value not in (None, False)}
        values["tracks"] = song.tracks.relative_to(path.parent)
        if song.meta:
            values["meta"] = Path(os.path.relpath(song.meta, path.parent)).as_posix()
        lines.append(json.dumps(values, ensure_ascii=False) + "\n")
    with files.replacing(path) as file:
        # a name that is no UTF-8 stands there as an escape of JSON, which reads as the same name
        file.write("".join(lines).encode(errors="backslashreplace"))
