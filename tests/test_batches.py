"""Batches: every window lies inside its song, streams stay aligned, and nothing depends on stops or on the number of ranks."""

import dataclasses

import numpy as np
import pytest
import torch
from fake_shards import BINS, VOCAB, make_shards

from accompgen.config import ConfigError, StageConfig, TrainConfig
from accompgen.data import batches
from accompgen.data.shards import open_shards

SIZES = dict(semantic_vocab=VOCAB, bins=BINS, coarse_codebooks=2, fine_codebooks=2)
MODEL = StageConfig("coarse", width=16, layers=1, heads=2, **SIZES)


@pytest.fixture
def store(tmp_path):
    return open_shards(make_shards(tmp_path / "shards"))


def config(**values):
    return TrainConfig(MODEL, "shards", batch_size=3, window_seconds=0.4, **values)


def same(one, other):
    grids = [[*batch.context.values(), batch.target, batch.history, batch.drop, batch.hide] for batch in (one, other)]
    return one.windows == other.windows and all(torch.equal(a, b) for a, b in zip(*grids))


def test_an_epoch_is_cut_from_random_starts_into_windows_that_do_not_overlap(store):
    songs = [song for song in store.songs if song.split == "train"]
    plan = batches.plan_epoch(songs, 10, seed=0, epoch=0)
    starts = set()
    for number, song in enumerate(songs):
        blocks = np.sort(plan[plan[:, 0] == number, 1])
        assert len(blocks) in (4, 5) and blocks[0] < 10 and blocks[-1] + 10 <= song.blocks
        assert (np.diff(blocks) == 10).all()
        starts.add(int(blocks[0]))
    assert len(starts) > 1
    assert not np.array_equal(plan, plan[np.lexsort(plan.T[::-1])])  # shuffled
    assert not np.array_equal(plan[:20], batches.plan_epoch(songs, 10, seed=0, epoch=1)[:20])


