"""Corpora of songs on disk -> `Score`: POP909, and scores in MusicXML (OpenScore Lieder, OpenEWLD,
one's own).
"""

from dataclasses import dataclass
from pathlib import Path

from accompgen.data.synthetic.corpora import pop909, scores

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Corpus:
    """The songs below a folder. `licence` is a sentence for the files of what is made from them."""

    name: str
    licence: str
    folder: Path
    splits: dict[str, str]  # of each piece, by its name
    cache: Path | None = None

    def pieces(self, split=None):
        """Sorted names of the pieces of a split (train, validation or test), or of all; none has
        been read yet.

        Pieces are split by composition: editions of one song, in whatever corpus, lie in one split.
        """
        if split not in (None, *SPLITS):
            raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
        return tuple(
            sorted(name for name, its_split in self.splits.items() if split in (None, its_split))
        )

    def read(self, name, rng=None):
        """The whole piece `name` as a Score titled with the corpus and the name; its melody is
        monophonic.

        Args:
            name: one of `pieces()`.
            rng: numpy Generator that draws what the source does not say, a score's tempo; None
                takes the middle.
        Raises: ScoreError for a piece that cannot be used, one line with the file, the bar and what
            to mend;
            FileNotFoundError for a piece that is not there; ImportError for a missing reader.
        """
        if name not in self.splits:
            raise FileNotFoundError(f"no piece {name!r} in {self.folder}")
        if self.name == pop909.NAME:
            return pop909.read(self.folder, name)
        return scores.read(self.folder / name, f"{self.name} {name}", rng, self.cache)


def open_corpus(path, cache=None):
    """The corpus in a folder, its kind found by what lies there.

    Args:
        path: an unpacked corpus: POP909, OpenScore Lieder or OpenEWLD, or a folder with any scores
            in MusicXML.
        cache: folder for read scores, made if missing; reading one from there takes milliseconds
            instead of a second.
    Returns: Corpus.
    Raises: FileNotFoundError where no corpus is.
    """
    folder = Path(path)
    cache = Path(cache) if cache else None
    songs = pop909.find(folder)
    if songs:
        return Corpus(
            pop909.NAME,
            pop909.LICENCE,
            folder,
            {name: pop909.split_of(name) for name in songs},
            cache,
        )
    files = scores.find(folder)
    if files:
        kind = scores.kind_of(files)
        splits = {
            file.relative_to(folder).as_posix(): scores.split_of(kind.title(file)) for file in files
        }
        return Corpus(kind.name, kind.licence, folder, splits, cache)
    expected = "; ".join((pop909.EXPECTED, *(kind.expected for kind in scores.KINDS)))
    what = "holds no songs" if folder.is_dir() else "is no folder"
    raise FileNotFoundError(f"{folder} {what}; unpack a corpus there: {expected}")
