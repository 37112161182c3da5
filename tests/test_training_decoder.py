"""The decoder's training: it learns, goes on exactly where it stopped, and its losses tell noise from clicks."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import BINS, COARSE, FINE, make_acoustic_tokenizer

from accompgen import audio
from accompgen.component import CheckpointError, component_hash, load_component, tokens_hash
from accompgen.config import ConfigError
from accompgen.data.songs import Song, write_manifest
from accompgen.data.tracks import Tracks
from accompgen.tokens.decoder import StereoDecoder
from accompgen.tokens.decoder_network import DecoderConfig
from accompgen.tokens.load import load_decoder
from accompgen.training import decoder as training
from accompgen.training import decoder_timbre
from accompgen.training.decoder import DecoderTraining, train
from accompgen.training.decoder_losses import QUIET, energy_distance, overshoot, tone_loss
from accompgen.training.decoder_songs import middle_and_side, read_sounds
from accompgen.training.discriminator import Discriminator, DiscriminatorConfig

SIZES = DecoderConfig(
    codebooks=COARSE + FINE, bins=BINS, latent=8, width=16, hidden=32, blocks=1, noise_bands=8, pan_bands=4
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A codec and six songs of 1.2 s: a tone and hiss, somewhat to the left; the first has a stem and a silent one."""
    place, random = tmp_path_factory.mktemp("decoder"), np.random.default_rng(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        make_acoustic_tokenizer().save(place / "codec")
    songs, time = [], np.arange(57_600) / 48_000
    for number in range(6):
        tone = 0.2 * np.sin(2 * np.pi * (200 + 50 * number) * time)
        wav = np.stack([tone, 0.6 * tone]) + 0.02 * random.normal(size=(2, len(time)))
        split, name = ("train", "validation")[number > 3], f"song-{number}"
        audio.write(place / f"{name}.flac", wav, 48_000)
        audio.write(place / "silence.flac", np.zeros((2, 48_000)), 48_000)
        stems = {"bass": place / "song-0.flac", "drums": place / "silence.flac"} if not number else {}
        band = place / f"{name}.flac"
        songs.append(Song(name, split, "CC0", 1.2, Tracks(vocal=band, accompaniment=band, **stems)))
    write_manifest(place / "songs.jsonl", songs)
    return place


def config(place, **changes):
    values = {
        "steps": 24, "crop_seconds": 0.4, "windows": (64, 256, 1024), "tone_windows": (256, 1024, 4096),
        "learning_rate": 1e-2, "warmup_steps": 3,
        "ema_decay": 0.8, "batch_size": 2, "log_every": 6, "validate_every": 12, "save_every": 6,
        "validation_seconds": 1.0, "stem_seconds": 0.5, "device": "cpu",
    } | changes  # fmt: skip
    return DecoderTraining(str(place / "songs.jsonl"), str(place / "codec"), SIZES, **values)


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def trained(place):
    train(config(place), place / "run")
    return place / "run"


def test_it_learns(trained):
    lines = [line for line in log_of(trained) if "tone" in line]
    assert lines[-1]["tone"] < 0.7 * lines[0]["tone"] and lines[-1]["energy"] < 0.9 * lines[0]["energy"]


def test_the_component_says_whose_codes_it_decodes(place, trained):
    decoder = load_decoder(trained / "model")
    assert isinstance(decoder, StereoDecoder) and decoder.config == SIZES
    about = json.loads((trained / "model" / "config.json").read_text(encoding="utf-8"))
    assert about["tokenizers"] == {"acoustic": tokens_hash(place / "codec")} and about["step"] == 24
    assert set(about["validation"]) == {"si_sdr", "chroma", "onset", "spectra", "width"}
    torch.testing.assert_close(
        decoder.network.code_vectors[0], make_vectors(place)[0].half().float(), rtol=0, atol=0
    )


def make_vectors(place):
    from accompgen.tokens.acoustic import AcousticTokenizer

    layers = AcousticTokenizer.load(place / "codec").network.quantizer.layers
    return torch.stack([layer.codebook.embed for layer in layers])


def train_with_a_stop(values, run, monkeypatch, at):
    """A call that is interrupted in step `at`, and another one that goes on."""
    step = training.training_step

    def interrupted(config, number, *rest):
        if number == at:
            raise KeyboardInterrupt
        return step(config, number, *rest)

    monkeypatch.setattr(training, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(values, run)
    monkeypatch.setattr(training, "training_step", step)
    train(values, run)
    return torch.load(run / "last" / "state.pt", weights_only=True)


def assert_equal_weights(first, second):
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(place, trained, monkeypatch):
    stopped = train_with_a_stop(config(place), place / "stopped", monkeypatch, at=8)
    whole = torch.load(trained / "last" / "state.pt", weights_only=True)
    assert whole["step"] == stopped["step"] == 24
    assert_equal_weights(whole["network"], stopped["network"])
    assert train(config(place), place / "stopped")["finished"]  # and an ended one is left as it is


def test_an_ended_run_goes_on_with_more_steps_and_makes_a_lost_component_anew(place, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    shutil.rmtree(run / "model")
    assert train(config(place), run)["finished"]
    again, before = load_component(run / "model"), load_component(trained / "model")
    assert again[0] == before[0]
    assert_equal_weights(again[1], before[1])
    paused = train(config(place, steps=30), run, pause_after_minutes=1e-9)
    assert not paused["finished"] and paused["step"] == 25 and not (run / "model").exists()
    assert train(config(place, steps=30), run)["step"] == 30 and (run / "model").exists()


def test_a_discriminator_may_join_and_goes_on_as_well(place, monkeypatch):
    small = DiscriminatorConfig(filters=2, windows=(256, 64), channels=2)
    values = config(place, steps=6, save_every=2, log_every=3, adversarial_weight=1.0, discriminator=small)
    train(values, place / "whole")
    lines = [line for line in log_of(place / "whole") if "features" in line]
    assert len(lines) == 2 and lines[-1]["features"] > 0 and lines[-1]["adversarial"] > 0
    whole = torch.load(place / "whole" / "last" / "state.pt", weights_only=True)
    assert set(whole["adversary"]["balancer"]["sums"]) == {"energy", "tone", "peaks", "adversarial", "features"}
    learned, started = whole["adversary"]["discriminator"], Discriminator(small).state_dict()
    assert any(not torch.equal(learned[name], started[name]) for name in learned)
    stopped = train_with_a_stop(values, place / "parts", monkeypatch, at=5)
    assert_equal_weights(whole["network"], stopped["network"])
    assert_equal_weights(learned, stopped["adversary"]["discriminator"])


def test_peaks_above_the_truths_nearby_are_what_counts():
    truth = torch.zeros(1, 48_000)
    truth[0, 24_000] = 0.5  # a stroke: within 5 ms of it half of full scale is no overshoot
    drawn = torch.zeros(1, 48_000)
    drawn[0, 24_200] = 0.5
    assert overshoot(truth, drawn, 48_000) == 0
    drawn[0, 24_200] = -0.7
    power = truth.square().mean() + QUIET
    assert overshoot(truth, drawn, 48_000).item() == pytest.approx((0.2**2 / 48_000 / power).item(), rel=1e-4)
    assert overshoot(truth[:0], drawn[:0], 48_000) == 0
    drawn[0, 24_200] = 0.0
    drawn[0, 24_500] = 0.5  # 10 ms behind it
    assert overshoot(truth, drawn, 48_000).item() == pytest.approx((0.5**2 / 48_000 / power).item(), rel=1e-4)


def test_what_stands_above_is_pushed_down_and_nothing_else_is():
    noise = torch.randn(2, 1, 9_600, generator=torch.Generator().manual_seed(0))
    truth, drawn = 0.1 * noise[0], (0.2 * noise[1]).requires_grad_()
    loss = overshoot(truth, drawn, 48_000)
    (gradient,) = torch.autograd.grad(loss, drawn)
    touched = gradient != 0
    assert 0 < touched.sum() < 0.2 * touched.numel() and (drawn[touched].abs() > 0.2).all()
    assert torch.equal(gradient[touched].sign(), drawn[touched].sign())


def test_the_weight_on_peaks_reaches_the_gradient(place):
    for name, weight in (("held", 1e4), ("free", 0.0)):
        train(config(place, steps=1, log_every=1, peak_weight=weight), place / name)
    held, free = (next(line for line in log_of(place / name) if "peaks" in line) for name in ("held", "free"))
    assert held["peaks"] == free["peaks"] > 0 and held["norm"] > 10 * free["norm"]


def test_a_run_may_end_with_the_levels_of_the_songs(place, trained):
    values = {"steps": 1, "start_from": str(trained / "model"), "learning_rate": 1e-9}
    train(config(place, level_octaves=True, **values), place / "levelled")
    (levels,) = [line["levels"] for line in log_of(place / "levelled") if "levels" in line]
    (_, before), (about, after) = (load_component(place / name / "model") for name in ("run", "levelled"))
    assert max(levels["tone_db"]) > 0.1 and not torch.equal(before["out.bias"], after["out.bias"])
    assert about["levels"] == levels


def test_a_run_may_end_with_timbre_and_a_tone_that_ends_lower(place, trained, monkeypatch):
    """And its noise may have a knee, which is no weight."""
    monkeypatch.setattr(decoder_timbre, "STEPS", 20)
    lower = replace(SIZES, tone_hz=3000.0, timbre_seconds=0.8, noise_knee=1e-3)
    values = {"steps": 1, "start_from": str(trained / "model"), "learning_rate": 1e-12}
    train(replace(config(place, **values), model=lower), place / "lower")
    (_, whole), (about, found) = (load_component(place / name / "model") for name in ("run", "lower"))
    assert about["timbre"]["before_db"] > 0 and any("timbre" in line for line in log_of(place / "lower"))
    assert found["timbre.out.weight"].any()
    assert found["out.weight"].shape[0] == sum(lower.sizes) < sum(SIZES.sizes)
    rows = whole["out.weight"][: SIZES.sizes[0]].view(-1, SIZES.tone_bins, 16)[:, : lower.tone_bins]
    assert torch.equal(found["out.weight"][: lower.sizes[0]].view(rows.shape), rows)
    assert torch.equal(found["out.bias"][lower.sizes[0] :], whole["out.bias"][SIZES.sizes[0] :])
    assert load_decoder(place / "lower" / "model").config == lower


def test_a_run_may_begin_with_the_weights_of_another(place, trained, tmp_path):
    train(config(place, steps=1, start_from=str(trained / "model"), learning_rate=1e-9), place / "begun")
    before, after = (load_component(place / name / "model") for name in ("run", "begun"))
    assert_equal_weights(before[1], after[1])
    assert after[0]["started_from"] == component_hash(trained / "model") and before[0]["started_from"] is None
    with pytest.raises(CheckpointError, match="has model.hidden = 32, the configuration model.hidden = 24"):
        wider = replace(SIZES, hidden=24)
        train(replace(config(place, start_from=str(trained / "model")), model=wider), tmp_path / "wider")
    torch.manual_seed(1)
    make_acoustic_tokenizer().save(tmp_path / "codec")
    with pytest.raises(CheckpointError, match="decodes other codes than those of `codec`"):
        train(replace(config(place, start_from=str(trained / "model")), codec=str(tmp_path / "codec")), tmp_path / "other")


def test_other_sizes_are_refused(place, trained):
    other = replace(config(place), model=replace(SIZES, hidden=24))
    with pytest.raises(ConfigError, match="was begun with model"):
        train(other, trained)


def test_a_codec_with_other_codes_is_refused(place, tmp_path):
    other = replace(config(place), model=replace(SIZES, bins=32))
    with pytest.raises(ConfigError, match=r"has code vectors \(4, 16, 8\)"):
        train(other, tmp_path)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"crop_seconds": 0.1}, "crop_seconds is 0.1; expected"),
        ({"stem_share": 1.0}, "stem_share is 1.0"),
        ({"windows_per_step": 4}, "windows_per_step is 4; there are 3"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"steps": 0}, "steps is 0; expected 1 or more"),
    ],
)
def test_values_that_cannot_be_are_refused(place, changes, message):
    with pytest.raises(ConfigError, match=message):
        config(place, **changes)


