"""Weights on disk: component directories and the checkpoint directories made of them. Nothing is pickled.

A *component* is one network: `config.json` + `model.safetensors`. A *checkpoint* is a directory with a tokenizer of units, one
of codes, and the stages of a graph (stages.py),

    semantic_tokenizer/  acoustic_tokenizer/  semantic/  coarse/  fine/

and it may have a decoder/ of its own for the acoustic codes, a beat_tracker/, a text_tokenizer/ and a text_encoder/. One whose
graph is written in codes alone has no semantic_tokenizer/. Its own `config.json` holds
format_version, the graph, sha256 of every file, and whatever the export knows (seed, step, data, ...).
Writes are atomic (a neighbouring temporary directory, then a rename); reads are strict (every file present, every hash equal).
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from accompgen.config import ConfigError, StageConfig, from_dict, to_dict
from accompgen.files import set_mode
from accompgen.stages import ACOUSTIC, GRAPHS, PUBLISHED, SEMANTIC, TEXT, TOKENIZERS, Graph

FORMAT_VERSION = 2  # version 1 had no graph: it was always the published one
SEMANTIC_TOKENIZER, ACOUSTIC_TOKENIZER, TEXT_TOKENIZER = (f"{kind}_tokenizer" for kind in (*TOKENIZERS, TEXT))
DECODER, BEAT_TRACKER, TEXT_ENCODER = "decoder", "beat_tracker", "text_encoder"
REQUIRED_COMPONENTS = (SEMANTIC_TOKENIZER, ACOUSTIC_TOKENIZER)  # where the graph needs them; and the stages of the graph
OPTIONAL_COMPONENTS = (DECODER, BEAT_TRACKER, TEXT_TOKENIZER, TEXT_ENCODER)
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


class CheckpointError(ValueError):
    """Weights that cannot be used or written; the message names the path, what was found and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint directory: `config` is its config.json, `component(name)` the path of one network."""

    path: Path
    config: dict
    graph: Graph  # its streams and stages

    @property
    def components(self) -> list[str]:
        """The names of its networks, optional ones included."""
        return _listed(self.config.get("sha256", {}), self.graph)

    def component(self, name: str) -> Path:
        return self.path / name

    @property
    def decoder(self) -> Path:
        """What makes sound of acoustic codes: the component `decoder`, or the acoustic tokenizer where there is none."""
        return self.component(DECODER if DECODER in self.components else ACOUSTIC_TOKENIZER)


def save_component(directory, config: dict, tensors: dict, force: bool = False) -> None:
    """Write `config` and `tensors` (name -> torch tensor) as a component directory, atomically.

    Raises CheckpointError if `directory` exists and `force` is not set, if it is something else than a component, or if it
    cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    directory = Path(directory)
    check_component_place(directory, force)
    with _new_directory(directory, force) as folder:
        _write_json(folder / CONFIG_FILE, config)
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS_FILE)
            set_mode(folder / WEIGHTS_FILE, 0o644)  # safetensors leaves it to the owner alone
        except SafetensorError as error:  # a full disk, for one
            raise CheckpointError(f"cannot write {directory / WEIGHTS_FILE}: {error}") from error


def check_component_place(directory, force: bool = False) -> None:
    """Raise CheckpointError where `save_component` would refuse `directory`: to know it before the work."""
    directory = Path(directory)
    _check_absent(directory, force)
    if _filled(directory) and not all((directory / name).is_file() for name in (CONFIG_FILE, WEIGHTS_FILE)):
        raise CheckpointError(f"{directory} exists and is no component, so it is not replaced; choose another directory")


def load_component(directory) -> tuple[dict, dict]:
    """The config and the tensors (on the CPU, in their stored dtype) of a component directory.

    Raises CheckpointError for a missing or unreadable file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    directory = Path(directory)
    config = _read_json(directory / CONFIG_FILE)
    weights = directory / WEIGHTS_FILE
    if not weights.is_file():
        raise CheckpointError(f"{weights} is missing; a component is a directory with {CONFIG_FILE} and {WEIGHTS_FILE}")
    try:
        return config, load_file(weights)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{weights} is not a readable safetensors file: {error}") from error


def tokens_hash(directory) -> str:
    """What shards and stages remember of a tokenizer: its component_hash, or that of the one whose tokens it gives.

    A codec whose decoder alone was trained further gives the codes of the one that it started from, and names it in its
    config.json: `codes_of`.
    """
    return _read_json(Path(directory) / CONFIG_FILE).get("codes_of") or component_hash(directory)


def component_hash(directory) -> str:
    """sha256 over a component's two files: the identity of its weights."""
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        digest.update(file_hash(Path(directory) / name).encode())
    return digest.hexdigest()


