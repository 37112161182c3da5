"""Tokenizers and decoders from elsewhere: `adopt`."""

import tempfile
from pathlib import Path

from accompgen.verbs.shared import (
    add_executor,
    add_out,
    complain,
    print_values,
    remark,
    song_bar,
)

MUSICGEN = "musicgen"
# what is asked of one kind alone: the others would pass over it
OPTIONS_OF = {
    "hubert": ("layer", "kmeans", "songs", "units", "frames", "seed"), "encodec": ("decoder",), MUSICGEN: ("t5", "codec"),
}  # fmt: skip
OF_HUBERT = {"layer": 9, "units": 500, "seed": 0}  # unless given
LICENCES = {  # of published weights; what a user trained is the user's
    "encodec": "Meta's weights of EnCodec are CC BY-NC 4.0: not for commercial use",
    "vocos": "the weights of Vocos are MIT; the codes that it plays are of Meta's EnCodec, CC BY-NC 4.0",
}


def add_adopt(verbs):
    parser = verbs.add_parser(
        "adopt",
        help="published HuBERT, EnCodec or Vocos -> a tokenizer or decoder of ours; MusicGen or STAGE -> a checkpoint",
        description="Writes a component directory, which tokenize, train and export take; of musicgen a checkpoint directory, "
        "which generate plays. A stopped call goes on.",
    )
    parser.add_argument(
        "kind", choices=("hubert", "encodec", MUSICGEN),
        help="hubert: the semantic tokenizer; encodec: the acoustic one; musicgen: MusicGen, or STAGE stem by stem",
    )  # fmt: skip
    parser.add_argument(
        "source", metavar="SOURCE", nargs="+",
        help="a weight file, a directory of transformers, a tokenizer of ours, or a name that fetch knows, such as "
        "hubert-base; of musicgen several, such as stage-drums.safetensors bass=other.safetensors",
    )  # fmt: skip
    add_out(parser, "the directory to write", required=True)
    of_hubert = parser.add_argument_group("hubert", "The units: those of --kmeans, else SOURCE's own, else fitted to --songs")
    of_hubert.add_argument("--layer", metavar="N", type=int, help=f"whose features (default: {OF_HUBERT['layer']})")
    of_hubert.add_argument("--kmeans", metavar="FILE", type=Path, help="published centres: safetensors, or joblib's")
    of_hubert.add_argument("--songs", metavar="MANIFEST", type=Path, help="fit units to the training songs of this")
    of_hubert.add_argument("--units", metavar="V", type=int, help=f"how many to fit (default: {OF_HUBERT['units']})")
    of_hubert.add_argument("--frames", metavar="N", type=int, help="to look at when fitting (default: 400 for each unit)")
    of_hubert.add_argument("--seed", metavar="N", type=int, help="of frames and k-means (default: 0)")
    of_encodec = parser.add_argument_group("encodec")
    of_encodec.add_argument(
        "--decoder", metavar=("vocos", "DIR"), nargs=2,
        help="write no tokenizer but a decoder of SOURCE's codes: the Vocos in DIR, config.yaml and weights, or "
        "vocos-encodec-24khz, which fetch knows",
    )  # fmt: skip
    of_musicgen = parser.add_argument_group(MUSICGEN)
    of_musicgen.add_argument(
        "--t5", metavar="PATH", type=Path,
        help="what reads texts, where SOURCE has it not: a directory with t5-base, its spiece.model, or t5-base to fetch it",
    )  # fmt: skip
    of_musicgen.add_argument(
        "--codec", metavar="PATH", type=Path,
        help="the EnCodec of audiocraft's state_dict.bin, where the file beside it only names one: a path, or encodec-32khz",
    )  # fmt: skip
    add_executor(parser)
    parser.add_argument("--device", metavar="DEVICE", default="cpu", help="of HuBERT, when fitting (default: cpu)")
    parser.add_argument("--force", action="store_true", help="replace a tokenizer that stands in DIR")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run_adopt, parser=parser)


