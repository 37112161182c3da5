"""The acoustic tokenizer: the real EnCodec's codes and waves, three formats of weights, chunks without seams."""

import hashlib
import math
import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from accompgen.component import CheckpointError, component_hash, tokens_hash
from accompgen.config import ConfigError, to_dict
from accompgen.tokens import acoustic
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.encodec import CodecConfig, build_network

GOLDEN = "encodec_24khz_tiny-5424a9e8.th"
SIZES = [
    dict(filters=2, latent=8, codebooks=4, bins=16, lstm_layers=2, shortcut=True, pad_mode="reflect"),
    dict(filters=4, latent=8, codebooks=4, bins=16, lstm_layers=0, shortcut=False, pad_mode="constant"),
]


@pytest.fixture(scope="module")
def golden(shared):
    with np.load(shared / "golden" / "encodec_24khz_tiny.npz") as arrays:
        expected = {name: torch.from_numpy(arrays[name]) for name in arrays}
    return AcousticTokenizer.load(shared / "golden" / GOLDEN), expected


def tokenizer(seed=0, **sizes):
    torch.manual_seed(seed)
    config = CodecConfig(**(SIZES[1] | sizes))
    made = AcousticTokenizer(config, build_network(config))
    for layer in made.network.quantizer.layers:
        layer.codebook.embed.normal_(std=0.3)
    return made


def noise(samples, batch=1, seed=0):
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("samples", [24000, 9737])
def test_codes_and_waves_are_those_of_the_encodec_package(golden, samples):
    made, expected = golden
    wav = expected[f"wav_{samples}"][None]
    torch.testing.assert_close(made.embed(wav)[0], expected[f"emb_{samples}"], atol=1e-5, rtol=0)
    for codebooks, rate in ((8, "6kbps"), (3, "1p5kbps")):
        codes = made.encode(wav, codebooks)
        assert torch.equal(codes[0], expected[f"codes_{rate}_{samples}"])
        torch.testing.assert_close(made.decode(codes)[0], expected[f"decoded_{rate}_{samples}"], atol=1e-5, rtol=0)
    quantized = made.network.quantizer.decode(made.encode(wav).transpose(0, 1))
    torch.testing.assert_close(quantized[0], expected[f"quantized_{samples}"], atol=1e-6, rtol=0)


