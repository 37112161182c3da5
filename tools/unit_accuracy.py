"""How well units tell the sung pitch class: of known voices, of others, and of real singers.

    python tools/unit_accuracy.py SONGS/manifest.jsonl [--tokenizer pocket]
        [--old slt,rms,awb,kal16] [--recording VOICE.wav NOTES.csv] [-o FILE.md]

SONGS is a folder of `accompgen synthesize`. A majority lookup (unit -> pitch class most often sung)
is learned on training songs: those of the old voices, as many of all voices, and all. It is measured
on held-out songs, on those of voices that no training song has, and on recordings with notes (CSV:
onset in seconds, Hz, duration in seconds). A vocal is heard as `generate` hears it.
"""

import argparse
import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from accompgen.data.songs import read_manifest
from accompgen.generation.vocal import VOCAL_NOISE, conditioning, read_vocal
from accompgen.tokens.load import load_tokenizer
from accompgen.tokens.semantic import SemanticTokenizer
from accompgen.training.hubert_probe import NONE, lookup_accuracy, sung_classes

OLD = "slt,rms,awb,kal16"  # the only voices before others were added


@dataclass(frozen=True)
class Heard:
    """A vocal as units [S] and the pitch class sung at each [S], -1 where none is."""

    split: str
    voice: str
    units: torch.Tensor
    classes: torch.Tensor


def hear(tokenizer, path, notes, split="", voice=""):
    """The units of a sound file beside its notes, [(start, end, MIDI pitch), ...]."""
    units = tokenizer.encode(conditioning(read_vocal(path), VOCAL_NOISE, seed=0))[0].cpu()
    return Heard(split, voice, units, sung_classes({"notes": notes}, len(units)))


def read_notes(path):
    """Notes of a CSV file without a header: onset in seconds, Hz, duration in seconds.

    Returns [(start, end, nearest MIDI pitch), ...]; ValueError that names file and line.
    """
    notes = []
    with open(path, newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.reader(file), 1):
            try:
                start, hertz, duration = map(float, row)
                notes.append((start, start + duration, round(69 + 12 * math.log2(hertz / 440))))
            except ValueError as error:
                expected = "expected onset in seconds, Hz, duration in seconds"
                raise ValueError(f"{path}, line {number}: {row}; {expected}") from error
    return notes


def hear_songs(manifest, tokenizer):
    """Every song of a manifest that knows its notes and its singer's voice."""
    heard = []
    for song in read_manifest(manifest):
        meta = json.loads(song.meta.read_text(encoding="utf-8")) if song.meta else {}
        if "notes" in meta and "singer" in meta:
            voice = meta["singer"]["voice"]
            heard.append(hear(tokenizer, song.tracks.vocal, meta["notes"], song.split, voice))
    if not any(song.split == "train" for song in heard):
        raise ValueError(f"{manifest}: no training song with notes and a singer in its meta file")
    return heard


def lookups(train, old):
    """{what a lookup is learned on: its songs}."""
    of_old = [song for song in train if song.voice in old]
    step = len(train) / max(1, len(of_old))
    spread = [train[int(i * step)] for i in range(len(of_old))]
    named = {"old voices": of_old, "as many of all": spread, "all voices": train}
    return {name: songs for name, songs in named.items() if songs}


def groups(heard, old, recordings):
    """{row: its songs}: held-out songs by what training knows of their voice, each voice, recordings."""
    known = {song.voice for song in heard if song.split == "train"}
    held_out = [song for song in heard if song.split != "train"]
    rows = {
        "held out, old voices": [song for song in held_out if song.voice in known & old],
        "held out, other voices of training": [s for s in held_out if s.voice in known - old],
        "held out, voices that training does not know": [
            s for s in held_out if s.voice not in known
        ],
    }
    rows |= {
        f"voice {name}": [s for s in held_out if s.voice == name]
        for name in sorted({s.voice for s in held_out})
    }
    rows |= {name: [song] for name, song in recordings.items()}
    return {name: songs for name, songs in rows.items() if songs}


def table(heard, old, recordings, vocab):
    """The accuracies as a table in Markdown."""
    learned = lookups([song for song in heard if song.split == "train"], old)
    lines = [
        "| measured on | songs | "
        + " | ".join(f"{name} ({len(songs)})" for name, songs in learned.items())
        + " |"
    ]
    lines.append("|" + "---|" * (2 + len(learned)))
    for row, songs in groups(heard, old, recordings).items():
        shares = [lookup_accuracy(pairs(train), pairs(songs), vocab) for train in learned.values()]
        lines.append(
            f"| {row} | {len(songs)} | "
            + " | ".join(f"{100 * share:.1f} %" for share in shares)
            + " |"
        )
    return "\n".join(lines)


def pairs(songs):
    """As `lookup_accuracy` wants them."""
    return [(song.units, song.classes) for song in songs]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path, help="of synthetic songs")
    parser.add_argument(
        "--tokenizer", default="pocket", help="a checkpoint, or a semantic tokenizer's folder"
    )
    parser.add_argument(
        "--old", default=OLD, metavar="NAMES", help=f"the old voices (default: {OLD})"
    )
    parser.add_argument(
        "--recording", nargs=2, action="append", default=[], metavar=("VOICE", "NOTES")
    )
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE.md", help="write the table there, too"
    )
    args = parser.parse_args(arguments)
    if args.out and args.out.exists():
        parser.error(f"{args.out} exists; name another file")
    tokenizer = open_tokenizer(args.tokenizer)
    recordings = {
        Path(path).name: hear(tokenizer, path, read_notes(notes)) for path, notes in args.recording
    }
    for name, song in recordings.items():
        if not (song.classes != NONE).any():
            parser.error(f"{name}: no note lies within the recording")
    heard = hear_songs(args.manifest, tokenizer)
    text = table(heard, set(args.old.split(",")), recordings, tokenizer.vocab)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


def open_tokenizer(name):
    """The semantic tokenizer in a folder of its own, or that of a checkpoint."""
    if (Path(name) / "model.safetensors").exists():
        return SemanticTokenizer.load(name)
    return load_tokenizer(name, "semantic", "cpu")


if __name__ == "__main__":
    main()
