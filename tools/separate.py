"""Voices out of mixtures: every sound file of a folder through demucs into another folder, under the same name."""

import argparse
import sys
from pathlib import Path

from accompgen import audio
from accompgen.data.separate import load_separator


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mixtures", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--model", default="htdemucs", help="a name on the hub, a file or a folder (default: htdemucs)")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    files = sorted(args.mixtures.glob("*.wav"))
    if not files:
        sys.exit(f"{args.mixtures} holds no wav files")
    try:
        separator = load_separator(args.model, args.device)
    except (ImportError, ValueError) as error:
        sys.exit(str(error))
    args.out.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(files, 1):
        print(f"\rclip {number} of {len(files)}", end="", file=sys.stderr, flush=True)
        target = args.out / path.name
        if target.exists():
            continue
        voice, _ = separator.split(*audio.read(path))
        level = audio.peak(voice)
        audio.write(target, voice * min(1.0, 0.99 / level) if level else voice, separator.rate, "PCM_16")
    print(file=sys.stderr)


if __name__ == "__main__":
    main()
