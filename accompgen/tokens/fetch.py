"""Published weights into the cache: HuBERT as fairseq wrote it, EnCodec, Vocos, and what the evaluation listens with.

A download goes to `<file>.part` and takes the file's name only when it is complete and its hash is right. One that was
interrupted resumes where it stopped (HTTP Range), or starts again if the server cannot or if its file changed meanwhile.

What there is stands in published.py. A file without a pinned sha256 is trusted on first use: the
hash is recorded in `<file>.sha256` beside the file, said on stderr, and checked ever after.
"""

import http.client
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from accompgen.checkpoint import cache_directory
from accompgen.component import file_hash
from accompgen.tokens.published import BY_HAND, PUBLISHED

ATTEMPTS = 5  # connections before a broken download is given up; the next call goes on from there
RETRY_SECONDS = 2.0  # pause before the second connection, twice that before the third, ...
TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 1 << 20


class FetchError(ValueError):
    """Weights that could not be fetched or are not what was published; the message says what to do by hand."""


class _BrokenOff(Exception):
    """The connection ended before the file did, or the part at hand cannot be continued: connect again."""


def fetch(name: str, cache=None, url: str | None = None, progress: bool = True, force: bool = False) -> Path:
    """The path of a published weight file in the cache, downloaded if it is not there yet.

    Args:
        name: a key of PUBLISHED.
        cache: the folder to keep it in; the default is weights/ in `checkpoint.cache_directory()`.
        url: a mirror to take it from instead of the published address; not what belongs beside it.
        progress: a bar and remarks on stderr. The remark about a hash that is trusted on first use is always made.
        force: download again even if the file is there; it is replaced only when the new one is complete and right.

    Raises:
        FetchError: an unknown name; one of BY_HAND; no network, an error of the server or a full disk (what to download by
            hand, and where to put it); a file, downloaded or cached, with another hash than it should have.
    """
    if name in BY_HAND:
        raise FetchError(f"{name} cannot be fetched: {BY_HAND[name]}")
    if name not in PUBLISHED:
        raise FetchError(f"no published weights {name!r}; there are {', '.join((*PUBLISHED, *BY_HAND))}")
    from filelock import FileLock

    row = PUBLISHED[name]
    folder = Path(cache) if cache else cache_directory() / "weights"
    path, part = folder / row.file, folder / f"{row.file}.part"
    if row.beside:
        try:
            fetch(row.beside, cache, progress=progress, force=force)
        except FetchError as error:
            raise FetchError(f"{error}; and {name} itself. {_by_hand(row, path)}") from error
    url = url or row.url
    try:
        if path.exists() and not force:
            _check_cached(row, path)
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        # One download of a file at a time: a second process waits, and then finds the file there.
        # The lock file stays: removing it would let a third process lock a new one beside a waiting second.
        with FileLock(path.with_name(f".{path.name}.lock")):
            if path.exists() and not force:
                _check_cached(row, path)
                return path
            _download(row, url, path, part, progress)
            _check_downloaded(row, url, path, part, progress)
            os.replace(part, path)
            _origin_file(part).unlink(missing_ok=True)
    except OSError as error:
        raise FetchError(f"cannot write {error.filename or path}: {error.strerror or error}. {_by_hand(row, path)}") from error
    return path


def _check_cached(row, path):
    """Compare a file that is there already with the pinned or recorded hash; record it where neither exists."""
    record = path.with_name(f"{path.name}.sha256")
    found = file_hash(path)
    expected = row.sha256
    if expected is None and record.is_file():
        expected = record.read_text(encoding="utf-8").partition(" ")[0].strip()
    if expected is None:
        _record(row, path, found)
    elif found != expected:
        raise FetchError(
            f"{path} is not what was published, or was altered: its sha256 is {found}, expected {expected}. "
            f"Delete it or use --force, and it is downloaded again from {row.url}"
        )


def _check_downloaded(row, url, path, part, progress):
    """Compare a complete download with the pinned hash (a wrong one is deleted), or record its hash."""
    found = file_hash(part)
    if row.sha256 is None:
        _record(row, path, found)
    elif found != row.sha256:
        part.unlink()
        raise FetchError(
            f"{url} is not the published file: its sha256 is {found}, expected {row.sha256}. The download was deleted; "
            f"try again, or another source. {_by_hand(row, path)}"
        )
    elif progress:
        print(f"{path}: sha256 {found}, as published", file=sys.stderr)


def _record(row, path, digest):
    """Write `<file>.sha256` in the format of sha256sum, and say that this hash is trusted, not verified."""
    record = path.with_name(f"{path.name}.sha256")
    record.write_text(f"{digest}  {path.name}\n", encoding="utf-8")
    print(
        f"{path}: no sha256 of {row.name} is published, so this one is trusted on first use: {digest}. "
        f"It is recorded in {record.name} and checked from now on",
        file=sys.stderr,
    )


