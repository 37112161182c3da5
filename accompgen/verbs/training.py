"""Weights: `train`, `export`, and `fetch` for published ones."""

import os
from pathlib import Path

from accompgen.verbs.shared import add_out, print_values

KINDS = ("semantic tokenizer", "acoustic tokenizer", "decoder", "stage", "beat tracker", "text tokenizer")


def add_train(verbs):
    parser = verbs.add_parser(
        "train",
        help="train a tokenizer, a decoder, a stage or a beat tracker",
        description="A stopped call goes on from what it saved last.",
    )
    parser.add_argument("config", metavar="CONFIG.toml", type=Path)
    # torchrun takes a word that begins one of its own options, such as --run, for that one; --run-dir is no such word
    parser.add_argument("--run-dir", "--run", metavar="DIR", type=Path, help="default: runs/<name of CONFIG>")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="such as model.width=256")
    parser.add_argument("--pause", metavar="MINUTES", type=float, help="end this call after so long, saved; the next goes on")
    parser.set_defaults(run=run_train, parser=parser)


def run_train(args) -> int:
    if args.pause is not None and not args.pause > 0:
        args.parser.error(f"--pause is {args.pause:g}; expected minutes, more than 0")
    from accompgen.config import read_toml

    values = read_toml(args.config, args.set)
    kind = _kind(values, args.config)
    if kind != "stage" and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        args.parser.error(f"{args.config} trains no stage, which one process does; start it without torchrun or deepspeed")
    return _train(kind, values, args)


def _kind(values, path) -> str:
    """What a configuration says that it trains. Raises ConfigError where it does not, or says what nothing here trains."""
    from accompgen.config import ConfigError

    kind = values.get("kind")
    if kind not in KINDS:
        kinds = ", ".join(f'"{name}"' for name in KINDS)
        found = "missing" if kind is None else repr(kind)
        raise ConfigError(f"{path}: kind is {found}; write kind = one of {kinds} at its top")
    return kind


def _train(kind, values, args):
    pause = {"pause_after_minutes": args.pause} if args.pause else {}
    run_dir = args.run_dir or Path("runs") / args.config.stem
    if kind == "stage":
        return _train_stage(args, run_dir, pause)
    if kind == "beat tracker":
        from accompgen.training import beat_tracker

        print_values(beat_tracker.train(beat_tracker.read_config(args.config, args.set), run_dir, **pause))
    elif kind == "decoder":
        from accompgen.training import decoder

        print_values(decoder.train(decoder.read_config(args.config, args.set), run_dir, **pause))
    elif kind == "semantic tokenizer":
        from accompgen.training.hubert import read_config, train

        train(read_config(args.config, args.set), run_dir, **pause)
    elif kind == "text tokenizer":
        from accompgen.training import text_tokenizer

        # it takes seconds: there is nothing to pause
        print_values(text_tokenizer.train(text_tokenizer.read_config(args.config, args.set), run_dir))
    else:
        from accompgen.training.codec import run

        print_values(run(values, run_dir, **pause))
    print(run_dir)
    return 0


def _train_stage(args, run_dir, pause):
    """One process of one or many; the first of them prints."""
    from accompgen.training.loop import train_file

    result = train_file(args.config, args.set, run_dir, **pause)
    if int(os.environ.get("RANK", 0)) == 0:
        print_values(result)
        print(run_dir)
    return 0


def add_export(verbs):
    parser = verbs.add_parser("export", help="trained runs -> a checkpoint", description="Writes DIR and its model card.")
    runs = "run directories: two tokenizers, three stages, and maybe a decoder and a beat tracker; with --base any of them"
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help=runs)
    add_out(parser, "the checkpoint to write", required=True)
    parser.add_argument("--about", metavar="KEY=TEXT", action="append", default=[], help="name, summary, data, licence, limits")
    dtypes = ("bfloat16", "float16", "float32")
    parser.add_argument("--dtype", choices=dtypes, default="bfloat16", help="of stages and beat tracker")
    parser.add_argument(
        "--songs", metavar="MANIFEST", type=Path,
        help="of the semantic run's shards: the checkpoint learns what its units sound like (generate --consonance)",
    )  # fmt: skip
    parser.add_argument(
        "--base", metavar="CHECKPOINT", help="a checkpoint that gives the parts that no RUN gives, such as pocket"
    )
    parser.add_argument("--unfinished", action="store_true", help="take the latest snapshot of a run that has not ended")
    parser.add_argument("--force", action="store_true", help="replace the checkpoint if it exists")
    parser.set_defaults(run=run_export, parser=parser)


def run_export(args) -> int:
    for text in args.about:
        if "=" not in text:
            args.parser.error(f"--about {text!r} has no '='; write key=text, such as name=pocket")
    from accompgen.training.export import export_checkpoint

    about = dict(text.split("=", 1) for text in args.about)
    export_checkpoint(
        args.runs, args.out, about, args.dtype, unfinished=args.unfinished, force=args.force, songs=args.songs, base=args.base
    )
    print(args.out)
    return 0


def add_fetch(verbs):
    parser = verbs.add_parser("fetch", help="published weights into the cache", description="Prints the path of the file.")
    names = (
        "hubert-base, hubert-large, encodec-24khz, encodec-32khz, encodec-48khz, "
        "vocos-encodec-24khz, musicgen-small, t5-base, vggish, clap-music or beat-this; "
        "of stage-drums, stage-bass and hafm it says what to do"
    )
    parser.add_argument("name", metavar="NAME", help=names)
    parser.add_argument("--cache", metavar="DIR", type=Path, help="where to keep it (default: the user's cache)")
    parser.add_argument("--url", help="a mirror to take it from")
    parser.add_argument("--force", action="store_true", help="download again")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run_fetch)


def run_fetch(args) -> int:
    from accompgen.tokens.fetch import fetch

    print(fetch(args.name, args.cache, args.url, progress=not args.quiet, force=args.force))
    return 0
