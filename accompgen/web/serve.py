"""`accompgen web`: a folder for what visitors bring, the model, the queue, the page; all of it goes when it ends."""

import importlib.util
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from accompgen.web.jobs import Jobs
from accompgen.web.sessions import Sessions

THIS_MACHINE, EVERYWHERE = "127.0.0.1", "0.0.0.0"


def check(port: int, share_host: bool = False) -> None:
    """Find out before weights are loaded whether a page can be served. Raises ImportError without Gradio, OSError."""
    if importlib.util.find_spec("gradio") is None:
        raise ImportError("the page needs Gradio, which is not installed: pip install 'accompgen[web]', or `make web`")
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind((EVERYWHERE if share_host else THIS_MACHINE, port))
        except OSError as error:
            raise OSError(f"port {port} cannot be used ({error.strerror}); choose another one: --port {port + 1}") from error


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
        from accompgen.web.page import Page, served

        sessions = Sessions(visitors)
        with closing(Jobs(idle=sessions.sweep)) as jobs:
            host = EVERYWHERE if share_host else THIS_MACHINE
            with served(Page(model, sessions, jobs), visitors, host, port):
                yield f"http://{socket.gethostname() if share_host else THIS_MACHINE}:{port}/"


def wait_for_ever() -> None:
    """Sleep until Ctrl-C, or until the system asks to end, which is KeyboardInterrupt, too."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Event().wait()
