"""MusicGen and STAGE as a checkpoint directory: one stage a stem, their codec, and the text
encoder.
"""

import re
import tempfile
from pathlib import Path

from accompgen.checkpoint import ACOUSTIC_TOKENIZER, TEXT_ENCODER, write_checkpoint
from accompgen.component import CheckpointError, file_hash, save_component, tokens_hash
from accompgen.config import to_dict
from accompgen.stages import ACOUSTIC, ALL, Graph, single_stage
from accompgen.tokens.single_stage_weights import SingleStageWeights, read_single_stage
from accompgen.tokens.t5 import T5Encoder, read_pieces, read_t5

KIND = "single_stage"
STEMS_OF_STAGE = ("drums", "bass", "guitar", "keyboard", "piano", "strings", "other", "vocals")
WINDOW_SECONDS = {
    True: 10.0,
    False: 30.0,
}  # by whether a context is heard: targets of STAGE's and MusicGen's training
# of a window what the one before it gave: 12 of 30 s, as audiocraft goes on beyond 30 s. STAGE's
# code never does
PROMPT_SHARE = 0.4
# both programs' own; temperature 1 is MusicGen's, and STAGE's code has none
SAMPLING = {"temperature": 1.0, "top_k": 250, "top_p": 1.0, "guidance": 3.0}
LICENCES = {
    True: "STAGE's weights come without a licence and descend from MusicGen's, which are CC BY-NC 4.0: "
    "not for commercial use",
    False: "Meta's weights of MusicGen are CC BY-NC 4.0: not for commercial use",
}
DEAF = "a MusicGen hears nothing: what it plays follows the text alone, not the voice"
UNSUNG = (
    "STAGE's published weights were trained on band stems and clicks: "
    "a bare voice as context is new to them"
)
WITHOUT_TEXT = (
    "no text is read: give --t5 with a t5-base, or its spiece.model where the weights have the network"
)


def write_single_stage(sources: list, out, t5=None, codec=None, force: bool = False) -> dict:
    """Write published MusicGen or STAGE weights as a checkpoint directory.

    Args:
        sources: paths as `read_single_stage` takes them, or (stem, path); without a stem it is a
            word of the file's name, and of a MusicGen all that is played.
        out: the directory.
        t5: a T5's directory of transformers, or its spiece.model where the weights hold the
            network; None: as in the sources.
        codec: the EnCodec of audiocraft files that have none beside them.
        force: replace a checkpoint that is there.

    Returns:
        figures to print, and `remarks`, a list of sentences.

    Raises:
        CheckpointError: a file that is not read, files of different codecs or text encoders, one
            stem twice.
    """
    if Path(out).exists() and not force:  # said before gigabytes are read
        raise CheckpointError(f"{out} exists; choose another directory or --force (force=True) to replace it")
    found = {}
    for source in sources:
        given, path = source if isinstance(source, tuple) else (None, source)
        weights = read_single_stage(path, codec)
        stem = given or _stem_of(path, weights)
        if stem in found:
            raise CheckpointError(
                f"{found[stem][0]} and {path} are both of {stem}; "
                f"write STEM={path} to say what it makes"
            )
        found[stem] = (Path(path), weights)
    (first, model), *others = found.values()
    for path, other in others:
        if other.config.context != model.config.context:
            raise CheckpointError(
                f"{first} and {path} are not of one kind: only one of them hears a context"
            )
    with tempfile.TemporaryDirectory(prefix=".adopt.", dir=Path(out).absolute().parent) as folder:
        folder = Path(folder)
        components = {ACOUSTIC_TOKENIZER: _save_codec(found, folder)}
        codec = tokens_hash(components[ACOUSTIC_TOKENIZER])
        if encoder := _text_encoder(found, t5):
            encoder.save(folder / TEXT_ENCODER, model.dtype)
            components[TEXT_ENCODER] = folder / TEXT_ENCODER
        for stem, (_, weights) in found.items():
            components[stem] = _save_stage(weights, folder / "stages" / stem, codec)
        info = {
            "licence": LICENCES[model.config.context],
            "sampling": dict.fromkeys(found, SAMPLING),
            "data": "published weights, adopted",
            "sources": {stem: _about(path) for stem, (path, _) in found.items()},
        }
        write_checkpoint(out, components, info, force, graph_of(found))
    remarks = [
        info["licence"],
        UNSUNG if model.config.context else DEAF,
        *([] if encoder else [WITHOUT_TEXT]),
    ]
    figures = {
        "stems": ", ".join(found),
        "hears": "a context" if model.config.context else "nothing",
    }
    return figures | {"reads texts": "yes" if encoder else "no", "remarks": remarks}


