"""Pairs -> token shards, by several processes; stopped at any moment, it goes on where it was.

The manifest is divided into shards in its order, before anything runs; each shard is one task and one file. A file that exists
is whole and carries the plan it was made from, so that a second run makes only what is missing.
"""

import hashlib
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from accompgen.checkpoint import component_hash, file_hash
from accompgen.data import shards
from accompgen.data.pairs import read_pair
from accompgen.data.songs import Song, read_manifest
from accompgen.stages import ACOUSTIC_HZ, SEMANTIC_HZ

VOCAL_NOISE = 0.01  # sigma of the Gaussian noise on the vocal before HuBERT, as in AccompGen's inference script


@dataclass(frozen=True)
class Job:
    """What every shard of a folder is made with."""

    semantic_tokenizer: str
    acoustic_tokenizer: str
    semantic_hash: str
    acoustic_hash: str
    codebooks: int
    vocal_noise: float
    seed: int
    device: str

    def plan(self, songs: list[Song]) -> str:
        """A digest of all that decides the content of the shard that holds `songs`."""
        keys = ("semantic_hash", "acoustic_hash", "codebooks", "vocal_noise", "seed")
        values = {key: asdict(self)[key] for key in keys}
        values["songs"] = [[song.id, song.split, song.seconds] for song in songs]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def tokenize_manifest(
    manifest,
    semantic_tokenizer,
    acoustic_tokenizer,
    directory,
    *,
    workers: int = 2,
    shard_minutes: float = 10.0,
    codebooks: int = 8,
    vocal_noise: float = VOCAL_NOISE,
    seed: int = 0,
    device: str = "cpu",
    force: bool = False,
) -> dict:
    """Tokenise every song of a manifest into `directory`; finished shards of an earlier run are kept.

    The vocal becomes semantic units (at 16 kHz, after seeded Gaussian noise of sigma `vocal_noise`), the accompaniment semantic
    units and the first `codebooks` EnCodec codebooks (at 24 kHz), all over the same whole number of 40 ms blocks.

    Args:
        manifest: JSONL, see data/songs.py.
        semantic_tokenizer, acoustic_tokenizer: component directories.
        directory: the shards and their index.json, which is written last.
        workers: processes, of one thread each; 0 runs in this process.
        shard_minutes: sound a shard holds at most (but for a single longer song).
        force: make anew the shards that another manifest, other tokenizers or other settings left in `directory`.

    Returns:
        {"songs", "hours", "shards", "made", "seconds"}: what the folder holds and what this call did.

    Raises:
        shards.ShardError: `directory` holds shards made otherwise and `force` is not set.
        PairError, AudioError, ManifestError: a song that cannot be used, named.
    """
    start, directory = time.monotonic(), Path(directory)
    hashes = component_hash(semantic_tokenizer), component_hash(acoustic_tokenizer)
    job = Job(str(semantic_tokenizer), str(acoustic_tokenizer), *hashes, codebooks, vocal_noise, seed, device)
    groups = _divide(read_manifest(manifest), shard_minutes * 60)
    tasks = {shards.shard_name(number): songs for number, songs in enumerate(groups)}
    directory.mkdir(parents=True, exist_ok=True)
    missing = [name for name, songs in tasks.items() if not _finished(directory / name, job.plan(songs), force)]
    _run({name: tasks[name] for name in missing}, job, directory, workers)
    surplus = sorted({path.name for path in directory.glob("shard-*.safetensors")} - set(tasks))
    if surplus and not force:
        raise shards.ShardError(f"{directory / surplus[0]} is not of this manifest; use another folder, or force to remove it")
    for name in surplus:
        (directory / name).unlink()
    listed = _write_index(directory, list(tasks), job)
    hours = sum(song["blocks"] for shard in listed for song in shard["songs"]) / 25 / 3600
    songs = sum(len(shard["songs"]) for shard in listed)
    seconds = round(time.monotonic() - start, 1)
    return {"songs": songs, "hours": round(hours, 3), "shards": len(tasks), "made": len(missing), "seconds": seconds}


