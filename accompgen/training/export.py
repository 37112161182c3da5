"""Runs -> a checkpoint directory with a model card: what `generate` loads."""

import json
import tempfile
from pathlib import Path

from accompgen.checkpoint import (
    ACOUSTIC_TOKENIZER,
    BEAT_TRACKER,
    DECODER,
    OPTIONAL_COMPONENTS,
    SEMANTIC_TOKENIZER,
    TEXT_TOKENIZER,
    find_checkpoint,
    graph_of,
    read_checkpoint,
    required_components,
    write_checkpoint,
)
from accompgen.component import CheckpointError, load_component, save_component
from accompgen.stages import ACOUSTIC, FROM_SILENCE, SEMANTIC
from accompgen.time import ACOUSTIC_HZ, SEMANTIC_HZ

CARD_FILE = "README.md"
ACOUSTIC_FORMAT = "encodec"  # what tokens/acoustic.py writes
DECODER_FORMATS = ("accompgen decoder 1", "vocos decoder 1")  # what tokens/decoder.py writes
# what a checkpoint says, and one that is based on it
INHERITED = ("sampling", "headroom_db", "fader_db", "data", "licence", "limits")
DTYPES = ("bfloat16", "float16", "float32")


def export_checkpoint(
    runs, directory, about: dict | None = None, dtype: str = "bfloat16", unfinished: bool = False, force: bool = False,
    songs=None, base=None,
) -> dict:  # fmt: skip
    """Pack the components of five runs (two tokenizers, three stages), and those of a decoder and a beat tracker where there
    are some, into a checkpoint directory and write its model card.

    Args:
        runs: run directories, in any order: each holds `model/` (a stage whose run has not ended: `snapshot/`). A component
            directory itself will do as well.
        directory: the checkpoint to write.
        about: what only the caller knows, such as {"name", "data", "licence", "limits"}; goes to config.json and the card.
        dtype: of the weights of stages and beat tracker, one of DTYPES. Tokenizers and decoder stay as they are: other values
            would give other tokens and other sound.
        unfinished: take the snapshot of a run that has not ended.
        force: replace `directory` if it is a checkpoint.
        songs: manifest of the songs of the semantic run's shards, so that the checkpoint knows what its units sound like
            (`consonance`); None: it does not.
        base: a checkpoint, by name or directory, that gives the parts that no run gives, and what it says of its sampling,
            headroom, faders, data, licence and limits where `about` does not.

    Returns:
        The checkpoint's config.json.

    Raises:
        CheckpointError: a run without a component, two for the same part, a missing part, an unfinished run without
            `unfinished`, an unknown dtype, or other networks trained on other tokenizers than these.
    """
    if dtype not in DTYPES:
        raise CheckpointError(f"weights cannot be stored as {dtype!r}; choose one of {', '.join(DTYPES)}")
    components = {}
    for run in runs:
        path = _component(Path(run), unfinished)
        name = _part(path)
        if name in components:
            raise CheckpointError(f"{components[name]} and {path} are both the {name}; give one of them")
        components[name] = path
    more, inherited = {}, {}
    if base is not None:
        old = read_checkpoint(find_checkpoint(base))
        more = _kept_chroma(old, components)
        inherited = {key: old.config[key] for key in INHERITED if key in old.config}
        components = {name: old.component(name) for name in old.components if name not in components} | components
    graph = graph_of(components)
    needed = required_components(graph)
    missing = [name for name in needed if name not in components]
    if missing:
        raise CheckpointError(f"no run gives the {', '.join(missing)}; a checkpoint needs {', '.join(needed)}")
    info = {
        "semantic_hz": SEMANTIC_HZ,
        "acoustic_hz": ACOUSTIC_HZ,
        "stages": {name: _stage_summary(_config(components[name])) for name in graph.stage_names},
        **inherited,
        **_silence(graph, components),
        **(about or {}),
    }
    if songs:
        stage = _stage_of_units(graph)
        more = {stage: {"unit_chroma": _unit_chroma(components[stage], songs)}}
    learned = [name for name in components if name in (*graph.stage_names, BEAT_TRACKER)]
    with tempfile.TemporaryDirectory() as folder:
        stored = {name: _as(dtype, components[name], Path(folder) / name, more.get(name, {})) for name in learned}
        write_checkpoint(directory, components | stored, info | {"dtype": dtype}, force=force)
    config = _config(Path(directory))
    (Path(directory) / CARD_FILE).write_text(model_card(config, components, graph), encoding="utf-8")
    return config


def _silence(graph, components):
    """What drums are begun with, of a checkpoint that makes some."""
    if not graph.has_units or not set(FROM_SILENCE) & set(graph.stems):
        return {}
    from accompgen.tokens.acoustic import AcousticTokenizer
    from accompgen.tokens.semantic import SemanticTokenizer
    from accompgen.tokens.silence import frames_of_silence

    kinds = {SEMANTIC: SemanticTokenizer, ACOUSTIC: AcousticTokenizer}
    return {"silence": frames_of_silence(graph, lambda kind: kinds[kind].load(components[f"{kind}_tokenizer"]))}


def _stage_of_units(graph):
    """The stage that makes the units of a stem."""
    return next(stage.name for stage in graph.stages if stage.target == graph.units.name)


def _kept_chroma(old, components):
    """What the units sound like, from an older checkpoint, for a stage of the same units that does not say it."""
    stage = _stage_of_units(old.graph)
    if stage not in components:
        return {}
    (config, tensors), (earlier, known) = (load_component(at) for at in (components[stage], old.component(stage)))
    if "unit_chroma" in tensors or "unit_chroma" not in known or config["tokenizers"] != earlier["tokenizers"]:
        return {}
    return {stage: {"unit_chroma": known["unit_chroma"]}}


