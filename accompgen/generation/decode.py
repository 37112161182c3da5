"""One stage, token by token: context and prompt at once, then a cached step per token, under guidance in one batch."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from accompgen.generation.sampling import PUBLISHED, Sampling, guide, sample
from accompgen.layout import deinterleave, interleave
from accompgen.model.attention import Linear
from accompgen.model.logit_bias import BESIDE, logit_bias
from accompgen.model.packed import DecodingNorm, PackedLinear, can_pack
from accompgen.model.stage_lm import StageLM
from accompgen.model.transformer import RMSNorm
from accompgen.threads import step_threads


def decoding_dtype(device) -> torch.dtype:
    """Type of the linear weights that decodes fastest: bfloat16 on CUDA, float16 on processors that can unpack it."""
    if torch.device(device).type == "cuda":
        return torch.bfloat16
    return torch.float16 if can_pack(device) else torch.float32


def prepare_for_decoding(model: StageLM, dtype: torch.dtype | None = None, in_place: bool = False) -> StageLM:
    """A copy of `model` in eval mode whose decoder reads little memory per step; norms, cache and residual stay float32.

    A step reads every weight once for a few rows. The linear weights become `dtype` (None: `decoding_dtype`). In float16 on
    a CPU they are packed (model/packed.py); in float32 they lie transposed in memory, which with 2 rows made a step's products
    two to three times faster. With float32 the results differ from the model's by rounding alone. `in_place` changes the model
    itself, which spares the memory of a copy.
    """
    model = (model if in_place else copy.deepcopy(model)).eval().requires_grad_(False)
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
    model.heads.data = model.heads.float() if pack else model.heads.to(dtype)  # for logit_bias.py; plain float16 is slow
    return model


def _linear(weight):
    layer = Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


def _relaid(layer, dtype):
    if dtype == torch.float32:
        layer.weight.data = layer.weight.transpose(-1, -2).contiguous().transpose(-1, -2)
    return layer.to(dtype)


@torch.inference_mode()
def decode(
    model: StageLM,
    context: dict,
    frames: int,
    sampling: Sampling,
    generators: list[torch.Generator],
    prompt=None,
    progress: Callable[[int, int], None] | None = None,
    prefix_ids: dict | None = None,
    engine=None,
):
    """Sample the target of a stage.

    What model/logit_bias.py knows of each token is added to the guided logits by the weights of `sampling`, at no cost a step.
    With guidance other than 1 the model runs 2 B rows, the second half under the null context; with 1 it runs B.
    Row b draws one number per token from generators[b] and from nothing else, so its codes do not depend on its batch.

    Args:
        model: in eval mode.
        context: stream name -> LongTensor [B, Q, T], covering `frames` target frames; more is heard as what comes later; below
            0 where it is not known. What logit_bias.BESIDE names may be there, too.
        frames: F, frames of the result, prompt included.
        sampling: what it does not give is as published.
        generators: B generators on the CPU.
        prompt: LongTensor [B, Q, Fp], the first Fp frames as given; None: none.
        progress: called with (frames done, frames) after every frame that was not given.
        prefix_ids: name -> LongTensor [B, length], see StageLM.forward; None: nothing.
        engine: the compiled steps of this very model, engines/onnx_steps.py; None: torch's own.

    Returns:
        LongTensor [B, Q, frames].

    Raises:
        ValueError: prompt, context or generators that do not fit.
    """
    with step_threads(step_weights(model)):
        device, codebooks = model.heads.device, model.layout.target.codebooks
        if prompt is None:
            prompt = torch.zeros(len(generators), codebooks, 0, dtype=torch.long)
        prompt, context = prompt.to(device), {name: grid.to(device) for name, grid in context.items()}
        prefix_ids = {name: ids.to(device) for name, ids in (prefix_ids or {}).items()}
        _check(context, prompt, len(generators), codebooks, frames)
        if prompt.shape[-1] == frames:
            return prompt
        plan = _plan(model.layout, frames, prompt, generators)
        steps = _Steps(model, context, prefix_ids, prompt, frames, sampling.over(PUBLISHED), plan, engine)
        for n in range(len(plan.at)):
            steps.step(n)
            if progress and (whole := plan.whole_frames(n)):
                progress(whole, frames)
        return deinterleave(steps.tokens(), codebooks)


def step_weights(model: StageLM) -> int:
    """How many weights a step reads: the decoder's, packed or not."""
    packed = sum(layer.elements for layer in model.decoder.modules() if isinstance(layer, PackedLinear))
    return packed + sum(weight.numel() for weight in model.decoder.parameters())


@dataclass(frozen=True)
class _Plan:
    """What stands fast of a decoding before its first step: N steps of W slots each.

    Attributes:
        tokens: [B, F * Q + 1], interleaved, those of the prompt filled in; the last column is of
            empty slots.
        at: column of each step's slots [N, W].
        chances: of each step one number in [0, 1) for each slot [N, B, W].
        known: of each step, which slots are given already or empty, bool [W]; None where none is.
        first: steps of the prompt.
        lag: steps from the first slot of a frame to its last.
        steps_a_frame: of the pattern.
    """

    tokens: torch.Tensor
    at: torch.Tensor
    chances: torch.Tensor
    known: list
    first: int
    lag: int
    steps_a_frame: int

    def whole_frames(self, n: int) -> int:
        """Frames whose last slot is written with step n of those to do, where one just was; else 0."""
        whole = self.first + n + 1 - self.lag
        return whole // self.steps_a_frame if whole > self.first and whole % self.steps_a_frame == 0 else 0


