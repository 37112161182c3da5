"""What a checkpoint plays for the table `chart` of tools/judge.py: one part of it into a folder, ready to be measured.

    given    each song with its annotated beats, chords and key
    tempo    the songs one after the other, each asked for a tempo between 60 and 180 beats a minute
    asked    the songs, each asked for a progression of chords that it does not have, in its annotated key
    prompts  the songs, each asked for one of the kinds of bands that the probe of prompts tells apart

A stopped call goes on. A song plays to the first `--seconds` of its vocal.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from accompgen.chart import ROOTS, Chart
from accompgen.chart_input import ChartRequest, read_request
from accompgen.evaluation.folders import EvaluationError, find_songs
from accompgen.evaluation.prompts import CLASSES
from accompgen.generation import pipeline
from accompgen.generation.vocal import Vocal, read_vocal

SLOWEST, FASTEST = 60.0, 180.0
# a chord a bar: semitones above the tonic and quality; common ones of major and of minor keys
MAJOR = (
    ((0, "maj"), (7, "maj"), (9, "min"), (5, "maj")),
    ((9, "min"), (5, "maj"), (0, "maj"), (7, "maj")),
    ((0, "maj"), (9, "min"), (2, "min"), (7, "7")),
    ((2, "min7"), (7, "7"), (0, "maj7"), (9, "min7")),
    ((0, "maj"), (5, "maj"), (7, "sus4"), (7, "maj")),
)
MINOR = (
    ((0, "min"), (8, "maj"), (3, "maj"), (10, "maj")),
    ((0, "min"), (5, "min"), (10, "maj"), (3, "maj")),
    ((0, "min"), (10, "maj"), (8, "maj"), (7, "7")),
    ((5, "min7"), (10, "7"), (3, "maj7"), (8, "maj7")),
    ((0, "min"), (3, "maj"), (5, "min"), (7, "min")),
)


def play_part(args) -> None:
    """Play `args.part` to `args.count` songs behind the first `args.skip` of a folder of NAME.vocal.* and NAME.json."""
    vocals = find_songs(args.songs, "vocal")
    metas = {name: args.songs / f"{name}.json" for name in sorted(vocals)}
    metas = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in metas.items() if path.exists()}
    asked_for = list(metas)[: args.skip + args.count if args.count else None]
    names = asked_for[args.skip :]
    if not names:
        raise EvaluationError(f"{args.songs} has no NAME.vocal.* with a NAME.json beside it, behind the first {args.skip}")
    model = pipeline.load(args.checkpoint, args.device)
    settings = asked_of(args.part, [metas[name] for name in asked_for])[args.skip :]
    for name, asked in tqdm(list(zip(names, settings)), unit=" songs", desc=args.part, file=sys.stderr, disable=None):
        if (args.out / f"{name}.json").exists():
            continue
        vocal = _first(read_vocal(str(vocals[name])), name, args.seconds)
        song = model.accompany(vocal, seed=args.seed, **asked(vocal.seconds))
        # the report comes last: a song that has one is whole
        song.save(args.out, force=True)


def asked_of(part: str, metas: list[dict]) -> list:
    """What is asked of each song: seconds -> arguments of `Accompanist.accompany`. Raises ValueError for an unknown part."""
    count = len(metas)
    if part == "given":
        return [lambda seconds, meta=meta: {"chart": Chart.of_song(meta, seconds)} for meta in metas]
    if part == "tempo":
        tempi = np.linspace(SLOWEST, FASTEST, count)
        return [lambda _, bpm=bpm: {"chart": ChartRequest(bpm=round(float(bpm), 1))} for bpm in tempi]
    if part == "asked":
        sheets = [progression(meta.get("key") or "C:maj", number) for number, meta in enumerate(metas)]
        return [lambda _, sheet=sheet: {"chart": read_request(chords=sheet)} for sheet in sheets]
    if part == "prompts":
        asked = [words for words, _ in CLASSES.values()]
        return [lambda _, number=number: {"prompt": asked[number % len(asked)]} for number in range(count)]
    raise ValueError(f"part {part!r}; expected given, tempo, asked or prompts")


def progression(key: str, number: int) -> str:
    """A chord sheet in a key such as A:min: the `number`-th of the progressions of its mode, over and over."""
    tonic, _, mode = key.partition(":")
    rows = MINOR if mode in ("min", "dor") else MAJOR
    root = ROOTS.index(tonic)
    chords = [f"{ROOTS[(root + step) % 12]}:{quality}" for step, quality in rows[number % len(rows)]]
    return f"| {' | '.join(chords)} |"


def _first(vocal: Vocal, name: str, seconds: float | None) -> Vocal:
    """The first seconds of a vocal, called as its song."""
    if seconds is None or seconds >= vocal.seconds:
        return replace(vocal, name=name)
    frames = round(seconds * vocal.rate)
    return replace(read_vocal((vocal.wav[..., :frames], vocal.rate)), name=name)


def add_play(commands):
    """The command `play`; returns its parser."""
    play = commands.add_parser("play")
    play.add_argument("part", choices=("given", "tempo", "asked", "prompts"))
    play.add_argument("--songs", type=Path, required=True, help="NAME.vocal.* and NAME.json")
    play.add_argument("--checkpoint", default="pocket")
    play.add_argument("--device", default="auto")
    play.add_argument("--count", type=int, help="the first so many songs by name")
    play.add_argument("--skip", type=int, default=0, help="begin behind the first so many")
    play.add_argument("--seconds", type=float, help="of each vocal (default: all)")
    play.add_argument("-o", "--out", type=Path, required=True)
    play.set_defaults(run=play_part)
    return play
