"""`make demo`: one vocal through the shipped checkpoint, with everything a newcomer wants to hear and see in one folder."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from accompgen import CHECKPOINT


def main(argv=None) -> int:
    """Run the demo; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vocal", type=Path, help="a recording of a singing voice: wav, flac, mp3, m4a, ogg, webm")
    parser.add_argument("-o", "--out", type=Path, default=Path("demo"))
    parser.add_argument("--checkpoint", default=CHECKPOINT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--force", action="store_true", help="replace the files of an earlier demo")
    args = parser.parse_args(argv)
    try:
        return demo(args)
    except (ValueError, OSError, ImportError) as error:
        print("demo:", " ".join(str(error).split()), file=sys.stderr)
        return 1


def demo(args) -> int:
    """Sing, write, draw, and print where things are and how long each step took."""
    import accompgen
    from accompgen import audio

    started = time.perf_counter()
    model = accompgen.load(args.checkpoint)
    loaded = time.perf_counter() - started
    song = model.accompany(args.vocal, seed=args.seed, progress=True)
    files = song.save(args.out, force=args.force)

    vocal = args.out / f"{args.vocal.stem}.vocal.wav"
    wav, rate = audio.read(args.vocal)
    audio.write(vocal, wav, rate, "FLOAT" if audio.peak(wav) > 1 else None)
    picture = args.out / f"{args.vocal.stem}.png"
    sounds = [vocal, files["accompaniment"], files["mix"]]
    drawing = [sys.executable, Path(__file__).with_name("picture.py"), *sounds, "-o", picture]
    started = time.perf_counter()
    if subprocess.run([*drawing, "--force"] if args.force else drawing).returncode:
        return 1  # it has said why
    drawn = time.perf_counter() - started

    print(f"\n{args.vocal.name}, {song.seconds:.1f} s of singing, accompanied by `{args.checkpoint}` (seed {args.seed})\n")
    for step, seconds in {"load the weights": loaded, **song.timings, "draw the picture": drawn}.items():
        print(f"  {step:<28} {seconds:7.1f} s")
    print("\nListen and look:")
    for path in (vocal, *files.values(), picture):
        print(f"  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
