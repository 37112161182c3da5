"""The codec's training: its start, its figures, a step that learns, and a resumed run that equals an uninterrupted one."""

import json
import math

import numpy as np
import pytest
import torch

from accompgen import audio
from accompgen.config import ConfigError, from_dict, read_toml
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.encodec import CodecConfig, build_network
from accompgen.training import codec, codec_init
from accompgen.training.codec import (
    CodecTraining,
    evaluate_codec,
    learning_rate,
    mel_weight,
    quantize_crops,
    train_codec,
)
from accompgen.training.codec_figures import (
    chroma,
    chroma_correlation,
    correlation,
    onset_envelope,
    perplexity,
    read_mono,
    si_sdr,
)
from accompgen.training.codec_losses import (
    log_mel,
    log_octaves,
    mel_filters,
    onset_envelopes,
    power_spectrum,
    reconstruction_losses,
)
from accompgen.training.codec_optimizer import CodecOptimizer
from accompgen.training.codec_songs import SongFile, draw_crops, step_random, training_sounds

PARTS = ("wave", "mel", "flux", "octaves", "onsets")
TINY = CodecConfig(filters=2, latent=8, codebooks=4, bins=16, lstm_layers=0, shortcut=False, pad_mode="constant")


def tone(hertz, seconds=2.0):
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(24000 * seconds)) / 24000)).astype(np.float32)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    lines = []
    for number, note in enumerate((220, 247, 262, 330, 392)):
        audio.write(folder / f"{number}.wav", np.stack([tone(note) + 0.5 * tone(1.5 * note)] * 2), 24000)
        split = "train" if number < 3 else "validation"
        files = {"vocal": f"{number}.wav", "accompaniment": f"{number}.wav"}
        lines.append(json.dumps({"id": str(number), "split": split, "licence": "none", "seconds": 1.0, **files}))
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "manifest.jsonl"


@pytest.fixture(autouse=True)
def few_latents(monkeypatch):
    monkeypatch.setattr(codec, "KMEANS_BATCHES", 8)  # enough for 16 codes


def tiny_training(manifest, **values):
    settings = dict(
        manifest=str(manifest), model=TINY, steps=8, batch_size=2, crop_seconds=0.4, warmup_steps=2,
        wave_steps=2, plain_steps=3, mel_ramp_steps=4, log_every=2, validate_every=4, validation_songs=1,
        validation_seconds=1.0, device="cpu",
    )  # fmt: skip
    return CodecTraining(**(settings | values))


def test_every_convolution_has_unit_output_after_the_start():
    torch.manual_seed(0)
    network = build_network(TINY)
    wav = 0.1 * torch.randn(2, 1, 9600)
    codec_init.rescale_convolutions(network, wav)
    stds = []
    modules = [m for m in network.modules() if isinstance(m, codec_init.CONVOLUTIONS)]
    for module in modules:
        module.register_forward_hook(lambda module, inputs, output: stds.append(output.std().item()))
    back = network.decoder(network.encoder(wav))
    assert len(stds) == len(modules) == 28
    np.testing.assert_allclose(stds[:-1], 1, atol=1e-3)
    assert stds[-1] == pytest.approx(wav.std().item(), rel=1e-3)
    assert back.shape == wav.shape


def test_optimizer_steps_relative_to_the_weight_and_keeps_its_norm():
    torch.manual_seed(0)
    network = build_network(TINY)
    wav = 0.1 * torch.randn(2, 1, 9600)
    codec_init.rescale_convolutions(network, wav)
    optimizer = CodecOptimizer(network, lr=0.02)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(before)
    network.decoder(network.encoder(wav)).square().mean().backward()
    optimizer.step()
    after = dict(network.named_parameters())
    wide = "encoder.layers.12.conv.weight"
    change = torch.linalg.svdvals((after[wide] - before[wide]).flatten(1)).max()
    size = before[wide].norm() * (32**-0.5 + 256**-0.5)
    assert 0.01 < change / size < 0.03
    assert after[wide].norm().item() == pytest.approx(before[wide].norm().item(), rel=1e-5)
    first, last = "encoder.layers.0.conv.weight", "decoder.layers.15.conv"
    step = 0.02 * 0.5 * before[first].square().mean().sqrt()
    torch.testing.assert_close((after[first] - before[first]).abs().max(), step, rtol=0.01, atol=0)
    assert (after[f"{last}.bias"] - before[f"{last}.bias"]).abs().item() == pytest.approx(0.02 * 0.005, rel=0.01)


