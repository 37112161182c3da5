"""The stages of a checkpoint, ready to decode."""

from accompgen.checkpoint import Checkpoint, CheckpointError, load_component
from accompgen.config import StageConfig, from_dict
from accompgen.generation.decode import prepare_for_decoding
from accompgen.generation.schedule import LoadedStage
from accompgen.model.beat_tracker import BeatTracker, BeatTrackerConfig
from accompgen.model.stage_lm import StageLM
from accompgen.stages import STAGES, UNITS


def load_stages(checkpoint: Checkpoint, device: str, names=tuple(STAGES)) -> dict[str, LoadedStage]:
    """The stages of these names, on a device, that of the units with the checkpoint's beat tracker if it has one.

    Raises CheckpointError for weights that do not fit.
    """
    stages = {name: _load_stage(checkpoint.component(name), device) for name in names}
    if UNITS in stages and "beat_tracker" in checkpoint.components:
        stages[UNITS].model.beat_tracker = _load_beat_tracker(checkpoint.component("beat_tracker"), device)
    return stages


def _load_stage(directory, device):
    config, tensors = load_component(directory)
    model = StageLM(from_dict(StageConfig, config["stage"], f"{directory}/config.json: stage"))
    _fill(model, tensors, directory)
    return LoadedStage(prepare_for_decoding(model.to(device)), config["window_seconds"])


def _load_beat_tracker(directory, device):
    config, tensors = load_component(directory)
    tracker = BeatTracker(from_dict(BeatTrackerConfig, config["beat_tracker"], f"{directory}/config.json: beat_tracker"))
    _fill(tracker, tensors, directory)
    return tracker.to(device).eval().requires_grad_(False)


def _fill(model, tensors, directory):
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{directory}: the weights do not fit its config.json or this version ({first})") from error
