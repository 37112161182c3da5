"""What songs there are before anything is done to them: a JSONL or CSV manifest, or a folder of
sound.

One song a line (JSONL) or row (CSV with a header, its columns divided by `,`, `;` or tabs), paths
relative to the manifest; in CSV, lists are separated by `;`:

    tracks                  in JSONL, {name: file}: vocal and accompaniment, vocal and stems, mixture, ...
    vocal + accompaniment   the same by columns: a pair, taken as it is
    vocal + stems           the stems are summed into the accompaniment
    mixture                 to be separated
    vocal                   alone: enough to generate for it
    id, split, licence, bpm, key, tags, meta     all optional

In a folder, a directory with a file `vocals.*` (or vocal.*) is a song, whose accompaniment is
`accompaniment.*` (or instrumental.*, no_vocals.*), or else the sum of the other files but
`mixture.*`: the layout of MUSDB18-HQ. `x.vocal.*` beside `x.accompaniment.*`, or beside
`x.bass.*`, `x.drums.*` and so on, is one, too; any other sound is a mixture. A top folder called
train, validation (or valid) or test says the split. data/folder_songs.py says what is passed over.
"""

import csv
import hashlib
import io
import re
import unicodedata
from dataclasses import dataclass, field, fields
from pathlib import Path

from accompgen import files
from accompgen.analysis.labels import read_key
from accompgen.data.folder_songs import MIX, VOCAL, PassedOver, find_songs
from accompgen.data.songs import (
    SPLITS,
    ManifestError,
    check_fields,
    check_length,
    json_lines,
    raise_all,
    read_text,
)
from accompgen.data.tracks import FIELDS, MIXTURE, Tracks, take_tracks
from accompgen.stages import VOICE

_LISTS = ("stems", "tags")
_NO_NAME = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f\ud800-\udfff]|^[ .-]|[ .]$')


@dataclass(frozen=True)
class Source:
    """A song as it was found.

    split: None where it is not said. meta: a JSON of what is known about its music (times in
    seconds). fault: why it cannot be used, None where it can.
    """

    id: str
    split: str | None = None
    licence: str | None = None
    tracks: Tracks = field(default_factory=Tracks, hash=False)
    bpm: float | None = None
    key: str | None = None
    tags: tuple[str, ...] = ()
    meta: Path | None = None
    fault: str | None = None

    def __post_init__(self):
        if not self.id or _NO_NAME.search(self.id):
            raise ManifestError(
                f"song id {self.id!r} cannot be a file name; use letters, digits, - and _"
            )
        check_length(self.id, files.NAME_BYTES)
        if self.split is not None and self.split not in SPLITS:
            raise ManifestError(
                f"split {self.split!r} of song {self.id} is none of {', '.join(SPLITS)}"
            )
        if (self.tracks.vocal is None) == (self.tracks.mixture is None):
            raise ManifestError(
                f"song {self.id} needs either a vocal (with accompaniment or stems) or a mixture"
            )
        if self.tracks.mixture and self.tracks.accompaniment:
            raise ManifestError(f"song {self.id} needs neither accompaniment nor stems beside a mixture")

    @property
    def files(self) -> list[Path]:
        """The sound files of the song that are read, the vocal or the mixture first."""
        return [self.tracks.vocal or self.tracks.mixture, *self.tracks.accompaniment]


def read_sources(path, passed: PassedOver | None = None) -> list[Source]:
    """The songs of a .jsonl or .csv manifest or of a folder, paths resolved; nothing is decoded.

    Args:
        passed: what a folder holds that is no part of a song is added to it.

    Raises ManifestError: nothing there or found, or lines that cannot be used, all of which it
    names (no JSON, an unknown field, a field of another kind, an id twice). In a folder, a song
    with a fault is among those that are returned.
    """
    path, passed = Path(path), PassedOver() if passed is None else passed
    if not path.exists():
        raise ManifestError(
            f"{path}: no such file or folder; give a .jsonl or .csv manifest, or a folder of songs"
        )
    if path.is_dir():
        found = _read_folder(path, passed)
    elif path.suffix.lower() == ".csv":
        found = _read_rows(path, _csv_rows(path))
    elif path.suffix.lower() in files.SOUND_ENDINGS:
        raise ManifestError(
            f"{path} is sound; give a .jsonl or .csv manifest, or the folder that the sound lies in"
        )
    else:
        found = _read_rows(path, json_lines(path))
    if not found:
        there = "; ".join(passed.lines())
        raise ManifestError(
            f"{path} holds no songs; expected lines of JSON or CSV, or sound such as .wav and .flac in a folder"
            + (f" ({there})" if there else "")
        )
    return found


