"""Where pairs are cut and which pieces stay: each filter at its threshold."""

import numpy as np
import pytest

from accompgen.config import ConfigError
from accompgen.data.segments import PrepareConfig, audible, block_levels, choose, clipped_share, cut

RATE = 16_000
CONFIG = PrepareConfig(sample_rate=RATE, segment_seconds=2.0, slack_seconds=0.8, min_seconds=1.0)


def tone(seconds, level=0.1, hz=300.0):
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def test_levels_are_the_rms_of_each_block_in_dbfs():
    wav = np.concatenate([np.zeros(640), np.full(640, 0.1), np.full(100, 1.0)])  # the last is no whole block
    assert block_levels(wav, RATE) == pytest.approx([-120.0, -20.0])


def test_a_piece_ends_where_the_voice_is_quietest():
    levels = np.full(120, -20.0)
    levels[[10, 33, 44, 70]] = -30, -60, -50, -60  # 10 and 70: not within 0.8 s before the end of a piece
    pieces = cut(levels, CONFIG)
    assert pieces == [(0, 34), (34, 37), (71, 49)]  # 71 = 34 + 37: block 70 lies within the second piece's slack
    assert sum(blocks for _, blocks in pieces) == 120
    assert cut(levels[:50], CONFIG) == [(0, 50)]


def test_a_block_far_below_the_loud_ones_is_silent():
    levels = np.array([-10.0] * 20 + [-49, -51, -60])
    assert list(audible(levels, CONFIG)[-3:]) == [True, False, False]  # 40 dB below -10
    assert list(audible(levels - 20, CONFIG)[-3:]) == [False, False, False]  # -55 dBFS is the floor
    assert not audible(np.full(5, -120.0), CONFIG).any()


@pytest.mark.parametrize(
    ("voice", "band", "reason"),
    [
        (tone(2), tone(2), None),
        (np.concatenate([tone(0.56), np.zeros(23040, np.float32)]), tone(2), None),  # 28 % sung
        (np.concatenate([tone(0.44), np.zeros(24960, np.float32)]), tone(2), "too little voice"),
        (tone(2), np.concatenate([tone(0.9), np.zeros(17600, np.float32)]), "too little accompaniment"),
        (tone(2, 0.004), tone(2, 0.02), "voice too quiet"),
        (tone(2, 0.5), tone(2, 0.02), "voice and accompaniment too far apart in level"),
        (tone(0.8), tone(0.8), "piece too short"),
    ],
)
def test_each_filter_has_its_reason(voice, band, reason):
    (piece,) = choose(voice, band, CONFIG)
    assert piece.reason == reason
    assert (piece.first, piece.seconds) == (0, len(voice) / RATE)


def test_the_pieces_cover_the_song_in_order():
    voice = np.concatenate([tone(3), np.zeros(3 * RATE, np.float32), tone(1.52)])
    pieces = choose(voice, tone(7.52), CONFIG)
    assert [piece.first for piece in pieces] == list(np.cumsum([0] + [piece.blocks for piece in pieces])[:-1])
    assert sum(piece.seconds for piece in pieces) == pytest.approx(7.52)
    assert {"too little voice", None} <= {piece.reason for piece in pieces}


def test_samples_at_full_scale_are_counted():
    assert clipped_share(np.array([[0.0, 1.0, -1.0, 0.5], [0.9, 0.1, 0.2, 1.2]])) == pytest.approx(3 / 8)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_seconds": 40.0}, "min_seconds is 40.0; expected 0.4 to 30.0"),
        ({"min_sung_share": 1.5}, "min_sung_share"),
        ({"sample_rate": 22_051}, "multiple of 25"),
        ({"slack_seconds": 20.0}, "slack_seconds is 20.0; expected 0 to 15"),
    ],
)
def test_values_out_of_range_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        PrepareConfig(**values)
