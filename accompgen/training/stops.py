"""How a training stops before its end: by a signal, which saves, or by an error, which leaves the state saved last."""

import signal
import time
from contextlib import contextmanager

SAME_WISH_SECONDS = 2.0  # Ctrl-C reaches a process from the terminal, and again from the launcher that it reached as well


class TrainingError(RuntimeError):
    """A training that cannot go on; the message says at which step or in which file."""


@contextmanager
def stop_signals():
    """Within the block SIGTERM and SIGINT only raise a flag, read by calling what is yielded.

    Another one more than SAME_WISH_SECONDS later acts as usual.
    """
    seen = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number, frame):
        if seen and time.monotonic() - seen[0] > SAME_WISH_SECONDS:
            signal.signal(number, before[number])
            signal.raise_signal(number)
        seen.append(time.monotonic())

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
