"""The options of `generate`."""

import argparse
from contextlib import suppress
from functools import partial
from pathlib import Path

from accompgen import CHECKPOINT, STREAMED
from accompgen.verbs.chart import add_chart_options
from accompgen.verbs.shared import RECORDING, add_engine, add_executor, add_model, out_path

SAMPLING = (
    "guidance",
    "temperature",
    "top_k",
    "top_p",
    "listening",
    "consonance",
    "pulse",
    "melody",
    "reading",
)
FORMATS = ("wav", "flac", "mp3")


class _Help(argparse.Action):
    """--help that says what the checkpoint uses, one named before it or the default one."""

    def __call__(self, parser, namespace, values, option_string=None):
        from accompgen.generation.settings import sampling_of

        given = checkpoint_of(namespace)
        with suppress(ValueError):  # no such checkpoint: help is shown all the same
            own = sampling_of(given)
            for action in (action for action in parser._actions if action.dest in SAMPLING):
                used = [getattr(sampling, action.dest) for sampling in own.values()]
                shown = ", ".join(f"{stage}={value:g}" for stage, value in zip(own, used))
                action.help += (
                    f" (default: {used[0]:g})" if len(set(used)) == 1 else f" (default: {shown})"
                )
        parser.print_help()
        parser.exit()


