"""Songs: `generate`."""

from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from accompgen.verbs.chart import request_of
from accompgen.verbs.generate_checks import check_checkpoint, check_files, check_usage
from accompgen.verbs.generate_options import FORMATS, add_options, checkpoint_of
from accompgen.verbs.shared import complain, for_each, print_path, remark, song_bar


def add_generate(verbs):
    add_options(verbs).set_defaults(run=run_generate)


def run_generate(args) -> int:
    args.checkpoint = checkpoint_of(args)
    file = args.out.suffix.lower()[1:] in FORMATS and not args.out.is_dir()
    if file and not args.manifest:
        args.format = args.out.suffix.lower()[1:]
    check_usage(args, file)
    if args.manifest:
        return _generate_many(args)
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