def test_decoder_alone_is_that_of_the_encodec_package(golden):
    made, expected = golden
    wave = made.decode(expected["randcodes"][None])[0]
    torch.testing.assert_close(wave, expected["randcodes_decoded"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("sizes", SIZES)
def test_transformers_directory_gives_the_codes_of_transformers(tmp_path, sizes):
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(1)
    sizes = sizes | dict(lstm_layers=2)  # transformers knows no EnCodec without LSTM
    theirs = EncodecModel(
        EncodecConfig(
            num_filters=sizes["filters"], hidden_size=sizes["latent"], codebook_size=16, num_lstm_layers=2,
            target_bandwidths=[0.6, 1.2], use_conv_shortcut=sizes["shortcut"], pad_mode=sizes["pad_mode"],
        )
    ).eval()  # fmt: skip
    for layer in theirs.quantizer.layers:
        layer.codebook.embed.normal_(std=0.3)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = AcousticTokenizer.load(tmp_path / "theirs")
    assert ours.config == CodecConfig(**sizes)
    assert not any("parametrizations" in name or name.endswith("weight_g") for name in ours.network.state_dict())
    wav = noise(5000)
    expected = theirs.encode(wav[:, None], bandwidth=1.2).audio_codes  # [1, B, Q, F]
    assert torch.equal(ours.encode(wav, 4), expected[0])
    assert torch.equal(ours.encode(wav, 2), expected[0][:, :2])
    wave = theirs.decode(expected, [None]).audio_values[:, 0]
    torch.testing.assert_close(ours.decode(expected[0]), wave, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sizes", SIZES)
def test_component_directory_gives_the_same_codes_and_wave(tmp_path, sizes):
    made = tokenizer(**sizes)
    made.save(tmp_path / "codec")
    again = AcousticTokenizer.load(tmp_path / "codec")
    codes = made.encode(noise(5000))
    assert again.config == made.config and again.codebooks == made.codebooks == 4
    assert torch.equal(again.encode(noise(5000)), codes)
    assert torch.equal(again.decode(codes), made.decode(codes))


def test_a_codec_may_name_the_one_whose_codes_it_gives(tmp_path):
    first, second = tokenizer(), tokenizer(codes_of="5" * 64)
    first.save(tmp_path / "first")
    second.save(tmp_path / "second")
    assert AcousticTokenizer.load(tmp_path / "second").config == second.config
    assert tokens_hash(tmp_path / "first") == component_hash(tmp_path / "first")
    assert tokens_hash(tmp_path / "second") == "5" * 64 != component_hash(tmp_path / "second")


def test_bit_rates_of_the_published_sizes():
    config = CodecConfig(filters=2, latent=2, lstm_layers=0)
    made = AcousticTokenizer(config, build_network(config))
    assert made.codebooks == 8 and made.bins == 1024 and config.kbps == 0.75  # 6 kbps in all


def test_fewer_codebooks_are_the_first_ones():
    made = tokenizer()
    wav = noise(4000, batch=2)
    assert torch.equal(made.encode(wav, 2), made.encode(wav)[:, :2])


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 9737])
def test_frames_are_samples_over_the_hop_rounded_up(samples):
    made = tokenizer()
    codes = made.encode(noise(samples, batch=2))
    frames = math.ceil(samples / 320)
    assert codes.shape == (2, 4, frames) and codes.dtype == torch.int64
    assert made.decode(codes).shape == (2, frames * 320)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("chunk_frames", [7, 16])
def test_chunks_leave_no_seam(monkeypatch, sizes, chunk_frames):
    made = tokenizer(**sizes)
    wav = noise(320 * 50 + 77, batch=2)
    whole_latent, whole_codes = made.embed(wav), made.encode(wav)
    whole_wave = made.decode(whole_codes)
    monkeypatch.setattr(acoustic, "CHUNK_FRAMES", chunk_frames)
    torch.testing.assert_close(made.embed(wav), whole_latent, atol=1e-5, rtol=0)
    assert torch.equal(made.encode(wav), whole_codes)
    torch.testing.assert_close(made.decode(whole_codes), whole_wave, atol=1e-5, rtol=0)


def test_a_seam_would_be_seen(monkeypatch):
    """Without looking back, the chunks do differ from the whole pass: the test above can fail."""
    made = tokenizer()
    wav = noise(320 * 50)
    whole_latent, whole_codes = made.embed(wav), made.encode(wav)
    whole_wave = made.decode(whole_codes)
    monkeypatch.setattr(acoustic, "CHUNK_FRAMES", 7)
    monkeypatch.setattr(acoustic, "_look_back_frames", lambda layers, hop_samples: 0)
    assert (made.embed(wav) - whole_latent).abs().max() > 1e-3
    assert (made.decode(whole_codes) - whole_wave).abs().max() > 1e-3


def test_long_sound_is_quantised_in_spans(monkeypatch):
    made = tokenizer()
    latent = torch.randn(1, 8, 5000)
    codes = made._quantize(latent, 3)
    assert torch.equal(codes[..., 4090:4100], made._quantize(latent[..., 4090:4100], 3))


def test_codec_hears_the_past_alone():
    made = tokenizer()
    wav = noise(320 * 20)
    changed = wav.clone()
    changed[:, 320 * 10 :] = 0
    assert torch.equal(made.embed(changed)[..., :10], made.embed(wav)[..., :10])
    assert not torch.equal(made.embed(changed)[..., 10:], made.embed(wav)[..., 10:])


def test_altered_file_is_refused_by_its_hash(shared, tmp_path):
    content = (shared / "golden" / GOLDEN).read_bytes()
    (tmp_path / GOLDEN).write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    with pytest.raises(CheckpointError, match="its name says 5424a9e8"):
        AcousticTokenizer.load(tmp_path / GOLDEN)
    shutil.copy(shared / "golden" / GOLDEN, tmp_path / "encodec.th")
    with pytest.raises(CheckpointError, match="encodec_24khz-5424a9e8.th"):
        AcousticTokenizer.load(tmp_path / "encodec.th")


class _Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_of_a_pickle_runs(tmp_path):
    content = pickle.dumps(_Touch(tmp_path / "ran"))
    path = tmp_path / f"encodec-{hashlib.sha256(content).hexdigest()[:8]}.th"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a file of torch.save"):
        AcousticTokenizer.load(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("evil", ["of a class", "of torch", "cut"])
def test_a_refused_file_is_described_in_our_words(tmp_path, evil):
    """torch itself says how to load such a file without its protection."""
    content = {"a": _Touch(tmp_path / "ran")} if evil == "of a class" else {"a": torch.hub.load}
    torch.save({"a": torch.zeros(100)} if evil == "cut" else content, tmp_path / "new.th")
    data = (tmp_path / "new.th").read_bytes()[: -200 if evil == "cut" else None]
    path = tmp_path / f"encodec-{hashlib.sha256(data).hexdigest()[:8]}.th"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="names (io.open|torch.hub.load), |not a file of|cannot be") as error:
        AcousticTokenizer.load(path)
    assert "weights_only" not in str(error.value) and "trust" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_what_is_no_codec_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        AcousticTokenizer.load(tmp_path / "nothing")
    made = tokenizer()
    made.save(tmp_path / "codec")
    config = (tmp_path / "codec" / "config.json").read_text()
    (tmp_path / "codec" / "config.json").write_text(config.replace('"filters": 4', '"filters": 8'))
    with pytest.raises(CheckpointError, match="no EnCodec of 24 kHz, mono, causal, 75 frames a second: size mismatch"):
        AcousticTokenizer.load(tmp_path / "codec")
    (tmp_path / "codec" / "config.json").write_text(config.replace('"format": "encodec"', '"format": "mp3"'))
    with pytest.raises(CheckpointError, match="says format = 'mp3'; only an EnCodec of 24, 32 or 48 kHz"):
        AcousticTokenizer.load(tmp_path / "codec")
    (tmp_path / "codec" / "config.json").write_text('{"model_type": "encodec", "sampling_rate": 48000}')
    with pytest.raises(CheckpointError, match="is an EnCodec of 48 kHz, mono, causal, 150 frames a second"):
        AcousticTokenizer.load(tmp_path / "codec")


STEREO = {"encoder.model.0.conv.conv.weight": torch.zeros(32, 2, 7), "encoder.model.0.conv.norm.weight": torch.zeros(32)}
MUSICGEN = {"model.decoder.embed_tokens.0.weight": torch.zeros(3, 4)}
AUDIOCRAFT = {"best_state": {"emb.0.weight": torch.zeros(3, 4)}, "xp.cfg": "sample_rate: 32000", "version": "1.0"}


@pytest.mark.parametrize("content, name, says", [
    (STEREO, "encodec_48khz-HASH.th", "holds no EnCodec: quantizer.layers.0.codebook.embed is missing"),
    (MUSICGEN, "pytorch_model.bin", "a language model, such as MusicGen's"),
    (AUDIOCRAFT, "state_dict.bin", "a language model, such as MusicGen's; only .* audiocraft's compression_state_dict.bin"),
    ({"weight": torch.zeros(2)}, "other.th", "weights of another kind .weight.; only"),
])  # fmt: skip
def test_weights_of_another_kind_are_named(content, name, says, tmp_path):
    torch.save(content, tmp_path / "new")
    digest = hashlib.sha256((tmp_path / "new").read_bytes()).hexdigest()[:8]
    path = (tmp_path / "new").rename(tmp_path / name.replace("HASH", digest))
    with pytest.raises(CheckpointError, match=says) as error:
        AcousticTokenizer.load(path)
    assert str(path) in str(error.value) and len(str(error.value).splitlines()) == 1


def test_weights_without_their_config_are_asked_for_it(tmp_path):
    for save, name in ((save_file, "model.safetensors"), (torch.save, "pytorch_model.bin")):
        path = tmp_path / name
        for channels, words in ((1, "one channel"), (2, "2 channels, such as that of 48 kHz")):
            save({"encoder.layers.0.conv.weight": torch.zeros(4, channels, 7)}, path)
            with pytest.raises(CheckpointError, match=f"weights alone .an EnCodec of {words}.; give the directory"):
                AcousticTokenizer.load(path)
    path = tmp_path / "model.safetensors"
    save_file(MUSICGEN, path)
    with pytest.raises(CheckpointError, match="model.safetensors holds a language model, such as MusicGen's; only"):
        AcousticTokenizer.load(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="damaged safetensors file .*; copy it again"):
        AcousticTokenizer.load(path)


@pytest.mark.parametrize("config, says", [
    (None, "has no config.json .it holds encodec_24khz-d7cc33bc.th.; give the .th file of EnCodec, compression_state"),
    ('{"model_type": "musicgen"}', "says model_type = 'musicgen'; only an EnCodec of 24, 32"),
    ('{"sizes": 1}', "says no model_type; only an EnCodec"),
    ("[1]", "config.json holds a list"),
    ("{half", "config.json is not valid JSON"),
])  # fmt: skip
def test_a_directory_of_something_else_is_named(config, says, tmp_path):
    (tmp_path / "encodec_24khz-d7cc33bc.th").write_bytes(b"")
    if config:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match=says) as error:
        AcousticTokenizer.load(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_bad_values_are_named():
    made = tokenizer()
    with pytest.raises(ValueError, match=r"expected \[B, T\]"):
        made.encode(torch.zeros(5))
    with pytest.raises(ValueError, match="9 codebooks"):
        made.encode(noise(400), 9)
    with pytest.raises(ValueError, match="expected 0 to 15"):
        made.decode(torch.full((1, 4, 3), 16))
    with pytest.raises(ValueError, match="5 codebooks"):
        made.decode(torch.zeros(1, 5, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="integers"):
        made.decode(torch.zeros(1, 4, 3))
    for values in (dict(bins=100), dict(filters=3), dict(pad_mode="mirror"), dict(codebooks=0), dict(lstm_layers=-1)):
        with pytest.raises(ConfigError, match=next(iter(values))):
            CodecConfig(**values)
    assert to_dict(made.config)["filters"] == 4
