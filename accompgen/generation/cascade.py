"""The three stages in order over one song: vocal units -> semantic units -> coarse codes -> fine codes.

The semantic and the coarse stage go through the song in windows, each of which begins with what the last one ended with. The
fine stage sees coarse codes alone, so its windows do not wait for each other and are decoded as batches.

Each stage draws from generators of its own, derived from (seed, stage, window): the same seed gives the same codes whatever
else is generated beside or before, and other settings of the fine stage leave the coarse codes as they are.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from accompgen.generation.decode import EARLIER_VOCAL, decode
from accompgen.generation.sampling import Sampling
from accompgen.generation.windows import Span, next_span, plan
from accompgen.model.stage_lm import StageLM
from accompgen.seeding import make_generator
from accompgen.stages import STAGES, streams
from accompgen.time import blocks_of, frames_of, whole_blocks

HZ = {name: stream.hz for name, stream in streams(1, 1, 1, 1).items()}
PROMPT_SHARE = {"semantic": 1 / 2, "coarse": 1 / 3, "fine": 0}  # of a window; 0: windows do not depend on each other
EARLIER_BLOCKS = 1000  # 40 s of the vocal before a semantic window: its beat goes on in the window
FINE_BATCH = 8  # windows decoded at once: enough to be worth it, few enough that memory does not grow with the song

Progress = Callable[[str, int, int], None]  # stage, ids decoded so far in all stages, ids to decode in all


@dataclass(frozen=True)
class LoadedStage:
    """A stage's model and the length of the windows it was trained on, a multiple of 0.04 s."""

    model: StageLM
    window_seconds: float


@dataclass(frozen=True)
class Tokens:
    """What the cascade gives for a song, int64 on the CPU, and how long each stage took."""

    semantic: torch.Tensor  # [1, S]
    codes: torch.Tensor  # [Q, F]: coarse above fine
    seconds: dict[str, float]


def cascade(
    stages: dict[str, LoadedStage],
    vocal: torch.Tensor,
    sampling: dict[str, Sampling],
    seed: int,
    progress: Progress | None = None,
) -> Tokens:
    """Generate the tokens of an accompaniment.

    Args:
        stages: by name, "semantic", "coarse" and "fine".
        vocal: ids [1, S] of the voice at 50 Hz, S even (whole blocks of 40 ms).
        sampling: settings of each stage.
        seed: any integer.
        progress: told (stage, done, total) in ids after every frame.

    Returns:
        Tokens with S semantic frames and F = 1.5 S acoustic frames.

    Raises:
        ValueError: a vocal of another shape, or without whole blocks; or settings that a stage cannot follow.
    """
    check_vocal(vocal)
    check_settings(stages, sampling)
    song = vocal.shape[1] // 2  # blocks
    plans = {name: windows_of(name, stages[name], song) for name in STAGES}
    count = Counter(sum(_ids(stages[name], plans[name], name) for name in STAGES), progress)
    known, seconds = {"vocal": vocal[None]}, {}  # name -> [1, Q, T]
    for name, stage in STAGES.items():
        started = time.perf_counter()
        run = _in_turn if PROMPT_SHARE[name] else _in_batches
        known[stage.target] = run(name, stages[name], known, plans[name], song, sampling[name], seed, count)
        seconds[name] = time.perf_counter() - started
    return tokens_of(known, seconds)


def check_vocal(vocal) -> None:
    """Raise ValueError unless vocal ids are [1, S] with S even and at least 2."""
    if vocal.ndim != 2 or len(vocal) != 1 or vocal.shape[1] < 2 or vocal.shape[1] % 2:
        raise ValueError(f"vocal ids of shape {tuple(vocal.shape)}; expected [1, S] with S even and at least 2")


def check_settings(stages: dict[str, LoadedStage], sampling: dict[str, Sampling]) -> None:
    """Raise ValueError where a stage cannot follow its settings: before the first of them has done its work."""
    for name, stage in stages.items():
        telling = {setting: bool(getattr(sampling[name], setting)) for setting in ("listening", "consonance", "pulse")}
        stage.model.check_telling(**telling)


def tokens_of(known: dict, seconds: dict[str, float]) -> Tokens:
    """The Tokens of finished streams, each [1, Q, T]."""
    codes = torch.cat([known["coarse"], known["fine"]], dim=1)[0]  # [Q, F]
    return Tokens(known["semantic"][0].cpu(), codes.cpu(), seconds)


def _in_turn(name, stage, known, spans, song, sampling, seed, count):
    """Windows one after the other, each beginning with frames of those before it -> [1, Q, frames of the song]."""
    generator, made = make_generator(seed, name, 0), known["vocal"].new_zeros(1, stage.model.layout.target.codebooks, 0)
    for span in spans:
        new = continued(name, stage, known, made, span, sampling, generator, count.of(name, stage))
        made = torch.cat([made, new], dim=-1)
    return made


def continued(name, stage, known, made, span, sampling, generator, tick=None):
    """What a window adds to the frames [1, Q, T] that are `made`, and begins with the last of them: [1, Q, new frames]."""
    context, length, prompt = inputs(name, known, made, [span])
    piece = decode(stage.model, context, length, sampling, [generator], prompt, tick)
    return piece[..., span.prompt_frames(HZ[name]) :].to(made.device)


