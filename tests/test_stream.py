"""Streaming against the whole song: a recording's codes and sound, what a live vocal's units hear, files that grow."""

import numpy as np
import pytest
import torch
from tiny import VOCAB, make_beat_tracker, make_system, sing

import accompgen
from accompgen import audio
from accompgen.generation import stream
from accompgen.generation.cascade import cascade, cascade_in_pieces
from accompgen.generation.sampling import Sampling
from accompgen.generation.song import GrowingWav
from accompgen.generation.vocal import read_vocal
from accompgen.stages import GRAPHS, PUBLISHED

STAGES = GRAPHS[PUBLISHED]().stage_names
RATE = 24_000


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return accompgen.load(tiny_checkpoint, device="cpu")


@pytest.fixture(scope="module")
def system():
    system = make_system()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        system.stages["semantic"].model.beat_tracker = make_beat_tracker()
    return system


@pytest.mark.parametrize("blocks", [1, 5, 20, 21, 47])  # windows: 20, 9 and 6
def test_the_cascade_in_pieces_gives_the_same_tokens(system, blocks):
    units = torch.randint(VOCAB, (1, 2 * blocks), generator=torch.Generator().manual_seed(blocks))
    sampling = {name: Sampling(guidance=1.0 if name == "coarse" else 2.0, pulse=float(name == "semantic")) for name in STAGES}
    whole = cascade(system, units, sampling, seed=3)
    for size in (2, 14, 2 * blocks):
        pieces = list(cascade_in_pieces(system, units.split(size, dim=1), sampling, 3, {}))
        assert [piece.start for piece in pieces] == [0] + [piece.stop for piece in pieces[:-1]]
        assert torch.equal(torch.cat([piece.semantic for piece in pieces], dim=1), whole.semantic)
        assert torch.equal(torch.cat([piece.codes for piece in pieces], dim=1), whole.codes)


def test_a_piece_waits_for_nothing_but_its_windows(system):
    """A vocal of 47 blocks comes block by block; the first fine window needs the first semantic one, of 20 blocks."""
    heard, seconds = [], {}

    def vocal():
        for ids in torch.zeros(1, 2 * 47, dtype=torch.long).split(2, dim=1):
            heard.append(len(heard))
            yield ids

    sampling = dict.fromkeys(STAGES, Sampling(guidance=1.0))
    when = [(piece.stop, len(heard)) for piece in cascade_in_pieces(system, vocal(), sampling, 0, seconds)]
    # semantic is known to 20, 30, 40 and 47; coarse, in steps of 6, to 9, 15 | 21, 27 | 33, 39 | 45, 47; fine in steps of 6
    assert when == [(6, 20), (12, 20), (18, 30), (24, 30), (30, 40), (36, 40), (42, 47), (47, 47)]
    assert sorted(seconds) == sorted(STAGES) and min(seconds.values()) > 0


@pytest.mark.parametrize("rate", [24_000, 44_100])
def test_of_a_recording_the_stream_is_the_song(model, rate):
    vocal = (sing(1.31, rate, channels=2), rate)
    song = model.accompany(vocal, seed=1)
    streamed = stream.Stream(model, vocal, seed=1)
    pieces = list(streamed)
    finished = streamed.song()
    assert len(pieces) == 6 and torch.equal(finished.codes, song.codes) and torch.equal(finished.semantic, song.semantic)
    assert np.abs(finished.accompaniment - song.accompaniment).max() < 1e-4
    assert np.abs(finished.mix - song.mix).max() < 1e-4
    wav = np.concatenate([piece.accompaniment for piece in pieces], axis=1)
    assert wav.shape == song.accompaniment.shape and wav[0, -1] == 0
    without = {"seconds", "real_time_factor", "levels"}
    assert {k: v for k, v in finished.report.items() if k not in without} == {
        k: v for k, v in song.report.items() if k not in without
    }
    assert list(finished.report["seconds"]) == list(song.report["seconds"])


