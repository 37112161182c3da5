"""A low sound at a higher rate is what it would be there, and a cut of it gives the same samples."""

import math

import pytest
import torch

from accompgen.tokens.upsampling import REACH, ROOM, upsampled

RATE = 48_000


def tones(rate, hertz, samples):
    time = torch.arange(samples, dtype=torch.float64) / rate
    return torch.stack([torch.sin(2 * math.pi * at * time + at).float() for at in hertz])


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_tone_is_the_same_at_the_higher_rate(factor):
    low = RATE // factor
    hertz = (40.0, 0.2 * low, low / (2 * ROOM))
    found = upsampled(tones(low, hertz, 700), factor)
    expected = tones(RATE, hertz, 700 * factor)
    edge = REACH * factor
    torch.testing.assert_close(found[:, edge:-edge], expected[:, edge:-edge], rtol=0, atol=2e-4)


def test_a_cut_gives_the_same_samples():
    low = torch.randn(2, 500, generator=torch.Generator().manual_seed(0))
    whole = upsampled(low, 8)
    part = upsampled(low[:, 101:377], 8)
    inside = slice(REACH * 8, -REACH * 8)
    torch.testing.assert_close(part[:, inside], whole[:, 808:3016][:, inside], rtol=0, atol=1e-6)


def test_samples_that_were_there_stay_and_a_factor_of_one_changes_nothing():
    low = torch.randn(1, 64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(upsampled(low, 4)[:, ::4], low, rtol=0, atol=1e-6)
    assert torch.equal(upsampled(low, 1), low)
