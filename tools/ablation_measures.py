"""The measures of tools/ablations.py: what a trained stage generates for validation songs, and what its chords make of it."""

import json
from dataclasses import replace

import numpy as np
import torch

from accompgen.component import file_hash, load_component
from accompgen.config import StageConfig, from_dict, window_blocks
from accompgen.data.batches import held_out_windows, prefix_ids_of, read_windows, stems_there, without_dropped
from accompgen.data.shards import open_shards, write_index, write_shard
from accompgen.data.songs import read_manifest
from accompgen.evaluation.harmony import chord_tone_share
from accompgen.generation.decode import decode, prepare_for_decoding
from accompgen.generation.sampling import PUBLISHED, Sampling
from accompgen.model.stage_lm import StageLM
from accompgen.seeding import make_generator
from accompgen.stages import ALL, SEMANTIC
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.training.hubert_probe import NONE, chord_roots

UNITS = f"{SEMANTIC}/{ALL}"
STEM = {"semantic": ALL, "coarse": ALL, "band": "harmony"}  # that is generated
SAMPLING = {"semantic": PUBLISHED, "coarse": Sampling(temperature=0.6)}
SECONDS = {"semantic": 10.0, "coarse": 3.2}  # of the windows that are generated
LOOKUP_SONGS = 200  # training songs on which it is counted which root a unit names


def hours(folder) -> float:
    """Sound that the run in `folder` learned from, a window counted as often as it came."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    seconds = config["segment_seconds"] if "segment_seconds" in config else config["window_seconds"]
    return config["steps"] * config["batch_size"] * seconds / 3600


def leave_units_out(shards, out) -> None:
    """Shards without a semantic stage's help: every song's units are the one unit 0, all else is as in `shards`."""
    opened, listed = open_shards(shards), []
    out.mkdir(parents=True, exist_ok=True)
    for shard in opened.index["shards"]:
        tokens = {song.id: opened.read(song) for song in opened.songs if song.shard == shard["file"]}
        for streams in tokens.values():
            streams[UNITS] = np.zeros_like(streams[UNITS])
        sizes = {"vocab": opened.index["semantic_vocab"], "bins": opened.index["bins"]}
        write_shard(out / shard["file"], shard["songs"], tokens, "one unit", sizes)
        listed.append({**shard, "bytes": (out / shard["file"]).stat().st_size, "sha256": file_hash(out / shard["file"])})
    write_index(out, listed, {key: value for key, value in opened.index.items() if key not in ("format_version", "shards")})


def measure(args, part, folder, stem, references) -> dict:
    """Figures of the stage trained in `folder`: of its validation, and the shares of what it generates, a window each.

    Args:
        args: the command line of tools/ablations.py: manifest, acoustic_tokenizer, windows and seed.
        part: semantic | coarse | band.
        folder: the run, at its end.
        stem: that is generated, beside nobody; "": that of the part.
        references: measure the true ids and those of other windows, too.
    """
    component, tensors = load_component(folder / "model")
    model = StageLM(from_dict(StageConfig, component["stage"], str(folder / "model")))
    model.load_state_dict(tensors)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shards, stage, stem = open_shards(settings["shards"]), model.config.stage, stem or STEM[part]
    blocks = window_blocks(SECONDS[stage])
    windows = held_out_windows(shards, model.config, blocks, args.windows, 0, args.seed)
    windows = [replace(window, stem=stem, others="") for window in windows if stem in stems_there(window.song, model.config)]
    context, target = read_windows(shards, model.config, windows, blocks)
    context = without_dropped(context, settings["stream_dropout"])
    generators = [make_generator(args.seed, stage, number) for number in range(len(windows))]
    prefix_ids = prefix_ids_of(model.config, windows)
    codes = decode(
        prepare_for_decoding(model.eval()), context, target.shape[-1], SAMPLING[stage], generators, prefix_ids=prefix_ids
    )
    known = {song.id: json.loads(song.meta.read_text(encoding="utf-8")) for song in read_manifest(args.manifest) if song.meta}
    share = root_shares(shards, known, windows) if stage == "semantic" else tone_shares(args.acoustic_tokenizer, known, windows)
    grids = {"generated": codes} | ({"truth": target, "shuffled pairs": target.roll(1, 0)} if references else {})
    return {"validation": component["validation"], "share": {name: share(grid) for name, grid in grids.items()}}


def root_shares(shards, known, windows):
    """A function: units [B, 1, S] of the windows -> of each, the share of frames whose unit names the root of the chord.

    A unit names the root over which it was counted most often in LOOKUP_SONGS training songs, in that stem; None where no
    chord sounds.
    """
    array = f"{SEMANTIC}/{windows[0].stem or ALL}"
    counts = np.zeros((shards.index["semantic_vocab"], 12))
    songs = [song for song in shards.songs if song.split == "train" and song.id in known and array in song.arrays]  # no copies
    for song in songs[:LOOKUP_SONGS]:
        units = shards.read(song, arrays=[array])[array]
        roots = chord_roots(known[song.id], len(units)).numpy()
        np.add.at(counts, (units[roots != NONE], roots[roots != NONE]), 1)
    named = counts.argmax(1)

    def share(units):
        rows = []
        for window, row in zip(windows, units[:, 0].numpy()):
            first = 2 * window.first_block
            roots = chord_roots(known[window.song.id], first + len(row)).numpy()[first:]
            there = roots != NONE
            rows.append(float((named[row] == roots)[there].mean()) if there.any() else None)
        return rows

    return share


def tone_shares(tokenizer, known, windows):
    """A function: codes [B, Q, F] of the windows -> of each, the share of its sound's energy on the tones of the chord."""
    codec = AcousticTokenizer.load(tokenizer)

    def share(codes):
        rows = []
        for window, row in zip(windows, codes):
            with torch.inference_mode():
                wav = codec.decode(row[None]).flatten().numpy()
            start = window.first_block / 25  # s
            chords = [(a - start, b - start, label) for a, b, label in known[window.song.id]["chords"]]
            rows.append(chord_tone_share(wav, chords))
        return rows

    return share


def read_probe(folder) -> dict:
    """What the tokenizer's training said of its targets and of its units."""
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {"units": {record["units_of"]: record for record in records if "units_of" in record}}
