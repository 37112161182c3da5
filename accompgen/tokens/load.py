"""The tokenizers of a checkpoint."""

from accompgen.checkpoint import find_checkpoint, read_checkpoint
from accompgen.device import choose_device
from accompgen.stages import SEMANTIC
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.semantic import SemanticTokenizer


def load_tokenizer(
    checkpoint, kind: str, device: str = "auto"
) -> SemanticTokenizer | AcousticTokenizer:
    """The "semantic" or the "acoustic" tokenizer of a checkpoint alone.

    Args:
        checkpoint: its name or its directory.
        device: auto (a GPU if there is one), cpu, cuda or cuda:N.

    Raises:
        CheckpointError: no such checkpoint, or one that is incomplete, altered or of another format.
        DeviceError: no such device.
    """
    device = choose_device(device)
    verified = read_checkpoint(find_checkpoint(checkpoint))
    directory = verified.component(f"{kind}_tokenizer")
    if kind == SEMANTIC:
        return SemanticTokenizer.load(directory, device)
    return AcousticTokenizer.load(directory, device, any_rate=not verified.graph.has_units)
