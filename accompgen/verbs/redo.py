"""Another take of a part of a song: `redo`."""

import argparse
from contextlib import nullcontext
from pathlib import Path

from accompgen.verbs.shared import add_engine, add_model, add_out, for_each, remark


def add_redo(verbs):
    parser = verbs.add_parser(
        "redo",
        help="another take of a part of a song, or of a stem",
        description="Writes the song anew; every sample outside the part, and every other stem, stays as it was.",
    )
    parser.add_argument("song", metavar="SONG.json", type=Path, help="what `generate` wrote beside the sound")
    parser.add_argument("--vocal", metavar="FILE", type=Path, help="its recording (default: where it was)")
    parser.add_argument(
        "--with", dest="others", metavar="FILE", type=Path, help="what else was played (default: what was, where it was)"
    )
    parser.add_argument("--from", dest="start", metavar="TIME", type=_seconds, default=0.0, help="such as 0:30 or 30.5")
    parser.add_argument("--to", dest="stop", metavar="TIME", type=_seconds, help="(default: the end)")
    parser.add_argument("--stem", metavar="NAME", action="append", help="only this one; again for more (default: all)")
    parser.add_argument("--prompt", metavar="TEXT", action="append", default=[], help="as for generate")
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="another seed, another take (default: 1)")
    add_out(parser, "where to write (default: take)", default=Path("take"))
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    add_model(parser)
    add_engine(parser)
    parser.set_defaults(run=run_redo, parser=parser)


def _seconds(text):
    from accompgen.prompts import read_time

    try:
        return read_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run_redo(args) -> int:
    from accompgen.generation.pipeline import load
    from accompgen.generation.progress import progress_bar
    from accompgen.generation.redo import check_weights, redo
    from accompgen.generation.song import output_paths, read_song, recording_of

    def work(path):
        song = read_song(path)
        recording = recording_of(song, args.vocal)
        others = args.others or song.report.get("others", {}).get("file")
        if others and not Path(others).exists():
            raise ValueError(f"{others}: no such file; say where what else was played is (--with FILE)")
        bits = song.report["files"].get("bit_depth") or "24"
        kind = Path(song.report["files"]["mix"]).suffix[1:]
        output_paths(args.out, song.name, kind, args.force, *song.parts)
        model = load(args.checkpoint, args.device, engine=args.engine)
        check_weights(model, song)
        asked = {"stems": args.stem, "seed": args.seed, "prompt": args.prompt or None, "others": others}
        with nullcontext() if args.quiet else progress_bar(song.name) as bar:
            take = redo(model, song, recording, args.start, args.stop, **asked, on_progress=bar)
        made = take.report["takes"][-1]
        softer = made.get("peaks_softer_db")
        softer = f", its peaks up to {softer:.1f} dB softer: the mix would pass -1 dBFS" if softer else ""
        remark(args, f"{path}: {', '.join(made['stems'])} anew{softer}")
        return take.save(args.out, kind, bits, args.force).values()

    return for_each([args.song], work)
