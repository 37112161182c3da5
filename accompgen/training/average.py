"""A running average of the weights (EMA): what is validated, kept as snapshot and exported when `ema_decay` is set."""

import torch
from torch.optim.swa_utils import AveragedModel


def make_average(model: torch.nn.Module, decay: float) -> AveragedModel | None:
    """A copy of `model` whose `update_parameters(model)` moves it towards the trained weights; None with a decay of 0.

    The n-th update keeps min(decay, (1 + n) / (10 + n)) of what was there, so that the random start is soon forgotten.
    Source of the ramp: tf.train.ExponentialMovingAverage, argument num_updates.
    """
    if not decay:
        return None

    @torch.no_grad()
    def update(averaged, current, count):
        keep = kept(decay, int(count))
        torch._foreach_lerp_(averaged, current, 1 - keep)

    return AveragedModel(model, multi_avg_fn=update)


def kept(decay: float, count: int) -> float:
    """The share of the average that an update keeps, `count` updates having been made."""
    return min(decay, (1 + count) / (10 + count))