def test_streams_of_a_window_sound_together(store):
    batch = batches.Batches(store, config()).next()
    assert {name: tuple(ids.shape) for name, ids in batch.context.items()} == {"vocal": (3, 1, 20), "semantic": (3, 1, 20)}
    assert batch.target.shape == (3, 2, 30) and batch.hide.shape == (3, 60)
    at = batch.context["semantic"][:, 0, torch.arange(30) * 2 // 3]  # how the fake codes are made
    assert torch.equal(batch.target[:, 0], at % BINS) and torch.equal(batch.target[:, 1], (2 * at + 1) % BINS)
    for row, window in enumerate(batch.windows):
        vocal = store.read(window.song)["vocal"][2 * window.first_block :][:20]
        assert batch.context["vocal"][row, 0].tolist() == vocal.tolist()


def test_fine_reads_coarse_and_predicts_the_codebooks_after_it(store):
    model = dataclasses.replace(MODEL, stage="fine")
    window = batches.Window(store.songs[0], 3)
    context, target = batches.read_windows(store, model, [window], 10)
    codes = torch.from_numpy(store.read(store.songs[0], 3, 10)["codes"].astype(np.int64))
    assert torch.equal(context["coarse"][0], codes[:2]) and torch.equal(target[0], codes[2:])


def test_a_resumed_stream_of_batches_goes_on_exactly(store):
    one = batches.Batches(store, config())
    for _ in range(9):  # 27 windows of about 27: into the next epoch
        one.next()
    other = batches.Batches(store, config())
    other.load_state(one.state())
    assert all(same(one.next(), other.next()) for _ in range(5))


def test_two_ranks_see_what_one_of_twice_the_batch_sees(store):
    double = dataclasses.replace(config(), batch_size=6)
    alone, ranks = batches.Batches(store, double), [batches.Batches(store, config(), rank, 2) for rank in range(2)]
    for _ in range(6):
        whole, parts = alone.next(), [rank.next() for rank in ranks]
        assert whole.windows == parts[0].windows + parts[1].windows
        assert torch.equal(whole.hide, torch.cat([part.hide for part in parts]))
        assert torch.equal(whole.target, torch.cat([part.target for part in parts]))
    assert alone.state() == ranks[0].state() == ranks[1].state()


def test_masks_have_the_asked_probabilities(store):
    source = batches.Batches(store, config(context_dropout=0.25, history_masking=0.5))
    seen = [source.next() for _ in range(150)]
    drop = torch.cat([batch.drop for batch in seen]).float()  # [windows, blocks]
    assert bool(((drop == 0) | (drop == 1)).all()) and torch.equal(drop.amin(1), drop.amax(1))  # of a window all or nothing
    share = torch.cat([batch.hide for batch in seen]).float().mean(1)  # of each window
    assert abs(drop.mean() - 0.25) < 0.08  # 450 draws: 3.9 standard errors
    assert abs((share > 0).float().mean() - 0.5) < 0.1
    hidden = share[share > 0]
    assert abs(hidden.mean() - 0.5) < 0.1 and hidden.std() > 0.2  # spread over 0 to 1, not always one half
    plain = batches.Batches(store, config(context_dropout=0.0, history_masking=0.0)).next()
    assert not plain.drop.any() and not plain.hide.any()


def test_spans_of_the_context_are_hidden(store):
    source = batches.Batches(store, config(context_dropout=0.0, context_masking=0.8))
    drop = torch.cat([source.next().drop for _ in range(300)]).float()  # [windows, blocks]
    assert abs(drop.mean() - 0.4) < 0.05  # shares from 0 to .8
    assert torch.allclose(drop.mean(0), drop.mean().expand(drop.shape[1]), atol=0.08)  # the edges as often as the middle
    starts = (drop[:, 1:] > drop[:, :-1]).nonzero()
    ended = [drop[row, first + 1 : first + 1 + batches.SPAN_BLOCKS] for row, first in starts.tolist()]
    assert ended and all(bool(span.all()) for span in ended)  # none is shorter, but where the window ends


def test_a_swapped_history_is_anothers_over_one_span_and_the_target_stays(store):
    plain, swapped = batches.Batches(store, config()), batches.Batches(store, config(history_swapping=0.5))
    altered, rows = 0, 0
    for _ in range(40):
        one, other = plain.next(), swapped.next()
        assert torch.equal(one.target, other.target) and torch.equal(one.history, one.target)
        for target, history in zip(other.target, other.history):
            frames = (target != history).any(0).nonzero()[:, 0].tolist()
            altered, rows = altered + bool(frames), rows + 1
            if frames:  # the fake codes differ from frame to frame, so that a foreign span has hardly an equal frame
                assert frames[-1] - frames[0] < 1.5 * len(frames) + 3
    assert 0.3 < altered / rows < 0.6


def test_a_late_vocal_is_the_vocal_of_before(store):
    song = store.songs[2]
    whole = store.read(song)["vocal"]
    windows = [batches.Window(song, 20), batches.Window(song, 2), batches.Window(song, 0)]
    context, _ = batches.read_windows(store, MODEL, windows, 10, delay_blocks=5)
    true, _ = batches.read_windows(store, MODEL, windows, 10)
    assert context["vocal"][0, 0].tolist() == whole[30:50].tolist()
    assert context["vocal"][1, 0].tolist() == [whole[0]] * 6 + whole[:14].tolist()
    assert torch.equal(context["semantic"], true["semantic"])
    far, _ = batches.read_windows(store, MODEL, windows[2:], 10, delay_blocks=25)
    assert far["vocal"][0, 0].tolist() == [whole[0]] * 20


def test_held_out_windows_are_of_the_validation_songs_and_neighbours_differ(store):
    windows = batches.held_out_windows(store, 10, 6, lead_blocks=8, seed=0)
    assert {window.song.split for window in windows} == {"validation"}
    assert all(8 <= window.first_block <= 40 for window in windows)
    assert all(one.song != other.song for one, other in zip(windows, windows[1:]))


def test_shards_that_do_not_fit_the_model_are_refused(store):
    for values, message in (
        ({"semantic_vocab": 500}, "model.semantic_vocab is 500, but the shards .* have 12"),
        ({"fine_codebooks": 3}, "needs 5 codebooks"),
    ):
        wrong = dataclasses.replace(config(), model=dataclasses.replace(MODEL, **values))
        with pytest.raises(ConfigError, match=message):
            batches.Batches(store, wrong)
    with pytest.raises(ConfigError, match="no training song .*6 are shorter"):
        batches.Batches(store, dataclasses.replace(config(), window_seconds=2.04))
