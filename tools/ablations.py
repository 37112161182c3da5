"""What each choice is worth: variants of a stage, or of the semantic tokenizer's targets, at equal training, in one table.

    python tools/ablations.py MANIFEST SHARDS -o OUT --conf CONF --semantic-tokenizer DIR --acoustic-tokenizer DIR

A variant is a row of VARIANTS: settings put over a configuration of CONF. All variants of a part have the same seed, data,
windows and learning rates. `accompgen train` makes each in OUT/PART/VARIANT; a stopped call goes on, a finished variant stays.
What a stage then generates is judged on validation songs: of the semantic stage, from the vocal alone, the share of frames
whose unit names the root of the annotated chord; of the coarse stage, from true units, the energy on tones of that chord; of
a band's semantic stage that share of its harmony's frames, or of those of a band made as one track (shards with all stems).
Writes OUT/ablations.md and OUT/ablations.json. Guidance needs no training: `tools/sweep.py --stages semantic --values
guidance=1,2,3,5`.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import ablation_measures as measures
import bench_report
import numpy as np

from accompgen import audio
from accompgen.component import CheckpointError
from accompgen.config import ConfigError
from accompgen.data.shards import ShardError
from accompgen.data.songs import ManifestError
from accompgen.stages import ALL

CONFIGURATION = {"semantic": "semantic.toml", "coarse": "coarse.toml", "targets": "hubert.toml", "band": "semantic.toml"}
STEPS = {"semantic": 600, "coarse": 300, "targets": 250, "band": 300}
OVER_ALL = {  # settings of all variants of a part: trainings that are short, and a base without what has no row
    "semantic": (
        "warmup_steps=50", "batch_size=4", "optimizer=adamw", "learning_rate=1.5e-3", "listening_weight=0.3",
        "model.context_pool=1", "model.dropout=0",
    ),
    "coarse": ("warmup_steps=50", "window_seconds=3.2"),  # interleaved codebooks want short windows
    "targets": ("warmup_steps=50", "probe_layers=[3]"),
    "band": ("warmup_steps=50", "stem_weights={ all = 0 }"),
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A row: its settings over the base's, and the row that differs from it in one thing."""

    title: str
    settings: tuple[str, ...] = ()
    against: str = "base"
    stem: str = ""  # that is generated; "": that of the part, see measures.STEM


VARIANTS = {
    "semantic": (
        Variant("base"),
        Variant("listening_weight = 0", ("listening_weight=0",)),
        # a prefix has no context encoder that a listening_weight could be given to
        Variant("context = prefix", ("model.context=prefix", "listening_weight=0"), "listening_weight = 0"),
        Variant("history_masking = 0", ("history_masking=0",)),
    ),
    "coarse": (
        Variant("base"),
        Variant("without the semantic stage", ("shards={out}/one-unit",)),
        Variant("pattern = interleave", ("model.pattern=interleave",)),
    ),
    "targets": (Variant("base"), Variant("chroma_weight = 0", ("chroma_weight=0",))),
    "band": (
        Variant("base"),
        Variant("without a chart", ("stream_dropout={ vocal = 0.1, others = 0.1, beat = 1.0, chord = 1.0 }",)),
        Variant("one track", ("stem_weights={ drums = 0, bass = 0, harmony = 0 }",), stem=ALL),
        # as often without a chord as the base's stream by itself
        Variant("all streams dropped together", ("stream_dropout={}", "context_dropout=0.2")),
    ),
}


