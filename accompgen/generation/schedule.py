"""Which windows of which stage can be decoded now: the whole song, the stream and the second process all ask here.

A stage goes through the song in windows (windows.py). A window can be decoded once the streams that the stage hears are known
up to its end. Where windows begin with frames of those before them (`prompt_share` of the graph) they are decoded in turn, with
one generator. Where they do not, they depend on their context alone: several are decoded at once, each with its own generator.

Generators derive from (seed, stage, window). So the same seed gives the same ids in whatever order windows are decoded, and the
settings of a stage leave the stages before it as they are.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch

from accompgen.generation.sampling import Sampling
from accompgen.generation.windows import Span, next_span
from accompgen.model.logit_bias import EARLIER_VOCAL, MELODY, check
from accompgen.model.stage_lm import StageLM
from accompgen.seeding import make_generator
from accompgen.stages import ALL, STEM_TOKEN, TEXT, Graph, no_stem
from accompgen.time import blocks_of, frames_of, whole_blocks

EARLIER_SECONDS = 40.0  # of the vocal before a window of units: its beat goes on in the window
BATCH_WINDOWS = 8  # decoded at once: enough to be worth it, few enough that memory does not grow with the song


@dataclass(frozen=True)
class LoadedStage:
    """A stage's model and the length of the windows it was trained on, a multiple of 0.04 s.

    `engine` is what `decode` takes: the model's compiled steps, or None, where torch makes them.
    """

    model: StageLM
    window_seconds: float
    engine: object = None


@dataclass(frozen=True)
class System:
    """The stages of a checkpoint by name, or some of them, and the graph that they are of."""

    graph: Graph
    stages: dict[str, LoadedStage]

    def steps_a_second(self, name: str) -> float:
        """Steps in which a stage decodes a second of sound; those of a batch are shared out among its windows."""
        layout = self.stages[name].model.layout
        return layout.target.hz * layout.steps_before(1) / (1 if self.graph.stage(name).prompt_share else BATCH_WINDOWS)


@dataclass(frozen=True)
class Part:
    """What is made of a song: one of its stems, or with no stem what is made once for all of them (a chart).

    Attributes:
        stem: of the graph; "": none.
        given: streams that are known besides the vocal, name -> ids [1, Q, T] of the whole song, below 0 where they are not;
            and the melody of the song, see logit_bias.MELODY.
        text: the ids of what a window is asked for, called with its first block and the one behind its last; None: no text.
        kept: streams of a take that is there, name -> ids [1, Q, T] of the whole song; only the blocks of `span` are made.
        span: the first of them and the one behind the last; None: all of the song.
        rests: blocks in which the stem is silent, as pairs of the first and the one behind the last.
    """

    stem: str = ALL
    given: dict[str, torch.Tensor] = field(default_factory=dict)
    text: Callable[[int, int], list[int]] | None = None
    kept: dict[str, torch.Tensor] = field(default_factory=dict)
    span: tuple[int, int] | None = None
    rests: tuple[tuple[int, int], ...] = ()


WHOLE = Part()  # the whole accompaniment, from the vocal alone


@dataclass(frozen=True)
class Job:
    """B windows of one length that a stage decodes at once, and what it decodes them with: the arguments of `decode`."""

    stage: str
    spans: list[Span]
    context: dict[str, torch.Tensor]  # stream -> [B, Q, T]
    prefix_ids: dict[str, torch.Tensor]  # name -> [B, length]
    frames: int
    sampling: Sampling
    generators: list[torch.Generator]  # B
    prompt: torch.Tensor | None  # [1, Q, Fp]; with one, B is 1


class Schedule:
    """What is known of a part of a song, whose vocal may still be coming in, and what can be decoded next.

    Args:
        system: with the stages that the part needs.
        sampling: settings of each stage; under `stage/stem` those of a stage for one stem, where it has its own.
        seed: any integer.
        part: what is made.
        batch: windows decoded at once, at most. Ids of another size may differ where a row of a batch rounds otherwise.
        hop_seconds: that a window adds at most, a multiple of 0.04, so that sound follows a voice closely; 0: as many as it
            can. Other windows make other ids.

    Attributes:
        stages: the names of those that make the part, in the order in which it needs them.
        song: blocks of the song; None while the vocal may go on.

    Raises:
        ValueError: settings that a stage cannot follow, a stem that the graph does not know.
    """

    def __init__(
        self, system: System, sampling: dict[str, Sampling], seed: int, part: Part = WHOLE, batch: int = BATCH_WINDOWS,
        hop_seconds: float = 0.0,
    ):  # fmt: skip
        graph = system.graph
        if part.stem and part.stem not in graph.stems:
            raise ValueError(no_stem(part.stem, graph.stems))
        self.system, self.graph, self.part = system, graph, part
        self.seed, self.batch, self.song = seed, batch, None
        self.hop = blocks_of(hop_seconds) if hop_seconds else 0
        self.stages = tuple(
            stage.name
            for stage in graph.stages
            if graph.made_for_song(stage) == (not part.stem) and stage.target not in part.given
        )
        self.sampling = {name: sampling.get(f"{name}/{part.stem}", sampling[name]) for name in self.stages}
        for name in self.stages:
            check(system.stages[name].model, self.sampling[name].weights)
        growing = [graph.vocal, *(self._target(name) for name in self.stages)]
        self._known = {  # [1, Q, T] on the CPU
            stream.name: torch.zeros(1, stream.codebooks, 0, dtype=torch.long) for stream in growing
        } | part.given
        self._first, self._last = part.span or (0, None)  # blocks that are made
        for name in self.stages if part.span else ():
            target = self._target(name)
            self._known[target.name] = part.kept[target.name][..., : frames_of(self._first, target.hz)]
        self._decoded = dict.fromkeys(self.stages, 0)  # windows
        self._generators = {name: make_generator(seed, self._draws_of(name), 0) for name in self.stages}  # of stages in turn

    def add_vocal(self, ids: torch.Tensor) -> None:
        """The next ids [1, S] of the vocal. Raises ValueError unless S is even and at least 2: whole blocks."""
        if ids.ndim != 2 or len(ids) != 1 or ids.shape[1] < 2 or ids.shape[1] % frames_of(1, self.graph.vocal.hz):
            raise ValueError(f"vocal ids of shape {tuple(ids.shape)}; expected [1, S] with S even and at least 2")
        self._append(self.graph.vocal.name, [ids[None]])

    def end_vocal(self) -> None:
        """Say that the vocal ends here."""
        self.song = self._blocks(self.graph.vocal.name)
        self._last = self.song if self._last is None else min(self._last, self.song)

    def next_job(self, names: Iterable[str]) -> Job | None:
        """A job of the first of these stages that has one; None: a context must grow first, or all is decoded.

        It is not taken off: `add` comes before the next job of its stage.
        """
        return next(filter(None, (self._job(name) for name in names if name in self.stages)), None)

    def add(self, job: Job, ids: torch.Tensor) -> None:
        """Take the ids [B, Q, frames] that a job gave."""
        target = self._target(job.stage)
        rows = ids.cpu().split(1)
        self._append(target.name, [row[..., span.prompt_frames(target.hz) :] for span, row in zip(job.spans, rows)])
        self._decoded[job.stage] += len(job.spans)

    def ids_of(self, name: str, span: Span) -> int:
        """Ids that a stage decodes one after the other in a window, or in a batch that begins with it."""
        begin = span.new if self._in_turn(name) else span.start  # without a prompt a window is decoded whole
        return frames_of(span.stop - begin, self._target(name).hz) * self._target(name).codebooks

    def all_ids(self) -> int:
        """`ids_of` all windows of a song that has ended."""
        total = 0
        for name in self.stages:
            spans, known = [], self._first
            while span := next_span(known, self._last, True, *self._lengths(name)):
                spans.append(span)
                known = span.stop
            total += sum(self.ids_of(name, span) for span in spans[:: self._rows(name)])
        return total

    def stream(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Ids [Q, T] of a stream in the blocks start..stop-1; None: to the end of the song."""
        known = self._known[name]
        if self.part.span and name in self.part.kept:  # behind what was made anew the take goes on
            known = torch.cat([known, self.part.kept[name][..., known.shape[-1] :]], dim=-1)
        return known[0][:, self._frames(name, start, self.song if stop is None else stop)]

    def tokens(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Units [1, S] and codes [Q, F] of the stem in the blocks start..stop-1."""
        units, *codes = (self.stream(stream.name, start, stop) for stream in (self.graph.units, *self.graph.codes))
        return units, torch.cat(codes)

    def _job(self, name):
        spans = self._ready(name)
        if not spans:
            return None
        layout, first = self.system.stages[name].model.layout, spans[0]
        context = {
            stream.name: torch.cat([self._heard(stream, span) for span in spans]) for stream in layout.context
        }
        if self.sampling[name].pulse:  # units go with the beat, which is found in the vocal
            earlier, vocal = max(0, first.start - blocks_of(EARLIER_SECONDS)), self.graph.vocal.name
            context[EARLIER_VOCAL] = self._known[vocal][..., self._frames(vocal, earlier, first.start)]
        if self.sampling[name].melody and MELODY in self._known:
            context[MELODY] = torch.cat([self._known[MELODY][..., span.start : span.stop] for span in spans])
        prompt, generators = None, [self._generators[name]]
        if self._in_turn(name):
            prompt = self._known[layout.target.name][..., first.frames(layout.target.hz)]
        else:
            draws, number = self._draws_of(name), self._decoded[name]
            generators = [make_generator(self.seed, draws, number + row) for row in range(len(spans))]
        frames = frames_of(first.stop - first.start, layout.target.hz)
        return Job(name, spans, context, self._prefix_ids(layout, spans), frames, self.sampling[name], generators, prompt)

    def _heard(self, stream, span):
        """Ids [1, Q, T] of a stream in a span; -1 where it is not known at all."""
        if stream.name in self._known:
            return self._known[stream.name][..., span.frames(stream.hz)]
        return torch.full((1, stream.codebooks, frames_of(span.stop - span.start, stream.hz)), -1)

    def _prefix_ids(self, layout, spans):
        prefix_ids = {}
        for name, _, length in layout.prefix:
            if name == STEM_TOKEN:
                prefix_ids[name] = torch.full((len(spans), 1), self.graph.stems.index(self.part.stem))
            elif name == TEXT and self.part.text:
                rows = [self.part.text(span.start, span.stop)[:length] for span in spans]
                prefix_ids[name] = torch.tensor([row + [-1] * (length - len(row)) for row in rows])
        return prefix_ids

    def _ready(self, name):
        """The next windows whose context is known: as many as are decoded at once, fewer at the song's end; or none."""
        context = self.system.stages[name].model.layout.context
        there = min(self._blocks(stream.name) for stream in (self.graph.vocal, *context) if stream.name in self._known)
        if self._last is not None:
            there = min(there, self._last)
        spans, known = [], self._blocks(self._target(name).name)
        while len(spans) < self._rows(name):
            span = next_span(known, there, there == self._last, *self._lengths(name))
            if span is None:
                return spans if there == self._last else []
            spans.append(span)
            known = span.stop
        return spans

    def _in_turn(self, name):
        return bool(self.graph.stage(name).prompt_share)

    def _draws_of(self, name):
        """What the random numbers of a stage are named by."""
        return name if self.part.stem in ("", ALL) else f"{name}/{self.part.stem}"

    def _rows(self, name):
        return 1 if self._in_turn(name) else self.batch

    def _lengths(self, name):
        """Blocks of a window, of its prompt, and of what it adds at most (0: all that it can)."""
        window = blocks_of(self.system.stages[name].window_seconds)
        prompt = int(window * self.graph.stage(name).prompt_share)
        return window, prompt, self.hop if self.hop < window - prompt else 0

    def _target(self, name):
        return self.graph.stream(self.graph.stage(name).target)

    def _blocks(self, stream):
        return whole_blocks(self._known[stream].shape[-1], self.graph.stream(stream).hz)

    def _frames(self, stream, start, stop):
        return Span(start, start, stop).frames(self.graph.stream(stream).hz)

    def _append(self, stream, pieces):
        self._known[stream] = torch.cat([self._known[stream], *(piece.cpu() for piece in pieces)], dim=-1)
