"""Codes -> sound: any cut of a song gives the same samples, a seed gives the same noise, and noise knows nothing of frames."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import BINS, make_acoustic_tokenizer, make_checkpoint, make_decoder

from accompgen import checkpoint, component
from accompgen.component import CheckpointError
from accompgen.config import ConfigError
from accompgen.tokens import decoder as module
from accompgen.tokens.decoder import DecoderStream, EncodecDecoder, StereoDecoder, round_trip
from accompgen.tokens.decoder_network import (
    LEVEL_AT_START,
    SIDE_KNEE,
    DecoderConfig,
    DecoderNetwork,
    mel_interpolation,
    overlap_add,
    smoothed,
)
from accompgen.tokens.load import load_codec, load_decoder
from accompgen.tokens.noise import with_phases
from accompgen.tokens.timbre import STEP_FRAMES


@pytest.fixture(scope="module")
def decoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make_decoder()


def draw_codes(frames, batch=1, books=4):
    return torch.randint(BINS, (batch, books, frames), generator=torch.Generator().manual_seed(frames))


def test_sound_has_two_channels_at_48_khz_and_every_codebook_is_heard(decoder):
    codes = draw_codes(10, batch=2)
    wav = decoder.decode(codes)
    assert wav.shape == (2, 2, 6400) and decoder.sample_rate == 48_000 and torch.isfinite(wav).all()
    assert not torch.allclose(wav[:, 0], wav[:, 1])
    for book in range(4):
        other = codes.clone()
        other[:, book] = (other[:, book] + 1) % BINS
        assert not torch.equal(decoder.decode(other), wav)
    assert not torch.equal(decoder.decode(codes[:, :2]), wav)


def test_a_seed_gives_the_same_sound_and_another_one_other_noise(decoder):
    codes = draw_codes(12)
    torch.manual_seed(1)
    first = decoder.decode(codes, seed=3)
    torch.manual_seed(2)
    assert torch.equal(decoder.decode(codes, seed=3), first)
    assert not torch.equal(decoder.decode(codes, seed=4), first)


def test_chunks_leave_no_seam(decoder, monkeypatch):
    codes = draw_codes(150)  # twice what tells who plays
    whole = decoder.decode(codes)
    monkeypatch.setattr(module, "CHUNK_FRAMES", 13)
    torch.testing.assert_close(decoder.decode(codes), whole, rtol=0, atol=1e-5)
    pieces = list(decoder.pieces(codes))
    assert [piece.shape[-1] for piece in pieces] == [13 * 640] * 11 + [7 * 640]
    assert torch.equal(torch.cat(pieces, dim=-1), decoder.decode(codes))


@pytest.mark.parametrize("sizes", [(1,) * 12 + (20, 0, 140), (172,), (3, 169)])
@pytest.mark.parametrize("kind", ["stereo", "encodec"])
def test_a_stream_gives_the_sound_of_the_whole(decoder, kind, sizes):
    if kind == "encodec":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            decoder = EncodecDecoder(make_acoustic_tokenizer())
    codes = draw_codes(sum(sizes))
    stream, parts, known = DecoderStream(decoder, seed=5), [], 0
    for index, piece in enumerate(codes[0].split(sizes, dim=1)):
        parts.append(stream(piece, last=index == len(sizes) - 1))
        known += piece.shape[1]
        # no sound of frames that other codes could still change, and none kept back without need
        ready = known if index == len(sizes) - 1 else max(0, known - decoder.ahead)
        assert sum(part.shape[1] for part in parts) == ready * decoder.hop_samples
    torch.testing.assert_close(torch.cat(parts, dim=1), decoder.decode(codes, seed=5)[0], rtol=0, atol=1e-5)


def test_the_end_can_come_without_codes(decoder):
    codes, stream = draw_codes(40), DecoderStream(decoder)
    first, rest = stream(codes[0]), stream(codes[0, :, :0], last=True)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), decoder.decode(codes)[0], rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def plain():
    """A decoder that hears no timbre."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make_decoder(timbre_seconds=0.0)


