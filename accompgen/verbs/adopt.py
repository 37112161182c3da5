"""Tokenizers from elsewhere: `adopt`."""

from pathlib import Path

from accompgen.verbs.shared import add_executor, complain, print_values, song_bar


def add_adopt(verbs):
    parser = verbs.add_parser(
        "adopt",
        help="published HuBERT or EnCodec -> a tokenizer of ours",
        description="Writes a component directory, which tokenize, train and export take. A stopped call goes on.",
    )
    parser.add_argument("kind", choices=("hubert", "encodec"), help="hubert: the semantic tokenizer; encodec: the acoustic one")
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a weight file, a directory of transformers, a tokenizer of ours, or a name that fetch knows, such as hubert-base",
    )
    parser.add_argument("-o", "--out", metavar="DIR", type=Path, required=True, help="the component directory to write")
    of_hubert = parser.add_argument_group("hubert", "The units: those of --kmeans, else SOURCE's own, else fitted to --songs")
    of_hubert.add_argument("--layer", metavar="N", type=int, default=9, help="whose features (default: 9)")
    of_hubert.add_argument("--kmeans", metavar="FILE", type=Path, help="published centres: safetensors, or joblib's")
    of_hubert.add_argument("--songs", metavar="MANIFEST", type=Path, help="fit units to the training songs of this")
    of_hubert.add_argument("--units", metavar="V", type=int, default=500, help="how many to fit (default: 500)")
    of_hubert.add_argument("--frames", metavar="N", type=int, help="to look at when fitting (default: 400 for each unit)")
    of_hubert.add_argument("--seed", metavar="N", type=int, default=0, help="of frames and k-means (default: 0)")
    add_executor(parser)
    parser.add_argument("--device", metavar="DEVICE", default="cpu", help="of HuBERT, when fitting (default: cpu)")
    parser.add_argument("--force", action="store_true", help="replace a tokenizer that stands in DIR")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run_adopt, parser=parser)


def run_adopt(args) -> int:
    from accompgen.tokens.fetch import PUBLISHED, fetch

    source = Path(args.source)
    if not source.exists():
        if args.source not in PUBLISHED:
            raise FileNotFoundError(f"{source} is no file or directory, nor one of {', '.join(PUBLISHED)}")
        source = fetch(args.source, progress=not args.quiet)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.kind == "encodec":
        from accompgen.tokens.acoustic import AcousticTokenizer

        tokenizer = AcousticTokenizer.load(source)
        tokenizer.save(args.out, force=args.force)
        figures = {"codebooks": tokenizer.config.codebooks, "bins": tokenizer.bins}
    else:
        figures = _adopt_hubert(args, source)
    left_out = figures.pop("left_out", {})
    print_values(figures)
    print(args.out)
    for reason in left_out.values():
        complain(reason)
    if left_out:
        songs = figures["songs"] + len(left_out)
        complain(f"{len(left_out)} of {songs} songs were left out; the units are those of the others")
    return 1 if left_out else 0


def _adopt_hubert(args, source) -> dict:
    """Write the semantic tokenizer; its figures."""
    from accompgen.tokens import kmeans
    from accompgen.tokens.hubert_weights import load_hubert
    from accompgen.tokens.semantic import SemanticTokenizer

    if args.kmeans:
        tokenizer = SemanticTokenizer(load_hubert(source), args.layer, kmeans.load(args.kmeans))
    elif _is_ours(source):
        tokenizer = SemanticTokenizer.load(source)
    elif args.songs:
        from accompgen.data.units import fit_units

        with song_bar(args.quiet) as show:
            return fit_units(
                source, args.songs, args.out, layer=args.layer, units=args.units, frames=args.frames, seed=args.seed,
                executor=args.executor, workers=args.workers, device=args.device, force=args.force, progress=show,
            )  # fmt: skip
    else:
        args.parser.error(f"{source} has no units: give --kmeans FILE, or --songs MANIFEST to fit some")
    tokenizer.save(args.out, force=args.force)
    return {"units": tokenizer.vocab, "layer": tokenizer.layer}


def _is_ours(source) -> bool:
    """Whether a directory is a semantic tokenizer already, with units of its own."""
    from accompgen.checkpoint import CONFIG_FILE, read_info
    from accompgen.tokens.semantic import KIND

    return (Path(source) / CONFIG_FILE).is_file() and read_info(source).get("kind") == KIND
