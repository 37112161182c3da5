"""What the page keeps of each visitor: a folder with the recording and the takes, until some time after they have left."""

import os
import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from accompgen.web.jobs import Job
from accompgen.web.pack import Take

KEPT_SECONDS = 1800.0  # a phone that slept comes back within this time
MOST_TAKES = 8


@dataclass
class Session:
    """A visitor: `folder` and `key` are known to them alone.

    `vocal` is the recording that the takes are of, `count` how many there were, `shown` how often they were shown. `job` is
    what is being done for them, `left` when they were seen to go.
    """

    folder: Path
    key: str
    vocal: Path | None = None
    takes: list[Take] = field(default_factory=list)
    count: int = 0
    shown: int = 0
    job: Job | None = None
    left: float | None = None

    def begin(self, upload: Path) -> Path:
        """A link to an upload in a folder of its own, which stays when the upload goes."""
        place = self.folder / f"recording-{secrets.token_hex(4)}"
        place.mkdir(parents=True)
        copy = place / upload.name
        try:
            os.link(upload, copy)
        except OSError:  # another disk
            shutil.copyfile(upload, copy)
        return copy

    def discard(self, copy: Path) -> None:
        """Remove a recording that no take came of."""
        shutil.rmtree(copy.parent, ignore_errors=True)

    def place(self) -> Path:
        """A new folder for a take, made."""
        folder = self.folder / f"take-{secrets.token_hex(4)}"
        folder.mkdir(parents=True)
        return folder

    def add(self, take: Take, recording: Path | None = None) -> Take:
        """Keep a take, and give it its number. With a recording, which it is the first take of, all others go."""
        if recording is not None:
            if self.vocal is not None:
                self.discard(self.vocal)
            for other in self.takes:
                other.remove()
            self.vocal, self.takes, self.count = recording, [], 0
        self.count += 1
        take = replace(take, number=self.count)
        self.takes.append(take)
        while len(self.takes) > MOST_TAKES:
            self.takes.pop(0).remove()
        return take

    def take(self, number: int) -> Take:
        """The take of this number. Raises ValueError where it is gone."""
        for take in self.takes:
            if take.number == number:
                return take
        raise ValueError(f"take {number} is not there any more")

    def remove(self) -> None:
        """End its work and remove its files."""
        if self.job is not None:
            self.job.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """The visitors by the name that Gradio gives each open page."""

    def __init__(self, root: Path):
        self.root = root
        self._by_name: dict[str, Session] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Session:
        """The session of a page, made when it is new."""
        with self._lock:
            if name not in self._by_name:
                key = secrets.token_urlsafe(16)
                self._by_name[name] = Session(self.root / key, key)
            session = self._by_name[name]
            session.left = None
            return session

    def of_key(self, key: str) -> Session:
        """The session of a key. Raises ValueError where there is none."""
        with self._lock:
            for session in self._by_name.values():
                # as bytes: of strings it compares those of ASCII alone
                if secrets.compare_digest(session.key.encode(), key.encode(errors="replace")):
                    return session
        raise ValueError("this page was closed for too long; record or upload once more")

    def leave(self, name: str) -> None:
        """The visitor has closed the page, or lost the connection: their work ends, their files stay for a while."""
        with self._lock:
            session = self._by_name.get(name)
            if session is not None:
                session.left = time.monotonic()
                if session.job is not None:
                    session.job.stop()

    def sweep(self) -> None:
        """Remove what those left behind who went long ago."""
        now = time.monotonic()
        with self._lock:
            gone = [
                name
                for name, session in self._by_name.items()
                if session.left is not None and now - session.left > KEPT_SECONDS
            ]
            removed = [self._by_name.pop(name) for name in gone]
        for session in removed:
            session.remove()
