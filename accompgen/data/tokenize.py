"""Songs -> token shards, by several processes or machines; stopped at any moment, it goes on where it was.

The manifest is divided into shards in its order, before anything runs; each shard is one task and one file. A file that exists
is whole and carries the plan it was made from, so that a second run makes only what is missing. What a song knows of its beats
and chords goes with it. Training songs may be followed by augmented copies of themselves, `<id>+1`, `<id>+2`, ...; of
validation songs, the units of the vocal may be kept a semitone higher, too: what does a transposed vocal cost?
"""

import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from accompgen import audio
from accompgen.component import CheckpointError, component_kind, tokens_hash
from accompgen.config import to_dict
from accompgen.data import shards
from accompgen.data.augment import draw
from accompgen.data.executors import check_executor, run_tasks
from accompgen.data.pairs import PairError
from accompgen.data.songs import Song, read_manifest
from accompgen.data.tokenize_song import NO_CHANGE, SEMITONES, Tokenizing, tokenize_song
from accompgen.device import choose_device
from accompgen.stages import ACOUSTIC, SEMANTIC
from accompgen.time import ACOUSTIC_HZ, SEMANTIC_HZ, seconds_of

INCOMPLETE = "-incomplete"  # behind the plan of a shard that lacks songs: the next call makes it anew


@dataclass(frozen=True)
class Job:
    """What every shard of a folder is made with."""

    semantic_tokenizer: str
    acoustic_tokenizer: str
    semantic_hash: str
    acoustic_hash: str
    config: Tokenizing
    device: str

    def copies(self, song: Song) -> int:
        """How many augmented copies of a song there are."""
        return self.config.augment.copies if self.config.augment and song.split == "train" else 0

    def plan(self, songs: list[Song]) -> str:
        """A digest of all that decides the content of the shard that holds `songs`."""
        values = {"hashes": [self.semantic_hash, self.acoustic_hash], "config": to_dict(self.config)}
        values["songs"] = [[song.id, song.split, song.seconds, song.separated] for song in songs]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def load(self):
        return _load(self)

    def work(self, tokenizers, path, songs: list[Song]) -> tuple[float, dict[str, str]]:
        """Make one shard -> seconds of processor time it took, and why songs are not in it: id -> reason."""
        start = time.process_time()
        left_out = _make_shard(path, songs, self, *tokenizers)
        return time.process_time() - start, left_out