def read_vocals(
    path, split: str | None = None, passed: PassedOver | None = None
) -> tuple[dict[str, Path], list[str]]:
    """(id -> vocal of the songs, why others cannot be used) of a manifest or folder, of one split.

    Sound in a folder that is no pair counts as a vocal.

    Raises ManifestError for a manifest's song that is a mixture, and where no song is there.
    """
    songs = [song for song in read_sources(path, passed) if split in (None, song.split)]
    for song in songs:
        if song.tracks.mixture and not Path(path).is_dir():
            raise ManifestError(
                f"{path}: {song.id} is a mixture; give its vocal (accompgen prepare separates mixtures)"
            )
    if not songs:
        raise ManifestError(f"{path} has no song of the split {split}")
    faults = [f"{song.id}: {song.fault}" for song in songs if song.fault]
    return {song.id: song.files[0] for song in songs if not song.fault}, faults


def choose_split(source: Source, held_out: float) -> str:
    """The split that the source says, or one that follows from its id: `held_out` is the share of
    each of validation and test.

    Other songs do not move when some are added or removed.
    """
    if source.split:
        return source.split
    place = _drawn(source)
    return "validation" if place < held_out else "test" if place < 2 * held_out else "train"


def choose_validation(sources: list[Source], count: int) -> dict[str, str]:
    """Song -> split, for a few songs, of which a share by the ids may be none: `count` songs are validation, the sources'
    own first, and the others that name no split are train, of which one stays at least."""
    unnamed = sorted((source for source in sources if not source.split), key=_drawn)
    wanted = count - sum(source.split == "validation" for source in sources)
    chosen = {source.id for source in unnamed[: max(0, min(wanted, len(unnamed) - 1))]}
    return {
        source.id: source.split or ("validation" if source.id in chosen else "train")
        for source in sources
    }


def _drawn(source):
    """Where in [0, 1) a song stands by the hash of its id."""
    return int.from_bytes(hashlib.sha256(source.id.encode()).digest()[:8], "big") / 2**64


# ---- manifests -----------------------------------------------------------------------------------


def _csv_rows(path):
    """(line number, values or a ManifestError) of the rows of a CSV file, lists divided and
    numbers read."""
    text = read_text(path)
    first, _, below = text.partition("\n")
    stated = re.fullmatch(r'"?sep=(.)"?', first.strip())  # Excel's own way to name the delimiter
    delimiter = stated[1] if stated else _delimiter(first)
    rows = csv.reader(
        io.StringIO(below if stated else text, newline=""), delimiter=delimiter, skipinitialspace=True
    )
    header = None
    try:
        for row in rows:
            number = rows.line_num + bool(stated)
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = [name.strip().lower() for name in row]
                continue
            extra = [cell for cell in row[len(header) :] if cell.strip()]
            if extra:
                yield (
                    number,
                    ManifestError(f"more values than the header has names: {', '.join(extra)}"),
                )
                continue
            yield number, _csv_values(dict(zip(header, row)), delimiter)
    except csv.Error as error:
        raise ManifestError(f"{path}, line {rows.line_num}: {error}") from error


def _delimiter(header):
    """The one of `,`, `;` and tab that divides a header into most names that are known."""
    known = {field.name for field in fields(Source)} | set(FIELDS)
    names = {
        mark: {name.strip(' "').lower() for name in header.split(mark)} & known for mark in ",;\t"
    }
    return max(names, key=lambda mark: len(names[mark]))


