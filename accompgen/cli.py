"""The command line: each verb parses, calls one function of the package and prints its result.

Results go to stdout, progress and remarks to stderr. Exit status: 0 all done, 1 something failed, 2 usage, 130 interrupted.
Whatever takes time to import is imported inside the verbs, so that --help answers at once.
"""

import argparse
import os
import sys
from contextlib import contextmanager
from pathlib import Path

STAGES = ("semantic", "coarse", "fine")


def main(argv=None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="accompgen", description="A singing voice goes in, a band comes out.")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for add in (add_generate, add_encode, add_decode, add_synthesize, add_prepare, add_tokenize, add_train, add_export):
        add(verbs)
    for add in (add_fetch, add_info):
        add(verbs)
    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("accompgen: interrupted; what was finished is kept, nothing is half-written", file=sys.stderr)
        return 130
    except Exception as error:
        if not _explains_itself(error):
            raise
        _complain(error)
        return 1


def _explains_itself(error) -> bool:
    """Whether an error's message is meant for the user; any other one is a fault of ours and keeps its traceback."""
    return isinstance(error, (ValueError, OSError, ImportError)) or type(error).__module__.startswith("accompgen.")


def _complain(error):
    print("accompgen:", " ".join(str(error).split()), file=sys.stderr)


def _for_each(paths, work) -> int:
    """Call `work(path)` for each path and print the paths it returns; an error of one file does not stop the others."""
    failed = 0
    for path in paths:
        try:
            for result in work(path):
                print(result, flush=True)
        except Exception as error:
            if not _explains_itself(error):
                raise
            failed += 1
            _complain(error)
    return 1 if failed else 0


# ---- generate ----------------------------------------------------------------------------------------------------------------


