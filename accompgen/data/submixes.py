"""Mixtures of a song's stems: what the others play, as a stage hears it that makes one more.

Tokens cannot be added up, so each mixture is tokenised as sound. Single stems are mixtures, too, and cost nothing: their units
are there as targets.
"""

from itertools import combinations

import numpy as np

from accompgen.stages import STEMS


def name_of(stems) -> str:
    """What shards call the mixture of some stems, in whatever order they are given: `drums+bass`."""
    return "+".join(sorted(stems, key=_place))


def stems_of(mixture: str) -> frozenset[str]:
    """The stems of a mixture's name."""
    return frozenset(mixture.split("+"))


def _place(stem):
    return (STEMS.index(stem) if stem in STEMS else len(STEMS), stem)


def draw_mixtures(stems, count: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """At most `count` mixtures of two stems or more, but never of all, each once."""
    stems = sorted(stems, key=_place)
    mixtures = [mixture for size in range(2, len(stems)) for mixture in combinations(stems, size)]
    chosen = rng.permutation(len(mixtures))[:count]
    return [mixtures[index] for index in sorted(chosen)]
