"""A whole system on disk: a directory of components (component.py), and where checkpoints are found by name.

A checkpoint is a directory with a tokenizer of units, one of codes, and the stages of a graph (stages.py),

    semantic_tokenizer/  acoustic_tokenizer/  semantic/  coarse/  fine/

and it may have a decoder/ of its own for the acoustic codes, a beat_tracker/, a text_tokenizer/ and a text_encoder/. One whose
graph is written in codes alone has no semantic_tokenizer/. Its own `config.json` holds
format_version, the graph, sha256 of every file, and whatever the export knows (seed, step, data, ...).
Writes are atomic; reads are strict (every file present, every hash equal).
"""

import os
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from accompgen.component import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    CheckpointError,
    file_hash,
    filled,
    hash_of_hashes,
    new_directory,
    read_json,
    tokens_hash,
    write_json,
)
from accompgen.config import ConfigError, StageConfig, from_dict, to_dict
from accompgen.stages import ACOUSTIC, GRAPHS, PUBLISHED, SEMANTIC, TEXT, TOKENIZERS, Graph

FORMAT_VERSION = 2  # version 1 had no graph: it was always the published one
SEMANTIC_TOKENIZER, ACOUSTIC_TOKENIZER, TEXT_TOKENIZER = (f"{kind}_tokenizer" for kind in (*TOKENIZERS, TEXT))
DECODER, BEAT_TRACKER, TEXT_ENCODER = "decoder", "beat_tracker", "text_encoder"
REQUIRED_COMPONENTS = (SEMANTIC_TOKENIZER, ACOUSTIC_TOKENIZER)  # where the graph needs them; and the stages of the graph
OPTIONAL_COMPONENTS = (DECODER, BEAT_TRACKER, TEXT_TOKENIZER, TEXT_ENCODER)


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

    def component_hash(self, name: str) -> str:
        """`component.component_hash` of one network, by the hashes that were verified: no file is read again."""
        return hash_of_hashes(self.config["sha256"][f"{name}/{file}"] for file in (CONFIG_FILE, WEIGHTS_FILE))

    @property
    def decoder(self) -> Path:
        """What makes sound of acoustic codes: the component `decoder`, or the acoustic tokenizer where there is none."""
        return self.component(DECODER if DECODER in self.components else ACOUSTIC_TOKENIZER)


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
    if force and filled(directory) and "format_version" not in read_json(directory / CONFIG_FILE, missing={}):
        raise CheckpointError(f"{directory} exists and is no checkpoint, so it is not replaced; choose another directory")
    with new_directory(directory, force) as folder:
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
        write_json(folder / CONFIG_FILE, version | info | version | {"graph": to_dict(graph), "sha256": hashes})


def read_checkpoint(directory) -> Checkpoint:
    """Verify a checkpoint directory and return it.

    Raises CheckpointError for a missing or altered file, an unknown format version, or stages that were trained on other
    tokenizers than those beside them.
    """
    directory = Path(directory)
    config = read_json(directory / CONFIG_FILE)
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
    return read_json(Path(directory) / CONFIG_FILE)


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
        config = read_json(path / CONFIG_FILE, missing={})
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
        trained_on = read_json(folder / name / CONFIG_FILE).get("tokenizers", {})
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
