"""Muon and AdamW as one optimizer: orthogonal steps where they belong, AdamW's own elsewhere, and a state that goes on."""

import copy

import pytest
import torch

from accompgen.config import ConfigError, StageConfig, TrainConfig
from accompgen.model.stage_lm import StageLM
from accompgen.training.optimizer import MuonAdamW, orthogonal, sorted_parameters

SIZES = dict(width=16, layers=1, heads=2, context_layers=1, semantic_vocab=20)


def make(weight_decay=0.0):
    torch.manual_seed(0)
    matrix, table = torch.nn.Parameter(torch.randn(6, 4)), torch.nn.Parameter(torch.randn(5, 3))
    return matrix, table, MuonAdamW([matrix], [{"params": [table], "weight_decay": weight_decay}], 0.01, 0.0, (0.9, 0.95))


def give_gradients(matrix, table, seed):
    torch.manual_seed(seed)
    for parameter in (matrix, table):
        parameter.grad = torch.randn_like(parameter)


def test_a_matrix_moves_as_far_in_every_direction_and_a_table_as_adamw_moves_it():
    matrix, table, optimizer = make(weight_decay=0.1)
    before, other = matrix.detach().clone(), torch.nn.Parameter(table.detach().clone())
    plain = torch.optim.AdamW([other], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    for seed in range(3):
        give_gradients(matrix, table, seed)
        matrix.grad[:, 0] *= 20  # one direction is common, three are rare
        other.grad = table.grad.clone()
        start = matrix.detach().clone()
        optimizer.step()
        plain.step()
    assert torch.allclose(table, other, atol=1e-6)
    lengths = torch.linalg.svdvals((matrix - start).detach())
    assert lengths.min() > 0.5 * lengths.max()  # of the gradient they differ twentyfold
    assert (matrix - start).square().mean().sqrt().item() == pytest.approx(0.2 * 0.01, rel=0.4)  # RMS of AdamW's steps
    assert not torch.equal(matrix, before)


def test_orthogonal_steps_have_one_size_in_every_direction():
    generator = torch.Generator().manual_seed(0)
    common = torch.ones(8, 40) + 0.1 * torch.randn(8, 40, generator=generator)  # all numbers go one way
    for matrix in (common, common.T):
        values = torch.linalg.svdvals(orthogonal(matrix))
        assert len(values) == 8 and values.min() > 0.6 and values.max() < 1.3


def test_a_restored_optimizer_goes_on_as_if_never_stopped():
    matrix, table, optimizer = make()
    for seed in range(3):
        give_gradients(matrix, table, seed)
        optimizer.step()
    kept, weights = copy.deepcopy(optimizer.state_dict()), [p.detach().clone() for p in (matrix, table)]

    def go_on(matrix, table, optimizer):
        for group in optimizer.param_groups:
            group["lr"] = 0.02
        for seed in range(5, 8):
            give_gradients(matrix, table, seed)
            optimizer.step()
        return matrix.detach(), table.detach()

    straight = go_on(matrix, table, optimizer)
    matrix, table, fresh = make()
    for parameter, weight in zip((matrix, table), weights):
        parameter.data.copy_(weight)
    fresh.load_state_dict(kept)
    assert all(torch.equal(a, b) for a, b in zip(straight, go_on(matrix, table, fresh)))


def test_the_rate_of_every_group_reaches_both_parts():
    matrix, table, optimizer = make()
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    give_gradients(matrix, table, 0)
    before = [matrix.detach().clone(), table.detach().clone()]
    optimizer.step()
    assert torch.equal(matrix, before[0]) and torch.equal(table, before[1])


def test_matrices_of_the_blocks_are_orthogonalised_gains_and_biases_do_not_decay():
    model = StageLM(StageConfig("semantic", **SIZES))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    inner, decaying, still = ([names[id(p)] for p in kind] for kind in sorted_parameters(model))
    assert len(inner) == 8
    assert all(name.endswith(("qkv.weight", "out.weight", "expand.weight", "contract.weight")) for name in inner)
    assert set(decaying) == {"token_embedding.weight", "stream_embedding.weight", "codebook_embedding.weight", "heads"}
    assert all(name.endswith(("gain", ".bias", "relative_bias.table")) for name in still)
    assert len(inner) + len(decaying) + len(still) == len(names)


def test_shared_out_matrices_are_refused():
    with pytest.raises(ConfigError, match="zero_stage is 1; set it to 0"):
        TrainConfig(StageConfig("semantic", **SIZES), "shards", optimizer="muon", zero_stage=1)
