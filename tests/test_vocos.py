"""Vocos: the sound of the package itself, whole and in chunks; in a checkpoint; and what is refused."""

import hashlib
import json
import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import BINS, COARSE, FINE, make_acoustic_tokenizer, make_checkpoint, sing

import accompgen
from accompgen import audio
from accompgen.checkpoint import read_info, write_checkpoint
from accompgen.cli import main
from accompgen.component import CheckpointError, component_hash
from accompgen.config import ConfigError
from accompgen.generation import stream
from accompgen.tokens import decoder as module
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.decoder import DecoderStream, VocosDecoder
from accompgen.tokens.encodec import CodecConfig, build_network
from accompgen.tokens.load import load_decoder
from accompgen.tokens.vocos import VocosConfig, VocosNetwork
from accompgen.tokens.vocos_weights import CODE_VECTORS, read_vocos


@pytest.fixture(scope="module")
def golden(root):
    """The folder that tools/golden_vocos.py wrote."""
    return root / "tests" / "golden" / "vocos"


@pytest.fixture(scope="module")
def expected(golden):
    with np.load(golden / "expected.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays if name != "about"}


def small(**sizes):
    """A Vocos with random weights for the codes of tests/tiny.py."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = dict(width=8, hidden=16, blocks=2, trained_with=(2, COARSE + FINE)) | sizes
        network = VocosNetwork(VocosConfig(codebooks=COARSE + FINE, bins=BINS, latent=8, **sizes))
        torch.nn.init.normal_(network.code_vectors)
        for name, weight in network.named_parameters():
            if name != "out.weight":
                torch.nn.init.normal_(weight, mean=float("scale" in name), std=0.3)
    return VocosDecoder(network)


def draw_codes(frames, books=COARSE + FINE):
    return torch.randint(BINS, (1, books, frames), generator=torch.Generator().manual_seed(frames))


@pytest.mark.parametrize("books", [2, 4, 8, 16])
def test_the_sound_is_that_of_the_package(golden, expected, books):
    decoder = VocosDecoder(read_vocos(golden, bins=16))
    codes = expected["codes"][None, :books]
    wav = decoder.decode(codes)
    assert wav.shape == (1, 1, 320 * codes.shape[-1]) and decoder.sample_rate == 24_000
    torch.testing.assert_close(wav[0, 0], expected[f"wav_{books}"], rtol=0, atol=1e-5)
    assert (
        expected[f"wav_{books}"].abs().max() > 0.01
    )  # sound that an error of 1e-5 is small beside


def test_the_number_of_codebooks_chooses_the_norms(golden, expected):
    decoder = VocosDecoder(read_vocos(golden, bins=16))
    assert [decoder.config.norms_for(books) for books in (1, 2, 3, 4, 5, 8, 9, 16)] == [
        0,
        0,
        1,
        1,
        2,
        2,
        3,
        3,
    ]
    wav = decoder.decode(expected["codes"][None, :8])
    decoder.network.norm.scale.weight[2] += 1
    assert not torch.allclose(decoder.decode(expected["codes"][None, :8]), wav)


def test_chunks_leave_no_seam(monkeypatch):
    decoder, codes = small(), draw_codes(50)
    whole = decoder.decode(codes)
    monkeypatch.setattr(module, "CHUNK_FRAMES", 13)
    torch.testing.assert_close(decoder.decode(codes), whole, rtol=0, atol=1e-5)
    monkeypatch.setattr(VocosConfig, "reach", 3)
    short = small()
    assert (short.decode(codes) - whole).abs().max() > 1e-4  # a seam would be seen


@pytest.mark.parametrize("window", [640, 960, 1280])
def test_a_stream_gives_the_sound_of_the_whole(window):
    decoder, codes, parts = small(window=window), draw_codes(45), []
    stream_of_codes = DecoderStream(decoder)
    sizes = (1, 2, 20, 0, 22)
    for index, piece in enumerate(codes[0].split(sizes, dim=1)):
        parts.append(stream_of_codes(piece, last=index == len(sizes) - 1))
    torch.testing.assert_close(torch.cat(parts, dim=1), decoder.decode(codes)[0], rtol=0, atol=1e-5)


def test_a_frame_depends_on_no_more_than_its_reach():
    decoder, codes = small(), draw_codes(60)
    other = codes.clone()
    other[..., 30] = (other[..., 30] + 1) % BINS
    changed = (decoder.decode(other) - decoder.decode(codes)).abs()[0, 0].view(60, -1).amax(
        dim=1
    ) > 1e-6
    reach = decoder.config.reach
    assert changed[30] and not changed[: 30 - reach].any() and not changed[30 + reach + 1 :].any()


def codec_of(golden, folder):
    """A codec whose code vectors are those of the golden Vocos, as a component."""
    config = CodecConfig(filters=2, latent=8, codebooks=16, bins=16, lstm_layers=0)
    codec = AcousticTokenizer(config, build_network(config))
    for layer, vectors in zip(
        codec.network.quantizer.layers, read_vocos(golden, bins=16).code_vectors
    ):
        layer.codebook.embed.copy_(vectors)
    codec.save(folder)
    return folder


def test_it_is_adopted_as_the_decoder_of_a_codec(golden, expected, tmp_path, capsys):
    codec = codec_of(golden, tmp_path / "codec")
    call = [
        "adopt",
        "encodec",
        str(codec),
        "--decoder",
        "vocos",
        str(golden),
        "-o",
        str(tmp_path / "decoder"),
    ]
    assert main(call) == 0
    out, err = capsys.readouterr()
    assert "trained with: 2, 4, 8, 16" in out and "Vocos are MIT" in err
    assert read_info(tmp_path / "decoder")["tokenizers"] == {"acoustic": component_hash(codec)}
    decoder = load_decoder(tmp_path / "decoder")
    assert isinstance(decoder, VocosDecoder)
    wav = decoder.decode(expected["codes"][None, :8])[0, 0]
    torch.testing.assert_close(wav, expected["wav_8"], rtol=0, atol=1e-5)
    assert main(call) == 1 and "exists" in capsys.readouterr().err
    assert main([*call, "--force"]) == 0
    # a published file has the hash of the component that it becomes
    content = AcousticTokenizer.load(codec).network.state_dict()
    torch.save(content, tmp_path / "new")
    digest = hashlib.sha256((tmp_path / "new").read_bytes()).hexdigest()[:8]
    path = (tmp_path / "new").rename(tmp_path / f"encodec-{digest}.th")
    assert main(["adopt", "encodec", str(path), "--decoder", "vocos", str(golden), "-o", str(tmp_path / "again")]) == 0
    assert main(["adopt", "encodec", str(path), "-o", str(tmp_path / "component")]) == 0
    known = read_info(tmp_path / "again")["tokenizers"]["acoustic"]
    assert known == component_hash(tmp_path / "component")


def test_decode_plays_with_it_alone(tmp_path):
    small().save(tmp_path / "decoder", {})
    codes, about = draw_codes(30)[0], {"format": "accompgen tokens 1", "tokenizer": "acoustic"}
    about |= {"sample_rate": "24000", "samples": str(30 * 320 - 5)}
    save_file({"codes": codes.to(torch.int16)}, tmp_path / "song.safetensors", about)
    call = ["decode", str(tmp_path / "song.safetensors"), "-o", str(tmp_path), "--device", "cpu"]
    assert main([*call, "--checkpoint", str(tmp_path / "decoder")]) == 0
    wav, rate = audio.read(tmp_path / "song.wav")
    expected = small().decode(codes[None])[0, :, : 30 * 320 - 5].numpy()
    assert rate == 24_000 and wav.shape == expected.shape
    assert np.abs(wav - expected * (np.abs(wav).max() / np.abs(expected).max())).max() < 1e-4


def test_another_codec_is_refused(golden, tmp_path, capsys):
    make_acoustic_tokenizer().save(tmp_path / "small")
    config = CodecConfig(filters=2, latent=8, codebooks=16, bins=16, lstm_layers=0)
    other = AcousticTokenizer(config, build_network(config))
    for layer in other.network.quantizer.layers:
        layer.codebook.embed.normal_()
    other.save(tmp_path / "other")
    for codec, words in (
        ("small", "reads 16 codebooks of 16 code vectors"),
        ("other", "was made for another codec"),
    ):
        call = ["adopt", "encodec", str(tmp_path / codec), "--decoder", "vocos", str(golden)]
        assert main([*call, "-o", str(tmp_path / "out")]) == 1
        err = capsys.readouterr().err
        assert words in err and len(err.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_a_checkpoint_with_it_plays_whole_and_streamed(tmp_path):
    make_checkpoint(tmp_path / "c")
    parts = tmp_path / "c-components"
    about = {"tokenizers": {"acoustic": component_hash(parts / "acoustic_tokenizer")}}
    small().save(parts / "decoder", about, force=True)
    write_checkpoint(
        tmp_path / "with",
        {part.name: part for part in parts.iterdir()},
        {"data": "none: random weights"},
    )
    model = accompgen.load(tmp_path / "with", device="cpu")
    assert isinstance(model.decoder, VocosDecoder)
    vocal = (sing(1.31, 24_000), 24_000)
    song = model.accompany(vocal, seed=1)
    streamed = stream.Stream(model, vocal, seed=1)
    assert len(list(streamed)) > 1 and np.abs(song.accompaniment).max() > 0.01
    finished = streamed.song()
    assert torch.equal(finished.codes, song.codes)
    assert np.abs(finished.accompaniment - song.accompaniment).max() < 1e-4
    other = {"tokenizers": {"acoustic": "0" * 64}}
    small().save(parts / "decoder", other, force=True)
    with pytest.raises(
        CheckpointError, match="the decoder was trained on another acoustic tokenizer"
    ):
        write_checkpoint(tmp_path / "no", {part.name: part for part in parts.iterdir()}, {})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_safetensors_are_read(golden, tmp_path, dtype):
    weights = torch.load(golden / "pytorch_model.bin", weights_only=True)
    shutil.copy(golden / "config.yaml", tmp_path)
    half = {name: value.detach().to(dtype) for name, value in weights.items()}
    save_file(half, tmp_path / "model.safetensors")
    network = read_vocos(tmp_path, bins=16)
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32, name
    assert torch.equal(network.embed.weight, half["backbone.embed.weight"].float())
    torch.save(half, tmp_path / "pytorch_model.bin")
    by_file = read_vocos(tmp_path / "pytorch_model.bin", bins=16)
    assert torch.equal(by_file.embed.weight, network.embed.weight)


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def other_config(old, new):
    def change(folder):
        text = (folder / "config.yaml").read_text()
        assert old in text
        (folder / "config.yaml").write_text(text.replace(old, new))

    return change


def other_weights(change):
    def rewrite(folder):
        weights = dict(torch.load(folder / "pytorch_model.bin", weights_only=True))
        change(weights)
        torch.save(weights, folder / "pytorch_model.bin")

    return rewrite


def with_bytes(change):
    return lambda folder: (folder / "pytorch_model.bin").write_bytes(
        change((folder / "pytorch_model.bin").read_bytes())
    )


def with_nan(weights):
    weights["head.out.bias"] = torch.full_like(weights["head.out.bias"], torch.nan)


LFS = b"version https://git-lfs.github.com/spec/v1\n"
PAGE = b"<!DOCTYPE html><html>"
ENCODEC, MEL = "feature_extractors.EncodecFeatures", "feature_extractors.MelSpectrogramFeatures"
GAMMA = "backbone.convnext.1.gamma"
# what is wrong -> how to make it, and what the line says
BAD = {
    "no config": (lambda at: (at / "config.yaml").unlink(), "config.yaml cannot be read"),
    "no weights": (lambda at: (at / "pytorch_model.bin").unlink(), "holds neither model.safetensors"),
    "cut": (with_bytes(lambda data: data[: len(data) // 2]), "is not a file of torch.save|cannot be"),
    "empty": (with_bytes(lambda data: b""), "holds no weights: it is empty"),
    "a pointer": (with_bytes(lambda data: LFS), "pointer of Git LFS"),
    "a web page": (with_bytes(lambda data: PAGE), "it is a web page"),
    "mel spectrograms": (other_config(ENCODEC, MEL), f"feature_extractor is vocos.{MEL}"),
    "any class": (other_config("vocos.heads.ISTFTHead", "os.system"), "head is os.system; expected"),
    "a tag of Python": (other_config(": same", ": !!python/name:os.system"), "is no YAML of plain"),
    "48 kHz": (other_config("encodec_24khz", "encodec_48khz"), "encodec_model is 'encodec_48khz'"),
    "no table": (lambda at: (at / "config.yaml").write_text("la la"), "holds a str; expected a table"),
    "three rates": (other_config("    - 4.8\n", ""), "norms for 4 bit rates; its config.yaml names 3"),
    "another model": (other_weights(lambda weights: weights.pop(CODE_VECTORS)), "holds no Vocos for En"),
    "a layer missing": (other_weights(lambda weights: weights.pop(GAMMA)), "its config.yaml: Missing"),
    "no numbers": (other_weights(with_nan), "head.out.bias holds values that are NaN"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_named_in_one_line(golden, tmp_path, kind):
    shutil.copytree(golden, tmp_path / "vocos")
    change, message = BAD[kind]
    change(tmp_path / "vocos")
    with pytest.raises(CheckpointError) as error:
        read_vocos(tmp_path / "vocos", bins=16)
    assert re.search(message, str(error.value)) and str(tmp_path / "vocos") in str(error.value)


@pytest.mark.parametrize("how", ["torch.save", "pickle"])
def test_nothing_of_a_pickle_runs(golden, tmp_path, how):
    shutil.copytree(golden, tmp_path / "vocos")
    content, path = (
        {CODE_VECTORS: Touch(tmp_path / "ran")},
        tmp_path / "vocos" / "pytorch_model.bin",
    )
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(
        CheckpointError, match="names io.open, which is not on the list|is not a file of torch.save"
    ):
        read_vocos(tmp_path / "vocos", bins=16)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "values, message",
    [
        ({"blocks": 0}, "blocks is 0; expected 1 or more"),
        ({"window": 1000}, "window is 1000; expected a multiple of 320"),
        ({"trained_with": (2, 8)}, "expected rising numbers that end with 16"),
        ({"trained_with": (4, 2, 16)}, "expected rising numbers"),
    ],
)
def test_sizes_that_cannot_be_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        VocosConfig(**values)


def test_a_component_that_does_not_fit_is_named(tmp_path):
    small().save(tmp_path / "d", {})
    config = read_info(tmp_path / "d")
    config["decoder"]["width"] = 9
    (tmp_path / "d" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="do not fit its config.json"):
        load_decoder(tmp_path / "d")
    with pytest.raises(ValueError, match="5 codebooks given; this decoder reads 1 to 4"):
        small().decode(draw_codes(3, books=5))
