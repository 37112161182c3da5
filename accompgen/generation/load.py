"""The stages of a checkpoint, ready to decode."""

from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from accompgen.chart import chord_chroma
from accompgen.checkpoint import BEAT_TRACKER, Checkpoint
from accompgen.component import CheckpointError, load_component
from accompgen.config import SingleStageConfig, StageConfig, from_dict
from accompgen.engines import choose_engine
from accompgen.generation.decode import prepare_for_decoding, step_weights
from accompgen.generation.schedule import LoadedStage, System
from accompgen.model.beat_tracker import BeatTracker, BeatTrackerConfig
from accompgen.model.logit_bias import plays_chords
from accompgen.model.single_stage import SingleStageLM
from accompgen.model.stage_lm import StageLM
from accompgen.stages import CHORD, Graph
from accompgen.threads import SMALL_STEP, threads_of_step


def load_stages(checkpoint: Checkpoint, device: str, names=None, engine: str = "auto") -> System:
    """The stages of these names (None: all), on a device, that of the units with the checkpoint's beat tracker if it has one.

    Args:
        engine: one of engines.ENGINES. "auto" decodes small stages on a CPU by ONNX Runtime where it is installed; where a
            step is a matter of the memory's bandwidth, torch's float16 weights are the quicker ones.

    Raises:
        CheckpointError: weights that do not fit.
        EngineError: an engine that is not there, or cannot decode these stages.
    """
    graph, chosen = checkpoint.graph, choose_engine(engine, device)
    stages = {
        name: _load_stage(checkpoint.component(name), graph, device, chosen, engine == "auto")
        for name in names or graph.stage_names
    }
    for name, stage in stages.items():
        if graph.stage(name).target == graph.units.name:
            stage.model.beat_tracker = load_beat_tracker(checkpoint, device)
    return System(graph, stages)


def load_single_stage(directory, name: str, graph: Graph, device: str) -> LoadedStage:
    """A stage of a single-stage graph. Raises CheckpointError for weights that do not fit."""
    config, tensors = load_component(directory)
    row = graph.stage(name)
    sizes = from_dict(SingleStageConfig, config.get("single_stage", {}), f"{directory}/config.json: single_stage")
    with _unfilled():
        model = SingleStageLM(sizes, graph.stream(row.target), tuple(graph.stream(stream) for stream in row.context))
    _fill(model, tensors, directory)
    del tensors
    return LoadedStage(prepare_for_decoding(model.to(device), in_place=True), config["window_seconds"])


def load_beat_tracker(checkpoint: Checkpoint, device: str) -> BeatTracker | None:
    """The beat tracker of a checkpoint, None where it has none. Raises CheckpointError for weights that do not fit."""
    if BEAT_TRACKER not in checkpoint.components:
        return None
    directory = checkpoint.component(BEAT_TRACKER)
    config, tensors = load_component(directory)
    sizes = from_dict(BeatTrackerConfig, config[BEAT_TRACKER], f"{directory}/config.json: beat_tracker")
    with _unfilled():
        tracker = BeatTracker(sizes)
    _fill(tracker, tensors, directory)
    return tracker.to(device).eval().requires_grad_(False)


def _load_stage(directory, graph, device, engine, may_differ):
    config, tensors = load_component(directory)
    # by the graph that it was trained in, also where the one of that name is another by now
    sizes = replace(from_dict(StageConfig, config["stage"], f"{directory}/config.json: stage"), own_graph=graph)
    with _unfilled():
        model = StageLM(sizes)
    _fill(model, tensors, directory)
    if model.layout.target.tokenizer == CHORD:
        model.unit_chroma = torch.from_numpy(chord_chroma())  # nobody need listen to know what they sound like
    elif plays_chords(model):
        model.chord_chroma = torch.from_numpy(chord_chroma())
    seconds = config["window_seconds"]
    if engine != "torch":
        from accompgen.engines.onnx_steps import OnnxSteps, why_not  # here, since they may not be installed

        weights = step_weights(model)
        if not may_differ or (weights < SMALL_STEP and not why_not(model)):
            steps = OnnxSteps(model, threads_of_step(weights), int8=engine == "onnx-int8")
            return LoadedStage(model.eval().requires_grad_(False), seconds, steps)
    return LoadedStage(prepare_for_decoding(model.to(device)), seconds)


class _NoDraws(TorchFunctionMode):
    """`nn.init.normal_` does nothing. On tensors without memory it draws nothing anyway, but imports sympy and 800 modules
    more, which takes a second."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return None if func is nn.init.normal_ else func(*args, **(kwargs or {}))


@contextmanager
def _unfilled():
    """What is built in here has no weights until `_fill`: drawing random ones takes longer than reading those of the file, and
    a published stage, of 1.7 GB, need not be there twice."""
    with torch.device("meta"), _NoDraws():
        yield


def _fill(model, tensors, directory):
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{directory}: the weights do not fit its config.json or this version ({first})") from error
