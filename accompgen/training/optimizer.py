"""The stages' optimizer: orthogonalised steps for the matrices inside the blocks, AdamW for everything else."""

import torch

from accompgen.model.attention import Linear, RelativeBias


class MuonAdamW(torch.optim.Optimizer):
    """torch's Muon (Jordan et al. 2024) and AdamW as one optimizer, with one list of parameter groups.

    Muon replaces a matrix's momentum by the nearest orthogonal matrix, so that a step is as long in rare directions as in
    common ones. Its steps have the RMS of AdamW's (Liu et al. 2025, arXiv 2502.16982), so that both take the same `lr`.

    Args:
        matrices: parameters of two dimensions, for Muon.
        groups: parameter groups of AdamW, not empty.
        lr, weight_decay: of Muon; `lr` of the groups, too, which have decays of their own.
        betas: of AdamW. Muon's momentum is the usual 0.95.
    """

    def __init__(self, matrices: list, groups: list[dict], lr: float, weight_decay: float, betas: tuple[float, float]):
        muon = torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
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