def _plan(layout, frames, prompt, generators):
    device, codebooks = prompt.device, layout.target.codebooks
    given, total = prompt.shape[-1] * codebooks, frames * codebooks
    tokens = torch.zeros(len(generators), total + 1, dtype=torch.long, device=device)
    tokens[:, :given] = interleave(prompt)
    first = layout.steps_before(prompt.shape[-1])
    slots = layout.slots_of(frames, device)[first:]  # [N, W]
    drawn = torch.stack([torch.rand(total - given, generator=g, dtype=torch.float64) for g in generators]).to(device)
    chances = drawn[:, (slots - given).clamp(min=0)].transpose(0, 1).contiguous()  # [N, B, W]
    known = slots < given
    known = [row if some else None for row, some in zip(known, known.any(1).tolist())]
    lag = layout.steps(frames) - layout.steps_before(frames)
    # an empty slot, -1, is the last column
    return _Plan(tokens, slots % (total + 1), chances, known, first, lag, layout.steps_before(1))


class _Steps:
    """The steps of a decoding in turn: each chooses the tokens of its slots from those before it.

    A compiled step draws, too, but for the first one, which torch begins, and with top_p, which it
    has not: then it gives logits.
    """

    def __init__(self, model, context, prefix_ids, prompt, frames, sampling, plan, engine):
        self.sampling, self.plan = sampling, plan
        beside = {name: context.pop(name) for name in BESIDE if name in context}
        self.copies, drop = (1, None) if sampling.guidance == 1 else (2, torch.arange(2 * len(prompt)) >= len(prompt))
        state, logits = model.start(
            {name: grid.repeat(self.copies, 1, 1) for name, grid in context.items()},
            prompt.repeat(self.copies, 1, 1),
            frames,
            None if drop is None else drop.to(prompt.device),
            {name: ids.repeat(self.copies, 1) for name, ids in prefix_ids.items()},
        )
        bias = logit_bias(model, context, frames, sampling.weights, beside, prefix_ids)  # [B, F, Q or 1, V]
        # the last row: of empty slots
        self.bias = None if bias is None else nn.functional.pad(bias.flatten(1, 2), (0, 0, 0, 1))
        self.first_logits, self.draw = self._guided(logits), None
        if engine is None:
            self.next_logits = lambda ids: self._guided(model.step(state, ids))
        elif sampling.top_p < 1:
            self.next_logits = engine.logits(state, len(prompt), sampling.guidance)
        else:
            settings = sampling.guidance, sampling.temperature, sampling.top_k
            self.draw = engine.draw(state, plan.chances[1:], *settings, self.bias, plan.at[1:])
        device = prompt.device
        self.chosen = torch.empty(plan.chances.shape, dtype=torch.long, device=device)  # [N, B, W]
        self.ids = list(self.chosen)
        self.arrays = list(self.chosen.numpy()) if self.draw else None  # the same memory

    def step(self, n: int) -> None:
        """Choose the tokens of step n = 0, 1, ... of those to do."""
        plan, ids = self.plan, self.ids[n]
        if n and self.draw:
            self.draw(self.arrays[n - 1], self.arrays[n])
        else:
            logits = self.next_logits(self.ids[n - 1]) if n else self.first_logits  # [B, W, V]
            ids.copy_(self._drawn(n, logits))
        if plan.known[n] is not None:
            ids.copy_(torch.where(plan.known[n], plan.tokens.index_select(1, plan.at[n]), ids))

    def tokens(self) -> torch.Tensor:
        """The tokens of the prompt and of all steps, interleaved [B, F * Q]."""
        chosen = self.chosen.transpose(0, 1).flatten(1)
        return self.plan.tokens.index_copy(1, self.plan.at.flatten(), chosen)[:, :-1]

    def _drawn(self, n, logits):
        if self.bias is not None:
            logits = logits + self.bias.index_select(1, self.plan.at[n])
        return sample(logits, self.plan.chances[n], self.sampling)

    def _guided(self, logits):
        """Logits [B, W, V] of those of all copies."""
        return guide(*logits.chunk(2), self.sampling.guidance) if self.copies == 2 else logits


def _check(context, prompt, batch, codebooks, frames):
    if prompt.shape[:2] != (batch, codebooks) or prompt.shape[2] > frames:
        raise ValueError(
            f"the prompt has shape {tuple(prompt.shape)}; "
            f"expected [{batch}, {codebooks}, at most {frames}], one row per generator"
        )
    for name, grid in context.items():
        if len(grid) != batch:
            raise ValueError(f"context {name!r} has {len(grid)} rows for {batch} generators; each row needs its own")