def file_hash(path) -> str:
    """sha256 of a file as hexadecimal digits. Raises CheckpointError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def write_checkpoint(directory, components: dict, info: dict, force: bool = False, graph: Graph | None = None) -> None:
    """Pack component directories into one checkpoint directory, atomically.

    Args:
        directory: where to write.
        components: name -> path of a component directory: both tokenizers of sound, each stage of one graph, and any of
            OPTIONAL_COMPONENTS.
        info: what else config.json shall say (seed, steps, data, licences, ...).
        force: replace `directory` if it is a checkpoint.
        graph: of the stages; None: the one that they say themselves.

    Raises:
        CheckpointError: a component is missing or unknown, the stages are of different graphs or were trained on other
            tokenizers than those packed, or the directory exists without `force` or is something else than a checkpoint.
    """
    directory = Path(directory)
    graph = graph or graph_of(components)
    needed = required_components(graph)
    if set(components) - set(OPTIONAL_COMPONENTS) != set(needed):
        raise CheckpointError(
            f"a checkpoint of the graph {graph.name!r} needs the components {', '.join(needed)}, and may have "
            f"{', '.join(OPTIONAL_COMPONENTS)}; got {', '.join(sorted(components))}"
        )
    if force and _filled(directory) and "format_version" not in _read_json(directory / CONFIG_FILE, missing={}):
        raise CheckpointError(f"{directory} exists and is no checkpoint, so it is not replaced; choose another directory")
    with _new_directory(directory, force) as folder:
        for name, source in components.items():
            (folder / name).mkdir()
            for file in (CONFIG_FILE, WEIGHTS_FILE):
                if not (Path(source) / file).is_file():
                    raise CheckpointError(f"{Path(source) / file} is missing; the component {name} is not complete")
                shutil.copyfile(Path(source) / file, folder / name / file)
        _check_tokenizers(folder, directory, graph)
        names = [name for name in (*needed, *OPTIONAL_COMPONENTS) if name in components]
        files = [f"{name}/{file}" for name in names for file in (CONFIG_FILE, WEIGHTS_FILE)]
        hashes = {file: file_hash(folder / file) for file in files}
        version = {"format_version": FORMAT_VERSION}
        _write_json(folder / CONFIG_FILE, version | info | version | {"graph": to_dict(graph), "sha256": hashes})


def read_checkpoint(directory) -> Checkpoint:
    """Verify a checkpoint directory and return it.

    Raises CheckpointError for a missing or altered file, an unknown format version, or stages that were trained on other
    tokenizers than those beside them.
    """
    directory = Path(directory)
    config = _read_json(directory / CONFIG_FILE)
    graph, hashes = _read_graph(directory, config), config.get("sha256", {})
    names = _listed(hashes, graph)
    if unknown := sorted({file.partition("/")[0] for file in hashes} - set(names)):
        raise CheckpointError(
            f"{directory / CONFIG_FILE} lists the component {unknown[0]!r}, which the graph {graph.name!r} does not know; it "
            f"has {', '.join(names)}. Update accompgen, or export the checkpoint again"
        )
    for folder in sorted(path.parent for path in directory.glob(f"*/{WEIGHTS_FILE}")):
        if folder.name not in names:
            raise CheckpointError(f"{folder} is not listed in config.json; remove it, or export a checkpoint with it")
    for name in names:
        for file in (f"{name}/{CONFIG_FILE}", f"{name}/{WEIGHTS_FILE}"):
            if file not in hashes:
                raise CheckpointError(f"{directory / CONFIG_FILE} lists no sha256 of {file}; export the checkpoint again")
            if not (directory / file).is_file():
                raise CheckpointError(f"{directory / file} is missing; get the checkpoint again")
            found = file_hash(directory / file)
            if found != hashes[file]:
                raise CheckpointError(
                    f"{directory / file} was altered: its sha256 is {found[:12]}..., config.json says {hashes[file][:12]}...; "
                    "get the checkpoint again"
                )
    _check_tokenizers(directory, directory, graph)
    return Checkpoint(directory, config, graph)


def read_graph(directory) -> Graph:
    """The graph of a checkpoint directory, nothing else verified. Raises CheckpointError if it cannot be read."""
    return _read_graph(Path(directory), read_info(directory))


def read_info(directory) -> dict:
    """The config.json of a checkpoint directory, nothing verified. Raises CheckpointError if it cannot be read."""
    return _read_json(Path(directory) / CONFIG_FILE)


def required_components(graph: Graph) -> tuple[str, ...]:
    """What a checkpoint of a graph must have: the tokenizers of sound and the stages, in the order of a song."""
    return (*(f"{kind}_tokenizer" for kind in graph.tokenizers), *graph.stage_names)


def tokenizers_of(name: str, graph: Graph) -> tuple[str, ...]:
    """The tokenizers (semantic, acoustic) whose ids a network reads or writes.

    It depends on these alone, so that another codec leaves a stage of units valid.
    """
    if name in graph.stage_names:
        return graph.tokenizers_of(name)
    return {DECODER: (ACOUSTIC,), BEAT_TRACKER: (SEMANTIC,)}.get(name, ())


def graph_of(components: dict) -> Graph:
    """The graph of the stages among component directories, by name; the published one where no stage says its own.

    Raises CheckpointError where they are of different ones.
    """
    others = (*REQUIRED_COMPONENTS, *OPTIONAL_COMPONENTS)
    stages = {name: Path(path) for name, path in components.items() if name not in others}
    graphs = {}
    for name, path in stages.items():
        config = _read_json(path / CONFIG_FILE, missing={})
        if isinstance(config.get("stage"), dict):
            graphs[name] = _parsed(StageConfig, config["stage"], f"{path / CONFIG_FILE}: stage").rows
    first = next(iter(graphs), None)
    for name, graph in graphs.items():
        if graph != graphs[first]:
            raise CheckpointError(
                f"{stages[first]} is a stage of the graph {graphs[first].name!r}, {stages[name]} of {graph.name!r} or of one "
                "with other sizes; a checkpoint has stages of one graph"
            )
    return graphs[first] if graphs else GRAPHS[PUBLISHED]()


def _read_graph(directory, config):
    """The graph that a checkpoint's config.json carries; of version 1, which has none, that of its stages."""
    version = config.get("format_version")
    if version == 1:
        names = GRAPHS[PUBLISHED]().stage_names
        return graph_of({name: directory / name for name in names if (directory / name).is_dir()})
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{directory} has format_version {version!r}; this version of accompgen reads 1 and {FORMAT_VERSION}. "
            "Update accompgen, or export the checkpoint again"
        )
    return _parsed(Graph, config.get("graph", {}), f"{directory / CONFIG_FILE}: graph")


