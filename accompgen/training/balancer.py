"""A loss balancer: the weight of a loss is its share of the gradient, whatever its scale.

Source: Défossez et al. 2022, arXiv 2210.13438, section 3.4, equation 5.
"""

import math

import torch

SMALLEST = 1e-12  # average norms below it count as it does


class LossBalancer:
    """Backpropagates losses of one output, each with a gradient of the size that its weight says.

    Of losses l_i of the output y, with gradients g_i = dl_i / dy and weights w_i, there goes back
    into the model

        sum over i of  R * w_i / (sum of all w) * g_i / <|g_i|>

    with <|g_i|> a moving average, over the steps, of the gradient's norm. The norm is that of an
    item of the batch, mean over the items, so that R does not depend on the batch size. A loss that
    joins late has an average of its own steps alone.

    Args:
        decay: of the moving averages; published: .999.
        reference: R; published: 1.
    """

    def __init__(self, decay: float = 0.999, reference: float = 1.0):
        if not 0 <= decay < 1 or not reference > 0:
            raise ValueError(
                f"decay is {decay}, reference {reference}; expected 0 <= decay < 1, reference > 0"
            )
        self.decay, self.reference = decay, reference
        # decayed sums of the norms, and of the steps: their ratio is the average
        self.sums, self.counts = {}, {}

    def backward(self, losses: dict, output: torch.Tensor, weights: dict) -> dict[str, float]:
        """One backward pass through what made `output`; it adds to the gradients of the parameters.

        Parameters that only the losses depend on (a discriminator's) get no gradient. Where a model
        has several outputs, concatenate them over the batch, and let the losses take their parts.

        Args:
            losses: name -> scalar, each a function of `output`.
            output: [B, ...] of the model, part of the graph.
            weights: name -> 0 or more; those of losses that are not given do not count.

        Returns:
            The averages of the norms by name, for the log.

        Raises:
            ValueError: no loss, no weight for a loss, a weight below 0, all 0, or a loss that does
                not depend on `output`.
            FloatingPointError: a gradient is not finite; the averages stay as they were.
        """
        _check_weights(losses, weights)
        gradients = {}
        for name, loss in losses.items():
            # losses may share parts of the graph with each other and with the model
            (gradient,) = torch.autograd.grad(loss, output, retain_graph=True, allow_unused=True)
            if gradient is None:
                raise ValueError(f"the loss {name!r} does not depend on the output to balance")
            gradients[name] = gradient
        averages = self._update(gradients)
        whole = sum(weights[name] for name in losses)
        balanced = 0
        for name, gradient in gradients.items():
            share = weights[name] / whole
            balanced = balanced + self.reference * share / max(averages[name], SMALLEST) * gradient
        output.backward(balanced)
        return averages

    def _update(self, gradients):
        """Take this step's norms into the averages, and return these."""
        rows = [gradient.reshape(len(gradient), -1).float() for gradient in gradients.values()]
        norms = torch.stack([row.norm(dim=1).mean() for row in rows]).tolist()
        norms = dict(zip(gradients, norms))
        broken = [name for name, norm in norms.items() if not math.isfinite(norm)]
        if broken:
            raise FloatingPointError(
                f"the gradient of the loss {broken[0]!r} is not finite; lower the learning rate"
            )
        for name, norm in norms.items():
            self.sums[name] = self.decay * self.sums.get(name, 0.0) + norm
            self.counts[name] = self.decay * self.counts.get(name, 0.0) + 1.0
        return {name: self.sums[name] / self.counts[name] for name in norms}

    def state_dict(self) -> dict:
        """The moving averages, as plain numbers."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict) -> None:
        """Go on from what `state_dict` gave."""
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])


def _check_weights(losses, weights):
    missing = [name for name in losses if name not in weights]
    if not losses or missing:
        what = f"no weight for the loss {missing[0]!r}" if missing else "no loss"
        raise ValueError(f"{what}; losses are {list(losses)}, weights are of {list(weights)}")
    given = {name: weights[name] for name in losses}
    if min(given.values()) < 0 or not sum(given.values()) > 0:
        raise ValueError(f"weights are {given}; expected numbers of 0 or more, not all 0")
