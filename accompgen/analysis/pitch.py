"""Pitch classes of a voice over time, by SwiftF0, a small network that comes with its package."""

from functools import lru_cache

import numpy as np

from accompgen.time import BLOCKS_PER_SECOND

RATE, HOP = 16_000, 256  # Hz, and samples from one frame of the network to the next
FRAMES_A_BLOCK = RATE / HOP / BLOCKS_PER_SECOND
PIECE_SECONDS = 20  # analysed at once: memory does not grow with the song
CONFIDENCE = 0.5  # below it a frame has no pitch
FAINT_DB = 40.0  # so far below the loudest frame a room answers, or somebody else


@lru_cache(maxsize=1)
def _detector():
    from swift_f0 import SwiftF0

    return SwiftF0(threads=1, spin=False)


def vocal_chroma(mono: np.ndarray, blocks: int) -> np.ndarray:
    """Share of each block of 40 ms in which a voice has each pitch class.

    Args:
        mono: one voice, float32 [T] at RATE.
        blocks: of the result. Sound behind them is left out, and blocks behind the sound are 0.

    Returns:
        float32 [blocks, 12], 0 is C; rows sum up to 1 at most.
    """
    stream, size = _detector().stream(), PIECE_SECONDS * RATE
    found = [stream.push(mono[start : start + size], RATE) for start in range(0, len(mono), size)]
    found.append(stream.flush())
    times, hertz, confidence, level = (
        np.concatenate([getattr(piece, name) for piece in found])
        for name in ("timestamps", "pitch_hz", "confidence", "loudness_db")
    )
    voiced = confidence >= CONFIDENCE
    voiced &= level > level[voiced].max(initial=-np.inf) - FAINT_DB
    classes = np.round(12 * np.log2(hertz[voiced] / 440)).astype(int) + 9  # A is 9
    at = (times[voiced] * BLOCKS_PER_SECOND).astype(int)
    there = at < blocks
    chroma = np.zeros((blocks, 12), np.float32)
    np.add.at(chroma, (at[there], classes[there] % 12), 1.0)
    return chroma / np.maximum(chroma.sum(1, keepdims=True), FRAMES_A_BLOCK)
