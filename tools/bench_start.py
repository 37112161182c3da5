"""Starting: seconds until `accompgen --help` has printed, until the package is imported, and until a short song is written.

Every run is a fresh process; the first, which finds nothing in the operating system's cache of files, does not count.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from bench_report import NOT_MEASURED, BenchError, Options, is_there, progress, rounds, table
from bench_song import VOCAL

FIRST_SOUND_SECONDS, QUICK_FIRST_SOUND_SECONDS = 5.0, 1.2


def measure(options: Options) -> dict:
    """Rows: one for every command, the song's once for each device."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        vocal = Path(folder) / "vocal.wav"
        seconds = cut_vocal(vocal, QUICK_FIRST_SOUND_SECONDS if options.quick else FIRST_SOUND_SECONDS)
        commands = {
            "python, nothing imported": ["-c", "pass"],
            "accompgen --help": ["-m", "accompgen", "--help"],
            "import accompgen": ["-c", "import accompgen"],
        }
        songs = {}
        for device in options.devices:
            named = f"accompgen generate, {seconds:g} s of singing, {device}"
            asked = ["-m", "accompgen", "generate", str(vocal), "-o", str(Path(folder) / device), "--force"]
            asked += ["--checkpoint", options.checkpoint, "--device", device, "--seed", str(options.seed)]
            if is_there(device):
                songs[named] = asked
            else:
                rows.append(dict(what=named, seconds=NOT_MEASURED))
        progress("  fresh processes")
        found = _times(commands, options, 2 if options.quick else 5) | _times(songs, options, 1 if options.quick else 3)
    return {"rows": [dict(what=name, seconds=figure) for name, figure in found.items()] + rows}


def _times(commands, options, repeats):
    return rounds({name: lambda words=words: _run(words, options.threads) for name, words in commands.items()}, repeats)


def _run(words, threads):
    """Run Python with these words -> seconds. Raises BenchError if it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads or torch.get_num_threads())}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise BenchError(f"python {' '.join(words)} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return seconds


def cut_vocal(path, seconds) -> float:
    """Write the first seconds of the sample vocal -> how many they are."""
    from accompgen import audio

    wav, rate = audio.read(VOCAL)
    wav = wav[:, : round(seconds * rate)]
    audio.write(path, wav, rate)
    return wav.shape[1] / rate


def text(measured: dict) -> str:
    """One table."""
    return table(["a fresh process", "seconds"], [[row["what"], row["seconds"]] for row in measured["rows"]])


if __name__ == "__main__":
    from bench import main

    sys.exit(main(["start", *sys.argv[1:]]))