def changed_frames(decoder, frames, place):
    """Whose sound is another one if the codes of one frame are."""
    codes = draw_codes(frames)
    other = codes.clone()
    other[..., place] = (other[..., place] + 1) % BINS
    apart = (decoder.decode(other) - decoder.decode(codes)).abs().amax(dim=(0, 1))
    return apart.reshape(frames, -1).amax(dim=1) > 1e-6


def test_a_frame_depends_on_no_more_than_its_reach(plain):
    changed, reach = changed_frames(plain, 60, 30), plain.config.reach
    assert changed[30] and not changed[: 30 - reach].any() and not changed[30 + reach + 1 :].any()


def test_who_plays_is_told_by_seconds_before_a_frame(decoder):
    changed = changed_frames(decoder, 250, 80)
    assert changed[80:120].all() and not changed[: 80 - decoder.ahead].any()
    steps = decoder.network.timbre.steps * STEP_FRAMES
    assert changed[80 + steps - STEP_FRAMES] and not changed[80 + decoder.before + steps + STEP_FRAMES :].any()


def test_a_song_begins_and_ends_as_it_goes_on(decoder, monkeypatch):
    monkeypatch.setattr(decoder.network, "noise", lambda drawn: torch.zeros(1, drawn.shape[1] * 160))
    frames = decoder.decode(draw_codes(1).repeat(1, 1, 50))[0, 0].reshape(50, -1)
    assert decoder.config.noise_frames * 160 == decoder.hop_samples and frames.std() > 0
    torch.testing.assert_close(frames, frames[25:26].expand_as(frames), rtol=0, atol=1e-3 * frames.abs().max().item())


def test_shipped_silence_has_no_tick_at_its_ends():
    shipped = load_decoder(checkpoint.find_checkpoint("pocket") / "decoder")
    silence = checkpoint.read_info(checkpoint.find_checkpoint("band"))["silence"]["acoustic"]
    wav = shipped.decode(torch.tensor(silence)[None, :, None].repeat(1, 1, 75))[0].numpy()
    assert np.abs(wav).max() < 0.003


def test_a_tone_that_ends_lower_fades_out(plain):
    network = DecoderNetwork(replace(plain.config, tone_hz=3_000.0))
    said = torch.randn(1, 200, sum(network.sizes), generator=torch.Generator().manual_seed(0))
    tone, pan, _ = network.parts(said)
    assert tone.shape[-1] == pan.shape[-1] == network.config.tone_bins == 81
    power = np.abs(np.fft.rfft(network.tone(tone, 48_000)[0].detach().numpy())) ** 2
    hertz = np.linspace(0, 24_000, len(power))
    low, fading, above = (
        power[(hertz > first) & (hertz < last)].mean() for first, last in ((500, 1_700), (2_200, 2_600), (3_300, 24_000))
    )
    assert 0.1 < fading / low < 0.5 and above / low < 1e-3


@pytest.mark.parametrize("amplitude", [0.1, 1e-3, 1e-5])
def test_below_its_knee_noise_falls_twice_as_fast(plain, amplitude):
    network = DecoderNetwork(replace(plain.config, noise_knee=1e-3))
    tone, places, levels = network.sizes
    said = torch.zeros(1, 2, tone + places + levels)
    said[..., tone + places :] = math.log(amplitude) - LEVEL_AT_START
    found = network.parts(said)[2][0, 0, :, -1]  # of middle and side, in the highest bin
    knees = torch.tensor([1e-3, 1e-3 * SIDE_KNEE])
    torch.testing.assert_close(found, amplitude**2 / (amplitude + knees), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("frames", "hertz", "factor"),
    [(2, 2_500, 8), (4, 2_500, 8), (32, 2_500, 4), (2, 5_000, 4), (2, 10_000, 2), (2, 12_000, 1)],
)
def test_the_rate_of_a_tone_divides_its_hop_and_has_room_above_it(frames, hertz, factor):
    config = DecoderConfig(tone_frames=frames, tone_hz=float(hertz))
    assert config.tone_factor == factor and config.tone_window // 4 % factor == 0


