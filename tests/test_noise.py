"""Noise is drawn as phases of one amplitude, each as often as the others."""

import torch

from accompgen.tokens.noise import random_phases


def test_phases_are_four_and_all_alike_often():
    drawn = random_phases((3, 50, 161), torch.Generator().manual_seed(2))
    assert drawn.shape == (3, 50, 161) and drawn.dtype == torch.complex64
    parts = torch.view_as_real(drawn).flatten(0, -2)
    numbers, counts = parts.unique(dim=0, return_counts=True)
    assert numbers.tolist() == [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    assert (counts / drawn.numel() - 0.25).abs().max() < 0.01
    again = random_phases((3, 50, 161), torch.Generator().manual_seed(2))
    assert torch.equal(drawn, again)
    # neighbours do not know each other
    assert (drawn[..., 1:] * drawn[..., :-1].conj()).mean().abs() < 0.05
    assert (drawn[:, 1:] * drawn[:, :-1].conj()).mean().abs() < 0.05
