"""What songs there are before anything is done to them: a JSONL or CSV manifest, or a folder of sound.

One song a line (JSONL) or row (CSV with a header), paths relative to the manifest; in CSV, lists are separated by `;`:

    vocal + accompaniment   a pair, taken as it is
    vocal + stems           the stems are summed into the accompaniment
    mixture                 to be separated
    vocal                   alone: enough to generate for it
    id, split, licence, bpm, key, tags, meta     all optional

In a folder, a directory with a file `vocals.*` (or vocal.*) is a song, whose accompaniment is `accompaniment.*` (or
instrumental.*, no_vocals.*), or else the sum of the other files but `mixture.*`: the layout of MUSDB18-HQ. `x.vocal.*` beside
`x.accompaniment.*` is a pair; any other sound is a mixture. A top folder called train, validation (or
valid) or test says the split.
"""

import csv
import hashlib
import json
import re
from dataclasses import dataclass, fields
from pathlib import Path

from accompgen.data.songs import SPLITS, ManifestError

ENDINGS = (".wav", ".flac", ".ogg", ".mp3")
_PATHS = ("vocal", "accompaniment", "mixture", "meta")
_LISTS = ("stems", "tags")
_VOCAL = ("vocals", "vocal")
_BAND = ("accompaniment", "instrumental", "no_vocals")
_MIX = ("mixture", "mix")


@dataclass(frozen=True)
class Source:
    """A song as it was found. `split` None: not said; `meta`: a JSON of what is known about its music (times in seconds)."""

    id: str
    split: str | None = None
    licence: str | None = None
    vocal: Path | None = None
    accompaniment: Path | None = None
    stems: tuple[Path, ...] = ()
    mixture: Path | None = None
    bpm: float | None = None
    key: str | None = None
    tags: tuple[str, ...] = ()
    meta: Path | None = None

    def __post_init__(self):
        if not re.fullmatch(r"\w[\w .+()&,'-]*", self.id):
            raise ManifestError(f"song id {self.id!r} cannot be a file name; use letters, digits, - and _")
        if self.split is not None and self.split not in SPLITS:
            raise ManifestError(f"split {self.split!r} of song {self.id} is none of {', '.join(SPLITS)}")
        if (self.vocal is None) == (self.mixture is None):
            raise ManifestError(f"song {self.id} needs either a vocal (with accompaniment or stems) or a mixture")
        others = (self.accompaniment is not None) + bool(self.stems)
        if others > 1 or (others and self.mixture is not None):
            raise ManifestError(f"song {self.id} needs one of accompaniment and stems, and neither of them beside a mixture")

    @property
    def files(self) -> list[Path]:
        """The sound files of the song, the vocal first."""
        return [path for path in (self.vocal, self.mixture, self.accompaniment, *self.stems) if path is not None]


def read_sources(path) -> list[Source]:
    """The songs of a .jsonl or .csv manifest or of a folder, paths resolved; nothing is decoded.

    Raises ManifestError (unreadable line, unknown field, an id twice, nothing found), OSError where it cannot be opened.
    """
    path = Path(path)
    if path.is_dir():
        found = _read_folder(path)
    elif path.suffix == ".csv":
        found = _read_rows(path, _csv_rows(path))
    else:
        found = _read_rows(path, _json_rows(path))
    if not found:
        raise ManifestError(f"{path} holds no songs; expected lines of JSON or CSV, or {', '.join(ENDINGS)} files in a folder")
    return found


def read_vocals(path, split: str | None = None) -> dict[str, Path]:
    """id -> vocal of the songs of a manifest or folder (of one split); sound in a folder that is no pair counts as a vocal.

    Raises ManifestError for a manifest's song that is a mixture, and where none is left.
    """
    songs = [song for song in read_sources(path) if split in (None, song.split)]
    for song in songs:
        if song.mixture is not None and not Path(path).is_dir():
            raise ManifestError(f"{path}: {song.id} is a mixture; give its vocal (accompgen prepare separates mixtures)")
    if not songs:
        raise ManifestError(f"{path} has no song of the split {split}")
    return {song.id: song.vocal or song.mixture for song in songs}


def choose_split(source: Source, held_out: float) -> str:
    """The split that the source says, or one that follows from its id: `held_out` is the share of each of validation and test.

    Other songs do not move when some are added or removed.
    """
    if source.split:
        return source.split
    place = int.from_bytes(hashlib.sha256(source.id.encode()).digest()[:8], "big") / 2**64
    return "validation" if place < held_out else "test" if place < 2 * held_out else "train"


