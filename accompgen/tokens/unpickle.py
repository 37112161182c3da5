"""The only file that unpickles. Nothing a file names is ever imported: its classes become inert stand-ins, and whatever lies
outside an allow-list is refused by name before anything is built. Two formats: torch's (fairseq) and joblib's (k-means).
"""

import _compat_pickle
import io
import pickle
import pickletools
import re
import struct
import zipfile

import numpy as np
import torch

from accompgen.component import CheckpointError

FAIRSEQ_PREFIXES = ("fairseq.", "omegaconf.", "argparse.", "typing.", "collections.")
JOBLIB_PREFIXES = ("sklearn.cluster.", "joblib.numpy_pickle.", "numpy.")
_PLAIN = {"builtins.int": int, "builtins.list": list, "builtins.dict": dict, "builtins.str": str, "builtins.float": float}

# what reading opcodes raises for bytes that are none, such as a number of bytes that no file has
NO_PICKLE = (ValueError, struct.error, MemoryError, OverflowError)


class UnsafeFileError(CheckpointError):
    """A pickled file that names something outside the allow-list, or that is not what it should be. Nothing of it was run."""


class Inert:
    """Stands for an object of a class that is not imported: keeps what it was built with and does nothing."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __setstate__(self, state):
        self.__dict__.update(state if isinstance(state, dict) else {"state": state})


def plain(value):
    """Plain values of what a fairseq file holds: omegaconf nodes, namespaces, enums -> dict, list, str, numbers, None."""
    if isinstance(value, Inert):
        fields = value.__dict__
        for key in ("_content", "_val"):  # omegaconf containers, omegaconf values
            if key in fields:
                return plain(fields[key])
        if fields.get("arguments"):  # an enum: its value
            return plain(fields["arguments"][0])
        return {key: plain(item) for key, item in fields.items() if key != "arguments"}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def read_torch(path, prefixes: tuple[str, ...] = FAIRSEQ_PREFIXES) -> dict:
    """A dictionary written by torch.save (zip or the older format), classes under `prefixes` as `Inert`.

    Raises UnsafeFileError naming the first global that is not allowed, or if this is no such file.
    """
    stand_ins = []
    for name in sorted(_named_globals(path)):
        if name in _PLAIN:
            stand_ins.append((_PLAIN[name], name))
        elif name.startswith(prefixes) and name != "collections.OrderedDict":
            stand_ins.append((type(name.rpartition(".")[2], (Inert,), {}), name))
        elif not _known_to_torch(name):
            raise UnsafeFileError(_refusal(path, name))
    try:
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, AttributeError) as error:
        named = re.search(r"GLOBAL (\S+)", str(error))  # one of torch's own that torch does not read either, torch.hub.load say
        reason = f"{path} cannot be read safely: {_own_words(error)}"
        raise UnsafeFileError(_refusal(path, named[1]) if named else reason) from error
    if not isinstance(content, dict):
        raise UnsafeFileError(f"{path} holds a {type(content).__name__}; expected the dictionary of a checkpoint")
    return content


def _own_words(error):
    """torch advises to load without its protection: that is not passed on."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return "it is damaged, or holds more than tensors and plain values; fetch it again" if "weights_only" in first else first


def _refusal(path, name):
    return (
        f"{path} names {name}, which is not on the list of what a checkpoint may hold; it was not run. "
        "Use the file of its publisher, or have it saved again as safetensors"
    )


def _known_to_torch(name):
    """Whether torch.load(weights_only=True) reads this global by itself (tensors, storages, OrderedDict)."""
    return name.startswith("torch.") or name in ("collections.OrderedDict", "_codecs.encode", "builtins.set")


def _named_globals(path):
    """Every global the pickles of a torch file name, as module.name, found by reading opcodes without executing any."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                streams = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
            return {name for stream in streams for name in _globals_of(io.BytesIO(stream))}
        with open(path, "rb") as file:  # before torch 1.6: magic number, protocol, system, then the content, one pickle each
            return {name for _ in range(4) for name in _globals_of(file)}
    except OSError as error:
        raise UnsafeFileError(f"cannot read {path}: {error.strerror or error}") from error
    except (*NO_PICKLE, zipfile.BadZipFile) as error:  # whose words may hold the bytes of the file
        raise UnsafeFileError(f"{path} is not a file of torch.save, or it is damaged") from error


def _globals_of(stream):
    strings = []
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST"):
            module, _, name = argument.partition(" ")
            module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))  # Python 2's names, as in protocol 2
            yield f"{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{name}"
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(strings[-2:])
        elif isinstance(argument, str):
            strings.append(argument)


def read_joblib(path) -> Inert:
    """The object in an uncompressed joblib file (a scikit-learn k-means) as `Inert`, its arrays as numpy arrays.

    Raises UnsafeFileError naming a global outside JOBLIB_PREFIXES, or if the file is compressed or no joblib file.
    """
    try:
        with open(path, "rb") as file:
            return _JoblibUnpickler(file).load()
    except OSError as error:
        raise UnsafeFileError(f"cannot read {path}: {error.strerror or error}") from error
    except (
        pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError, *NO_PICKLE,
    ) as error:  # fmt: skip
        if isinstance(error, UnsafeFileError):
            raise
        raise UnsafeFileError(
            f"{path} is not a joblib file that can be read safely. Where it can be trusted, "
            "write it again with joblib.dump(joblib.load(PATH), NEW_PATH, compress=0)"
        ) from error


def is_old_pickle(path) -> bool:
    """Whether a file is a pickle of protocol 0 or 1, which begins with no mark of its own. Nothing
    of it is run."""
    with open(path, "rb") as file:
        try:
            return sum(1 for _ in pickletools.genops(file)) > 1
        except NO_PICKLE:
            return False


class _Array(Inert):
    """joblib's NumpyArrayWrapper: describes an array whose bytes follow in the file."""

    def read(self, file):
        if self.dtype.hasobject:
            raise UnsafeFileError("an array of Python objects is not read")
        if getattr(self, "numpy_array_alignment_bytes", None) is not None:
            file.read(file.read(1)[0])  # padding
        count = int(np.prod(self.shape, dtype=np.int64))
        values = np.frombuffer(file.read(count * self.dtype.itemsize), self.dtype, count)
        return values.reshape(self.shape, order=self.order).copy()


class _JoblibUnpickler(pickle._Unpickler):
    """Python's own unpickler with stand-ins for every class, and joblib's habit of writing arrays between opcodes."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file):
        super().__init__(file)
        self.joblib_file = file

    def find_class(self, module, name):
        full = f"{module}.{name}"
        if full == "numpy.dtype":
            return np.dtype
        if full == "joblib.numpy_pickle.NumpyArrayWrapper":
            return _Array
        if full.startswith(JOBLIB_PREFIXES):
            return type(name, (Inert,), {})
        raise UnsafeFileError(f"the file names {full}, which is not on the list of what a k-means may hold; it was not run")

    def load_build(self):
        super().load_build()
        if isinstance(self.stack[-1], _Array):
            self.stack[-1] = self.stack[-1].read(self.joblib_file)

    dispatch[pickle.BUILD[0]] = load_build
