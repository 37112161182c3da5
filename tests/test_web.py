"""The page without a browser: its queue, what visitors write as chords, what is kept of them, what the zip holds."""

import os
import re
import signal
import socket
import tempfile
import threading
import time
import tracemalloc
import zipfile
from pathlib import Path

import mido
import numpy as np
import pytest
from tiny import make_checkpoint, sing

import accompgen
from accompgen import audio
from accompgen.chart import Chart, ChartError
from accompgen.chart_input import ChartRequest
from accompgen.generation.song import Song
from accompgen.generation.vocal import read_vocal
from accompgen.web import jobs as jobs_module
from accompgen.web import serve
from accompgen.web import sessions as sessions_module
from accompgen.web.bars import edited, read_bpm, shown
from accompgen.web.jobs import Busy, Jobs, Stopped
from accompgen.web.pack import Take, keep, pack
from accompgen.web.sessions import Sessions
from accompgen.web.takes import Wish, again, first

SECONDS = 2.4


@pytest.fixture
def jobs():
    queue = Jobs()
    yield queue
    queue.close()


def until(true, seconds=20.0):
    """Wait for something to be true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def waiting_work(gate):
    def work(job):
        while not gate.is_set():
            job.tell("waiting", 0.5)
            time.sleep(0.005)
        return "done"

    return work


def test_jobs_run_one_after_the_other(jobs):
    gate, order = threading.Event(), []
    one = jobs.put(waiting_work(gate), 1)
    two = jobs.put(lambda job: order.append(one.wait(0)), 1)
    until(lambda: one.begun is not None)
    assert jobs.before(two) == [one] and jobs.before(one) == [] and not two.wait(0)
    gate.set()
    assert two.wait(10) and order == [True] and one.result == "done"


def test_a_queue_that_is_closed_as_its_thread_looks_for_work_ends_at_once():
    queue, looks, closed = Jobs(), threading.Event(), threading.Event()
    change = queue._change

    class Late:  # the thread gets the lock after `close` has told it
        def __enter__(self):
            if threading.current_thread() is queue._thread:
                looks.set()
                closed.wait(10)
            return change.__enter__()

        def __exit__(self, *error):
            return change.__exit__(*error)

        def __getattr__(self, name):
            return getattr(change, name)

    queue._change = Late()
    with change:
        change.notify()
    assert looks.wait(10)
    closing = threading.Thread(target=queue.close, daemon=True)
    closing.start()
    until(lambda: queue._closed)
    closed.set()
    closing.join(5)
    assert not closing.is_alive()


def test_a_stopped_job_ends_and_the_next_one_begins(jobs):
    one = jobs.put(waiting_work(threading.Event()), 1)
    two = jobs.put(lambda job: 2, 1)
    until(lambda: one.begun is not None)
    one.stop()
    assert one.wait(10) and isinstance(one.error, Stopped) and one.result is None
    assert two.wait(10) and two.result == 2


def test_a_job_that_nobody_asks_for_ends(jobs, monkeypatch):
    monkeypatch.setattr(jobs_module, "PATIENCE_SECONDS", 0.1)
    job = jobs.put(waiting_work(threading.Event()), 1)
    until(job._done.is_set)
    assert isinstance(job.error, Stopped)


def test_an_error_is_handed_over_and_the_queue_goes_on(jobs):
    job = jobs.put(lambda job: 1 / 0, 1)
    assert job.wait(10) and isinstance(job.error, ZeroDivisionError)
    assert jobs.put(lambda job: 3, 1).wait(10)


def test_the_queue_is_bounded_and_a_stopped_place_is_free(jobs):
    gate = threading.Event()
    running = jobs.put(waiting_work(gate), 1)
    until(lambda: running.begun is not None)
    waiting = [jobs.put(lambda job: None, 1) for _ in range(jobs_module.MOST_WAITING)]
    with pytest.raises(Busy, match="8 singers are waiting"):
        jobs.put(lambda job: None, 1)
    waiting[3].stop()
    jobs.put(lambda job: None, 1)
    gate.set()


def test_the_remaining_time_is_known_from_work_done_before(jobs):
    gate = threading.Event()
    job = jobs.put(waiting_work(gate), 2)
    until(lambda: job.share > 0)
    job.begun -= 10
    assert jobs.remaining(job) == pytest.approx(10, abs=1)  # half of it took ten seconds
    jobs.pace[""] = 8.0  # of 16 seconds in all ten are gone: half of one guess and half of the other
    assert jobs.remaining(job) == pytest.approx((10 + 6) / 2, abs=1)
    assert jobs.remaining(jobs.put(lambda job: None, 1)) == pytest.approx(8 + 8, abs=1)
    gate.set()


# The chart as a row of bars


@pytest.fixture
def chart():
    beats = tuple((0.5 + 0.5 * index, index % 4 + 1) for index in range(15))
    return Chart(8.0, beats, ((0.5, 2.5, "A:min"), (2.5, 3.5, "F:maj"), (3.5, 4.5, "G:7"), (4.5, 5.0, "C:maj")), "A:min")


def test_bars_show_their_chords(chart):
    found = shown(chart)
    assert (found["bpm"], found["metre"], found["key"]) == (120.0, 4, "Am")
    assert [bar["text"] for bar in found["bars"]] == ["?", "Am", "F G7", "C ? . .", "?"]
    assert [bar["number"] for bar in found["bars"]] == [0, 1, 2, 3, 4]
    assert found["bars"][1]["start"] == pytest.approx(0.5)


def test_an_edited_bar_changes_that_bar_alone(chart):
    texts = [bar["text"] for bar in shown(chart)["bars"]]
    unchanged = edited(chart, texts, None, None)
    assert [chord[2] for chord in unchanged.chords] == [chord[2] for chord in chart.chords]
    assert np.allclose([chord[:2] for chord in unchanged.chords], [chord[:2] for chord in chart.chords])
    changed = edited(chart, [*texts[:2], "Dm", *texts[3:]], None, "C major")
    assert [chord[2] for chord in changed.chords] == ["A:min", "D:min", "C:maj"]
    assert changed.key == "C:maj" and changed.beats == chart.beats


def test_another_tempo_leaves_chords_where_they_sound(chart):
    request = edited(chart, None, 100.0, "Am")
    assert isinstance(request, ChartRequest) and request.bpm == 100 and request.timed == chart.chords
    assert edited(chart, None, 120.0, "Am") == chart


@pytest.mark.parametrize(
    "texts, bpm, key, said",
    [
        (["?", "Am", "Hello", "C", "C"], None, None, "Hello"),
        (["?", "Am | F", "G", "C", "C"], None, None, "is no chord"),
        (["Am"], None, None, "the song has 5"),
        (None, 900.0, None, "30 to 300"),
        (None, None, "loud", "Write it like C"),
    ],
)
def test_what_cannot_be_read_is_said(chart, texts, bpm, key, said):
    with pytest.raises(ChartError, match=said.replace("|", r"\|")):
        edited(chart, texts, bpm, key)


def test_a_tempo_as_people_write_it():
    assert [read_bpm(text) for text in ("96", " 92,5 ", 100.0, "", None)] == [96.0, 92.5, 100.0, None, None]


def test_a_chord_that_is_none_is_named_by_its_bar(chart):
    number = shown(chart)["bars"][1]["number"]
    with pytest.raises(ChartError, match=f"^Bar {number}: chord 'Hm7x' cannot be read"):
        edited(chart, ["Am", "Hm7x", "G", "C", "C"], None, None)


# Takes of a band, and what is kept of them


@pytest.fixture(scope="module")
def band(tmp_path_factory):
    return accompgen.load(make_checkpoint(tmp_path_factory.mktemp("band") / "band", graph="band"))


@pytest.fixture
def session(tmp_path):
    upload = tmp_path / "My song.wav"
    audio.write(upload, sing(SECONDS), 44_100)
    session = Sessions(tmp_path / "visitors").get("page")
    session.upload = upload
    return session


def made(jobs, work):
    job = jobs.put(work, 1)
    until(lambda: job.wait(1), 120)
    if job.error:
        raise job.error
    return job.result


def test_takes_and_their_zip(band, session, jobs):
    path = session.begin(session.upload)
    take = made(jobs, first(band, session, path, Wish(seed=3, bpm=100.0, key="Am", chords="| Am |")))
    assert session.takes == [take] and set(take.sounds) == {"voice", "drums", "bass", "harmony"}
    assert isinstance(take.song.tracks["bass"], audio.Pieces) and take.song.chart.key == "A:min"
    vocal, rate = audio.read(path)
    with zipfile.ZipFile(pack(take)) as file:
        names = {name.removeprefix("My song/My song.") for name in file.namelist()}
        assert names >= {f"{track}.wav" for track in ("voice", "drums", "bass", "harmony", "mix", "accompaniment")}
        assert names >= {"mid", "chords.txt", "lab", "click.wav", "json", "dawproject"}
        with zipfile.ZipFile(file.open("My song/My song.dawproject")) as project:
            text = project.read("project.xml").decode()
        beside = set(re.findall(r'path="My song\.(\w+)\.wav" external="true"', text))
        assert beside == {"voice", "drums", "bass", "harmony"}
        sounds = {name: audio.decode(file.read(f"My song/My song.{name}.wav")) for name in ("voice", "accompaniment", "mix")}
        file.extract("My song/My song.mid", session.folder)
        assert "Am" in file.read("My song/My song.chords.txt").decode()
    assert all(wav.shape[1] == vocal.shape[1] for wav in sounds.values())
    together = sounds["accompaniment"] + audio.spread(sounds["voice"], len(sounds["accompaniment"]))
    assert np.abs(together - sounds["mix"]).max() < 3e-7 * 8
    assert mido.MidiFile(session.folder / "My song/My song.mid").length == pytest.approx(SECONDS, abs=0.1)

    other = made(jobs, again(band, session, Wish(seed=9, number=1, stem="bass", part=(0.6, 1.4))))
    assert other.number == 2 and other.title == "bass 0:00–0:01"
    before, after = take.loaded().tracks, other.loaded().tracks
    assert np.array_equal(after["drums"], before["drums"])
    changed = np.flatnonzero((after["bass"] != before["bass"]).any(axis=0)) / rate
    assert 0.6 <= changed.min() and changed.max() <= 1.4

    texts = [bar["text"] for bar in shown(take.song.chart)["bars"]]
    chords = made(jobs, again(band, session, Wish(seed=3, number=1, bars=["Dm"] * len(texts))))
    assert {label for _, _, label in chords.song.chart.chords} == {"D:min"} and chords.title == "your chords"
    with pytest.raises(ValueError, match="new tempo changes the whole song"):
        again(band, session, Wish(number=1, bpm=80.0, stem="bass"))


@pytest.mark.parametrize("stems", [("drums", "bass", "harmony"), ("all",)])
def test_a_long_song_is_kept_and_packed_piece_by_piece(tmp_path, stems):
    """What keeping and packing take of memory does not grow with the song."""
    seconds, rate = 30.0, 44_100
    vocal = read_vocal((sing(seconds, rate, channels=2), rate))
    tracks = {stem: (0.2 + 0.1 * number) * vocal.wav[::-1] for number, stem in enumerate(stems)}
    mix = vocal.wav + sum(tracks.values())
    mix /= audio.peak(mix)
    report = {"levels": {"vocal_gain_db": 0.0}, "settings": {}, "versions": {"accompgen": "0"}}
    song = Song("long", rate, tracks, mix, {}, report, Chart.steady(seconds, bpm=120))
    tracemalloc.start()
    try:
        take = keep(Take(1, "", tmp_path, song, 0), vocal)
        path = pack(take)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"{most / 1e6:.1f} MB at most, of a song whose mix alone takes {mix.nbytes / 1e6:.1f} MB")
    assert most < 1.2 * mix.nbytes  # the click of the whole song, and pieces of the rest
    with zipfile.ZipFile(path) as file:
        found = audio.decode(file.read("long/long.mix.wav"))
        assert np.abs(found - mix).max() <= 2**-23
        assert sum(name.endswith(".wav") for name in file.namelist()) == {3: 7, 1: 4}[len(stems)]
    assert np.array_equal(take.loaded().mix, mix)


def test_old_takes_go_and_so_do_visitors(session, tmp_path, monkeypatch):
    made = [session.add(Take(0, "", session.place(), None, 0)) for _ in range(sessions_module.MOST_TAKES + 2)]
    assert [take.number for take in made] == list(range(1, len(made) + 1))
    assert [take.folder.exists() for take in made] == [False, False] + [True] * sessions_module.MOST_TAKES
    assert session.add(Take(0, "", session.place(), None, 0), session.begin(session.upload)).number == 1
    assert not any(take.folder.exists() for take in made)
    with pytest.raises(ValueError, match="take 2 is not there"):
        session.take(2)

    sessions = Sessions(tmp_path / "more")
    stays, goes = sessions.get("a"), sessions.get("b")
    for one in (stays, goes):
        one.begin(session.upload)
    assert sessions.of_key(goes.key) is goes and stays.key != goes.key
    sessions.leave("b")
    sessions.sweep()
    assert goes.folder.exists()  # a phone that slept comes back
    monkeypatch.setattr(sessions_module, "KEPT_SECONDS", -1.0)
    sessions.sweep()
    assert stays.folder.exists() and not goes.folder.exists()
    with pytest.raises(ValueError, match="closed for too long"):
        sessions.of_key(goes.key)
    with pytest.raises(ValueError, match="closed for too long"):
        sessions.of_key("schlüssel")


def test_a_taken_port_is_said_before_weights_are_loaded():
    pytest.importorskip("gradio", reason="gradio is not installed (extra `web`)")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} cannot be used"):
            serve.check(port)


def test_what_killed_servers_left_behind_is_removed_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("accompgen-web-killed", "accompgen-web-begun", "accompgen-other"):
        (tmp_path / name / "visitors").mkdir(parents=True)
    for name in ("accompgen-web-killed", "accompgen-other"):
        (tmp_path / name / serve.LOCK).touch()
    with serve._folder() as serving:
        (Path(serving) / "uploads").mkdir()
        serve.remove_left_behind()
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {"accompgen-web-begun", "accompgen-other", Path(serving).name} and (Path(serving) / "uploads").exists()
    assert not Path(serving).exists()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_closed_terminal_ends_the_page_as_ctrl_c_does_but_not_under_nohup():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        serve.end_as_by_ctrl_c()
        os.kill(os.getpid(), signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        serve.end_as_by_ctrl_c()
        for number in before:
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
                time.sleep(1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_who_leaves_in_the_middle_ends_the_work(session, jobs, tmp_path):
    sessions = Sessions(tmp_path)
    visitor = sessions.get("page")
    visitor.job = jobs.put(waiting_work(threading.Event()), 1)
    until(lambda: visitor.job.begun is not None)
    sessions.leave("page")
    until(visitor.job._done.is_set)
    assert isinstance(visitor.job.error, Stopped)


class Visitor:
    """Somebody at the page, without a browser: what the functions that Gradio calls give."""

    def __init__(self, page, name):
        self.page, self.session_hash = page, name

    def start(self, path, bpm=100.0, key="", chords="", seed=0, rate=None):
        return [self._news(step) for step in self.page.start(path and str(path), "", bpm, key, chords, seed, rate, self)]

    def _news(self, step):
        work, desk, button = step
        return work, desk, button.get("interactive")


@pytest.fixture
def page(band, jobs, tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed (extra `web`)")
    from accompgen.web.page import Page

    return Page(band, Sessions(tmp_path / "pages"), jobs)


def test_the_page_makes_takes_and_tells_how_far_it_is(page, session, jobs):
    steps = Visitor(page, "a").start(session.upload, seed=5)
    assert steps[0][0]["state"] == "working" and steps[0][2] is False
    work, desk, ready = steps[-1]
    assert work == {"state": "idle"} and ready is True and desk["current"] == 1
    (take,) = desk["takes"]
    assert take["seed"] == 5 and take["stems"] == ["drums", "bass", "harmony"] and take["chart"]["bars"]
    assert [track["name"] for track in take["tracks"]] == ["voice", "drums", "bass", "harmony"]
    assert page.download([desk["key"], 1, "24"])["url"].endswith("My%20song%20-%20take%201.zip")
    assert "closed for too long" in page.download(["no key", 1, "24"])["error"]


@pytest.mark.parametrize(
    "wish, said",
    [
        ({"bpm": 1000.0}, "30 to 300 beats a minute"),
        ({"bpm": "0"}, "30 to 300 beats a minute"),
        ({"bpm": "fast"}, "The tempo 'fast' is no number"),
        ({"key": "blue"}, "The key 'blue' is unknown"),
        ({"chords": "| Am | Hm7x |"}, "Your chords, line 1, bar 2"),
        ({"seed": -1}, "out of range"),
    ],
)
def test_the_page_says_what_it_cannot_do(page, session, wish, said):
    work, desk, ready = Visitor(page, "a").start(session.upload, **wish)[-1]
    assert work["state"] == "said" and said in work["text"] and ready is True and desk is None


def test_the_page_says_what_is_no_recording(page, tmp_path, monkeypatch):
    visitor = Visitor(page, "a")
    assert "Sing something first" in visitor.start(None)[-1][0]["text"]
    text = tmp_path / "letter.wav"
    text.write_text("dear singer")
    said = visitor.start(text)[-1][0]["text"]
    assert said.startswith("letter.wav") and str(tmp_path) not in said
    long = tmp_path / "opera.wav"
    audio.write(long, sing(2.0), 44_100)
    monkeypatch.setattr("accompgen.web.takes.LONGEST_SECONDS", 1.0)
    assert "Trim it" in visitor.start(long)[-1][0]["text"]
    assert list(page.sessions.get("a").folder.iterdir()) == []  # nothing of them is kept


def test_a_fault_of_ours_is_printed_and_nothing_is_lost(page, session, band, monkeypatch, capsys):
    visitor = Visitor(page, "a")
    visitor.start(session.upload)
    monkeypatch.setattr(band, "accompany", lambda *_, **__: 1 / 0)
    work, desk, ready = visitor.start(session.upload)[-1]
    assert "nothing was lost" in work["text"] and len(desk["takes"]) == 1 and ready is True
    assert "ZeroDivisionError" in capsys.readouterr().err


def resident_megabytes():
    """Memory of this process; skips where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("the system has no /proc")
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS")) / 1024


def test_memory_stays_flat_over_many_songs(band, session, jobs):
    audio.write(session.upload, sing(1.0, rate=48_000, channels=2), 48_000)
    before = None
    for number in range(20):
        made(jobs, first(band, session, session.begin(session.upload), Wish(seed=number, bpm=100.0)))
        if number == 4:  # caches are full
            before = resident_megabytes()
    assert len(session.takes) == 1 and len(list(session.folder.iterdir())) == 2  # a take and its recording
    grown = resident_megabytes() - before
    print(f"20 songs: {before:.1f} MB after 5 of them, {grown:+.1f} MB over the other 15")
    assert grown < 25
