"""Work for the visitors of a page: one piece after the other, each of which can be stopped.

The queue is bounded, so that visitors wait a known time and memory stays what one song takes. A visitor who has left asks
no more how far the work is; it ends by itself then.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

MOST_WAITING = 8
PATIENCE_SECONDS = 20.0  # so long nobody may ask how far a piece of work is
IDLE_SECONDS = 60.0
TELLING_SHARE = 0.05  # of the work is done before its speed says how long the rest takes


class Stopped(Exception):
    """Raised inside a piece of work that was stopped, or that nobody waits for any more."""


class Busy(RuntimeError):
    """No more work is taken now; the message says so to the visitor."""


class Job:
    """A piece of work: `result` or `error` is there once `wait` gives True."""

    def __init__(self, work: Callable[["Job"], object], size: float, kind: str = ""):
        self.work, self.size, self.kind = work, size, kind
        self.result = self.error = None
        self.what, self.share = "", 0.0
        self.begun = None
        self.stopped = False
        self._asked = time.monotonic()
        self._done = threading.Event()

    def stop(self) -> None:
        """Let it end as soon as it can; `error` is a Stopped then."""
        self.stopped = True

    def wait(self, seconds: float) -> bool:
        """Whether it is done, at the latest after so many seconds. Who waits for it must ask again and again."""
        self._asked = time.monotonic()
        return self._done.wait(seconds)

    def tell(self, what: str, share: float) -> None:
        """Called by the work itself: what it does, and how much of all of it is done. Raises Stopped."""
        if self.stopped or time.monotonic() - self._asked > PATIENCE_SECONDS:
            self.stopped = True
            raise Stopped
        self.what, self.share = what, share

    def remaining(self, pace: float | None) -> float | None:
        """Seconds that it still takes; None where that is not known. `pace` is what a piece of size 1 took before."""
        if self.begun is None:
            return None if pace is None else pace * self.size
        passed = time.monotonic() - self.begun
        by_share = passed * (1 - self.share) / self.share if self.share > TELLING_SHARE else None
        if pace is None:
            return by_share
        by_pace = max(0.0, pace * self.size - passed)
        return by_pace if by_share is None else self.share * by_share + (1 - self.share) * by_pace

    def run(self) -> None:
        """Do the work, in the thread that calls."""
        self.begun = time.monotonic()
        try:
            self.tell("", 0.0)
            self.result = self.work(self)
        except Exception as error:  # whoever waits for it is told
            self.error = error
        self.work = None  # and what it held
        self._done.set()


class Jobs:
    """The queue and the one thread that works it off. `idle` is called there now and then."""

    def __init__(self, idle: Callable[[], None] = lambda: None):
        self.idle = idle
        self.pace: dict[str, float] = {}  # seconds that work of size 1 took, by its kind
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="accompgen-web", daemon=True)
        self._thread.start()

    def put(self, work: Callable[[Job], object], size: float, kind: str = "") -> Job:
        """Queue a piece of work; among those of its kind `size` says how long it takes. Raises Busy."""
        job = Job(work, size, kind)
        with self._change:
            # a place of somebody who stopped is free
            self._waiting = deque(other for other in self._waiting if not other.stopped)
            if len(self._waiting) >= MOST_WAITING:
                raise Busy(f"{MOST_WAITING} singers are waiting already. Please try again in a few minutes.")
            self._waiting.append(job)
            self._change.notify()
        return job

    def before(self, job: Job) -> list[Job]:
        """The work that comes before a piece that waits."""
        with self._change:
            waiting = list(self._waiting)
            if job not in waiting:
                return []
            ahead = waiting[: waiting.index(job)]
            return [other for other in (self._running, *ahead) if other is not None and not other.stopped]

    def remaining(self, job: Job) -> float | None:
        """Seconds until a piece of work is done, those before it counted; None where that is not known."""
        each = [other.remaining(self.pace.get(other.kind)) for other in (*self.before(job), job)]
        return None if None in each else sum(each)

    def close(self) -> None:
        """Stop all work and wait for the thread to end."""
        with self._change:
            self._closed = True
            for job in (self._running, *self._waiting):
                if job is not None:
                    job.stop()
            self._change.notify()
        self._thread.join()

    def _loop(self):
        while not self._closed:
            with self._change:
                # `close` tells it once, and may have done so before this thread held the lock
                if not self._waiting and not self._closed:
                    self._change.wait(IDLE_SECONDS)
                self._running = self._waiting.popleft() if self._waiting else None
            if self._running is not None:
                self._running.run()
                done, self._running = self._running, None
                if done.error is None:
                    self.pace[done.kind] = (time.monotonic() - done.begun) / done.size
            self.idle()