def test_kmeans_start_quantises_residual_by_residual():
    torch.manual_seed(0)
    quantizer = build_network(TINY).quantizer
    latents = torch.randn(2000, 8)
    codec_init.start_codebooks(quantizer, latents, torch.Generator().manual_seed(0))
    codes, residuals = codec_init.quantize(quantizer, latents)
    powers = [residual.pow(2).mean().item() for residual in residuals]
    assert all(later < 0.8 * earlier for earlier, later in zip(powers, powers[1:], strict=False))
    assert all(len(row.unique()) == 16 for row in codes)
    distances = torch.cdist(residuals[1], quantizer.layers[1].codebook.embed)
    assert torch.equal(codes[1], distances.argmin(1))
    with pytest.raises(ValueError, match="10 latents cannot start 16 codes"):
        codec_init.start_codebooks(quantizer, latents[:10], torch.Generator())


def test_codes_move_to_the_mean_of_what_chose_them_and_dead_ones_return(monkeypatch):
    monkeypatch.setattr(codec_init, "EMA_DECAY", 0.98)  # a quarter of the steps
    quantizer = torch.nn.Module()
    quantizer.layers = build_network(TINY).quantizer.layers[:1]
    book = quantizer.layers[0].codebook
    vectors = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    book.embed.zero_()
    book.embed[0], book.embed[1] = 1.0, -1.0
    book.embed[2:] = 100.0  # nobody chooses these
    book.cluster_size.fill_(1 / 16)
    book.embed_avg.copy_(book.embed / 16)
    generator, replaced = torch.Generator().manual_seed(0), 0
    for _ in range(700):
        codes, residuals = codec_init.quantize(quantizer, vectors)
        replaced += codec_init.update_codebooks(quantizer, codes, residuals, generator)
    assert replaced >= 14
    used = codes[0].unique()
    assert len(used) == 16
    for code in used:
        torch.testing.assert_close(book.embed[code], vectors[codes[0] == code].mean(0), atol=0.1, rtol=0)


def test_dropped_codebooks_are_not_heard():
    torch.manual_seed(0)
    network = build_network(TINY)
    latent = torch.randn(40, 8, 30)
    codec_init.start_codebooks(network.quantizer, latent.transpose(1, 2).reshape(-1, 8), torch.Generator())
    books = [layer.codebook.embed.clone() for layer in network.quantizer.layers]
    codes, _ = codec_init.quantize(network.quantizer, latent.transpose(1, 2).reshape(-1, 8))
    heard, _ = quantize_crops(network.quantizer, latent, *step_random(0, 0))
    sums = torch.stack([book[row] for book, row in zip(books, codes, strict=True)]).cumsum(0)  # [Q, B * F, D]
    sums = sums.reshape(4, 40, 30, 8).transpose(2, 3)
    counts = [int((heard[row] - sums[:, row]).abs().amax((1, 2)).argmin()) + 1 for row in range(40)]
    for row, count in enumerate(counts):
        torch.testing.assert_close(heard[row], sums[count - 1, row], atol=1e-5, rtol=0)
    assert counts.count(4) > 12 and counts.count(2) > 5 and set(counts) == {1, 2, 3, 4}


