"""What a song, and `accompgen info`, tell of how they came about: settings, versions, hashes, seconds, devices."""

import hashlib
import importlib.metadata
import platform
import time
from contextlib import contextmanager
from dataclasses import asdict

import torch

from accompgen.checkpoint import (
    Checkpoint,
    available_checkpoints,
    cache_directory,
    read_checkpoint,
    search_path,
)
from accompgen.component import CheckpointError, file_hash
from accompgen.generation.decode import decoding_dtype

VERSIONS_OF = ("accompgen", "torch", "onnxruntime", "transformers", "numpy", "soundfile", "soxr", "loudness")


class Clock:
    """Seconds of each step by name."""

    def __init__(self):
        self.seconds = {}

    @contextmanager
    def __call__(self, step):
        start = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start


def asked_for(
    sampling: dict, balance: float, noise: float, loudness: float | None, prompt=None, chart=None, rate=None, channels=None,
    click: bool = False,
) -> dict:  # fmt: skip
    """The settings of a report: what a song was made with, apart from seed, stems and recordings.

    Args:
        sampling: stage -> sampling.Sampling.
        prompt: a text, several, or None.
        chart: what was asked for: a chart_input.ChartRequest, a chart.Chart, or None. Beside what it says as numbers and names
            it leaves a hash, by which two requests are told apart.
        rate, channels: of the sound; None: as the vocal's, and as the decoder has them.
    """
    settings = {name: asdict(values) for name, values in sampling.items()} | {"balance_lu": balance, "noise": noise}
    if loudness is not None:
        settings["loudness_lufs"] = loudness
    settings |= {name: value for name, value in (("rate", rate), ("channels", channels)) if value is not None}
    if prompt:
        settings["prompts"] = [prompt] if isinstance(prompt, str) else list(prompt)
    if click:
        settings["click"] = True
    if chart is not None:
        said = {name: getattr(chart, name, None) for name in ("bpm", "metre", "key", "count_in")}
        settings |= {name: value for name, value in said.items() if value}
        settings["chart_sha256"] = hashlib.sha256(repr(chart).encode()).hexdigest()
    return settings


def song_report(model, vocal, seed, settings, levels, seconds, chart=None) -> dict:
    """The report of a finished song; `seconds` by step, `chart` a chart.Chart or None."""
    total, length = sum(seconds.values()), vocal.seconds
    report = {
        "vocal": {
            "file": vocal.source,
            "sha256": vocal.sha256,
            "rate": vocal.rate,
            "channels": len(vocal.wav),
            "samples": vocal.wav.shape[1],
            "seconds": round(length, 3),
        },
        "seed": seed,
        "settings": settings,
        "checkpoint": model.about,
        "device": model.device,
        # another engine, or type of weights, may give other codes for a seed
        "engines": {name: engine_of(stage, model.device) for name, stage in model.system.stages.items()},
        "versions": versions(),
        "levels": levels,
        "seconds": {name: round(value, 3) for name, value in seconds.items()} | {"total": round(total, 3)},
        "real_time_factor": round(total / length, 3),
    }
    if vocal.stamp is not None:
        report["vocal"]["time_reference"] = vocal.stamp
    if chart is not None:
        report["chart"] = {
            "key": chart.key,
            "bpm": None if chart.bpm is None else round(chart.bpm, 3),
            "metre": chart.metre,
            "beats": [[round(time, 4), place] for time, place in chart.beats],
            "chords": [[round(start, 4), round(end, 4), label] for start, end, label in chart.chords],
        }
    return report


def about_of(verified: Checkpoint) -> dict:
    """What a song's report says of a checkpoint: its name and the hashes of its parts."""
    hashes = {name: verified.component_hash(name) for name in verified.components}
    config = file_hash(verified.path / "config.json")
    return {"name": verified.path.resolve().name, "config_sha256": config, "sha256": hashes}


def engine_of(stage, device) -> str:
    """What makes the steps of a schedule.LoadedStage, and the type of its weights, such as "onnx float32"."""
    if stage.engine is not None:
        return stage.engine.name
    return f"torch {decoding_dtype(device)}".replace("torch.", "")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the result."""
    found = {"python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"  # accompgen itself, run from its folder
    return found


def describe() -> dict:
    """Versions, devices, and the checkpoints found: name -> {path, megabytes, ...}, for `accompgen info`."""
    devices = {"cpu": f"{torch.get_num_threads()} threads"}
    if torch.cuda.is_available():
        devices |= {f"cuda:{index}": torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
    checkpoints = {}
    for name, path in available_checkpoints().items():
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        try:
            state = f"format {read_checkpoint(path).config['format_version']}, every hash as it should be"
        except CheckpointError as error:
            state = f"cannot be used: {error}"
        checkpoints[name] = {"path": path, "size": f"{size / 1e6:.1f} MB", "state": state}
    return {
        "versions": versions(),
        "devices": devices,
        "checkpoints": checkpoints or "none found",
        "searched": ", ".join(map(str, search_path())),
        "cache": _cache_or_why_not(),
    }


def _cache_or_why_not():
    try:
        return cache_directory()
    except CheckpointError as error:
        return f"none: {error}"
