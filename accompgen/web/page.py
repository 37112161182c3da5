"""The page itself; the only file that imports Gradio and its server.

Gradio carries recording, upload, trimming, the wait for progress, and the HTTP API. What it has not got, tracks over one
clock and a row of bars, is desk.js, and the progress with its stop button is work.js.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nobody is told who sings

import fastapi
import gradio as gr
import uvicorn

from accompgen.stages import ALL
from accompgen.web.bars import read_bpm, shown
from accompgen.web.jobs import Busy, Job, Jobs, Stopped
from accompgen.web.pack import VOICE, pack
from accompgen.web.sessions import Session, Sessions
from accompgen.web.takes import Wish, again, check_seed, first, seconds_of, size_of

HERE = Path(__file__).parent
POLL_SECONDS = 0.4
CLOSING_SECONDS = 2  # that open connections have when the server ends
UPLOADS_SECONDS = 6 * 3600  # uploads that nobody has used are removed after that
TITLES = {VOICE: "Your voice", ALL: "Band"}
AT_WORK = "Your band is still playing. Stop it first, or wait."
AS_RECORDED = 0  # Gradio shows no label of a None
RATES = [("as recorded", AS_RECORDED), ("44.1 kHz", 44_100), ("48 kHz", 48_000)]
IDLE = {"state": "idle"}


class Page:
    """The page of a loaded model: `blocks` is what Gradio serves."""

    def __init__(self, model, sessions: Sessions, jobs: Jobs):
        self.model, self.sessions, self.jobs = model, sessions, jobs
        self._takes_text = model.text_tokenizer is not None
        self.blocks = self._build()

    def _build(self):
        model = self.model
        takes_text = self._takes_text
        with gr.Blocks(title="Sing, and a band plays along", delete_cache=(600, UPLOADS_SECONDS)) as blocks:
            gr.HTML("<h1>Sing, and a band plays along</h1>", elem_id="head")
            # with the microphone first, browsers would ask for it as soon as the page opens
            voice = gr.Audio(
                sources=["upload", "microphone"], type="filepath", show_label=False, buttons=[], elem_id="voice",
                waveform_options=gr.WaveformOptions(waveform_color="#b8a7e8", waveform_progress_color="#6d4fc4"),
            )  # fmt: skip
            with gr.Accordion("More", open=False, elem_id="more"):
                with gr.Row():
                    # Gradio shows 0 for a number that nobody gave
                    bpm = gr.Textbox(label="Tempo", info="beats a minute; empty: as you sing", placeholder="96",
                                     visible=model.has_chart, max_lines=1, elem_id="bpm")  # fmt: skip
                    key = gr.Textbox(label="Key", info="empty: as you sing", placeholder="Am",
                                     visible=model.has_chart, elem_id="key")  # fmt: skip
                    seed = gr.Number(label="Number", info="another number, another band", value=0, precision=0,
                                     minimum=0, elem_id="seed")  # fmt: skip
                rate = gr.Dropdown(RATES, value=AS_RECORDED, label="Sample rate", info="of the files", elem_id="rate")
                chords = gr.Textbox(label="Chords", info="empty: as you sing", placeholder="| Am | F | C | G |",
                                    visible=model.has_chart, elem_id="chords")  # fmt: skip
                prompt = gr.Textbox(label="How should it sound?", info="an instrument or two; about half of the bands follow",
                                    placeholder="soft ballad with piano", visible=takes_text, elem_id="prompt")  # fmt: skip
            go = gr.Button("Play along with me", variant="primary", size="lg", elem_id="go")
            own = {"html_template": "", "apply_default_css": False}
            work = gr.HTML(IDLE, js_on_load=_text("upload.js") + _text("work.js"), elem_id="work", **own)

            def download(asked: list) -> dict:  # Gradio marks what it may call, and methods cannot be marked
                return self.download(asked)

            desk = gr.HTML(None, js_on_load=_script(), elem_id="desk", server_functions=[download], **own)
            options = {"concurrency_limit": None, "show_progress": "hidden"}
            wishes = [voice, prompt, bpm, key, chords, seed, rate]
            go.click(self.start, wishes, [work, desk, go], api_name="accompany", **options)
            desk.take(self.take, None, [work, desk, go], api_visibility="private", **options)
            work.stop(self.stop, None, None, queue=False, api_visibility="private", show_progress="hidden")
            blocks.unload(self.leave)
        return blocks

    def start(self, voice, prompt, bpm, key, chords, seed, rate, request: gr.Request) -> Iterator:
        """Make the first take of a recording; yields what work.js, desk.js and the button show."""
        session = self.sessions.get(request.session_hash)
        if voice is None:
            return (yield self._said(session, "Sing something first, or choose a file."))
        yield self._begun()
        path = session.begin(Path(voice))
        try:
            seconds = seconds_of(path)
            wish = Wish(check_seed(seed), prompt or "", read_bpm(bpm), key, chords or "", rate or None)
            job = self._put(session, first(self.model, session, path, wish), seconds, wish)
        except (ValueError, OSError, Busy) as error:
            session.discard(path)
            return (yield self._said(session, _words(error, path)))
        yield from self._follow(session, job, path)

    def take(self, event: gr.EventData, request: gr.Request) -> Iterator:
        """Make another take as desk.js asks for it; yields as `start`."""
        session = self.sessions.get(request.session_hash)
        yield self._begun()
        try:
            asked = event._data
            part, bars = asked.get("part"), asked.get("bars")
            wish = Wish(
                check_seed(asked.get("seed")),
                asked.get("prompt") or "",
                asked.get("bpm"),
                asked.get("key"),
                number=int(asked["number"]),
                bars=bars and [str(text) for text in bars],
                stem=asked.get("stem"),
                part=part and (float(part[0]), float(part[1])),
            )
            seconds = session.take(wish.number).song.seconds
            job = self._put(session, again(self.model, session, wish), seconds, wish)
        except (ValueError, OSError, Busy) as error:
            return (yield self._said(session, _words(error, session.vocal)))
        yield from self._follow(session, job, session.vocal)

    def stop(self, request: gr.Request) -> None:
        """End what is being made for a visitor."""
        session = self.sessions.get(request.session_hash)
        if session.job is not None:
            session.job.stop()

    def leave(self, request: gr.Request) -> None:
        """A visitor has gone: what is made for them ends."""
        self.sessions.leave(request.session_hash)

    def download(self, asked: list) -> dict:
        """The address of a take's zip, for desk.js: `asked` is the key of a session, the number of a take, the bit depth."""
        try:
            session = self.sessions.of_key(str(asked[0]))
            take = session.take(int(asked[1]))
            return {"url": _address(pack(take, str(asked[2])))}
        except (ValueError, LookupError, OSError) as error:
            return {"error": _words(error)}

    def _put(self, session, work, seconds, wish) -> Job:
        if session.job is not None and not session.job.wait(0):
            raise Busy(AT_WORK)
        kind = "part" if wish.stem or wish.part else "song"
        session.job = self.jobs.put(work, size_of(self.model, seconds, wish), kind)
        return session.job

    def _follow(self, session, job, path):
        """Tell how far a job is until it is done, and then what came of it."""
        while not job.wait(POLL_SECONDS):
            remaining = self.jobs.remaining(job)
            ahead = len(self.jobs.before(job))
            yield (
                {
                    "state": "working", "what": job.what, "share": round(job.share, 3), "ahead": ahead,
                    "remaining": None if remaining is None else round(remaining, 1),
                },
                gr.skip(),
                gr.skip(),
            )  # fmt: skip
        if job.error is not None and path != session.vocal:
            session.discard(path)
        if isinstance(job.error, Stopped):
            yield self._said(session, "Stopped. Your recording and your takes are still here.")
        elif job.error is not None:
            yield self._said(session, _words(job.error, path))
        else:
            yield IDLE, self._desk(session, job.result.number), gr.update(interactive=True)

    def _begun(self):
        waiting = {"state": "working", "what": "", "share": 0, "ahead": 0, "remaining": None}
        return waiting, gr.skip(), gr.update(interactive=False)

    def _said(self, session, text):
        return {"state": "said", "text": text}, self._desk(session), gr.update(interactive=True)

    def _desk(self, session: Session, current: int | None = None):
        """What desk.js shows; `current` is the take to play."""
        if not session.takes:
            return None
        session.shown += 1
        return {
            "shown": session.shown,  # so that what did not change counts as news, too
            "key": session.key,
            "current": current,
            "text": self._takes_text,
            "takes": [self._shown(take) for take in session.takes],
        }

    def _shown(self, take):
        stems = list(take.song.tracks)
        return {
            "number": take.number,
            "title": take.title,
            "seconds": take.song.seconds,
            "seed": take.seed,
            "prompt": take.prompt,
            "stems": [] if stems == [ALL] else stems,
            "tracks": [
                {"name": name, "title": TITLES.get(name, name.capitalize()), "url": _address(path)}
                for name, path in take.sounds.items()
            ],
            "chart": None if take.song.chart is None else shown(take.song.chart),
        }


