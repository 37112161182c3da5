"""Is a checkpoint worth hearing? What `make -C recipes/synthetic judge` calls between the commands of accompgen.

python tools/judge.py rows SONGS PLAYED -o DIR [--count N] [--seed N]
    DIR/songs: links COMPOSITION@SONG.vocal, .accompaniment and .json to the first N test songs, so that intervals are over
    compositions and a shuffled pair is never of one composition; DIR/system: the checkpoint's accompaniments; DIR/swapped:
    to each song the one that the checkpoint played to another song's vocal. Links to files of earlier calls are removed.
python tools/judge.py mixtures SONGS -o DIR
    DIR/NAME.wav: vocal and accompaniment of each song of a folder added up, to be separated again
python tools/judge.py table DIR --checkpoint NAME [--long DIR] [--voice WAV --notes CSV --played DIR...]
    the figures against their goals, to stdout and DIR/judge.md
python tools/judge.py probes SONGS -o DIR [--count N] [--steps N]
    two probes, trained on true bands: which of eight kinds a band is, and what a stem holds; DIR/probes.md says how well
python tools/judge.py play PART --songs SONGS --checkpoint NAME [--count N] [--seconds S] -o DIR
    what a checkpoint plays for the next command: with the annotated charts (given), with --bpm (tempo), --chords (asked),
    --prompt (prompts)
python tools/judge.py chart --songs SONGS --alone DIR [--given DIR] [--tempo DIR] [--asked DIR] [--prompts DIR]
        [--probes DIR] [--notes CSV --played DIR...] -o DIR
    does a band play its chart, its stems and its prompt? Folders of outputs, made from the voice alone, with the annotated
    chart, with --bpm, with --chords, with --prompt; the figures against their goals, to stdout and DIR/chart.md
"""

import argparse
import json
import sys
from pathlib import Path

import judge_figures as figures
from judge_chart import composition, write_chart
from judge_play import add_play
from judge_probes import train_probes

from accompgen import audio
from accompgen.component import CheckpointError
from accompgen.evaluation import sets
from accompgen.evaluation.folders import EvaluationError, find_songs
from accompgen.evaluation.report import markdown_head


