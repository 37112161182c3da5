"""A long song by two processes on a CPU: the semantic and the fine stage in a second one, beside the coarse stage in this one.

A step of a small stage is hundreds of short operations, of which a second thread makes next to nothing, and two threads of one
Python wait for each other's lock (docs/speed.md has the figures). The coarse stage takes most of the time, and needs only the
semantic windows up to the end of its own; so those ahead of it and the fine windows behind it are made meanwhile.

Windows, batches, contexts and random numbers are those of `cascade`, and so are its codes with as many threads: each process
has fewer here, and a product shared out otherwise may round otherwise.
"""

import multiprocessing
import time
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import torch

from accompgen.checkpoint import Checkpoint
from accompgen.generation.cascade import (
    FINE_BATCH,
    HZ,
    Counter,
    LoadedStage,
    Progress,
    Tokens,
    check_settings,
    check_vocal,
    continued,
    inputs,
    new_ids,
    tokens_of,
    windows_of,
)
from accompgen.generation.decode import decode
from accompgen.generation.load import load_stages
from accompgen.generation.sampling import Sampling
from accompgen.generation.windows import Span
from accompgen.seeding import make_generator
from accompgen.stages import STAGES
from accompgen.threads import all_but_one_thread
from accompgen.time import whole_blocks
from accompgen.worker import start_worker

HELPED = ("semantic", "fine")  # the stages that the other process decodes


class HelperError(RuntimeError):
    """The second process died; the message says what to do."""


class Helper:
    """A process of one thread that holds the semantic and the fine stage of a checkpoint; it ends with this one.

    Args:
        checkpoint: verified.
    """

    def __init__(self, checkpoint: Checkpoint):
        self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin, (checkpoint,))
        self.pool.submit(int)  # starts it: it loads while this process does

    def close(self) -> None:
        """End the process."""
        self.pool.shutdown(cancel_futures=True)

    def submit(self, name, contexts: dict, length: int, sampling: Sampling, generators: list, prompt) -> Future:
        """Arguments as `decode`'s -> the future of (ids [B, Q, length], states of the generators after it), as arrays."""
        arrays = {stream: ids.numpy() for stream, ids in contexts.items()}
        given = None if prompt is None else prompt.numpy()
        return self.pool.submit(_decode, name, arrays, length, sampling, [_state(g) for g in generators], given)


_stages: dict[str, LoadedStage] = {}  # of a helper's own process


def _begin(checkpoint):
    start_worker()
    _stages.update(load_stages(checkpoint, "cpu", HELPED))


def _decode(name, arrays, length, sampling, states, given):
    generators = [torch.Generator() for _ in states]
    for generator, state in zip(generators, states):
        generator.set_state(torch.from_numpy(state))
    context = {stream: torch.from_numpy(ids) for stream, ids in arrays.items()}
    prompt = None if given is None else torch.from_numpy(given)
    ids = decode(_stages[name].model, context, length, sampling, generators, prompt)
    return ids.numpy(), [_state(generator) for generator in generators]


def _state(generator):
    return generator.get_state().numpy()


def cascade_beside(
    stages: dict[str, LoadedStage],
    vocal: torch.Tensor,
    sampling: dict[str, Sampling],
    seed: int,
    helper: Helper,
    progress: Progress | None = None,
) -> Tokens:
    """`cascade` with a helper that was made for the same checkpoint.

    Args:
        stages, vocal, sampling, seed, progress: as in `cascade`; on the CPU.

    Returns:
        Tokens. Its seconds are those in which this process decoded the coarse stage, or waited for one of the others.

    Raises:
        ValueError: as `cascade`.
        HelperError: the helper's process died.
    """
    check_vocal(vocal)
    check_settings(stages, sampling)
    try:
        with all_but_one_thread():  # the helper has that one
            return _Beside(stages, vocal, sampling, seed, helper, progress).run()
    except BrokenProcessPool as error:
        raise HelperError(
            "the process that decodes beside this one died, perhaps for want of memory; OMP_NUM_THREADS=1 does without it"
        ) from error


