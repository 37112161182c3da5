"""Tokenising without networks, for tests that kill it: ids follow from the sound, and a shard takes some tenths of a second."""

import json
import multiprocessing
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np

from accompgen import audio
from accompgen.data import tokenize
from accompgen.data.songs import Song, write_manifest
from accompgen.data.tracks import Tracks

PAUSE_SECONDS = 0.05  # for each song, so that kills hit at every point
ATTEMPTS = os.environ.get("COUNTING_ATTEMPTS")  # a folder where each begun task leaves a file
STUCK_UNDER = os.environ.get("COUNTING_STUCK_UNDER")  # the process whose children never finish a task


class Counter:
    """Stands for a tokenizer: the id of a frame follows from its mean."""

    def __init__(self, rate, codebooks=None):
        self.sample_rate, self.codebooks, self.vocab, self.bins = rate, codebooks, 500, 1024

    def encode(self, wav, codebooks=None):
        ids = (wav.unfold(-1, 320, 320).mean(-1) * 5000 + 200).round().long().clamp(0, 499)
        return ids if codebooks is None else ids[:, None].repeat(1, codebooks, 1)


@dataclass(frozen=True)
class CountingJob(tokenize.Job):
    """The real job but for its tokenizers, and slower."""

    def load(self):
        return Counter(16000), Counter(24000, 8)

    def work(self, tokenizers, path, songs):
        if ATTEMPTS:
            Path(ATTEMPTS, f"{path.name}@{os.getppid()}@{uuid.uuid4().hex}").touch()
        time.sleep(3600 if str(os.getppid()) == STUCK_UNDER else PAUSE_SECONDS * len(songs))
        return super().work(tokenizers, path, songs)


def make_songs(folder, count=12):
    """A manifest of `count` songs of 0.4 s, and two component directories to hash -> the arguments of `tokenise`."""
    songs = []
    for number in range(count):
        tracks = Tracks({part: folder / f"{number}.{part}.wav" for part in ("vocal", "accompaniment")})
        for seed, path in enumerate(tracks.values()):
            rng = np.random.default_rng((number, seed))
            audio.write(path, (0.1 * rng.standard_normal((1, 6400))).astype(np.float32).clip(-1, 1), 16000)
        songs.append(Song(f"s{number}", "train", "none", 0.4, tracks))
    write_manifest(folder / "manifest.jsonl", songs)
    for name, kind in (("semantic", "semantic_tokenizer"), ("acoustic", "encodec")):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps({"kind": kind}))
        (folder / name / "model.safetensors").write_bytes(name.encode())
    return folder / "manifest.jsonl", folder / "semantic", folder / "acoustic"


def tokenise(songs, directory, executor="local", workers=0):
    """Tokenise into shards of two songs each with the job above."""
    with patch.object(tokenize, "Job", CountingJob):
        return tokenize.tokenize_manifest(*songs, directory, executor=executor, workers=workers, shard_minutes=0.9 / 60)


def run_and_kill(work, reached, seconds=0.0):
    """Call `work` in a forked process that is killed -9 `seconds` after `reached()` holds, unless it ends before."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    while child.is_alive() and not reached():
        time.sleep(0.001)
    child.join(seconds)
    if child.is_alive():
        child.kill()
    child.join()


def contents(directory):
    """Name -> bytes of every file, hidden ones too."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}
