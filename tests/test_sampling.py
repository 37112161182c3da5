"""Sampling: exact frequencies by a grid of uniform numbers, and messages that name the range."""

import math

import pytest
import torch

from accompgen.generation.sampling import PUBLISHED, Sampling, candidates, guide, sample

LOGITS = torch.tensor([1.0, -2.0, 3.0, 0.5, 2.0, -1.0])


def frequencies(logits, points=20_000, **choices):
    """Share of each id over a regular grid of uniform numbers: for an inverse distribution it is the probability."""
    settings = Sampling(**(dict(temperature=1.0, top_k=0) | choices)).over(PUBLISHED)
    ids = sample(logits.expand(points, -1), (torch.arange(points) + 0.5) / points, settings)
    return torch.bincount(ids, minlength=len(logits)) / points


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_ids_come_as_often_as_the_softmax_says():
    close(frequencies(LOGITS), LOGITS.softmax(0))


def test_temperature_divides_the_logits():
    close(frequencies(LOGITS, temperature=0.5), (LOGITS / 0.5).softmax(0))


def test_temperature_zero_is_greedy():
    assert sample(torch.stack([LOGITS, -LOGITS]), torch.tensor([0.99, 0.99]), Sampling(temperature=0)).tolist() == [2, 1]


@pytest.mark.parametrize("k, kept", [(1, [2]), (2, [2, 4]), (4, [0, 2, 3, 4]), (6, range(6)), (1000, range(6))])
def test_top_k_keeps_the_likeliest_in_proportion(k, kept):
    expected = torch.zeros(6)
    expected[list(kept)] = LOGITS.softmax(0)[list(kept)]
    close(frequencies(LOGITS, top_k=k), expected / expected.sum())


@pytest.mark.parametrize("p, kept", [(0.01, [2]), (0.6, [2]), (0.7, [2, 4]), (0.9, [0, 2, 4]), (1.0, range(6))])
def test_top_p_keeps_the_fewest_that_reach_p(p, kept):
    probability = LOGITS.softmax(0)  # .609 .224 .082 .050 .018 .011 ... sorted: ids 2 4 0 3 5 1
    expected = torch.zeros(6)
    expected[list(kept)] = probability[list(kept)]
    close(frequencies(LOGITS, top_p=p), expected / expected.sum())


def test_top_p_counts_what_top_k_left():
    values = candidates(LOGITS, top_k=2, top_p=0.7)  # of ids 2 and 4 the first alone has .73
    assert values.tolist() == [-math.inf, -math.inf, 3, -math.inf, -math.inf, -math.inf]


def test_ids_as_likely_as_the_last_candidate_are_kept():
    logits = torch.tensor([0.0, 2.0, 1.0, 1.0, 1.0])
    assert candidates(logits, top_k=2, top_p=1.0).tolist() == [-math.inf, 2, 1, 1, 1]
    # probabilities .06, .44, .16, .16, .16
    assert candidates(logits, top_k=0, top_p=0.6).tolist() == [-math.inf, 2, 1, 1, 1]


def test_ids_come_in_their_own_order():
    """A growing number draws growing ids, whatever their logits."""
    settings = Sampling(temperature=1.0, top_k=4).over(PUBLISHED)
    ids = sample(LOGITS.expand(1000, -1), torch.arange(1000) / 1000, settings)
    assert ids.diff().min() == 0 and ids.unique().tolist() == [0, 2, 3, 4]


@pytest.mark.parametrize("choices", [{}, {"top_k": 3}, {"top_p": 0.5}])
@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_the_ends_of_the_interval_draw_a_token_that_may_be_drawn(choices, uniform):
    logits = torch.tensor([-math.inf, 0.0, 0.0, 0.0, -math.inf])
    drawn = sample(logits, torch.tensor(uniform, dtype=torch.float64), Sampling(**({"top_k": 0} | choices)).over(PUBLISHED))
    assert drawn.item() in (1, 2, 3)


def test_rows_do_not_touch_each_other():
    generator = torch.Generator().manual_seed(0)
    logits, uniform = torch.randn(3, 4, 30, generator=generator), torch.rand(3, 4, generator=generator)
    ids = sample(logits, uniform, Sampling(top_k=5).over(PUBLISHED))
    assert ids.shape == (3, 4)
    for index in [(0, 0), (2, 3), (1, 2)]:
        assert ids[index] == sample(logits[index], uniform[index], Sampling(top_k=5).over(PUBLISHED))


def test_guidance_goes_from_null_through_conditional_and_beyond():
    conditional, null = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0])
    assert guide(conditional, null, 0).tolist() == [0, 4]
    assert guide(conditional, null, 1).tolist() == [1, 2]
    assert guide(conditional, null, 3).tolist() == [3, -2]


def test_published_defaults():
    off = dict(listening=0.0, consonance=0.0, pulse=0.0, melody=0.0, reading=0.0)
    assert PUBLISHED == Sampling(temperature=0.9, top_k=250, top_p=1.0, guidance=3.0, **off)


@pytest.mark.parametrize(
    "choice, words",
    [
        ({"temperature": -0.1}, "temperature is -0.1; expected 0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"top_k": -1}, "top_k is -1; expected a whole number"),
        ({"top_k": 2.5}, "top_k is 2.5"),
        ({"top_p": 0.0}, "top_p is 0.0; expected more than 0"),
        ({"top_p": 1.01}, "top_p is 1.01"),
        ({"guidance": -1.0}, "guidance is -1.0; expected 0 or more"),
        ({"guidance": math.inf}, "guidance is inf"),
        ({"listening": -1.0}, "listening is -1.0; expected 0 .off. or more"),
        ({"consonance": -1.0}, "consonance is -1.0; expected 0 .off. or more"),
        ({"pulse": math.inf}, "pulse is inf; expected 0 .off. or more"),
        ({"melody": -1.0}, "melody is -1.0; expected 0 .off. or more"),
    ],
)
def test_values_out_of_range_are_named(choice, words):
    with pytest.raises(ValueError, match=words):
        Sampling(**choice)


def test_what_is_not_given_is_the_checkpoints():
    own = Sampling(guidance=4.0, pulse=3.0).over(PUBLISHED)
    assert Sampling(temperature=0.8, pulse=0.0).over(own) == Sampling(0.8, 250, 1.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert Sampling().over(own) == own
