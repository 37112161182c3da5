"""Validation figures against models whose behaviour is known."""

import math

import numpy as np
import pytest
import torch
from fake_shards import BINS, VOCAB, make_shards

from accompgen.config import StageConfig, TrainConfig
from accompgen.data.shards import open_shards
from accompgen.training import listening

SIZES = dict(semantic_vocab=VOCAB, bins=BINS, coarse_codebooks=2, fine_codebooks=2)
TABLE = np.random.default_rng(1).permutation(VOCAB)  # how the fake accompaniment follows the vocal


@pytest.fixture
def held_out(tmp_path):
    model = StageConfig("semantic", width=16, layers=1, heads=2, **SIZES)
    settings = TrainConfig(model, "shards", window_seconds=0.8, validation_windows=16)
    return listening.prepare(open_shards(make_shards(tmp_path / "shards", songs=16, blocks=200)), settings)


def follower(context, target, prefix_ids):
    """A model that hears the vocal of the frame and gives what belongs to it 0.9."""
    wanted = torch.from_numpy(TABLE)[context["vocal"][:, 0]]  # [B, F]
    p = torch.full((*wanted.shape, VOCAB), 0.1 / (VOCAB - 1)).scatter(-1, wanted[..., None], 0.9)
    return p.log()[:, :, None]  # [B, F, 1, V]


def deaf(context, target, prefix_ids):
    return torch.zeros(*target[:, 0].shape, 1, VOCAB)


def test_a_model_that_follows_the_vocal_gains_by_it_and_suffers_when_it_is_late(held_out):
    result = listening.validate(follower, "cpu", held_out, batch_size=5)
    wrong = -math.log(0.1 / (VOCAB - 1)) + math.log(0.9)  # what a wrong frame costs more than a right one
    assert result["cross_entropy"] == pytest.approx(-math.log(0.9), abs=1e-4)
    assert result["accuracy"] == [1.0]
    shuffled = held_out.contexts["shuffled"]["vocal"] != held_out.contexts["true"]["vocal"]
    gain = result["gain"]["shuffled"]
    assert gain["all"][0] == pytest.approx(wrong * shuffled.float().mean().item(), abs=1e-3)
    assert gain["per_second"][0] == pytest.approx(50 * gain["all"][0], abs=1e-2)
    assert gain["all"][0] > 10 * gain["all"][1] > 0
    late = held_out.contexts["vocal_late_0.24s"]["vocal"] != held_out.contexts["true"]["vocal"]
    assert result["vocal_late"]["0.24"][0] == pytest.approx(wrong * late.float().mean().item(), abs=1e-3)
    assert set(result["vocal_late"]) == {"0.24", "1", "4"}
    text = listening.describe(result)
    assert "gain over shuffled +" in text and "accuracy 1.000" in text and f"per second {gain['per_second'][0]:+.2f}" in text


def test_a_vocal_sung_higher_costs_a_model_that_follows_it_where_the_shards_hold_one(tmp_path, held_out):
    model = StageConfig("semantic", width=16, layers=1, heads=2, **SIZES)
    settings = TrainConfig(model, "shards", window_seconds=0.8, validation_windows=6)
    higher = listening.prepare(open_shards(make_shards(tmp_path / "higher", songs=8, blocks=200, transposed=True)), settings)
    assert torch.equal(higher.contexts["vocal_transposed_1"]["vocal"], (higher.contexts["true"]["vocal"] + 1) % VOCAB)
    result = listening.validate(follower, "cpu", higher, batch_size=5)
    wrong = -math.log(0.1 / (VOCAB - 1)) + math.log(0.9)
    assert result["vocal_transposed"] == {"1": [pytest.approx(wrong, abs=1e-3), 0.0]}  # every frame is another unit
    assert f"vocal 1 semitones higher +{wrong:.4f}" in listening.describe(result)
    assert listening.validate(deaf, "cpu", held_out, batch_size=16)["vocal_transposed"] == {}