def tokenize_song(song: Song, semantic, acoustic, codebooks: int, vocal_noise: float, seed: int) -> tuple[int, dict]:
    """The tokens of one song: its number of 40 ms blocks and {"vocal" [S], "semantic" [S], "codes" [Q, F]} as int arrays.

    The noise depends on the seed and the song's id alone, so that neither the order nor the number of processes changes it.
    """
    import torch

    blocks, waves = read_pair(song, (semantic.sample_rate, acoustic.sample_rate))
    vocal, band = (torch.from_numpy(wav)[None] for wav in waves[semantic.sample_rate])  # [1, T]
    digest = hashlib.sha256(f"{seed}:{song.id}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    vocal = vocal + vocal_noise * torch.randn(vocal.shape, generator=generator)
    wide = torch.from_numpy(waves[acoustic.sample_rate][1])[None]
    with torch.inference_mode():
        tokens = {
            "vocal": semantic.encode(vocal)[0],  # [S]
            "semantic": semantic.encode(band)[0],
            "codes": acoustic.encode(wide, codebooks)[0],  # [Q, F]
        }
    return blocks, {name: ids.cpu().numpy() for name, ids in tokens.items()}


def _divide(songs, limit_seconds):
    """Consecutive songs in groups of at most `limit_seconds`; more songs at the end leave the earlier groups as they are."""
    groups, filled = [[]], 0.0
    for song in songs:
        if groups[-1] and filled + song.seconds > limit_seconds:
            groups.append([])
            filled = 0.0
        groups[-1].append(song)
        filled += song.seconds
    return [group for group in groups if group]


def _finished(path, plan, force):
    if not path.exists():
        return False
    if shards.read_header(path)[0] == plan:
        return True
    if not force:
        raise shards.ShardError(
            f"{path} was made from other songs, tokenizers or settings; use another folder, or force to make it anew"
        )
    return False


def _run(tasks, job, directory, workers):
    start = time.monotonic()
    done = 0.0
    total = sum(song.seconds for songs in tasks.values() for song in songs)
    for name in _results(tasks, job, directory, workers):
        done += sum(song.seconds for song in tasks[name])
        elapsed = time.monotonic() - start
        speed, left = done / elapsed, elapsed * (total - done) / done
        print(f"{name}: {done / 3600:.2f} of {total / 3600:.2f} h, {speed:.0f} x real time, {left:.0f} s left", file=sys.stderr)


def _results(tasks, job, directory, workers):
    """Names of the tasks as they are finished."""
    if workers == 0:
        tokenizers = _load(job)
        for name, songs in tasks.items():
            _make_shard(directory / name, songs, job, *tokenizers)
            yield name
        return
    if not tasks:
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), spawn, initializer=_start_worker, initargs=(job,)) as pool:
        futures = {pool.submit(_work, directory / name, songs): name for name, songs in tasks.items()}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        finally:
            pool.shutdown(cancel_futures=True)


_worker = {}  # what a worker process loads once


def _start_worker(job):
    import torch

    torch.set_num_threads(1)
    _worker["job"], _worker["tokenizers"] = job, _load(job)


def _work(path, songs):
    _make_shard(path, songs, _worker["job"], *_worker["tokenizers"])


def _load(job):
    from accompgen.tokens.acoustic import AcousticTokenizer
    from accompgen.tokens.semantic import SemanticTokenizer

    semantic = SemanticTokenizer.load(job.semantic_tokenizer, job.device)
    acoustic = AcousticTokenizer.load(job.acoustic_tokenizer, job.device)
    if job.codebooks > acoustic.codebooks:
        raise shards.ShardError(f"{job.codebooks} codebooks asked for; {job.acoustic_tokenizer} has {acoustic.codebooks}")
    return semantic, acoustic


def _make_shard(path, songs, job, semantic, acoustic):
    entries, tokens = [], {}
    for song in songs:
        blocks, tokens[song.id] = tokenize_song(song, semantic, acoustic, job.codebooks, job.vocal_noise, job.seed)
        entries.append({"id": song.id, "split": song.split, "blocks": blocks, "licence": song.licence})
    about = {"vocab": semantic.vocab, "bins": acoustic.bins}
    shards.write_shard(path, entries, tokens, job.plan(songs), about)


def _write_index(directory, names, job):
    listed, sizes = [], {}
    for name in names:
        path = directory / name
        _, songs, sizes = shards.read_header(path)
        listed.append({"file": name, "bytes": path.stat().st_size, "sha256": file_hash(path), "songs": songs})
    about = {
        "tokenizers": {"semantic": job.semantic_hash, "acoustic": job.acoustic_hash},
        "semantic_hz": SEMANTIC_HZ,
        "acoustic_hz": ACOUSTIC_HZ,
        "semantic_vocab": sizes["vocab"],
        "bins": sizes["bins"],
        "codebooks": job.codebooks,
        "vocal_noise": job.vocal_noise,
        "seed": job.seed,
    }
    shards.write_index(directory, listed, about)
    return listed
