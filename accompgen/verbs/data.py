"""Songs to train on: `synthesize`, `prepare`, `tokenize`."""

import argparse
import os
from functools import partial
from pathlib import Path

from accompgen.verbs.shared import (
    add_executor,
    add_out,
    add_workers,
    complain,
    print_values,
    remark,
    song_bar,
)


def add_synthesize(verbs):
    parser = verbs.add_parser(
        "synthesize", help="songs by the synthetic singer and band", description="Writes songs and DIR/manifest.jsonl."
    )
    add_out(parser, "where to write; an earlier call goes on", required=True)
    parser.add_argument("--count", metavar="N", type=int, required=True, help="songs to train on")
    held_out = "songs more, held out to {} with (default: a tenth of N, 1 to 60)"
    parser.add_argument("--validation", metavar="M", type=int, help=held_out.format("validate"))
    parser.add_argument("--test", metavar="M", type=int, help=held_out.format("test"))
    parser.add_argument("--seconds", metavar="X", type=float, default=30.0, help="length of a song (default: 30)")
    parser.add_argument("--seed", metavar="N", type=int, default=0)
    parser.add_argument(
        "--corpus", metavar="DIR", type=Path, action="append", default=[],
        help="POP909, OpenScore Lieder, OpenEWLD or scores in MusicXML; again for more (default: songs composed by rule)",
    )  # fmt: skip
    parser.add_argument(
        "--soundfont", metavar="FILE", type=Path, action="append", default=[],
        help="the band's sounds; again for more to draw from (default: FluidR3 GM and the Csound GM bank)",
    )  # fmt: skip
    parser.add_argument("--voices", metavar="NAMES", help="who sings: slt,lp,mei ..., or permissive (default: all installed)")
    parser.add_argument("--hts-voices", metavar="DIR", type=Path, help="a folder with .htsvoice files: more voices")
    parser.add_argument(
        "--stems", action=argparse.BooleanOptionalAction, default=True,
        help="drums, bass and harmony as files of their own, too (default: yes)",
    )  # fmt: skip
    add_workers(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run_synthesize)


def run_synthesize(args) -> int:
    from accompgen.data.synthetic.make import make_songs

    voices = args.voices and [name.strip() for name in args.voices.split(",") if name.strip()]
    with song_bar(args.quiet) as show:
        manifest = make_songs(
            args.out, args.count, args.seed, corpora=args.corpus, soundfonts=args.soundfont, workers=args.workers,
            validation=args.validation, test=args.test, seconds=args.seconds, stems=args.stems, progress=show,
            voices=voices, hts_voices=args.hts_voices, remark=partial(remark, args),
        )  # fmt: skip
    print(manifest)
    return 0


def add_prepare(verbs):
    parser = verbs.add_parser("prepare", help="songs as found -> pairs to train on", description="A stopped call goes on.")
    parser.add_argument("source", metavar="SOURCE", type=Path, help="a .jsonl or .csv manifest, or a folder of songs")
    add_out(parser, "the pairs, their manifest and a report", required=True)
    parser.add_argument("--config", metavar="FILE.toml", type=Path, help="how songs are cut and filtered")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="such as segment_seconds=20")
    parser.add_argument("--separator", metavar="NAME|FILE", help="the demucs model for mixtures, such as htdemucs")
    parser.add_argument("--held-out", metavar="X", type=float, default=0.05, help="share for validation, and for test (0.05)")
    few = "songs to validate with, the rest to train on: for a few songs, instead of a share"
    parser.add_argument("--validation", metavar="N", type=int, help=few)
    parser.add_argument("--licence", metavar="TEXT", default="unknown", help="of the songs that say none")
    parser.add_argument(
        "--keep", metavar="X", type=float, default=1.0, help="share of the pieces, the best by both grades (default: 1, all)"
    )
    add_executor(parser)
    parser.add_argument("--device", metavar="DEVICE", default="cpu", help="of the separator (default: cpu)")
    parser.add_argument("--force", action="store_true", help="make anew what other settings left there")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run_prepare)


def run_prepare(args) -> int:
    from accompgen.config import from_dict, read_toml
    from accompgen.data.prepare import prepare, table
    from accompgen.data.segments import PrepareConfig

    values = read_toml(args.config or os.devnull, args.set)  # without a file, the defaults
    config = from_dict(PrepareConfig, values, str(args.config or "--set"))
    with song_bar(args.quiet) as show:
        report = prepare(
            args.source, args.out, config, separator=args.separator, device=args.device, held_out=args.held_out,
            validation=args.validation, licence=args.licence, keep=args.keep, executor=args.executor,
            workers=args.workers, force=args.force, progress=show,
        )  # fmt: skip
    print(table(report))
    return 0


def add_tokenize(verbs):
    parser = verbs.add_parser("tokenize", help="songs -> token shards", description="A stopped call goes on where it was.")
    parser.add_argument("manifest", metavar="MANIFEST", type=Path, help="one song a line, as JSON")
    add_out(parser, "the shards and their index", required=True)
    parser.add_argument("--semantic-tokenizer", metavar="DIR", type=Path, required=True)
    parser.add_argument("--acoustic-tokenizer", metavar="DIR", type=Path, required=True)
    parser.add_argument("--codebooks", metavar="Q", type=int, default=8, help="acoustic codebooks to keep (default: 8)")
    parser.add_argument(
        "--stems", metavar="NAMES", default="all",
        help="tracks that stages shall make: all (the accompaniment), or stems such as drums,bass,harmony (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--mixtures", metavar="N", type=int, default=1, help="of two stems or more, drawn for each song (default: 1)"
    )
    parser.add_argument("--noise", metavar="SIGMA", type=float, default=0.01, help="on the vocal (default: 0.01)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the noise")
    parser.add_argument("--augment", metavar="FILE.toml", type=Path, help="copies of training songs, changed: docs/data.md")
    parser.add_argument(
        "--transposed-vocals", action="store_true", help="validation songs' vocals a semitone higher, too: what that costs"
    )
    add_executor(parser)
    parser.add_argument("--device", metavar="DEVICE", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--force", action="store_true", help="make anew what other songs or tokenizers left there")
    parser.set_defaults(run=run_tokenize)


def run_tokenize(args) -> int:
    from accompgen.config import from_dict, read_toml
    from accompgen.data.augment import Augment
    from accompgen.data.tokenize import tokenize_manifest
    from accompgen.data.tokenize_song import Tokenizing

    config = Tokenizing(
        codebooks=args.codebooks,
        stems=tuple(name for name in args.stems.split(",") if name),
        mixtures=args.mixtures,
        vocal_noise=args.noise,
        transposed_vocals=args.transposed_vocals,
        augment=from_dict(Augment, read_toml(args.augment), str(args.augment)) if args.augment else None,
        seed=args.seed,
    )
    done = tokenize_manifest(
        args.manifest, args.semantic_tokenizer, args.acoustic_tokenizer, args.out, config, executor=args.executor,
        workers=args.workers, device=args.device, force=args.force,
    )  # fmt: skip
    left_out = done.pop("left_out")
    print_values(done)
    for reason in left_out.values():
        complain(reason)
    return 1 if left_out else 0