def _parsed(cls, values, where):
    try:
        return from_dict(cls, values, where)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def _check_tokenizers(folder, shown, graph):
    """Refuse networks whose remembered tokenizer hashes differ from the tokenizers in `folder`."""
    found = {kind: tokens_hash(folder / f"{kind}_tokenizer") for kind in graph.tokenizers}
    for name in (*graph.stage_names, *OPTIONAL_COMPONENTS):
        if not (folder / name).exists():
            continue
        trained_on = _read_json(folder / name / CONFIG_FILE).get("tokenizers", {})
        called = f"{name} stage" if name in graph.stage_names else name.replace("_", " ")
        for kind in tokenizers_of(name, graph):
            if trained_on.get(kind) != found[kind]:
                raise CheckpointError(
                    f"{shown}: the {called} was trained on another {kind} tokenizer (hash "
                    f"{str(trained_on.get(kind))[:12]}...) than the one beside it ({found[kind][:12]}...); "
                    "use the tokenizers of its training, or train it again"
                )


def _listed(hashes, graph):
    """The components that a checkpoint must have, and those optional ones of which the hashes name a file."""
    optional = (name for name in OPTIONAL_COMPONENTS if any(file.startswith(f"{name}/") for file in hashes))
    return [*required_components(graph), *optional]


def search_path() -> list[Path]:
    """Where names are looked up: $ACCOMPGEN_CHECKPOINTS, the repository's folder, the installation's, the cache."""
    places = [Path(text) for text in os.environ.get("ACCOMPGEN_CHECKPOINTS", "").split(os.pathsep) if text]
    places.append(Path(__file__).resolve().parents[1] / "checkpoints")
    places.append(Path(sys.prefix) / "share" / "accompgen" / "checkpoints")
    with suppress(CheckpointError):  # no home, no cache; the other places do without
        places.append(cache_directory() / "checkpoints")
    return places


def cache_directory() -> Path:
    """$ACCOMPGEN_CACHE, else accompgen/ in the user's cache folder.

    Raises CheckpointError for a user without a home, as containers have them.
    """
    if os.environ.get("ACCOMPGEN_CACHE"):
        return Path(os.environ["ACCOMPGEN_CACHE"])
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "accompgen"
    try:
        return Path.home() / ".cache" / "accompgen"
    except RuntimeError as error:
        raise CheckpointError("this user has no home folder for a cache; set ACCOMPGEN_CACHE to a folder") from error


def available_checkpoints() -> dict[str, Path]:
    """The checkpoints on the search path by name; the first of a name counts."""
    found = {}
    for place in search_path():
        for file in sorted(place.glob(f"*/{CONFIG_FILE}")):
            found.setdefault(file.parent.name, file.parent)
    return found


def find_checkpoint(name_or_directory) -> Path:
    """The directory of a checkpoint given by its path or by its name on the search path.

    Raises CheckpointError that lists the checkpoints there are.
    """
    path = Path(name_or_directory)
    if (path / CONFIG_FILE).is_file():
        return path
    there = available_checkpoints()
    if str(name_or_directory) in there:
        return there[str(name_or_directory)]
    names = ", ".join(sorted(there)) or "none"
    raise CheckpointError(
        f"no checkpoint {str(name_or_directory)!r}: neither a checkpoint directory nor one of those found ({names})"
    )


@contextmanager
def _new_directory(directory, force):
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
                old.rmdir()
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
        raise CheckpointError(f"{directory} exists; choose another directory or force its replacement")


def _filled(directory):
    """Whether there is something at `directory` that a replacement would remove: a file, or a folder with content."""
    return directory.exists() and not (directory.is_dir() and not any(directory.iterdir()))


def _write_json(path, values):
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _read_json(path, missing=None):
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