def test_pieces_are_the_songs_sound_but_for_their_gain(model, monkeypatch):
    monkeypatch.setattr(stream._Level, "__call__", lambda self, wav, *vocal: wav)
    vocal = (sing(1.31), 44_100)
    wav = np.concatenate([piece.accompaniment for piece in stream.Stream(model, vocal, seed=1)], axis=1)
    song = model.accompany(vocal, seed=1)
    gain = (wav * song.accompaniment).sum() / (wav**2).sum()
    assert np.abs(gain * wav - song.accompaniment).max() < 1e-4 * max(1, gain)


def test_the_level_follows_the_balance_without_a_jump_and_below_the_limit():
    noise = 0.1 * np.random.default_rng(0).standard_normal((3, RATE)).astype(np.float32)
    level, lufs = stream._Level(RATE, -6.0), audio.loudness(noise[:1], RATE)
    first, second = level(noise[1:2], lufs, 1), level(noise[2:] * 0.25, lufs, 1)
    assert audio.loudness(first, RATE) - lufs == pytest.approx(-6, abs=0.01)
    assert abs(second[0, 0] / (0.25 * noise[2, 0]) - first[0, 0] / noise[1, 0]) < 1e-3
    assert np.abs(level(noise[1:2] * 100, lufs, 1)).max() <= audio.PEAK_LIMIT


def test_the_loudness_of_a_recording_is_measured_once(model, monkeypatch):
    vocal, measured, loudness = read_vocal((sing(1.31, channels=2), 44_100)), [], audio.loudness
    monkeypatch.setattr(audio, "loudness", lambda wav, rate: measured.append(wav) or loudness(wav, rate))
    pieces = list(stream.Stream(model, vocal))
    assert len(pieces) == 6 and sum(wav is vocal.wav for wav in measured) == 1
    parts = [wav.shape for wav in measured if wav is not vocal.wav and wav.ndim == 2]  # beside what HuBERT hears, [T]
    assert len(measured) == len(parts) + 2
    sounding = sum(piece.accompaniment.shape[1] > 0 for piece in pieces)  # the decoder keeps the first codes back
    assert len(parts) == sounding == 5 and {channels for channels, _ in parts} == {2}  # the accompaniment so far


def test_a_vocal_in_blocks_is_as_long_and_does_not_depend_on_their_size(model):
    wav, codes = sing(2.11, RATE), []
    for size in (1_000, 24_000, 200_000):
        blocks = [wav[0, start : start + size] for start in range(0, wav.shape[1], size)]
        pieces = list(stream.Stream(model, iter(blocks), seed=2, rate=RATE))
        together = np.concatenate([piece.accompaniment for piece in pieces], axis=1)
        assert together.shape == (2, wav.shape[1]) and audio.peak(together) > 0.01 and together[0, -1] == 0
        codes.append(torch.cat([piece.codes for piece in pieces], dim=1))
    assert codes[0].shape == (4, 53 * 3) and torch.equal(codes[0], codes[1]) and torch.equal(codes[0], codes[2])


def test_an_empty_block_changes_and_ends_nothing(model):
    wav = sing(1.0, RATE)[0]
    parts = [wav[:9_000], wav[9_000:]]

    def made(blocks):
        return torch.cat([piece.codes for piece in stream.Stream(model, iter(blocks), seed=2, rate=RATE)], dim=1)

    plain = made(parts)
    mixed = [wav[:0], parts[0], wav[None, :0], [], np.zeros((2, 0), np.float32), parts[1], wav[:0]]
    assert torch.equal(made(mixed), plain)


