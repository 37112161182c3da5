"""The table of the system: which streams there are, and which stage predicts which stream from which.

Everything else derives from the two tables here: the layout of a sequence, the embeddings of a model, the order of generation.

A stream is a grid of integers [B, Q, T]: Q codebooks at a frame rate. The rates share one clock: a *tick* is 1/150 s, so that a
semantic frame (50 Hz) lasts 3 ticks and an acoustic frame (75 Hz) lasts 2, and 2 semantic frames = 3 acoustic frames = 40 ms.
"""

from dataclasses import dataclass

TICKS_PER_SECOND = 150
SEMANTIC_HZ = 50
ACOUSTIC_HZ = 75


@dataclass(frozen=True)
class Stream:
    """One stream of tokens: `codebooks` ids a frame, each in 0..vocab-1, at `hz` frames a second."""

    name: str
    hz: int
    codebooks: int
    vocab: int

    @property
    def ticks(self) -> int:
        """Duration of a frame in ticks of 1/150 s."""
        return TICKS_PER_SECOND // self.hz

    def frames(self, seconds: float) -> int:
        """Number of frames in `seconds`, a multiple of 40 ms (ValueError otherwise)."""
        blocks = round(seconds * 25)
        if abs(blocks - seconds * 25) > 1e-6:
            raise ValueError(f"{seconds} s is not a multiple of 0.04 s, the shortest span in which both frame rates are whole")
        return blocks * self.hz // 25


@dataclass(frozen=True)
class Stage:
    """One transformer: it reads the `context` streams and predicts the `target` stream."""

    name: str
    context: tuple[str, ...]
    target: str


STAGES = {
    "semantic": Stage("semantic", context=("vocal",), target="semantic"),
    "coarse": Stage("coarse", context=("vocal", "semantic"), target="coarse"),
    "fine": Stage("fine", context=("coarse",), target="fine"),
}


def streams(semantic_vocab: int, bins: int, coarse_codebooks: int, fine_codebooks: int) -> dict[str, Stream]:
    """The four streams by name.

    `vocal` and `semantic` are HuBERT units of the voice and of the accompaniment (one codebook of `semantic_vocab` units);
    `coarse` and `fine` are the first and the next EnCodec codebooks of the accompaniment (`bins` codes each).
    """
    return {
        "vocal": Stream("vocal", SEMANTIC_HZ, 1, semantic_vocab),
        "semantic": Stream("semantic", SEMANTIC_HZ, 1, semantic_vocab),
        "coarse": Stream("coarse", ACOUSTIC_HZ, coarse_codebooks, bins),
        "fine": Stream("fine", ACOUSTIC_HZ, fine_codebooks, bins),
    }


def acoustic_frames(semantic_frames: int) -> int:
    """Acoustic frames that sound within `semantic_frames`: int(1.5 S), as in AccompGen's inference script."""
    return semantic_frames * ACOUSTIC_HZ // SEMANTIC_HZ