def _csv_values(row, delimiter):
    values = {name: text.strip() for name, text in row.items() if text.strip()}
    for name in set(_LISTS) & set(values):
        mark = "," if delimiter == ";" and ";" not in values[name] else ";"
        values[name] = [part.strip() for part in values[name].split(mark) if part.strip()]
    bpm = values.get("bpm", "").replace(",", "." if delimiter == ";" else ",")
    if re.fullmatch(r"[+-]?\d+(\.\d*)?", bpm):  # else it is told as it stands
        values["bpm"] = float(bpm)
    return values


def _read_rows(path, rows):
    songs, seen, problems = [], {}, {}
    for number, values in rows:
        try:
            if isinstance(values, ManifestError):
                raise values
            song = _source(path.parent, values)
            if song.id in seen:
                raise ManifestError(f"song id {song.id} stands in line {seen[song.id]}, too")
        except ValueError as error:
            problems[number] = str(error)
            continue
        seen[song.id] = number
        songs.append(song)
    raise_all(path, problems)
    return songs


def _source(folder, values):
    """A row as a Source. `seconds` and `separated` of our own manifests are passed over: the files
    say it themselves."""
    if isinstance(values, dict):
        values = {
            name: value
            for name, value in values.items()
            if name not in ("seconds", "separated") and value is not None
        }
    check_fields(values)
    known = [field.name for field in fields(Source) if field.name != "fault"]
    unknown = sorted(set(values) - {*known, *FIELDS})
    if unknown:
        raise ManifestError(f"unknown field {unknown[0]!r}; known are {', '.join([*known, *FIELDS[1:]])}")
    sounds = values | values.get("tracks", {})
    given = next((sounds[name] for name in (VOICE, MIXTURE) if sounds.get(name)), None)
    if "id" in values:
        values["id"] = files.one_form(values["id"])
    elif given is not None:
        values["id"] = _name(_place(Path(given)).as_posix())
    else:
        raise ManifestError(
            "a song needs either a vocal (with accompaniment or stems) or a mixture"
        )
    values["tracks"] = take_tracks(values, folder)
    if "meta" in values:
        values["meta"] = files.in_either_form(folder / values["meta"])
    values["tags"] = tuple(values.get("tags") or ())
    if "bpm" in values:
        values["bpm"] = float(values["bpm"])
    if "key" in values:
        read_key(values["key"])  # or it says what a key looks like
    return Source(**values)


def _place(path):
    """What names the song of a file: x for x/vocals.wav, x.vocal.wav and x.wav."""
    if path.stem.lower() in (*VOCAL, *MIX) and path.parent.name:
        return path.parent
    base, _, part = path.stem.rpartition(".")
    return path.with_name(base) if base and part in VOCAL else path.with_suffix("")


def _name(text):
    """An id from a path without its ending: characters that a name of a file may lack become `_`,
    a long one ends in a hash."""
    plain = files.one_form(text).strip("./ ").replace("/", "-")
    # vowel signs of Indian scripts, for one, are marks and no letters
    kept = (
        c if re.match(r"[\w.+()&,'-]", c) or unicodedata.category(c).startswith("M") else "\0"
        for c in plain
    )
    name = re.sub("\0+", "_", "".join(kept)).lstrip("-.+()&,'").rstrip(".") or "song"
    return files.short_name(name)


def _short_hash(text):
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:6]


# ---- folders -------------------------------------------------------------------------------------


def _read_folder(root, passed):
    songs, seen = [], set()
    for song in find_songs(root, passed):
        relative = song.place.relative_to(root)
        # the folder may be a song itself
        name = _name(relative.as_posix() if relative.parts else root.absolute().name)
        if name in seen:  # two paths that differ only in what an id cannot hold
            name += "-" + _short_hash(relative.as_posix())
        seen.add(name)
        top = "validation" if relative.parts[:1] == ("valid",) else (*relative.parts, "")[0]
        songs.append(Source(name, top if top in SPLITS else None, tracks=song.tracks, fault=song.fault))
    return songs