def test_a_low_tone_is_made_at_a_lower_rate_and_sounds_the_same(decoder, monkeypatch):
    config = replace(decoder.config, tone_hz=2_500.0)
    assert (decoder.config.tone_factor, config.tone_factor) == (1, 8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        low = StereoDecoder(config, DecoderNetwork(config))
    low.network.code_vectors.copy_(decoder.network.code_vectors)
    codes = draw_codes(40)
    found = low.decode(codes)
    monkeypatch.setattr(DecoderConfig, "tone_factor", 1)
    expected = low.decode(codes)
    assert (found - expected).square().mean() < 1e-8 * expected.square().mean()
    assert not torch.equal(found, expected)


def test_noise_of_a_steady_level_is_as_loud_at_every_place_of_a_frame(decoder):
    """What a decoder that clicks fails: 22 here, where sound that knows nothing of frames has 1.1."""
    network, frames = decoder.network, 3000
    bins = network.level_bins.shape[1]
    level = torch.full((1, frames * decoder.config.noise_frames, bins), 0.1)
    wav = network.noise(with_phases(level, torch.Generator().manual_seed(0)))[0].numpy()
    places = np.abs(np.diff(wav, 2, append=[0, 0])).reshape(frames, -1).mean(axis=0)
    assert places.max() / places.mean() < 1.1
    assert np.std(wav) == pytest.approx(0.1, rel=0.05)


def test_sound_is_never_louder_than_music_whatever_the_codes(plain):
    network = plain.network
    said = torch.zeros(1, 300, sum(network.sizes))
    said[..., -network.sizes[2] :] = 50.0  # far beyond what is said of any song
    level = network.parts(said)[2][:, :, 0]
    wav = network.noise(with_phases(level, torch.Generator().manual_seed(0)))
    assert 0.2 < wav.std() <= 0.26
    said[..., : network.sizes[0]] = torch.randn(1, 300, network.sizes[0])
    assert network.tone(network.parts(50 * said)[0], 48_000).std() <= 0.31
    said[..., : network.sizes[0]] *= 0.1
    assert 0.05 < network.tone(network.parts(said)[0], 48_000).std() < 0.2
    said[..., -network.sizes[2] :] = 1.0  # and what is usual is left as it is
    middle, side = network.parts(said)[2].unbind(2)
    hertz = torch.linspace(0, 24_000, side.shape[-1])
    assert side.sub(0.0498).abs().max() < 1e-4
    assert (middle - side)[..., hertz > 2_000].abs().max() < 1e-6
    assert not middle[..., hertz < 1_000].any()  # where a band is heard as tones


def test_places_change_slowly_and_stay_where_they_are_steady():
    steady = torch.full((1, 20, 3), -0.4)
    torch.testing.assert_close(smoothed(steady), steady)
    jump = torch.cat([torch.zeros(1, 10, 1), torch.ones(1, 10, 1)], dim=1)
    assert smoothed(jump).diff(dim=1).max() < 0.35 and smoothed(jump)[0, [0, -1], 0].tolist() == pytest.approx([0, 1])


def test_overlapping_spectra_give_their_sound_back():
    wav = torch.randn(1, 64 * 40)
    hann = torch.hann_window(256)
    padded = torch.nn.functional.pad(wav, (96, 96))
    spectrum = torch.stft(padded, 256, 64, window=hann, center=False, return_complex=True).transpose(1, 2)
    torch.testing.assert_close(overlap_add(spectrum, 256, 64)[:, 256:-256], wav[:, 256:-256], rtol=0, atol=1e-4)


def test_bands_cover_every_bin_once():
    weights = mel_interpolation(12, 161, 24_000)
    torch.testing.assert_close(weights.sum(0), torch.ones(161))
    assert (weights >= 0).all() and weights[0, 0] == 1 and weights[-1, -1] == pytest.approx(1)


@pytest.mark.parametrize(
    "codes, message",
    [
        (torch.zeros(1, 4, 0, dtype=torch.int64), "expected integers"),
        (torch.zeros(1, 4, 3), "expected integers"),
        (torch.zeros(4, 3, dtype=torch.int64), "expected integers"),
        (torch.zeros(1, 5, 3, dtype=torch.int64), "5 codebooks given; this decoder reads 1 to 4"),
        (torch.full((1, 4, 3), BINS), "expected 0 to 15"),
        (torch.full((1, 4, 3), -1), "expected 0 to 15"),
    ],
)
def test_codes_that_cannot_be_decoded_are_refused(decoder, codes, message):
    with pytest.raises(ValueError, match=message):
        decoder.decode(codes)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"width": 0}, "width is 0; expected 1 or more"),
        ({"noise_bands": 1}, "noise_bands is 1; expected 2 or more"),
        ({"sample_rate": 44_100}, "sample_rate is 44100"),
        ({"tone_hz": 500.0}, "tone_hz is 500.0; expected 1000 to 12000"),
        ({"timbre_seconds": -1.0}, "timbre_seconds is -1.0; expected 0 or more"),
        ({"noise_knee": -1e-4}, "noise_knee is -0.0001; expected 0 or more"),
        ({"tone_frames": 3}, "tone_frames is 3; expected a divisor of 160"),
    ],
)
def test_sizes_that_cannot_be_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        DecoderConfig(**values)


