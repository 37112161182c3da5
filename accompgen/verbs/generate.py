"""Songs: `generate`."""

import argparse
from contextlib import suppress
from dataclasses import fields
from functools import partial
from pathlib import Path

from accompgen import CHECKPOINT, STREAMED
from accompgen.verbs.chart import add_chart_options, request_of
from accompgen.verbs.generate_checks import band_options, check_checkpoint, check_files
from accompgen.verbs.shared import (
    RECORDING,
    add_engine,
    add_executor,
    add_model,
    complain,
    for_each,
    out_path,
    print_path,
    refuse_same_names,
    remark,
    song_bar,
)

SAMPLING = ("guidance", "temperature", "top_k", "top_p", "listening", "consonance", "pulse", "melody", "reading")
FORMATS = ("wav", "flac", "mp3")


class _Help(argparse.Action):
    """--help that says what the checkpoint uses, one named before it or the default one."""

    def __call__(self, parser, namespace, values, option_string=None):
        from accompgen.generation.settings import sampling_of

        given = _checkpoint_of(namespace)
        with suppress(ValueError):  # no such checkpoint: help is shown all the same
            own = sampling_of(given)
            for action in (action for action in parser._actions if action.dest in SAMPLING):
                used = [getattr(sampling, action.dest) for sampling in own.values()]
                shown = ", ".join(f"{stage}={value:g}" for stage, value in zip(own, used))
                action.help += f" (default: {used[0]:g})" if len(set(used)) == 1 else f" (default: {shown})"
        parser.print_help()
        parser.exit()


