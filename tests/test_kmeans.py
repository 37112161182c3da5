"""K-means: fitted centres, assignment, and files, one of them written by scikit-learn."""

import os
import pickle
import zlib

import numpy as np
import pytest
import torch

from accompgen.component import CheckpointError
from accompgen.tokens import kmeans
from accompgen.tokens.unpickle import UnsafeFileError


def test_golden_joblib_converts_and_labels_agree(shared, tmp_path):
    expected = np.load(shared / "golden/kmeans_km20.npz")
    centres = kmeans.load(shared / "golden/kmeans_km20.joblib")
    np.testing.assert_array_equal(centres.numpy(), expected["cluster_centers"])
    kmeans.save(tmp_path / "km.safetensors", centres)
    again = kmeans.load(tmp_path / "km.safetensors")
    labels = kmeans.assign(torch.from_numpy(expected["features"]), again)
    np.testing.assert_array_equal(labels.numpy(), expected["labels"])


def test_assign_is_the_nearest_centre_whatever_the_block():
    generator = torch.Generator().manual_seed(0)
    features, centres = torch.randn(2, 57, 6, generator=generator), torch.randn(11, 6, generator=generator)
    expected = torch.cdist(features.reshape(-1, 6), centres).argmin(-1).reshape(2, 57)
    for rows in (1, 7, 1000):
        assert torch.equal(kmeans.assign(features, centres, rows=rows), expected)


def test_fit_finds_separate_clusters_and_repeats_with_the_seed():
    pytest.importorskip("sklearn", reason="fitting needs the extra train")
    generator = torch.Generator().manual_seed(0)
    truth = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    rows = (truth[:, None] + 0.1 * torch.randn(4, 50, 2, generator=generator)).reshape(-1, 2)
    centres = kmeans.fit(rows, 4, seed=3)
    assert (torch.cdist(truth, centres).min(1).values < 0.1).all()
    assert torch.equal(centres, kmeans.fit(rows.numpy(), 4, seed=3))
    with pytest.raises(ValueError, match="200 feature rows cannot make 201 units"):
        kmeans.fit(rows, 201)


class Writes:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", (2, 4))
def test_a_file_that_would_run_a_command_is_refused_by_name(tmp_path, protocol):
    mark = tmp_path / "was_run"
    (tmp_path / "bad.joblib").write_bytes(pickle.dumps({"cluster_centers_": Writes(f"touch {mark}")}, protocol=protocol))
    with pytest.raises(UnsafeFileError, match=r"(posix|nt)\.system"):
        kmeans.load(tmp_path / "bad.joblib")
    assert not mark.exists()


def test_a_numpy_function_under_the_allowed_prefix_does_not_run(tmp_path):
    np.save(tmp_path / "secret.npy", np.eye(3))
    path = str(tmp_path / "secret.npy").encode()
    call = b"\x80\x02cnumpy\nload\nX" + len(path).to_bytes(4, "little") + path + b"\x85R."  # numpy.load(path)
    (tmp_path / "trick.joblib").write_bytes(call)
    with pytest.raises(UnsafeFileError, match="holds no k-means"):  # numpy.load became an inert object
        kmeans.load(tmp_path / "trick.joblib")


def test_other_files_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"weights": torch.zeros(3)}, str(tmp_path / "other.safetensors"))
    (tmp_path / "text").write_bytes(b"hello, centres")
    (tmp_path / "small.joblib").write_bytes(zlib.compress(pickle.dumps("centres")))
    for name, says in (
        ("other.safetensors", "holds weights of another kind .weights.; expected one matrix"),
        ("text", "is neither a safetensors file nor"),
        ("small.joblib", "is compressed; .*compress=0"),
    ):
        with pytest.raises(CheckpointError, match=f"{name} {says}"):
            kmeans.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="gone"):
        kmeans.load(tmp_path / "gone")


def test_a_k_means_that_pickle_wrote_is_named(tmp_path):
    sklearn = pytest.importorskip("sklearn.cluster")
    fitted = sklearn.KMeans(2, n_init=1).fit(np.arange(8.0).reshape(4, 2))
    for protocol, says in ((0, "written by pickle with protocol 0 or 1"), (1, "protocol 0 or 1"), (4, "written by pickle")):
        (tmp_path / "plain.pkl").write_bytes(pickle.dumps(fitted, protocol))
        with pytest.raises(UnsafeFileError, match=f"{says}, whose arrays are not read; .* joblib.dump"):
            kmeans.load(tmp_path / "plain.pkl")