def tokenize_manifest(
    manifest,
    semantic_tokenizer,
    acoustic_tokenizer,
    directory,
    config: Tokenizing = Tokenizing(),  # noqa: B008, frozen
    *,
    executor: str = "local",
    workers: int | None = None,
    shard_minutes: float = 10.0,
    device: str = "cpu",
    force: bool = False,
) -> dict:
    """Tokenise every song of a manifest into `directory`; finished shards of an earlier run are kept.

    The vocal becomes semantic units (at 16 kHz, after seeded Gaussian noise), each stem and mixture semantic units, each stem
    EnCodec codes (at 24 kHz), the song's annotated beats and chords ids of the chart; all over the same whole number of 40 ms
    blocks.

    Args:
        manifest: JSONL, see data/songs.py.
        semantic_tokenizer, acoustic_tokenizer: component directories.
        directory: the shards and their index.json, which is written last.
        config: what is made of a song.
        executor, workers: see data/executors.py; with Ray, `directory` and the songs must be seen by all machines.
        shard_minutes: sound a shard holds at most (but for a single longer song).
        force: make anew the shards that another manifest, other tokenizers or other settings left in `directory`.

    Returns:
        {"songs", "hours", "shards", "made", "seconds", "hours_per_core_hour", "left_out"}: what the folder holds (copies are
        songs, too), how many shards this call made, in which time, and with how much processor time (None if it made none);
        songs that cannot be used, id -> reason. Their shards hold the others, and the next call makes these shards anew.

    Raises:
        shards.ShardError: `directory` holds shards made otherwise and `force` is not set.
        CheckpointError: a directory that holds no such tokenizer.
        PairError: no song can be used. ManifestError: no such file, or lines that cannot be used.
        ExecutorError: see data/executors.py.
    """
    start = time.monotonic()
    places = (manifest, semantic_tokenizer, acoustic_tokenizer, directory)
    manifest, semantic_tokenizer, acoustic_tokenizer, directory = (Path(place).absolute() for place in places)
    check_executor(executor, workers)
    songs = read_manifest(manifest)
    _check_tokenizers(semantic_tokenizer, acoustic_tokenizer)
    hashes = tokens_hash(semantic_tokenizer), tokens_hash(acoustic_tokenizer)
    job = Job(str(semantic_tokenizer), str(acoustic_tokenizer), *hashes, config, device)
    _check_copies(songs, job)
    limit_seconds = shard_minutes * 60 / (1 + (config.augment.copies if config.augment else 0))
    tasks = {shards.shard_name(number): group for number, group in enumerate(_divide(songs, limit_seconds))}
    directory.mkdir(parents=True, exist_ok=True)
    for rest in directory.glob(".*.part"):  # of a run that was killed while it wrote
        rest.unlink(missing_ok=True)
    known = _known(directory, force)
    missing = [name for name, group in tasks.items() if not _finished(directory / name, job.plan(group), known, force)]
    core_seconds, left_out = _run({name: tasks[name] for name in missing}, job, directory, executor, workers)
    surplus = sorted({path.name for path in directory.glob("shard-*.safetensors")} - set(tasks))
    if surplus and not force:
        raise shards.ShardError(
            f"{directory / surplus[0]} is not of this manifest; use another folder, "
            "or --force (force=True) to remove it"
        )
    for name in surplus:
        (directory / name).unlink()
    names = [name for name in tasks if (directory / name).exists()]
    if not names:
        raise PairError(f"no song of {manifest} can be used: {'; '.join(list(left_out.values())[:3]) or 'it has none'}")
    listed = _write_index(directory, names, job)
    made = sum(_hours(shard) for shard in listed if shard["file"] in missing)
    return {
        "songs": sum(len(shard["songs"]) for shard in listed),
        "hours": round(sum(map(_hours, listed)), 3),
        "shards": len(names),
        "made": len(missing),
        "seconds": round(time.monotonic() - start, 1),
        "hours_per_core_hour": round(made * 3600 / core_seconds, 1) if made else None,
        "left_out": left_out,
    }


def _check_tokenizers(semantic, acoustic):
    """Raise CheckpointError where a directory holds something else, such as the other tokenizer."""
    from accompgen.tokens.encodec_weights import FORMAT
    from accompgen.tokens.semantic import KIND

    found = component_kind(semantic), component_kind(acoustic)
    hint = "; the two tokenizers are swapped" if found == (FORMAT, KIND) else ""
    places = ((SEMANTIC, semantic), (ACOUSTIC, acoustic))
    for (name, directory), held, expected in zip(places, found, (KIND, FORMAT)):
        if held != expected:
            raise CheckpointError(
                f"--{name}-tokenizer {directory} holds {held or 'no tokenizer'}; "
                f"expected {expected}{hint}"
            )


def _hours(shard):
    return seconds_of(sum(song["blocks"] for song in shard["songs"])) / 3600


def _check_copies(songs, job):
    names = {song.id for song in songs}
    for song in songs:
        for copy in range(1, job.copies(song) + 1):
            if f"{song.id}+{copy}" in names:
                raise shards.ShardError(
                    f"there is a song {song.id}+{copy}, as copy {copy} of {song.id} would be called; rename it"
                )


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


def _known(directory, force):
    """File -> (plan, sha256) as the index says, if an earlier run came to its end."""
    if not (directory / shards.INDEX_FILE).exists():
        return {}
    try:
        listed = shards.read_index(directory)["shards"]
    except shards.ShardError:  # of another version
        if force:
            return {}
        raise
    return {shard["file"]: (shard.get("plan"), shard["sha256"]) for shard in listed}


