"""Batches: every window lies inside its song, streams stay aligned, and nothing depends on stops or on the number of ranks."""

import dataclasses

import numpy as np
import pytest
import torch
from fake_shards import BINS, VOCAB, make_shards

from accompgen.config import ConfigError, StageConfig, TrainConfig
from accompgen.data import batches
from accompgen.data.shards import open_shards
from accompgen.data.submixes import draw_mixtures, name_of, stems_of
from accompgen.stages import ALL, STEM_TOKEN, STEMS, TEXT

SIZES = dict(semantic_vocab=VOCAB, bins=BINS, coarse_codebooks=2, fine_codebooks=2)
MODEL = StageConfig("coarse", width=16, layers=1, heads=2, **SIZES)


@pytest.fixture
def store(tmp_path):
    return open_shards(make_shards(tmp_path / "shards"))


def config(**values):
    return TrainConfig(MODEL, "shards", batch_size=3, window_seconds=0.4, **values)


def same(one, other):
    grids = [
        [*batch.context.values(), *batch.prefix_ids.values(), batch.target, batch.drop, batch.hide]
        for batch in (one, other)
    ]
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
    assert batch.prefix_ids == {} and {(window.stem, window.others) for window in batch.windows} == {(ALL, "")}
    assert batch.target.shape == (3, 2, 30) and batch.hide.shape == (3, 60)
    at = batch.context["semantic"][:, 0, torch.arange(30) * 2 // 3]  # how the fake codes are made
    assert torch.equal(batch.target[:, 0], at % BINS) and torch.equal(batch.target[:, 1], (2 * at + 1) % BINS)
    for row, window in enumerate(batch.windows):
        vocal = store.read(window.song)["semantic/vocal"][2 * window.first_block :][:20]
        assert batch.context["vocal"][row, 0].tolist() == vocal.tolist()


def test_fine_reads_coarse_and_predicts_the_codebooks_after_it(store):
    model = dataclasses.replace(MODEL, stage="fine")
    window = batches.Window(store.songs[0], 3, ALL)
    context, target = batches.read_windows(store, model, [window], 10)
    codes = torch.from_numpy(store.read(store.songs[0], 3, 10)["acoustic/all"].astype(np.int64))
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
    source = batches.Batches(store, config(history_masking=0.0, history_dropout=0.5))
    share = torch.cat([source.next().hide for _ in range(100)]).float().mean(1)
    assert set(share.tolist()) == {0.0, 1.0} and abs(share.mean() - 0.5) < 0.1


def test_spans_of_the_context_are_hidden(store):
    source = batches.Batches(store, config(context_dropout=0.0, context_masking=0.8))
    drop = torch.cat([source.next().drop for _ in range(300)]).float()  # [windows, blocks]
    assert abs(drop.mean() - 0.4) < 0.05  # shares from 0 to .8
    assert torch.allclose(drop.mean(0), drop.mean().expand(drop.shape[1]), atol=0.08)  # the edges as often as the middle
    starts = (drop[:, 1:] > drop[:, :-1]).nonzero()
    ended = [drop[row, first + 1 : first + 1 + batches.SPAN_BLOCKS] for row, first in starts.tolist()]
    assert ended and all(bool(span.all()) for span in ended)  # none is shorter, but where the window ends


def test_a_late_vocal_is_the_vocal_of_before(store):
    song = store.songs[2]
    whole = store.read(song)["semantic/vocal"]
    windows = [batches.Window(song, first, ALL) for first in (20, 2, 0)]
    context, _ = batches.read_windows(store, MODEL, windows, 10, delay_blocks=5)
    true, _ = batches.read_windows(store, MODEL, windows, 10)
    assert context["vocal"][0, 0].tolist() == whole[30:50].tolist()
    assert context["vocal"][1, 0].tolist() == [whole[0]] * 6 + whole[:14].tolist()
    assert torch.equal(context["semantic"], true["semantic"])
    far, _ = batches.read_windows(store, MODEL, windows[2:], 10, delay_blocks=25)
    assert far["vocal"][0, 0].tolist() == [whole[0]] * 20


def test_held_out_windows_are_of_the_validation_songs_and_neighbours_differ(store):
    windows = batches.held_out_windows(store, MODEL, 10, 6, lead_blocks=8, seed=0)
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


# ---- a band: stems, what the others play, a chart ----

BAND = StageConfig("semantic", graph="band", width=16, layers=1, heads=2, text_vocab=50, text_pieces=3, **SIZES)


@pytest.fixture
def band_store(tmp_path):
    return open_shards(make_shards(tmp_path / "band", band=True))


def band_config(stage="semantic", **values):
    model = dataclasses.replace(BAND, stage=stage)
    return TrainConfig(model, "shards", batch_size=4, window_seconds=0.4, context_dropout=0.0, **values)


def rows(source, count=40):
    """(window, context and prefix_ids and target of its row) of `count` batches."""
    for _ in range(count):
        batch = source.next()
        for row, window in enumerate(batch.windows):
            given = batch.context | batch.prefix_ids | {"target": batch.target}
            yield window, {name: ids[row] for name, ids in given.items()}


def test_the_stem_that_is_told_is_that_of_the_target_and_no_mixture_holds_it(band_store):
    seen = set()
    for window, row in rows(batches.Batches(band_store, band_config())):
        song, first = window.song, window.first_block
        tokens = band_store.read(song, first, 10)
        assert row["target"][0].tolist() == tokens[f"semantic/{window.stem}"].tolist()
        assert row[STEM_TOKEN].tolist() == [(*STEMS, ALL).index(window.stem)]
        assert row["vocal"][0].tolist() == tokens["semantic/vocal"].tolist()
        expected = tokens[f"semantic/{window.others}"].tolist() if window.others else [-1] * 20
        assert row["others"][0].tolist() == expected
        assert window.others != ALL and window.stem not in stems_of(window.others)
        assert row["beat"][0].tolist() == (tokens["beat"].tolist() if "beat" in tokens else [-1] * 20)
        assert row["chord"][0].tolist() == (tokens["chord"].tolist() if "chord" in tokens else [-1] * 10)
        assert row[TEXT].tolist() == [-1] * 3
        seen.add((song.id == "song-0", window.stem, window.others))
    assert {stem for bare, stem, _ in seen if not bare} == {*STEMS, ALL} and ("harmony" not in {s for b, s, _ in seen if b})
    assert {others for bare, stem, others in seen if not bare and stem == "bass"} == {"", "drums", "harmony", "drums+harmony"}
    assert {others for bare, stem, others in seen if not bare and stem == "drums"} == {"", "bass", "harmony"}
    assert {others for _, stem, others in seen if stem == ALL} == {""}, "whatever plays is part of the whole"


def test_the_stages_of_a_band_read_and_predict_their_arrays(band_store):
    for stage, array in (("coarse", "acoustic"), ("fine", "acoustic")):
        for window, row in rows(batches.Batches(band_store, band_config(stage)), 5):
            codes = band_store.read(window.song, window.first_block, 10)[f"{array}/{window.stem}"]
            assert row["target"].tolist() == codes[:2].tolist() if stage == "coarse" else codes[2:].tolist()
            assert window.others == ""
    for window, row in rows(batches.Batches(band_store, band_config("chart")), 5):
        assert (window.stem, window.others) == ("", "") and window.song.id != "song-0", "a song without chords teaches none"
        chord = band_store.read(window.song, window.first_block, 10)["chord"].tolist()
        assert row["target"][0].tolist() == row["given"][0].tolist() == chord and STEM_TOKEN not in row


@pytest.mark.parametrize("name", ["vocal", "others", "beat", "chord", STEM_TOKEN])
def test_a_stream_is_muted_by_itself(band_store, name):
    plain = rows(batches.Batches(band_store, band_config()))
    muted = rows(batches.Batches(band_store, band_config(stream_dropout={name: 0.5})))
    silent, heard = 0, 0
    for (window, one), (other_window, other) in zip(plain, muted):
        assert window == other_window
        assert all(torch.equal(one[key], other[key]) for key in one if key != name)
        if (other[name] == -1).all() and (one[name] != -1).any():
            silent += 1
        elif (one[name] != -1).any():
            assert torch.equal(one[name], other[name])
            heard += 1
    assert 0.35 < silent / (silent + heard) < 0.65  # of 60 or more


def test_a_stem_is_learned_as_often_as_asked_for(band_store):
    source = batches.Batches(band_store, band_config(stem_weights={"bass": 0, ALL: 0, "harmony": 4}))
    drawn = [window.stem for window, _ in rows(source, 60) if window.song.id != "song-0"]
    assert set(drawn) == {"drums", "harmony"} and 2.5 < drawn.count("harmony") / drawn.count("drums") < 6
    source = batches.Batches(band_store, band_config(stem_weights={"bass": 0, "drums": 0, ALL: 0}))
    with pytest.raises(ConfigError, match="stem_weights are .* alone; give one of them a weight"):
        list(rows(source, 60))


def test_spans_of_a_stream_are_muted_by_itself(band_store):
    plain = rows(batches.Batches(band_store, band_config()))
    masked = rows(batches.Batches(band_store, band_config(stream_masking={"vocal": 0.8})))
    shares = []
    for (_, one), (_, other) in zip(plain, masked):
        assert all(torch.equal(one[key], other[key]) for key in one if key != "vocal")
        hidden = other["vocal"][0] == -1
        assert torch.equal(other["vocal"][0][~hidden], one["vocal"][0][~hidden])
        assert torch.equal(hidden[::2], hidden[1::2]), "whole blocks"
        shares.append(hidden.float().mean().item())
    assert abs(np.mean(shares) - 0.4) < 0.12 and min(shares) == 0.0


@pytest.mark.parametrize(
    "values, words",
    [
        ({"stream_dropout": {"chords": 0.5}}, "stream_dropout is 'chords'; expected one of 'vocal', 'others', 'beat', 'chord'"),
        ({"stream_dropout": {"vocal": 1.5}}, "stream_dropout.vocal is 1.5"),
        ({"stream_masking": {"stem": 0.5}}, "stream_masking is 'stem'"),
        ({"stream_masking": {"vocal": "often"}}, "stream_masking.vocal is 'often'; expected a number"),
        ({"stem_weights": {"guitar": 1}}, "stem_weights is 'guitar'; expected one of 'drums', 'bass', 'harmony', 'all'"),
        ({"stem_weights": {"bass": "often"}}, "stem_weights.bass is 'often'; expected a number"),
        ({"stem_weights": {"bass": -1}}, "stem_weights.bass is -1"),
    ],
)
def test_what_cannot_be_muted_is_named(values, words):
    with pytest.raises(ConfigError, match=words):
        band_config(**values)


def test_texts_are_asked_for_by_window_with_draws_of_their_own(band_store):
    asked = []

    def texts(window, rng):
        asked.append((window, rng.random()))
        return [window.first_block, len(window.stem), -1]

    source = batches.Batches(band_store, band_config(), texts=texts)
    batch = source.next()
    assert batch.prefix_ids[TEXT].tolist() == [[window.first_block, len(window.stem), -1] for window in batch.windows]
    assert [window for window, _ in asked] == batch.windows and len({draw for _, draw in asked}) == 4


def test_held_out_windows_of_a_band_have_a_stem_and_do_not_change(band_store):
    windows = batches.held_out_windows(band_store, BAND, 10, 12, lead_blocks=8, seed=0)
    assert windows == batches.held_out_windows(band_store, BAND, 10, 12, lead_blocks=8, seed=0)
    assert {window.stem for window in windows} == {*STEMS, ALL} and {window.song.split for window in windows} == {"validation"}


def test_names_of_mixtures():
    assert name_of(("bass", "drums")) == name_of(("drums", "bass")) == "drums+bass"
    assert stems_of("drums+bass") == {"drums", "bass"}
    rng = np.random.default_rng(0)
    assert draw_mixtures(STEMS, 9, rng) == [("drums", "bass"), ("drums", "harmony"), ("bass", "harmony")]
    assert len(draw_mixtures(STEMS, 2, rng)) == 2
    assert draw_mixtures(("drums", "bass"), 9, rng) == [] == draw_mixtures(STEMS, 0, rng)
