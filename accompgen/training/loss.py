"""Cross-entropy of a stage: averaged over its codebooks, with what each codebook contributes."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Loss:
    """loss: scalar, mean over codebooks; cross_entropy [Q] in nats a token; accuracy [Q], share of tokens ranked first."""

    loss: torch.Tensor
    cross_entropy: torch.Tensor
    accuracy: torch.Tensor


def token_cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """logits [B, F, Q, V], target ids [B, Q, F] -> -log p of every target token in nats, float32 [B, Q, F]; 0 of ids that are
    not known, -1, as a chart has them.

    Raises ValueError if the shapes do not belong together.
    """
    batch, frames, codebooks, vocab = logits.shape
    if target.shape != (batch, codebooks, frames):
        shapes = f"logits {tuple(logits.shape)} [B, F, Q, V] and a target {tuple(target.shape)}"
        raise ValueError(f"{shapes} do not belong together; the target must be [B, Q, F]")
    ids = target.transpose(1, 2).reshape(-1)
    flat = F.cross_entropy(logits.reshape(-1, vocab).float(), ids, ignore_index=-1, reduction="none")
    return flat.view(batch, frames, codebooks).transpose(1, 2)


def stage_loss(logits: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None = None) -> Loss:
    """The training loss.

    Args:
        logits: [B, F, Q, V].
        target: ids [B, Q, F]; -1, which is not known, does not count.
        mask: bool [B, Q, F], the tokens that count; all if None.

    Raises:
        ValueError: shapes that do not fit, or a codebook without a token that counts.
    """
    nats = token_cross_entropy(logits, target)  # [B, Q, F]
    right = logits.detach().argmax(-1).transpose(1, 2) == target  # [B, Q, F]
    if mask is not None and (mask.sum((0, 2)) == 0).any():
        raise ValueError("the mask leaves a codebook without a single token")
    counts = target >= 0 if mask is None else mask & (target >= 0)
    count = counts.sum((0, 2)).clamp_min(1)  # of a batch without a known chord the loss is 0
    cross_entropy, accuracy = (nats * counts).sum((0, 2)) / count, (right & counts).sum((0, 2)) / count
    return Loss(cross_entropy.mean(), cross_entropy.detach(), accuracy)
