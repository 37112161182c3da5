"""Where a pair is cut, and which pieces are worth keeping: levels on a grid of 40 ms blocks. Pure functions of waves."""

from dataclasses import dataclass

import numpy as np

from accompgen import audio
from accompgen.config import ConfigError
from accompgen.data.pairs import LENGTH_TOLERANCE_SECONDS
from accompgen.time import BLOCKS_PER_SECOND, blocks_within, frames_of, seconds_of

FULL_SCALE = 0.9999


@dataclass(frozen=True)
class PrepareConfig:
    """How songs become pairs. dBFS of a block is its RMS; LUFS is BS.1770 of the whole piece."""

    sample_rate: int = 24_000  # of the files written, mono FLAC of 16 bits: what the acoustic tokenizer hears
    segment_seconds: float = 30.0  # pieces are at most this long
    slack_seconds: float = 5.0  # and end at the voice's quietest block within so much before that
    min_seconds: float = 5.0  # shorter pieces, and shorter songs, are dropped
    max_minutes: float = 20.0  # longer songs are dropped: a song is held in memory as a whole
    length_tolerance_seconds: float = LENGTH_TOLERANCE_SECONDS  # the files of a pair may differ by so much
    silence_dbfs: float = -55.0  # a block below is silent,
    silence_below_loud_db: float = 40.0  # and so is one this far below the loud blocks (95 of 100) of the song
    min_sung_share: float = 0.25  # of a piece's blocks, with voice
    min_playing_share: float = 0.5  # of a piece's blocks, with accompaniment
    min_lufs: float = -45.0  # of either
    max_balance_lu: float = 25.0  # voice and accompaniment may differ by so much; beyond, one is residue of the other
    max_clipped_share: float = 0.01  # of a song's samples, at full scale in any of its files

    def __post_init__(self):
        for name, low, high in (
            ("sample_rate", 16_000, audio.MAX_RATE),
            ("segment_seconds", 0.4, 3600),
            ("slack_seconds", 0, self.segment_seconds / 2),
            ("min_seconds", 0.4, self.segment_seconds),
            ("max_minutes", 0.01, 600),
            ("length_tolerance_seconds", 0, 10),
            ("silence_dbfs", -120, 0),
            ("silence_below_loud_db", 1, 120),
            ("min_sung_share", 0, 1),
            ("min_playing_share", 0, 1),
            ("min_lufs", -70, 0),
            ("max_balance_lu", 0, 120),
            ("max_clipped_share", 0, 1),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected {low} to {high}")
        if self.sample_rate % BLOCKS_PER_SECOND:
            raise ConfigError(f"sample_rate is {self.sample_rate}; expected a multiple of {BLOCKS_PER_SECOND}")


@dataclass(frozen=True)
class Piece:
    """A span in blocks of 40 ms, and why it is dropped (None: kept)."""

    first: int
    blocks: int
    reason: str | None = None
    lufs: tuple[float, float] | None = None  # of voice and accompaniment, where they were measured

    @property
    def seconds(self) -> float:
        return seconds_of(self.blocks)


def block_levels(wav: np.ndarray, rate: int) -> np.ndarray:
    """RMS in dBFS of each whole 40 ms block of wav [T]; -120 for silence."""
    block = frames_of(1, rate)
    squares = np.square(wav[: len(wav) // block * block], dtype=np.float64).reshape(-1, block).mean(1)
    return 10 * np.log10(np.maximum(squares, 1e-12))


def audible(levels: np.ndarray, config: PrepareConfig) -> np.ndarray:
    """Which blocks are not silent."""
    loud = np.percentile(levels, 95) - config.silence_below_loud_db
    return levels >= max(config.silence_dbfs, loud)


def clipped_share(wav: np.ndarray) -> float:
    """The share of samples of [C, T] at or beyond full scale."""
    return float((np.abs(wav) >= FULL_SCALE).mean())


def cut(voice_levels: np.ndarray, config: PrepareConfig) -> list[tuple[int, int]]:
    """(first block, blocks) of consecutive pieces that cover everything; a piece ends where the voice is quietest."""
    longest = blocks_within(config.segment_seconds)
    slack = blocks_within(config.slack_seconds)
    pieces, first = [], 0
    while len(voice_levels) - first > longest:
        window = voice_levels[first + longest - slack : first + longest]
        end = first + longest - slack + int(window.argmin()) + 1 if slack else first + longest
        pieces.append((first, end - first))
        first = end
    return [*pieces, (first, len(voice_levels) - first)]


def choose(voice: np.ndarray, band: np.ndarray, config: PrepareConfig) -> list[Piece]:
    """The pieces of a pair [T] each at `config.sample_rate`, in order, dropped ones with their reason."""
    levels = block_levels(voice, config.sample_rate), block_levels(band, config.sample_rate)
    sung, playing = (audible(part, config) for part in levels)
    size = frames_of(1, config.sample_rate)
    pieces = []
    for first, blocks in cut(levels[0], config):
        span = slice(first * size, (first + blocks) * size)
        shares = float(sung[first : first + blocks].mean()), float(playing[first : first + blocks].mean())
        pieces.append(_judge(first, blocks, shares, (voice[span], band[span]), config))
    return pieces


def _judge(first, blocks, shares, waves, config):
    if seconds_of(blocks) < config.min_seconds:
        return Piece(first, blocks, "piece too short")
    if shares[0] < config.min_sung_share:
        return Piece(first, blocks, "too little voice")
    if shares[1] < config.min_playing_share:
        return Piece(first, blocks, "too little accompaniment")
    lufs = tuple(round(audio.loudness(wav, config.sample_rate), 2) for wav in waves)
    for name, value in zip(("voice", "accompaniment"), lufs):
        if value < config.min_lufs:
            return Piece(first, blocks, f"{name} too quiet", lufs)
    if abs(lufs[0] - lufs[1]) > config.max_balance_lu:
        return Piece(first, blocks, "voice and accompaniment too far apart in level", lufs)
    return Piece(first, blocks, None, lufs)