def main(argv=None) -> int:
    """Train, measure, print, write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="the songs, with the chords of each")
    parser.add_argument("shards", type=Path, help="their tokens")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--conf", type=Path, required=True, help=f"folder of {', '.join(CONFIGURATION.values())}")
    parser.add_argument("--semantic-tokenizer", type=Path, required=True)
    parser.add_argument("--acoustic-tokenizer", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=VARIANTS, required=True, help="band: CONF is that of a band")
    parser.add_argument("--steps", nargs="+", default=[], metavar="PART=N", help=f"default: {STEPS}")
    parser.add_argument("--windows", type=int, default=60, help="validation windows that are generated")
    parser.add_argument("--set", nargs="+", default=[], metavar="PART.KEY=VALUE", help="such as semantic.compile=false")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        steps = STEPS | {part: int(count) for part, count in (text.split("=") for text in args.steps)}
        found = {part: {} for part in args.parts}
        for part in args.parts:
            for variant in VARIANTS[part]:
                found[part][variant.title] = figures_of(args, part, variant, steps[part])
                write_tables(args, found)
    except (CheckpointError, ConfigError, ManifestError, ShardError, OSError, ValueError) as error:
        print("ablations:", " ".join(str(error).split()), file=sys.stderr)
        return 1
    print((args.out / "ablations.md").read_text(encoding="utf-8"), end="")
    return 0


def figures_of(args, part, variant, steps) -> dict:
    """The figures of a variant, trained and measured unless they are there already, of the same settings."""
    folder = args.out / part / re.sub(r"[^a-z0-9]+", "-", variant.title)
    settings = [f"seed={args.seed}", f"steps={steps}", "minutes=0", f"validate_every={steps}", "save_every=50", *OVER_ALL[part]]
    if part == "targets":
        settings += [f"manifest={args.manifest}"]
    else:
        settings += [f"shards={args.shards}", f"semantic_tokenizer={args.semantic_tokenizer}", "tensorboard=false"]
        settings += [f"acoustic_tokenizer={args.acoustic_tokenizer}"]
    settings += [text.partition(".")[2] for text in args.set if text.startswith(f"{part}.")]
    settings += [text.replace("{out}", str(args.out)) for text in variant.settings]
    path = folder / "figures.json"
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["settings"] == settings:
            return known
    if f"shards={args.out}/one-unit" in settings and not (args.out / "one-unit" / "index.json").exists():
        measures.leave_units_out(args.shards, args.out / "one-unit")
    figures = {"settings": settings, "about": bench_report.about(bench_report.Options(seed=args.seed))}
    figures["processor_minutes"] = train(args.conf / CONFIGURATION[part], folder, settings) / 60
    figures["hours"] = measures.hours(folder)
    if part == "targets":
        figures |= measures.read_probe(folder)
    else:
        figures |= measures.measure(args, part, folder, variant.stem, references=not variant.settings or bool(variant.stem))
    audio.write_bytes(path, (json.dumps(figures, indent=1) + "\n").encode())
    return figures


def train(configuration, folder, settings) -> float:
    """Train to the end, or go on with it; returns the processor's seconds of all calls. ValueError where it did not end."""
    spent = folder / "processor_seconds"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    overrides = [word for text in settings for word in ("--set", text)]
    command = [sys.executable, "-m", "accompgen", "train", configuration, "--run-dir", folder, *overrides]
    status = subprocess.run(command, stdout=sys.stderr).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    folder.mkdir(parents=True, exist_ok=True)
    seconds += float(spent.read_text()) if spent.exists() else 0.0
    spent.write_text(f"{seconds}\n")
    if status or not (folder / "model" / "config.json").exists():
        raise ValueError(f"{folder} was not trained to its end; above stands why. If it was stopped, the same call goes on")
    return seconds


def write_tables(args, found) -> None:
    """OUT/ablations.json and OUT/ablations.md, of what is there so far."""
    texts = [table(part, rows) for part, rows in found.items() if rows]
    about = next(figures for rows in found.values() for figures in rows.values())["about"]
    command = " ".join([f"seed {args.seed}, {args.windows} windows", *args.steps, *args.set])
    texts.append(f"{command}; commit {about['commit']}, {about['cpu']}, torch {about['torch']}, {about['date'][:10]}.\n")
    audio.write_bytes(args.out / "ablations.md", "\n".join(texts).encode())
    audio.write_bytes(args.out / "ablations.json", (json.dumps({"command": sys.argv, **found}, indent=1) + "\n").encode())


def table(part, rows) -> str:
    """A part's rows in Markdown: figures +- standard errors over windows, differences pair by pair."""
    trained = f"\nEach trained on {rows['base']['hours']:.2f} h of sound.\n"
    if part == "targets":
        heads = ["targets", "units of", "vocal: sung pitch class", "accompaniment: chord root", "processor minutes"]
        lines = []
        for title, figures in rows.items():
            for name, units in figures["units"].items():
                shares = [f"{100 * units[key]:.1f} %" for key in ("sung_pitch_class", "chord_root")]
                lines.append([title, name, *shares, f"{figures['processor_minutes']:.1f}"])
        return bench_report.table(heads, lines) + trained
    share = "energy on chord tones" if part == "coarse" else "right roots"
    heads = ["variant", "processor minutes", "cross-entropy", "gain over shuffled: all", "first second"]
    heads += ["a vocal 1 s late costs", f"generated: {share}", "minus", "difference"]
    against, lines = {variant.title: variant.against for variant in VARIANTS[part]}, []
    for title, figures in rows.items():
        result, made = figures["validation"], figures["share"]["generated"]
        gain, late = result["gain"]["shuffled"], result["vocal_late"]["1"]
        cells = [title, f"{figures['processor_minutes']:.1f}", f"{result['cross_entropy']:.3f}"]
        cells += [f"{mean:.4f} +- {error:.4f}" for mean, error in (gain["all"], gain["first_second"], late)]
        cells.append(mean_and_error(made))
        other = rows[against[title]]["share"]["generated"]
        cells += ["", ""] if other is made else [against[title], mean_and_error(made, other)]
        lines.append(cells)
    for title, figures in rows.items():
        for name, values in list(figures["share"].items())[1:]:
            whose = "" if title == "base" else f", {title}"
            lines.append([name + whose, *[""] * 5, mean_and_error(values), "", ""])
    return bench_report.table(heads, lines) + trained


def mean_and_error(values, others=None) -> str:
    """Mean +- standard error of the windows' values, or of their differences to `others`; None does not count."""
    pairs = zip(values, others or [0.0] * len(values))
    kept = np.array([a - b for a, b in pairs if a is not None and b is not None])
    sign = "" if others is None else "+"
    return f"{kept.mean():{sign}.3f} +- {kept.std(ddof=1) / np.sqrt(len(kept)):.3f}"


if __name__ == "__main__":
    sys.exit(main())
