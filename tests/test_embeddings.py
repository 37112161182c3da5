"""Embeddings: VGGish's front end against values worked out by hand, its weight file, CLAP and tokenizers by path."""

import hashlib
import math

import numpy as np
import pytest
import tiny
import torch

from accompgen.component import CheckpointError
from accompgen.evaluation import embeddings, vggish
from accompgen.evaluation.embeddings import find_embedding

# the names and shapes of vggish-10086976.pth
VGGISH_SHAPES = {
    "features.0": (64, 1, 3, 3), "features.3": (128, 64, 3, 3), "features.6": (256, 128, 3, 3), "features.8": (256, 256, 3, 3),
    "features.11": (512, 256, 3, 3), "features.13": (512, 512, 3, 3), "embeddings.0": (4096, 12288),
    "embeddings.2": (4096, 4096), "embeddings.4": (128, 4096),
}  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file like the published one with random numbers in it, named after its hash."""
    folder = tmp_path_factory.mktemp("vggish")
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in VGGISH_SHAPES.items():
        scale = math.sqrt(1 / math.prod(shape[1:]))
        state[f"{name}.weight"] = (scale * torch.randn(shape, generator=generator)).to(torch.float16)
        state[f"{name}.bias"] = torch.full(shape[:1], 0.01, dtype=torch.float16)
    torch.save(state, folder / "new.pth")
    digest = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
    return (folder / "new.pth").rename(folder / f"vggish-{digest[:8]}.pth")


def test_mel_bands_are_where_the_published_recipe_puts_them():
    """1127 ln(1 + f / 700): 125 Hz is 185.16, 7500 Hz is 2774.09 mel; 66 edges between, each 39.83 apart."""

    def mel(hz):
        return 1127 * math.log(1 + hz / 700)

    matrix = vggish.mel_matrix()
    assert matrix.shape == (257, 64) and not matrix[0].any() and matrix.max() <= 1
    step = (mel(7500) - mel(125)) / 65
    centre = 700 * (math.exp((mel(125) + 30 * step) / 1127) - 1)  # of band 29, counted from 0
    nearest = round(centre / 31.25)
    assert matrix[nearest].argmax() == 29
    assert matrix[nearest, 29] == pytest.approx(1 - abs(mel(nearest * 31.25) - mel(centre)) / step)
    inside = matrix[8:230].sum(axis=1)  # neighbouring triangles add up to 1
    assert inside == pytest.approx(np.ones(222))


def test_log_mel_of_a_sine_worked_out_by_hand():
    """A sine on FFT bin 32 (1 kHz): the periodic Hann window of 400 samples gives it A / 2 * 200 there."""
    amplitude = 0.5
    wav = amplitude * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    frame = wav[:400] * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400))
    bins = np.arange(257)[:, None]
    spectrum = np.abs((frame * np.exp(-2j * np.pi * bins * np.arange(400) / 512)).sum(axis=1))  # the definition of the DFT
    assert spectrum[32] == pytest.approx(amplitude / 2 * 200, rel=1e-3)
    band = int(vggish.mel_matrix()[32].argmax())
    expected = np.log(sum(spectrum[k] * vggish.mel_matrix()[k, band] for k in range(257)) + 0.01)
    log_mel = vggish.examples(wav)
    assert log_mel.shape == (1, 96, 64)  # 98 frames fit in a second: one example
    assert log_mel[0, 0, band] == pytest.approx(expected, rel=1e-5)
    assert log_mel[0, 0].argmax() == band


def test_examples_of_silence_and_of_short_sound():
    assert vggish.examples(np.zeros(16000)) == pytest.approx(np.full((1, 96, 64), math.log(0.01)))
    assert len(vggish.examples(np.zeros(95 * 160 + 400))) == 1 and len(vggish.examples(np.zeros(95 * 160 + 399))) == 0
    assert len(vggish.examples(np.zeros(10 * 16000))) == 10 and len(vggish.examples(np.zeros(10))) == 0


def test_vggish_reads_the_ports_names_and_embeds_whatever_the_batch(weights):
    wav = (0.1 * np.random.default_rng(0).normal(size=4 * 16000)).astype(np.float32)
    one, many = (find_embedding(str(weights), batch_size=size) for size in (1, 32))
    assert (one.rate, one.name) == (16000, "vggish") and one.identity[:8] in weights.name
    rows = one.embed(wav)
    assert rows.shape == (4, 128) and rows.min() < 0  # below 0: no activation behind the last layer
    np.testing.assert_allclose(many.embed(wav), rows, atol=1e-5)
    assert many.embed(wav[:4000]).shape == (0, 128)


def test_vggish_flattens_channels_last(weights):
    """As the original network: height, width, channel. One unit of the first linear layer is worked out by hand."""
    network = vggish.load(weights)
    examples = torch.randn(1, 96, 64, generator=torch.Generator().manual_seed(1))
    maps = network.features(examples[:, None])[0].detach()  # [512, 6, 4]
    by_hand = network.embeddings[0].bias[7] + sum(
        (network.embeddings[0].weight[7].reshape(6, 4, 512)[y, x] * maps[:, y, x]).sum() for y in range(6) for x in range(4)
    )
    taken = []
    network.embeddings[0].register_forward_hook(lambda module, inputs, output: taken.append(output))
    network(examples)
    assert taken[0][0, 7].item() == pytest.approx(by_hand.item(), rel=1e-4)


def test_altered_or_other_weight_files_are_refused(weights, tmp_path):
    with pytest.raises(CheckpointError, match="accompgen fetch vggish"):
        find_embedding("vggish", cache=tmp_path)
    altered = tmp_path / weights.name
    altered.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="sha256 begins with"):
        find_embedding(altered)
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "new.pth")
    digest = hashlib.sha256((tmp_path / "new.pth").read_bytes()).hexdigest()
    other = (tmp_path / "new.pth").rename(tmp_path / f"other-{digest[:8]}.pth")
    torch.save({"a": torch.hub.load}, tmp_path / "evil.pth")  # torch itself says how to load it without protection
    evil = tmp_path / f"vggish-{hashlib.sha256((tmp_path / 'evil.pth').read_bytes()).hexdigest()[:8]}.pth"
    with pytest.raises(CheckpointError, match="names torch.hub.load, which is not on the list .* it was not run"):
        vggish.load((tmp_path / "evil.pth").rename(evil))
    with pytest.raises(CheckpointError, match="does not hold VGGish"):
        find_embedding(other)


SMALL_CLAP = {
    "hidden_size": 32, "patch_embeds_hidden_size": 8, "depths": [1, 1, 1], "num_attention_heads": [2, 2, 2],
    "projection_dim": 12,
}  # fmt: skip


def test_clap_from_a_directory_and_from_the_published_file(tmp_path, monkeypatch):
    from transformers import ClapAudioConfig, ClapAudioModelWithProjection, ClapConfig, ClapFeatureExtractor

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ClapAudioModelWithProjection(ClapAudioConfig(**SMALL_CLAP))
    network.save_pretrained(tmp_path)
    ClapConfig(audio_config=network.config.to_dict(), projection_dim=12).save_pretrained(tmp_path)  # as published: both halves
    ClapFeatureExtractor(**embeddings.CLAP_FRONT).save_pretrained(tmp_path)
    embedding = find_embedding(tmp_path)
    wav = (0.1 * np.random.default_rng(0).normal(size=12 * 48000)).astype(np.float32)
    rows = embedding.embed(wav)
    assert embedding.rate == 48000 and rows.shape == (2, 12)  # 10 s and 2 s
    np.testing.assert_allclose(rows[0], embedding.embed(wav[: 10 * 48000])[0], atol=1e-5)
    assert np.abs(rows[0] - rows[1]).max() > 1e-6

    monkeypatch.setattr(embeddings, "CLAP_MUSIC", SMALL_CLAP)
    torch.save({**network.state_dict(), "text_model.embeddings.weight": torch.zeros(1)}, tmp_path / "new.bin")
    digest = hashlib.sha256((tmp_path / "new.bin").read_bytes()).hexdigest()
    monkeypatch.setattr(embeddings, "CLAP_FILE", f"clap-{digest[:8]}.bin")
    with pytest.raises(CheckpointError, match="accompgen fetch clap-music"):
        find_embedding("clap", cache=tmp_path)
    (tmp_path / "new.bin").rename(tmp_path / embeddings.CLAP_FILE)
    np.testing.assert_allclose(find_embedding("clap", cache=tmp_path).embed(wav), rows, atol=1e-5)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "clap"}')
    with pytest.raises(CheckpointError, match="expected a CLAP"):
        find_embedding(tmp_path / "empty")


def test_semantic_tokenizer_of_a_checkpoint_by_path_and_by_name(tmp_path, monkeypatch):
    from accompgen.tokens.semantic import SemanticTokenizer

    checkpoint = tiny.make_checkpoint(tmp_path / "pocket")
    embedding = find_embedding(checkpoint)
    wav = (0.1 * np.random.default_rng(0).normal(size=40000)).astype(np.float32)
    features = SemanticTokenizer.load(checkpoint / "semantic_tokenizer").features(torch.from_numpy(wav)[None])[0].numpy()
    rows = embedding.embed(wav)
    assert rows.shape == (2, 16)
    np.testing.assert_allclose(rows[1], features[50:100].mean(axis=0), rtol=1e-5)
    assert "never with published values" in embedding.note
    monkeypatch.setenv("ACCOMPGEN_CHECKPOINTS", str(tmp_path))
    assert find_embedding("pocket").identity == embedding.identity
    with pytest.raises(CheckpointError, match="none of vggish, clap, musicnn, pocket"):
        find_embedding("nothing")
