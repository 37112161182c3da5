"""One of several processes under torchrun: runs the trainings that a file lists, one after the other, in this one start.

    torchrun --nproc-per-node 2 tests/training_worker.py RUNS.json

RUNS.json: [[run directory, TrainConfig as a dictionary, steps to pause after, rank that breaks or null], ...]. An error is
written to <run directory>.rank<r>.error, so that what every rank says can be read. A rank that breaks ends with its error in
the third step, while the other is in the middle of it.
"""

import json
import os
import sys
from pathlib import Path

from accompgen.config import TrainConfig, from_dict
from accompgen.training import loop


def main(path):
    for run_dir, values, pause, breaks in json.loads(Path(path).read_text()):
        if breaks is not None:
            if breaks == int(os.environ["RANK"]):
                loop._forward = broken
            return loop.train(from_dict(TrainConfig, values), run_dir)
        try:
            loop.train(from_dict(TrainConfig, values), run_dir, pause_after_steps=pause)
        except (ValueError, RuntimeError) as error:
            Path(f"{run_dir}.rank{os.environ['RANK']}.error").write_text(f"{type(error).__name__}: {error}")


def broken(engine, batch, listening_weight, real=loop._forward, calls=[]):  # noqa: B006
    calls.append(1)
    if len(calls) == 3:
        sys.exit(f"{batch.windows[0].song.shard} was altered")
    return real(engine, batch, listening_weight)


if __name__ == "__main__":
    main(sys.argv[1])
