"""librosa, imported in one place: what lies beneath it wants folders to write to, which not every
user has.

numba, which compiles for librosa, writes what it compiled to a cache. Two processes that write one
cache at the same time can leave an index that names the other's machine code, and whoever runs that
code dies of it (numba's issue 10128). So each process has a cache of its own while it lives, and
finds it filled by the one that had it before.
"""

import atexit
import os
import shutil
import tempfile
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

NUMBA_CACHE = "NUMBA_CACHE_DIR"  # numba's own name for it
OF_PROCESSES = "accompgen-numba"  # the folder of numbered caches, one a process
MOST = 1000  # processes at once
_held = []  # the lock on this process's cache


def import_librosa(who: str, extra: str):
    """The library.

    Args:
        who: what needs it, with its verb, such as "beats and onsets need".
        extra: of accompgen, that brings it.

    Raises ImportError that says what to install, and OSError where NUMBA_CACHE_DIR names a folder
    that cannot be used.
    """
    try:
        return _library()
    except ImportError as error:
        raise ImportError(f"{who} librosa ({error}): pip install 'accompgen[{extra}]'") from error


@lru_cache(maxsize=1)
def _library():
    with _folder_to_write() as folder:
        if not _held:
            _own_numba_cache(folder)
        import librosa

        # loaded late otherwise: it asks for the user's cache folder, and ends where there is none
        import librosa.util.files
    return librosa


@contextmanager
def _folder_to_write():
    """The user's cache folder; where it cannot be written, or there is no home, a folder that lasts
    as long as the process.

    The name that says where all caches are holds for the import alone: what this package fetches
    shall not go with the process.
    """
    named, home = os.environ.get("XDG_CACHE_HOME"), os.path.expanduser("~")
    usual = named or os.path.join(home, ".cache")
    if (named or os.path.isdir(home)) and _writable(usual) and _writable(Path(usual, OF_PROCESSES)):
        yield usual
        return
    folder = tempfile.mkdtemp(prefix="accompgen-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["XDG_CACHE_HOME"] = folder
    try:
        yield folder
    finally:
        if named is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = named


def _own_numba_cache(folder):
    """Point numba to the first numbered cache that no living process holds, in the user's
    NUMBA_CACHE_DIR or else in `folder`.

    A process that another one of ours has started inherits the name of that one's cache, and takes
    a number beside it.
    """
    named = os.environ.get(NUMBA_CACHE)
    inherited = named and Path(named).parent.name == OF_PROCESSES
    caches = Path(named).parent if inherited else Path(named or folder) / OF_PROCESSES
    for number in range(MOST):
        cache = caches / str(number)
        cache.mkdir(parents=True, exist_ok=True)
        # the operating system lets go of it when the process ends, however it ends
        lock = FileLock(cache / ".lock", thread_local=False)
        try:
            lock.acquire(timeout=0)
        except (Timeout, PermissionError):  # somebody's, or another user's
            continue
        _held.append(lock)
        os.environ[NUMBA_CACHE] = str(cache)
        return
    raise OSError(
        f"none of the {MOST} caches of numba in {caches} can be locked; "
        f"set {NUMBA_CACHE} to another folder"
    )


def _writable(folder):
    """Whether a folder can be written, or made where it is missing."""
    there = next(place for place in (Path(folder), *Path(folder).absolute().parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
