"""librosa, imported in one place: what lies beneath it wants folders to write to, which not every user has."""

import atexit
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path


def import_librosa(who: str, extra: str):
    """The library.

    Args:
        who: what needs it, with its verb, such as "beats and onsets need".
        extra: of accompgen, that brings it.

    Raises ImportError that says what to install.
    """
    try:
        with _folders_to_write():
            import librosa

            # loaded late otherwise: it asks for the user's cache folder, and ends where there is none
            import librosa.util.files
    except ImportError as error:
        raise ImportError(f"{who} librosa ({error}): pip install 'accompgen[{extra}]'") from error
    return librosa


@contextmanager
def _folders_to_write():
    """For users whose cache folder cannot be written, or who have no home: a folder that lasts as long as the process.

    numba, which compiles for librosa, asks for one later, too, and is given it by a name of its own. The name that says where
    all caches are holds for the import alone: what this package fetches shall not go with the process.
    """
    named, home = os.environ.get("XDG_CACHE_HOME"), os.path.expanduser("~")
    if _writable(named) if named else os.path.isdir(home) and _writable(os.path.join(home, ".cache")):
        yield
        return
    folder = tempfile.mkdtemp(prefix="accompgen-numba-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if not os.environ.get("NUMBA_CACHE_DIR"):
        os.environ["NUMBA_CACHE_DIR"] = folder
    os.environ["XDG_CACHE_HOME"] = folder
    try:
        yield
    finally:
        if named is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = named


def _writable(folder):
    """Whether a folder can be written, or made where it is missing."""
    there = next(place for place in (Path(folder), *Path(folder).absolute().parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
