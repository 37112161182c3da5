"""A song by two threads on a CPU: the stage of the most steps in this one, and all others in one beside it.

A step by a compiled engine is one call, which leaves Python's lock alone while it works; so two threads need not wait for each
other, as they would with torch's hundreds of short calls a step (two_process.py). They share the weights, and a thread
starts at once: songs of any length gain.

Windows, batches, contexts and random numbers are those of `cascade`, and so are its codes.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import torch

from accompgen.generation.cascade import Tokens, decode_job, whole_song
from accompgen.generation.decode import step_weights
from accompgen.generation.progress import Progress
from accompgen.generation.sampling import Sampling
from accompgen.generation.schedule import WHOLE, Job, Part, System
from accompgen.generation.two_process import Exchange
from accompgen.threads import all_but_one_thread, one_thread, threads_of_step


def suits_two_threads(system: System) -> bool:
    """Whether the stages of a system gain by a second thread: an engine makes them by one, and torch may use two or more."""
    stages = system.stages.values()
    return torch.get_num_threads() > 1 and all(
        stage.engine is not None and threads_of_step(step_weights(stage.model)) == 1 for stage in stages
    )


def cascade_by_threads(
    system: System,
    vocal: torch.Tensor,
    sampling: dict[str, Sampling],
    seed: int,
    progress: Progress | None = None,
    part: Part = WHOLE,
) -> Tokens:
    """`cascade` by two threads; arguments, result and errors as there.

    The seconds are those in which this thread decoded its own stage, or waited for one of the others.
    """
    schedule = whole_song(system, vocal, sampling, seed, part)
    with all_but_one_thread(), StageThread(system, schedule.stages) as helper:
        seconds = Exchange(schedule, helper, progress).run()
    return Tokens(*schedule.tokens(0, schedule.song), seconds)


class StageThread:
    """A thread that decodes all of some stages but the one of the most steps; it ends with its block, whatever it is at."""

    def __init__(self, system: System, stages: tuple[str, ...]):
        here = max(stages, key=system.steps_a_second)
        self.system, self.names = system, tuple(name for name in stages if name != here)
        self.pool, self.stopped = ThreadPoolExecutor(1, initializer=one_thread), Event()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stopped.set()
        self.pool.shutdown(cancel_futures=True)

    def submit(self, job: Job) -> Future:
        """Begin a job -> what `receive` takes."""
        return self.pool.submit(decode_job, self.system, job, self._tick)

    def receive(self, job: Job, future: Future) -> torch.Tensor:
        """The ids [B, Q, frames] of a job that was begun."""
        return future.result()

    def _tick(self, done, frames):
        if self.stopped.is_set():
            raise _Stopped


class _Stopped(Exception):
    """The song ends early, by an error or an interruption in the other thread, which says why."""
