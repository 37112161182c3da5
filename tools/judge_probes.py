"""The probes of tools/judge.py: trained on true bands, tested on true bands that they were not trained on."""

import json
from pathlib import Path

import numpy as np

from accompgen import audio, checkpoint
from accompgen.evaluation import prompts, purity, tracks
from accompgen.evaluation.cache import Cache
from accompgen.evaluation.folders import EvaluationError, Report, bar, find_songs, find_stems
from accompgen.evaluation.report import markdown_head

PROMPTS_FILE, PURITY_FILE = "prompts.safetensors", "purity.safetensors"
STEM_SONGS, HELD_SONGS = 70, 20  # more of them do not make the probe of stems better


def open_cache(folder=None) -> Cache:
    """Where `accompgen evaluate` keeps what it works out of files, too."""
    return Cache(folder or checkpoint.cache_directory() / "evaluation")


def train_probes(args) -> None:
    """Both probes into a folder, and what they are worth into probes.md."""
    cache, report = open_cache(args.cache), Report()
    bands, stems = find_songs(args.songs, "accompaniment", report), find_stems(args.songs)
    metas = {name: _read_meta(args.songs / f"{name}.json") for name in sorted(bands)}
    learnt = [name for name, meta in metas.items() if meta.get("split") == "train"]
    held = [name for name, meta in metas.items() if meta.get("split") == "validation"]
    if not learnt or not held:
        raise EvaluationError(
            f"{args.songs} has {len(learnt)} training and {len(held)} validation songs by the `split` of their NAME.json; "
            "both are needed"
        )
    audio.make_folder(args.out)
    prompt_probe = _train_prompts(learnt, bands, metas, args, cache, report)
    prompt_probe.save(args.out / PROMPTS_FILE)
    lines = ["Kinds of bands, true ones in rows, recognised ones in columns (compositions that were not learnt from):", ""]
    lines += confusion_table(prompt_probe)
    stem_probe = purity.train(_cells(learnt[:STEM_SONGS], stems, cache, report), args.steps, args.seed, progress=True)
    purity.calibrate(stem_probe, _cells(held[:HELD_SONGS], stems, cache, report))
    stem_probe.save(args.out / PURITY_FILE)
    lines += ["", "Share of a true stem's energy given to other classes, by which figures are calibrated:", ""]
    lines += calibration_table(stem_probe)
    lines += [f"- {problem}" for problem in report.problems]
    text = "\n".join(lines) + "\n"
    audio.write_bytes(args.out / "probes.md", text.encode())
    print(text, end="")


def _read_meta(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"{path}: {error.strerror}; each song needs its JSON beside it") from error


def _train_prompts(names, bands, metas, args, cache, report):
    rows, kinds, groups = [], [], []
    for name in bar(names[: args.count], True, "bands"):
        kind = prompts.class_of(metas[name])
        track = kind and tracks.open_track(bands[name], cache, report)
        if track:
            rows.append(prompts.statistics(tracks.mels_of(track, cache)))
            kinds.append(kind)
            groups.append(str(metas[name].get("source") or name))
    if not rows:
        kinds = ", ".join(prompts.CLASSES)
        raise EvaluationError(f"no song of {args.songs} is of a kind that the probe of prompts knows: {kinds}")
    return prompts.train(np.stack(rows), kinds, groups, args.seed)


def _cells(names, stems, cache, report):
    """Of each song its stems' cells."""
    found = []
    for name in bar(names, True, "stems"):
        opened = {
            stem: tracks.open_track(stems[stem][name], cache, report)
            for stem in purity.CLASSES
            if name in stems.get(stem, {})
        }
        found.append({stem: purity.cells(tracks.mels_of(track, cache)) for stem, track in opened.items() if track})
    return found


def confusion_table(probe: prompts.Probe) -> list[str]:
    """Lines of Markdown: counts of true bands, and how many of each kind are recognised."""
    lines = markdown_head(["", *probe.names, "right"])
    for name, row in zip(probe.names, probe.confusion):
        right = row[probe.names.index(name)] / max(1, row.sum())
        lines.append(f"| {' | '.join([name, *map(str, row), f'{right:.2f}'])} |")
    return [*lines, "", f"{probe.accuracy:.3f} in the mean over kinds, chance {1 / len(probe.names):.3f}"]


def calibration_table(probe: purity.Probe) -> list[str]:
    """Lines of Markdown: true stems alone, and with a tenth of another."""
    lines = markdown_head(["stem", "alone", "with 10 % of another", "songs"])
    for stem, values in probe.calibration.items():
        lines.append(f"| {stem} | {values['true']:.3f} | {values['mixed']:.3f} | {values['songs']} |")
    return lines


def load_probes(folder) -> tuple[prompts.Probe | None, purity.Probe | None]:
    """The probes that a folder has."""
    paths = [Path(folder) / name if folder else None for name in (PROMPTS_FILE, PURITY_FILE)]
    return tuple(
        module.load(path) if path and path.exists() else None for module, path in zip((prompts, purity), paths)
    )