def add_generate(verbs):
    parser = verbs.add_parser(
        "generate",
        help="make accompaniments to vocals",
        description="Writes <name>.accompaniment.wav, <name>.mix.wav and <name>.json for each "
        "vocal; prints their paths. A checkpoint of several stems adds a file for each, such as "
        "<name>.drums.wav; one that plays by a chart adds <name>.mid, <name>.chords.txt and "
        f"<name>.lab. The default checkpoint, {CHECKPOINT}, does both.",
        add_help=False,
    )
    parser.add_argument("-h", "--help", action=_Help, nargs=0, help="show this, with the defaults of the checkpoint, and end")
    parser.add_argument("vocals", metavar="VOCAL", nargs="*", type=Path, help=RECORDING)
    parser.add_argument(
        "-o", "--out", metavar="DIR|FILE", default=Path("."),
        type=partial(out_path, formats=FORMATS, takes="wav, flac or mp3, or a folder"),
        help="a folder (default: here), or a file such as song.wav, which gets the mix alone",
    )  # fmt: skip
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="another seed, another band (default: 0)")
    parser.add_argument(
        "--stems", metavar="NAMES", nargs="?", const="",
        help="only these, in this order, such as drums,bass (default: all that the checkpoint makes)",
    )  # fmt: skip
    parser.add_argument(
        "--with", dest="others", metavar="FILE", type=Path,
        help="what else is played already, such as a guitar: it is heard, and mixed in; as long as the vocal",
    )  # fmt: skip
    parser.add_argument(
        "--prompt", metavar="TEXT", action="append", default=[],
        help="what it should sound like: 'soft ballad, piano and brushes'; for a part: '0:40-1:10: full band'; again for more",
    )  # fmt: skip
    add_chart_options(parser)
    parser.add_argument(
        "--click", action="store_true",
        help="sum a click on the beats of --bpm or --beats to what a STAGE hears, as its authors do; it is not in the mix",
    )  # fmt: skip
    each = parser.add_argument_group(
        "sampling",
        "One value for all stages, or such as coarse=0.9, by the name of a stage; coarse/bass=0.9 is for one stem. The "
        "defaults are the checkpoint's own.",
    )
    each.add_argument("--guidance", metavar="X", type=_per_stage(float), default={}, help="1: plain sampling")
    each.add_argument("--temperature", metavar="X", type=_per_stage(float), default={}, help="0: likeliest")
    each.add_argument("--top-k", metavar="N", type=_per_stage(int), default={}, help="ids to draw from; 0: all")
    each.add_argument("--top-p", metavar="X", type=_per_stage(float), default={}, help="probability kept; 1: all")
    each.add_argument(
        "--listening", metavar="X", type=_per_stage(float), default={},
        help="weight of what the voice alone tells, for stages trained with listening_weight; 0: none",
    )  # fmt: skip
    each.add_argument(
        "--consonance", metavar="X", type=_per_stage(float), default={},
        help="weight of pitches that go with the chart's chord, or without one with what the voice makes likely; 0: none",
    )  # fmt: skip
    each.add_argument(
        "--pulse", metavar="X", type=_per_stage(float), default={},
        help="weight of what belongs where the beat of the voice stands; stage of units; 0: none",
    )  # fmt: skip
    each.add_argument(
        "--melody", metavar="X", type=_per_stage(float), default={},
        help="weight of the sung notes; stages of chords, and of units that play them; 0: none",
    )  # fmt: skip
    each.add_argument(
        "--reading", metavar="X", type=_per_stage(float), default={},
        help="weight of what the prompt alone tells, for stages trained with history_dropout; 0: none",
    )  # fmt: skip
    sound = parser.add_argument_group("sound")
    sound.add_argument("--balance", metavar="LU", type=float, help="loudness of accompaniment minus vocal (default: -3)")
    sound.add_argument(
        "--loudness", metavar="LUFS", type=float,
        help="of the mix, by gain, as far as the peaks allow, such as -14 (default: the vocal stays as loud as it is)",
    )  # fmt: skip
    sound.add_argument("--noise", metavar="SIGMA", type=float, help="on the vocal, before it is read (default: 0.01)")
    sound.add_argument("--format", choices=FORMATS, default="wav", help="(default: wav)")
    sound.add_argument("--bit-depth", choices=("16", "24", "32f"), default="24", help="of wav and flac (default: 24)")
    sound.add_argument(
        "--rate", metavar="HZ", type=int, help="of the files, such as 44100 or 48000 (default: the vocal's)"
    )
    width = sound.add_mutually_exclusive_group()
    width.add_argument(
        "--mono", dest="channels", action="store_const", const=1, help="all files (default: as the checkpoint plays)"
    )
    width.add_argument("--stereo", dest="channels", action="store_const", const=2, help="stems and mix")
    sound.add_argument("--stream", action="store_true", help="to be played while it is made: <name>.accompaniment.part.wav")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--force", action="store_true", help="replace files that exist")
    existing.add_argument("--skip-existing", action="store_true", help="pass over vocals whose files exist")
    many = parser.add_argument_group("many vocals", "A stopped call goes on; what was made with other settings is refused.")
    many.add_argument("--manifest", metavar="FILE", type=Path, help="instead of VOCAL: a .jsonl or .csv manifest, or a folder")
    many.add_argument("--split", choices=("train", "validation", "test"), help="of the manifest, only these (default: all)")
    add_executor(many)
    add_model(parser, f"{CHECKPOINT}, with --stream {STREAMED}")
    add_engine(parser)
    parser.set_defaults(run=run_generate, parser=parser, checkpoint=None)


def _checkpoint_of(args):
    """The checkpoint that is named, or the one for what is asked."""
    return args.checkpoint or (STREAMED if args.stream else CHECKPOINT)


