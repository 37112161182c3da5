"""The stages of a checkpoint, ready to decode."""

from accompgen.checkpoint import Checkpoint, CheckpointError, load_component
from accompgen.config import StageConfig, from_dict
from accompgen.generation.cascade import LoadedStage
from accompgen.generation.decode import prepare_for_decoding
from accompgen.model.stage_lm import StageLM
from accompgen.stages import STAGES


def load_stages(checkpoint: Checkpoint, device: str, names=tuple(STAGES)) -> dict[str, LoadedStage]:
    """The stages of these names, on a device. Raises CheckpointError for weights that do not fit."""
    return {name: _load_stage(checkpoint.component(name), device) for name in names}


def _load_stage(directory, device):
    config, tensors = load_component(directory)
    model = StageLM(from_dict(StageConfig, config["stage"], f"{directory}/config.json: stage"))
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{directory}: the weights do not fit its config.json or this version ({first})") from error
    return LoadedStage(prepare_for_decoding(model.to(device)), config["window_seconds"])
