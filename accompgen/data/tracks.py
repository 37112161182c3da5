"""The tracks of a song: sound files by name, as a manifest names them.

`vocal` is the voice, `accompaniment` all the rest, and every other name is a stem. The accompaniment
is the mix of the stems: it has a file of its own, or it is their sum. `mixture` is voice and
accompaniment in one recording, which is still to be separated, and stands alone.
"""

import os
from itertools import count
from pathlib import Path

from accompgen import files
from accompgen.stages import ALL, VOICE

ACCOMPANIMENT, MIXTURE = "accompaniment", "mixture"
NO_STEMS = (VOICE, ACCOMPANIMENT, MIXTURE)  # names that say what they hold
# fields of a manifest's line that name its sound: one today, the others in manifests of before
FIELDS = ("tracks", *NO_STEMS, "stems")
_NOT_IN_NAMES = "+/\\\0"  # shards join names by + and divide their arrays by /


class ManifestError(ValueError):
    """A manifest that cannot be used; the message names file and line."""


class Tracks(dict):
    """Name -> path of a song's sound files: Tracks(vocal=..., accompaniment=..., drums=...)."""

    @property
    def vocal(self) -> Path | None:
        return self.get(VOICE)

    @property
    def mixture(self) -> Path | None:
        return self.get(MIXTURE)

    @property
    def stems(self) -> dict[str, Path]:
        """The parts of the accompaniment, as far as they have files."""
        return {name: path for name, path in self.items() if name not in NO_STEMS}

    @property
    def accompaniment(self) -> tuple[Path, ...]:
        """The files that sum to the accompaniment: its own alone, or the stems; none of a mixture."""
        return (self[ACCOMPANIMENT],) if ACCOMPANIMENT in self else tuple(self.stems.values())

    def files_of(self, name: str) -> tuple[Path, ...]:
        """The files that sum to a track, none where the song lacks it; ALL is the accompaniment."""
        if name in (ALL, ACCOMPANIMENT):
            return self.accompaniment
        return (self[name],) if name in self else ()

    def relative_to(self, folder) -> dict[str, str]:
        """Name -> path relative to a folder, as a manifest that lies there has it."""
        return {name: Path(os.path.relpath(path, folder)).as_posix() for name, path in self.items()}


def take_tracks(values: dict, folder: Path) -> Tracks:
    """Remove from the fields of a manifest's line those that name its sound -> tracks, their paths
    resolved against the manifest's folder.

    The line has `tracks`, or the older form: `vocal`, `accompaniment` or `mixture`, and `stems` by
    name or as a list, whose files name them. Values are of the kinds that `songs.check_fields` asks
    for. Raises ManifestError for both forms in one line, and for a name that no track can have.
    """
    older = {name: values.pop(name) for name in NO_STEMS if name in values}
    stems = values.pop("stems", {})
    if isinstance(stems, list):
        if stems and ACCOMPANIMENT in older:
            raise ManifestError("a song needs one of accompaniment and stems, if the stems have no names")
        stems = name_stems((Path(path).stem, path) for path in stems)
    if "tracks" in values and (older or stems):
        raise ManifestError('"tracks" stands beside "vocal" or other names of files; put all into "tracks"')
    found = values.pop("tracks", older | stems)
    for name in found:
        wrong = set(name) & set(_NOT_IN_NAMES) or not name or name == ALL
        if wrong or (name in stems and name in NO_STEMS):
            raise ManifestError(f'track {name!r} cannot be called so; use a name such as "bass"')
    return Tracks({name: files.in_either_form(folder / file) for name, file in found.items()})


def name_stems(found) -> dict:
    """Stem -> file of (what it is called, file): a name that no track can have, or that is taken,
    is changed or numbered."""
    stems = {}
    for called, path in found:
        name = called.lower().translate(str.maketrans(_NOT_IN_NAMES, "-" * len(_NOT_IN_NAMES)))
        numbered = (f"{name}-{number}" for number in count(2))
        taken = {ALL, *NO_STEMS, *stems}
        stems[name if name not in taken else next(n for n in numbered if n not in taken)] = path
    return stems