def inputs(name, known, made, spans):
    """What windows are decoded with, B of one length: their context, stream -> [B, Q, T], in the semantic stage with what was
    sung before; that length in frames; and the frames of `made` that they begin with, None where none are asked for. With a
    prompt there is one window."""
    context = {
        stream: torch.cat([known[stream][..., span.frames(HZ[stream])] for span in spans])  # [B, Q, T]
        for stream in STAGES[name].context
    }
    prompt = made[..., spans[0].frames(HZ[name])] if PROMPT_SHARE[name] else None
    if name == "semantic":
        start = spans[0].start
        earlier = slice(frames_of(max(0, start - EARLIER_BLOCKS), HZ["vocal"]), frames_of(start, HZ["vocal"]))
        context[EARLIER_VOCAL] = known["vocal"][..., earlier]
    return context, frames_of(spans[0].stop - spans[0].start, HZ[name]), prompt


def _in_batches(name, stage, known, spans, song, sampling, seed, count):
    """Windows that do not depend on each other, FINE_BATCH at a time -> [1, Q, frames of the song]."""
    hz = HZ[name]
    target = _empty(stage, known, song)
    for first in range(0, len(spans), FINE_BATCH):
        batch = spans[first : first + FINE_BATCH]
        context, length, _ = inputs(name, known, target, batch)
        generators = [make_generator(seed, name, first + row) for row in range(len(batch))]
        pieces = decode(stage.model, context, length, sampling, generators, None, count.of(name, stage))  # [B, Q, length]
        for span, piece in zip(batch, pieces):
            target[0, :, span.added(hz)] = piece[:, span.prompt_frames(hz) :]
    return target


@dataclass(frozen=True)
class TokenPiece:
    """What a window of the fine stage adds to a song, int64 on the CPU."""

    start: int  # in blocks of 40 ms
    stop: int
    semantic: torch.Tensor  # [1, S]
    codes: torch.Tensor  # [Q, F]


def cascade_in_pieces(
    stages: dict[str, LoadedStage],
    vocal: Iterable[torch.Tensor],
    sampling: dict[str, Sampling],
    seed: int,
    seconds: dict[str, float],
) -> Iterator[TokenPiece]:
    """`cascade` of a vocal that is still coming in: each window as soon as the vocal reaches its end, the last stage first.

    The windows, contexts and random numbers are those of `cascade`, and so are the codes, as far as a row of a batch gives the
    same logits as alone: fine windows are decoded one by one here, and `cascade` takes eight at once.

    Args:
        stages, sampling, seed: as in `cascade`.
        vocal: ids [1, s] at 50 Hz that follow each other, each s even.
        seconds: what each stage took is added here.

    Yields:
        TokenPiece, one for each window of the fine stage.

    Raises:
        ValueError: settings that a stage cannot follow.
    """
    check_settings(stages, sampling)
    known = {"vocal": None} | {
        name: torch.zeros(1, stage.model.layout.target.codebooks, 0, dtype=torch.long) for name, stage in stages.items()
    }
    generators = {name: make_generator(seed, name, 0) for name in STAGES}
    fine_windows = 0
    for ids in _then_none(vocal):
        if ids is not None:
            known["vocal"] = ids[None] if known["vocal"] is None else torch.cat([known["vocal"], ids[None]], dim=-1)
        while found := _possible(stages, known, ids is None):
            name, span = found
            started = time.perf_counter()
            if name == "fine":
                generators[name], fine_windows = make_generator(seed, name, fine_windows), fine_windows + 1
            new = continued(name, stages[name], known, known[name], span, sampling[name], generators[name])
            known[name] = torch.cat([known[name], new], dim=-1)
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started
            if name == "fine":
                codes = torch.cat([known[part][0, :, span.added(HZ[part])] for part in ("coarse", "fine")])
                yield TokenPiece(span.new, span.stop, known["semantic"][0, :, span.added(HZ["semantic"])], codes)


def _then_none(items):
    yield from items
    yield None


def _possible(stages, known, finished):
    """The last stage that can make a window, and that window; None where the vocal must go on first, or nothing is left."""
    found, there = None, 0 if known["vocal"] is None else whole_blocks(known["vocal"].shape[-1], HZ["vocal"])
    for name, stage in stages.items():
        window, made = blocks_of(stage.window_seconds), whole_blocks(known[name].shape[-1], HZ[name])
        span = next_span(made, there, finished, window, int(window * PROMPT_SHARE[name]))
        finished, there = finished and made == there, made
        found = (name, span) if span else found
    return found


def windows_of(name, stage, song) -> list[Span]:
    """The windows of a stage over a song of so many blocks."""
    window = blocks_of(stage.window_seconds)
    return plan(song, window, int(window * PROMPT_SHARE[name]))


def _ids(stage, spans, name):
    """Ids that a stage decodes one after the other; a batch of windows counts once."""
    rows = 1 if PROMPT_SHARE[name] else FINE_BATCH
    return sum(new_ids(stage, span, name) for span in spans[::rows])


def new_ids(stage, span, name) -> int:
    """Ids that a stage decodes in a window."""
    new = span.new if PROMPT_SHARE[name] else span.start  # windows without prompts are decoded whole
    return frames_of(span.stop - new, HZ[name]) * stage.model.layout.target.codebooks


def _empty(stage, known, song):
    target = stage.model.layout.target
    return known["vocal"].new_zeros(1, target.codebooks, frames_of(song, target.hz))  # [1, Q, T]


class Counter:
    """Adds up the ids that the stages have decoded, for the progress display."""

    def __init__(self, total: int, report: Progress | None):
        self.done, self.total, self.report = 0, total, report

    def add(self, name: str, ids: int) -> None:
        """So many more of a stage."""
        self.done += ids
        if self.report:
            self.report(name, self.done, self.total)

    def of(self, name, stage):
        """What `decode` calls after every frame of a window of this stage; None if nobody listens."""
        return self.report and (lambda done, frames: self.add(name, stage.model.layout.target.codebooks))
