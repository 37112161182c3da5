"""Span plans by hand, and their promises over many lengths: every frame once, full windows, prompts that are known."""

import pytest
import torch

from accompgen.generation.windows import Span, next_span, plan


def test_plan_by_hand():
    assert plan(18, 8, 4) == [Span(0, 0, 8), Span(4, 8, 12), Span(8, 12, 16), Span(10, 16, 18)]
    assert plan(16, 8, 4) == [Span(0, 0, 8), Span(4, 8, 12), Span(8, 12, 16)]
    assert plan(5, 8, 4) == [Span(0, 0, 5)]
    assert plan(17, 8) == [Span(0, 0, 8), Span(8, 8, 16), Span(9, 16, 17)]


def test_frames_of_a_span_at_both_rates():
    span = Span(10, 16, 18)
    assert (span.frames(50), span.frames(75)) == (slice(20, 36), slice(30, 54))
    assert (span.prompt_frames(50), span.prompt_frames(75)) == (12, 18)


@pytest.mark.parametrize("window, prompt", [(250, 125), (75, 25), (75, 0), (7, 6), (1, 0)])
def test_every_block_is_new_once_and_windows_keep_their_length(window, prompt):
    for song in [*range(1, 40), 250, 251, 375, 376, 830, 6000]:
        spans = plan(song, window, prompt)
        new = [block for span in spans for block in range(span.new, span.stop)]
        assert new == list(range(song))
        assert all(span.stop - span.start == min(window, song) and span.start >= 0 for span in spans)
        assert all(span.new - span.start >= prompt for span in spans[1:])
        assert len(spans) <= 1 + -(-max(0, song - window) // (window - prompt))  # grows linearly with the song


@pytest.mark.parametrize("hz", [50, 75])
@pytest.mark.parametrize("prompt", [0, 4])
def test_the_added_parts_of_the_pieces_are_the_song(hz, prompt):
    song = torch.arange(2 * 18 * hz // 25).reshape(2, -1)  # 18 blocks, two codebooks
    pieces = [song[:, span.frames(hz)][:, span.prompt_frames(hz) :] for span in plan(18, 8, prompt)]
    assert torch.equal(torch.cat(pieces, dim=1), song)


def test_lengths_out_of_range():
    for arguments in ((0, 5, 1), (5, 0, 0), (5, 5, 5), (5, 5, -1)):
        with pytest.raises(ValueError, match="expected song and window"):
            plan(*arguments)


@pytest.mark.parametrize("window, prompt", [(8, 4), (7, 6), (5, 0)])
@pytest.mark.parametrize("song", [1, 5, 8, 9, 30])
def test_windows_of_a_growing_song_are_those_of_its_plan(song, window, prompt):
    spans = []
    for there in range(song + 1):
        while span := next_span(spans[-1].stop if spans else 0, there, there == song, window, prompt):
            assert span.stop <= there
            spans.append(span)
    assert spans == plan(song, window, prompt)


@pytest.mark.parametrize("window, prompt, hop", [(20, 10, 4), (20, 5, 7), (9, 0, 4)])
@pytest.mark.parametrize("song", [3, 8, 41])
def test_with_a_hop_each_window_adds_little_and_hears_what_it_can_hold(song, window, prompt, hop):
    """Windows come as soon as their own blocks are there; only the last one waits for the end."""
    spans = []
    for there in range(1, song + 1):
        while span := next_span(spans[-1].stop if spans else 0, there, there == song, window, prompt, hop):
            assert span.stop == there
            spans.append(span)
    assert [span.new for span in spans] == list(range(0, song, hop)) and spans[-1].stop == song
    for span in spans[:-1]:
        assert span.stop - span.new == hop
        assert span.start == (max(0, span.stop - window) if prompt else span.new)
    assert all(span.stop - span.start <= window for span in spans)
