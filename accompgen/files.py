"""Files as people have them: text in the usual encodings, names in any form of Unicode, endings of
sound, places without permissions."""

import errno
import hashlib
import os
import unicodedata
import uuid
import warnings
from contextlib import contextmanager
from pathlib import Path

# What is taken for sound by its name. Whether it can be read, audio.read says: a file that it
# cannot read is an error with the file's name, and never left out without a word.
SOUND_ENDINGS = (
    ".wav", ".flac", ".ogg", ".mp3", ".opus", ".oga", ".aiff", ".aif", ".aifc", ".m4a", ".m4b",
    ".mp4", ".aac", ".mp2", ".wma", ".caf", ".au", ".snd", ".w64", ".rf64", ".bwf", ".ape", ".wv",
    ".mka", ".webm", ".ac3", ".amr", ".3gp", ".tta", ".mov", ".mkv", ".m4v",
)  # fmt: skip


NO_MODES = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


def set_mode(path, mode: int) -> None:
    """chmod, where the place has permissions: mounted buckets and network drives may have none, and
    what was written is whole without them. Raises OSError for any other reason."""
    try:
        os.chmod(path, mode)
    except OSError as error:
        if error.errno not in NO_MODES:
            raise


@contextmanager
def replacing(path):
    """A binary file, open for reading and writing, that takes the place of `path` when the block ends well.

    It is a hidden neighbour of `path` until then. After an error or Ctrl-C it is removed, and what
    was at `path` stays. Files that belong together enter one contextlib.ExitStack, which renames
    none before all are written.

    Raises OSError where the place cannot be written.
    """
    path = Path(path)
    # a name of its own: two processes may write the same file
    part = path.with_name(f".accompgen-{uuid.uuid4().hex}.part")
    try:
        with open(part, "x+b") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


class SoundWarning(UserWarning):
    """What is odd about a sound file or a prompt that can be used all the same; the message names
    it."""


def show_warnings_plainly() -> None:
    """From now on a SoundWarning is one line of its own, without the place in the code."""
    usual = warnings.formatwarning

    def shown(message, category, *place, **more):
        return f"{message}\n" if category is SoundWarning else usual(message, category, *place, **more)

    warnings.formatwarning = shown


class TextError(ValueError):
    """A file that is no text in an encoding that is known; the message names it and says what to
    do."""


def read_text(path) -> str:
    """A text file in UTF-8 or UTF-16, with or without a byte order mark, which is left out.

    Raises TextError for any other encoding, OSError for a file that cannot be opened.
    """
    data = Path(path).read_bytes()
    encoding = _encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise TextError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not {encoding.removesuffix('-sig').upper()}; "
            "save the file as UTF-8"
        ) from error


def _encoding(data):
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    # text without a mark begins with a character of ASCII here, be it a brace or a letter
    if data[1:2] == b"\0" and data[:1] != b"\0":
        return "utf-16-le"
    if data[:1] == b"\0":
        return "utf-16-be"
    return "utf-8-sig"


def text_lines(text: str) -> list[str]:
    """The lines of a text; str.splitlines would also divide at U+2028, U+0085 and others, which
    may stand in a field."""
    return [line.removesuffix("\r") for line in text.split("\n")]


NAME_BYTES = 200  # of 255 that a file's name may have: endings such as `.accompaniment.part.wav` follow


def sha256_of(path) -> str:
    """sha256 of a file, hexadecimal, read piece by piece. Raises OSError if it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short_name(name: str) -> str:
    """The name of a file without its ending, cut and ended by a hash of the whole where it is too long
    for what is added to it."""
    data = os.fsencode(name)
    if len(data) <= NAME_BYTES:
        return name
    digest = hashlib.sha256(data).hexdigest()[:8]
    return data[: NAME_BYTES - 9].decode(errors="ignore") + "-" + digest


def one_form(name: str) -> str:
    """A name with composed characters (NFC): macOS writes them decomposed, other systems mostly
    composed."""
    return unicodedata.normalize("NFC", name)


def in_either_form(path) -> Path:
    """The path, or the file that is there under the same name with its characters composed or
    decomposed."""
    path = Path(path)
    if str(path).isascii() or os.path.exists(path):
        return path
    for form in ("NFC", "NFD"):
        for other in (
            path.with_name(unicodedata.normalize(form, path.name)),
            Path(unicodedata.normalize(form, str(path))),
        ):
            if os.path.exists(other):
                return other
    return path