def _by_hand(row, path):
    """What a person without network does: the address, the place, and how to know that it is the right file."""
    size = f"{row.size_bytes} bytes, " if row.size_bytes else ""
    return f"To do it by hand, download {row.url} and save it as {path} ({size}sha256 {row.sha256 or 'not published'})"


def _download(row, url, path, part, progress):
    """Fill `part`, over as many connections as it takes, at most ATTEMPTS."""
    if not url.startswith(("http://", "https://")):
        raise FetchError(f"{url!r} is no http or https address")
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(RETRY_SECONDS * attempt)
        try:
            return _transfer(row, url, path, part, progress)
        except _BrokenOff as broken:
            reason = broken
    have = part.stat().st_size if part.exists() else 0
    raise FetchError(
        f"the download of {row.name} broke off {ATTEMPTS} times, last at {have} bytes ({reason}). "
        f"Run the same command again, it goes on from there. {_by_hand(row, path)}"
    )


def _transfer(row, url, path, part, progress):
    """One connection: continue `part` if it is a beginning of what the server has now, else write it from the start."""
    from tqdm import tqdm

    have, origin = _beginning(part, url)
    if origin and have == origin["size_bytes"]:
        return
    resume = {"Range": f"bytes={have}-", "If-Range": origin["validator"]} if have else {}
    with _connect(row, url, path, part, resume) as answer:
        offer = _offer(row, url, path, answer)
        if answer.status != 206:
            have = 0
        elif offer != origin or not answer.headers["Content-Range"].startswith(f"bytes {have}-"):
            part.unlink()
            raise _BrokenOff("the server's file is another one than the part downloaded before; starting again")
        if offer["size_bytes"] - have > shutil.disk_usage(part.parent).free:
            raise FetchError(f"{part.parent} has no room for {offer['size_bytes'] - have} more bytes. {_by_hand(row, path)}")
        if not have:
            part.unlink(missing_ok=True)
            _origin_file(part).write_text(json.dumps(offer), encoding="utf-8")
        bar = tqdm(
            total=offer["size_bytes"], initial=have, desc=row.file, unit="B", unit_scale=True,
            file=sys.stderr, disable=not progress,
        )  # fmt: skip
        with bar, open(part, "r+b" if have else "wb") as file:
            file.seek(have)
            for chunk in _chunks(answer):
                file.write(chunk)
                bar.update(len(chunk))
                have += len(chunk)
    have = part.stat().st_size  # what lies on the disk, which is what will be renamed
    if have != offer["size_bytes"]:
        raise _BrokenOff(f"{have} of {offer['size_bytes']} bytes arrived")


def _connect(row, url, path, part, headers):
    """An open answer with status 200 or 206. A refused resumption starts again; everything else is told to the user."""
    request = urllib.request.Request(url, headers={"User-Agent": "accompgen", **headers})
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and headers:
            part.unlink(missing_ok=True)
            raise _BrokenOff("the server has no such range") from error
        reason = f"the server answered {error.code} {error.reason}"
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
    raise FetchError(f"cannot download {row.name} from {url}: {reason}. {_by_hand(row, path)}")


def _chunks(answer):
    """The body in pieces; a connection that fails in the middle counts as broken off."""
    while True:
        try:
            chunk = answer.read(CHUNK_BYTES)
        except (http.client.HTTPException, OSError) as error:
            raise _BrokenOff(str(error) or type(error).__name__) from error
        if not chunk:
            return
        yield chunk


def _offer(row, url, path, answer):
    """What the server says it has: address, a validator (strong ETag, else the date of change, else None), whole size."""
    etag = answer.headers["ETag"]
    strong = etag if etag and not etag.startswith("W/") else None
    size = answer.headers["Content-Length"]
    if answer.status == 206:
        size = (answer.headers["Content-Range"] or "").rpartition("/")[2]
    if not (size or "").isdigit():
        raise FetchError(f"{url} does not say how long it is. {_by_hand(row, path)}")
    if row.size_bytes not in (None, int(size)):
        raise FetchError(f"{url} has {size} bytes, expected {row.size_bytes}. {_by_hand(row, path)}")
    return {"url": url, "validator": strong or answer.headers["Last-Modified"], "size_bytes": int(size)}


def _beginning(part, url):
    """Bytes of `part` that can be continued from `url`, and the offer they came from; (0, None) if none can."""
    try:
        origin = json.loads(_origin_file(part).read_text(encoding="utf-8"))
        have = part.stat().st_size
        usable = origin["url"] == url and origin["validator"] and have <= origin["size_bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0, None  # no part, or none that says where it is from: it is downloaded from the start
    return (have, origin) if usable and have else (0, None)


def _origin_file(part):
    return part.with_name(f"{part.name}.json")
