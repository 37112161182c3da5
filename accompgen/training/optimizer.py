"""The stages' optimizer: orthogonalised steps for the matrices inside the blocks, AdamW for everything else; schedules."""

import math

import torch

from accompgen.model.attention import Linear, RelativeBias

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # of the quintic, Jordan et al. 2024; five rounds bring singular values to about 1
ROUNDS = 5


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Roughly the orthogonal matrix nearest to a matrix [A, B]: its singular values are between 0.7 and 1.2.

    Source: Jordan et al. 2024. Computed in bfloat16 on GPUs and in float32 elsewhere: processors without bfloat16 products
    emulate them, which made a step of a small stage take 5 s instead of 1 s.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16() if matrix.is_cuda else matrix.float()
    x = x.T if matrix.shape[0] > matrix.shape[1] else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024): a matrix moves along its momentum made orthogonal, as far in rare directions as in common.

    Steps have the RMS of AdamW's (Liu et al. 2025, arXiv 2502.16982), so that both take the same `lr`.
    Written out since torch's computes in bfloat16 alone (see `orthogonal`).
    """

    def __init__(self, matrices: list, lr: float, weight_decay: float, momentum: float = 0.95):
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix)
                buffer = state["momentum_buffer"]
                buffer.lerp_(matrix.grad, 1 - group["momentum"])
                update = orthogonal(matrix.grad.lerp(buffer, group["momentum"]))  # Nesterov's momentum
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(update, alpha=-group["lr"] * 0.2 * max(matrix.shape) ** 0.5)


class MuonAdamW(torch.optim.Optimizer):
    """Muon and AdamW as one optimizer, with one list of parameter groups.

    Args:
        matrices: parameters of two dimensions, for Muon.
        groups: parameter groups of AdamW, not empty.
        lr, weight_decay: of Muon; `lr` of the groups, too, which have decays of their own.
        betas: of AdamW.
    """

    def __init__(self, matrices: list, groups: list[dict], lr: float, weight_decay: float, betas: tuple[float, float]):
        muon = Muon(matrices, lr, weight_decay)
        self.parts = (muon, torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True))
        super().__init__([{"params": group["params"]} for part in self.parts for group in part.param_groups], {"lr": lr})
        self.param_groups = [group for part in self.parts for group in part.param_groups]  # the same, not copies

    def step(self, closure=None):
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict) -> None:
        for part, kept in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(kept)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def sorted_parameters(model: torch.nn.Module) -> tuple[list, list, list]:
    """What is learned: the matrices of linear layers; other arrays that decay (embeddings, heads); gains, biases and the tables
    of the relative bias, which do not decay."""
    inner = {id(m.weight) for m in model.modules() if isinstance(m, Linear)}
    free = {id(p) for m in model.modules() if isinstance(m, RelativeBias) for p in m.parameters()}
    kinds = ([], [], [])
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            still = id(parameter) in free or parameter.ndim < 2 or name.endswith("gain")
            kinds[2 if still else 0 if id(parameter) in inner else 1].append(parameter)
    return kinds


def learning_rate(config, step: int, share: float) -> float:
    """The rate of step `step` (from 0): linear warm-up; a cosine over `share` (0 to 1 of the run) to final_learning_rate.

    config: with learning_rate, final_learning_rate (a share of it) and warmup_steps.
    """
    return warmed_up(config, step, 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, share)))))


def warmed_up(config, step: int, height: float) -> float:
    """The rate of step `step` (from 0) of a schedule that stands at `height`, after a linear warm-up.

    height: 1 is learning_rate, 0 is final_learning_rate (a share of it).
    """
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    low = config.final_learning_rate
    return config.learning_rate * warm * (low + (1 - low) * height)
