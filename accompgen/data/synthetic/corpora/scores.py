"""Folders of scores in MusicXML: which collection one is, its pieces, their splits, a cache of what
was read.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from accompgen import audio
from accompgen.data.synthetic.corpora.musicxml import SUFFIXES
from accompgen.data.synthetic.corpora.reading import read_sheet
from accompgen.data.synthetic.corpora.sheet import Sheet
from accompgen.data.synthetic.score import ScoreError

# of the files in a cache; to be raised when the same score gives another sheet than before
SHEET_FORMAT = 1


class Kind(NamedTuple):
    """A collection of scores, told by how it names its files; `title` takes one from a path."""

    name: str
    licence: str
    expected: str
    names: Callable[[Path], bool]
    title: Callable[[Path], str]


KINDS = (
    Kind(
        "OpenScore Lieder",
        "OpenScore Lieder (OpenScore/Lieder): CC0, compositions in the public domain",
        "OpenScore Lieder as COMPOSER/SET/SONG/lc1234567.mxl (OpenScore/Lieder)",
        lambda path: re.fullmatch(r"lc\d+", path.stem) is not None,
        lambda path: path.parent.name,
    ),
    Kind(
        "OpenEWLD",
        "OpenEWLD (00sapo/OpenEWLD): MIT for the lead sheets, of works that its makers found to be "
        "in the public domain",
        "OpenEWLD as AUTHORS/TITLE/TITLE.mxl (00sapo/OpenEWLD)",
        lambda path: path.stem == path.parent.name,
        lambda path: path.stem,
    ),
    Kind(
        "own scores",
        "scores of the user's own, under the terms of whoever owns them",
        f"or scores ({', '.join(SUFFIXES)}) with lyrics and chord symbols or a part for piano",
        lambda path: True,
        lambda path: path.stem,
    ),
)

_CATALOGUES = r"\b(op|opp|no|nr|d|h|k|kv|woo|vwv|wwv)\.? ?\d.*$|\bhob\..*$"
_ARTICLES = "the|an?|der|die|das|ein|eine|les?|la|un|une|il|lo|el|los"


def find(folder):
    """Every MusicXML file below a folder, sorted; hidden ones are left out."""
    files = (path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in files if not path.name.startswith("."))


def kind_of(files):
    """The collection whose way of naming files most of them follow."""
    return next(kind for kind in KINDS if sum(map(kind.names, files)) > len(files) / 2)


def split_of(title):
    """The split of a piece by its title: a twentieth each is validation and test.

    Composers are left out: collections write them in too many ways, so that a song which two of
    them hold would get two splits. Songs of one title, such as all the `Wiegenlied`, share a split
    instead.
    """
    number = int.from_bytes(hashlib.sha256(plain_title(title).encode()).digest()[:8], "big") % 20
    return {0: "validation", 10: "test"}.get(number, "train")


def plain_title(title):
    """A title without what editions differ in: number, brackets, opus, article, accents, case."""
    text = "".join(c for c in unicodedata.normalize("NFKD", title) if not unicodedata.combining(c))
    text = re.sub(r"[_\s]+", " ", text.casefold().replace("’", "'"))
    shorter = re.sub(r"^\d+[a-z]?[.\s]+|\([^)]*\)|\[[^]]*\]", " ", text)
    shorter = re.sub(_CATALOGUES, " ", shorter)
    shorter = re.sub(rf"^\W*({_ARTICLES})\b|^\W*l'|, *({_ARTICLES})\W*$", " ", shorter)
    return "".join(re.findall(r"\w", shorter)) or "".join(re.findall(r"\w", text)) or text


def read(path, title, rng, cache):
    """The Score of a file by read_sheet, whose sheets the folder `cache` keeps (None: nothing)."""
    if not path.is_file():
        raise FileNotFoundError(f"no score at {path}")
    if cache is None:
        return _played(read_sheet(path), path, title, rng)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:24]
    kept = cache / f"{SHEET_FORMAT}-{digest}.json"
    sheet = _read_kept(kept)
    if sheet is None:
        sheet = read_sheet(path)
        cache.mkdir(parents=True, exist_ok=True)
        audio.write_bytes(kept, sheet.to_json().encode())
    return _played(sheet, path, title, rng)


def _played(sheet, path, title, rng):
    score = sheet.to_score(title, rng)
    if not score.melody:
        raise ScoreError(f"{path}: no melody; all of its notes are too short to sing")
    return score


def _read_kept(path):
    """The sheet of a cache's file; None where it is not there or not what `to_json` writes."""
    try:
        return Sheet.from_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
