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

from accompgen import audio

ENDINGS = (".wav", ".flac", ".mp3", ".ogg")
VOCAL_TAGS = (".vocal", ".vocals")
ACCOMPANIMENT_TAGS = (".accompaniment", ".instrumental")
OTHER_TAGS = (".mix", ".mixture", ".drums", ".bass", ".harmony")
LENGTH_TOLERANCE_SECONDS = 0.1


class EvaluationError(ValueError):
    """Nothing can be scored; the message names the folder and says what is wanted."""


@dataclass
class Report:
    """What the user must know: `problems` make the evaluation incomplete (exit 1), `notes` do not."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def problem(self, text):
        if text not in self.problems:
            self.problems.append(text)

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)


def find_songs(folder, role: str) -> dict[str, Path]:
    """Name -> file of the songs in a folder; `role` is vocal or accompaniment: the other one's files are passed over.

    Raises EvaluationError if there is no such folder, or if two files have the same name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is not a folder; give one with a sound file for each song")
    mine, others = (VOCAL_TAGS, ACCOMPANIMENT_TAGS) if role == "vocal" else (ACCOMPANIMENT_TAGS, VOCAL_TAGS)
    songs = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in ENDINGS or path.name.startswith("."):
            continue
        name = path.stem
        if name.endswith(others + OTHER_TAGS):
            continue
        for tag in mine + others:  # song.vocal.accompaniment.wav is what was made for song.vocal.wav
            name = name.removesuffix(tag)
        if name in songs:
            raise EvaluationError(f"{folder}: {songs[name].name} and {path.name} are both the song {name!r}; remove one")
        songs[name] = path
    return songs


def match(wanted, there, folder, what: str, report: Report) -> list[str]:
    """The names in both; every one that is missing on either side becomes a problem."""
    missing, extra = sorted(set(wanted) - set(there)), sorted(set(there) - set(wanted))
    if missing:
        report.problem(f"{folder}: {len(missing)} of {len(set(wanted))} songs have no {what}: {_some(missing)}")
    if extra:
        report.problem(f"{folder}: {len(extra)} {what} files belong to no song that is scored: {_some(extra)}")
    return sorted(set(wanted) & set(there))


def bar(items, progress: bool, what: str):
    """The items, with a progress bar on stderr."""
    from tqdm import tqdm

    return tqdm(items, desc=what, unit="file", file=sys.stderr, disable=not progress)


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


def read_annotation(folder, name: str, report: Report) -> dict:
    """What is known of a song's music from NAME.json: beats, chords, key, bpm, each optional.

    Beats are times or [time, position], chords are [start, end, label]. An empty dict where there is no such file, or
    where it cannot be read, which becomes a problem.
    """
    path = Path(folder) / f"{name}.json"
    if not path.is_file():
        report.problem(f"{folder}: no annotation {name}.json; the song's beats are tracked on its reference")
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        beats = [float(beat[0] if isinstance(beat, list) else beat) for beat in values.get("beats", [])]
        chords = [(float(start), float(end), str(label)) for start, end, label in values.get("chords", [])]
        found = {"beats": beats, "chords": chords, "key": values.get("key"), "bpm": values.get("bpm")}
        return {name: value for name, value in found.items() if value}
    except (OSError, ValueError, TypeError, AttributeError, IndexError) as error:
        report.problem(f"{path} is no annotation ({error}); the song is scored without it")
        return {}


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