def test_schedules():
    config = tiny_training("m", steps=1000, wave_steps=100, mel_ramp_steps=200, learning_rate=1e-3, decay_share=0.5)
    assert learning_rate(config, 0) == pytest.approx(5e-4)
    assert learning_rate(config, 400) == pytest.approx(1e-3)
    assert learning_rate(config, 750) == pytest.approx((0.02 + 0.98 * 0.5) * 1e-3)
    assert learning_rate(config, 1000) == pytest.approx(2e-5)
    assert [mel_weight(config, step) for step in (99, 100, 200, 300, 999)] == pytest.approx([0, 0.5, 0.65, 0.8, 0.8])


def test_losses_of_known_sounds():
    wav = torch.from_numpy(np.stack([tone(440, 1), tone(1000, 1)]))
    mels = [mel_filters(window, bands) for window, bands in zip((512, 1024, 2048, 4096), (40, 64, 80, 96), strict=True)]
    assert {name: float(part) for name, part in reconstruction_losses(wav, wav, mels).items()} == dict.fromkeys(PARTS, 0)
    silent = reconstruction_losses(wav, torch.zeros_like(wav), mels)
    assert float(silent["wave"]) == pytest.approx(2)
    assert float(silent["mel"]) > 0.1
    half = reconstruction_losses(wav, 0.5 * wav, mels)
    assert float(half["flux"]) < 0.02 < 0.3 < float(half["octaves"]), "a constant gain is no onset"
    assert log_octaves(power_spectrum(wav, 1024)).mean(-1).argmax(1).tolist() == [2, 4]  # 250 to 500 Hz, 1000 to 2000 Hz
    clicks = torch.zeros(1, 24000)
    clicks[0, 6000::6000] = 1
    by_numpy = onset_envelope(clicks[0].numpy())[2:-2]  # there, half a window of the ends is made up
    torch.testing.assert_close(
        onset_envelopes(power_spectrum(clicks, 1024))[0], torch.from_numpy(by_numpy), rtol=1e-3, atol=0.1
    )
    assert float(reconstruction_losses(clicks, clicks.roll(2000, 1), mels)["onsets"]) > 1
    noisy = wav + 2e-4 * torch.randn(wav.shape, generator=torch.Generator().manual_seed(0))
    errors = [float(reconstruction_losses(wav, noisy, mels, floor)["mel"]) for floor in (1e-3, 1e-5)]
    assert errors[0] < 0.3 * errors[1], "a lower floor hears quieter bands"
    peaks = log_mel(power_spectrum(wav, 4096), mels[3]).mean(-1).argmax(1)  # [B]: the band of each tone
    top = mels[3][peaks].argmax(1) * 24000 / 4096
    np.testing.assert_allclose(top.numpy(), [440, 1000], rtol=0.08)
    assert all((filters.sum(1) > 0).all() for filters in mels)


def test_crops_are_pieces_of_songs_at_another_level():
    sounds = [np.round(tone(440) * 32767).astype(np.int16), np.zeros(100, np.int16)]
    config = tiny_training("m", batch_size=30, gain_db=(-6.0, -6.0))
    crops = draw_crops(config, sounds, np.random.default_rng(0))
    assert crops.shape == (30, 9600)
    peaks = crops.abs().amax(1)
    assert {round(float(peak), 2) for peak in peaks} == {0.0, 0.15}
    assert len({float(crop[0]) for crop in crops}) > 10
    assert torch.equal(crops, draw_crops(config, sounds, np.random.default_rng(0)))


def test_crops_of_stems_have_their_share():
    sounds, stems = [np.full(9600, 1000, np.int16)] * 2, [np.full(9600, 9000, np.int16)] * 3
    shares = {}
    for share in (0.0, 0.4, 1.0):
        config = tiny_training("m", batch_size=200, stem_share=share, gain_db=(0.0, 0.0))
        peaks = draw_crops(config, sounds, np.random.default_rng(0), stems).abs().amax(1)
        shares[share] = (peaks > 0.1).float().mean().item()
    assert shares[0.0] == 0 and shares[1.0] == 1 and 0.3 < shares[0.4] < 0.5
    without = tiny_training("m", batch_size=9, stem_share=0.4)
    plain = tiny_training("m", batch_size=9, stem_share=0.0)
    drawn = [draw_crops(config, sounds, np.random.default_rng(0)) for config in (without, plain)]
    assert torch.equal(*drawn), "a manifest without stems gives the crops it always gave"


