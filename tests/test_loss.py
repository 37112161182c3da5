"""The loss against a computation by hand."""

import math

import pytest
import torch

from accompgen.training.loss import stage_loss, token_cross_entropy


def hand_made():
    """Two frames, two codebooks, two ids: logits [1, 2, 2, 2], target [1, 2, 2]."""
    logits = torch.tensor([[[[0.0, 0.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, 3.0]]]], requires_grad=True)
    return logits, torch.tensor([[[0, 1], [0, 0]]])  # codebook 0: ids 0, 1; codebook 1: ids 0, 0


def softplus(x):
    return math.log1p(math.exp(x))


def test_cross_entropy_and_accuracy_by_hand():
    logits, target = hand_made()
    result = stage_loss(logits, target)
    first = (math.log(2) + softplus(2.0)) / 2  # p(0 | 0, 0) = 1/2, then -log sigmoid(-2)
    second = (softplus(-1.0) + softplus(3.0)) / 2
    assert result.cross_entropy.tolist() == pytest.approx([first, second], rel=1e-6)
    assert result.loss.item() == pytest.approx((first + second) / 2, rel=1e-6)
    assert result.accuracy.tolist() == [0.5, 0.5]
    result.loss.backward()
    assert logits.grad[0, 0, 0].tolist() == pytest.approx([-0.125, 0.125])  # (p - 1) / 4, p / 4


def test_masked_tokens_do_not_count_and_codebooks_weigh_the_same():
    logits, target = hand_made()
    mask = torch.tensor([[[True, False], [True, True]]])
    result = stage_loss(logits, target, mask)
    second = (softplus(-1.0) + softplus(3.0)) / 2
    assert result.cross_entropy.tolist() == pytest.approx([math.log(2), second], rel=1e-6)
    assert result.loss.item() == pytest.approx((math.log(2) + second) / 2, rel=1e-6)
    result.loss.backward()
    assert logits.grad[0, 1, 0].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="without a single token"):
        stage_loss(logits, target, torch.zeros_like(mask))


def test_what_is_not_known_does_not_count():
    logits, target = hand_made()
    target[0, 0, 1] = -1
    result = stage_loss(logits, target)
    assert result.cross_entropy[0].item() == pytest.approx(math.log(2), rel=1e-6) and result.accuracy[0] == 1.0
    result.loss.backward()
    assert logits.grad[0, 1, 0].tolist() == [0.0, 0.0] and logits.grad[0, 0, 0].abs().sum() > 0
    assert token_cross_entropy(logits, target)[0, 0].tolist() == pytest.approx([math.log(2), 0.0])
    assert stage_loss(logits, torch.full_like(target, -1)).loss.item() == 0.0


def test_shapes_that_do_not_belong_together_are_refused():
    logits, target = hand_made()
    with pytest.raises(ValueError, match=r"must be \[B, Q, F\]"):
        token_cross_entropy(logits[:, :1], target)
