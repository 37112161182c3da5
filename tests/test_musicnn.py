import hashlib
import importlib.metadata
import json
from pathlib import Path

import band_like
import numpy as np
import pytest
import torch
from evaluation_songs import make_songs
from scipy.signal import butter, sosfilt

from accompgen.component import CheckpointError
from accompgen.evaluation import gaussian, musicnn
from accompgen.evaluation.embeddings import find_embedding
from accompgen.evaluation.tensor_bundle import BundleError, read_bundle

GOLDEN = Path(__file__).parent / "golden" / "musicnn_tensorflow.json"


@pytest.fixture(scope="module")
def embedding():
    try:
        return find_embedding("musicnn")
    except CheckpointError as error:
        if "needs the weights" not in str(error):
            raise
        pytest.skip(str(error))


# TensorFlow's format, of which the tests write a little themselves


def varint(value):
    return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries):
    """A block whose keys are stored by what they share with the key before."""
    data, before = b"", b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        lengths = varint(shared) + varint(len(key) - shared) + varint(len(value))
        data, before = data + lengths + key[shared:] + value, key
    return data + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")


def write_bundle(folder, arrays, shards=1, trailer=bytes(5)):
    """A checkpoint in two blocks, as TensorFlow writes it: fields of value 0 are left out."""
    entries, data = [(b"", field(1, 1))], b""
    for name, array in sorted(arrays.items()):
        shape = b"".join(field(2, field(1, size)) for size in array.shape)
        entry = field(1, 1 if array.dtype == np.float32 else 9) + field(2, shape)
        entry += field(3, shards - 1) if shards > 1 else b""
        entry += (field(4, len(data)) if data else b"") + field(5, array.nbytes)
        entry += varint(6 << 3 | 5) + bytes(4)
        entries.append((name.encode(), entry))
        data += array.tobytes()
    table, handles = b"", []
    for part in (entries[:2], entries[2:]):
        content = block(part)
        handles.append((part[-1][0], varint(len(table)) + varint(len(content))))
        table += content + trailer
    content = block(handles)
    footer = varint(0) + varint(0) + varint(len(table)) + varint(len(content))
    table += content + bytes(5) + footer.ljust(40, b"\0") + 0xDB4775248B80FB57.to_bytes(8, "little")
    (folder / "a.index").write_bytes(table)
    (folder / "a.data").write_bytes(data)
    return folder / "a.index", folder / "a.data"


def test_arrays_of_a_checkpoint_are_read_by_name(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "conv/bias": rng.normal(size=3).astype(np.float32),
        "conv/kernel": rng.normal(size=(7, 5, 1, 90)).astype(np.float32),
        "power": np.float32(rng.normal()).reshape(()),
        "step": np.arange(4),  # integers are passed over
    }
    found = read_bundle(*write_bundle(tmp_path, arrays))
    assert sorted(found) == ["conv/bias", "conv/kernel", "power"]
    for name, array in found.items():
        np.testing.assert_array_equal(array, arrays[name])


def test_damaged_and_unknown_checkpoints_are_refused(tmp_path):
    arrays = {"a": np.zeros(3, np.float32), "b": np.ones(300, np.float32)}
    index, data = write_bundle(tmp_path, arrays)
    whole = index.read_bytes()
    index.write_bytes(whole[:-1])
    with pytest.raises(BundleError, match="does not end as a LevelDB table; expected"):
        read_bundle(index, data)
    index.write_bytes(whole[-48:])
    with pytest.raises(BundleError, match="cut off or damaged"):
        read_bundle(index, data)
    with pytest.raises(BundleError, match="block at byte 0 is compressed"):
        read_bundle(*write_bundle(tmp_path, arrays, trailer=b"\1" + bytes(4)))
    index.write_bytes(whole)
    data.write_bytes(data.read_bytes()[:-4])
    with pytest.raises(BundleError, match=r"shape \[300\] should lie at bytes 12 to 1212 of 1208"):
        read_bundle(index, data)
    with pytest.raises(BundleError, match="more than one data file"):
        read_bundle(*write_bundle(tmp_path, arrays, shards=2))


# The front end


def test_patches_are_what_librosa_makes_of_the_published_settings():
    librosa = pytest.importorskip("librosa")
    wav = band_like.band(7.0, musicnn.RATE)
    mel = librosa.feature.melspectrogram(
        y=wav, sr=16000, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect"
    )  # fmt: skip
    expected = np.log10(1 + 10000 * mel.T[: 2 * 187]).reshape(2, 187, 96)
    np.testing.assert_allclose(musicnn.patches(wav), expected, atol=1e-4)


