"""MUSDB18 or MUSDB18-HQ -> clips of the test split: vocals/, reference/ (all other stems), mixture/, and clips.json.

Files are named <track>@<start in seconds>.wav: what stands before the @ keeps the clips of a track together. A clip is kept if
vocal and reference both sound for a share of its time.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from tracks import DataError, find_tracks, read_track, safe_name

from accompgen import audio

FRAME_SECONDS = 0.05


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with test/")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip (default: 10)")
    parser.add_argument("--hop", type=float, default=10.0, help="from one clip's start to the next (default: 10)")
    parser.add_argument("--level", type=float, default=-40.0, help="dBFS over which a frame of 50 ms sounds (default: -40)")
    parser.add_argument(
        "--share", type=float, default=0.5, help="of frames that must sound, vocal and reference (default: 0.5)"
    )
    parser.add_argument("--clips", type=int, default=0, help="at most so many, drawn at random; 0: all (default)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        cut(args)
    except (DataError, audio.AudioError) as error:
        sys.exit(str(error))


def cut(args):
    """Find the clips that sound, and write them."""
    tracks = {safe_name(name): path for name, path in find_tracks(args.data, "test").items()}
    found = []
    for number, (name, path) in enumerate(tracks.items(), 1):
        print(f"\rtrack {number} of {len(tracks)}", end="", file=sys.stderr, flush=True)
        parts, rate = read_track(path)
        starts = plan(parts, rate, args.seconds, args.hop, args.level, args.share)
        found += [(name, path, start) for start in starts]
    print(file=sys.stderr)
    if not found:
        sys.exit(
            f"{args.data}: no clip of {args.seconds:g} s has vocal and band over {args.level:g} dBFS for {args.share:g} of it"
        )
    if args.clips and len(found) > args.clips:
        chosen = np.random.default_rng(args.seed).choice(len(found), args.clips, replace=False)
        found = [found[i] for i in sorted(chosen)]
    names = write_clips(found, args.out, args.seconds)
    values = {k: v for k, v in vars(args).items() if k not in ("data", "out")}
    about = {**values, "tracks": len(tracks), "clips_written": len(names), "names": names}
    audio.write_bytes(args.out / "clips.json", (json.dumps(about, indent=1) + "\n").encode())
    print(f"{len(names)} clips of {args.seconds:g} s from {len({n.split('@')[0] for n in names})} tracks in {args.out}")


def plan(parts, rate, seconds, hop, level, share) -> list[float]:
    """Starts in seconds of the clips whose vocal and reference sound."""
    length = parts["vocals"].shape[1] / rate
    starts = np.arange(0, max(length - seconds, -1) + 1e-6, hop)
    return [
        float(s) for s in starts if all(sounds(parts[p], rate, s, seconds, level) >= share for p in ("vocals", "reference"))
    ]


def sounds(wav, rate, start, seconds, level) -> float:
    """Share of frames of 50 ms in [start, start + seconds) whose RMS lies over `level` dBFS."""
    size = round(FRAME_SECONDS * rate)
    clip = audio.to_mono(wav[:, round(start * rate) : round((start + seconds) * rate)])
    frames = clip[: len(clip) // size * size].reshape(-1, size)
    return float((np.sqrt((frames**2).mean(axis=1)) > 10 ** (level / 20)).mean())


def write_clips(found, out, seconds) -> list[str]:
    """Write the three files of each clip, one gain for the three where a sum would clip; returns the clips' names."""
    names, last = [], None
    for part in ("vocals", "reference", "mixture"):
        (out / part).mkdir(parents=True, exist_ok=True)
    for name, path, start in found:
        if path != last:
            (parts, rate), last = read_track(path), path
        names.append(f"{name}@{start:05.1f}")
        cut = {part: wav[:, round(start * rate) :][:, : round(seconds * rate)] for part, wav in parts.items()}
        gain = np.float32(min(1.0, 0.99 / max(map(audio.peak, cut.values()))))
        for part, wav in cut.items():
            audio.write(out / part / f"{names[-1]}.wav", gain * wav, rate, "PCM_16")
    return names


if __name__ == "__main__":
    main()