@dataclass(frozen=True)
class _Job:
    """Windows that the helper is at."""

    name: str
    spans: list[Span]
    generators: list
    future: Future


class _Beside:
    """One song: what is known of it, the windows that are left, and the job that the helper has, if any."""

    def __init__(self, stages, vocal, sampling, seed, helper, progress):
        self.stages, self.sampling, self.seed, self.helper = stages, sampling, seed, helper
        song = vocal.shape[1] // 2  # blocks
        self.left = {name: windows_of(name, stage, song) for name, stage in stages.items()}
        self.fine_windows = len(self.left["fine"])
        ids = sum(new_ids(stages[name], span, name) for name, spans in self.left.items() for span in spans)
        self.counter = Counter(ids, progress)
        self.known = {"vocal": vocal[None]}  # stream -> [1, Q, T]
        for name, stage in stages.items():
            self.known[name] = vocal.new_zeros(1, stage.model.layout.target.codebooks, 0)
        self.generators = {name: make_generator(seed, name, 0) for name in ("semantic", "coarse")}
        self.job, self.seconds = None, dict.fromkeys(stages, 0.0)

    def run(self) -> Tokens:
        while self.job or any(self.left.values()):
            self.turn()
            spans = self.ready("coarse", 1)
            name = "coarse" if spans else self.job.name
            started = time.perf_counter()
            if spans:
                self.decode_coarse(spans[0])
            else:
                wait([self.job.future])
                self.turn()
            self.seconds[name] += time.perf_counter() - started
        return tokens_of(self.known, self.seconds)

    def turn(self) -> None:
        """Take what the helper has finished, and give it what comes next: semantic windows before any others."""
        if self.job and self.job.future.done():
            self.take(self.job)
            self.job = None
        if not self.job:
            if spans := self.ready("semantic", 1):
                self.give("semantic", spans, [self.generators["semantic"]])
            elif spans := self.ready("fine", FINE_BATCH):  # batches as in `cascade`: another size may round otherwise
                first = self.fine_windows - len(self.left["fine"])
                self.give("fine", spans, [make_generator(self.seed, "fine", first + row) for row in range(len(spans))])

    def ready(self, name, most) -> list[Span]:
        """The next windows of a stage, at most so many; none if the context of one of them is not there."""
        there = min(whole_blocks(self.known[stream].shape[-1], HZ[stream]) for stream in STAGES[name].context)
        spans = self.left[name][:most]
        return spans if spans and spans[-1].stop <= there else []

    def decode_coarse(self, span):
        """A window of the coarse stage, in this process; between its frames the helper gets its turns."""
        stage, made = self.stages["coarse"], self.known["coarse"]

        def tick(done, of):
            self.counter.add("coarse", stage.model.layout.target.codebooks)
            self.turn()

        new = continued("coarse", stage, self.known, made, span, self.sampling["coarse"], self.generators["coarse"], tick)
        self.add("coarse", [span], [new])

    def give(self, name, spans, generators):
        context, length, prompt = inputs(name, self.known, self.known[name], spans)
        future = self.helper.submit(name, context, length, self.sampling[name], generators, prompt)
        self.job = _Job(name, spans, generators, future)

    def take(self, job):
        ids, states = job.future.result()
        for generator, state in zip(job.generators, states):
            generator.set_state(torch.from_numpy(state))
        rows = torch.from_numpy(ids).split(1)
        self.add(job.name, job.spans, [row[..., span.prompt_frames(HZ[job.name]) :] for span, row in zip(job.spans, rows)])
        self.counter.add(job.name, sum(new_ids(self.stages[job.name], span, job.name) for span in job.spans))

    def add(self, name, spans, pieces):
        self.known[name] = torch.cat([self.known[name], *pieces], dim=-1)
        del self.left[name][: len(spans)]
