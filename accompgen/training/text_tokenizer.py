"""The text tokenizer of a checkpoint: captions of a manifest's songs -> sentencepiece pieces.

A run directory holds config.json and, when done, model/ (a component directory). It takes seconds,
so nothing is saved in between.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from accompgen.component import load_component
from accompgen.config import ConfigError, from_dict, read_toml, to_dict
from accompgen.data.captions import captions_of
from accompgen.data.facts import STEMS
from accompgen.data.songs import read_manifest
from accompgen.files import TextError, read_text
from accompgen.tokens.text import TextTokenizer

LONG = 10_000  # pieces: no caption is cut when its pieces are counted
NOT_SAVED = {"manifest"}  # of the configuration, in the component


@dataclass(frozen=True)
class TextTokenizerConfig:
    """How the text tokenizer is trained."""

    kind: ClassVar = "text tokenizer"
    manifest: str  # JSONL of songs; those with a `meta` file are spoken of
    vocab: int = 512  # the most pieces
    captions: int = 24  # a song: half of them of the whole band, the others of its stems
    seed: int = 0

    def __post_init__(self):
        if self.vocab < 2 or self.captions < 1:
            raise ConfigError(
                f"vocab is {self.vocab} and captions {self.captions}; "
                "expected 2 or more, and 1 or more"
            )


def read_config(path, overrides=()) -> TextTokenizerConfig:
    """The TOML file of a training with `key=value` overrides. Raises ConfigError."""
    return from_dict(TextTokenizerConfig, read_toml(path, overrides), str(path))


def train(config: TextTokenizerConfig, run_dir) -> dict:
    """Train the tokenizer of the run in `run_dir`, unless it is done; it is the component
    run_dir/model.

    Returns:
        {"songs", "captions", "pieces", "validation"}; validation says of the captions of held-out
        songs how many pieces they have and how many characters are in no piece.

    Raises:
        ConfigError: the run was done with another configuration, no training song has a caption, a
            meta file cannot be read, or vocab is too small for the characters of the captions.
        ManifestError: the manifest cannot be used.
    """
    run_dir = Path(run_dir)
    saved = {name: value for name, value in to_dict(config).items() if name not in NOT_SAVED}
    if (run_dir / "model").exists():
        return _done(run_dir, saved)
    texts = {split: _captions(config, split) for split in ("train", "validation")}
    songs = {split: len(found) for split, found in texts.items()}
    train_texts = [text for song in texts["train"] for text in song]
    if not train_texts:
        raise ConfigError(
            f"no training song of {config.manifest} has a meta file that a caption can be made of; "
            "captions come from style, instruments, tempo and key (docs/data.md)"
        )
    try:
        tokenizer = TextTokenizer.train(train_texts, config.vocab)
    except ValueError as error:
        raise ConfigError(f"vocab is {config.vocab}: {error}") from error
    held_out = [text for song in texts["validation"] or texts["train"] for text in song]
    result = {
        "songs": songs["train"], "captions": len(train_texts), "pieces": len(tokenizer.pieces),
        "validation": _validate(tokenizer, held_out) | {"songs": songs["validation"]},
    }  # fmt: skip
    tokenizer.about = {"training": saved, **result}
    run_dir.mkdir(parents=True, exist_ok=True)
    text = json.dumps(to_dict(config), indent=2) + "\n"
    (run_dir / "config.json").write_text(text, encoding="utf-8")
    tokenizer.save(run_dir / "model")
    return result


def _done(run_dir, saved):
    """What a run that is done says of itself."""
    config, _ = load_component(run_dir / "model")
    if config.get("training") != saved:
        raise ConfigError(
            f"{run_dir} was trained with {config.get('training')}, the configuration says {saved}; "
            "use the same configuration or another run directory"
        )
    return {name: config[name] for name in ("songs", "captions", "pieces", "validation")}


def _captions(config, split):
    """The captions of each song of a split that has some."""
    found = []
    for number, song in enumerate(read_manifest(config.manifest)):
        if song.split == split and song.meta:
            rng = np.random.default_rng([config.seed, number])
            texts = _song_captions(_read_meta(song.meta), rng, config.captions)
            found += [texts] if texts else []
    return found


def _song_captions(meta, rng, count):
    stems = max(1, count // 2 // len(STEMS)) if isinstance(meta.get("instruments"), dict) else 0
    texts = captions_of(meta, rng, max(1, count - stems * len(STEMS)))
    for stem in STEMS if stems else ():
        texts += captions_of(meta, rng, stems, stem=stem)
    return texts


def _read_meta(path):
    try:
        meta = json.loads(read_text(path))
    except (OSError, TextError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a song's meta file: {error}") from error
    if not isinstance(meta, dict):
        raise ConfigError(f"{path} holds a {type(meta).__name__}; expected an object in braces")
    return meta


def _validate(tokenizer, texts):
    """Figures on captions: mean and largest number of pieces, pieces a word, unknown ones."""
    counts = [len(tokenizer.encode(text, LONG)) for text in texts]
    words = sum(len(text.split()) for text in texts)
    return {
        "mean_pieces": round(float(np.mean(counts)), 2), "most_pieces": max(counts),
        "pieces_per_word": round(sum(counts) / words, 3),
        "unknown": sum(tokenizer.unknown(text) for text in texts),
    }  # fmt: skip
