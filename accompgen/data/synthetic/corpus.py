"""POP909 as make.py asks for it, by number; `corpora` reads it, and every other corpus."""

from accompgen.data.synthetic import corpora


def song_numbers(folder, split=None):
    """Sorted numbers of the songs in a POP909 folder, of one split or of all; FileNotFoundError where there are none."""
    return [int(name) for name in corpora.open_corpus(folder).pieces(split)]


def read_song(folder, number):
    """The whole song `number` of a POP909 folder as a `Score`, the melody made monophonic."""
    return corpora.open_corpus(folder).read(f"{number:03d}")