def _json_rows(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise ManifestError(f"{path}, line {number}: {error}") from error


def _csv_rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        for row in rows:
            values = {name: text.strip() for name, text in row.items() if isinstance(text, str) and text.strip()}
            if None in row:
                raise ManifestError(f"{path}, line {rows.line_num}: more values than the header has names")
            for name in set(_LISTS) & set(values):
                values[name] = [part.strip() for part in values[name].split(";")]
            yield rows.line_num, values


def _read_rows(path, rows):
    songs, seen = [], {}
    for number, values in rows:
        try:
            song = _source(path.parent, dict(values))
        except (ManifestError, TypeError, ValueError) as error:
            raise ManifestError(f"{path}, line {number}: {error}") from error
        if song.id in seen:
            raise ManifestError(f"{path}, line {number}: song id {song.id} stands in line {seen[song.id]}, too")
        seen[song.id] = number
        songs.append(song)
    return songs


def _source(folder, values):
    """A row as a Source. `seconds` of our own manifests is passed over: the files say it themselves."""
    values.pop("seconds", None)
    values.pop("separated", None)
    unknown = sorted(set(values) - {field.name for field in fields(Source)})
    if unknown:
        raise ManifestError(f"unknown field {unknown[0]!r}; known are {', '.join(field.name for field in fields(Source))}")
    given = next((values[name] for name in ("vocal", "mixture") if values.get(name)), None)
    if "id" not in values and given is not None:
        values["id"] = _name(_place(Path(given)).as_posix())
    for name in _PATHS:
        if values.get(name) is not None:
            values[name] = folder / values[name]
    stems = values.get("stems") or ()
    if isinstance(stems, dict):  # by name, as in our own manifests: they sum to the accompaniment, where it is there
        stems = () if values.get("accompaniment") else stems.values()
    values["stems"] = tuple(folder / stem for stem in stems)
    values["tags"] = tuple(values.get("tags") or ())
    if values.get("bpm") is not None:
        values["bpm"] = float(values["bpm"])
    return Source(**{name: value for name, value in values.items() if value is not None})


def _place(path):
    """What names the song of a file: x for x/vocals.wav, x.vocal.wav and x.wav."""
    if path.stem.lower() in (*_VOCAL, *_MIX) and path.parent.name:
        return path.parent
    base, _, part = path.stem.rpartition(".")
    return path.with_name(base) if base and part in _VOCAL else path.with_suffix("")


def _name(text):
    """An id from a path without its ending."""
    return re.sub(r"[^\w.+()&,'-]+", "_", text.strip("./ ").replace("/", "-")).lstrip("-.+()&,'") or "song"


def _read_folder(root):
    groups = {}
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.suffix.lower() in ENDINGS and path.is_file() and not hidden:
            groups.setdefault(path.parent, []).append(path)
    found = []
    for folder, files in groups.items():
        found += _one_song(folder, files) or _several_songs(files)
    songs, seen = [], set()
    for place, values in found:
        relative = place.relative_to(root)
        name = _name(relative.as_posix())
        if name in seen:  # two paths that differ only in what an id cannot hold
            name += "-" + hashlib.sha256(relative.as_posix().encode()).hexdigest()[:6]
        seen.add(name)
        top = "validation" if relative.parts[0] == "valid" else relative.parts[0]
        songs.append(Source(name, top if top in SPLITS else None, **values))
    return songs


def _one_song(folder, files):
    """[(place, paths)] of a directory that is one song, or nothing."""
    by_stem = {path.stem.lower(): path for path in files}
    vocal = next((by_stem[name] for name in _VOCAL if name in by_stem), None)
    if vocal is None:
        return []
    band = next((by_stem[name] for name in _BAND if name in by_stem), None)
    if band is not None:
        return [(folder, {"vocal": vocal, "accompaniment": band})]
    stems = tuple(path for path in files if path != vocal and path.stem.lower() not in _MIX)
    return [(folder, {"vocal": vocal, "stems": stems})]


def _several_songs(files):
    """[(place, paths)]: pairs by their names, and mixtures."""
    found, by_name = [], {path.with_suffix("").name: path for path in files}
    for name, path in by_name.items():
        base, _, part = name.rpartition(".")
        if part in _BAND and any(f"{base}.{vocal}" in by_name for vocal in _VOCAL):
            continue
        if base and part in _VOCAL:
            band = next((by_name[f"{base}.{other}"] for other in _BAND if f"{base}.{other}" in by_name), None)
            found.append((path.with_name(base), {"vocal": path} | ({"accompaniment": band} if band else {})))
        else:
            found.append((path.with_name(name), {"mixture": path}))
    return found
