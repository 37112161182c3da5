"""`accompgen web`: a folder for what visitors bring, the model, the queue, the page; all of it goes when it ends."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accompgen.web.jobs import Jobs
from accompgen.web.sessions import Sessions

THIS_MACHINE, EVERYWHERE = "127.0.0.1", "0.0.0.0"


@contextmanager
def open_page(model, port: int, share_host: bool = False) -> Iterator[str]:
    """Serve the page of a model as long as the context lasts; gives its address.

    Args:
        model: generation.pipeline.Accompanist.
        port: to listen on.
        share_host: listen to other machines of the network, too.

    Raises:
        OSError: the port is taken.
        ImportError: Gradio is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="accompgen-web-") as folder:
        visitors, uploads = Path(folder, "visitors"), Path(folder, "uploads")
        visitors.mkdir()
        # read when components are made: uploads go with everything else
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)
        from accompgen.web.page import Page, serve

        sessions = Sessions(visitors)
        jobs = Jobs(idle=sessions.sweep)
        try:
            page = Page(model, sessions, jobs)
            yield serve(page, visitors, EVERYWHERE if share_host else THIS_MACHINE, port)
        finally:
            jobs.close()
            if "page" in locals():
                page.blocks.close(verbose=False)


def wait_for_ever() -> None:
    """Sleep until Ctrl-C."""
    threading.Event().wait()
