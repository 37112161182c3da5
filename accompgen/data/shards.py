"""Token shards: a folder of safetensors files with an index beside them.

    index.json               format_version, vocabularies, tokenizer hashes, per shard its sha256 and its songs
    shard-00000.safetensors  per song `<id>/<array>`, int16: named by the tokenizer and by what it heard

An array is [T], or [Q, T] of a tokenizer with codebooks, T frames at the tokenizer's rate: `semantic/vocal`, `semantic/all` (of
the accompaniment), `semantic/drums`, `semantic/drums+bass` (a mixture), `acoustic/all`, ...; `beat` and `chord` are the song's
chart, -1 where it is not known; `semantic/vocal_transposed` are the units of the vocal sung higher. The index lists what a song
has.

Safetensors was chosen because it is well kept, holds no code, and is memory-mapped: any window of any song is read without
reading the rest, by many processes at once. A shard is written under a temporary name and renamed, so that a shard that
exists is whole; its header carries what it was made from, so that the index can be rebuilt and a stopped run goes on.

A shard that was altered is found by its sha256 before any of its tokens are used: when the folder is opened if it holds up to
1 GB (some 200 hours), else when the shard is first read. To tokenise again finds it too, and makes it anew.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from accompgen.files import replacing, sha256_of
from accompgen.stages import RATES, SEMANTIC, TOKENIZERS, VOICE
from accompgen.time import frames_of

FORMAT_VERSION = 2
INDEX_FILE = "index.json"
HEADER_KEY = "accompgen"
TRANSPOSED = f"{SEMANTIC}/{VOICE}_transposed"
CHECK_AT_OPEN_BYTES = 1 << 30  # folders up to this size are hashed as a whole when they are opened: a second or two


class ShardError(ValueError):
    """Shards that cannot be used; the message names the file."""


@dataclass(frozen=True)
class Entry:
    """One song of the shards.

    Its length is in blocks of 40 ms; `arrays` are the names of those it has. The array TRANSPOSED, if there, is the vocal so
    many semitones higher.
    """

    id: str
    split: str
    blocks: int
    shard: str
    arrays: tuple[str, ...] = ()
    transposed: float = 0.0


def frame_rate(array: str) -> int:
    """Frames a second of an array. Raises ShardError for a name of no known tokenizer."""
    tokenizer = array.partition("/")[0]
    if tokenizer not in RATES:
        raise ShardError(f"array {array!r} is of no known tokenizer; expected one of {', '.join(RATES)}")
    return RATES[tokenizer]


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.safetensors"


def write_shard(path, songs: list[dict], tokens: dict[str, dict], plan: str, sizes: dict) -> None:
    """Write one shard atomically.

    Args:
        path: where; an existing file is replaced.
        songs: per song the entry for the index: {"id", "split", "blocks", ...}; the names of its arrays are added.
        tokens: id -> {array: integers [T] or [Q, T], from 0 (of the chart from -1) to 2^15 - 1}.
        plan: a digest of what the shard was made from.
        sizes: {"vocab", "bins"}: how many ids the semantic and the acoustic streams have.

    Raises:
        ShardError: lengths that are not whole blocks or do not agree, or an id that int16 cannot hold.
    """
    from safetensors.numpy import save

    tensors = {}
    for song in songs:
        for name, ids in tokens[song["id"]].items():
            array, frames = np.asarray(ids), frames_of(song["blocks"], frame_rate(name))
            if array.ndim not in (1, 2) or array.shape[-1] != frames:
                raise ShardError(
                    f"{song['id']}: {name} has the shape {array.shape}; {song['blocks']} blocks need {frames} frames"
                )
            lowest = 0 if name.partition("/")[0] in TOKENIZERS else -1
            if array.min() < lowest or array.max() >= 2**15:
                raise ShardError(
                    f"{song['id']}: {name} holds ids from {array.min()} to {array.max()}; int16 needs {lowest} to 32767"
                )
            tensors[f"{song['id']}/{name}"] = np.ascontiguousarray(array, dtype=np.int16)
    songs = [{**song, "arrays": list(tokens[song["id"]])} for song in songs]
    path = Path(path)
    about = {"plan": plan, "songs": songs, "sizes": sizes}  # under one key: safetensors stores several in any order
    with replacing(path) as file:
        # not safetensors' save_file: killed, it leaves a temporary file of a name of its own choice
        file.write(save(tensors, metadata={HEADER_KEY: json.dumps(about)}))


def read_header(path) -> tuple[str, list[dict], dict]:
    """The plan, the songs and the sizes that a shard carries. Raises ShardError if it cannot be read."""
    metadata = _open_file(path).metadata() or {}
    if HEADER_KEY not in metadata:
        raise ShardError(f"{path} is no token shard: its header has no {HEADER_KEY!r}")
    about = json.loads(metadata[HEADER_KEY])
    return about["plan"], about["songs"], about["sizes"]


def write_index(directory, shards: list[dict], about: dict) -> None:
    """Write index.json: `about` (vocabularies, tokenizers, ...) and per shard {"file", "bytes", "sha256", "plan", "songs"}."""
    values = {"format_version": FORMAT_VERSION, **about, "shards": shards}
    with replacing(Path(directory) / INDEX_FILE) as file:
        file.write((json.dumps(values, indent=1) + "\n").encode())


class Shards:
    """Random access to the tokens of an indexed folder.

    Attributes: `index` (the whole index.json), `songs` (list of Entry), `tokenizers` ({"semantic": hash, "acoustic": hash}).
    """

    def __init__(self, directory, index: dict):
        self._open = lru_cache(maxsize=256)(self._open_checked)
        self.directory, self.index = Path(directory), index
        self.tokenizers = index["tokenizers"]
        self._unchecked = {shard["file"]: shard["sha256"] for shard in index["shards"]}
        self.songs = [
            Entry(
                **{key: song[key] for key in ("id", "split", "blocks", "transposed") if key in song},
                arrays=tuple(song["arrays"]),
                shard=shard["file"],
            )
            for shard in index["shards"]
            for song in shard["songs"]
        ]

    def check(self) -> None:
        """Hash the shards that were not hashed yet. Raises ShardError naming the first that differs from the index."""
        for name in list(self._unchecked):
            self._check_shard(name)

    def _check_shard(self, name):
        path, expected = self.directory / name, self._unchecked[name]
        found = file_digest(path)
        if found != expected:
            raise ShardError(
                f"{path} was altered: its sha256 begins with {found[:8]}, the index says {expected[:8]}; run `accompgen "
                "tokenize` again, which makes it anew"
            )
        del self._unchecked[name]

    def _open_checked(self, name):
        if name in self._unchecked:
            self._check_shard(name)
        return _open_file(self.directory / name)

    def read(self, song: Entry, first_block: int = 0, blocks: int | None = None, arrays=None) -> dict[str, np.ndarray]:
        """The tokens of `blocks` blocks from `first_block` on: array -> int16 [T] or [Q, T].

        Args:
            arrays: names of those to read; None: all that the song has.

        Raises ShardError for a span outside of the song, an array that it lacks, a shard that was altered or that cannot be
        read.
        """
        blocks = song.blocks - first_block if blocks is None else blocks
        if first_block < 0 or blocks < 1 or first_block + blocks > song.blocks:
            raise ShardError(f"{song.id} has {song.blocks} blocks; asked for {blocks} from block {first_block} on")
        file, tokens = self._open(song.shard), {}
        for name in song.arrays if arrays is None else arrays:
            if name not in song.arrays:
                raise ShardError(f"{song.id} has no {name}; it has {', '.join(song.arrays)}")
            at, hz = file.get_slice(f"{song.id}/{name}"), frame_rate(name)
            span = slice(frames_of(first_block, hz), frames_of(first_block + blocks, hz))
            tokens[name] = at[span] if len(at.get_shape()) == 1 else at[:, span]
        return tokens


def open_shards(directory) -> Shards:
    """The shards of a folder that `tokenize` has finished.

    Raises ShardError for a missing or unreadable index, another format version, a missing shard, one of another size, and in
    folders of up to CHECK_AT_OPEN_BYTES one that was altered.
    """
    index = read_index(directory)
    for shard in index["shards"]:
        file = Path(directory) / shard["file"]
        if not file.is_file():
            raise ShardError(f"{file} is missing; run `accompgen tokenize` again")
        size = file.stat().st_size
        if size != shard["bytes"]:
            raise ShardError(f"{file} has {size} bytes, the index says {shard['bytes']}; run `accompgen tokenize` again")
    opened = Shards(directory, index)
    if sum(shard["bytes"] for shard in index["shards"]) <= CHECK_AT_OPEN_BYTES:
        opened.check()
    return opened


def read_index(directory) -> dict:
    """index.json of a folder of shards. Raises ShardError if it is missing, unreadable or of another format version."""
    path = Path(directory) / INDEX_FILE
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ShardError(f"cannot read {path}: {error.strerror}; run `accompgen tokenize` until it is done") from error
    except json.JSONDecodeError as error:
        raise ShardError(f"{path} is not valid JSON: {error}; remove it and run `accompgen tokenize` again") from error
    if index.get("format_version") != FORMAT_VERSION:
        raise ShardError(
            f"{path} has format_version {index.get('format_version')!r}; this version reads {FORMAT_VERSION}: tokenize the "
            "songs again, into another folder or with --force"
        )
    return index


def file_digest(path) -> str:
    """sha256 of a file, hexadecimal. Raises ShardError if it cannot be read."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise ShardError(f"cannot read {path}: {error.strerror}; run `accompgen tokenize` again") from error


def _open_file(path):
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise ShardError(f"{path} cannot be read as a shard: {error}; remove it and tokenize again") from error