def run_adopt(args) -> int:
    _refuse_options_of_others(args)
    if args.decoder and args.decoder[0] != "vocos":
        args.parser.error(
            f"--decoder {args.decoder[0]} is not known; write adopt encodec SOURCE --decoder vocos DIR"
        )
    if args.kind == MUSICGEN:
        return _adopt_musicgen(args)
    if len(args.source) > 1:
        args.parser.error(f"adopt {args.kind} takes one SOURCE, not {len(args.source)}; call once for each")
    if args.songs:
        from accompgen.data.songs import check_manifest

        check_manifest(args.songs)  # before anything is fetched
    source = _found(args.source[0], args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.decoder:
        figures = _adopt_vocos(args, source)
    elif args.kind == "encodec":
        figures = _adopt_encodec(args, source)
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


def _refuse_options_of_others(args) -> None:
    for kind, names in OPTIONS_OF.items():
        given = [f"--{name}" for name in names if getattr(args, name) is not None]
        if kind != args.kind and given:
            args.parser.error(
                f"{', '.join(given)}: of no use to adopt {args.kind}, only to adopt {kind}; leave out, or adopt {kind}"
            )


def _adopt_musicgen(args) -> int:
    """Write MusicGen or STAGE as a checkpoint; the exit status."""
    from accompgen.tokens.single_stage_checkpoint import STEMS_OF_STAGE, write_single_stage
    from accompgen.tokens.weight_files import WEIGHTS

    sources = []
    for text in args.source:
        stem, equals, path = text.partition("=")
        named = bool(equals) and stem in STEMS_OF_STAGE
        sources.append((stem, _found(path, args)) if named else _found(text, args))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    t5, codec = (None if path is None else _found(path, args) for path in (args.t5, args.codec))
    if t5 is not None and t5.name in WEIGHTS:  # as fetch gives it: of a directory
        t5 = t5.parent
    figures = write_single_stage(sources, args.out, t5, codec, args.force)
    remarks = figures.pop("remarks")
    print_values(figures)
    print(args.out)
    for text in remarks:
        remark(args, text)
    return 0


def _found(name, args) -> Path:
    """The path that was given, or that of published weights, fetched."""
    from accompgen.tokens.fetch import fetch
    from accompgen.tokens.published import BY_HAND, PUBLISHED

    path = Path(name)
    if path.exists():
        return path
    if str(name) not in (*PUBLISHED, *BY_HAND):
        raise FileNotFoundError(f"{path} is no file or directory, nor one of {', '.join(PUBLISHED)}")
    return fetch(str(name), progress=not args.quiet)


def _adopt_encodec(args, source) -> dict:
    """Write the acoustic tokenizer; its figures."""
    from accompgen.tokens.chunked import load_encodec
    from accompgen.tokens.encodec import OtherCodecConfig

    tokenizer = load_encodec(source)
    tokenizer.save(args.out, force=args.force)
    config = tokenizer.config
    if not _is_codec_of_ours(source):
        remark(args, LICENCES["encodec"])
    if isinstance(config, OtherCodecConfig):
        remark(args, f"{args.out} is {config.description}: no stage that is trained here can use its codes")
    return {
        "codebooks": config.codebooks, "bins": config.bins, "sample rate": config.sample_rate,
        "frames a second": config.frame_hz,
    }  # fmt: skip


def _adopt_vocos(args, source) -> dict:
    """Write a Vocos as the decoder of a codec's codes; its figures."""
    import torch

    from accompgen.component import check_component_place
    from accompgen.tokens.acoustic import AcousticTokenizer
    from accompgen.tokens.decoder import VocosDecoder
    from accompgen.tokens.vocos_weights import check_code_vectors, read_vocos

    check_component_place(args.out, args.force)
    directory = _found(args.decoder[1], args)
    tokenizer = AcousticTokenizer.load(source)
    network = read_vocos(directory, tokenizer.bins)
    vectors = [layer.codebook.embed for layer in tokenizer.network.quantizer.layers]
    check_code_vectors(network, torch.stack(vectors), directory)
    about = {"tokenizers": {"acoustic": _hash_of(tokenizer, source)}, "licence": LICENCES["vocos"]}
    VocosDecoder(network).save(args.out, about, force=args.force)
    remark(args, LICENCES["vocos"])
    trained_with = ", ".join(map(str, network.config.trained_with))
    return {"codebooks": network.config.codebooks, "trained with": trained_with}


def _hash_of(tokenizer, source) -> str:
    """What stages remember of a codec: the hash of its component, which a published file is not yet."""
    from accompgen.component import tokens_hash

    if _is_codec_of_ours(source):
        return tokens_hash(source)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder) / "codec")
        return tokens_hash(Path(folder) / "codec")


def _is_codec_of_ours(source) -> bool:
    """Whether a path is a component directory already."""
    from accompgen.checkpoint import read_info
    from accompgen.component import CONFIG_FILE
    from accompgen.tokens.encodec_weights import FORMAT

    return (source / CONFIG_FILE).is_file() and read_info(source).get("format") == FORMAT


def _adopt_hubert(args, source) -> dict:
    """Write the semantic tokenizer; its figures."""
    from accompgen.tokens import kmeans
    from accompgen.tokens.hubert_weights import load_hubert
    from accompgen.tokens.semantic import SemanticTokenizer

    asked = {name: usual if getattr(args, name) is None else getattr(args, name) for name, usual in OF_HUBERT.items()}
    if args.kmeans:
        tokenizer = SemanticTokenizer(load_hubert(source), asked["layer"], kmeans.load(args.kmeans))
    elif _is_ours(source):
        tokenizer = SemanticTokenizer.load(source)
    elif args.songs:
        from accompgen.data.units import fit_units

        with song_bar(args.quiet) as show:
            return fit_units(
                source, args.songs, args.out, **asked, frames=args.frames,
                executor=args.executor, workers=args.workers, device=args.device, force=args.force, progress=show,
            )  # fmt: skip
    else:
        args.parser.error(f"{source} has no units: give --kmeans FILE, or --songs MANIFEST to fit some")
    tokenizer.save(args.out, force=args.force)
    return {"units": tokenizer.vocab, "layer": tokenizer.layer}


def _is_ours(source) -> bool:
    """Whether a directory is a semantic tokenizer already, with units of its own."""
    from accompgen.checkpoint import read_info
    from accompgen.component import CONFIG_FILE
    from accompgen.tokens.semantic import KIND

    return (Path(source) / CONFIG_FILE).is_file() and read_info(source).get("kind") == KIND
