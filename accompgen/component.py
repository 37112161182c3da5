"""One network on disk: a directory with config.json and model.safetensors. Nothing is pickled.

Writes are atomic: a neighbouring temporary directory, then a rename.
"""

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from accompgen.files import set_mode, sha256_of

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


class CheckpointError(ValueError):
    """Weights that cannot be used or written; the message names the path, what was found and what to do."""


def save_component(directory, config: dict, tensors: dict, force: bool = False) -> None:
    """Write `config` and `tensors` (name -> torch tensor) as a component directory, atomically.

    Raises CheckpointError if `directory` exists and `force` is not set, if it is something else than a component, or if it
    cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    directory = Path(directory)
    check_component_place(directory, force)
    with new_directory(directory, force) as folder:
        write_json(folder / CONFIG_FILE, config)
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS_FILE)
            set_mode(folder / WEIGHTS_FILE, 0o644)  # safetensors leaves it to the owner alone
        except SafetensorError as error:  # a full disk, for one
            raise CheckpointError(f"cannot write {directory / WEIGHTS_FILE}: {error}") from error


def check_component_place(directory, force: bool = False) -> None:
    """Raise CheckpointError where `save_component` would refuse `directory`: to know it before the work."""
    directory = Path(directory)
    _check_absent(directory, force)
    if filled(directory) and not all((directory / name).is_file() for name in (CONFIG_FILE, WEIGHTS_FILE)):
        raise CheckpointError(f"{directory} exists and is no component, so it is not replaced; choose another directory")


def load_component(directory) -> tuple[dict, dict]:
    """The config and the tensors (on the CPU, in their stored dtype) of a component directory.

    Raises CheckpointError for a missing or unreadable file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    directory = Path(directory)
    config = read_json(directory / CONFIG_FILE)
    weights = directory / WEIGHTS_FILE
    if not weights.is_file():
        raise CheckpointError(f"{weights} is missing; a component is a directory with {CONFIG_FILE} and {WEIGHTS_FILE}")
    try:
        return config, load_file(weights)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{weights} is not a readable safetensors file: {error}") from error


def component_kind(directory) -> str | None:
    """What a component directory holds, such as semantic_tokenizer, encodec or stage, by its
    config.json; None where that does not say it.

    Raises CheckpointError for one that cannot be read.
    """
    config = read_json(Path(directory) / CONFIG_FILE)
    said = [config.get(name) for name in ("kind", "format", "model_type")]
    described = [name for name in ("stage", "beat_tracker") if name in config]
    return next((name for name in (*said, *described) if isinstance(name, str)), None)


def tokens_hash(directory) -> str:
    """What shards and stages remember of a tokenizer: its component_hash, or that of the one whose tokens it gives.

    A codec whose decoder alone was trained further gives the codes of the one that it started from, and names it in its
    config.json: `codes_of`.
    """
    return read_json(Path(directory) / CONFIG_FILE).get("codes_of") or component_hash(directory)


def component_hash(directory) -> str:
    """sha256 over a component's two files: the identity of its weights."""
    return hash_of_hashes(file_hash(Path(directory) / name) for name in (CONFIG_FILE, WEIGHTS_FILE))


def hash_of_hashes(hashes) -> str:
    """`component_hash` of a component by the `file_hash` of config.json and of model.safetensors, in this order."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def file_hash(path) -> str:
    """sha256 of a file as hexadecimal digits. Raises CheckpointError if it cannot be read."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


@contextmanager
def new_directory(directory, force):
    """A temporary neighbour of `directory` that takes its place when the block ends well, and is removed when it does not."""
    directory = Path(directory)
    _check_absent(directory, force)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    except OSError as error:
        raise CheckpointError(f"cannot write beside {directory}: {error.strerror}") from error
    try:
        set_mode(folder, 0o755)
        yield folder
        if directory.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
            try:
                os.rename(directory, old / "old")
                os.rename(folder, directory)
            except BaseException:  # Ctrl-C among them: what was there comes back
                if not directory.exists():
                    os.rename(old / "old", directory)
                # what it still holds was replaced: the interruption came behind both renames
                shutil.rmtree(old, ignore_errors=True)
                raise
            shutil.rmtree(old)
        else:
            os.rename(folder, directory)
    except OSError as error:
        raise CheckpointError(f"cannot write {directory}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_absent(directory, force):
    if directory.exists() and not force:
        raise CheckpointError(
            f"{directory} exists; choose another directory, or --force (force=True) to replace it"
        )


def filled(directory):
    """Whether there is something at `directory` that a replacement would remove: a file, or a folder with content."""
    return directory.exists() and not (directory.is_dir() and not any(directory.iterdir()))


def write_json(path, values):
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_json(path, missing=None):
    """The object in a JSON file; `missing`, if given, where there is no such file. Raises CheckpointError."""
    path = Path(path)
    if missing is not None and not path.is_file():
        return missing
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds a {type(values).__name__}; expected an object with named values")
    return values