def test_a_component_is_read_as_it_was_written(decoder, tmp_path):
    decoder.save(tmp_path / "d", {"step": 3}, torch.float32)
    again = load_decoder(tmp_path / "d")
    assert isinstance(again, StereoDecoder) and again.config == decoder.config
    codes = draw_codes(8)
    assert torch.equal(again.decode(codes), decoder.decode(codes))
    decoder.save(tmp_path / "half", {})  # half the size, and hardly another sound
    torch.testing.assert_close(StereoDecoder.load(tmp_path / "half").decode(codes), again.decode(codes), rtol=0, atol=0.02)


def test_weights_that_do_not_fit_are_named(decoder, tmp_path):
    decoder.save(tmp_path / "d", {})
    config = checkpoint.read_info(tmp_path / "d")
    config["decoder"]["width"] = 9
    component.write_json(tmp_path / "d" / "config.json", config)
    with pytest.raises(CheckpointError, match="do not fit its config.json"):
        load_decoder(tmp_path / "d")


def test_a_checkpoint_says_what_decodes_it(tmp_path):
    tokenizer, decoder = load_codec(make_checkpoint(tmp_path / "c"))
    assert isinstance(decoder, StereoDecoder)
    assert round_trip(torch.randn(1000), tokenizer, decoder).shape == (2, 2000)
    alone, own = load_codec(tmp_path / "c-components" / "acoustic_tokenizer")
    assert isinstance(own, EncodecDecoder) and round_trip(torch.randn(1000), alone, own).shape == (1, 1000)
    with pytest.raises(CheckpointError, match="no checkpoint 'nothing'"):
        load_codec("nothing")


def test_a_decoder_of_another_codec_is_refused(tmp_path):
    make_checkpoint(tmp_path / "c")
    parts = tmp_path / "c-components"
    config = checkpoint.read_info(parts / "decoder") | {"tokenizers": {"acoustic": "0" * 64}}
    component.write_json(parts / "decoder" / "config.json", config)
    with pytest.raises(CheckpointError, match="the decoder was trained on another acoustic tokenizer"):
        checkpoint.write_checkpoint(tmp_path / "d", {part.name: part for part in parts.iterdir()}, {})
