"""What a visitor wishes -> a take: the first one of a recording, or another one of all of it, of a stem, of a part."""

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from accompgen.audio import AudioError
from accompgen.audio import seconds as seconds_in
from accompgen.chart_input import ChartRequest
from accompgen.export.sheet_reader import parse_sheet
from accompgen.generation.redo import redo
from accompgen.generation.vocal import read_vocal
from accompgen.stages import ALL
from accompgen.web.bars import check_bpm, edited, read_given_key
from accompgen.web.jobs import Job
from accompgen.web.pack import Take, keep
from accompgen.web.sessions import Session

LONGEST_SECONDS = 15 * 60.0
MOST_SEED = 2**31
READING = threading.Lock()  # a recording is large: visitors who come together are read one after the other


@dataclass(frozen=True)
class Wish:
    """What is asked for. Of nothing that is None or empty anything is said.

    `number` is the take that another one is made from, `bars` the chords of its bars as they stand on the page; `stem` and
    `part` (seconds) say what alone is made anew. For the first take `chords` is a sheet such as `| Am | F |`, `rate` that of
    the files in Hz.
    """

    seed: int = 0
    prompt: str = ""
    bpm: float | None = None
    key: str | None = None
    chords: str = ""
    rate: int | None = None
    number: int | None = None
    bars: list[str] | None = None
    stem: str | None = None
    part: tuple[float, float] | None = None


def seconds_of(path: Path) -> float:
    """How long the recording at a path is. Raises AudioError for none, one that cannot be used, or that is too long."""
    with READING:
        seconds = seconds_in(path)  # decoded piece by piece: one that is too long never lies in memory
        if seconds <= LONGEST_SECONDS:
            read_vocal(path)
    if seconds > LONGEST_SECONDS:
        raise AudioError(
            f"This recording lasts {seconds / 60:.0f} minutes, and at most {LONGEST_SECONDS / 60:.0f} can be accompanied. "
            "Trim it, or upload it in two parts."
        )
    return seconds


def check_seed(seed) -> int:
    """The number of a take as an integer. Raises ValueError for one out of range."""
    seed = int(seed or 0)
    if not 0 <= seed < MOST_SEED:
        raise ValueError(f"The number {seed} is out of range; choose one from 0 to {MOST_SEED - 1}.")
    return seed


def first(model, session: Session, path: Path, wish: Wish) -> Callable[[Job], Take]:
    """The work that makes the first take of a recording. Raises ChartError for a wish that cannot be read.

    Work reads its recording itself, so that what waits in the queue holds none.
    """
    chart = None
    if model.has_chart:
        if wish.bpm is not None:
            check_bpm(wish.bpm)
        sheet = parse_sheet(wish.chords, "Your chords", repeat=True) if wish.chords.strip() else None
        key, bpm, metre = (None, None, None) if sheet is None else (sheet.key, sheet.bpm, sheet.metre)
        chart = ChartRequest(bpm=wish.bpm or bpm, sheet=sheet, key=read_given_key(wish.key or "") or key, metre=metre)

    def work(job):
        vocal = read_vocal(path)
        song = model.accompany(vocal, wish.seed, chart=chart, rate=wish.rate, **_prompt(wish), on_progress=_telling(model, job))
        return _keep(session, song, vocal, "", wish, path)

    return work


def again(model, session: Session, wish: Wish) -> Callable[[Job], Take]:
    """The work that makes another take. Raises ChartError or ValueError for a wish that cannot be."""
    take, path, title = session.take(wish.number), session.vocal, _title(wish)
    song, chart = take.song, take.song.chart
    if chart is not None:
        chart = edited(chart, wish.bars, wish.bpm, wish.key)
    settings = dict(seed=wish.seed, chart=chart, **_prompt(wish))
    of_part = bool(wish.stem or wish.part)
    if of_part:
        if isinstance(chart, ChartRequest):
            raise ValueError("A new tempo changes the whole song. Choose everything, and no part of it.")
        start, stop = wish.part or (0.0, song.seconds)
        stems = (wish.stem,) if wish.stem else None
        settings |= {"start": max(0.0, start), "stop": min(stop, song.seconds), "stems": stems}
    else:
        settings["rate"] = song.report["settings"].get("rate")

    def work(job):
        vocal = read_vocal(path)
        make = partial(redo, model, take.loaded(), vocal) if of_part else partial(model.accompany, vocal)
        return _keep(session, make(**settings, on_progress=_telling(model, job)), vocal, title, wish)

    return work


def size_of(model, seconds: float, wish: Wish) -> float:
    """How much work a wish is for a song of so many seconds, in seconds of one stem."""
    start, stop = wish.part or (0.0, seconds)
    return max(0.1, stop - start) * (1 if wish.stem else len(model.stems))


def _prompt(wish):
    return {"prompt": wish.prompt} if wish.prompt.strip() else {}


def _title(wish):
    named = [] if wish.stem in (None, ALL) else [wish.stem]
    if wish.part:
        named.append("–".join(f"{int(time // 60)}:{int(time % 60):02d}" for time in wish.part))
    if not named and wish.bars is not None:
        named.append("your chords")
    return " ".join(named)


def _keep(session, song, vocal, title, wish, recording=None):
    folder = session.place()
    try:
        return session.add(keep(Take(0, title, folder, song, wish.seed, wish.prompt), vocal), recording)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _telling(model, job):
    """What the model calls as it goes on: its own names of the steps become words for singers."""
    graph = model.system.graph
    charting = {stage.name for stage in graph.stages if graph.made_for_song(stage)}

    def report(what: str, done: int, total: int) -> None:
        if what in charting:  # a small part of the whole
            return job.tell("Finding the chords", 0.0)
        stem = what.partition(" ")[0]
        playing = f"Playing the {stem}" if stem in graph.stems and stem != ALL else "Playing along"
        job.tell(playing, done / max(total, 1))

    return report
