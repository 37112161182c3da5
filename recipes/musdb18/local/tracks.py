"""The tracks of a MUSDB18 or MUSDB18-HQ folder: which there are, what they lack, and their sound.

HQ: DATA/<split>/<track>/{vocals,drums,bass,other}.wav, and mixture.wav or else the sum of the stems. MUSDB18:
DATA/<split>/<track>.stem.mp4, five streams (mixture, drums, bass, other, vocals), read with ffmpeg.
"""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np

from accompgen import audio

SPLITS = {"train": 100, "test": 50}  # how many tracks the whole data set has
STEMS = ("drums", "bass", "other")
STREAMS = ("mixture", *STEMS, "vocals")
MP4_ENDING = ".stem.mp4"
MP4_RATE = 44100


class DataError(ValueError):
    """A folder that is no MUSDB18, or lacks something of it; the message names what."""


def find_tracks(data: Path, split: str) -> dict[str, Path]:
    """Name -> folder (HQ) or stem.mp4 of every track of a split, in the order of their names.

    Raises DataError if there is none, or if a track lacks stems: all that is missing is named.
    """
    folder = data / split
    if not folder.is_dir():
        there = ", ".join(sorted(path.name for path in data.glob("*"))[:5]) if data.is_dir() else "no folder at all"
        raise DataError(f"{data} is no MUSDB18: it has no {split}/ (found: {there or 'nothing'})")
    tracks, missing = {}, []
    for path in sorted(folder.glob("*")):
        if path.name.endswith(MP4_ENDING):
            tracks[path.name.removesuffix(MP4_ENDING)] = path
        elif path.is_dir() and not path.name.startswith("."):
            tracks[path.name] = path
            lacking = [f"{stem}.wav" for stem in ("vocals", *STEMS) if not (path / f"{stem}.wav").is_file()]
            missing += [f"{split}/{path.name}: {', '.join(lacking)}"] if lacking else []
    if not tracks:
        raise DataError(f"{folder} is empty: expected folders with vocals.wav (MUSDB18-HQ) or *{MP4_ENDING} (MUSDB18) in it")
    if missing:
        lines = [*missing[:20], f"and {len(missing) - 20} more tracks"] if len(missing) > 20 else missing
        raise DataError("\n  ".join(["stems are missing; unpack the archive again, or remove these tracks:", *lines]))
    return tracks


def safe_name(name: str) -> str:
    """A track's name as part of file names."""
    return re.sub(r"[^\w.-]+", "_", name)


def read_track(path: Path) -> tuple[dict[str, np.ndarray], int]:
    """{vocals, reference, mixture: wav [C, T]} and their rate; the reference is the sum of all other stems.

    Raises DataError (ffmpeg is missing, or cannot read a stream), AudioError (a stem cannot be read, or fits no other).
    """
    stems, rate = read_stems(path)
    reference = sum(stems[name] for name in STEMS)
    mixture = stems.get("mixture", reference + stems["vocals"])
    return {"vocals": stems["vocals"], "reference": reference, "mixture": mixture}, rate


def read_stems(path: Path) -> tuple[dict[str, np.ndarray], int]:
    """{vocals, drums, bass, other, maybe mixture: wav [C, T]} of a track and their rate. Raises as `read_track`."""
    return _read_mp4(path) if path.name.endswith(MP4_ENDING) else _read_folder(path)


def _read_folder(path):
    stems, rates = {}, set()
    for name in STREAMS:
        if name == "mixture" and not (path / "mixture.wav").is_file():
            continue
        stems[name], rate = audio.read(path / f"{name}.wav")
        rates.add(rate)
    lengths = {wav.shape for wav in stems.values()}
    if len(rates) > 1 or len(lengths) > 1:
        raise audio.AudioError(f"{path}: its stems differ in rate {sorted(rates)} or shape {sorted(lengths)}; get it again")
    return stems, rates.pop()


def _read_mp4(path):
    if not shutil.which("ffmpeg"):
        raise DataError(f"{path}: reading stem.mp4 needs ffmpeg on PATH; install it, or use MUSDB18-HQ, which is wav")
    stems = {}
    for index, name in enumerate(STREAMS):
        wanted = ["-map", f"0:a:{index}", "-ac", "2", "-ar", str(MP4_RATE), "-f", "f32le", "-"]
        done = subprocess.run(["ffmpeg", "-v", "error", "-i", path, *wanted], capture_output=True)
        if done.returncode:
            raise DataError(f"{path}: ffmpeg cannot read stream {index} ({name}): {done.stderr.decode().strip()[:200]}")
        stems[name] = np.frombuffer(done.stdout, np.float32).reshape(-1, 2).T
    length = min(wav.shape[1] for wav in stems.values())
    return {name: wav[:, :length] for name, wav in stems.items()}, MP4_RATE