def test_sounds_are_mixes_and_stems_that_play(place, tmp_path):
    from accompgen.tokens.acoustic import AcousticTokenizer

    tokenizer = AcousticTokenizer.load(place / "codec")
    sounds = read_sounds(config(place), "train", 0, tokenizer, tmp_path)
    assert [sound.stem for sound in sounds] == [False, True, False, False, False]  # the silent stem is left out
    assert sounds[1].wav.shape == (2, 37 * 640) and sounds[1].codes.shape == (4, 37)
    held_out = read_sounds(config(place), "validation", 1, tokenizer, tmp_path)
    assert len(held_out) == 1 and not held_out[0].stem
    true = audio.read(place / "song-4.flac")[0]  # at its own level
    np.testing.assert_allclose(held_out[0].wav / 32767, true[:, : 90 * 640], atol=1e-4)
    again = read_sounds(config(place), "train", 2, tokenizer, tmp_path)  # fewer songs, the same levels
    assert all(np.array_equal(a.wav, b.wav) for a, b in zip(again, sounds))


def test_the_energy_distance_wants_noise_where_the_truth_is_noise():
    """A click of the right level in each frame, what cheaper losses take, and silence are further off than noise."""
    random = torch.Generator().manual_seed(0)
    truth, first, second = 0.1 * torch.randn(3, 1, 48_000, generator=random)
    clicks = torch.zeros(1, 48_000)
    clicks[:, ::640] = 0.1 * 640**0.5  # the same energy in each frame
    windows = (64, 256, 1024, 4096)
    noise = energy_distance(truth, first, second, windows, 48_000)
    same = energy_distance(truth, first, first, windows, 48_000)  # no spread between the draws
    clicked = energy_distance(truth, clicks, clicks, windows, 48_000)
    silent = energy_distance(truth, torch.zeros(1, 48_000), torch.zeros(1, 48_000), windows, 48_000)
    assert noise < same < clicked and noise < silent
    assert energy_distance(truth, truth, truth, windows, 48_000) == 0


def test_the_tone_is_held_to_the_waveform():
    wav = torch.from_numpy(middle_and_side(np.random.default_rng(0).normal(size=(1, 2, 24_000)).astype(np.float32)))
    windows, late = (256, 1024, 4096), torch.roll(wav, 12, dims=2)
    assert tone_loss(wav, wav, windows, 0.5) == 0
    assert tone_loss(wav, torch.zeros_like(wav), windows, 0.5) > tone_loss(wav, 0.9 * wav, windows, 0.5) > 0
    assert tone_loss(wav, late, windows, 0.5) > 1


def test_ctrl_c_saves_at_the_end_of_the_step(place, ctrl_c):
    ctrl_c(training)
    result = train(config(place), place / "interrupted")
    assert not result["finished"] and result["step"] == 2
    assert torch.load(place / "interrupted" / "last" / "state.pt", weights_only=True)["step"] == 2
