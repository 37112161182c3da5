"""MUSDB18 or MUSDB18-HQ, checked -> the songs to train on, as a manifest for `accompgen prepare`; more songs beside them.

The 14 tracks of validation.txt, which the package musdb holds out of train/, are the split validation (of a subset without any
of them: every tenth track); the test split is left to the evaluation. A stem.mp4 is decoded to flac beside the manifest.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tracks import MP4_ENDING, SPLITS, STEMS, DataError, find_tracks, read_track, safe_name

from accompgen import audio
from accompgen.data.folder_songs import PassedOver
from accompgen.data.sources import read_sources

LICENCE = "MUSDB18: for education and research only"
HELD_OUT = Path(__file__).with_name("validation.txt")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with train/ and test/")
    parser.add_argument("-o", "--out", metavar="MANIFEST", type=Path, help="what to write; without it, DATA is checked")
    parser.add_argument("--more", metavar="SONGS", type=Path, action="append", default=[], help="a manifest or folder, too")
    args = parser.parse_args(argv)
    try:
        tracks = {split: find_tracks(args.data, split) for split in SPLITS}
        report(args.data, tracks)
        if args.out:
            songs = [*own_songs(tracks["train"], args.out.absolute().parent / "decoded"), *more_songs(args.more)]
            lines = "".join(json.dumps(song, ensure_ascii=False) + "\n" for song in songs)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            audio.write_bytes(args.out, lines.encode())
            print(args.out)
    except (ValueError, OSError) as error:  # DataError, AudioError, ManifestError
        sys.exit(str(error))


def report(data, tracks):
    """How many tracks there are, and remarks on stderr where the data set has more."""
    print(f"{data}: " + ", ".join(f"{len(found)} tracks in {split}/, stems complete" for split, found in tracks.items()))
    for split, found in tracks.items():
        if len(found) != SPLITS[split]:
            print(f"{split}/ holds {len(found)} tracks, the data set {SPLITS[split]}: taken as a subset", file=sys.stderr)
    absent = sorted(validation_names() - set(tracks["train"]))
    if absent:
        print(f"train/ lacks {len(absent)} of the validation tracks: {'; '.join(absent)}", file=sys.stderr)


def validation_names() -> set[str]:
    return set(HELD_OUT.read_text(encoding="utf-8").split("\n")) - {""}


def own_songs(tracks, decoded) -> list[dict]:
    """Lines of the manifest for the tracks of train/."""
    held_out = validation_names() & set(tracks) or set(list(tracks)[::10])
    if len(held_out) == len(tracks):
        raise DataError(f"train/ holds {len(tracks)} tracks; at least one to train on and one to validate with are needed")
    songs, seen = [], {}
    for number, (name, path) in enumerate(tracks.items(), 1):
        song = {"id": safe_name(name), "split": "validation" if name in held_out else "train", "licence": LICENCE}
        if song["id"] in seen:
            raise DataError(f"{seen[song['id']]!r} and {name!r} would be the same file name; rename one of them")
        seen[song["id"]] = name
        if path.name.endswith(MP4_ENDING):
            print(f"\rdecoding track {number} of {len(tracks)}", end="", file=sys.stderr, flush=True)
            parts = decode(path, decoded / song["id"])
        else:
            parts = {"vocal": path.absolute() / "vocals.wav"}
            parts |= {stem: path.absolute() / f"{stem}.wav" for stem in STEMS}
        songs.append(song | {"tracks": {name: str(file) for name, file in parts.items()}})
    if decoded.exists():
        print(file=sys.stderr)
    return songs


def decode(path, folder) -> dict:
    """A stem.mp4 as two files, with one gain where their sum clips; what an earlier call wrote is kept."""
    files = {"vocal": folder / "vocals.flac", "accompaniment": folder / "accompaniment.flac"}
    if not all(file.exists() for file in files.values()):
        parts, rate = read_track(path)
        waves = {"vocal": parts["vocals"], "accompaniment": parts["reference"]}
        gain = np.float32(min(1.0, audio.PEAK_LIMIT / max(*map(audio.peak, waves.values()), 1e-9)))
        folder.mkdir(parents=True, exist_ok=True)
        for part, file in files.items():
            audio.write(file, gain * waves[part], rate, "PCM_16")
    return files


def more_songs(places) -> list[dict]:
    """Lines for the songs of other manifests or folders: to train on where they say no split; their test songs are left out."""
    lines = []
    for place in places:
        passed = PassedOver()
        sources = read_sources(place.absolute(), passed)
        for line in [*passed.lines(), *(f"left out, {source.id}: {source.fault}" for source in sources if source.fault)]:
            print(line, file=sys.stderr)
        sources = [source for source in sources if not source.fault]
        kept = [source for source in sources if source.split != "test"]
        left_out = len(sources) - len(kept)
        print(f"{place}: {len(kept)} more songs" + (f"; {left_out} of the split test are left out" if left_out else ""))
        for source in kept:
            values = {name: value for name, value in asdict(source).items() if value not in (None, ())}
            lines.append({**values, "split": source.split or "train"})
    return json.loads(json.dumps(lines, default=str))


if __name__ == "__main__":
    main()
