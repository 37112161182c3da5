"""What the windows of a training are asked for in words: captions of their songs, drawn anew each time."""

import json
import warnings
from functools import lru_cache

from accompgen.config import ConfigError, TrainConfig
from accompgen.data.batches import Window
from accompgen.data.captions import captions_of
from accompgen.data.facts import STEMS  # those that captions know
from accompgen.data.songs import read_manifest
from accompgen.files import SoundWarning, TextError, read_text
from accompgen.time import seconds_of
from accompgen.tokens.text import TextTokenizer

SPAN_SHARE, STEM_SHARE = 0.3, 0.3  # of the captions speak of the window, of the stem alone; the others of the whole song


class WindowTexts:
    """Windows -> ids of a caption each, -1 behind its end and where nothing is known of a song.

    Args:
        config: with `captions`, `text_tokenizer` and a model that is told a text.

    Raises:
        ConfigError: a tokenizer with more pieces than the model knows.
        ManifestError, CheckpointError: files that cannot be used.
    """

    def __init__(self, config: TrainConfig):
        self.tokenizer = TextTokenizer.load(config.text_tokenizer)
        self.pieces, self.seconds = config.model.text_pieces, config.window_seconds
        self.players = config.caption_players
        if self.tokenizer.vocab > config.model.text_vocab:
            raise ConfigError(
                f"model.text_vocab is {config.model.text_vocab}, and {config.text_tokenizer} has {self.tokenizer.vocab}; set "
                "it so"
            )
        self.paths = {song.id: song.meta for song in read_manifest(config.captions) if song.meta}
        self._meta = lru_cache(maxsize=4096)(self._read)

    def __call__(self, window: Window, rng) -> list[int]:
        """The ids [length] of a window's text."""
        meta, ids = self._meta(window.song.id), []
        if meta is not None:
            start = seconds_of(window.first_block)
            span = (start, start + self.seconds) if rng.random() < SPAN_SHARE else None
            stem = window.stem if rng.random() < STEM_SHARE and window.stem in STEMS else None
            for text in captions_of(meta, rng, 1, stem, span, self.players, window.stem):
                with warnings.catch_warnings():  # a caption that is cut off is one that says less
                    warnings.simplefilter("ignore", SoundWarning)
                    ids = self.tokenizer.encode(text, self.pieces)
        return ids + [-1] * (self.pieces - len(ids))

    def _read(self, song):
        path = self.paths.get(song)  # of an augmented copy, whose tempo and key are others, none
        try:
            return None if path is None else json.loads(read_text(path))
        except (OSError, TextError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