def _finished(path, plan, known, force):
    if not path.exists():
        return False
    if known.get(path.name, (None,))[0] == plan and shards.file_digest(path) != known[path.name][1]:
        print(f"{path} was altered since it was made; it is made anew", file=sys.stderr)
        return False
    found = shards.read_header(path)[0]
    if found == plan:
        return True
    if not force and found != plan + INCOMPLETE:
        raise shards.ShardError(
            f"{path} was made from other songs, tokenizers or settings; use another folder, "
            "or --force (force=True) to make it anew"
        )
    return False


def _run(tasks, job, directory, executor, workers):
    """Make the shards -> seconds of processor time they took, and the songs that cannot be used: id -> reason."""
    start, done, core_seconds, left_out = time.monotonic(), 0.0, 0.0, {}
    lengths = {name: sum(song.seconds * (1 + job.copies(song)) for song in songs) for name, songs in tasks.items()}
    total = sum(lengths.values())
    arguments = {name: (directory / name, songs) for name, songs in tasks.items()}
    for name, (seconds, problems) in run_tasks(job, arguments, executor, workers):
        core_seconds += seconds
        left_out |= problems
        done += lengths[name]
        elapsed = time.monotonic() - start
        speed, left = done / elapsed, elapsed * (total - done) / done
        print(f"{name}: {done / 3600:.2f} of {total / 3600:.2f} h, {speed:.0f} x real time, {left:.0f} s left", file=sys.stderr)
    return core_seconds, left_out


def _load(job):
    from accompgen.tokens.acoustic import AcousticTokenizer
    from accompgen.tokens.semantic import SemanticTokenizer

    device = choose_device(job.device)
    semantic = SemanticTokenizer.load(job.semantic_tokenizer, device)
    acoustic = AcousticTokenizer.load(job.acoustic_tokenizer, device)
    if (asked := job.config.codebooks) > acoustic.codebooks:
        raise shards.ShardError(f"{asked} codebooks asked for; {job.acoustic_tokenizer} has {acoustic.codebooks}")
    return semantic, acoustic


def _make_shard(path, songs, job, semantic, acoustic):
    """Write the shard of these songs -> why some are not in it: id -> reason."""
    entries, tokens, left_out = [], {}, {}
    for song in songs:
        try:
            made = _all_of(song, job, semantic, acoustic)
        except (PairError, audio.AudioError) as error:
            left_out[song.id] = str(error) if song.id in str(error) else f"{song.id}: {error}"
            continue
        for entry, arrays in made:
            entries.append(entry)
            tokens[entry["id"]] = arrays
    if entries:
        plan = job.plan(songs) + (INCOMPLETE if left_out else "")
        shards.write_shard(path, entries, tokens, plan, {"vocab": semantic.vocab, "bins": acoustic.bins})
    else:
        path.unlink(missing_ok=True)
    return left_out


def _all_of(song, job, semantic, acoustic):
    """(entry of the index, arrays) of a song and its copies."""
    made, config = [], job.config
    for copy in range(1 + job.copies(song)):
        name, change, about = song.id, NO_CHANGE, {}
        if copy:
            name, change = f"{song.id}+{copy}", draw(config.augment, config.seed, song.id, copy, song.separated)
            about = {"song": song.id, "copy": copy, "changes": change.values()}
        blocks, arrays = tokenize_song(song, semantic, acoustic, config, copy, change)
        if shards.TRANSPOSED in arrays:
            about = {"transposed": SEMITONES}
        made.append(({"id": name, "split": song.split, "blocks": blocks, "licence": song.licence, **about}, arrays))
    return made


def _write_index(directory, names, job):
    listed, sizes = [], {}
    for name in names:
        path = directory / name
        plan, songs, sizes = shards.read_header(path)
        about = {"bytes": path.stat().st_size, "sha256": shards.file_digest(path), "plan": plan}
        listed.append({"file": name, **about, "songs": songs})
    about = {
        "tokenizers": {SEMANTIC: job.semantic_hash, ACOUSTIC: job.acoustic_hash},
        "semantic_hz": SEMANTIC_HZ,
        "acoustic_hz": ACOUSTIC_HZ,
        "semantic_vocab": sizes["vocab"],
        "bins": sizes["bins"],
        **to_dict(job.config),
    }
    shards.write_index(directory, listed, about)
    return listed
