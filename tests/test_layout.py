"""Layout: hand-written sequences, round trips, and the clock that ties the two frame rates together."""

import pytest
import torch

from accompgen.layout import (
    BOS,
    MASK,
    NULL,
    Layout,
    deinterleave,
    frames_covering,
    frames_within,
    interleave,
    join,
    quickest,
    sounding,
)
from accompgen.stages import STEM_TOKEN, TEXT, accompgen, band

GRAPH = accompgen(semantic_vocab=5, bins=10, coarse_codebooks=4, fine_codebooks=2)
TABLE = {stream.name: stream for stream in GRAPH.streams}


def coarse_layout():
    return Layout.of("coarse", GRAPH)


def test_interleaving_goes_frame_by_frame():
    grid = torch.tensor([[11, 12, 13], [21, 22, 23], [31, 32, 33], [41, 42, 43]])  # [Q, T]
    assert interleave(grid).tolist() == [11, 21, 31, 41, 12, 22, 32, 42, 13, 23, 33, 43]


def test_deinterleaving_undoes_it():
    grid = torch.randint(1000, (2, 3, 4, 7), generator=torch.Generator().manual_seed(0))
    assert torch.equal(deinterleave(interleave(grid), 4), grid)


def test_an_incomplete_frame_is_refused():
    with pytest.raises(ValueError, match="7 tokens are no whole number of frames of 4 codebooks"):
        deinterleave(torch.arange(7), 4)


def test_embedding_rows_by_hand():
    layout = coarse_layout()  # 3 specials, vocal 5, semantic 5, coarse 4 x 10
    assert layout.offsets == (3, 8, 13)
    assert layout.rows == 53
    assert layout.table_rows(0, torch.tensor([[[0, 4]]])).tolist() == [[3, 7]]
    assert layout.table_rows(1, torch.tensor([[[0, 4]]])).tolist() == [[8, 12]]
    codes = torch.tensor([[[0, 9], [1, 8], [2, 7], [3, 6]]])  # [B, Q, F]
    assert layout.table_rows(2, codes).tolist() == [[13, 24, 35, 46, 22, 31, 40, 49]]


def test_every_id_of_every_codebook_has_a_row_of_its_own():
    layout, rows = coarse_layout(), [0, 1, 2]
    for index, stream in enumerate(layout.streams):
        every = torch.arange(stream.vocab).expand(1, stream.codebooks, stream.vocab)
        rows += layout.table_rows(index, every).flatten().tolist()
    assert sorted(rows) == list(range(layout.rows))


def test_history_is_shifted_behind_bos_and_masked_where_hidden():
    layout = Layout.of("fine", GRAPH)  # coarse 4 x 10 from row 3, fine 2 x 10 from row 43
    codes = torch.tensor([[[1, 2, 3], [4, 5, 6]]])
    assert layout.history(codes).tolist() == [[[row] for row in (BOS, 44, 57, 45, 58, 46)]]
    hide = torch.tensor([[True, False, False, True, False, True]])  # a1, b2 and c2; nobody reads c2 as history
    assert layout.history(codes, hide).tolist() == [[[row] for row in (BOS, MASK, 57, 45, MASK, 46)]]


def test_in_the_delay_pattern_a_step_is_one_token_of_every_codebook():
    layout = Layout.of("fine", GRAPH, "delay")
    codes = torch.tensor([[[1, 2, 3], [4, 5, 6]]])
    assert (layout.slots, layout.steps(3), layout.steps_before(2)) == (2, 4, 2)
    assert layout.slots_of(3).tolist() == [[0, -1], [2, 1], [4, 3], [-1, 5]]
    assert layout.step_of(3).tolist() == [[0, 1], [1, 2], [2, 3]]
    assert layout.history(codes).tolist() == [[[BOS, BOS], [44, BOS], [45, 57], [46, 58]]]
    hide = torch.tensor([[True, False, False, False, True, True]])
    assert layout.history(codes, hide).tolist() == [[[BOS, BOS], [MASK, BOS], [45, 57], [MASK, 58]]]
    places = layout.target_places(3)
    assert places.tick.tolist() == [0, 2, 4, 6]
    assert places.codebook.tolist() == [0, 0, 0, 0] and places.stream.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("pattern", ["interleave", "delay"])
def test_every_token_has_one_slot_in_the_step_that_predicts_it(pattern):
    layout, frames = Layout.of("coarse", GRAPH, pattern), 5
    slots, step_of = layout.slots_of(frames), layout.step_of(frames)
    assert slots.shape == (layout.steps(frames), layout.slots)
    assert sorted(slots[slots >= 0].tolist()) == list(range(frames * 4))
    for frame in range(frames):
        for codebook in range(4):
            assert frame * 4 + codebook in slots[step_of[frame, codebook]]
        first_new = min(step for step, row in enumerate(slots.tolist()) if max(row) >= frame * 4)
        assert layout.steps_before(frame) == first_new


def test_places_of_two_frames_by_hand():
    places = coarse_layout().places(2, frames=2)
    assert places.stream.tolist() == [2] * 8
    assert places.codebook.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert places.tick.tolist() == [0, 0, 0, 0, 2, 2, 2, 2]
    assert places.predicts.tolist() == [True] * 8


