"""Logits -> ids: temperature, top-k, top-p, guidance. Pure functions; chance comes in as one uniform number per token."""

import math
from dataclasses import dataclass, fields, replace

import torch

from accompgen.model.logit_bias import Weights

LOGIT_WEIGHTS = tuple(field.name for field in fields(Weights))


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. What is None is not given: `over` takes it from a checkpoint's settings.

    Raises:
        ValueError: a value out of its range.
    """

    temperature: float | None = None  # 0: always the likeliest token
    top_k: int | None = None  # 0: off
    top_p: float | None = None  # 1: off
    guidance: float | None = None  # 1: plain sampling; 0: the context is ignored
    listening: float | None = None  # weight of what the context encoder alone tells; for stages with a `listening_weight`
    # weight of how well an id's pitches go with the chart's chord, where a stage hears one; else with those that the context
    # encoder expects, likewise
    consonance: float | None = None
    pulse: float | None = None  # weight of how well a unit goes with the voice's beat; semantic stages beside a beat tracker
    melody: float | None = None  # weight of the sung notes among the pitches of an id; stages of chords, or of units
    reading: float | None = None  # weight of what a text alone tells; for stages with a `history_dropout`

    def __post_init__(self):
        def wrong(name, is_right):
            value = getattr(self, name)
            return value is not None and not is_right(value)

        if wrong("temperature", lambda value: 0 <= value < math.inf):
            raise ValueError(f"temperature is {self.temperature}; expected 0 (greedy) or a positive number")
        if wrong("top_k", lambda value: value >= 0 and value == int(value)):
            raise ValueError(f"top_k is {self.top_k}; expected a whole number, 0 (off) or more")
        if wrong("top_p", lambda value: 0 < value <= 1):
            raise ValueError(f"top_p is {self.top_p}; expected more than 0 and at most 1 (off)")
        if wrong("guidance", lambda value: 0 <= value < math.inf):
            raise ValueError(f"guidance is {self.guidance}; expected 0 or more (1: plain sampling)")
        for name in LOGIT_WEIGHTS:
            if wrong(name, lambda value: 0 <= value < math.inf):
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 (off) or more")

    @property
    def weights(self) -> Weights:
        """What logit_bias.py counts of these settings."""
        return Weights(*(getattr(self, name) or 0.0 for name in LOGIT_WEIGHTS))

    def over(self, own: "Sampling") -> "Sampling":
        """These settings, and those of `own` where one is not given."""
        return replace(own, **{name: value for name, value in vars(self).items() if value is not None})


# AccompGen's published values, and what it has not is off
PUBLISHED = Sampling(
    temperature=0.9, top_k=250, top_p=1.0, guidance=3.0, **dict.fromkeys(LOGIT_WEIGHTS, 0.0)
)


def guide(conditional, null, guidance: float):
    """Classifier-free guidance: null + guidance * (conditional - null). Source: arXiv 2207.12598, w = guidance - 1."""
    return torch.lerp(null, conditional, guidance)


def candidates(logits, top_k: int, top_p: float):
    """The logits [*, V] with -inf for the ids that may not be drawn, in their own order.

    top_k keeps what reaches the k-th largest logit, more than k ids where several are equal to it.
    top_p keeps the fewest of the likeliest whose probabilities (of the logits given, after top_k)
    reach it, and what is equal to the last of them.
    """
    vocab = logits.shape[-1]
    if top_p < 1:
        values = logits.topk(min(top_k or vocab, vocab)).values  # the likeliest first
        shares = values.softmax(-1, dtype=torch.float64)
        before = shares.cumsum(-1) - shares  # mass of the likelier ids
        least = values.masked_fill(before >= top_p, math.inf).amin(-1, keepdim=True)
    elif 0 < top_k < vocab:
        least = logits.topk(top_k, sorted=False).values.amin(-1, keepdim=True)
    else:
        return logits
    return logits.masked_fill(logits < least, -math.inf)


def sample(logits, uniform, sampling: Sampling):
    """Draw one id per row by inverting the cumulative distribution, in the order of the ids.

    Probabilities are float32, as the logits are, and summed up in float64. engines/onnx_graph.py
    does the same in the same order, so that a number draws the same id from the same logits there,
    but where a rounding decides.

    Args:
        logits: [*, V].
        uniform: [*] numbers in [0, 1); not used when the temperature is 0.
        sampling: temperature, top_k and top_p are used; guidance is `guide`'s.

    Returns:
        LongTensor [*].
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    values = candidates(logits / sampling.temperature, sampling.top_k, sampling.top_p)
    cumulative = values.softmax(-1).cumsum(-1, dtype=torch.float64)
    threshold = uniform.to(cumulative).unsqueeze(-1) * cumulative[..., -1:]
    choice = torch.searchsorted(cumulative, threshold, right=True)
    return choice.clamp_(max=cumulative.shape[-1] - 1).squeeze(-1)