def test_a_voice_is_followed_closely(model, monkeypatch):
    """A piece is there as soon as the voice is a hop, and what the units hear ahead, beyond its start."""
    monkeypatch.setattr(stream, "HOP_SECONDS", 0.2)
    monkeypatch.setattr(stream, "STEP_SECONDS", 0.2)
    wav, heard = sing(2.0, RATE), []

    def blocks():
        for start in range(0, wav.shape[1], RATE // 10):
            heard.append((start + RATE // 10) / RATE)
            yield wav[:, start : start + RATE // 10]

    pieces = [(piece, heard[-1]) for piece in stream.Stream(model, blocks(), seed=2, rate=RATE)]
    whole = [(piece, at) for piece, at in pieces if piece.stop > piece.start]
    assert [piece.start for piece, _ in whole] == pytest.approx([0.2 * n for n in range(10)])
    for piece, at in whole:
        assert at <= piece.stop + stream.AHEAD_SECONDS + 0.2


def test_a_last_block_of_fewer_samples_than_channels_is_one_more_block():
    wav = np.repeat(sing(0.5, 16_000), 2, axis=0)[:, :7_001]
    heard = stream._IncomingVocal([wav[:, :4_000], wav[:, 4_000:7_000], wav[:, 7_000:]], 16_000)
    for _ in heard.steps():
        pass
    assert heard.samples == 7_001 and np.array_equal(heard.recent, wav)
    with pytest.raises(audio.AudioError, match="2 channels of 1 samples; expected"):
        list(stream._IncomingVocal([wav[:, :1]], 16_000).steps())


def test_blocks_are_heard_as_a_recording_is_where_it_is_as_loud(model):
    """Without noise most units of a steady voice are those of the recording; the rest heard another gain or an edge."""
    wav = np.tile(sing(1.0 / 0.7, 16_000), 5)
    heard = stream._IncomingVocal([wav], 16_000)
    ids = []
    for first, stop in heard.steps():
        excerpt, before = heard.excerpt(first, stop)
        assert excerpt.shape[1] <= (stream.STEP_SECONDS + stream.AHEAD_SECONDS) * 2 * 16_000 + stream.BEHIND_SECONDS * 16_000
        ids.append(model.semantic_tokenizer.encode(torch.from_numpy(excerpt))[:, 2 * before : 2 * (before + stop - first)])
    ids = torch.cat(ids, dim=1)
    whole = model.units(read_vocal((wav, 16_000)), 0.0, 0)
    assert ids.shape == whole.shape and (ids == whole).float().mean() > 0.8


@pytest.mark.parametrize(
    "vocal, settings, words",
    [
        ((np.zeros((1, 9_000), np.float32), RATE), {"rate": RATE}, "either a recording, or blocks"),
        ([np.zeros(9_000, np.float32)], {}, "either a recording, or blocks"),
        ([np.zeros(900, np.float32)], {"rate": RATE}, "0.037 s long together; at least 0.2 s"),
        ([np.full(9_000, np.nan, np.float32)], {"rate": RATE}, "9000 samples are NaN"),
        ([np.zeros((1, 900), np.float32), np.zeros((2, 900), np.float32)], {"rate": RATE}, "2 channels after blocks of 1"),
        ([], {"rate": RATE, "noise": 2.0}, "noise is 2.0"),
    ],
)
def test_what_cannot_be_streamed_is_named(model, vocal, settings, words):
    with pytest.raises(ValueError, match=words):
        list(stream.Stream(model, vocal, **settings))


def test_a_stream_is_read_once_and_has_a_song_at_its_end(model):
    streamed = stream.Stream(model, (sing(0.5), 44_100))
    next(iter(streamed))
    with pytest.raises(ValueError, match="has not come to its end"):
        streamed.song()
    with pytest.raises(ValueError, match="read already"):
        next(iter(streamed))


@pytest.mark.parametrize("bit_depth, error", [("16", 2**-15), ("24", 2**-23)])
def test_a_growing_file_can_be_read_at_any_time(tmp_path, bit_depth, error):
    sound, growing = sing(0.5, channels=2), GrowingWav(tmp_path / "new" / "a.wav", 44_100, 2, bit_depth)
    for start, stop in ((0, 10_000), (10_000, 22_050)):
        growing.add(sound[:, start:stop])
        found, rate = audio.read(tmp_path / "new" / "a.wav")
        assert rate == 44_100 and found.shape == (2, stop) and np.abs(found - sound[:, :stop]).max() <= error
    growing.remove()
    assert list((tmp_path / "new").iterdir()) == []


def test_one_call_from_python(tiny_checkpoint, model):
    pieces = accompgen.stream((sing(0.5), 44_100), seed=4, checkpoint=tiny_checkpoint, device="cpu")
    codes = torch.cat([piece.codes for piece in pieces], dim=1)
    assert torch.equal(codes, model.accompany((sing(0.5), 44_100), seed=4).codes)
