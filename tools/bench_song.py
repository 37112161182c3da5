"""Songs from end to end: seconds to make a second of sound, where they go, peak memory, and how both grow with the length.

Every length is made by a process of its own, so that its peak memory is its own: this file run with the arguments as JSON.
Long songs have two (generation/two_process.py); the seconds of a step are then those in which the first one
did it or waited for it.
"""

import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

from bench_report import NOT_MEASURED, ROOT, BenchError, Figure, Options, is_there, progress, short, table

VOCAL = ROOT / "recipes" / "synthetic" / "sample" / "vocal.flac"  # repeated to the length wanted
LENGTHS = {10.0: 3, 30.0: 2, 60.0: 1, 240.0: 1}  # seconds -> times that the song is made
QUICK_LENGTHS = {1.2: 2, 2.4: 1}
STEPS = {"HuBERT": ("vocal_units",), "semantic": ("semantic",), "coarse": ("coarse",), "fine": ("fine",)}
STEPS |= {"decoder": ("decoder",), "audio": ("read", "mix")}  # the steps of a song's report
MB = 1e6


def measure(options: Options) -> dict:
    """Rows: one for every device and length; growth: from the second longest song to the longest."""
    rows, growth = [], []
    for device in options.devices:
        if not is_there(device):
            rows.append(dict(device=device, real_time_factor=NOT_MEASURED))
            continue
        made = []
        for seconds, repeats in (QUICK_LENGTHS if options.quick else LENGTHS).items():
            progress(f"  {device}, {seconds:g} s")
            made.append(dict(device=device) | _row(_in_a_process(options, device, seconds, repeats)))
        rows += made
        growth.append(dict(device=device) | _growth(*made[-2:]))
    return {"rows": rows, "growth": growth}


def _in_a_process(options, device, seconds, repeats):
    asked = dict(checkpoint=options.checkpoint, device=device, seconds=seconds, repeats=repeats)
    asked |= dict(seed=options.seed, threads=options.threads)
    done = subprocess.run([sys.executable, __file__, json.dumps(asked)], capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise BenchError(f"a song of {seconds:g} s on {device} was not made: {last[0]}")
    return json.loads(done.stdout.splitlines()[-1])


def _row(made):
    songs, length = made["songs"], made["seconds"]
    steps = {name: Figure(tuple(sum(song[part] for part in parts) for song in songs)) for name, parts in STEPS.items()}
    total = Figure(tuple(song["total"] for song in songs))
    row = dict(length_seconds=length, real_time_factor=total.times(1 / length), seconds=steps | {"total": total})
    return row | {name: made[name] for name in ("peak_mb", "loaded_mb", "load_seconds", "gpu_peak_mb", "processes")}


def _growth(shorter, longer):
    extra = longer["length_seconds"] - shorter["length_seconds"]
    seconds = longer["seconds"]["total"].median - shorter["seconds"]["total"].median
    megabytes = longer["peak_mb"] - shorter["peak_mb"]
    lengths = dict(from_seconds=shorter["length_seconds"], to_seconds=longer["length_seconds"])
    return lengths | dict(seconds_per_second=seconds / extra, mb_per_minute=60 * megabytes / extra)


def text(measured: dict) -> str:
    """A table of lengths, and a line on growth for each device."""
    lines = []
    for row in measured["rows"]:
        if row["real_time_factor"] == NOT_MEASURED:
            lines.append([row["device"], "–", "–", NOT_MEASURED, *["–"] * (len(STEPS) + 3)])
            continue
        steps = [short(row["seconds"][name].median) for name in STEPS]
        memory = f"{row['peak_mb']:.0f}" + (f" + {row['gpu_peak_mb']:.0f} GPU" if row["gpu_peak_mb"] else "")
        known = [row["device"], f"{row['length_seconds']:g} s", row["processes"], row["real_time_factor"]]
        lines.append([*known, *steps, row["seconds"]["total"], short(row["load_seconds"]), memory])
    columns = ["device", "length", "processes", "real-time factor", *(f"{name}, s" for name in STEPS)]
    columns += ["total, s", "load, s", "peak MB"]
    grown = [
        f"{grow['device']}, from {grow['from_seconds']:g} to {grow['to_seconds']:g} s: every further second of sound takes "
        f"{short(grow['seconds_per_second'])} s, every further minute {short(grow['mb_per_minute'])} MB."
        for grow in measured["growth"]
    ]
    return table(columns, lines) + "".join(f"\n{line}\n" for line in grown)


def main(asked: dict) -> dict:
    """In the process of one length: load, repeat the vocal to that length, make the song some times, report."""
    import numpy as np
    import torch

    if asked["threads"]:
        torch.set_num_threads(asked["threads"])
    from accompgen import audio
    from accompgen.generation.pipeline import LONG_SECONDS, load

    wav, rate = audio.read(VOCAL)
    samples = round(asked["seconds"] * rate)
    started = time.perf_counter()
    long = asked["seconds"] >= LONG_SECONDS
    model = load(asked["checkpoint"], asked["device"], helper=long)  # as `accompgen generate` does
    found = dict(seconds=samples / rate, load_seconds=time.perf_counter() - started, loaded_mb=_peak_mb())
    model.accompany((wav[:, rate : 2 * rate], rate))  # libraries that are loaded when first used: see bench_start.py
    wav = np.tile(wav, -(-samples // wav.shape[1]))[:, :samples]
    found["songs"] = [model.accompany((wav, rate), seed=asked["seed"]).timings for _ in range(asked["repeats"])]
    gpu = torch.cuda.max_memory_allocated() / MB if asked["device"] == "cuda" else 0
    # the kernel counts pages for each thread and adds up late: a later reading may be lower by some
    peak = max(_peak_mb(), found["loaded_mb"])
    peak += model.helper.pool.submit(_peak_mb).result() if model.helper else 0
    return found | dict(peak_mb=peak, gpu_peak_mb=gpu, processes=2 if model.helper else 1)


def _peak_mb():
    # Linux counts what a process was before it became this program in `ru_maxrss`: a copy of bench.py with all its models
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)[1]) * 1024 / MB
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("{"):  # the process of one length
        print(json.dumps(main(json.loads(sys.argv[1]))))
    else:
        import bench

        sys.exit(bench.main(["song", *sys.argv[1:]]))