def run_generate(args) -> int:
    args.checkpoint = _checkpoint_of(args)
    if bool(args.vocals) == bool(args.manifest):
        args.parser.error("give recordings (VOCAL...), or --manifest with many of them")
    file = args.out.suffix.lower()[1:] in FORMATS and not args.out.is_dir()
    if args.manifest:
        if file:
            args.parser.error(f"{args.out} is a file; with --manifest give a folder (-o DIR)")
        if args.stream:
            args.parser.error("--stream takes recordings (VOCAL...), not --manifest")
        if args.others:
            args.parser.error("--with goes with one vocal, not with --manifest")
        return _generate_many(args)
    if file:
        if len(args.vocals) > 1 or args.stream:
            args.parser.error(f"{args.out} is a file, for the mix of one vocal without --stream; give a folder (-o DIR)")
        args.format = args.out.suffix.lower()[1:]
    if args.stream and args.loudness is not None:
        args.parser.error("--loudness is known at the end of a song, so it does not go with --stream")
    if args.stream and (args.format != "wav" or args.bit_depth == "32f"):
        args.parser.error("--stream writes wav of 16 or 24 bits")
    if args.others and len(args.vocals) > 1:
        args.parser.error("--with goes with one vocal; call once for each")
    refuse_same_names(args.parser, args.vocals)
    if args.stream and (options := band_options(args)):
        args.parser.error(
            f"--stream plays one track as the voice comes; it does not go with {', '.join(options)}"
        )
    if args.stream and (args.rate or args.channels):
        args.parser.error(
            "--stream plays at the vocal's rate, with the checkpoint's channels; leave out --rate, --mono, --stereo"
        )
    from accompgen.generation import pipeline, settings, single_stage, song, stream
    from accompgen.generation.mixdown import BALANCE_LU
    from accompgen.generation.vocal import read_vocal

    balance = BALANCE_LU if args.balance is None else args.balance
    settings.check_settings(balance, args.noise or 0.0, args.loudness, args.rate, args.channels)
    check_files(args, args.out.parent if file else args.out)
    asked, sampling = _band(args), _sampling(args)
    check_checkpoint(args, asked.get("stems"), asked.get("chart"))
    _say_licence(args)
    helper = not args.stream and any(map(_is_long, args.vocals))
    load = pipeline.load if args.stream else single_stage.load_any
    model = load(args.checkpoint, args.device, helper, args.engine)
    noise = model.noise if args.noise is None else args.noise
    stems = model.check_stems(asked.get("stems"), asked.get("prompt"))
    parts = song.parts_of(stems, model.has_chart)

    given = {"sampling": sampling, "balance": balance, "noise": noise}

    def work(path):
        if args.skip_existing and (args.out.exists() if file else song.has_outputs(args.out, path.stem, args.format, *parts)):
            remark(args, f"{args.out} exists, skipped" if file else f"{path}: its files exist, skipped")
            return [args.out] if file else []
        if file:
            song.check_file(args.out, args.force)
        else:
            song.output_paths(args.out, path.stem, args.format, args.force, *parts)
        vocal = read_vocal(path)
        if model.system.graph.has_units:  # others hear any sound as it is
            _say_what_it_is(args, path, vocal)
        channels = args.channels or max(len(vocal.wav), model.decoder.channels)
        song.format_of(args.rate or vocal.rate, channels, args.format, args.bit_depth)
        if args.stream:
            return _stream(args, path, stream.Stream(model, vocal, args.seed, **given))
        sound = {"loudness": args.loudness, "rate": args.rate, "channels": args.channels}
        made = model.accompany(vocal, args.seed, **given, **asked, **sound, progress=not args.quiet)
        _say_loudness(args, made)
        if file:
            paths, more = [made.save_mix(args.out, args.bit_depth, args.force)], "; -o DIR keeps the parts, too"
        else:
            paths, more = made.save(args.out, args.format, args.bit_depth, args.force).values(), ""
        remark(args, f"{path}: {made.seconds:.1f} s of sound in {made.timings['total']:.1f} s{more}")
        return paths

    return for_each(args.vocals, work)


def _band(args):
    """What is asked of the band, as `Accompanist.accompany` takes it: without what is not given."""
    from accompgen.chart_input import ChartRequest

    chart = request_of(args)
    asked = {"chart": None if chart == ChartRequest() else chart, "prompt": args.prompt or None, "others": args.others}
    if args.click:
        asked["click"] = True
    if args.stems:
        asked["stems"] = tuple(name.strip() for name in args.stems.split(",") if name.strip())
    return {name: value for name, value in asked.items() if value is not None}


def _many_band(asked):
    """`_band` as GenerateJob takes it."""
    named = {"stems": asked.get("stems"), "prompts": tuple(asked.get("prompt", ())), "chart": asked.get("chart")}
    return named | {"click": asked.get("click", False)}


def _say_licence(args):
    """What published weights allow, where a checkpoint is made of such."""
    from accompgen.checkpoint import find_checkpoint, read_graph, read_info

    path = find_checkpoint(args.checkpoint)
    if not read_graph(path).has_units:
        remark(args, f"{args.checkpoint}: {read_info(path).get('licence', 'its licence is not known')}")


def _say_what_it_is(args, path, vocal):
    """A remark where a vocal seems to be a whole mix."""
    from accompgen.generation.solo import remark_on

    if said := remark_on(vocal.wav, vocal.rate):
        remark(args, f"{path}: {said}")


