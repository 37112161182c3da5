"""One stage, token by token: context and prompt at once, then a cached step per token, under guidance in one batch."""

import copy
from collections.abc import Callable

import torch
from torch import nn

from accompgen.generation.graph import StaticSteps
from accompgen.generation.sampling import PUBLISHED, Sampling, guide, sample
from accompgen.layout import deinterleave, interleave
from accompgen.model.attention import Linear
from accompgen.model.packed import DecodingNorm, PackedLinear, can_pack
from accompgen.model.stage_lm import StageLM
from accompgen.model.transformer import RMSNorm
from accompgen.threads import step_threads

EARLIER_VOCAL = "earlier_vocal"  # beside a stage's own streams: units [B, 1, T'] before those of the vocal, for `pulse`


def decoding_dtype(device) -> torch.dtype:
    """Type of the linear weights that decodes fastest: bfloat16 on CUDA, float16 on processors that can unpack it."""
    if torch.device(device).type == "cuda":
        return torch.bfloat16
    return torch.float16 if can_pack(device) else torch.float32


def prepare_for_decoding(model: StageLM, dtype: torch.dtype | None = None) -> StageLM:
    """A copy of `model` in eval mode whose decoder reads little memory per step; norms, cache and residual stay float32.

    A step reads every weight once for a few rows. The linear weights become `dtype` (None: `decoding_dtype`). In float16 on
    a CPU they are packed (model/packed.py); in float32 they lie transposed in memory, which with 2 rows made a step's products
    two to three times faster. With float32 the results differ from the model's by rounding alone.
    """
    model = copy.deepcopy(model).eval().requires_grad_(False)
    dtype = dtype or decoding_dtype(model.heads.device)
    pack = dtype == torch.float16 and can_pack(model.heads.device)
    for parent in list(model.decoder.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, RMSNorm):
                setattr(parent, name, DecodingNorm(layer.gain))
            elif isinstance(layer, Linear):
                setattr(parent, name, PackedLinear(layer.weight, layer.bias) if pack else _relaid(layer, dtype))
    heads = model.heads.unflatten(0, (-1, model.layout.slots)).flatten(1, 2)  # [heads of a step, W * V, D]
    model.step_heads = nn.ModuleList(PackedLinear(head) if pack else _relaid(_linear(head), dtype) for head in heads)
    model.heads.data = model.heads.float() if pack else model.heads.to(dtype)  # for `heard_alone`; plain float16 is slow
    return model


def _linear(weight):
    layer = Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


def _relaid(layer, dtype):
    if dtype == torch.float32:
        layer.weight.data = layer.weight.transpose(-1, -2).contiguous().transpose(-1, -2)
    return layer.to(dtype)


def is_static(device) -> bool:
    """Whether steps have one shape, so that a graph can hold them (generation/graph.py)."""
    return torch.device(device).type == "cuda"


@torch.inference_mode()
def decode(
    model: StageLM,
    context: dict,
    frames: int,
    sampling: Sampling,
    generators: list[torch.Generator],
    prompt=None,
    progress: Callable[[int, int], None] | None = None,
):
    """Sample the target of a stage.

    With `listening`, `consonance` and `pulse`, what the context encoder alone tells of a token, how well the token's pitches go
    with those it expects, and how well it goes with the voice's beat, is added to the guided logits, at no cost a step.
    With guidance other than 1 the model runs 2 B rows, the second half under the null context; with 1 it runs B.
    Row b draws one number per token from generators[b] and from nothing else, so its codes do not depend on its batch.

    Args:
        model: in eval mode.
        context: stream name -> LongTensor [B, Q, T], covering `frames` target frames; more is heard as what comes later. Of the
            semantic stage it may hold EARLIER_VOCAL, too.
        frames: F, frames of the result, prompt included.
        sampling: what it does not give is as published.
        generators: B generators on the CPU.
        prompt: LongTensor [B, Q, Fp], the first Fp frames as given; None: none.
        progress: called with (frames done, frames) after every frame that was not given.

    Returns:
        LongTensor [B, Q, frames].

    Raises:
        ValueError: prompt, context or generators that do not fit.
    """
    with step_threads(_step_weights(model)):
        return _decode(model, context, frames, sampling.over(PUBLISHED), generators, prompt, progress)


