"""The loss balancer: weights are shares of the gradient; a saved state goes on exactly."""

import json

import pytest
import torch

from accompgen.training.balancer import LossBalancer


def gradient(balancer, losses, weights, output):
    """What the balancer sends back into the model, here the output itself."""
    output.grad = None
    balancer.backward({name: loss(output) for name, loss in losses.items()}, output, weights)
    return output.grad.clone()


def first(y):
    return y[:, 0].square().sum()


def second(y):
    return y[:, 1:].abs().sum()


def test_weights_decide_the_shares_whatever_the_scales():
    torch.manual_seed(0)
    output, shares = torch.randn(4, 5, requires_grad=True), []
    for scale in (1e-6, 1.0, 1e6):
        losses = {
            "a": lambda y, scale=scale: scale * first(y),
            "b": lambda y, scale=scale: second(y) / scale,
        }
        found = gradient(LossBalancer(), losses, {"a": 3.0, "b": 1.0}, output)
        # the two losses have gradients at different places, so each share can be read off
        shares.append([found[:, 0].abs().mean().item(), found[:, 1:].norm(dim=1).mean().item()])
    for share in shares:
        assert share == pytest.approx([0.75, 0.25], rel=1e-4)


def test_norms_are_averaged_over_the_steps():
    output = torch.ones(2, 1, requires_grad=True)
    balancer = LossBalancer(decay=0.5)
    for size in (1.0, 4.0):
        found = gradient(balancer, {"a": lambda y, size=size: size * y.sum()}, {"a": 1.0}, output)
    average = (0.5 * 1 + 4) / (0.5 + 1)  # no first value weighs more than its decay says
    torch.testing.assert_close(found, torch.full((2, 1), 4 / average))
    averages = balancer.backward({"a": output.sum()}, output, {"a": 1.0})
    assert averages["a"] == pytest.approx((0.25 + 2 + 1) / 1.75)


def test_the_size_does_not_depend_on_the_batch_and_follows_the_reference():
    for batch in (1, 8):
        output = torch.full((batch, 3), 2.0, requires_grad=True)
        balancer, losses = LossBalancer(reference=5.0), {"a": lambda y: y.square().sum()}
        found = gradient(balancer, losses, {"a": 7.0}, output)
        torch.testing.assert_close(found.norm(dim=1), torch.full((batch,), 5.0))


def test_one_pass_through_the_model_and_none_into_what_the_losses_hold():
    torch.manual_seed(0)
    model, judge = torch.nn.Linear(3, 4), torch.nn.Linear(4, 1)
    x = torch.randn(5, 3, requires_grad=True)
    passes = []
    model.register_full_backward_hook(lambda *_: passes.append(1))
    output = model(x)
    losses = {"judged": judge(output).mean(), "size": output.square().mean()}
    by_hand = {}
    for name, loss in losses.items():
        (by_hand[name],) = torch.autograd.grad(loss, output, retain_graph=True)
    LossBalancer().backward(losses, output, {"judged": 1.0, "size": 3.0, "later": 9.0})
    assert len(passes) == 1 and all(p.grad is None for p in judge.parameters())
    norms = {name: g.norm(dim=1).mean() for name, g in by_hand.items()}
    expected = 0.25 * by_hand["judged"] / norms["judged"] + 0.75 * by_hand["size"] / norms["size"]
    torch.testing.assert_close(model.weight.grad, expected.T @ x.detach())


def train(steps, balancer, model, optimizer, start=0):
    for step in range(start, steps):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        output = model(x)
        losses = {"a": (output - 1).square().mean()}
        if step > 3:  # one joins late
            losses["b"] = 100 * output.abs().mean()
        optimizer.zero_grad()
        balancer.backward(losses, output, {"a": 1.0, "b": 0.5})
        optimizer.step()


def test_resumed_equals_uninterrupted():
    def begin():
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        return LossBalancer(0.9), model, torch.optim.SGD(model.parameters(), lr=0.1)

    whole = begin()
    train(10, *whole)
    parts = begin()
    train(6, *parts)
    state = json.loads(json.dumps(parts[0].state_dict()))  # plain numbers, exact
    again = begin()
    again[0].load_state_dict(state)
    again[1].load_state_dict(parts[1].state_dict())
    train(7, *parts, start=6)  # what was handed out does not change when the first one goes on
    train(10, *again, start=6)
    assert torch.equal(whole[1].weight, again[1].weight)
    assert whole[0].state_dict() == again[0].state_dict()


def test_what_cannot_be_balanced_is_named():
    output, elsewhere = torch.ones(2, 3, requires_grad=True), torch.ones((), requires_grad=True)
    balancer = LossBalancer()
    for losses, weights, words in (
        ({}, {"a": 1.0}, "no loss"),
        ({"a": output.sum()}, {"b": 1.0}, "no weight for the loss 'a'"),
        ({"a": output.sum()}, {"a": -1.0}, "expected numbers of 0 or more"),
        ({"a": output.sum()}, {"a": 0.0}, "not all 0"),
        ({"a": 2 * elsewhere}, {"a": 1.0}, "'a' does not depend on the output"),
    ):
        with pytest.raises(ValueError, match=words):
            balancer.backward(losses, output, weights)
    with pytest.raises(FloatingPointError, match="the loss 'b' is not finite"):
        losses = {"a": output.sum(), "b": (output - 1).sqrt().sum()}
        balancer.backward(losses, output, {"a": 1.0, "b": 1.0})
    assert balancer.state_dict() == {"sums": {}, "counts": {}}
    # a loss at its end sends nothing back
    balancer.backward({"a": 0 * output.sum()}, output, {"a": 1.0})
    assert torch.equal(output.grad, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="decay is 1"):
        LossBalancer(decay=1.0)
