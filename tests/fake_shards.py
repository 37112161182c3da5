"""Token shards without sound: songs whose accompaniment follows the vocal by a fixed table, so that a model can learn it."""

import numpy as np

from accompgen.checkpoint import file_hash
from accompgen.data import shards

VOCAB, BINS, CODEBOOKS = 12, 10, 4


def make_shards(directory, songs=8, blocks=50, seed=0, follow=True, transposed=False):
    """Write `songs` songs of `blocks` blocks in two shards; every fourth is validation. Returns the directory.

    A vocal unit lasts some frames; the semantic unit is a permutation of it and the codes derive from that one (`follow`), or
    both are drawn by themselves. `transposed`: validation songs also hold their vocal with every unit replaced by the next.
    """
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    table = np.random.default_rng(1).permutation(VOCAB)
    made, entries = {}, []
    for number in range(songs):
        vocal = _held(rng, blocks * 2, VOCAB)
        semantic = table[vocal] if follow else _held(rng, blocks * 2, VOCAB)
        at = semantic[np.arange(blocks * 3) * 2 // 3]
        codes = np.stack([(at * (q + 1) + q) % BINS for q in range(CODEBOOKS)])
        made[f"song-{number}"] = {"vocal": vocal, "semantic": semantic, "codes": codes}
        split = "validation" if number % 4 == 3 else "train"
        entries.append({"id": f"song-{number}", "split": split, "blocks": blocks, "licence": "none"})
        if transposed and split == "validation":
            made[f"song-{number}"]["vocal_transposed"] = (vocal + 1) % VOCAB
            entries[-1]["transposed"] = 1.0
    listed = []
    for number, part in enumerate((entries[: songs // 2], entries[songs // 2 :])):
        path = directory / shards.shard_name(number)
        shards.write_shard(path, part, made, "plan", {"vocab": VOCAB, "bins": BINS})
        listed.append({"file": path.name, "bytes": path.stat().st_size, "sha256": file_hash(path), "songs": part})
    about = {"tokenizers": {"semantic": "s" * 64, "acoustic": "a" * 64}, "semantic_vocab": VOCAB, "bins": BINS}
    shards.write_index(directory, listed, {**about, "codebooks": CODEBOOKS, "vocal_noise": 0.01, "seed": 0})
    return directory


def _held(rng, frames, vocab):
    """Ids that are held for 3 to 8 frames each."""
    ids, lengths = rng.integers(0, vocab, frames), rng.integers(3, 9, frames)
    return np.repeat(ids, lengths)[:frames]
