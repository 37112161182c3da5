"""A long song by two processes on a CPU: one stage in this one, and all others in a second one beside it.

A step of a small stage is hundreds of short operations, of which a second thread makes next to nothing, and two threads of one
Python wait for each other's lock (docs/speed.md has the figures). The stage with the most steps takes most of the time, and
needs the stages before it only up to the end of its own window. So what is ahead of it, and what follows behind it, is decoded
meanwhile.

Windows, batches, contexts and random numbers are those of `cascade`, and so are its codes with as many threads: each process
has fewer here, and a product shared out otherwise may round otherwise.
"""

import multiprocessing
import time
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import torch

from accompgen.checkpoint import Checkpoint
from accompgen.generation.cascade import Counter, Tokens, decode_job, whole_song
from accompgen.generation.load import load_stages
from accompgen.generation.progress import Progress
from accompgen.generation.sampling import Sampling
from accompgen.generation.schedule import WHOLE, Job, Part, System
from accompgen.threads import all_but_one_thread
from accompgen.worker import start_worker


class StageWorkerError(RuntimeError):
    """The second process died; the message says what to do."""


class StageWorker:
    """A process of one thread that holds all stages of a checkpoint but the one of the most steps; it ends with this one.

    Args:
        checkpoint: verified.
        system: the stages of the checkpoint, as this process has loaded them.
        engine: that they were loaded for, see `load_stages`.
    """

    def __init__(self, checkpoint: Checkpoint, system: System, engine: str = "auto"):
        here = max(system.stages, key=system.steps_a_second)
        self.names = tuple(name for name in system.stages if name != here)
        self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin, (checkpoint, self.names, engine))
        self.pool.submit(int)  # starts it: it loads while this process does

    def close(self) -> None:
        """End the process."""
        self.pool.shutdown(cancel_futures=True)

    def submit(self, job: Job) -> Future:
        """Send a job -> what `receive` takes."""
        return self.pool.submit(_decode, _with(job, torch.Tensor.numpy, _state))

    def receive(self, job: Job, future: Future) -> torch.Tensor:
        """The ids [B, Q, frames] of a job that was sent; its generators are then where decoding left them."""
        ids, states = future.result()
        for generator, state in zip(job.generators, states):
            generator.set_state(torch.from_numpy(state))
        return torch.from_numpy(ids)


_systems: list[System] = []  # of a helper's own process: the one that it has


def _begin(checkpoint, names, engine):
    start_worker()
    _systems.append(load_stages(checkpoint, "cpu", names, engine))


def _decode(job):
    job = _with(job, torch.from_numpy, _generator)
    return decode_job(_systems[0], job).numpy(), [_state(generator) for generator in job.generators]


def _with(job, ids, generator):
    """A job whose ids and generators are turned into something else: arrays travel between processes, tensors do not."""
    return replace(
        job,
        context={stream: ids(values) for stream, values in job.context.items()},
        prefix_ids={name: ids(values) for name, values in job.prefix_ids.items()},
        prompt=None if job.prompt is None else ids(job.prompt),
        generators=[generator(one) for one in job.generators],
    )


def _state(generator):
    return generator.get_state().numpy()


def _generator(state):
    generator = torch.Generator()
    generator.set_state(torch.from_numpy(state))
    return generator


def cascade_by_two(
    system: System,
    vocal: torch.Tensor,
    sampling: dict[str, Sampling],
    seed: int,
    helper: StageWorker,
    progress: Progress | None = None,
    part: Part = WHOLE,
) -> Tokens:
    """`cascade` with a helper that was made for the same checkpoint.

    Args:
        system, vocal, sampling, seed, progress, part: as in `cascade`; on the CPU.

    Returns:
        Tokens. Its seconds are those in which this process decoded its own stage, or waited for one of the others.

    Raises:
        ValueError: as `cascade`.
        StageWorkerError: the helper's process died.
    """
    schedule = whole_song(system, vocal, sampling, seed, part)
    try:
        with all_but_one_thread():  # the helper has that one
            seconds = Exchange(schedule, helper, progress).run()
    except BrokenProcessPool as error:
        raise StageWorkerError(
            "the process that decodes beside this one died, perhaps for want of memory; OMP_NUM_THREADS=1 does without it"
        ) from error
    return Tokens(*schedule.tokens(0, schedule.song), seconds)


class Exchange:
    """One song, the job that a helper is at, if any, and the jobs that are done here meanwhile.

    Args:
        schedule: of a song whose vocal has ended.
        helper: has the `names` of its stages, `submit(job)` -> Future and `receive(job, future)` -> ids [B, Q, frames], after
            which the job's generators are where decoding left them.
        progress: as in `cascade`.
    """

    def __init__(self, schedule, helper, progress):
        self.schedule, self.helper, self.counter = schedule, helper, Counter(schedule, progress)
        self.here = [name for name in schedule.stages if name not in helper.names]
        self.job = self.future = None

    def run(self) -> dict[str, float]:
        """Decode everything -> seconds of each stage."""
        seconds = dict.fromkeys(self.schedule.stages, 0.0)
        while True:
            self.exchange()
            own = self.schedule.next_job(self.here)
            if not (own or self.job):
                return seconds
            name, started = (own or self.job).stage, time.perf_counter()
            if own:
                self.schedule.add(own, decode_job(self.schedule.system, own, self.tick_of(own)))
            else:
                wait([self.future])
            seconds[name] += time.perf_counter() - started

    def tick_of(self, job):
        """Between the frames of a job of this process the helper gets its turns."""
        count = self.counter.of(job)

        def tick(done, frames):
            count(done, frames)
            self.exchange()

        return tick

    def exchange(self) -> None:
        """Receive what the helper has finished, and send it what comes next, of the first stages first."""
        if self.job and self.future.done():
            self.schedule.add(self.job, self.helper.receive(self.job, self.future))
            self.counter.add(self.job)
            self.job = None
        if not self.job and (job := self.schedule.next_job(self.helper.names)):
            self.job, self.future = job, self.helper.submit(job)
