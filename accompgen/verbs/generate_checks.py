"""What `generate` is asked for and cannot do, whatever the vocal: said once, before weights are loaded."""

from accompgen import STREAMED
from accompgen.stages import ALL
from accompgen.verbs.chart import chart_options
from accompgen.verbs.shared import refuse_same_names

USUAL_RATE = 44_100  # every format has it


def check_usage(args, file: bool) -> None:
    """End by a usage error for options that do not go together, whatever the checkpoint.

    Args:
        args: of `generate`.
        file: whether -o names a file, which gets the mix alone.
    """
    error = args.parser.error
    if bool(args.vocals) == bool(args.manifest):
        error("give recordings (VOCAL...), or --manifest with many of them")
    if args.manifest:
        if file:
            error(f"{args.out} is a file; with --manifest give a folder (-o DIR)")
        if args.stream:
            error("--stream takes recordings (VOCAL...), not --manifest")
        if args.others:
            error("--with goes with one vocal, not with --manifest")
        return
    if file and (len(args.vocals) > 1 or args.stream):
        error(
            f"{args.out} is a file, for the mix of one vocal without --stream; "
            "give a folder (-o DIR)"
        )
    if args.stream:
        _check_stream(args)
    if args.others and len(args.vocals) > 1:
        error("--with goes with one vocal; call once for each")
    refuse_same_names(args.parser, args.vocals)


def _check_stream(args):
    """What a stream cannot do."""
    if args.loudness is not None:
        args.parser.error(
            "--loudness is known at the end of a song, so it does not go with --stream"
        )
    if args.format != "wav" or args.bit_depth == "32f":
        args.parser.error("--stream writes wav of 16 or 24 bits")
    if options := band_options(args):
        args.parser.error(
            "--stream plays one track as the voice comes; "
            f"it does not go with {', '.join(options)}"
        )
    if args.rate or args.channels:
        args.parser.error(
            "--stream plays at the vocal's rate, with the checkpoint's channels; "
            "leave out --rate, --mono, --stereo"
        )


def band_options(args) -> list[str]:
    """The options that ask something of the band, of those that were given, as they are written."""
    given = {
        "--stems": args.stems,
        "--with": args.others,
        "--prompt": args.prompt,
        "--click": args.click,
    }
    return [option for option, value in given.items() if value] + chart_options(args)


def check_files(args, folder) -> None:
    """Raise audio.AudioError where nothing can be written into `folder`, or where the format has no
    such files."""
    from accompgen.audio import check_folder
    from accompgen.generation.song import format_of

    check_folder(folder)
    format_of(args.rate or USUAL_RATE, args.channels or 1, args.format, args.bit_depth)


def check_checkpoint(args, stems, request) -> None:
    """Raise ValueError for options that the checkpoint cannot follow. Its config.json alone is read.

    Args:
        args: of `generate`.
        stems: the names that were given, None for all.
        request: the ChartRequest that was given, or None.
    """
    from accompgen.checkpoint import (
        TEXT_ENCODER,
        TEXT_TOKENIZER,
        Checkpoint,
        find_checkpoint,
        read_graph,
        read_info,
    )
    from accompgen.generation.settings import chosen_stems
    from accompgen.generation.single_stage import WITHOUT_BEATS
    from accompgen.prompts import read_prompts

    path = find_checkpoint(args.checkpoint)
    checkpoint = Checkpoint(path, read_info(path), read_graph(path))
    graph = checkpoint.graph
    reader = TEXT_TOKENIZER if graph.has_units else TEXT_ENCODER
    for problem in _problems(args, graph, checkpoint.components, reader):
        raise ValueError(f"the checkpoint {path.resolve().name!r} {problem}")
    if args.click and (request is None or request.bpm is None and request.beats is None):
        raise ValueError(WITHOUT_BEATS)
    read_prompts(args.prompt)
    if stems is not None:
        chosen_stems(stems, graph.stems)


def _problems(args, graph, components, reader):
    """What the checkpoint of a graph, with these components, cannot do, behind its name.

    `reader` is the component by which it would read texts.
    """
    from accompgen.checkpoint import BEAT_TRACKER
    from accompgen.generation.sampling import LOGIT_WEIGHTS

    tracks = [stem for stem in graph.stems if stem != ALL]
    charted = chart_options(args)
    hears = "hears the voice alone" if graph.has_units else "hears nothing"
    if args.stream and graph.has_units and len(tracks) > 1:
        yield (
            f"makes {', '.join(tracks)} one after the other, each hearing the whole of those before "
            f"it; --stream is for checkpoints of one track, such as {STREAMED}"
        )
    if args.prompt and reader not in components:
        adopt = "" if graph.has_units else ", or adopt it with --t5"
        yield f"does not read texts; leave --prompt out{adopt}"
    if args.others and graph.others is None:
        yield f"{hears}; leave --with out"
    if args.click and graph.has_units and graph.has_chart:
        yield "plays by beats, not by a click; give --bpm or --beats alone"
    if args.click and graph.has_units:
        options = ", ".join(["--click", *charted])
        yield f"{hears}, and neither a click nor beats; leave {options} out"
    if args.click and graph.others is None:
        yield f"{hears}; leave --click out"
    if charted and not graph.has_chart and not args.click:
        alone = f"{hears} and " if graph.has_units else ""
        click = "; with --click it hears beats" if not graph.has_units and graph.others else ""
        yield f"{alone}plays without a chart; leave {', '.join(charted)} out{click}"
    finds_beats = not graph.has_chart or BEAT_TRACKER in components
    if graph.has_units and not (finds_beats or args.bpm or args.beats):
        yield "has no beat tracker; give the beat, by --bpm or --beats"
    if args.noise and not graph.has_units:
        yield "encodes the voice as it is, without noise; leave --noise out"
    weights = [f"--{name}" for name in LOGIT_WEIGHTS if any(getattr(args, name).values())]
    if weights and not graph.has_units:
        yield f"hears no units; leave {', '.join(weights)} out"
