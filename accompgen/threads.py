"""How many threads of the processor what gets, and how they wait: the one place that says so.

torch's wheels carry GNU's OpenMP on Linux. By default its threads spin at the end of every parallel operation until the last
one is there. On an idle machine that saves microseconds. Where another program has one of the cores, the thread that spins
takes the time that the awaited one needs, and a step of a stage has hundreds of such ends.

- Threads sleep while they wait, wherever this package is imported before torch: OpenMP reads its settings when it is loaded.
- A step of a small stage has one thread, whatever was imported first: a second one makes next to nothing of such short
  operations (docs/speed.md).
- A process that works beside others has one thread (worker.py).
- Everything else, HuBERT, codecs, decoders and training, has what torch takes by itself or OMP_NUM_THREADS says.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

SMALL_STEP = 20_000_000  # weights that a step reads; below it, one thread is as fast as two


def wait_passively() -> None:
    """Let OpenMP's threads sleep at barriers, unless the user has set how they wait; only before torch is imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def step_threads(weights: int) -> Iterator[None]:
    """The steps of a stage that reads so many weights a step: one thread if it is small, else as many as there are."""
    with _threads(threads_of_step(weights)):
        yield


def threads_of_step(weights: int) -> int:
    """How many threads such a step gets."""
    import torch

    return 1 if weights < SMALL_STEP else torch.get_num_threads()


@contextmanager
def all_but_one_thread() -> Iterator[None]:
    """Leave a processor to a second process, or to a thread beside this one, with one thread of torch's."""
    import torch

    with _threads(max(1, torch.get_num_threads() - 1)):
        yield


@contextmanager
def _threads(count):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread() -> None:
    """One thread of torch's for this process, or for the thread that calls it, from now on."""
    import torch

    torch.set_num_threads(1)
