"""Beats, key and chords alone: `chart`, and the options that say what a song's music is, which
`generate` has, too."""

from contextlib import nullcontext
from pathlib import Path

from accompgen.verbs.shared import (
    RECORDING,
    add_engine,
    add_model,
    add_out,
    for_each,
    refuse_same_names,
    remark,
)

ENDINGS = (".mid", ".chords.txt", ".lab", ".beats.txt", ".click.wav")


def add_chart_options(parser):
    """The options of verbs that can be told beats, chords and key; `request_of` reads them."""
    group = parser.add_argument_group(
        "chart", "What the band plays by. What is not given is found in the voice."
    )
    beats = group.add_mutually_exclusive_group()
    beats.add_argument(
        "--bpm",
        metavar="N",
        type=float,
        help="one tempo for the whole song, 30 to 300 beats a minute",
    )
    beats.add_argument(
        "--beats",
        metavar="FILE",
        help="beats or taps: a time in seconds a line, its place in the bar behind it if known",
    )
    group.add_argument(
        "--metre", metavar="N", type=int, help="beats of a bar (default: as found, or 4)"
    )
    group.add_argument(
        "--chords", metavar="FILE|TEXT",
        help="a chord sheet, a .lab file, or chords such as '| Am | F | C | G |', "
        "which are repeated to the end",
    )  # fmt: skip
    group.add_argument("--key", metavar="KEY", help="such as C:maj or 'A minor'")
    group.add_argument(
        "--count-in",
        metavar="BARS",
        type=int,
        default=0,
        help="bars of clicks before the song, in MIDI and click (default: 0)",
    )


def chart_options(args) -> list[str]:
    """The options of `add_chart_options` that were given, as they are written."""
    names = ("bpm", "beats", "metre", "chords", "key", "count_in")
    return [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) not in (None, 0)]


def request_of(args):
    """The `chart_input.ChartRequest` of these options. Raises ChartError for what cannot be read,
    before any other work."""
    from accompgen.chart_input import read_request

    return read_request(args.bpm, args.beats, args.chords, args.key, args.metre, args.count_in)


def add_chart(verbs):
    parser = verbs.add_parser(
        "chart",
        help="beats, key and chords to vocals, without a band",
        description=f"Writes {', '.join('<name>' + ending for ending in ENDINGS)} "
        "for each vocal; prints their paths.",
    )
    parser.add_argument(
        "vocals",
        metavar="VOCAL",
        nargs="+",
        type=Path,
        help=RECORDING,
    )
    add_out(parser, "where to write (default: here)", default=Path("."))
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="another seed, other chords (default: 0)"
    )
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    add_chart_options(parser)
    add_model(parser)
    add_engine(parser)
    parser.set_defaults(run=run_chart, parser=parser)


def run_chart(args) -> int:
    refuse_same_names(args.parser, args.vocals)
    asked = request_of(args)
    from accompgen import audio
    from accompgen.export.chart_files import beat_files, score_files
    from accompgen.generation.pipeline import load
    from accompgen.generation.progress import progress_bar
    from accompgen.generation.vocal import read_vocal

    audio.check_folder(args.out)
    _check_checkpoint(args.checkpoint)
    model = load(args.checkpoint, args.device, engine=args.engine)

    def work(path):
        paths = _paths(args.out, path.stem, args.force)
        vocal = read_vocal(path)
        with nullcontext() if args.quiet else progress_bar(path.stem) as bar:
            chart = model.chart(vocal, args.seed, chart=asked, on_progress=bar)
        contents = score_files(chart, path.stem, asked.count_in)
        contents |= beat_files(chart, path.stem, vocal.rate, vocal.wav.shape[1], asked.count_in, vocal.stamp)
        audio.make_folder(args.out)
        audio.write_files({paths[ending]: contents[ending] for ending in ENDINGS})
        _say_what_was_found(args, path, chart, asked.count_in)
        return paths.values()

    return for_each(args.vocals, work)


def _check_checkpoint(name):
    """Raise ChartError for a checkpoint of units without a chart, before its weights are read."""
    from accompgen.chart import ChartError
    from accompgen.checkpoint import find_checkpoint, read_graph

    graph = read_graph(find_checkpoint(name))
    if graph.has_units and not graph.has_chart:
        raise ChartError(
            f"the checkpoint {name!r} plays without a chart and finds none; "
            "choose one of the graph 'band'"
        )


def _paths(folder, name, force):
    """Where the files go, by their endings. Raises audio.AudioError for one that is there without
    `force`."""
    from accompgen.audio import AudioError
    from accompgen.files import short_name

    paths = {ending: folder / f"{short_name(name)}{ending}" for ending in ENDINGS}
    for path in paths.values():
        if path.exists() and not force:
            raise AudioError(f"{path} exists; choose another folder, or --force to replace it")
    return paths


def _say_what_was_found(args, path, chart, count_in):
    """Tempo, metre and key in a line, and where the recording goes beside the MIDI file."""
    from accompgen.export.grid import grid_of

    key = f", {chart.key}" if chart.key else ""
    remark(
        args,
        f"{path}: {chart.bpm:.1f} beats a minute, {chart.metre} a bar{key}, "
        f"{len(chart.bars())} bars",
    )
    if count_in:
        offset = grid_of(chart, count_in).offset
        remark(
            args,
            f"{path}: in MIDI and click the recording begins at {offset:.3f} s, "
            "at the marker `recording`",
        )
