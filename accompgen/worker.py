"""A process that works for another one."""

import multiprocessing
import os
import threading


def start_worker() -> None:
    """One thread of arithmetic, and no life without the process that asked for it (it may have been killed)."""
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()

    def follow():
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
