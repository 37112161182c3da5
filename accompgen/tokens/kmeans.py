"""K-means: the step from features to units. Fitting is scikit-learn's, assignment is torch's, files are safetensors.

A scikit-learn k-means saved by joblib, as fairseq's learn_kmeans.py writes it, is read too, without running anything of it.
"""

from pathlib import Path

import torch

from accompgen.component import CheckpointError
from accompgen.tokens.foreign import kind_of
from accompgen.tokens.unpickle import UnsafeFileError, is_old_pickle, read_joblib

KEY = "centres"
# how files begin that joblib compressed: zlib, gzip, bz2, xz, lzma, lz4
COMPRESSED = (b"\x78", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x5d\0\0", b"\x04\x22\x4d\x18")
PICKLED = (
    "whose arrays are not read; where it can be trusted, write it again with "
    "joblib.dump(pickle.load(open(PATH, 'rb')), NEW_PATH, compress=0)"
)


def fit(features, units: int, seed: int = 0, batch: int = 10000, starts: int = 3, epochs: int = 20) -> torch.Tensor:
    """Mini-batch k-means with k-means++ seeding.

    Args:
        features: [N, D] float32, torch or numpy; at least `units` rows.
        units: V, the number of clusters.
        seed, batch, starts, epochs: of scikit-learn's MiniBatchKMeans (random_state, batch_size, n_init, max_iter).

    Returns:
        The centres [V, D] float32.

    Raises:
        ValueError: fewer rows than units. ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError as error:
        raise ImportError("fitting k-means needs scikit-learn; install accompgen[train]") from error
    features = torch.as_tensor(features).float().cpu().numpy()
    if len(features) < units:
        raise ValueError(f"{len(features)} feature rows cannot make {units} units; give at least {units} rows")
    kmeans = MiniBatchKMeans(
        units, init="k-means++", random_state=seed, batch_size=batch, n_init=starts, max_iter=epochs, reassignment_ratio=0.01
    )
    return torch.from_numpy(kmeans.fit(features).cluster_centers_).float()


def assign(features: torch.Tensor, centres: torch.Tensor, rows: int = 65536) -> torch.Tensor:
    """Index of the nearest centre: features [..., D], centres [V, D] on the same device -> ids [...] int64."""
    flat = features.reshape(-1, features.shape[-1])
    half_squares = centres.square().sum(-1) / 2  # |x - c|^2 / 2 = |c|^2 / 2 - x c + a term without c
    ids = [torch.argmin(half_squares - part @ centres.T, dim=-1) for part in flat.split(rows)]
    return torch.cat(ids).reshape(features.shape[:-1])


def save(path, centres: torch.Tensor) -> None:
    """Write centres [V, D] as a safetensors file."""
    from safetensors.torch import save_file

    save_file({KEY: centres.detach().cpu().float().contiguous()}, str(path))


def load(path) -> torch.Tensor:
    """Centres [V, D] float32 of a safetensors file written by `save`, or of a scikit-learn k-means saved by joblib.

    Raises FileNotFoundError, or CheckpointError (UnsafeFileError) for anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of k-means centres")
    with open(path, "rb") as file:
        start = file.read(9)
    if start[:1] == b"\x80":  # the first byte of a pickle
        return _from_joblib(path)
    if start[8:] == b"{":
        return _from_safetensors(path)
    if is_old_pickle(path):
        raise UnsafeFileError(f"{path} was written by pickle with protocol 0 or 1, {PICKLED}")
    if start.startswith(COMPRESSED):
        raise UnsafeFileError(
            f"{path} is compressed; if it is a joblib file that can be trusted, write it again with "
            "joblib.dump(joblib.load(PATH), NEW_PATH, compress=0)"
        )
    raise CheckpointError(
        f"{path} is neither a safetensors file nor an uncompressed joblib file of k-means"
    )


def _from_safetensors(path):
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file of k-means centres: {error}") from error
    if set(tensors) != {KEY} or tensors[KEY].ndim != 2:
        raise CheckpointError(f"{path} holds {kind_of(tensors)}; expected one matrix called {KEY!r}")
    return tensors[KEY].float()


def _from_joblib(path):
    centres = getattr(read_joblib(path), "cluster_centers_", None)
    if centres is not None and not hasattr(centres, "ndim"):
        raise UnsafeFileError(f"{path} is a k-means written by pickle, {PICKLED}")
    if getattr(centres, "ndim", 0) != 2:
        raise UnsafeFileError(f"{path} holds no k-means: there is no matrix cluster_centers_ in it")
    return torch.from_numpy(centres).float()
