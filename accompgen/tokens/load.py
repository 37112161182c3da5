"""The tokenizers and the decoder of a checkpoint, or of a component by itself."""

from pathlib import Path

from accompgen.checkpoint import find_checkpoint, read_checkpoint, read_info
from accompgen.component import CheckpointError
from accompgen.device import choose_device
from accompgen.stages import SEMANTIC
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.decoder import (
    FORMAT,
    VOCOS_FORMAT,
    EncodecDecoder,
    StereoDecoder,
    VocosDecoder,
)
from accompgen.tokens.semantic import SemanticTokenizer

# the format that the config.json of a component says -> what reads it; a decoder of one's own is a
# row here
DECODERS = {FORMAT: StereoDecoder, VOCOS_FORMAT: VocosDecoder}


def load_tokenizer(
    checkpoint, kind: str, device: str = "auto", codebooks: int | None = None
) -> SemanticTokenizer | AcousticTokenizer:
    """The "semantic" or the "acoustic" tokenizer of a checkpoint alone.

    Args:
        checkpoint: its name or its directory.
        device: auto (a GPU if there is one), cpu, cuda or cuda:N.
        codebooks: how many codes of a frame the acoustic one gives; None: its own number.

    Raises:
        CheckpointError: no such checkpoint, or one that is incomplete, altered or of another
            format.
        DeviceError: no such device.
        ValueError: a number of codebooks that the acoustic tokenizer does not have, or one for
            the semantic tokenizer.
    """
    if kind == SEMANTIC and codebooks is not None:
        raise ValueError(
            f"{codebooks} codebooks asked for; semantic units have one. "
            "Leave --codebooks out, or take --tokenizer acoustic"
        )
    device = choose_device(device)
    verified = read_checkpoint(find_checkpoint(checkpoint))
    directory = verified.component(f"{kind}_tokenizer")
    if kind == SEMANTIC:
        return SemanticTokenizer.load(directory, device)
    return AcousticTokenizer.load(
        directory, device, codebooks, any_rate=not verified.graph.has_units
    )


def load_decoder(path, device="cpu") -> EncodecDecoder | StereoDecoder | VocosDecoder:
    """The decoder of a component directory: ours, a Vocos, or that of an EnCodec (whatever
    `AcousticTokenizer.load` reads).

    Raises CheckpointError for none of them.
    """
    kind = DECODERS.get(_format_of(path))
    return kind.load(path, device) if kind else EncodecDecoder(AcousticTokenizer.load(path, device))


def _format_of(path) -> str | None:
    """What the config.json of a component directory says that it is; None where there is none."""
    directory = Path(path)
    return read_info(directory).get("format") if (directory / "config.json").is_file() else None


def load_player(path, device="cpu") -> EncodecDecoder | StereoDecoder | VocosDecoder:
    """What plays codes: the decoder of a checkpoint (its name or directory), a decoder or an
    EnCodec by itself.

    Raises CheckpointError for none of them.
    """
    if _format_of(path) in DECODERS:
        return load_decoder(path, device)
    return load_codec(path, device)[1]


def load_codec(
    path, device="cpu"
) -> tuple[AcousticTokenizer, EncodecDecoder | StereoDecoder | VocosDecoder]:
    """Encoder and decoder of a checkpoint (its name or directory), or of an EnCodec by itself (a
    file or a directory).

    Raises CheckpointError for none of them.
    """
    try:
        verified = read_checkpoint(find_checkpoint(path))
    except CheckpointError:
        if (
            not Path(path).exists()
            or (Path(path) / "config.json").is_file()
            and "sha256" in read_info(path)
        ):
            raise
        tokenizer = AcousticTokenizer.load(path, device)
        return tokenizer, EncodecDecoder(tokenizer)
    tokenizer = AcousticTokenizer.load(
        verified.component("acoustic_tokenizer"), device, any_rate=not verified.graph.has_units
    )
    if not verified.graph.has_units:  # of MusicGen and STAGE, which have no decoder besides
        return tokenizer, EncodecDecoder(tokenizer)
    return tokenizer, load_decoder(verified.decoder, device)
