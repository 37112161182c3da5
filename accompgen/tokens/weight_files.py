"""The weights of published models as files hold them, and the YAML beside them.

Tensors come from safetensors, or from torch's pickles through tokens/unpickle.py: nothing that a
file names is run.
"""

from pathlib import Path

import torch

from accompgen.component import CheckpointError
from accompgen.tokens.unpickle import UnsafeFileError, read_torch

# what a published directory may hold, in this order
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
NO_WEIGHTS = {  # first bytes, in small letters, of what lies where weights should
    b"": "it is empty",
    b"version https://git-lfs": "it is a pointer of Git LFS, not the file itself; run git lfs pull",
    b"<!doctype": "it is a web page, not the file itself",
    b"<html": "it is a web page, not the file itself",
}


def find_weights(directory) -> Path:
    """The weight file of a published directory. Raises CheckpointError where there is none."""
    directory = Path(directory)
    for name in WEIGHTS:
        if (directory / name).is_file():
            return directory / name
    if any(directory.glob("*.safetensors.index.json")):
        raise CheckpointError(
            f"{directory} holds weights in several files; save them in one, as {WEIGHTS[0]}"
        )
    raise CheckpointError(f"{directory} holds neither {' nor '.join(WEIGHTS)}")


def read_content(path, prefix: str = "") -> dict:
    """What a weight file holds: names and tensors, or for a pickle whatever plain values it has.

    Args:
        path: a file; `.safetensors`, or anything that torch.save wrote.
        prefix: only what has a name that begins so is given, without it.

    Raises:
        CheckpointError: no such file, a damaged or cut one, or one that names what a checkpoint may
            not hold.
    """
    path = Path(path)
    _check_beginning(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path, prefix)
    try:
        content = read_torch(path, ())
    except UnsafeFileError as error:
        raise CheckpointError(str(error)) from error
    if not prefix:
        return content
    inside = {name: value for name, value in content.items() if str(name).startswith(prefix)}
    return {name.removeprefix(prefix): value for name, value in inside.items()}


def tensors_of(content: dict, path) -> dict[str, torch.Tensor]:
    """`content` as names and tensors, those of half precision as float32.

    Raises CheckpointError if it holds anything else, or numbers that are none (NaN, infinite).
    """
    if not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()
    ):
        raise CheckpointError(
            f"{path} holds something else than names and tensors; expected a state_dict"
        )
    tensors = {name: value.detach() for name, value in content.items()}
    for name, value in tensors.items():
        if value.is_floating_point():
            tensors[name] = value.float()
            if not tensors[name].isfinite().all():
                raise CheckpointError(
                    f"{path}: {name} holds values that are NaN or infinite; get the file again"
                )
    return tensors


def read_yaml(text: str, where) -> dict:
    """The table in a text of YAML, plain values only.

    Raises CheckpointError, naming `where`, for anything else.
    """
    import yaml

    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CheckpointError(
            f"{where} is no YAML of plain values: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{where} holds a {type(values).__name__}; expected a table of names and values"
        )
    return values


def _check_beginning(path):
    try:
        with open(path, "rb") as file:
            start = file.read(64).lstrip().lower()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    for beginning, reason in NO_WEIGHTS.items():
        if start.startswith(beginning) if beginning else not start:
            raise CheckpointError(f"{path} holds no weights: {reason}")


def _read_safetensors(path, prefix):
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged or cut, no readable safetensors file ({error}); get it again"
        ) from error