def main(argv=None) -> int:
    """Run one of the commands; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    rows = commands.add_parser("rows")
    rows.add_argument("songs", type=Path)
    rows.add_argument("played", type=Path)
    rows.add_argument("-o", "--out", type=Path, required=True)
    rows.add_argument("--count", type=int, help="the first so many songs by name")
    rows.add_argument("--seed", type=int, default=0)
    rows.set_defaults(run=link_rows)
    mixtures = commands.add_parser("mixtures")
    mixtures.add_argument("songs", type=Path)
    mixtures.add_argument("-o", "--out", type=Path, required=True)
    mixtures.set_defaults(run=write_mixtures)
    table = commands.add_parser("table")
    table.add_argument("out", type=Path)
    table.add_argument("--checkpoint", default="pocket")
    table.add_argument("--long", type=Path, help="the same folder for songs of several minutes")
    table.add_argument("--voice", type=Path, help="a person's singing")
    table.add_argument(
        "--notes", type=Path, help="its notes: onset in seconds, pitch in Hz, duration in seconds, without a header"
    )
    table.add_argument("--played", type=Path, nargs="+", default=[], help="folders with what was played to the voice")
    table.set_defaults(run=write_table)
    _add_chart(commands)
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except (EvaluationError, CheckpointError, audio.AudioError, ImportError, OSError, ValueError, KeyError) as error:
        print("judge:", " ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


def _add_chart(commands):
    probes = commands.add_parser("probes")
    probes.add_argument("songs", type=Path)
    probes.add_argument("-o", "--out", type=Path, required=True)
    probes.add_argument("--count", type=int, help="the first so many training songs for the probe of prompts")
    probes.add_argument("--steps", type=int, default=600, help="of the probe of stems")
    probes.set_defaults(run=train_probes)
    play = add_play(commands)
    chart = commands.add_parser("chart")
    chart.add_argument("--songs", type=Path, required=True, help="true vocals, bands and NAME.json, with stems where there are")
    chart.add_argument("--alone", type=Path, required=True, help="what was played to the voices alone")
    chart.add_argument("--given", type=Path, help="what was played with the annotated charts")
    chart.add_argument("--tempo", type=Path, help="outputs whose NAME.json has settings.bpm")
    chart.add_argument("--asked", type=Path, help="outputs of chords that were asked for, with their chart beside them")
    chart.add_argument("--prompts", type=Path, help="outputs whose NAME.json has settings.prompts")
    chart.add_argument("--probes", type=Path, help="where `probes` wrote them")
    chart.add_argument("--notes", type=Path, help="of a person's voice: onset, Hz, duration in each line")
    chart.add_argument("--played", type=Path, nargs="+", default=[], help="folders with what was played to that voice")
    chart.add_argument("--count", type=int, help="the first so many songs by name")
    chart.add_argument("--distances", action="store_true", help="FAD, KAD and APA, too, which cost most")
    chart.add_argument("--embedding", default="pocket", help="of the distances")
    chart.add_argument("-o", "--out", type=Path, required=True)
    chart.set_defaults(run=write_chart)
    for command in (probes, play, chart):
        command.add_argument("--seed", type=int, default=0)
    for command in (probes, chart):
        command.add_argument("--cache", type=Path, help="what is worked out of each file (default: the user's cache)")


def link_rows(args):
    """Make the folders `songs`, `system` and `swapped` of links."""
    vocals, bands = find_songs(args.songs, "vocal"), find_songs(args.songs, "accompaniment")
    played = find_songs(args.played, "accompaniment")
    names = [name for name in sorted(set(vocals) & set(bands)) if (args.songs / f"{name}.json").exists()][: args.count]
    missing = [name for name in names if name not in played]
    if not names or missing:
        raise EvaluationError(
            f"{args.played} has nothing for {', '.join(missing[:8]) or f'the songs of {args.songs}'}; generate it"
        )
    full = {f"{composition(args.songs / f'{name}.json')}@{name}": name for name in names}
    links = {}
    for long, name in full.items():
        links[f"songs/{long}.vocal{vocals[name].suffix}"] = vocals[name]
        links[f"songs/{long}.accompaniment{bands[name].suffix}"] = bands[name]
        links[f"songs/{long}.json"] = args.songs / f"{name}.json"
        links[f"system/{long}{played[name].suffix}"] = played[name]
    for long, other in sets.shuffle(sorted(full), args.seed).items():
        found = played[full[other]]
        links[f"swapped/{long}{found.suffix}"] = found
    for row in ("songs", "system", "swapped"):
        (args.out / row).mkdir(parents=True, exist_ok=True)
        for old in (args.out / row).iterdir():
            if old.is_symlink():
                old.unlink()
    for link, path in links.items():
        (args.out / link).symlink_to(path.resolve())
    print(f"{len(names)} songs of {len({long.split('@')[0] for long in full})} compositions")


def write_mixtures(args):
    """Add vocal and accompaniment up; where the sum would clip, it is lowered as a whole."""
    vocals, bands = find_songs(args.songs, "vocal"), find_songs(args.songs, "accompaniment")
    audio.make_folder(args.out)
    for name in sorted(set(vocals) & set(bands)):
        (vocal, rate), (band, other) = audio.read(vocals[name]), audio.read(bands[name])
        band = audio.fit(audio.resample(audio.to_mono(band), other, rate), vocal.shape[1])
        mixture = audio.to_mono(vocal) + band
        mixture *= min(1.0, audio.PEAK_LIMIT / max(audio.peak(mixture), 1e-9))
        audio.write(args.out / f"{name}.wav", mixture[None], rate, "PCM_16")


def write_table(args):
    """Gather all figures and write them beside their goals."""
    results = _read(args.out / "evaluation" / "results.json")
    rows = figures.codec(args.out) + figures.against_shuffled(results) + figures.swapped(results)
    rows += figures.sound(results) + figures.listening(args.checkpoint) + figures.band(results)
    if args.long:
        rows += figures.minutes(_read(args.long / "evaluation" / "results.json"))
    if args.voice:
        rows += figures.voice(args.notes, args.played, args.out)
    rows += figures.size_and_time(args.checkpoint, args.out)
    lines = [*markdown_head(["figure", "value", "goal", "reached"])]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    data = results["data"]
    compositions = len({name.split("@")[0] for name in results["songs"]["system"]})
    lines += ["", f"{data['songs']} test songs of {compositions} compositions, {data['windows']} windows of "
              f"{results['settings']['window_seconds']:g} s, seed {results['settings']['seed']}, checkpoint {args.checkpoint} "
              f"({figures.short_hash(args.checkpoint)}); in brackets 95 % bootstrap intervals over compositions."]  # fmt: skip
    text = "\n".join(lines) + "\n"
    audio.write_bytes(args.out / "judge.md", text.encode())
    print(text, end="")


def _read(path):
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
