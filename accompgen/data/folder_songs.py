"""A folder of sound -> which files are a song: by directories, by names, and what is passed
over."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from accompgen.data.tracks import Tracks, name_stems
from accompgen.files import SOUND_ENDINGS, one_form

VOCAL = ("vocals", "vocal")
BAND = ("accompaniment", "instrumental", "no_vocals")
MIX = ("mixture", "mix")

BESIDE_BAND = "stems beside an accompaniment"
BESIDE_PARTS = "mixtures beside their parts"


@dataclass
class PassedOver:
    """Files and folders that are no part of a song, by the reason why: reason -> paths."""

    paths: dict[str, list[Path]] = field(default_factory=dict)

    def add(self, reason: str, *paths: Path) -> None:
        if paths:
            self.paths.setdefault(reason, []).extend(paths)

    def lines(self, most: int = 3) -> list[str]:
        """A line for each reason, with some of the paths."""
        found = []
        for reason, paths in self.paths.items():
            rest = f" and {len(paths) - most} more" if len(paths) > most else ""
            found.append(f"passed over, {reason}: {', '.join(map(str, paths[:most]))}{rest}")
        return found


@dataclass(frozen=True)
class Found:
    """A song of a folder. place: what it is named by, a path without ending. fault: why it cannot
    be used, None where it can.
    """

    place: Path
    tracks: Tracks
    fault: str | None = None


def find_songs(root: Path, passed: PassedOver) -> list[Found]:
    """The songs of a folder and all below it, in the order of their paths; links are followed.

    Two files that would be the same part of a song are a fault of that song, since one of them
    would be taken by chance. What is no part of any song is added to `passed`.
    """
    folders = {folder: files for folder, files in _walk(root, passed) if files}
    found = []
    for folder, files in sorted(folders.items(), key=lambda item: item[1][0]):
        found += _of_directory(folder, files, passed) or _of_names(folder, files, passed)
    return found


def _walk(folder, passed, above=frozenset()):
    """(folder, its sound files) of a folder and those below it. A link to a folder that holds it
    is not followed."""
    above |= {os.path.realpath(folder)}
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        passed.add(f"cannot be listed ({error.strerror})", folder)
        return
    sounds = []
    for path in paths:
        if os.path.isdir(path):
            if path.name.startswith("."):
                passed.add("hidden", path)
            elif os.path.realpath(path) in above:
                passed.add("links to a folder that holds them", path)
            else:
                yield from _walk(path, passed, above)
        elif path.suffix.lower() not in SOUND_ENDINGS:
            passed.add("no sound by their names", path)
        elif path.name.startswith("."):
            passed.add("hidden", path)
        elif not os.path.isfile(path):
            passed.add("links to nothing", path)
        else:
            sounds.append(path)
    yield folder, sounds


def _of_directory(folder, files, passed):
    """[the song] of a directory that is one song, or nothing."""
    parts = _by(files, lambda path: one_form(path.stem).lower())
    return [_song(folder, parts, passed)] if any(name in parts for name in VOCAL) else []


def _of_names(folder, files, passed):
    """Songs by the names of their files: x.vocal.* and what else is x.*, and mixtures."""
    names = _by(files, lambda path: one_form(path.stem))
    sung = {
        base
        for name in names
        for base, _, part in (name.rpartition("."),)
        if base and part.lower() in VOCAL
    }
    songs, found = {}, []
    for name, paths in names.items():
        base, _, part = name.rpartition(".")
        if base in sung:
            songs.setdefault(base, {}).setdefault(part.lower(), []).extend(paths)
        elif name in sung:
            passed.add(BESIDE_PARTS, *paths)
        else:
            found.append(Found(folder / name, Tracks(mixture=paths[0]), _doubled(paths)))
    found += [_song(folder / base, parts, passed) for base, parts in songs.items()]
    return sorted(found, key=lambda song: song.place)


def _song(place, parts, passed):
    """A song whose parts (name -> files) have a voice among them."""
    vocals, bands, mixes = (
        [path for name in names for path in parts.get(name, ())] for names in (VOCAL, BAND, MIX)
    )
    stems = {name: paths for name, paths in parts.items() if name not in VOCAL + BAND + MIX}
    passed.add(BESIDE_PARTS, *mixes)
    fault = _doubled(vocals, "the voice") or _doubled(bands, "the accompaniment")
    if bands:
        passed.add(BESIDE_BAND, *(path for paths in stems.values() for path in paths))
        return Found(place, Tracks(vocal=vocals[0], accompaniment=bands[0]), fault)
    fault = fault or next(filter(None, map(_doubled, stems.values())), None)
    named = name_stems((name, paths[0]) for name, paths in stems.items())
    return Found(place, Tracks(vocal=vocals[0], **named), fault)


def _doubled(paths, what="of one name"):
    """Why two files are one too many, None for one or none."""
    if len(paths) < 2:
        return None
    both = " and ".join(path.name for path in paths[:2])
    return f"{both} in {paths[0].parent} are both {what}; keep one of them"


def _by(files, key):
    groups = {}
    for path in files:
        groups.setdefault(key(path), []).append(path)
    return groups