def add_options(verbs) -> argparse.ArgumentParser:
    """The parser of the verb, without what it runs."""
    parser = verbs.add_parser(
        "generate",
        help="make accompaniments to vocals",
        description="Writes <name>.accompaniment.wav, <name>.mix.wav and <name>.json for each "
        "vocal; prints their paths. A checkpoint of several stems adds a file for each, such as "
        "<name>.drums.wav; one that plays by a chart adds <name>.mid, <name>.chords.txt and "
        f"<name>.lab. The default checkpoint, {CHECKPOINT}, does both.",
        add_help=False,
    )
    parser.add_argument(
        "-h",
        "--help",
        action=_Help,
        nargs=0,
        help="show this, with the defaults of the checkpoint, and end",
    )
    parser.add_argument("vocals", metavar="VOCAL", nargs="*", type=Path, help=RECORDING)
    parser.add_argument(
        "-o", "--out", metavar="DIR|FILE", default=Path("."),
        type=partial(out_path, formats=FORMATS, takes="wav, flac or mp3, or a folder"),
        help="a folder (default: here), or a file such as song.wav, which gets the mix alone",
    )  # fmt: skip
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="another seed, another band (default: 0)"
    )
    parser.add_argument(
        "--stems", metavar="NAMES", nargs="?", const="",
        help="only these, in this order, such as drums,bass (default: all that the checkpoint "
        "makes)",
    )  # fmt: skip
    parser.add_argument(
        "--with", dest="others", metavar="FILE", type=Path,
        help="what else is played already, such as a guitar: it is heard, and mixed in; as long "
        "as the vocal",
    )  # fmt: skip
    parser.add_argument(
        "--prompt", metavar="TEXT", action="append", default=[],
        help="what it should sound like: 'soft ballad, piano and brushes'; for a part: "
        "'0:40-1:10: full band'; again for more",
    )  # fmt: skip
    add_chart_options(parser)
    parser.add_argument(
        "--click", action="store_true",
        help="sum a click on the beats of --bpm or --beats to what a STAGE hears, as its "
        "authors do; it is not in the mix",
    )  # fmt: skip
    each = parser.add_argument_group(
        "sampling",
        "One value for all stages, or such as coarse=0.9, by the name of a stage; "
        "coarse/bass=0.9 is for one stem. The "
        "defaults are the checkpoint's own.",
    )
    each.add_argument(
        "--guidance", metavar="X", type=per_stage(float), default={}, help="1: plain sampling"
    )
    each.add_argument(
        "--temperature", metavar="X", type=per_stage(float), default={}, help="0: likeliest"
    )
    each.add_argument(
        "--top-k", metavar="N", type=per_stage(int), default={}, help="ids to draw from; 0: all"
    )
    each.add_argument(
        "--top-p", metavar="X", type=per_stage(float), default={}, help="probability kept; 1: all"
    )
    each.add_argument(
        "--listening", metavar="X", type=per_stage(float), default={},
        help="weight of what the voice alone tells, for stages trained with listening_weight; "
        "0: none",
    )  # fmt: skip
    each.add_argument(
        "--consonance", metavar="X", type=per_stage(float), default={},
        help="weight of pitches that go with the chart's chord, or without one with what the "
        "voice makes likely; 0: none",
    )  # fmt: skip
    each.add_argument(
        "--pulse", metavar="X", type=per_stage(float), default={},
        help="weight of what belongs where the beat of the voice stands; stage of units; 0: none",
    )  # fmt: skip
    each.add_argument(
        "--melody", metavar="X", type=per_stage(float), default={},
        help="weight of the sung notes; stages of chords, and of units that play them; 0: none",
    )  # fmt: skip
    each.add_argument(
        "--reading", metavar="X", type=per_stage(float), default={},
        help="weight of what the prompt alone tells, for stages trained with history_dropout; "
        "0: none",
    )  # fmt: skip
    sound = parser.add_argument_group("sound")
    sound.add_argument(
        "--balance",
        metavar="LU",
        type=float,
        help="loudness of accompaniment minus vocal (default: -3)",
    )
    sound.add_argument(
        "--loudness", metavar="LUFS", type=float,
        help="of the mix, by gain, as far as the peaks allow, such as -14 (default: the vocal "
        "stays as loud as it is)",
    )  # fmt: skip
    sound.add_argument(
        "--noise",
        metavar="SIGMA",
        type=float,
        help="on the vocal, before it is read (default: 0.01)",
    )
    sound.add_argument("--format", choices=FORMATS, default="wav", help="(default: wav)")
    sound.add_argument(
        "--bit-depth",
        choices=("16", "24", "32f"),
        default="24",
        help="of wav and flac (default: 24)",
    )
    sound.add_argument(
        "--rate",
        metavar="HZ",
        type=int,
        help="of the files, such as 44100 or 48000 (default: the vocal's)",
    )
    width = sound.add_mutually_exclusive_group()
    width.add_argument(
        "--mono",
        dest="channels",
        action="store_const",
        const=1,
        help="all files (default: as the checkpoint plays)",
    )
    width.add_argument(
        "--stereo", dest="channels", action="store_const", const=2, help="stems and mix"
    )
    sound.add_argument(
        "--stream",
        action="store_true",
        help="to be played while it is made: <name>.accompaniment.part.wav",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--force", action="store_true", help="replace files that exist")
    existing.add_argument(
        "--skip-existing", action="store_true", help="pass over vocals whose files exist"
    )
    many = parser.add_argument_group(
        "many vocals", "A stopped call goes on; what was made with other settings is refused."
    )
    many.add_argument(
        "--manifest",
        metavar="FILE",
        type=Path,
        help="instead of VOCAL: a .jsonl or .csv manifest, or a folder",
    )
    many.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        help="of the manifest, only these (default: all)",
    )
    add_executor(many)
    add_model(parser, f"{CHECKPOINT}, with --stream {STREAMED}")
    add_engine(parser)
    parser.set_defaults(parser=parser, checkpoint=None)
    return parser


def checkpoint_of(args):
    """The checkpoint that is named, or the one for what is asked."""
    return args.checkpoint or (STREAMED if args.stream else CHECKPOINT)


def per_stage(kind):
    """Parser of "0.9" (all stages), or with stages' names, "a=1.0,b=0.9" or "0.9,b=0.5".

    It gives {stage, or None for all: value}.
    """

    def number(text):  # argparse prints the name of a type that fails: "invalid number value"
        values = {}
        for part in text.split(","):
            stage, equals, value = part.rpartition("=")
            values[stage.strip() if equals else None] = kind(value)
        return values

    return number