@pytest.mark.parametrize("rate", [24000, 44100, 48000])
def test_a_piece_of_a_file_is_that_piece_of_the_whole(tmp_path, rate):
    random = np.random.default_rng(0)
    audio.write(tmp_path / "a.flac", random.uniform(-0.5, 0.5, (2, rate)).astype(np.float32), rate, "PCM_16")
    whole = np.round(read_mono(tmp_path / "a.flac") * 32767)
    sound = SongFile(tmp_path / "a.flac")
    assert len(sound) == len(whole) == 24000
    for start, stop in ((0, 24000), (0, 500), (7001, 7500), (12345, 21001), (23900, 30000)):
        piece = sound[start:stop]
        assert piece.dtype == np.int16 and len(piece) == min(stop, 24000) - start
        # the resampler's filter has no end: what lies beyond the margin is heard at under -80 dB
        assert np.abs(piece - whole[start:stop]).max() <= (0 if rate == 24000 else 2)


def test_songs_are_read_with_their_stems(manifest, tmp_path):
    lines = []
    for name, split in (("a", "train"), ("b", "train"), ("c", "validation")):
        files = {part: f"{name}.{part}.wav" for part in ("accompaniment", "bass", "drums")}
        for file in files.values():
            audio.write(tmp_path / file, np.stack([tone(220, 0.1)] * 2), 48000)
        song = {"id": name, "split": split, "licence": "none", "seconds": 0.1, "vocal": "v.wav"}
        song["accompaniment"] = files.pop("accompaniment")
        lines.append(json.dumps(song | ({"stems": files} if name != "b" else {})))
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    sounds, stems = training_sounds(tiny_training(tmp_path / "manifest.jsonl"))
    assert [path.name for sound in sounds for path in sound.paths] == ["a.accompaniment.wav", "b.accompaniment.wav"]
    assert [path.name for sound in stems for path in sound.paths] == ["a.bass.wav", "a.drums.wav"]
    assert training_sounds(tiny_training(tmp_path / "manifest.jsonl", stem_share=0.0))[1] == []
    assert training_sounds(tiny_training(manifest))[1] == []


def test_figures_of_known_sounds():
    wav = tone(440) + tone(660)
    hiss = np.random.default_rng(0).normal(size=len(wav)).astype(np.float32)
    hiss *= 0.1 * np.sqrt((wav**2).mean() / (hiss**2).mean())
    assert si_sdr(wav, 0.5 * (wav + hiss)) == pytest.approx(20, abs=0.3)
    assert chroma(tone(440)).mean(1).argmax() == 0 and chroma(tone(261.6)).mean(1).argmax() == 3
    assert chroma_correlation(chroma(wav), chroma(wav + hiss)) > 0.98
    assert chroma_correlation(chroma(tone(440)), chroma(tone(466.2))) < 0.2
    clicks = np.zeros(48000, np.float32)
    clicks[6000::12000] = 1
    assert correlation(onset_envelope(clicks), onset_envelope(0.5 * clicks)) > 0.99
    assert correlation(onset_envelope(clicks), onset_envelope(np.roll(clicks, 3000))) < 0.2
    assert math.isnan(correlation(np.ones(5), np.arange(5.0)))
    assert perplexity(torch.arange(16).repeat(3), 16) == pytest.approx(16)
    assert perplexity(torch.zeros(9, dtype=torch.int64), 16) == pytest.approx(1)


