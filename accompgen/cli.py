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
    for add in (add_evaluate, add_baselines, add_fetch, add_info):
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
    parser.add_argument("vocals", metavar="VOCAL", nargs="*", type=Path, help="a recording of a voice: wav, flac, ogg or mp3")
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
    many = parser.add_argument_group("many vocals", "A stopped call goes on; what was made with other settings is refused.")
    many.add_argument("--manifest", metavar="FILE", type=Path, help="instead of VOCAL: a .jsonl or .csv manifest, or a folder")
    many.add_argument("--split", choices=("train", "validation", "test"), help="of the manifest, only these (default: all)")
    _add_executor(many)
    _add_model(parser)
    parser.set_defaults(run=run_generate, parser=parser)


def run_generate(args) -> int:
    if bool(args.vocals) == bool(args.manifest):
        args.parser.error("give recordings (VOCAL...), or --manifest with many of them")
    if args.manifest:
        return _generate_many(args)
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


def _generate_many(args):
    from accompgen.data.executors import run_tasks
    from accompgen.data.sources import read_vocals
    from accompgen.generation.many import GenerateJob

    vocals = read_vocals(args.manifest.absolute(), args.split)  # absolute: workers may run in another folder
    checkpoint = str(Path(args.checkpoint).absolute()) if Path(args.checkpoint).is_dir() else str(args.checkpoint)
    given = {name: getattr(args, name) for name in ("balance", "noise") if getattr(args, name) is not None}
    job = GenerateJob(
        str(args.out.absolute()), checkpoint, args.device, args.seed, **{stage: _sampling(args, stage) for stage in STAGES},
        **given, format=args.format, bit_depth=args.bit_depth, force=args.force,
    )  # fmt: skip
    failed = 0
    with _song_bar(args.quiet) as show:
        tasks = {name: (name, path) for name, path in vocals.items()}
        for done, (_, result) in enumerate(run_tasks(job, tasks, args.executor, args.workers), 1):
            for path in result["paths"]:
                print(path, flush=True)
            if result["error"]:
                failed += 1
                _complain(result["error"])
            show(done, len(tasks))
    return 1 if failed else 0


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


def _add_executor(parser):
    parser.add_argument("--executor", choices=("local", "ray"), default="local", help="processes or a cluster (default: local)")
    parser.add_argument("--workers", metavar="N", type=int, help="processes of one thread each, 0: none but this (default: 2)")


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
    _add_executor(parser)
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
    parser.add_argument("--augment", metavar="FILE.toml", type=Path, help="copies of training songs, changed: docs/data.md")
    _add_executor(parser)
    parser.add_argument("--device", metavar="DEVICE", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--force", action="store_true", help="make anew what other songs or tokenizers left there")
    parser.set_defaults(run=run_tokenize)


def run_tokenize(args) -> int:
    from accompgen.config import from_dict, read_toml
    from accompgen.data.augment import Augment
    from accompgen.data.tokenize import tokenize_manifest

    augment = from_dict(Augment, read_toml(args.augment), str(args.augment)) if args.augment else None
    done = tokenize_manifest(
        args.manifest, args.semantic_tokenizer, args.acoustic_tokenizer, args.out, executor=args.executor,
        workers=args.workers, codebooks=args.codebooks, vocal_noise=args.noise, augment=augment, seed=args.seed,
        device=args.device, force=args.force,
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


# ---- evaluation --------------------------------------------------------------------------------------------------------------


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
    parser.add_argument("--reference", metavar="DIR", type=Path, required=True, help="the true accompaniments")
    parser.add_argument("-o", "--out", metavar="DIR", type=Path, required=True, help="where to write")
    parser.add_argument("--background", metavar="DIR", type=Path, help="what FAD and KAD compare with (default: the reference)")
    parser.add_argument("--annotations", metavar="DIR", type=Path, help="NAME.json with beats, chords, key, bpm")
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="fad, kad, apa, rhythm, harmony, sanity (default: all)")
    parser.add_argument("--embedding", metavar="NAME|PATH", default="pocket", help="vggish, clap, pocket (default) or a path")
    parser.add_argument("--window", metavar="SECONDS", type=float, default=10.0, help="length of a window (default: 10)")
    parser.add_argument("--windows", metavar="N", type=int, help="at most so many of a song (default: all)")
    parser.add_argument("--tracker", choices=("librosa", "beat-this"), default="librosa", help="of beats (default: librosa)")
    parser.add_argument("--tracker-weights", metavar="FILE", type=Path, help="for beat-this")
    parser.add_argument("--cocola", metavar="FILE", type=Path, help="COCOLA's checkpoint: score how well vocal and band agree")
    parser.add_argument("--delta", nargs=2, metavar=("FIRST", "SECOND"), help="add a row: the second row minus the first")
    parser.add_argument("--listen", metavar="NAME", help="the row whose songs the page plays (default: the first)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of bootstrap, shuffling and samples (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--cache", metavar="DIR", type=Path, help="what is worked out of each file (default: the user's cache)")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run_evaluate, parser=parser)


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
        metrics=args.metrics or runner.METRICS, embedding=args.embedding, window_seconds=args.window, windows=args.windows,
        tracker=args.tracker, tracker_weights=args.tracker_weights, cocola=args.cocola, seed=args.seed, device=args.device,
        cache=args.cache, delta=args.delta, progress=not args.quiet,
    )  # fmt: skip
    report.write_results(results, args.out)
    page.write_page(results, systems, args.vocals, args.out, args.listen, progress=not args.quiet)
    print(report.table(results), end="")
    for problem in results["problems"]:
        _complain(problem)
    return 1 if results["problems"] else 0


def add_baselines(verbs):
    parser = verbs.add_parser(
        "baselines",
        help="the rows that keep a table honest, as folders",
        description="Writes DIR/<row>/<song>.wav; what is there is kept. Prints the folders.",
    )
    parser.add_argument("--vocals", metavar="DIR", type=Path, required=True, help="the vocals")
    parser.add_argument("--reference", metavar="DIR", type=Path, required=True, help="the true accompaniments")
    parser.add_argument("-o", "--out", metavar="DIR", type=Path, required=True, help="where to write")
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
        _complain(problem)
    return 1 if problems else 0


def add_fetch(verbs):
    parser = verbs.add_parser("fetch", help="published weights into the cache", description="Prints the path of the file.")
    parser.add_argument(
        "name", metavar="NAME", help="hubert-base, hubert-large, encodec-24khz, vggish, clap-music or beat-this"
    )
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