def graph_of(found: dict[str, tuple[Path, SingleStageWeights]]) -> Graph:
    """The graph of the stems of one kind."""
    _, model = next(iter(found.values()))
    sizes = model.config
    return single_stage(
        tuple(found), sizes.bins, sizes.codebooks, model.codec.config.frame_hz,
        context=sizes.context, prompt_share=PROMPT_SHARE,
    )  # fmt: skip


def _stem_of(path, weights):
    if not weights.config.context:
        return ALL
    words = re.split(r"[^a-z]+", Path(path).stem.lower())
    named = [stem for stem in STEMS_OF_STAGE if stem in words]
    if len(named) != 1:
        raise CheckpointError(
            f"{path}: its name does not say which stem it makes; write it before: drums={path}"
        )
    return named[0]


def _save_codec(found, folder):
    """The codec as a component, which must be that of all."""
    saved = {}
    for stem, (path, weights) in found.items():
        weights.codec.save(folder / f"codec-{stem}")
        saved[tokens_hash(folder / f"codec-{stem}")] = path
        if (
            weights.codec.bins != weights.config.bins
            or weights.codec.codebooks != weights.config.codebooks
        ):
            raise CheckpointError(
                f"{path}: its codec has {weights.codec.codebooks} codebooks of {weights.codec.bins}, "
                "its model "
                f"{weights.config.codebooks} of {weights.config.bins}; they do not belong together"
            )
    if len(saved) > 1:
        raise CheckpointError(
            f"{' and '.join(map(str, saved.values()))} have different codecs; adopt them one by one"
        )
    return folder / f"codec-{next(iter(found))}"


def _save_stage(weights, directory, codec):
    directory.parent.mkdir(exist_ok=True)
    about = {
        "kind": KIND, KIND: to_dict(weights.config),
        "window_seconds": WINDOW_SECONDS[weights.config.context],
        "tokenizers": {ACOUSTIC: codec},
    }  # fmt: skip
    save_component(
        directory, about, {name: value.to(weights.dtype) for name, value in weights.state.items()}
    )
    return directory


def _text_encoder(found, given):
    """The text encoder of all; None where there is no network or no pieces for it."""
    inside = [(path, weights) for path, weights in found.values() if weights.t5]
    path, state = (inside[0][0], inside[0][1].t5) if inside else (given, None)
    for other, weights in inside[1:]:
        if any(not value.equal(state.get(name, value[:0])) for name, value in weights.t5.items()):
            raise CheckpointError(
                f"{path} and {other} have different text encoders; adopt them one by one"
            )
    pieces = given or next((weights.pieces for _, weights in inside if weights.pieces), None)
    if pieces is None:
        return None
    if state is None:
        if not Path(given).is_dir():
            raise CheckpointError(
                f"{given} is no directory of a t5-base, "
                "and these weights have no text encoder of their own"
            )
        state = read_t5(given)
    pieces = read_pieces(pieces)
    try:
        encoder = T5Encoder(state, pieces)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    wanted = next(weights for _, weights in found.values()).config.text_width
    if encoder.width != wanted:
        raise CheckpointError(
            f"{path} is a T5 of width {encoder.width}; the model was trained with one of {wanted}"
        )
    return encoder


def _about(path):
    return (
        {"file": path.name, "sha256": file_hash(path)}
        if path.is_file()
        else {"directory": path.name}
    )
