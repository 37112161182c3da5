"""Trains in child processes that are killed at a drawn moment, until one of them comes to the end.

    python tests/killed_worker.py SETTINGS.json FOLDER SEED

A child counts the moments at which something could be left half done (a forward pass, each file written, synchronised, renamed
or removed) and kills itself with SIGKILL at one of them; a state file it leaves half written. FOLDER/killed is their run,
FOLDER/whole the same without any death. Prints a JSON line per child.

The children are forked, so that libraries are imported once: those that the whole run needed, too.
"""

import importlib
import io
import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path

import torch

from accompgen.config import TrainConfig, from_dict
from accompgen.training import loop

MOST_MOMENTS = 40  # of a child's life: more than lie between two saves


def main(settings, folder, seed):
    config, draw = from_dict(TrainConfig, json.loads(Path(settings).read_text())), random.Random(int(seed))
    names = Path(folder) / "modules"
    if forked(lambda: (loop.train(config, Path(folder) / "whole"), names.write_text("\n".join(sys.modules)))):
        sys.exit("the run without a death failed")
    for name in names.read_text().split():
        if name.startswith(("torch.", "deepspeed.")) and name not in sys.modules:
            try:
                importlib.import_module(name)
            except ImportError:  # made while it ran, not to be imported
                pass
    run_dir, status = Path(folder) / "killed", signal.SIGKILL
    while status == signal.SIGKILL:
        deadly = draw.randint(1, MOST_MOMENTS)
        status = forked(lambda: (die_at(deadly), loop.train(config, run_dir)))  # noqa: B023
        latest, log = run_dir / "last" / "latest", run_dir / "log.jsonl"
        saved = int(latest.read_text().strip().removeprefix("step-")) if latest.exists() else 0
        steps = [json.loads(line) for line in log.read_text().split("\n")[:-1]] if log.exists() else []
        made = max([line["step"] for line in steps if "loss" in line], default=0)
        print(json.dumps({"deadly": deadly, "status": status, "saved": saved, "made": made}), flush=True)


def forked(work):
    """Call `work` in a child; its signal, or else its exit status."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def die_at(deadly):
    moments = [0]

    def counted(function, half=None):
        def call(*args, **kwargs):
            moments[0] += 1
            if moments[0] == deadly:
                if half:
                    half(*args)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    def half_a_file(values, path):
        whole = io.BytesIO()
        save(values, whole)
        Path(path).write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])

    save = torch.save
    torch.save = counted(save, half_a_file)
    for name in ("replace", "rename", "fsync"):
        setattr(os, name, counted(getattr(os, name)))
    shutil.rmtree = counted(shutil.rmtree)
    loop._forward = counted(loop._forward)


if __name__ == "__main__":
    main(*sys.argv[1:])
