"""The EnCodecs of 32 and 48 kHz: the codes and sound of transformers, the layouts of audiocraft and
of the package `encodec`, components, and where stages refuse them."""

import hashlib
import json

import numpy as np
import pytest
import torch
from musicgen_like import packages_codec
from safetensors.torch import load_file, save_file

from accompgen.cli import main
from accompgen.component import CheckpointError
from accompgen.config import ConfigError
from accompgen.tokens import acoustic
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.chunked import ChunkedCodec, load_encodec
from accompgen.tokens.encodec import CodecConfig, OtherCodecConfig, build_network

transformers = pytest.importorskip("transformers", reason="the networks come from transformers")

# 16 bins cost 4 bits: at 50 frames a second a codebook is 0.2 kbit/s, at 150 it is 0.6
SMALL = dict(num_filters=2, hidden_size=8, codebook_size=16, num_lstm_layers=1)
OF_32KHZ = SMALL | dict(
    sampling_rate=32000, upsampling_ratios=[8, 5, 4, 4], use_causal_conv=False,
    use_conv_shortcut=False, target_bandwidths=[0.4, 0.8],
)  # fmt: skip
OF_48KHZ = SMALL | dict(
    sampling_rate=48000, audio_channels=2, use_causal_conv=False, norm_type="time_group_norm",
    normalize=True, chunk_length_s=1.0, overlap=0.01, target_bandwidths=[1.2, 2.4],
)  # fmt: skip
XP_CFG = """
sample_rate: 32000
channels: 1
compression_model: encodec
encodec:
  autoencoder: seanet
  sample_rate: ${sample_rate}
  causal: false
  renormalize: false
seanet:
  channels: ${channels}
  causal: ${encodec.causal}
  ratios: [8, 5, 4, 4]
  activation: ELU
  norm: weight_norm
  kernel_size: 7
  pad_mode: constant
  true_skip: true
  compress: 2
  decoder: {trim_right_ratio: 1.0, final_activation: null}
  encoder: {}
rvq: {n_q: 4, bins: 16}
"""


