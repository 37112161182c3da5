"""The table of the system: which streams there are, and which stage predicts which stream from which.

Everything else derives from the two tables here: the layout of a sequence, the embeddings of a model, the order of generation.

A stream is a grid of integers [B, Q, T]: Q codebooks at a frame rate. The rates share one clock (time.py).
"""

from dataclasses import dataclass

from accompgen.time import ACOUSTIC_HZ, SEMANTIC_HZ, ticks_of


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
        return ticks_of(self.hz)


@dataclass(frozen=True)
class Stage:
    """One transformer: it reads the `context` streams and predicts the `target` stream.

    In a song that is longer than its windows, each begins with what those before it gave, over `prompt_share` of its length.
    With 0 the windows do not depend on each other.
    """

    name: str
    context: tuple[str, ...]
    target: str
    prompt_share: float = 0.0


STAGES = {
    "semantic": Stage("semantic", context=("vocal",), target="semantic", prompt_share=1 / 2),
    "coarse": Stage("coarse", context=("vocal", "semantic"), target="coarse", prompt_share=1 / 3),
    "fine": Stage("fine", context=("coarse",), target="fine"),
}
VOCAL = "vocal"  # the stream that is given; every other one is the target of a stage
UNITS = "semantic"  # what the band plays, as units
CODES = ("coarse", "fine")  # the same as codes of the codec, these codebooks above those


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
