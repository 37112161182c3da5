"""The tokens of one song: units of its voice and of its tracks, codes of its tracks, ids of its chart."""

import json
from dataclasses import dataclass

import numpy as np

from accompgen import audio
from accompgen.chart import Chart
from accompgen.config import ConfigError
from accompgen.data import shards
from accompgen.data.augment import Augment, Change, apply, seeded, stretch
from accompgen.data.pairs import PairError, read_tracks
from accompgen.data.songs import Song
from accompgen.data.submixes import draw_mixtures, name_of
from accompgen.files import TextError, read_text
from accompgen.stages import ACOUSTIC, ALL, BEAT, CHORD, SEMANTIC, VOICE
from accompgen.time import frames_of, whole_blocks

NO_CHANGE = Change()
VOCAL_NOISE = 0.01  # sigma of the Gaussian noise on the vocal before HuBERT, as in AccompGen's inference script
SEMITONES = 1.0  # by which transposed vocals are higher


@dataclass(frozen=True)
class Tokenizing:
    """What is made of every song.

    Raises:
        ConfigError: a value out of range.
    """

    codebooks: int = 8  # of the acoustic tokenizer, the first so many; 0: no codes
    stems: tuple[str, ...] = (ALL,)  # tracks that stages shall make; of a song those that it has
    mixtures: int = 1  # of two stems or more, drawn for each song: what the others play beside a stem
    vocal_noise: float = VOCAL_NOISE
    transposed_vocals: bool = False  # the units of the vocals of validation songs a semitone higher, too
    augment: Augment | None = None  # augmented copies of the training songs, beside the songs as they are
    seed: int = 0

    def __post_init__(self):
        if not self.stems or len(set(self.stems)) < len(self.stems):
            raise ConfigError(f"stems are {self.stems}; expected at least one, each once, such as {ALL!r}")
        for name in ("codebooks", "mixtures"):
            if not 0 <= getattr(self, name) <= 1000:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 to 1000")
        if not 0 <= self.vocal_noise <= 1:
            raise ConfigError(f"vocal_noise is {self.vocal_noise}; expected a sigma from 0 to 1")


def tokenize_song(
    song: Song, semantic, acoustic, config: Tokenizing, copy: int = 0, change: Change = NO_CHANGE
) -> tuple[int, dict]:
    """The tokens of one song: its number of 40 ms blocks, and integer arrays by the names that shards have for them.

    The noise depends on the seed, the song's id and the copy alone, so that neither the order nor the number of processes
    changes it. `change` is what was drawn for the copy; copies have no codes where the augmentation says so.
    """
    import torch

    stems = tuple(stem for stem in config.stems if song.tracks.files_of(stem))
    if not stems:
        there = ", ".join(song.tracks.stems) or "none"
        raise PairError(f"{song.id} has none of the stems {', '.join(config.stems)}; it has {there}")
    blocks, low, high = _waves(song, stems, (semantic.sample_rate, acoustic.sample_rate), change)
    generator = torch.Generator().manual_seed(seeded(config.seed, song.id, copy))
    sigma = config.vocal_noise if change.noise_sigma is None else change.noise_sigma
    noise = sigma * torch.randn((1, len(low[VOICE])), generator=generator)
    heard = {VOICE: torch.from_numpy(low[VOICE])[None] + noise}  # [1, T]
    heard |= {stem: torch.from_numpy(low[stem])[None] for stem in stems}
    parts = [stem for stem in stems if stem != ALL]
    for mixture in draw_mixtures(parts, config.mixtures, np.random.default_rng(seeded(config.seed, song.id, 0))):
        heard[name_of(mixture)] = sum(heard[stem] for stem in mixture)
    coded = config.codebooks and not (copy and config.augment and not config.augment.codes)
    with torch.inference_mode():
        tokens = {f"{SEMANTIC}/{name}": semantic.encode(wav)[0] for name, wav in heard.items()}  # [S]
        if config.transposed_vocals and song.split == "validation" and not copy:
            higher = torch.from_numpy(stretch(low[VOICE], SEMITONES, 1.0, semantic.sample_rate))[None]
            tokens[shards.TRANSPOSED] = semantic.encode(higher + noise)[0]
        if coded:
            for stem in stems:
                wav = torch.from_numpy(high[stem])[None]
                tokens[f"{ACOUSTIC}/{stem}"] = acoustic.encode(wav, config.codebooks)[0]  # [Q, F]
    return blocks, {name: ids.cpu().numpy() for name, ids in tokens.items()} | _chart(song, blocks, change)


def _chart(song, blocks, change):
    """Ids of the song's annotated beats and chords by array, as a copy has them; none where it has none."""
    if song.meta is None:
        return {}
    try:
        chart = Chart.of_song(json.loads(read_text(song.meta)), song.seconds).changed(change.speed, change.semitones)
        beats, chords = chart.beat_ids(blocks), chart.chord_ids(blocks)
    except (OSError, TextError, ValueError, TypeError) as error:  # a label, a list of another form, no JSON
        raise PairError(f"{song.id}: {song.meta}: its beats or chords cannot be read ({error})") from error
    arrays = {} if beats is None else {BEAT: beats}
    return arrays if chords is None else arrays | {CHORD: np.where(chords[1], chords[0], -1)}


def _waves(song, stems, rates, change):
    """Blocks of 40 ms, and name -> wave [T] of the vocal and the stems at the lower and the higher of two rates."""
    low, high = rates
    if not set(change.values()) - {"noise_sigma"}:
        blocks, waves = read_tracks(song, stems, rates)
        return blocks, waves[low], waves[high]
    _, waves = read_tracks(song, stems, (high,))
    changed = {}
    for stem in stems:
        changed[VOICE], changed[stem] = apply(change, waves[high][VOICE], waves[high][stem], high)
    blocks = whole_blocks(len(changed[VOICE]), high)
    if blocks < 1:
        raise PairError(f"{song.id}: at a speed of {change.speed} it is shorter than one block of 0.04 s")
    lowered = {
        name: audio.fit(audio.resample(wav, high, low), frames_of(blocks, low)) for name, wav in changed.items()
    }
    return blocks, lowered, {name: audio.fit(wav, frames_of(blocks, high)) for name, wav in changed.items()}