def test_joined_places_keep_their_own_clocks():
    layout = coarse_layout()
    places = join([layout.places(0, 2), layout.places(1, 2), layout.places(2, 1)])
    assert len(places) == 8
    assert places.stream.tolist() == [0, 0, 1, 1, 2, 2, 2, 2]
    assert places.tick.tolist() == [0, 3, 0, 3, 0, 0, 0, 0]
    assert places.predicts.tolist() == [False] * 4 + [True] * 4  # the loss mask


def test_lengths_from_one_another():
    semantic, coarse = TABLE["semantic"], TABLE["coarse"]
    for frames in range(200):
        acoustic = frames_within(semantic, frames, coarse)
        assert acoustic == int(1.5 * frames)
        assert frames_covering(coarse, acoustic, semantic) == frames
    assert [frames_covering(coarse, frames, semantic) for frames in range(7)] == [0, 1, 2, 2, 3, 4, 4]


def test_the_semantic_frame_that_sounds_with_an_acoustic_frame():
    assert sounding(TABLE["coarse"], 9, TABLE["semantic"]).tolist() == [0, 0, 1, 2, 2, 3, 4, 4, 5]
    assert sounding(TABLE["semantic"], 3, TABLE["vocal"]).tolist() == [0, 1, 2]
    assert sounding(TABLE["semantic"], 5, TABLE["coarse"]).tolist() == [0, 1, 3, 4, 6]


@pytest.mark.parametrize(
    "context, words",
    [
        ({"vocal": torch.zeros(1, 1, 4)}, r"holds \['vocal'\].*reads \['vocal', 'semantic'\]"),
        ({"vocal": torch.zeros(1, 1, 4), "semantic": torch.zeros(1, 1, 3)}, "'semantic' has shape .*T >= 4.*6 frames"),
        ({"vocal": torch.zeros(1, 4), "semantic": torch.zeros(1, 1, 4)}, r"'vocal' has shape \(1, 4\)"),
        ({"vocal": torch.zeros(1, 2, 4), "semantic": torch.zeros(1, 1, 4)}, r"expected \[B, 1, T\]"),
    ],
)
def test_a_context_that_does_not_fit_is_named(context, words):
    with pytest.raises(ValueError, match=words):
        coarse_layout().check(context, frames=6)


def test_a_context_may_reach_beyond_the_target():
    coarse_layout().check({"vocal": torch.zeros(1, 1, 50), "semantic": torch.zeros(1, 1, 4)}, frames=6)


def band_layout():
    return Layout.of("semantic", band(semantic_vocab=5, bins=10, beat_ids=4, chord_ids=6, text_vocab=7, text_pieces=3))


def test_an_id_that_is_not_known_is_the_row_of_nothing_heard():
    assert coarse_layout().table_rows(1, torch.tensor([[[0, -1, 4]]])).tolist() == [[8, NULL, 12]]
    codes = torch.tensor([[[0, -1], [1, 8], [-1, 7], [3, 6]]])
    assert coarse_layout().table_rows(2, codes).tolist() == [[13, 24, NULL, 46, NULL, 31, 40, 49]]


def test_what_is_told_has_rows_behind_those_of_the_streams():
    layout = band_layout()  # 3 specials, vocal 5, others 5, beat 4, chord 6, semantic 5; then 4 stems and 7 pieces of text
    assert (layout.stream_rows, layout.rows, layout.prefix_length) == (28, 39, 4)
    prefix_ids = {STEM_TOKEN: torch.tensor([[0], [3]]), TEXT: torch.tensor([[0, 6, -1], [2, 2, 2]])}
    assert layout.prefix_rows(prefix_ids, 2).tolist() == [[28, 32, 38, NULL], [31, 34, 34, 34]]
    assert layout.prefix_rows({STEM_TOKEN: torch.tensor([[1]])}, 1).tolist() == [[29, NULL, NULL, NULL]]
    assert layout.prefix_rows({}, 2).tolist() == [[NULL] * 4] * 2
    assert coarse_layout().prefix_rows({}, 2).shape == (2, 0) and coarse_layout().rows == coarse_layout().stream_rows


@pytest.mark.parametrize(
    "prefix_ids, words",
    [
        ({"mood": torch.zeros(2, 1, dtype=torch.long)}, "has no 'mood'; it has .*'stem', 'text'"),
        ({STEM_TOKEN: torch.zeros(1, 1, dtype=torch.long)}, r"stem has shape \(1, 1\); expected \[2, 1\]"),
        ({TEXT: torch.zeros(2, 4, dtype=torch.long)}, r"text has shape \(2, 4\); expected \[2, 3\]"),
    ],
)
def test_what_is_told_in_another_shape_is_named(prefix_ids, words):
    with pytest.raises(ValueError, match=words):
        band_layout().prefix_rows(prefix_ids, 2)


def test_of_streams_of_three_rates_the_quickest_gives_the_frames():
    graph = band()
    assert quickest(band_layout().context).name == "vocal"  # the first of 50 Hz beside a chart of 25
    assert quickest(graph.streams).name == "coarse"
    chord, vocal, coarse = (graph.stream(name) for name in ("chord", "vocal", "coarse"))
    assert sounding(coarse, 7, chord).tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert sounding(chord, 3, vocal).tolist() == [0, 2, 4]
    assert [frames_covering(coarse, frames, chord) for frames in (1, 3, 4)] == [1, 1, 2]
    context = {stream.name: torch.zeros(1, 1, 5) for stream in band_layout().context}
    with pytest.raises(ValueError, match="'chord' has shape .*T >= 3.*5 frames"):
        band_layout().check(context | {"chord": torch.zeros(1, 1, 2)}, 5)
