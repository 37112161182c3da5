"""Token shards without sound: songs whose accompaniment follows the vocal by a fixed table, so that a model can learn it."""

import numpy as np

from accompgen.component import file_hash
from accompgen.data import shards
from accompgen.data.submixes import name_of
from accompgen.stages import STEMS

VOCAB, BINS, CODEBOOKS = 12, 10, 4


def make_shards(directory, songs=8, blocks=50, seed=0, follow=True, transposed=False, band=False):
    """Write `songs` songs of `blocks` blocks in two shards; every fourth is validation. Returns the directory.

    A vocal unit lasts some frames; the semantic unit is a permutation of it and the codes derive from that one (`follow`), or
    both are drawn by themselves. `transposed`: validation songs also hold their vocal with every unit replaced by the next.
    `band`: songs also hold stems, of two of them a mixture, and a chart; song 0 lacks the harmony, its mixture and the chart.
    """
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    table = np.random.default_rng(1).permutation(VOCAB)
    made, entries = {}, []
    for number in range(songs):
        vocal = _held(rng, blocks * 2, VOCAB)
        semantic = table[vocal] if follow else _held(rng, blocks * 2, VOCAB)
        arrays = {"semantic/vocal": vocal, "semantic/all": semantic, "acoustic/all": _codes(semantic)}
        if band:
            arrays |= _band(np.random.default_rng((seed, number)), blocks, STEMS if number else STEMS[:2])
        made[f"song-{number}"] = arrays
        split = "validation" if number % 4 == 3 else "train"
        entries.append({"id": f"song-{number}", "split": split, "blocks": blocks, "licence": "none"})
        if transposed and split == "validation":
            made[f"song-{number}"][shards.TRANSPOSED] = (vocal + 1) % VOCAB
            entries[-1]["transposed"] = 1.0
    listed = []
    for number, part in enumerate((entries[: songs // 2], entries[songs // 2 :])):
        path = directory / shards.shard_name(number)
        shards.write_shard(path, part, made, "plan", {"vocab": VOCAB, "bins": BINS})
        found = shards.read_header(path)[1]  # with the names of their arrays
        listed.append({"file": path.name, "bytes": path.stat().st_size, "sha256": file_hash(path), "songs": found})
    about = {"tokenizers": {"semantic": "s" * 64, "acoustic": "a" * 64}, "semantic_vocab": VOCAB, "bins": BINS}
    shards.write_index(directory, listed, {**about, "codebooks": CODEBOOKS, "vocal_noise": 0.01, "seed": 0})
    return directory


def _codes(units):
    """Codes [Q, F] that follow from the units [S] that sound with them."""
    at = units[np.arange(len(units) * 3 // 2) * 2 // 3]
    return np.stack([(at * (q + 1) + q) % BINS for q in range(CODEBOOKS)])


def _band(rng, blocks, stems):
    """Arrays of stems; beside three of them the mixture of the first and the last, beats, and chords, some unknown."""
    arrays = {}
    for stem in stems:
        arrays[f"semantic/{stem}"] = _held(rng, blocks * 2, VOCAB)
        arrays[f"acoustic/{stem}"] = _codes(arrays[f"semantic/{stem}"])
    if len(stems) > 2:
        arrays[f"semantic/{name_of((stems[-1], stems[0]))}"] = _held(rng, blocks * 2, VOCAB)
        chords = np.where(np.arange(blocks) % 40 < 5, -1, np.arange(blocks) // 10 + rng.integers(12))
        arrays |= {"beat": np.arange(blocks * 2) % 32, "chord": chords}
    return arrays


def _held(rng, frames, vocab):
    """Ids that are held for 3 to 8 frames each."""
    ids, lengths = rng.integers(0, vocab, frames), rng.integers(3, 9, frames)
    return np.repeat(ids, lengths)[:frames]
