"""Which windows of which stage can be decoded now: the whole song, the stream and the second process all ask here.

A stage goes through the song in windows (windows.py). A window can be decoded once the streams that the stage hears are known
up to its end. Where windows begin with frames of those before them (`prompt_share` in stages.py) they are decoded in turn, with
one generator. Where they do not, they depend on their context alone: several are decoded at once, each with its own generator.

Generators derive from (seed, stage, window). So the same seed gives the same ids in whatever order windows are decoded, and the
settings of a stage leave the stages before it as they are.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from accompgen.generation.decode import EARLIER_VOCAL
from accompgen.generation.sampling import Sampling
from accompgen.generation.windows import Span, next_span, plan
from accompgen.model.stage_lm import StageLM
from accompgen.seeding import make_generator
from accompgen.stages import CODES, STAGES, UNITS, VOCAL
from accompgen.time import SEMANTIC_HZ, blocks_of, frames_of, whole_blocks

EARLIER_SECONDS = 40.0  # of the vocal before a window of units: its beat goes on in the window
BATCH_WINDOWS = 8  # decoded at once: enough to be worth it, few enough that memory does not grow with the song


@dataclass(frozen=True)
class LoadedStage:
    """A stage's model and the length of the windows it was trained on, a multiple of 0.04 s."""

    model: StageLM
    window_seconds: float


def steps_a_second(name: str, stage: LoadedStage) -> float:
    """Steps in which a stage decodes a second of sound; those of a batch are shared out among its windows."""
    layout = stage.model.layout
    return layout.target.hz * layout.steps_before(1) / (1 if STAGES[name].prompt_share else BATCH_WINDOWS)


@dataclass(frozen=True)
class Job:
    """B windows of one length that a stage decodes at once, and what it decodes them with: the arguments of `decode`."""

    stage: str
    spans: list[Span]
    context: dict[str, torch.Tensor]  # stream -> [B, Q, T]
    frames: int
    sampling: Sampling
    generators: list[torch.Generator]  # B
    prompt: torch.Tensor | None  # [1, Q, Fp]; with one, B is 1