def noise(*shape):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def reference(settings, folder, **more):
    """A transformers.EncodecModel with random weights, and the directory that it writes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = transformers.EncodecModel(transformers.EncodecConfig(**settings | more)).eval()
        for module in model.modules():
            if isinstance(module, torch.nn.GroupNorm):
                torch.nn.init.normal_(module.weight, 1.0, 0.2)
                torch.nn.init.normal_(module.bias, 0.0, 0.2)
            elif isinstance(module, torch.nn.Conv1d):
                # beside biases the signal would hardly count, and every frame have the same codes
                torch.nn.init.zeros_(module.bias)
        with torch.no_grad():
            spread = model.encoder(noise(1, model.config.audio_channels, 8000)).std(-1).mean().item()
        for depth, layer in enumerate(model.quantizer.layers):
            layer.codebook.embed.normal_(std=spread * 0.7**depth)
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def mono(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mono") / "theirs"
    return reference(OF_32KHZ, folder, pad_mode="constant"), folder


@pytest.fixture(scope="module")
def stereo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stereo") / "theirs"
    return reference(OF_48KHZ, folder), folder


def packages_layout(folder):
    """The weights of a transformers directory by the names of `encodec` and `audiocraft`."""
    return packages_codec(load_file(folder / "model.safetensors"))


@pytest.mark.parametrize("samples", [640 * 12, 5000, 300])
def test_32_khz_gives_the_codes_and_the_sound_of_transformers(mono, samples):
    theirs, folder = mono
    ours = AcousticTokenizer.load(folder, any_rate=True)
    assert (ours.sample_rate, ours.hop_samples, ours.config.frame_hz, ours.codebooks) == (
        32000,
        640,
        50,
        4,
    )
    wav = noise(2, samples)
    codes = theirs.encode(wav[:, None], bandwidth=0.8).audio_codes[0]  # [B, Q, F]
    assert codes.shape == (2, 4, -(-samples // 640))
    assert samples < 1000 or codes[:, 0].unique().numel() > 4
    assert torch.equal(ours.encode(wav), codes)
    assert torch.equal(ours.encode(wav, 2), codes[:, :2])
    wave = theirs.decode(codes[None], [None]).audio_values[:, 0]
    torch.testing.assert_close(ours.decode(codes), wave, atol=1e-5, rtol=0)


def test_32_khz_in_chunks_leaves_no_seam(mono, monkeypatch):
    ours = AcousticTokenizer.load(mono[1], any_rate=True)
    wav = noise(1, 640 * 30 + 77)
    latent, codes = ours.embed(wav), ours.encode(wav)
    wave = ours.decode(codes)
    monkeypatch.setattr(acoustic, "CHUNK_FRAMES", 7)
    torch.testing.assert_close(ours.embed(wav), latent, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.decode(codes), wave, atol=1e-5, rtol=0)
    monkeypatch.setattr(acoustic, "_look_back_frames", lambda layers, hop_samples: 0)
    assert (ours.embed(wav) - latent).abs().max() > 1e-3  # a seam would be seen


def test_the_config_may_be_wrong_about_the_shortcut(mono, tmp_path):
    """One published revision says that there is one, and its weights have none."""
    values = json.loads((mono[1] / "config.json").read_text())
    save_file(load_file(mono[1] / "model.safetensors"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(values | {"use_conv_shortcut": True}))
    ours = AcousticTokenizer.load(tmp_path, any_rate=True)
    assert not ours.config.shortcut
    assert torch.equal(
        ours.encode(noise(1, 5000)),
        AcousticTokenizer.load(mono[1], any_rate=True).encode(noise(1, 5000)),
    )


def test_audiocrafts_file_gives_the_same_codec(mono, tmp_path):
    content = {
        "best_state": packages_layout(mono[1]),
        "xp.cfg": XP_CFG,
        "version": "1.0.0",
        "exported": True,
    }
    torch.save(content, tmp_path / "compression_state_dict.bin")
    expected = AcousticTokenizer.load(mono[1], any_rate=True)
    for path in (tmp_path / "compression_state_dict.bin", tmp_path):
        ours = AcousticTokenizer.load(path, any_rate=True)
        assert ours.config == expected.config
        assert torch.equal(ours.encode(noise(1, 5000)), expected.encode(noise(1, 5000)))


def test_the_codec_inside_a_musicgen_is_found(mono, tmp_path):
    weights = load_file(mono[1] / "model.safetensors")
    inside = {f"audio_encoder.{name}": value for name, value in weights.items()}
    save_file(
        inside | {"decoder.model.decoder.embed_tokens.0.weight": torch.zeros(3, 4)},
        tmp_path / "model.safetensors",
    )
    values = {
        "model_type": "musicgen",
        "audio_encoder": json.loads((mono[1] / "config.json").read_text()),
    }
    (tmp_path / "config.json").write_text(json.dumps(values))
    ours = load_encodec(tmp_path)
    assert isinstance(ours, AcousticTokenizer) and ours.sample_rate == 32000
    assert torch.equal(
        ours.encode(noise(1, 5000)),
        AcousticTokenizer.load(mono[1], any_rate=True).encode(noise(1, 5000)),
    )


@pytest.mark.parametrize("samples", [47520 + 480 + 9000, 30000, 48000])
def test_48_khz_gives_the_codes_and_the_sound_of_transformers(stereo, samples):
    theirs, folder = stereo
    ours = load_encodec(folder)
    assert isinstance(ours, ChunkedCodec) and (ours.channels, ours.codebooks) == (2, 4)
    wav = noise(1, 2, samples) * torch.linspace(0.1, 1, samples)
    encoded = theirs.encode(wav, bandwidth=2.4)
    chunks = ours.encode(wav)
    assert len(chunks) == len(encoded.audio_codes) == -(-samples // 47520)
    for chunk, codes, scale in zip(chunks, encoded.audio_codes, encoded.audio_scales):
        assert torch.equal(chunk.codes, codes[..., : chunk.codes.shape[-1]])
        torch.testing.assert_close(chunk.loudness, scale[:, 0])
    short = encoded.last_frame_pad_length
    wave = theirs.decode(
        encoded.audio_codes, encoded.audio_scales, last_frame_pad_length=short
    ).audio_values
    torch.testing.assert_close(ours.decode(chunks), wave, atol=1e-5, rtol=0)
    assert ours.decode(chunks, samples).shape == (1, 2, samples)
    assert torch.equal(ours.encode(wav, 2)[0].codes, chunks[0].codes[:, :2])


def test_48_khz_of_the_encodec_package_is_read(stereo, tmp_path):
    torch.save(packages_layout(stereo[1]), tmp_path / "new")
    digest = hashlib.sha256((tmp_path / "new").read_bytes()).hexdigest()[:8]
    path = (tmp_path / "new").rename(tmp_path / f"encodec_48khz-{digest}.th")
    ours, expected = load_encodec(path), load_encodec(stereo[1])
    assert ours.config == expected.config
    wav = noise(1, 2, 4800)
    assert torch.equal(ours.encode(wav)[0].codes, expected.encode(wav)[0].codes)
    with pytest.raises(
        CheckpointError, match="does not carry its hash; expected the name encodec_48khz-"
    ):
        load_encodec(path.rename(tmp_path / "encodec.th"))


@pytest.mark.parametrize("kind", ["mono", "stereo"])
def test_they_are_adopted_as_components(kind, request, tmp_path, capsys):
    folder = request.getfixturevalue(kind)[1]
    assert main(["adopt", "encodec", str(folder), "-o", str(tmp_path / "ours")]) == 0
    out, err = capsys.readouterr()
    assert "frames a second: 50" in out if kind == "mono" else "frames a second: 150" in out
    assert "no stage that is trained here can use its codes" in err and "CC BY-NC" in err
    ours, expected = load_encodec(tmp_path / "ours"), load_encodec(folder)
    assert ours.config == expected.config
    for name, value in expected.network.state_dict().items():
        if not name.endswith(("cluster_size", "embed_avg", "inited")):
            torch.testing.assert_close(ours.network.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.parametrize(
    "kind, what",
    [("mono", "32 kHz, mono, not causal, 50"), ("stereo", "48 kHz, stereo, not causal, 150")],
)
def test_stages_refuse_their_codes(kind, what, request, tmp_path):
    folder = request.getfixturevalue(kind)[1]
    load_encodec(folder).save(tmp_path / "ours")
    for path in (folder, tmp_path / "ours"):
        with pytest.raises(CheckpointError, match=what) as error:
            AcousticTokenizer.load(path)
        assert "24 kHz, mono, causal, 75 frames a second" in str(error.value) and str(path) in str(
            error.value
        )
    if kind == "stereo":
        with pytest.raises(CheckpointError, match="come in chunks"):
            AcousticTokenizer.load(folder, any_rate=True)


def rewritten(**changes):
    return lambda values: values | changes


@pytest.mark.parametrize("change, message", [
    (rewritten(norm_type="time_group_norm"), "norm_type is 'time_group_norm' and normalize False"),
    (rewritten(chunk_length_s=1.0), "chunk_length_s is 1.0"),
    (rewritten(kernel_size=5), "kernel_size is 5; an EnCodec is read where it is 7"),
    (rewritten(upsampling_ratios=[7, 5, 4, 4]), "expected strides whose product divides 32000"),
    (rewritten(model_type="dac"), "says model_type = 'dac'; only an EnCodec of 24, 32 or 48 kHz is read"),
])  # fmt: skip
def test_a_config_of_something_else_is_named(mono, tmp_path, change, message):
    values = json.loads((mono[1] / "config.json").read_text())
    save_file(load_file(mono[1] / "model.safetensors"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(change(values)))
    with pytest.raises(CheckpointError, match=message):
        load_encodec(tmp_path)


AUDIOCRAFT = {
    "no weights": (
        {"pretrained": "facebook/encodec_32khz", "exported": True},
        "says that the codec is 'facebook/enc",
    ),
    "no configuration": ({"best_state": {"a": torch.zeros(1)}}, "without best_state and xp.cfg"),
    "a language model": (
        {"best_state": {"transformer.layers.0.norm1.weight": torch.zeros(2)}, "xp.cfg": XP_CFG},
        "a language model, such as MusicGen's",
    ),
    "one that renormalises": (
        "renormalize: false",
        "renormalize: true",
        "describes no EnCodec that is read",
    ),
    "no YAML": (
        "sample_rate: 32000",
        "sample_rate: !!python/name:os.system",
        "is no YAML of plain values",
    ),
    "another network": ("activation: ELU", "activation: Snake", "activation is 'Snake'"),
}


@pytest.mark.parametrize("kind", AUDIOCRAFT)
def test_an_audiocraft_file_of_something_else_is_named(mono, tmp_path, kind):
    *content, message = AUDIOCRAFT[kind]
    if len(content) == 2:
        assert content[0] in XP_CFG
        content = [{"best_state": packages_layout(mono[1]), "xp.cfg": XP_CFG.replace(*content)}]
    torch.save(content[0], tmp_path / "compression_state_dict.bin")
    with pytest.raises(CheckpointError, match=message) as error:
        load_encodec(tmp_path / "compression_state_dict.bin")
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_float32(mono, tmp_path, dtype):
    state = {name: value.to(dtype) for name, value in packages_layout(mono[1]).items()}
    torch.save({"best_state": state, "xp.cfg": XP_CFG}, tmp_path / "compression_state_dict.bin")
    ours = load_encodec(tmp_path / "compression_state_dict.bin")
    assert all(value.dtype == torch.float32 for value in ours.network.parameters())
    expected = load_encodec(mono[1]).network.state_dict()["encoder.layers.0.conv.weight"]
    torch.testing.assert_close(
        ours.network.state_dict()["encoder.layers.0.conv.weight"], expected, rtol=0.02, atol=0.01
    )


def test_bad_values_are_named(stereo):
    ours = load_encodec(stereo[1])
    with pytest.raises(ValueError, match=r"expected \[B, 2, T\]"):
        ours.encode(torch.zeros(1, 1, 500))
    with pytest.raises(ValueError, match="5 codebooks asked for"):
        ours.encode(torch.zeros(1, 2, 500), 5)
    with pytest.raises(ValueError, match="no chunks"):
        ours.decode([])
    for values in (dict(channels=2), dict(channels=3), dict(ratios=(7,)), dict(stride_samples=0)):
        with pytest.raises(ConfigError, match=next(iter(values))):
            OtherCodecConfig(**values)
    assert CodecConfig().description.startswith("an EnCodec of 24 kHz, mono, causal, 75 frames")
    assert build_network(OtherCodecConfig(filters=2, latent=4, bins=4)).config.frame_rate == 50


def test_48_khz_is_that_of_the_encodec_package(root):
    """Against what tools/golden_encodec_48khz.py wrote with the package itself."""
    folder = root / "tests" / "golden" / "encodec_48khz"
    with np.load(folder / "expected.npz") as arrays:
        expected = {name: torch.from_numpy(arrays[name]) for name in arrays if name != "about"}
    ours = load_encodec(next(folder.glob("encodec_48khz-*.th")))
    seconds = np.arange(54_000) / 48_000
    glides = [np.sin(2 * np.pi * (low * seconds + 900 * seconds**2)) for low in (220, 330)]
    wav = torch.from_numpy((np.stack(glides) * (0.05 + 0.4 * seconds)).astype(np.float32))
    chunks = ours.encode(wav[None])
    assert len(chunks) == 2 and chunks[0].codes.unique().numel() > 4
    for index, chunk in enumerate(chunks):
        assert torch.equal(chunk.codes[0], expected[f"codes_{index}"].long())
        torch.testing.assert_close(chunk.loudness[0], expected[f"loudness_{index}"])
    heard = ours.decode(chunks)[0]
    torch.testing.assert_close(heard[:, ::16], expected["thinned"], rtol=0, atol=1e-5)
    torch.testing.assert_close(heard[:, 47_400:48_100], expected["overlap"], rtol=0, atol=1e-5)
