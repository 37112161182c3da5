"""A busy machine: seconds of a short song beside processes that use as much of the processor as they get.

Every song is made by a fresh process, beside none, one and two endless loops. Wall time tells what a user waits for, processor
time what is wasted: threads that spin while they wait for each other raise it, a loop beside it does not.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench_report import BenchError, Figure, Options, progress, table
from bench_start import cut_vocal

SECONDS, QUICK_SECONDS = 10.0, 1.2
LOADS = (0, 1, 2)


def measure(options: Options) -> dict:
    """Rows: one for every number of busy processes, with wall and processor seconds and their ratios over none."""
    times = {load: [] for load in LOADS}
    with tempfile.TemporaryDirectory() as folder:
        vocal = Path(folder) / "vocal.wav"
        length = cut_vocal(vocal, QUICK_SECONDS if options.quick else SECONDS)
        command = [sys.executable, "-m", "accompgen", "generate", str(vocal), "-o", folder, "--force", "--device", "cpu"]
        command += ["--checkpoint", options.checkpoint, "--seed", str(options.seed)]
        for turn in range(1 if options.quick else 3):
            for load in LOADS:
                progress(f"  turn {turn + 1}, beside {load} busy processes")
                with ExitStack() as stack:
                    for _ in range(load):
                        stack.enter_context(_busy())
                    times[load].append(_run(command, options.threads))
    rows = []
    for load, runs in times.items():
        wall, processor = (Figure(tuple(run[part] for run in runs)) for part in (0, 1))
        rows.append(dict(length_seconds=length, busy=load, wall=wall, processor=processor))
    for row in rows:
        row |= {f"{name}_ratio": row[name].over(rows[0][name]) for name in ("wall", "processor")}
    return {"rows": rows}


@contextmanager
def _busy():
    """A process that does nothing as fast as it can."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _run(command, threads):
    """Run a command -> wall seconds and the processor seconds of it and of its children. Raises BenchError if it fails."""
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise BenchError(f"{' '.join(command)} failed: {(errors.read().strip().splitlines() or ['no message'])[-1]}")
    return seconds, used.ru_utime + used.ru_stime


def text(measured: dict) -> str:
    """One table."""
    columns = ["busy processes beside it", "wall, s", "over none", "processor, s", "over none"]
    names = ("busy", "wall", "wall_ratio", "processor", "processor_ratio")
    return table(columns, [[row[name] for name in names] for row in measured["rows"]])


if __name__ == "__main__":
    from bench import main

    sys.exit(main(["busy", *sys.argv[1:]]))