class Schedule:
    """What is known of a song, whose vocal may still be coming in, and what can be decoded next.

    Args:
        stages: by name.
        sampling: settings of each stage.
        seed: any integer.
        batch: windows decoded at once, at most. Ids of another size may differ where a row of a batch rounds otherwise.

    Attributes:
        stages: in the order in which a song needs them.
        song: blocks of the song; None while the vocal may go on.

    Raises:
        ValueError: settings that a stage cannot follow.
    """

    def __init__(
        self, stages: dict[str, LoadedStage], sampling: dict[str, Sampling], seed: int, batch: int = BATCH_WINDOWS
    ):
        for name, stage in stages.items():
            asked = {setting: bool(getattr(sampling[name], setting)) for setting in ("listening", "consonance", "pulse")}
            stage.model.check_telling(**asked)
        self.stages = {name: stages[name] for name in STAGES if name in stages}
        self.sampling, self.seed, self.batch, self.song = sampling, seed, batch, None
        self._streams = {stream.name: stream for stage in stages.values() for stream in stage.model.layout.streams}
        self._known = {  # [1, Q, T] on the CPU
            name: torch.zeros(1, stream.codebooks, 0, dtype=torch.long) for name, stream in self._streams.items()
        }
        self._decoded = dict.fromkeys(self.stages, 0)  # windows
        self._generators = {name: make_generator(seed, name, 0) for name in self.stages}  # of stages in turn

    def add_vocal(self, ids: torch.Tensor) -> None:
        """The next ids [1, S] of the vocal. Raises ValueError unless S is even and at least 2: whole blocks."""
        if ids.ndim != 2 or len(ids) != 1 or ids.shape[1] < 2 or ids.shape[1] % frames_of(1, SEMANTIC_HZ):
            raise ValueError(f"vocal ids of shape {tuple(ids.shape)}; expected [1, S] with S even and at least 2")
        self._append(VOCAL, [ids[None]])

    def end_vocal(self) -> None:
        """Say that the vocal ends here."""
        self.song = self._blocks(VOCAL)

    def next_job(self, names: Iterable[str]) -> Job | None:
        """A job of the first of these stages that has one; None: a context must grow first, or all is decoded.

        It is not taken off: `add` comes before the next job of its stage.
        """
        return next(filter(None, map(self._job, names)), None)

    def add(self, job: Job, ids: torch.Tensor) -> None:
        """Take the ids [B, Q, frames] that a job gave."""
        target = self._target(job.stage)
        rows = ids.cpu().split(1)
        self._append(target.name, [row[..., span.prompt_frames(target.hz) :] for span, row in zip(job.spans, rows)])
        self._decoded[job.stage] += len(job.spans)

    def ids_of(self, name: str, span: Span) -> int:
        """Ids that a stage decodes one after the other in a window, or in a batch that begins with it."""
        begin = span.new if STAGES[name].prompt_share else span.start  # without a prompt a window is decoded whole
        return frames_of(span.stop - begin, self._target(name).hz) * self._target(name).codebooks

    def all_ids(self) -> int:
        """`ids_of` all windows of a song that has ended."""
        plans = {name: plan(self.song, *self._lengths(name))[:: self._rows(name)] for name in self.stages}
        return sum(self.ids_of(name, span) for name, spans in plans.items() for span in spans)

    def tokens(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Units [1, S] and codes [Q, F] of the accompaniment in the blocks start..stop-1."""
        units, *codes = (self._known[name][0][:, self._frames(name, start, stop)] for name in (UNITS, *CODES))
        return units, torch.cat(codes)

    def _job(self, name):
        spans = self._ready(name)
        if not spans:
            return None
        layout, first = self.stages[name].model.layout, spans[0]
        context = {
            stream.name: torch.cat([self._known[stream.name][..., span.frames(stream.hz)] for span in spans])
            for stream in layout.context
        }
        if layout.target.name == UNITS:  # they go with the beat, which is found in the vocal
            earlier = max(0, first.start - blocks_of(EARLIER_SECONDS))
            context[EARLIER_VOCAL] = self._known[VOCAL][..., self._frames(VOCAL, earlier, first.start)]
        prompt, generators = None, [self._generators[name]]
        if STAGES[name].prompt_share:
            prompt = self._known[layout.target.name][..., first.frames(layout.target.hz)]
        else:
            generators = [make_generator(self.seed, name, self._decoded[name] + row) for row in range(len(spans))]
        frames = frames_of(first.stop - first.start, layout.target.hz)
        return Job(name, spans, context, frames, self.sampling[name], generators, prompt)

    def _ready(self, name):
        """The next windows whose context is known: as many as are decoded at once, fewer at the song's end; or none."""
        there = min(self._blocks(stream.name) for stream in self.stages[name].model.layout.context)
        spans, known = [], self._blocks(self._target(name).name)
        while len(spans) < self._rows(name):
            span = next_span(known, there, there == self.song, *self._lengths(name))
            if span is None:
                return spans if there == self.song else []
            spans.append(span)
            known = span.stop
        return spans

    def _rows(self, name):
        return 1 if STAGES[name].prompt_share else self.batch

    def _lengths(self, name):
        """Blocks of a window and of its prompt."""
        window = blocks_of(self.stages[name].window_seconds)
        return window, int(window * STAGES[name].prompt_share)

    def _target(self, name):
        return self.stages[name].model.layout.target

    def _blocks(self, stream):
        return whole_blocks(self._known[stream].shape[-1], self._streams[stream].hz)

    def _frames(self, stream, start, stop):
        return Span(start, start, stop).frames(self._streams[stream].hz)

    def _append(self, stream, pieces):
        self._known[stream] = torch.cat([self._known[stream], *(piece.cpu() for piece in pieces)], dim=-1)
