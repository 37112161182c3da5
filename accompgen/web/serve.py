"""`accompgen web`: a folder for what visitors bring, the model, the queue, the page; all of it goes when it ends."""

import importlib.util
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from accompgen.web.jobs import Jobs
from accompgen.web.sessions import Sessions

THIS_MACHINE, EVERYWHERE = "127.0.0.1", "0.0.0.0"
PREFIX, LOCK = "accompgen-web-", "served.lock"  # of folders, and in each a file that its server holds


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
    remove_left_behind()
    with _folder() as folder:
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


def remove_left_behind() -> None:
    """Remove the folders of servers that were killed, or lost their power: those that nobody holds any more."""
    from filelock import FileLock, Timeout

    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        # without a lock it is another user's, or a server puts its lock there just now
        if not (folder / LOCK).exists():
            continue
        with suppress(Timeout, OSError), FileLock(folder / LOCK, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _folder() -> Iterator[str]:
    """A folder for temporary files, held as long as the context lasts."""
    from filelock import FileLock

    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder, FileLock(Path(folder, LOCK)):
        yield folder


def end_as_by_ctrl_c() -> None:
    """From now on KeyboardInterrupt is raised, too, where the system asks to end, or the terminal is closed."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        # `nohup` ignores it: the page stays then
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def wait_for_ever() -> None:
    """Sleep until Ctrl-C."""
    threading.Event().wait()