def test_training_learns_and_its_output_is_usable(manifest, tmp_path, capsys):
    config = tiny_training(manifest, steps=40, plain_steps=25, validate_every=20)
    train_codec(config, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    waves = [line["wave"] for line in lines if "wave" in line]
    assert len(waves) == 20 and waves[11] < 0.9 * waves[0]
    assert [line["step"] for line in lines if "validation" in line] == [20, 40]
    assert "step 40/40" in capsys.readouterr().out
    made = AcousticTokenizer.load(tmp_path / "run" / "model")
    assert made.config == TINY
    figures = evaluate_codec(tmp_path / "run" / "model", manifest)
    assert set(figures) == {"3kbps", "6kbps", "perplexity"} and len(figures["perplexity"]) == 4
    assert "chroma correlation" in capsys.readouterr().out


def test_resumed_training_equals_an_uninterrupted_one(manifest, tmp_path):
    def state(run):
        return torch.load(tmp_path / run / "last" / "state.pt", weights_only=True)

    config = tiny_training(manifest)
    train_codec(config, tmp_path / "whole")
    # stopped after each of the first steps: two without quantiser, that before its codebooks start, that after
    train_codec(tiny_training(manifest, minutes=1e-9), tmp_path / "parts")
    assert state("parts")["step"] == 1
    for step in (2, 3, 4):
        train_codec(config, tmp_path / "parts", pause_after_minutes=1e-9)
        assert state("parts")["step"] == step
        assert (tmp_path / "parts" / "snapshot").exists() and not (tmp_path / "parts" / "model").exists()  # not at its end
    figures = train_codec(config, tmp_path / "parts")
    assert (tmp_path / "parts" / "model").exists()
    assert train_codec(config, tmp_path / "parts") == figures and state("parts")["step"] == 8  # nothing is left to do

    # and once more, on from where it had ended
    for again in (False, True):
        for run in ("whole", "parts") if again else ():
            train_codec(tiny_training(manifest, steps=10), tmp_path / run)
        whole, parts = state("whole"), state("parts")
        assert whole["step"] == parts["step"] == (10 if again else 8)
        for name, value in whole["network"].items():
            assert torch.equal(value, parts["network"][name]), name
    lines = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "songs" in line] == [0, 1, 2, 3, 4, 8, 8]


def test_run_directory_of_another_model_is_refused(manifest, tmp_path):
    train_codec(tiny_training(manifest, steps=1), tmp_path / "run")
    with pytest.raises(ConfigError, match="another run directory"):
        train_codec(tiny_training(manifest, seed=1), tmp_path / "run")


def test_manifest_without_songs_of_a_split_is_refused(tmp_path):
    song = {"id": "a", "split": "test", "licence": "none", "seconds": 1.0, "vocal": "v.wav", "accompaniment": "a.wav"}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(song) + "\n")
    with pytest.raises(ConfigError, match="no train songs"):
        train_codec(tiny_training(tmp_path / "manifest.jsonl"), tmp_path / "run")
    (tmp_path / "manifest.jsonl").write_text('{"split": "train"}\n')
    with pytest.raises(ValueError, match="line 1"):
        train_codec(tiny_training(tmp_path / "manifest.jsonl"), tmp_path / "run")


@pytest.mark.parametrize("name", ["pocket/codec.toml", "tiny/codec.toml"])
def test_recipes_are_valid(root, name):
    config = from_dict(CodecTraining, read_toml(root / "recipes" / "synthetic" / "conf" / name))
    assert config.model.codebooks == 8


def test_bad_values_are_named():
    for values in (dict(dtype="float16"), dict(steps=0), dict(crop_seconds=0.1), dict(stem_share=1.1)):
        with pytest.raises(ConfigError, match=next(iter(values))):
            tiny_training("m", **values)


def test_ctrl_c_saves_at_the_end_of_the_step(manifest, tmp_path, ctrl_c, capsys):
    ctrl_c(codec)
    train_codec(tiny_training(manifest), tmp_path / "run")
    assert torch.load(tmp_path / "run" / "last" / "state.pt", weights_only=True)["step"] == 2
    assert "stopped at step 2, saved" in capsys.readouterr().out and not (tmp_path / "run" / "model").exists()