def test_a_loud_bass_does_not_overflow_and_short_sound_is_repeated():
    time = np.arange(3 * musicnn.RATE) / musicnn.RATE
    loud = musicnn.patches(np.sin(2 * np.pi * 60 * time))
    assert loud.shape == (1, 187, 96)
    assert 10 ** loud.max() > 65504 and torch.isfinite(loud).all()
    short = musicnn.patches(np.sin(2 * np.pi * 60 * time[:8000]))  # 30 whole periods
    np.testing.assert_allclose(short[0, 5:-5], loud[0, 5:-5], atol=1e-2)


# The package


class FakePackage:
    version = "9.9"

    def __init__(self, root):
        self.root = root

    def locate_file(self, path):
        return self.root / path


def test_missing_and_altered_weights_are_one_line_that_says_what_to_install(tmp_path, monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(CheckpointError, match="pip install --no-deps musicnn==0.1.0$"):
        find_embedding("musicnn")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: FakePackage(tmp_path))
    with pytest.raises(CheckpointError, match="is missing from musicnn 9.9: pip install --no-deps"):
        find_embedding("musicnn")
    folder = tmp_path / musicnn.FOLDER
    folder.mkdir(parents=True)
    (folder / musicnn.INDEX).write_bytes(b"other")
    begins = hashlib.sha256(b"other").hexdigest()[:8]
    with pytest.raises(CheckpointError, match=f"begins with {begins}, expected 87f3e0f3 .*0.1.0"):
        find_embedding("musicnn")


def test_the_embedding_says_what_it_is(embedding):
    assert (embedding.name, embedding.rate) == ("musicnn", 16000)
    assert embedding.identity == musicnn.SHA256[musicnn.DATA]
    assert "musicnn 0.1.0, licence ISC" in embedding.note


def test_the_network_computes_what_the_published_graph_computes(embedding):
    golden = json.loads(GOLDEN.read_text())
    log_mel = np.random.default_rng(golden["seed"]).uniform(0, 4, size=(2, 187, 96))
    network = musicnn.load(musicnn.find_weights())
    rows = network(torch.from_numpy(log_mel.astype(np.float32)))
    np.testing.assert_allclose(rows, golden["dense"], atol=2e-3)  # values reach 10


# What it hears


def distance(reference, rows):
    target = gaussian.Target(gaussian.Gaussian.of(np.concatenate(reference)))
    return gaussian.frechet(target, gaussian.Gaussian.of(np.concatenate(rows)))


def test_truth_is_nearer_than_damaged_sound_and_that_nearer_than_noise(embedding):
    rng = np.random.default_rng(0)
    truth = [band_like.band(6.0, musicnn.RATE, seed, bpm=90 + 5 * seed) for seed in range(6)]
    low_pass = butter(6, 2000, fs=musicnn.RATE, output="sos")
    dull = [sosfilt(low_pass, wav) for wav in truth]
    noisy = [wav + 0.1 * wav.std() * rng.normal(size=len(wav)) for wav in truth]
    noise = [wav.std() * rng.normal(size=len(wav)) for wav in truth[:2]]
    rows = [embedding.embed(wav) for wav in truth]
    damaged = [[embedding.embed(wav) for wav in wavs] for wavs in (dull, noisy, noise)]
    assert rows[0].shape == (2, 200)
    halves = distance(rows[::2], rows[1::2])
    by_dull, by_noisy, by_noise = (distance(rows, part) for part in damaged)
    assert halves < min(by_dull, by_noisy) and 2 * max(by_dull, by_noisy) < by_noise


def test_evaluate_takes_it_by_name(embedding, tmp_path):
    from accompgen.evaluation import report, runner

    songs = make_songs(tmp_path, count=2, seconds=3.0)
    results = runner.evaluate(
        {"truth": songs / "reference"}, songs / "vocals", songs / "reference", metrics=("fad",),
        embedding="musicnn", window_seconds=3.0, device="cpu", cache=tmp_path / "cache",
        progress=False,
    )  # fmt: skip
    assert results["embedding"]["name"] == "musicnn"
    assert results["rows"]["truth"]["fad"]["value"] == pytest.approx(0, abs=1e-3)
    assert embedding.identity[:12] in report.table(results)