def add_generate(verbs):
    parser = verbs.add_parser(
        "generate",
        help="make accompaniments to vocals",
        description="Writes <name>.accompaniment.wav, <name>.mix.wav and <name>.json for each vocal; prints their paths.",
    )
    parser.add_argument("vocals", metavar="VOCAL", nargs="+", type=Path, help="a recording of a voice: wav, flac, ogg or mp3")
    parser.add_argument("-o", "--out", metavar="DIR", type=Path, default=Path("."), help="where to write (default: here)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="another seed, another band (default: 0)")
    each = parser.add_argument_group("sampling", "One value for the three stages, or such as semantic=1.0,coarse=0.9")
    each.add_argument("--guidance", metavar="X", type=_per_stage(float), default={}, help="1: plain sampling (default: 3.0)")
    each.add_argument("--temperature", metavar="X", type=_per_stage(float), default={}, help="0: likeliest (default: 0.9)")
    each.add_argument("--top-k", metavar="N", type=_per_stage(int), default={}, help="ids to draw from; 0: all (default: 250)")
    each.add_argument("--top-p", metavar="X", type=_per_stage(float), default={}, help="probability kept (default: 1)")
    sound = parser.add_argument_group("sound")
    sound.add_argument("--balance", metavar="LU", type=float, help="loudness of accompaniment minus vocal (default: -3)")
    sound.add_argument("--noise", metavar="SIGMA", type=float, help="on the vocal, before it is read (default: 0.01)")
    sound.add_argument("--format", choices=("wav", "flac", "mp3"), default="wav", help="(default: wav)")
    sound.add_argument("--bit-depth", choices=("16", "24", "32f"), default="24", help="of wav and flac (default: 24)")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--force", action="store_true", help="replace files that exist")
    existing.add_argument("--skip-existing", action="store_true", help="pass over vocals whose files exist")
    _add_model(parser)
    parser.set_defaults(run=run_generate, parser=parser)


def run_generate(args) -> int:
    _refuse_same_names(args.parser, args.vocals)
    from accompgen.generation import pipeline, song

    balance = pipeline.BALANCE_LU if args.balance is None else args.balance
    noise = pipeline.VOCAL_NOISE if args.noise is None else args.noise
    pipeline.check_settings(balance, noise)
    sampling = {stage: _sampling(args, stage) for stage in STAGES}
    model = pipeline.load(args.checkpoint, args.device)

    def work(path):
        if args.skip_existing and song.has_outputs(args.out, path.stem, args.format):
            _remark(args, f"{path}: its files exist, skipped")
            return []
        song.output_paths(args.out, path.stem, args.format, args.force)
        vocal = pipeline.read_vocal(path)
        song.format_of(vocal.rate, len(vocal.wav), args.format, args.bit_depth)
        made = model.accompany(vocal, args.seed, **sampling, balance=balance, noise=noise, progress=not args.quiet)
        paths = made.save(args.out, args.format, args.bit_depth, args.force)
        _remark(args, f"{path}: {made.seconds:.1f} s of sound in {made.timings['total']:.1f} s")
        return paths.values()

    return _for_each(args.vocals, work)


def _sampling(args, stage):
    from accompgen.generation.sampling import Sampling

    given = {name: getattr(args, name) for name in ("temperature", "top_k", "top_p", "guidance")}
    return Sampling(**{name: values[stage] for name, values in given.items() if stage in values})


def _per_stage(kind):
    """Parser of "0.9" (all stages), "semantic=1.0,coarse=0.9" or "0.9,fine=0.5" -> {stage: value}."""

    def number(text):  # argparse prints the name of a type that fails: "invalid number value"
        values = {}
        for part in text.split(","):
            stage, equals, value = part.rpartition("=")
            stage = stage.strip()
            if equals and stage not in STAGES:
                raise argparse.ArgumentTypeError(f"{stage!r} is no stage; expected semantic, coarse or fine")
            values |= {name: kind(value) for name in ([stage] if equals else STAGES)}
        return values

    return number


def _refuse_same_names(parser, paths):
    """Two inputs of one name would write the same files: a usage error, before any work."""
    seen = {}
    for path in paths:
        if path.stem in seen:
            parser.error(f"{seen[path.stem]} and {path} would write the same files; rename one, or call twice")
        seen[path.stem] = path


def _add_model(parser):
    parser.add_argument("--checkpoint", metavar="NAME|DIR", default="pocket", help="the weights (default: pocket)")
    parser.add_argument("--device", metavar="DEVICE", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--quiet", action="store_true", help="no progress and no remarks on stderr, only errors")


def _remark(args, text):
    if not args.quiet:
        print(text, file=sys.stderr)


# ---- encode, decode ----------------------------------------------------------------------------------------------------------


def add_encode(verbs):
    parser = verbs.add_parser("encode", help="sound -> tokens", description="Writes <name>.safetensors for each sound.")
    parser.add_argument("sounds", metavar="SOUND", nargs="+", type=Path, help="wav, flac, ogg or mp3; channels are averaged")
    parser.add_argument("-o", "--out", metavar="DIR", type=Path, default=Path("."), help="where to write (default: here)")
    parser.add_argument("--tokenizer", choices=("acoustic", "semantic"), default="acoustic", help="(default: acoustic)")
    parser.add_argument("--codebooks", metavar="Q", type=int, help="acoustic codebooks (default: as many as the stages use)")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    _add_model(parser)
    parser.set_defaults(run=run_encode, parser=parser)


def run_encode(args) -> int:
    _refuse_same_names(args.parser, args.sounds)
    from accompgen.generation.pipeline import load_tokenizer
    from accompgen.tokens.files import encode_file

    tokenizer = load_tokenizer(args.checkpoint, args.tokenizer, args.device)
    return _for_each(args.sounds, lambda path: [encode_file(path, args.out, tokenizer, args.codebooks, args.force)])


def add_decode(verbs):
    parser = verbs.add_parser("decode", help="acoustic tokens -> sound", description="Writes <name>.wav for each file.")
    parser.add_argument("tokens", metavar="TOKENS", nargs="+", type=Path, help="a .safetensors file that `encode` wrote")
    parser.add_argument("-o", "--out", metavar="DIR", type=Path, default=Path("."), help="where to write (default: here)")
    parser.add_argument("--codebooks", metavar="Q", type=int, help="decode the first Q codebooks alone (default: all)")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    _add_model(parser)
    parser.set_defaults(run=run_decode, parser=parser)


def run_decode(args) -> int:
    _refuse_same_names(args.parser, args.tokens)
    from accompgen.generation.pipeline import load_tokenizer
    from accompgen.tokens.files import decode_file

    tokenizer = load_tokenizer(args.checkpoint, "acoustic", args.device)
    return _for_each(args.tokens, lambda path: [decode_file(path, args.out, tokenizer, args.codebooks, args.force)])


# ---- data and training -------------------------------------------------------------------------------------------------------


def add_synthesize(verbs):
    parser = verbs.add_parser(
        "synthesize", help="songs by the synthetic singer and band", description="Writes songs and DIR/manifest.jsonl."
    )
    parser.add_argument("-o", "--out", metavar="DIR", type=Path, required=True, help="where to write; an earlier call goes on")
    parser.add_argument("--count", metavar="N", type=int, required=True, help="songs to train on")
    parser.add_argument("--validation", metavar="N", type=int, default=60, help="songs held out (default: 60)")
    parser.add_argument("--test", metavar="N", type=int, default=60, help="songs held out for the last figures (default: 60)")
    parser.add_argument("--seconds", metavar="X", type=float, default=30.0, help="length of a song (default: 30)")
    parser.add_argument("--seed", metavar="N", type=int, default=0)
    parser.add_argument("--corpus", metavar="DIR", type=Path, help="a POP909 folder (default: songs composed by rule)")
    parser.add_argument("--soundfont", metavar="FILE", type=Path, help="the band's sounds (default: FluidR3Mono)")
    parser.add_argument("--stems", action="store_true", help="drums, bass and harmony as files of their own, too")
    parser.add_argument("--workers", metavar="N", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run_synthesize)


def run_synthesize(args) -> int:
    from accompgen.data.synthetic.make import make_songs

    with _song_bar(args.quiet) as show:
        manifest = make_songs(
            args.out, args.count, args.seed, corpus=args.corpus, soundfont=args.soundfont, workers=args.workers,
            validation=args.validation, test=args.test, seconds=args.seconds, stems=args.stems, progress=show,
        )  # fmt: skip
    print(manifest)
    return 0


def add_prepare(verbs):
    parser = verbs.add_parser("prepare", help="songs as found -> pairs to train on", description="A stopped call goes on.")
    parser.add_argument("source", metavar="SOURCE", type=Path, help="a .jsonl or .csv manifest, or a folder of songs")
    parser.add_argument("-o", "--out", metavar="DIR", type=Path, required=True, help="the pairs, their manifest and a report")
    parser.add_argument("--config", metavar="FILE.toml", type=Path, help="how songs are cut and filtered")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="such as segment_seconds=20")
    parser.add_argument("--separator", metavar="NAME|FILE", help="the demucs model for mixtures, such as htdemucs")
    parser.add_argument("--held-out", metavar="X", type=float, default=0.05, help="share for validation, and for test (0.05)")
    parser.add_argument("--licence", metavar="TEXT", default="unknown", help="of the songs that say none")
    parser.add_argument("--executor", choices=("local", "ray"), default="local", help="(default: local)")
    parser.add_argument("--workers", metavar="N", type=int, help="processes (default: 2)")
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
    with _song_bar(args.quiet) as show:
        report = prepare(
            args.source, args.out, config, separator=args.separator, device=args.device, held_out=args.held_out,
            licence=args.licence, executor=args.executor, workers=args.workers, force=args.force, progress=show,
        )  # fmt: skip
    print(table(report))
    return 0


@contextmanager
def _song_bar(quiet):
    """A progress bar over songs on stderr, as the function progress(done, total)."""
    from tqdm import tqdm

    with tqdm(desc="songs", unit="song", file=sys.stderr, disable=quiet, leave=False) as bar:

        def show(done, total):
            bar.total = total
            bar.update(done - bar.n)

        yield show


def add_tokenize(verbs):
    parser = verbs.add_parser("tokenize", help="songs -> token shards", description="A stopped call goes on where it was.")
    parser.add_argument("manifest", metavar="MANIFEST", type=Path, help="one song a line, as JSON")
    parser.add_argument("-o", "--out", metavar="DIR", type=Path, required=True, help="the shards and their index")
    parser.add_argument("--semantic-tokenizer", metavar="DIR", type=Path, required=True)
    parser.add_argument("--acoustic-tokenizer", metavar="DIR", type=Path, required=True)
    parser.add_argument("--codebooks", metavar="Q", type=int, default=8, help="acoustic codebooks to keep (default: 8)")
    parser.add_argument("--noise", metavar="SIGMA", type=float, default=0.01, help="on the vocal (default: 0.01)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the noise")
    parser.add_argument("--workers", metavar="N", type=int, default=2, help="processes of one thread each (default: 2)")
    parser.add_argument("--device", metavar="DEVICE", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--force", action="store_true", help="make anew what other songs or tokenizers left there")
    parser.set_defaults(run=run_tokenize)


def run_tokenize(args) -> int:
    from accompgen.data.tokenize import tokenize_manifest

    done = tokenize_manifest(
        args.manifest, args.semantic_tokenizer, args.acoustic_tokenizer, args.out, workers=args.workers,
        codebooks=args.codebooks, vocal_noise=args.noise, seed=args.seed, device=args.device, force=args.force,
    )  # fmt: skip
    _print_values(done)
    return 0


def add_train(verbs):
    parser = verbs.add_parser(
        "train", help="train a tokenizer or a stage", description="A stopped call goes on from what it saved last."
    )
    parser.add_argument("config", metavar="CONFIG.toml", type=Path)
    parser.add_argument("--run", metavar="DIR", type=Path, dest="run_dir", help="default: runs/<name of CONFIG>")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="such as model.width=256")
    parser.set_defaults(run=run_train)


def run_train(args) -> int:
    from accompgen.config import read_toml

    run_dir = args.run_dir or Path("runs") / args.config.stem
    values = read_toml(args.config, args.set)
    if "shards" in values or "stage" in values.get("model", {}):
        from accompgen.training.loop import train_file

        _print_values(train_file(args.config, args.set, run_dir))
    elif "units" in values or "segment_seconds" in values:
        from accompgen.training.hubert import read_config, train

        train(read_config(args.config, args.set), run_dir)
    else:
        from accompgen.training.codec import run

        _print_values(run(values, run_dir))
    print(run_dir)
    return 0


def add_export(verbs):
    parser = verbs.add_parser("export", help="trained runs -> a checkpoint", description="Writes DIR and its model card.")
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="run directories: two tokenizers, three stages")
    parser.add_argument("-o", "--out", metavar="DIR", type=Path, required=True, help="the checkpoint to write")
    parser.add_argument("--about", metavar="KEY=TEXT", action="append", default=[], help="name, summary, data, licence, limits")
    parser.add_argument("--unfinished", action="store_true", help="take the latest snapshot of a run that has not ended")
    parser.add_argument("--force", action="store_true", help="replace the checkpoint if it exists")
    parser.set_defaults(run=run_export, parser=parser)


