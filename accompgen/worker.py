"""A process that works for another one."""

import multiprocessing
import os
import threading

from accompgen.files import show_warnings_plainly
from accompgen.threads import one_thread


def start_worker() -> None:
    """One thread of arithmetic, plain remarks on sound, and no life without the process that asked for it (it may have been
    killed)."""
    try:
        one_thread()
    except KeyboardInterrupt:  # Ctrl-C while torch is imported; the process that asked for this one tells of it
        os._exit(130)
    show_warnings_plainly()
    parent = multiprocessing.parent_process()

    def follow():
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
