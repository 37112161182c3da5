"""Timbre: what was said before a place gives its gains, however it comes in pieces; gains run in
lines between places."""

import pytest
import torch

from accompgen.tokens.timbre import MOST_DB, NEAR_STEPS, STEP_FRAMES, Past, Timbre, between

VALUES, STEPS = 3, 12


def draw_values(steps=STEPS):
    return torch.randn(
        1, steps * STEP_FRAMES, VALUES, generator=torch.Generator().manual_seed(steps)
    )


def past_of(values, *cuts, known=None):
    """A past that hears values in pieces, cut at some steps."""
    past, ends = Past(), [*cuts, values.shape[1] // STEP_FRAMES]
    for begin, end in zip([0, *cuts], ends):
        part = slice(begin * STEP_FRAMES, end * STEP_FRAMES)
        there = (
            torch.ones(part.stop - part.start, dtype=torch.bool) if known is None else known[part]
        )
        past.add(values[:, part], there)
    return past


def test_means_and_deviations_are_those_of_the_frames_before_a_place():
    values = draw_values()
    found = past_of(values).means(torch.tensor([5, 12]), 4)
    for row, place in zip(found[0], (5, 12)):
        frames = values[0, (place - 4) * STEP_FRAMES : place * STEP_FRAMES]
        torch.testing.assert_close(row, torch.cat([frames.mean(0), frames.std(0, correction=0)]))


def test_pieces_and_what_is_forgotten_change_nothing():
    values, places = draw_values(), torch.tensor([9, 11])
    whole, pieces = past_of(values), past_of(values, 1, 2, 7)
    assert pieces.next == STEPS
    pieces.forget(9 - 5)
    assert pieces.totals.shape[1] == STEPS - 4 + 1
    torch.testing.assert_close(pieces.means(places, 5), whole.means(places, 5), rtol=0, atol=1e-6)


def test_a_song_goes_on_as_it_begins_and_ends():
    values, known = draw_values(), torch.arange(STEPS * STEP_FRAMES) < 4 * STEP_FRAMES + 2
    past = past_of(values, known=known)
    means = past.means(torch.tensor([-1, 0, 1, 5, 6, 12]), 3)[0]
    assert torch.equal(means[0], means[2]) and torch.equal(means[1], means[2])
    assert torch.equal(means[3], means[4]) and torch.equal(means[3], means[5])
    torch.testing.assert_close(
        means[3, :VALUES], values[0, 2 * STEP_FRAMES : 4 * STEP_FRAMES + 2].mean(0)
    )


def test_near_and_far_are_told_apart_and_nothing_is_said_before_it_has_learned():
    timbre = Timbre(VALUES, 4, 10 * STEP_FRAMES)
    assert timbre.steps == 10
    values = draw_values()
    features = timbre.features(past_of(values), torch.tensor([STEPS]))
    assert features.shape == (1, 1, 4 * VALUES) and not timbre(features).any()
    near, far = features[0, 0].chunk(2)
    torch.testing.assert_close(near[:VALUES], values[0, -NEAR_STEPS * STEP_FRAMES :].mean(0))
    torch.testing.assert_close(far[:VALUES], values[0, -10 * STEP_FRAMES :].mean(0))


def test_no_gain_is_larger_than_its_bound():
    timbre = Timbre(VALUES, 4, STEP_FRAMES)
    torch.nn.init.constant_(timbre.out.bias, 50.0)
    gains = timbre(torch.zeros(2, 5, 4 * VALUES))
    assert gains.shape == (2, 5, 2, 4) and 20 * gains.exp().log10().max().item() == pytest.approx(
        MOST_DB
    )


def test_gains_run_in_lines_between_places():
    gains = torch.arange(4.0).view(1, 4, 1)  # 0 at frame 30, 1 at 45, ...
    found = between(gains, 2, 33, 63, 2)[0, :, 0]
    expected = (33 + (torch.arange(60) + 0.5) / 2 - 30) / STEP_FRAMES
    torch.testing.assert_close(found, expected)
