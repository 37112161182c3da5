"""Folders of songs: which files belong together, and which seconds of each are scored.

Files belong together by name. `NAME.wav`, `NAME.vocal.wav` and `NAME.accompaniment.wav` are all the song NAME; a folder
may hold both parts of each song, and mixes (`NAME.mix.wav`), which are passed over. What stands before an "@" in a name
is the recording a clip was cut from.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from accompgen import audio, files
from accompgen.analysis import labels

VOCAL_TAGS = (".vocal", ".vocals")
ACCOMPANIMENT_TAGS = (".accompaniment", ".instrumental")
STEM_TAGS = (".drums", ".bass", ".harmony", ".mix")
OTHER_TAGS = (*STEM_TAGS, ".mixture")
LENGTH_TOLERANCE_SECONDS = 0.1


class EvaluationError(ValueError):
    """Nothing can be scored; the message names the folder and says what is wanted."""


@dataclass
class Report:
    """What the user must know: `problems` make the evaluation incomplete (exit 1), `notes` do not.

    What is wrong with many songs in the same way is one problem that names them.
    """

    notes: list[str] = field(default_factory=list)
    _found: dict[str, dict[str, str]] = field(default_factory=dict)  # text -> song -> detail

    def problem(self, text):
        self._found.setdefault(text, {})

    def problem_of(self, song, text, detail=""):
        """`text` is wrong with a song; `detail`, such as its length, may differ from song to song."""
        self._found.setdefault(text, {})[song] = detail

    @property
    def problems(self) -> list[str]:
        """A line for each kind of problem."""
        return [_line(text, songs) for text, songs in self._found.items()]

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)


def _line(text, songs):
    if not songs:
        return text
    named = [f"{song} ({detail})" if detail else song for song, detail in songs.items()]
    if len(named) == 1:
        return f"{named[0]}: {text}"
    return f"{len(named)} songs: {text}: {_some(named)}"


def find_songs(folder, role: str, report: Report | None = None) -> dict[str, Path]:
    """Name -> file of the songs in a folder; `role` is vocal or accompaniment: the other one's files are passed over.

    Names are compared in one form of Unicode. Two files of one song become a problem of the report, and the song is left
    out; without a report they are an error.

    Raises EvaluationError if there is no such folder, or, without a report, if two files have the same name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is not a folder; give one with a sound file for each song")
    mine, others = _tags(role)
    songs: dict[str, list[Path]] = {}
    for path in _sounds(folder):
        name = files.one_form(path.stem)
        if name.endswith(others + OTHER_TAGS):
            continue
        for tag in mine + others:  # song.vocal.accompaniment.wav is what was made for song.vocal.wav
            name = name.removesuffix(tag)
        songs.setdefault(name, []).append(path)
    for name, (first, *more) in list(songs.items()):
        if more:
            text = f"{folder}: {first.name} and {more[0].name} are both the song {name!r}; remove one"
            if report is None:
                raise EvaluationError(text)
            report.problem(text)
            del songs[name]
    return {name: path for name, (path,) in songs.items()}


def why_none(folder, role: str) -> str:
    """Why `find_songs` found nothing in a folder, to begin a message with."""
    sounds, (mine, others) = _sounds(Path(folder)), _tags(role)
    if not sounds:
        return f"{folder} holds no sound files"
    if not all(files.one_form(path.stem).endswith(others + OTHER_TAGS) for path in sounds):
        return f"{folder}: each of its songs has two files"
    what = {"vocal": "a vocal", "accompaniment": "an accompaniment"}[role]
    counted, passed = (
        ", ".join(f"NAME{tag}.wav" for tag in tags) for tags in (("", *mine), others + OTHER_TAGS)
    )
    return (
        f"{folder}: none of its {len(sounds)} sound files counts as {what} by its name; "
        f"{counted} do, {passed} do not"
    )


def _tags(role):
    """The endings of names of a role's own files, and those of the other one's."""
    both = VOCAL_TAGS, ACCOMPANIMENT_TAGS
    return both if role == "vocal" else both[::-1]