def _step_weights(model):
    """How many weights a step reads: the decoder's, packed or not."""
    packed = sum(layer.elements for layer in model.decoder.modules() if isinstance(layer, PackedLinear))
    return packed + sum(weight.numel() for weight in model.decoder.parameters())


def _decode(model, context, frames, sampling, generators, prompt, progress):
    layout = model.layout
    batch, codebooks = len(generators), layout.target.codebooks
    device = model.heads.device
    context = {name: grid.to(device) for name, grid in context.items()}
    earlier = context.pop(EARLIER_VOCAL, None)
    if prompt is None:
        prompt = torch.zeros(batch, codebooks, 0, dtype=torch.long)
    prompt = prompt.to(device)
    _check(context, prompt, batch, codebooks, frames)
    given, total = prompt.shape[-1] * codebooks, frames * codebooks
    tokens = torch.zeros(batch, total + 1, dtype=torch.long, device=device)  # interleaved; the last column takes empty slots
    tokens[:, :given] = interleave(prompt)
    if given == total:
        return deinterleave(tokens[:, :total], codebooks)
    first = layout.steps_before(prompt.shape[-1])
    slots = layout.slots_of(frames, device)[first:]  # [N, W]
    drawn = torch.stack([torch.rand(total - given, generator=g, dtype=torch.float64) for g in generators]).to(device)
    chances = drawn[:, (slots - given).clamp(min=0)].transpose(0, 1).contiguous()  # [N, B, W]
    copies, drop = 1, None
    if sampling.guidance != 1:
        copies, drop = 2, torch.arange(2 * batch, device=device) >= batch
    state, logits = model.start(
        {name: grid.repeat(copies, 1, 1) for name, grid in context.items()}, prompt.repeat(copies, 1, 1), frames, drop
    )
    known = slots < given  # already given, or empty
    told = _told(model, context, frames, sampling, earlier)

    def choose(logits, at, chance, known):
        if copies == 2:
            logits = guide(*logits.chunk(2), sampling.guidance)  # [B, W, V]
        if told is not None:
            logits = logits + told.index_select(1, at)
        ids = sample(logits, chance, sampling)  # [B, W]
        if known is not None:
            ids = torch.where(known, tokens.index_select(1, at), ids)
        tokens.index_copy_(1, at, ids)
        return ids

    lag = layout.steps(frames) - layout.steps_before(frames)  # steps from the first slot of a frame to its last
    steps_a_frame = layout.steps_before(1)
    at = slots % (total + 1)  # an empty slot, -1, is the last column
    some_known = [row if some else None for row, some in zip(known, known.any(1).tolist())]
    ids = choose(logits, at[0], chances[0], some_known[0])
    static = StaticSteps(model, state, ids, choose, slots, (at, chances, known)) if is_static(device) else None
    for n, step in enumerate(zip(at, chances, some_known)):
        if n and static:
            static.step(n)
        elif n:
            ids = choose(model.step(state, ids), *step)
        whole = first + n + 1 - lag  # steps whose last slot is written
        if progress and whole > first and whole % steps_a_frame == 0:
            progress(whole // steps_a_frame, frames)
    if static:
        static.wait()
    return deinterleave(tokens[:, :total], codebooks)


def _told(model, context, frames, sampling, earlier):
    """What listening, consonance and pulse add to the guided logits of each token [B, F * Q + 1, V]; None without any."""
    told = []  # [B, F, Q or 1, V] each
    if sampling.listening or sampling.consonance:
        heard = model.heard_alone(context, frames)
        if sampling.listening:
            told.append(sampling.listening * (heard - model.heard_alone(context, frames, dropped=True)))
        if sampling.consonance:
            told.append(sampling.consonance * model.consonance(heard))
    if sampling.pulse:
        told.append(sampling.pulse * model.pulse(context, frames, earlier))
    if not told:
        return None
    return nn.functional.pad(sum(told).flatten(1, 2), (0, 0, 0, 1))  # the last row: of empty slots


def _check(context, prompt, batch, codebooks, frames):
    if prompt.shape[:2] != (batch, codebooks) or prompt.shape[2] > frames:
        raise ValueError(
            f"the prompt has shape {tuple(prompt.shape)}; "
            f"expected [{batch}, {codebooks}, at most {frames}], one row per generator"
        )
    for name, grid in context.items():
        if len(grid) != batch:
            raise ValueError(f"context {name!r} has {len(grid)} rows for {batch} generators; each row needs its own")
