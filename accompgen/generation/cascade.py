"""All stages over one song in one process: the whole song, or piece by piece as the vocal comes in."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import torch

from accompgen.generation.decode import decode
from accompgen.generation.progress import Progress
from accompgen.generation.sampling import Sampling
from accompgen.generation.schedule import WHOLE, Job, Part, Schedule, System


@dataclass(frozen=True)
class Tokens:
    """What the cascade gives for a song, int64 on the CPU, and how long each stage took."""

    semantic: torch.Tensor  # [1, S]
    codes: torch.Tensor  # [Q, F]: coarse above fine
    seconds: dict[str, float]


@dataclass(frozen=True)
class TokenPiece:
    """What a window of the last stage adds to a song, int64 on the CPU."""

    start: int  # in blocks of 40 ms
    stop: int
    semantic: torch.Tensor  # [1, S]
    codes: torch.Tensor  # [Q, F]


def cascade(
    system: System,
    vocal: torch.Tensor,
    sampling: dict[str, Sampling],
    seed: int,
    progress: Progress | None = None,
    part: Part = WHOLE,
) -> Tokens:
    """Generate the tokens of a stem, or of the whole accompaniment, one stage after the other.

    Args:
        system: with all stages that the part needs.
        vocal: ids [1, S] of the voice at 50 Hz, S even (whole blocks of 40 ms).
        sampling: settings of each stage.
        seed: any integer.
        progress: told (stage, done, total) in ids after every frame; the windows of a batch count once.
        part: which stem, and what is known besides the vocal.

    Returns:
        Tokens with S semantic frames and F = 1.5 S acoustic frames.

    Raises:
        ValueError: a vocal of another shape, or without whole blocks; or settings that a stage cannot follow.
    """
    schedule = whole_song(system, vocal, sampling, seed, part)
    seconds = play(schedule, progress)
    return Tokens(*schedule.tokens(0, schedule.song), seconds)


def play(schedule: Schedule, progress: Progress | None = None) -> dict[str, float]:
    """Decode all of a song whose vocal has ended -> seconds of each stage; `progress` as in `cascade`."""
    counter, seconds = Counter(schedule, progress), dict.fromkeys(schedule.stages, 0.0)
    while job := schedule.next_job(schedule.stages):
        started = time.perf_counter()
        schedule.add(job, decode_job(schedule.system, job, counter.of(job)))
        seconds[job.stage] += time.perf_counter() - started
    return seconds


def cascade_in_pieces(
    system: System,
    vocal: Iterable[torch.Tensor],
    sampling: dict[str, Sampling],
    seed: int,
    seconds: dict[str, float],
    hop_seconds: float = 0.0,
) -> Iterator[TokenPiece]:
    """`cascade` of a vocal that is still coming in: each window as soon as the vocal reaches its end, the last stage first.

    The windows, contexts and random numbers are those of `cascade`, and so are the codes, as far as a row of a batch gives the
    same logits as alone: windows are decoded one by one here.

    Args:
        system, sampling, seed: as in `cascade`.
        vocal: ids [1, s] at 50 Hz that follow each other, each s even.
        seconds: what each stage took is added here.
        hop_seconds: as `Schedule` has it; other than 0 the codes are not those of `cascade`.

    Yields:
        TokenPiece, one for each window of the last stage.

    Raises:
        ValueError: as `cascade`.
    """
    schedule = Schedule(system, sampling, seed, batch=1, hop_seconds=hop_seconds)
    for ids in chain(vocal, [None]):
        if ids is None:
            schedule.end_vocal()
        else:
            schedule.add_vocal(ids)
        while job := schedule.next_job(reversed(schedule.stages)):
            started = time.perf_counter()
            schedule.add(job, decode_job(system, job))
            seconds[job.stage] = seconds.get(job.stage, 0.0) + time.perf_counter() - started
            if job.stage == schedule.stages[-1]:
                (span,) = job.spans
                yield TokenPiece(span.new, span.stop, *schedule.tokens(span.new, span.stop))


def whole_song(system, vocal, sampling, seed, part: Part = WHOLE) -> Schedule:
    """The schedule of a song whose vocal [1, S] is known. Raises ValueError as `cascade`."""
    schedule = Schedule(system, sampling, seed, part)
    schedule.add_vocal(vocal)
    schedule.end_vocal()
    return schedule


def decode_job(system: System, job: Job, tick=None) -> torch.Tensor:
    """The ids [B, Q, frames] of a job; `tick` as the progress of `decode`."""
    stage = system.stages[job.stage]
    return decode(
        stage.model, job.context, job.frames, job.sampling, job.generators, job.prompt, tick, job.prefix_ids, stage.engine
    )


class Counter:
    """Adds up the ids that the stages have decoded, for the progress display."""

    def __init__(self, schedule: Schedule, report: Progress | None):
        self.schedule, self.report = schedule, report
        self.done, self.total = 0, schedule.all_ids()

    def add(self, job: Job, ids: int | None = None) -> None:
        """So many more of a job's ids; None: all."""
        self.done += self.schedule.ids_of(job.stage, job.spans[0]) if ids is None else ids
        if self.report:
            self.report(job.stage, self.done, self.total)

    def of(self, job: Job):
        """What `decode` calls after every frame of a job."""
        codebooks = self.schedule.system.stages[job.stage].model.layout.target.codebooks
        return lambda done, frames: self.add(job, codebooks)
