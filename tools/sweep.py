"""Choose the sampling of each stage on validation songs: one setting of one stage changed at a time, kept where it helps.

    python tools/sweep.py MANIFEST -o OUT [--checkpoint pocket] [--songs 8] [--seconds 10] [--into CHECKPOINT]

A setting's score is the mean, over energy on chord tones, beat F1 and chroma to the reference, of the way from shuffled pairs
(0) to the codec's round trip of the truth (1). The search begins with the checkpoint's own settings. Of a stage, all single
changes are tried; those that gain more than their standard error over songs are taken together and tried again; the best of
all stays, and the next stage begins from it.
The same call goes on where a killed one was. Writes OUT/sweep.md and OUT/sampling.json; --into puts the best settings into
a checkpoint's config.json, where `accompgen generate` finds them. Test songs are refused.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from accompgen import audio
from accompgen.checkpoint import find_checkpoint
from accompgen.component import CheckpointError
from accompgen.data.executors import run_tasks
from accompgen.data.pairs import read_mix
from accompgen.data.songs import read_manifest
from accompgen.data.tracks import ACCOMPANIMENT
from accompgen.evaluation import baselines, folders, runner
from accompgen.evaluation.report import markdown_head, show
from accompgen.generation import pipeline
from accompgen.generation.many import GenerateJob
from accompgen.generation.sampling import PUBLISHED
from accompgen.generation.settings import sampling_of
from accompgen.stages import VOICE

STAGES = ("semantic", "coarse", "fine")
VALUES = {"guidance": (1.0, 2.0, 3.0, 5.0), "temperature": (0.7, 0.9, 1.0), "top_k": (50, 250, 0)}
# --values listening=0,1,2 for stages that were trained with a listening_weight, and for semantic stages alone the other two
VALUES |= {"listening": (), "consonance": (), "pulse": ()}
SEMANTIC = ("consonance", "pulse")
MEASURES = {"chord_tone_share": "chord tones", "beat_f1": "beat F1", "chroma_reference": "chroma to reference"}
FLOOR, CEILING = "shuffled", "codec"


@dataclass(frozen=True)
class SweepJob:
    """Songs with all kinds of settings, by processes that load the checkpoint once."""

    checkpoint: str
    device: str
    seed: int

    def load(self):
        return pipeline.load(self.checkpoint, self.device)

    def work(self, model, name, vocal, folder, sampling):
        return GenerateJob(folder, self.checkpoint, self.device, self.seed, sampling).work(model, name, vocal)


class Sweep:
    """Settings -> scores of the songs; what was made is kept in folders named by the settings."""

    def __init__(self, args):
        self.args, self.out, self.tried = args, args.out, {}
        self.names = cut_songs(args.manifest, args.out / "songs", args.songs, args.seconds)
        self.rows = baselines.write_baselines(
            self.out / "songs", self.out / "songs", self.out / "baselines", rows=(FLOOR, CEILING), checkpoint=args.checkpoint,
            annotations=self.out / "songs", seed=args.seed, progress=False,
        )[0]  # fmt: skip
        scale = self._measure(self.rows)
        self.scale = {row: {m: scale[row]["means"][m] for m in MEASURES} for row in self.rows}

    def __call__(self, candidates: list[dict]) -> list[np.ndarray]:
        """Scores [songs] of each of the settings {stage: Sampling}."""
        new = [sampling for sampling in candidates if label(sampling) not in self.tried]
        tasks = {}
        for sampling in new:
            folder = str((self.out / label(sampling)).absolute())
            for name in self.names:
                vocal = (self.out / "songs" / f"{name}.vocal.wav").absolute()
                tasks[f"{label(sampling)} {name}"] = (name, vocal, folder, sampling)
        job = SweepJob(str(self.args.checkpoint), self.args.device, self.args.seed)
        for done, (_, result) in enumerate(run_tasks(job, tasks, workers=self.args.workers), 1):
            if result["error"]:
                raise ValueError(result["error"])
            print(f"\r{done} of {len(tasks)} songs", end="" if done < len(tasks) else "\n", file=sys.stderr, flush=True)
        self.tried |= self._measure({label(sampling): self.out / label(sampling) for sampling in new}) if new else {}
        return [self.scores(sampling) for sampling in candidates]

    def scores(self, sampling):
        """Of each song, the mean way from the floor to the ceiling."""
        low, high, songs = self.scale[FLOOR], self.scale[CEILING], self.tried[label(sampling)]["songs"]
        ways = [[(songs[name][m] - low[m]) / (high[m] - low[m]) for m in MEASURES] for name in self.names]
        return np.mean(ways, axis=1)

    def _measure(self, systems):
        songs = self.out / "songs"
        found = runner.evaluate(
            systems, songs, songs, annotations=songs, metrics=("rhythm", "harmony"), window_seconds=self.args.seconds,
            seed=self.args.seed, cache=self.out / "cache", progress=False,
        )  # fmt: skip
        if found["problems"]:
            raise ValueError("; ".join(found["problems"]))
        return {
            row: {"songs": found["songs"][row], "means": {m: found["rows"][row][m]["value"] for m in MEASURES}}
            for row in systems
        }


def main(argv=None) -> int:
    """Sweep, print, write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="its validation songs are used")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--checkpoint", default="pocket")
    parser.add_argument("--songs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each song, from its beginning")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=["semantic", "coarse"])
    parser.add_argument(
        "--values", nargs="+", default=[], metavar="SETTING=V,V",
        help="such as guidance=1,3; with --stages semantic also consonance and pulse, for checkpoints that know them",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--into", metavar="CHECKPOINT", help="put the best settings into this checkpoint's config.json")
    args = parser.parse_args(argv)
    try:
        values = VALUES if not args.values else dict(parse_values(text) for text in args.values)
        if set(args.stages) != {"semantic"} and (alone := [name for name in SEMANTIC if values.get(name)]):
            raise ValueError(f"{alone[0]} is for the semantic stage; add --stages semantic")
        sweep = Sweep(args)
        best, rows = search(sweep, args.stages, values, sampling_of(args.checkpoint))
        text = table(sweep, best, rows)
        audio.write_bytes(args.out / "sweep.md", text.encode())
        audio.write_bytes(args.out / "sampling.json", (json.dumps(as_plain(best), indent=2) + "\n").encode())
        print(text, end="")
        if args.into:
            write_into(find_checkpoint(args.into), best)
    except (CheckpointError, ValueError, OSError) as error:
        print("sweep:", " ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


def parse_values(text: str) -> tuple[str, tuple]:
    """ "guidance=1,3" -> ("guidance", (1.0, 3.0))."""
    name, _, values = text.partition("=")
    if name not in VALUES:
        raise ValueError(f"{text!r}: expected one of {', '.join(VALUES)}, an equals sign and values")
    return name, tuple((int if name == "top_k" else float)(value) for value in values.split(","))


def cut_songs(manifest, folder, count: int, seconds: float) -> list[str]:
    """The beginnings of the first validation songs as files, with what is known of their music -> names."""
    songs = [song for song in read_manifest(manifest) if song.split == "validation" and song.meta][:count]
    if len(songs) < 2:
        raise ValueError(f"{manifest} has {len(songs)} validation songs with annotations; a sweep needs at least 2")
    folder.mkdir(parents=True, exist_ok=True)
    for song in songs:
        for part in (VOICE, ACCOMPANIMENT):
            wav, rate = read_mix(song.tracks.files_of(part))
            audio.write(folder / f"{song.id}.{part}.wav", wav[:, : round(seconds * rate)], rate, "PCM_16")
        report = folders.Report()
        known = folders.read_annotation(song.meta.parent, song.meta.stem, report)
        if report.problems:
            raise ValueError("; ".join(report.problems))
        clipped = folders.clip_annotation(known, 0.0, seconds)
        audio.write_bytes(folder / f"{song.id}.json", json.dumps(clipped).encode())
    return [song.id for song in songs]


def search(sweep, stages, values, start: dict) -> tuple[dict, list]:
    """The best settings {stage: Sampling}, from `start` on, and what was tried: (settings, gain, its error, taken)."""
    best = dict(start)
    rows = [(best, 0.0, 0.0, True)]
    for stage in stages:
        old = asdict(best[stage])
        singles = {
            (name, value): {**best, stage: replace(best[stage], **{name: value})}
            for name, tried in values.items()
            for value in tried
            if value != old[name]
        }
        base, *scores = sweep([best, *singles.values()])
        gains = {change: gain(found, base) for change, found in zip(singles, scores)}
        rows += [(singles[change], *gains[change], False) for change in singles]
        taken = {}
        for (name, value), (mean, error) in sorted(gains.items(), key=lambda item: item[1][0]):
            if mean > error:
                taken[name] = value  # the largest gain of a setting comes last
        candidates = [{**best, stage: replace(best[stage], **{name: value})} for name, value in taken.items()]
        if len(taken) > 1:
            candidates.append({**best, stage: replace(best[stage], **taken)})
            rows.append((candidates[-1], *gain(sweep(candidates[-1:])[0], base), False))
        if candidates:
            best = max(candidates, key=lambda sampling: sweep.scores(sampling).mean())
            rows = [(sampling, mean, error, was or sampling == best) for sampling, mean, error, was in rows]
    return best, rows


def gain(scores, base) -> tuple[float, float]:
    """Mean and standard error of the differences of the songs."""
    change = scores - base
    return float(change.mean()), float(change.std(ddof=1) / np.sqrt(len(change)))


def label(sampling: dict) -> str:
    """What differs from the defaults, as the name of a folder: `semantic.guidance=1.0+coarse.top_k=50`."""
    changes = [
        f"{stage}.{name}={value:g}"
        for stage in STAGES
        for name, value in asdict(sampling[stage]).items()
        if value not in (None, getattr(PUBLISHED, name))
    ]
    return "+".join(changes) or "default"


def table(sweep, best, rows) -> str:
    """All that was tried, in Markdown, and what to do with the best."""
    lines = markdown_head(["settings", *MEASURES.values(), "score", "gain in its turn", "taken"])
    for row in (FLOOR, CEILING):
        lines.append(f"| {row} | {' | '.join(show(sweep.scale[row][m], 3) for m in MEASURES)} | {int(row == CEILING)} | | |")
    for sampling, mean, error, taken in rows:
        means = sweep.tried[label(sampling)]["means"]
        cells = [label(sampling), *(show(means[m], 3) for m in MEASURES), show(sweep.scores(sampling).mean(), 3)]
        lines.append(f"| {' | '.join([*cells, f'{mean:+.3f} +- {error:.3f}', 'yes' if taken else ''])} |")
    args = sweep.args
    options = [
        f"--{name.replace('_', '-')} {','.join(f'{stage}={getattr(best[stage], name):g}' for stage in STAGES)}"
        for name in VALUES
    ]
    lines += [
        "",
        f"{len(sweep.names)} validation songs, {args.seconds:g} s each, checkpoint {args.checkpoint}, seed {args.seed}.",
        "",
        f"Best: {label(best)}. For one song: accompgen generate ... {' '.join(options)}. For the checkpoint: the same call "
        "with --into CHECKPOINT.",
    ]
    return "\n".join(lines) + "\n"


def as_plain(sampling: dict) -> dict:
    """{stage: {setting: value}}, as a checkpoint keeps it."""
    return {stage: asdict(sampling[stage]) for stage in STAGES}


def write_into(directory: Path, sampling: dict) -> None:
    """Set `sampling` in a checkpoint's config.json."""
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"sampling": as_plain(sampling)}
    audio.write_bytes(path, (json.dumps(config, indent=2) + "\n").encode())
    print(f"{path}: sampling set", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
