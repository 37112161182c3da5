"""`make bench`: how fast accompgen is, beside its peers and beside what the machine can do. docs/speed.md says how to read it.

    python tools/bench.py [decode] [song] [training] [start] [busy] [--quick] [-o bench]

Tables go to stdout; DIR/results.json, results.md and summary.md (what has a goal) keep the last figures of every part.
"""

import argparse
import importlib
import sys
import time
from pathlib import Path

import torch
from bench_report import (
    BenchError,
    Options,
    about,
    as_json,
    progress,
    read_results,
    section,
    write_results,
)
from bench_summary import summary

PARTS = ("decode", "song", "training", "start", "busy")


def main(argv=None) -> int:
    """Measure, print, write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; all of them if none is named")
    parser.add_argument("--quick", action="store_true", help="minute sizes, few repeats: does it all work?")
    parser.add_argument("-o", "--out", type=Path, default=Path("bench"))
    parser.add_argument("--checkpoint", default="pocket", help="name or directory")
    parser.add_argument("--devices", nargs="+", choices=("cpu", "cuda"), default=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=0, help="threads of the CPU; 0: as torch has it")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    unknown = [part for part in args.parts if part not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    try:
        return bench(args)
    except (BenchError, ValueError, OSError, ImportError) as error:
        print("bench:", " ".join(str(error).split()), file=sys.stderr)
        return 1


def bench(args) -> int:
    """Measure the parts one after the other; what is done is written before the next begins."""
    options = Options(args.checkpoint, args.quick, args.seed, args.threads, tuple(args.devices))
    if args.threads:
        torch.set_num_threads(args.threads)
    results = read_results(args.out / "results.json")
    files = []
    for name in args.parts or PARTS:
        progress(f"bench: {name}")
        part, known, started = importlib.import_module(f"bench_{name}"), about(options), time.perf_counter()
        measured = part.measure(options)
        known["seconds"] = round(time.perf_counter() - started, 1)
        text = part.text(measured)
        results[name] = {"about": known, **as_json(measured), "text": text}
        files = write_results(args.out, results, summary(results))
        print(section(name, known, text), flush=True)
    progress(f"written: {', '.join(map(str, files))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
