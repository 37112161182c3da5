"""Tokens of one sound as a safetensors file, for a look at one tokenizer alone: `accompgen encode` and `accompgen decode`.

The file holds `codes` [Q, F] (acoustic) or `units` [S] (semantic), int16, and in its metadata the tokenizer's kind, the sample
rate and number of samples of the mono sound that was encoded.
"""

from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from accompgen import audio
from accompgen.files import short_name
from accompgen.stages import ACOUSTIC, SEMANTIC
from accompgen.tokens.semantic import SemanticTokenizer

FORMAT = "accompgen tokens 1"


class TokenFileError(ValueError):
    """A file of tokens that cannot be written or decoded; the message names it."""


def encode_file(path, directory, tokenizer, force: bool = False) -> Path:
    """Write directory/<name>.safetensors with the tokens of a sound file, and return its path.

    Args:
        tokenizer: a SemanticTokenizer or an AcousticTokenizer.

    Raises:
        audio.AudioError: a sound that cannot be read, or a place that cannot be written.
        TokenFileError: the file exists and `force` is not set.
    """
    from safetensors.torch import save

    target = _target(directory, path, "safetensors", force)
    wav, rate = audio.read(path)
    mono = torch.from_numpy(audio.resample(audio.downmix(wav), rate, tokenizer.sample_rate))[None]  # [1, T]
    if isinstance(tokenizer, SemanticTokenizer):
        kind, tokens = SEMANTIC, {"units": tokenizer.encode(mono)[0]}  # [S]
    else:
        kind, tokens = ACOUSTIC, {"codes": tokenizer.encode(mono)[0]}  # [Q, F]
    tokens = {name: values.to("cpu", torch.int16).contiguous() for name, values in tokens.items()}
    about = {"format": FORMAT, "tokenizer": kind, "sample_rate": str(tokenizer.sample_rate), "samples": str(mono.shape[1])}
    audio.make_folder(directory)
    audio.write_bytes(target, save(tokens, about))
    return target


def decode_file(path, directory, decoder, codebooks: int | None = None, force: bool = False, seed: int = 0) -> Path:
    """Write directory/<name>.wav (24 bits, rate and channels of the decoder) of the acoustic codes that `encode_file` wrote;
    return its path.

    A decoded sound beyond full scale is turned down to -1 dBFS, not clipped. Memory holds a piece of it.

    Raises:
        TokenFileError: not such a file, semantic units (they hold no sound), or the output exists and `force` is not set.
        audio.AudioError: a place that cannot be written.
        ValueError: more codebooks, or other codes, than the tokenizer has.
    """
    from safetensors import SafetensorError, safe_open

    target = _target(directory, path, "wav", force)
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tokens = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise TokenFileError(f"{path}: not readable as safetensors ({error}); give a file that `encode` wrote") from error
    if about.get("format") != FORMAT:
        raise TokenFileError(f"{path}: its format is {about.get('format')!r}; expected {FORMAT!r}, as `encode` writes")
    if "codes" not in tokens:
        raise TokenFileError(f"{path}: holds semantic units, from which no sound can be made; encode with --tokenizer acoustic")
    codes = tokens["codes"][None].long()  # [1, Q, F]
    if codebooks is not None and not 1 <= codebooks <= codes.shape[1]:
        raise TokenFileError(f"{path}: has {codes.shape[1]} codebooks; {codebooks} cannot be decoded")
    samples = round(int(about["samples"]) * decoder.sample_rate / int(about["sample_rate"]))
    pieces = decoder.pieces(codes[:, :codebooks], seed)
    first = next(pieces)  # codes that cannot be decoded leave no folder behind
    audio.make_folder(directory)
    parts = (piece[0].cpu().numpy() for piece in chain([first], pieces))
    with TemporaryDirectory(prefix=".accompgen-", dir=directory) as folder:
        # what is too loud is known at the end
        wav = audio.on_disk(Path(folder, "sound"), parts, samples)
        loudest = audio.peak(wav)
        gain = audio.PEAK_LIMIT / loudest if loudest > 1 else 1.0
        audio.write(target, audio.scaled(wav, gain), decoder.sample_rate)
    return target


def _target(directory, source, suffix, force):
    target = Path(directory) / f"{short_name(Path(source).stem)}.{suffix}"
    audio.check_folder(directory)
    if target.exists() and not force:
        raise TokenFileError(f"{target} exists; choose another folder, or --force to replace it")
    return target