def run_export(args) -> int:
    for text in args.about:
        if "=" not in text:
            args.parser.error(f"--about {text!r} has no '='; write key=text, such as name=pocket")
    from accompgen.training.export import export_checkpoint

    about = dict(text.split("=", 1) for text in args.about)
    export_checkpoint(args.runs, args.out, about, unfinished=args.unfinished, force=args.force)
    print(args.out)
    return 0


def add_fetch(verbs):
    parser = verbs.add_parser("fetch", help="published weights into the cache", description="Prints the path of the file.")
    parser.add_argument("name", metavar="NAME", help="hubert-base, hubert-large or encodec-24khz")
    parser.add_argument("--cache", metavar="DIR", type=Path, help="where to keep it (default: the user's cache)")
    parser.add_argument("--url", help="a mirror to take it from")
    parser.add_argument("--force", action="store_true", help="download again")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run_fetch)


def run_fetch(args) -> int:
    from accompgen.tokens.fetch import fetch

    print(fetch(args.name, args.cache, args.url, progress=not args.quiet, force=args.force))
    return 0


def add_info(verbs):
    parser = verbs.add_parser("info", help="devices, versions, checkpoints found", description="What there is to work with.")
    parser.set_defaults(run=run_info)


def run_info(args) -> int:
    from accompgen.generation.pipeline import describe

    _print_values(describe())
    return 0


def _print_values(values, indent=""):
    """Nested dicts as indented lines of `name: value`."""
    for name, value in values.items():
        if isinstance(value, dict):
            print(f"{indent}{name}:")
            _print_values(value, indent + "  ")
        else:
            print(f"{indent}{name}: {value}")