def _unit_chroma(component, songs):
    """What the units sound like, by the shards that the run of a `model/` or `snapshot/` names."""
    from accompgen.data.shards import open_shards
    from accompgen.training.unit_chroma import unit_chroma

    run = component.parent / "config.json"
    if not run.is_file():
        raise CheckpointError(f"{component} lies in no run, whose config.json would name its shards; give the run, or no songs")
    return unit_chroma(open_shards(_config(component.parent)["shards"]), songs)


def _as(dtype, component, directory, more):
    """A copy of a component whose weights have another type, with more tensors."""
    import torch

    config, tensors = load_component(component)
    save_component(directory, config, {name: tensor.to(getattr(torch, dtype)) for name, tensor in (tensors | more).items()})
    return directory


def _component(run, unfinished):
    if (run / "model" / "config.json").is_file():
        return run / "model"
    if (run / "snapshot" / "config.json").is_file():
        if unfinished:
            return run / "snapshot"
        raise CheckpointError(f"the run {run} has not ended; train it to its end, or export it as unfinished")
    if (run / "config.json").is_file() and (run / "model.safetensors").is_file():
        return run
    raise CheckpointError(f"{run} is neither a finished run (it has no model/config.json) nor a component directory")


def _part(path):
    """Which part of a checkpoint a component is."""
    config = _config(path)
    stage = config.get("stage", {})
    if isinstance(stage, dict) and isinstance(stage.get("stage"), str):
        return stage["stage"]
    if BEAT_TRACKER in config:
        return BEAT_TRACKER
    if config.get("kind") in (SEMANTIC_TOKENIZER, TEXT_TOKENIZER):
        return config["kind"]
    if config.get("format") == ACOUSTIC_FORMAT:
        return ACOUSTIC_TOKENIZER
    if config.get("format") in DECODER_FORMATS:
        return DECODER
    raise CheckpointError(f"{path / 'config.json'} describes neither a tokenizer, a decoder, a stage nor a beat tracker")


def _config(path):
    return json.loads((path / "config.json").read_text(encoding="utf-8"))


def _stage_summary(config):
    return {
        "steps": config["step"],
        "seed": config["seed"],
        "window_seconds": config["window_seconds"],
        "training_hours": config["training_hours"],
        "validation": config["validation"],
    }


def model_card(config: dict, components: dict, graph) -> str:
    """The checkpoint's README.md: sizes, steps, losses, and whether each stage listens, from the runs; texts from `about`."""
    lines = [f"# {config.get('name', 'An accompgen checkpoint')}", ""]
    for key in ("summary", "data", "licence", "limits"):
        if key in config:
            lines += [f"**{key.capitalize()}.** {config[key]}", ""]
    lines += [
        "| part | values | steps | windows | cross-entropy | bigram | gain over shuffled context | in the first second |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in [*required_components(graph), *(name for name in OPTIONAL_COMPONENTS if name in components)]:
        size = f"{_values(components[name]) / 1e6:.2f} M"
        if name not in graph.stage_names:
            steps = _config(components[name]).get("step", "")
            lines.append(f"| {name.replace('_', ' ')} | {size} | {steps} | | | | | |")
            continue
        stage = config["stages"][name]
        result, gain = stage["validation"], stage["validation"]["gain"]["shuffled"]
        lines.append(
            f"| {name} | {size} | {stage['steps']} | {stage['window_seconds']:g} s | {result['cross_entropy']:.3f} | "
            f"{result['bigram']:.3f} | {_figure(gain['all'])} | {_figure(gain['first_second'])} |"
        )
    lines += [
        "",
        "Nats a token on held-out songs, averaged over the codebooks. Bigram: p(token | the same codebook's token one frame "
        "earlier), counted on the training songs. Gain: what it costs to give the windows each other's context.",
        "",
    ]
    # a decoder that others published comes without figures
    found = _config(components[DECODER]).get("validation") if DECODER in components else None
    if found:
        lines.append(
            f"The decoder plays held-out songs' codes with an SI-SDR of {found['si_sdr']:.1f} dB and a chroma correlation of "
            f"{found['chroma']:.3f} (the middle of the stereo, 24 kHz)."
        )
    if BEAT_TRACKER in components:
        found = _config(components[BEAT_TRACKER])["validation"]
        share = f"{100 * found['right_phase']:.0f} % of the frames"
        lines.append(
            f"The beat tracker is right to an eighth of a beat in {share} ({found['songs']} held-out songs, first windows)."
        )
    for name in graph.stage_names:
        late = config["stages"][name]["validation"]["vocal_late"]
        if late:
            costs = ", ".join(f"{seconds} s: {_figure(cost)}" for seconds, cost in late.items())
            lines.append(f"A vocal that comes late costs the {name} stage, in nats a token: {costs}.")
        higher = config["stages"][name]["validation"].get("vocal_transposed")
        if higher:
            costs = ", ".join(f"{semitones} higher: {_figure(cost)}" for semitones, cost in higher.items())
            lines.append(f"A vocal that is sung so many semitones too high costs it {costs}.")
    return "\n".join(lines) + "\n"


def _figure(value):
    mean, error = value
    return f"{mean:.4f} +- {error:.4f}"


def _values(path):
    """Number of stored values, from the safetensors header alone."""
    with open(path / "model.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            size = 1
            for length in tensor["shape"]:
                size *= length
            total += size
    return total
