"""What the parts of the benchmark share: options, repeated timing, what machine it was, tables and the file of results."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch

from accompgen.files import replacing

ROOT = Path(__file__).resolve().parents[1]
NOT_MEASURED = "not measured"


class BenchError(ValueError):
    """The benchmark cannot run as asked; the message says why and what to do."""


@dataclass(frozen=True)
class Options:
    """What `make bench` was asked for. Raises BenchError for threads out of range."""

    checkpoint: str = "pocket"
    quick: bool = False  # minute sizes and few repeats: shows that every part works, its figures mean nothing
    seed: int = 0
    threads: int = 0  # 0: as many as torch takes by itself
    devices: tuple[str, ...] = ("cpu", "cuda")

    def __post_init__(self):
        cores = os.cpu_count() or 1
        if not 0 <= self.threads <= cores:
            raise BenchError(f"threads is {self.threads}; expected 1 to {cores}, the cores here, or 0 (as torch has it)")


@dataclass(frozen=True)
class Figure:
    """A measured number: the median of its runs, and the lowest and the highest of them."""

    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    def over(self, other: "Figure") -> "Figure":
        """The ratio, run by run: what slowed one round down slowed both."""
        return Figure(tuple(a / b for a, b in zip(self.runs, other.runs, strict=True)))

    def times(self, factor: float) -> "Figure":
        return Figure(tuple(factor * run for run in self.runs))

    def inverse(self) -> "Figure":
        return Figure(tuple(1 / run for run in self.runs))

    def __str__(self):
        if len(self.runs) == 1:
            return f"{short(self.median)} (one run)"
        return f"{short(self.median)} ({short(min(self.runs))}–{short(max(self.runs))})"

    def as_json(self) -> dict:
        return {"median": self.median, "low": min(self.runs), "high": max(self.runs), "runs": list(self.runs)}


def short(value: float) -> str:
    """Three digits that count, without an exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - int(f"{value:e}".partition("e")[2]))
    return f"{value:.{digits}f}"


def rounds(systems: dict[str, Callable[[], float]], repeats: int) -> dict[str, Figure]:
    """Run every system once unrecorded, then all of them in turn, `repeats` times -> a Figure of what each returned."""
    runs = {name: [] for name in systems}
    for turn in range(repeats + 1):
        for name, run in systems.items():
            value = run()
            if turn:
                runs[name].append(value)
    return {name: Figure(tuple(values)) for name, values in runs.items()}


def wait(device: str) -> float:
    """The time, after everything that was asked of `device` is done."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def is_there(device: str) -> bool:
    """Whether torch finds the device ("cpu" or "cuda")."""
    return device == "cpu" or torch.cuda.is_available()


def device_name(device: str) -> str:
    """The model of the processor or of the GPU."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def about(options: Options) -> dict:
    """Machine, versions, commit, date, seed: what a figure needs to be compared with another."""
    gpu = device_name("cuda") if torch.cuda.is_available() else f"none, so GPU figures are {NOT_MEASURED}"
    return {
        "cpu": device_name("cpu"),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "load_before": round(os.getloadavg()[0], 2),  # of other work on the machine, in cores
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": _commit(),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "seed": options.seed,
        "checkpoint": options.checkpoint,
        "quick": options.quick,
    }


def _commit() -> str:
    def git(*words):
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        name = git("rev-parse", "--short", "HEAD")
    except OSError:
        name = None
    if name is None:
        return "unknown: not a git checkout"
    return f"{name} with changes" if git("status", "--porcelain", "--untracked-files=no", "accompgen", "tools") else name


def table(columns: list[str], rows: list[list]) -> str:
    """A markdown table; the columns are as wide as what stands in them."""
    cells = [columns, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def as_json(value):
    """Figures to dictionaries, all the way down."""
    if isinstance(value, Figure):
        return value.as_json()
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, list | tuple) else value


def progress(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


def read_results(path: Path) -> dict:
    """Results of earlier calls by part, or {}. Raises BenchError for a file that is something else."""
    if not path.exists():
        return {}
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        if all({"about", "rows", "text"} <= set(part) for part in results.values()):
            return results
    except (ValueError, AttributeError, TypeError):
        pass
    raise BenchError(f"{path} exists and does not hold results of this benchmark; remove it, or give another folder with -o")


def write_results(folder: Path, results: dict, summary: str) -> list[Path]:
    """Write results.json, results.md (the parts' tables one after the other) and summary.md."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"results.json": json.dumps(results, indent=1) + "\n"}
    files["results.md"] = "\n".join(section(name, part["about"], part["text"]) for name, part in results.items())
    files["summary.md"] = summary
    for name, text in files.items():
        with replacing(folder / name) as file:
            file.write(text.encode())
    return [folder / name for name in files]


def section(name: str, known: dict, text: str) -> str:
    """A part as markdown."""
    return f"## {name}\n\n{_caption(known)}\n\n{text}"


def _caption(known: dict) -> str:
    """One line on where and when."""
    quick = " QUICK: these figures mean nothing." if known["quick"] else ""
    busy = f" The machine was busy (load {known['load_before']:g})." if known["load_before"] > 0.5 * known["threads"] else ""
    return (
        f"{known['cpu']}, {known['threads']} threads of {known['cores']} cores; GPU: {known['gpu']}; torch {known['torch']}; "
        f"commit {known['commit']}; {known['date']}; seed {known['seed']}.{quick}{busy}"
    )
