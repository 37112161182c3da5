"""The clock that all streams share. Nothing else in the package has its rates as numbers (tests/test_time.py).

    tick     1/150 s   divides the frames of both rates
    frame    1/50 s of units, 3 ticks; 1/75 s of codes, 2 ticks
    block    1/25 s    the shortest span that has whole frames of both: 2 of units, 3 of codes

Songs and windows are whole blocks. A rate `hz` may be that of frames or that of samples.
"""

TICKS_PER_SECOND = 150
BLOCKS_PER_SECOND = 25
SEMANTIC_HZ = 50
ACOUSTIC_HZ = 75


def ticks_of(hz: int) -> int:
    """Ticks that a frame lasts at `hz` frames a second."""
    return TICKS_PER_SECOND // hz


def seconds_of(blocks: int) -> float:
    """Seconds that so many blocks last."""
    return blocks / BLOCKS_PER_SECOND


def blocks_of(seconds: float) -> int:
    """Blocks in a span of whole blocks. Raises ValueError unless it is a positive multiple of 0.04 s."""
    blocks = round(seconds * BLOCKS_PER_SECOND)
    if blocks < 1 or abs(blocks - seconds * BLOCKS_PER_SECOND) > 1e-6:
        raise ValueError(f"{seconds} s is not a multiple of 0.04 s, the shortest span in which both frame rates are whole")
    return blocks


def blocks_within(seconds: float) -> int:
    """Whole blocks within a span, to a millionth of one."""
    return int(seconds * BLOCKS_PER_SECOND + 1e-6)


def frames_of(blocks: int, hz: int) -> int:
    """Frames, or samples, that lie within so many blocks; exact where `hz` is a multiple of 25."""
    return blocks * hz // BLOCKS_PER_SECOND


def whole_blocks(frames: int, hz: int) -> int:
    """Whole blocks within so many frames or samples."""
    return frames * BLOCKS_PER_SECOND // hz


def blocks_covering(frames: int, hz: int) -> int:
    """Fewest blocks that hold so many frames or samples."""
    return -(-frames * BLOCKS_PER_SECOND // hz)