def _sounds(folder):
    """The sound files of a folder by their names, sorted; a folder is none, whatever its name."""
    paths = (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    return [p for p in paths if p.suffix.lower() in files.SOUND_ENDINGS and not p.is_dir()]


def find_stems(folder) -> dict[str, dict[str, Path]]:
    """drums, bass, harmony and mix -> name -> file: `NAME.drums.wav` is one of the song NAME. Those that a folder has."""
    found: dict[str, dict[str, Path]] = {}
    for path in _sounds(Path(folder)):
        name, dot, stem = files.one_form(path.stem).rpartition(".")
        if dot + stem in STEM_TAGS:
            for tag in VOCAL_TAGS:  # song.vocal.drums.wav is what was made for song.vocal.wav
                name = name.removesuffix(tag)
            found.setdefault(stem, {})[name] = path
    return {tag[1:]: found[tag[1:]] for tag in STEM_TAGS if tag[1:] in found}


def output_name(path: Path) -> str:
    """What the files beside an accompaniment are called: NAME of NAME.accompaniment.wav, of NAME.lab and of NAME.json."""
    name = files.one_form(path.stem)
    for tag in ACCOMPANIMENT_TAGS:
        name = name.removesuffix(tag)
    return name


def match(wanted, there, folder, what: str, report: Report) -> list[str]:
    """The names in both; every one that is missing on either side becomes a problem."""
    missing, extra = sorted(set(wanted) - set(there)), sorted(set(there) - set(wanted))
    if missing:
        report.problem(f"{folder}: {len(missing)} of {len(set(wanted))} songs have no {what}: {_some(missing)}")
    if extra:
        report.problem(f"{folder}: {len(extra)} {what} files belong to no song that is scored: {_some(extra)}")
    return sorted(set(wanted) & set(there))


def bar(items, progress: bool, what: str, unit: str = "file"):
    """The items, with a progress bar on stderr that counts them as `unit`."""
    from tqdm import tqdm

    return tqdm(items, desc=what, unit=unit, file=sys.stderr, disable=not progress)


def _some(names):
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def read(path, report: Report):
    """(wav [C, T], rate), or None where the file cannot be used, which becomes a problem."""
    try:
        return audio.read(path)
    except audio.AudioError as error:
        report.problem(str(error))
        return None


@dataclass(frozen=True)
class Plan:
    """The windows of a song: `count` of `seconds` each, one behind the other from its start."""

    seconds: float
    count: int

    def cut(self, mono: np.ndarray, rate: int) -> list[np.ndarray]:
        """The windows of sound [T] at `rate`; what is missing at the end is zeros."""
        size = round(self.seconds * rate)
        mono = audio.fit(mono, size * self.count)
        return list(mono.reshape(self.count, size))


def plan_windows(length_seconds: float, window_seconds: float, most: int | None = None) -> Plan:
    """Whole windows that fit, at most `most`; a song shorter than one window is one window of its own length."""
    whole = int((length_seconds + 1e-6) / window_seconds)
    if whole < 1:
        return Plan(length_seconds, 1)
    return Plan(window_seconds, min(whole, most or whole))


def without_annotation(folder, names, report: Report) -> None:
    """One problem for all songs that have no file of annotations."""
    bare = [name for name in names if not _annotation_path(folder, name).is_file()]
    if bare:
        report.problem(
            f"{folder}: {len(bare)} of {len(names)} songs have no annotation NAME.json, so their beats are tracked on the "
            f"reference, if there is one: {_some(bare)}"
        )


def _annotation_path(folder, name):
    return files.in_either_form(Path(folder) / f"{name}.json")


def read_annotation(folder, name: str, report: Report) -> dict:
    """What is known of a song's music from NAME.json: beats, chords, key, bpm, each optional.

    Beats are times or [time, position], chords are [start, end, label]; keys and chords may be spelled as people write
    them (analysis/labels.py). What is missing or cannot be read becomes a problem, and the rest is used.

    Returns: beats [seconds], chords [(start, end, label of Harte et al.)], key such as A:min, bpm; those that are known.
    """
    path = _annotation_path(folder, name)
    if not path.is_file():  # `without_annotation` tells of all of them
        return {}
    try:
        values = json.loads(files.read_text(path))
        if not isinstance(values, dict):
            raise ValueError("it holds no object in braces")
    except (OSError, ValueError) as error:
        report.problem(f"{path} is no annotation ({error}); the song is scored without it")
        return {}
    found = {}
    for field_name, read_field in (("beats", _beats), ("chords", _chords), ("key", labels.read_key), ("bpm", _tempo)):
        if values.get(field_name) in (None, "", []):
            continue
        try:
            found[field_name] = read_field(values[field_name])
        except (ValueError, TypeError, IndexError) as error:
            report.problem(f"{path}: its {field_name} cannot be used ({error}); the song is scored without")
    return found


def _beats(values):
    return [_seconds(beat[0] if isinstance(beat, list) else beat) for beat in values]


def _chords(values):
    return [(_seconds(start), _seconds(end), labels.read_chord(label)) for start, end, label in values]


def _seconds(value):
    seconds = float(value)
    if not np.isfinite(seconds):
        raise ValueError(f"{value!r} is no time in seconds")
    return seconds


def _tempo(value):
    bpm = float(value)
    if not 0 < bpm < 1000:
        raise ValueError(f"{value!r} is no number of beats a minute")
    return bpm


def clip_annotation(annotation: dict, start: float, end: float) -> dict:
    """The beats and chords between two times, counted from the first; key and tempo as they are."""
    clipped = dict(annotation)
    if "beats" in annotation:
        clipped["beats"] = [time - start for time in annotation["beats"] if start <= time < end]
    if "chords" in annotation:
        inside = [
            (max(a, start) - start, min(b, end) - start, label) for a, b, label in annotation["chords"] if a < end and b > start
        ]
        clipped["chords"] = inside
    return clipped