def test_the_windows_of_several_processes_are_put_together_in_their_order(held_out):
    true = held_out.contexts["true"]
    parts = [listening._score(follower, "cpu", true, held_out, range(rank, 16, 3), 2) for rank in range(3)]
    assert [len(nats) for nats, _ in parts] == [6, 5, 5]
    whole = listening._score(follower, "cpu", true, held_out, range(16), 16)
    for mine, expected in zip(zip(*parts), whole):
        assert torch.equal(listening._woven(list(mine)), expected)
    calls = []
    result = listening.validate(follower, "cpu", held_out, 5, 0, 1, lambda value: calls.append(value) or [value])
    assert result == listening.validate(follower, "cpu", held_out, 5) and len(calls) == len(held_out.contexts)


def test_a_deaf_model_gains_nothing(held_out):
    result = listening.validate(deaf, "cpu", held_out, batch_size=16)
    assert result["cross_entropy"] == pytest.approx(math.log(VOCAB), abs=1e-5)
    assert all(figure == [0.0, 0.0] for figure in result["gain"]["shuffled"].values())
    assert all(cost == [0.0, 0.0] for cost in result["vocal_late"].values())


def test_gains_are_counted_where_they_are_named():
    gain = torch.zeros(2, 1, 100)
    gain[0, 0, 10], gain[1, 0, 60] = 1.0, 4.0  # in the first second; after it
    changed, known = torch.zeros(2, 100, dtype=torch.bool), torch.ones(2, 1, 100, dtype=torch.bool)
    changed[1, 60] = changed[1, 70] = True
    figures = listening._gains(gain, known, changed, hz=50)
    assert figures["all"][0] == pytest.approx(0.025) and figures["first_second"][0] == pytest.approx(0.01)
    assert figures["changes"] == [2.0, 0.0]  # one window alone has changes
    assert listening._gains(gain, known, torch.zeros_like(changed), 50)["changes"] is None


def test_the_bigram_is_the_smoothed_table_of_counts():
    counts = np.array([[8, 2], [1, 9]])
    single = np.array([9, 11])
    ids = np.array([[0, 0, 1]])
    prior = (single + 1) / 22
    best = min(
        -np.log((8 + k * prior[0]) / (10 + k)) - np.log((2 + k * prior[1]) / (10 + k)) for k in listening.PRIOR_STRENGTHS
    )
    assert listening._bigram(counts, single, ids) == pytest.approx((best - np.log(prior[0])) / 3)


def test_the_bigram_knows_that_units_are_held(held_out, tmp_path):
    assert 0.3 < held_out.bigram[0] < 1.2  # held for 3 to 8 frames: far below log 12 = 2.48, not free


def test_chords_that_are_not_known_count_nowhere(tmp_path):
    """The chart of the fake band begins with five unknown blocks, and holds each chord for ten."""
    model = StageConfig("chart", graph="band", width=16, layers=1, heads=2, **SIZES)
    settings = TrainConfig(model, "shards", window_seconds=0.8, validation_windows=12)
    held_out = listening.prepare(open_shards(make_shards(tmp_path / "shards", songs=16, band=True)), settings)
    known = held_out.target >= 0
    assert (~known).any() and known.any(-1).all()

    def knowing(context, target, prefix_ids):
        """Gives the chord that is given 0.9, and anything where none is."""
        p = torch.full((*context["given"][:, 0].shape, 109), 0.1 / 108)
        return p.scatter(-1, context["given"][:, 0].clamp(min=0)[..., None], 0.9).log()[:, :, None]

    result = listening.validate(knowing, "cpu", held_out, batch_size=5)
    assert result["cross_entropy"] == pytest.approx(-math.log(0.9), abs=1e-4) and result["accuracy"] == [1.0]
    wrong = -math.log(0.1 / 108) + math.log(0.9)
    other = held_out.contexts["shuffled_given"]["given"].clamp(min=0) != held_out.target
    share = ((other & known).sum((1, 2)) / known.sum((1, 2))).mean().item()
    assert result["gain"]["shuffled_given"]["all"][0] == pytest.approx(wrong * share, abs=1e-3)
    assert result["gain"]["shuffled_vocal"]["all"] == [0.0, 0.0]
    first = held_out.target[:, 0].numpy()
    assert 0 < held_out.bigram[0] < math.log(109)
    counts, single = np.full((109, 109), 1), np.full(109, 109)
    everywhere = listening._bigram(counts, single, np.where(first < 0, 0, first))
    assert listening._bigram(counts, single, first) == pytest.approx(everywhere) == pytest.approx(math.log(109))
