"""What a file of weights from elsewhere holds, told by the names and shapes of its weights.

The readers refuse by it what is none of theirs, and the messages say it.
"""

import re
from pathlib import Path

import torch

from accompgen.component import CheckpointError

ENCODEC = "an EnCodec"  # how the words for any of them begin
HUBERT = "a HuBERT or wav2vec 2.0 of transformers"
LANGUAGE_MODEL = "a language model, such as MusicGen's"
STAGES_OF_HAFM = "model_state"  # what its released stage files hold their weights under

# of MusicGen as transformers and audiocraft write it
_LANGUAGE = (
    r"((model\.)?decoder\.(model\.decoder\.)?(layers\.\d+\.self_attn|embed_tokens)"
    r"|transformer\.layers\.|emb\.\d+\.|lm\.decoder\.)"
)
_HUBERT = r"((hubert|wav2vec2)\.)?encoder\.pos_conv_embed\."
# of EnCodec: its first convolution, and the norms of the model of 48 kHz
_CONVOLUTION = (
    r"encoder\.(model|layers)\.0\.conv\.(conv\.)?(weight(_v)?|parametrizations\.weight\.original1)$"
)
GROUP_NORM = r"encoder\..*\.norm\.weight$"


def kind_of(content: dict) -> str:
    """What the content of a file is, in words for a message: a state_dict, or what else was saved.

    Args:
        content: names -> tensors, of which the shapes are looked at, or other values.
    """
    content = {str(name): value for name, value in content.items()}
    names = sorted(content)
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    if "xp.cfg" in content or "best_state" in content:
        return f"what audiocraft saves, such as MusicGen's language model or its 32 kHz codec ({shown})"
    if STAGES_OF_HAFM in content:
        return (
            f"a training state ({shown}), as HAFM releases its stages (ckpt_best.pt): weights without what describes them. The "
            "model's code and configuration (models/ar_singsong, data.retokenize, configs/ar.yaml) are not in its repository, "
            "so nothing can play it"
        )
    if not all(isinstance(value, torch.Tensor) for value in content.values()):
        return f"something else than names and tensors ({shown})"

    def named(pattern):
        return [content[name] for name in names if re.match(pattern, name)]

    first = named(_CONVOLUTION)
    if named(_LANGUAGE):
        return LANGUAGE_MODEL
    if named(_HUBERT):
        return HUBERT
    if first and first[0].ndim == 3 and first[0].shape[1] != 1:
        return f"{ENCODEC} of {first[0].shape[1]} channels, such as that of 48 kHz"
    if first and named(GROUP_NORM):
        return f"{ENCODEC} with group norm, such as that of 48 kHz"
    return f"{ENCODEC} of one channel" if first else f"weights of another kind ({shown})"


def is_safetensors(path) -> bool:
    """Whether a file is safetensors, by its ending or its first bytes: a length, then JSON."""
    with open(path, "rb") as file:
        return Path(path).suffix == ".safetensors" or file.read(9)[8:] == b"{"


def safetensors_kind(path) -> str:
    """`kind_of` a safetensors file, of which the header alone is read. Raises CheckpointError for a
    damaged one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is a damaged safetensors file ({error}); copy it again") from error
    return kind_of({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})


def weights_alone(path, found: str) -> CheckpointError:
    """The error for weights of the right kind that come without their sizes."""
    return CheckpointError(
        f"{path} is weights alone ({found}); give the directory that they lie in, with the "
        "config.json that says what they are"
    )
