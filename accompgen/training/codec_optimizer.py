"""The codec's optimiser: orthogonal steps for the inner convolutions, Adam for the first, the last and the biases.

ELUs give inputs of one sign, so an Adam step moves all numbers of a filter the same way and its output by as much as it has
inputs: wide layers overshoot, their outputs grew from 1 to 1000 within 600 steps and learning stopped. An orthogonal step
has the same size in every direction, and a weight that keeps its norm cannot grow.
"""

import torch

from accompgen.training.codec_init import CONVOLUTIONS
from accompgen.training.optimizer import orthogonal

BETAS = (0.9, 0.98)
MOMENTUM = 0.9


class CodecOptimizer(torch.optim.Optimizer):
    """Orthogonalised momentum (Jordan et al. 2024, "Muon") with weights of fixed norm (Karras et al. 2024), and Adam.

    `lr` is the relative change of an inner weight's spectral norm in one step, and for Adam that of each number, in units of
    half the RMS of its weight, or of a fixed size for biases.
    """

    def __init__(self, network: torch.nn.Module, lr: float):
        modules = [m for half in (network.encoder, network.decoder) for m in half.modules() if isinstance(m, CONVOLUTIONS)]
        inner = [module.weight for module in modules[1:-1]]
        chosen = {id(weight) for weight in inner}
        groups = [{"params": inner, "size": 0.0}]
        for parameter in network.parameters():
            if parameter.ndim > 1 and id(parameter) not in chosen:
                groups.append({"params": [parameter], "size": 0.5 * parameter.detach().square().mean().sqrt().item()})
            elif parameter.ndim == 1:
                groups.append({"params": [parameter], "size": 0.005 if parameter is modules[-1].bias else 0.05})
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    if group["size"]:
                        self._adam_step(weight, group["lr"] * group["size"])
                    else:
                        self._orthogonal_step(weight, group["lr"])

    def _orthogonal_step(self, weight, rate):
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
            state["norm"] = weight.norm()
        state["momentum"].lerp_(weight.grad, 1 - MOMENTUM)
        direction = weight.grad.lerp(state["momentum"], MOMENTUM).flatten(1)  # [m, n]
        rows, columns = direction.shape
        size = state["norm"] * (rows**-0.5 + columns**-0.5)  # spectral norm of a random matrix of this Frobenius norm
        weight.sub_(rate * size * orthogonal(direction).view_as(weight))
        weight.mul_(state["norm"] / weight.norm())

    def _adam_step(self, weight, rate):
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros(())
            state["first"], state["second"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        state["first"].lerp_(weight.grad, 1 - BETAS[0])
        state["second"].lerp_(weight.grad.square(), 1 - BETAS[1])
        first, second = (state[name] / (1 - beta ** state["step"]) for name, beta in zip(("first", "second"), BETAS))
        weight.sub_(rate * first / (second.sqrt() + 1e-8))