def _address(path: Path) -> str:
    return "gradio_api/file=" + quote(str(path))


def _text(name):
    return (HERE / name).read_text(encoding="utf-8")


def _script():
    """desk.js with what it is built on: one text, since Gradio runs it as a function's body."""
    return "\n".join(map(_text, ("pictures.js", "player.js", "desk.js")))


def _words(error, path: Path | None = None) -> str:
    """An error as the visitor reads it. A fault of ours is printed in full for whoever runs the page."""
    if not isinstance(error, (ValueError, OSError, Busy)):
        traceback.print_exception(error, file=sys.stderr)
        return "Something went wrong here, and nothing was lost. Please try again."
    text = str(error)
    return text if path is None else text.replace(str(path), path.name)


@contextmanager
def served(page: Page, root: Path, host: str, port: int) -> Iterator[None]:
    """Serve the page, and the files below `root`, as long as the context lasts. Raises OSError where the port is taken.

    Gradio's own `launch` gives up where the first answer takes three seconds, as it may on a busy machine.
    """
    app = gr.mount_gradio_app(
        fastapi.FastAPI(), page.blocks, "/", server_name=host, server_port=port, allowed_paths=[str(root)],
        max_file_size="600mb", footer_links=[], run_history=False, enable_monitoring=False, ssr_mode=False,
        css=_text("page.css"), theme=_theme(),
    )  # fmt: skip
    server = uvicorn.Server(
        uvicorn.Config(app, host, port, log_level="warning", timeout_graceful_shutdown=CLOSING_SECONDS)
    )
    thread = threading.Thread(target=server.run, name="accompgen-web-server", daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise OSError(f"the page cannot be served at {host}:{port}; choose another --port")
        time.sleep(0.05)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def _theme():
    """Fonts of the system: none is fetched from anywhere."""
    return gr.themes.Soft(
        primary_hue="violet", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"], radius_size="lg"
    )