def _say_loudness(args, made):
    """A remark where the peaks kept the mix below the loudness asked for."""
    level = made.report["levels"]["mix_lufs"]
    if args.loudness is not None and level is not None and level < args.loudness - 0.1:
        remark(args, f"{made.name}: {level:.1f} LUFS instead of {args.loudness:g}, for its peaks reach -1 dBFS")


def _is_long(path):
    """Whether a recording is long enough for a second process; one that cannot be read is complained of later."""
    from accompgen import audio
    from accompgen.generation.pipeline import LONG_SECONDS

    with suppress(audio.AudioError):
        return audio.seconds(path) >= LONG_SECONDS
    return False


def _stream(args, path, pieces):
    """Write the accompaniment piece by piece to a file of its own, <name>.accompaniment.part.wav, which is removed in the end.

    Then come the song's files; after an error or an interruption those that were there before are as they were.
    """
    from accompgen.generation import song

    target = song.output_paths(args.out, path.stem, "wav", args.force)["accompaniment"]
    part = target.with_suffix(".part.wav")
    growing = song.GrowingWav(part, pieces.rate, pieces.channels, args.bit_depth, args.force)
    try:
        for piece in pieces:
            growing.add(piece.accompaniment)
            remark(args, f"{growing.path}: {piece.start:.2f} to {piece.stop:.2f} s ready after {piece.after:.1f} s")
        return pieces.song().save(args.out, "wav", args.bit_depth, args.force).values()
    finally:
        growing.remove()


def _generate_many(args):
    from accompgen.data.executors import run_tasks
    from accompgen.data.folder_songs import PassedOver
    from accompgen.data.sources import read_vocals
    from accompgen.generation.many import GenerateJob

    asked, sampling = _band(args), _sampling(args)
    check_checkpoint(args, asked.get("stems"), asked.get("chart"))
    _say_licence(args)
    passed = PassedOver()
    vocals, faults = read_vocals(args.manifest.absolute(), args.split, passed)  # absolute: workers may run in another folder
    checkpoint = str(Path(args.checkpoint).absolute()) if Path(args.checkpoint).is_dir() else str(args.checkpoint)
    numbers = ("balance", "noise", "loudness", "rate", "channels")
    given = {name: getattr(args, name) for name in numbers if getattr(args, name) is not None}
    job = GenerateJob(
        str(args.out.absolute()), checkpoint, args.device, args.seed, sampling, **_many_band(asked),
        **given, format=args.format, bit_depth=args.bit_depth, force=args.force, engine=args.engine,
    )  # fmt: skip
    check_files(args, args.out)
    for line in passed.lines():
        remark(args, line)
    for fault in faults:
        complain(fault)
    failed = len(faults)
    with song_bar(args.quiet) as show:
        tasks = {name: (name, path) for name, path in vocals.items()}
        for done, (_, result) in enumerate(run_tasks(job, tasks, args.executor, args.workers), 1):
            for path in result["paths"]:
                print_path(path)
            if result["error"]:
                failed += 1
                complain(result["error"])
            show(done, len(tasks))
    return 1 if failed else 0


def _sampling(args):
    """The settings that are given, by stage or by stage and stem; what is given for all stages stands with each of them."""
    from accompgen.checkpoint import find_checkpoint, read_graph
    from accompgen.generation.sampling import Sampling
    from accompgen.generation.settings import setting_names

    given = {field.name: getattr(args, field.name) for field in fields(Sampling)}
    graph = read_graph(find_checkpoint(args.checkpoint))
    names = setting_names(graph)
    if unknown := sorted({stage for values in given.values() for stage in values} - {None, *names}):
        raise ValueError(f"{unknown[0]!r} is no stage of {args.checkpoint}; expected one of {', '.join(names)}")
    asked = {}
    for setting, row in given.items():
        everywhere = dict.fromkeys(graph.stage_names, row[None]) if None in row else {}
        for name, value in (everywhere | row).items():
            if name is not None:
                asked.setdefault(name, {})[setting] = value
    return {name: Sampling(**values) for name, values in asked.items()}


def _per_stage(kind):
    """Parser of "0.9" (all stages), or with stages' names, "a=1.0,b=0.9" or "0.9,b=0.5" -> {stage, or None for all: value}."""

    def number(text):  # argparse prints the name of a type that fails: "invalid number value"
        values = {}
        for part in text.split(","):
            stage, equals, value = part.rpartition("=")
            values[stage.strip() if equals else None] = kind(value)
        return values

    return number
