"""Figures: `evaluate`, `baselines`; and `info`, what there is to work with."""

from pathlib import Path

from accompgen.verbs.shared import add_out, complain, print_values


def add_evaluate(verbs):
    parser = verbs.add_parser(
        "evaluate",
        help="score folders of accompaniments",
        description="Writes DIR/results.json, table.md and report.html; prints the table. Exit 1: something is missing.",
    )
    parser.add_argument(
        "--system", metavar="[NAME=]DIR", action="append", required=True, help="accompaniments to score; again for each row"
    )
    parser.add_argument("--vocals", metavar="DIR", type=Path, required=True, help="the vocals, named like the accompaniments")
    parser.add_argument(
        "--reference", metavar="DIR", type=Path, help="the true accompaniments; without them, what needs none is scored"
    )
    add_out(parser, "where to write", required=True)
    parser.add_argument("--background", metavar="DIR", type=Path, help="what FAD and KAD compare with (default: the reference)")
    parser.add_argument("--annotations", metavar="DIR", type=Path, help="NAME.json with beats, chords, key, bpm")
    parser.add_argument(
        "--metrics", nargs="+", metavar="NAME",
        help="fad kad apa rhythm harmony band sanity artefacts (default: those of these that can be), visqol, chart",
    )  # fmt: skip
    parser.add_argument(
        "--embedding", metavar="NAME|PATH", default="pocket", help="vggish, clap, musicnn, pocket (default) or a path"
    )
    parser.add_argument("--window", metavar="SECONDS", type=float, default=10.0, help="length of a window (default: 10)")
    parser.add_argument("--windows", metavar="N", type=int, help="at most so many of a song (default: all)")
    parser.add_argument("--tracker", choices=("librosa", "beat-this"), default="librosa", help="of beats (default: librosa)")
    parser.add_argument("--tracker-weights", metavar="FILE", type=Path, help="for beat-this")
    parser.add_argument("--cocola", metavar="FILE", type=Path, help="COCOLA's checkpoint: score how well vocal and band agree")
    parser.add_argument(
        "--seams", nargs="+", type=borders, default=[], metavar="FIRST[:STEP]",
        help="seconds at which windows of the generator meet, as in 20:10 6.4: does the sound break there?",
    )  # fmt: skip
    parser.add_argument("--delta", nargs=2, metavar=("FIRST", "SECOND"), help="add a row: the second row minus the first")
    parser.add_argument("--listen", metavar="NAME", help="the row whose songs the page plays (default: the first)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of bootstrap, shuffling and samples (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--cache", metavar="DIR", type=Path, help="what is worked out of each file (default: the user's cache)")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run_evaluate, parser=parser)


def borders(text) -> tuple[float, float]:
    """`FIRST[:STEP]` in seconds; without a step, FIRST again and again. argparse words the ValueError."""
    first, colon, step = text.partition(":")
    return float(first), float(step if colon else first)


def run_evaluate(args) -> int:
    systems = {}
    for text in args.system:
        name, equals, folder = text.partition("=")
        name, folder = (name, Path(folder)) if equals else (Path(text).name, Path(text))
        if not name or name in systems:
            args.parser.error(f"--system {text!r}: each row needs a name of its own, as in --system mine=DIR")
        systems[name] = folder
    for name in [*(args.delta or ()), *([args.listen] if args.listen else ())]:
        if name not in systems:
            args.parser.error(f"there is no row {name!r}; rows are {', '.join(systems)}")
    from accompgen.evaluation import page, report, runner

    report.check_out(args.out)
    results = runner.evaluate(
        systems, args.vocals, args.reference, background=args.background, annotations=args.annotations,
        metrics=args.metrics, embedding=args.embedding, window_seconds=args.window, windows=args.windows,
        tracker=args.tracker, tracker_weights=args.tracker_weights, cocola=args.cocola, seams=args.seams, seed=args.seed,
        device=args.device, cache=args.cache, delta=args.delta, progress=not args.quiet,
    )  # fmt: skip
    report.write_results(results, args.out)
    page.write_page(results, systems, args.vocals, args.out, args.reference, args.listen, progress=not args.quiet)
    print(report.table(results), end="")
    for problem in results["problems"]:
        complain(problem)
    return 1 if results["problems"] else 0


def add_baselines(verbs):
    parser = verbs.add_parser(
        "baselines",
        help="the rows that keep a table honest, as folders",
        description="Writes DIR/<row>/<song>.wav; what is there is kept. Prints the folders.",
    )
    parser.add_argument("--vocals", metavar="DIR", type=Path, required=True, help="the vocals")
    parser.add_argument("--reference", metavar="DIR", type=Path, required=True, help="the true accompaniments")
    add_out(parser, "where to write", required=True)
    parser.add_argument(
        "--rows",
        nargs="+",
        metavar="NAME",
        help="truth, codec, shuffled, retrieval, random, silence, click, noise (default: all)",
    )
    parser.add_argument("--checkpoint", default="pocket", help="whose acoustic tokenizer the codec row uses (default: pocket)")
    parser.add_argument("--annotations", metavar="DIR", type=Path, help="NAME.json with beats, key, bpm; else they are heard")
    parser.add_argument("--pool", metavar="DIR", type=Path, help="accompaniments to retrieve from (default: the reference)")
    parser.add_argument("--pool-annotations", metavar="DIR", type=Path, help="the same for the pool")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="(default: 0)")
    parser.add_argument("--device", default="cpu", help="of the codec (default: cpu)")
    parser.add_argument("--force", action="store_true", help="make all files anew")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run_baselines)


def run_baselines(args) -> int:
    from accompgen.evaluation.baselines import ROWS, write_baselines

    folders, problems = write_baselines(
        args.vocals, args.reference, args.out, rows=args.rows or ROWS, checkpoint=args.checkpoint, annotations=args.annotations,
        pool=args.pool, pool_annotations=args.pool_annotations, seed=args.seed, device=args.device, force=args.force,
        progress=not args.quiet,
    )  # fmt: skip
    for folder in folders.values():
        print(folder)
    for problem in problems:
        complain(problem)
    return 1 if problems else 0


def add_info(verbs):
    parser = verbs.add_parser("info", help="devices, versions, checkpoints found", description="What there is to work with.")
    parser.set_defaults(run=run_info)


def run_info(args) -> int:
    from accompgen.generation.report import describe

    print_values(describe())
    return 0
