"""`accompgen chart`: its files, its options, and that all of them are written or none. What finds a chart is stood in for."""

from types import SimpleNamespace

import pytest
from tiny import sing

from accompgen import CHECKPOINT, audio
from accompgen.chart import Chart
from accompgen.cli import main
from accompgen.export.beats import read_beats
from accompgen.export.lab import read_lab
from accompgen.export.sheet_reader import read_sheet

NAMES = ["voice.beats.txt", "voice.chords.txt", "voice.click.wav", "voice.lab", "voice.mid"]


def stand_in(monkeypatch, find_chart):
    """Let `find_chart(vocal, asked, **more)` be what a loaded checkpoint does."""

    def load(checkpoint, device, engine):
        return SimpleNamespace(
            chart=lambda vocal, seed, chart, on_progress: find_chart(
                vocal, chart, checkpoint=checkpoint, device=device, seed=seed
            )
        )

    monkeypatch.setattr("accompgen.generation.pipeline.load", load)


@pytest.fixture
def calls(monkeypatch):
    """The vocals that a chart was asked for, with the other arguments."""
    seen = []

    def find_chart(vocal, asked, **more):
        seen.append((vocal, asked, more))
        return asked.over(
            Chart.steady(vocal.seconds, 120).with_chords([(0.0, vocal.seconds, "C:maj")])
        )

    stand_in(monkeypatch, find_chart)
    return seen


@pytest.fixture
def vocal(tmp_path):
    path = tmp_path / "voice.wav"
    audio.write(path, sing(4.0), 44_100)
    return path


def run(*arguments):
    return main(["chart", *map(str, arguments)])


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_its_files_hold_the_same_chart(calls, vocal, tmp_path, capsys):
    out = tmp_path / "out"
    options = [
        "--bpm",
        90,
        "--chords",
        "| Am | F |",
        "--key",
        "A minor",
        "--seed",
        3,
        "--device",
        "cpu",
    ]
    assert run(vocal, "-o", out, *options) == 0
    captured = capsys.readouterr()
    assert names(out) == NAMES and sorted(captured.out.splitlines()) == [
        str(out / name) for name in NAMES
    ]
    assert "90.0 beats a minute, 4 a bar, A:min, 2 bars" in captured.err
    (_, asked, more) = calls[0]
    assert more == {"checkpoint": CHECKPOINT, "device": "cpu", "seed": 3} and asked.bpm == 90
    chart = Chart.steady(4.0, 90).continued()
    beats = read_beats(out / "voice.beats.txt")
    assert beats.times == pytest.approx([time for time, _ in chart.beats]) and beats.places[:5] == (
        1,
        2,
        3,
        4,
        1,
    )
    chords = read_lab(out / "voice.lab")
    assert [label for _, _, label in chords] == ["A:min", "F:maj"]
    sheet = read_sheet(out / "voice.chords.txt")
    assert sheet.key == "A:min" and [label for *_, label in sheet.chords(chart)] == [
        "A:min",
        "F:maj",
    ]
    wav, rate = audio.read(out / "voice.click.wav")
    assert (wav.shape, rate) == ((1, 4 * 44_100), 44_100)
    assert (out / "voice.mid").read_bytes().startswith(b"MThd")


def test_what_it_wrote_can_be_given_back(calls, vocal, tmp_path):
    assert run(vocal, "-o", tmp_path / "a", "--chords", "| Am . F G |", "--bpm", 70) == 0
    again = [
        "--chords",
        tmp_path / "a" / "voice.chords.txt",
        "--beats",
        tmp_path / "a" / "voice.beats.txt",
    ]
    assert run(vocal, "-o", tmp_path / "b", *again) == 0
    for name in NAMES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_count_in_says_where_the_recording_goes(calls, vocal, tmp_path, capsys):
    assert run(vocal, "-o", tmp_path, "--count-in", 1) == 0
    assert "the recording begins at 2.000 s, at the marker `recording`" in capsys.readouterr().err
    assert audio.read(tmp_path / "voice.click.wav")[0].shape == (1, 6 * 44_100)


def test_files_that_are_there_stay_unless_forced(calls, vocal, tmp_path, capsys):
    (tmp_path / "voice.lab").write_text("mine")
    assert run(vocal, "-o", tmp_path) == 1
    assert "voice.lab exists; choose another folder, or --force" in capsys.readouterr().err
    assert not calls and names(tmp_path) == ["voice.lab", "voice.wav"]
    assert run(vocal, "-o", tmp_path, "--force") == 0
    assert (
        names(tmp_path) == sorted([*NAMES, "voice.wav"])
        and (tmp_path / "voice.lab").read_text() != "mine"
    )


@pytest.mark.parametrize(
    "options, message",
    [
        (["--bpm", "20"], "--bpm 20: expected 30 to 300"),
        (["--chords", "| H |"], "--chords, line 1, bar 1: chord 'H' cannot be read"),
        (["--chords", "|C|: C|C :|"], "--chords: it has 3 bars, the song has 2"),
        (["--beats", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--key", "ten"], "--key: key 'ten' cannot be read"),
        (["--count-in", "99"], "--count-in 99: expected 0 to 16"),
    ],
)
def test_a_fault_is_one_line_and_nothing_is_written(
    calls, vocal, tmp_path, options, message, capsys
):
    assert run(vocal, "-o", tmp_path / "out", *options) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("accompgen: ") and message in lines[0]
    assert names(tmp_path / "out") == []


def test_a_voice_without_beats_is_an_error(vocal, tmp_path, monkeypatch, capsys):
    stand_in(monkeypatch, lambda vocal, asked, **_: Chart(vocal.seconds, ((1.0, 1),)))
    assert run(vocal, "-o", tmp_path / "out") == 1
    assert (
        "bars need two beats or more, and 1 are known; give --bpm or --beats"
        in capsys.readouterr().err
    )
    assert names(tmp_path / "out") == []


def test_tempo_and_beats_are_one_or_the_other(vocal, capsys):
    with pytest.raises(SystemExit) as exit:
        run(vocal, "--bpm", 100, "--beats", "x.txt")
    assert exit.value.code == 2 and "not allowed with" in capsys.readouterr().err


def test_a_checkpoint_without_a_chart_says_so(tiny_checkpoint, tmp_path, capsys):
    vocals = [str(tmp_path / name) for name in ("voice.wav", "other.wav")]
    call = ["chart", *vocals, "-o", str(tmp_path / "out"), "--checkpoint", str(tiny_checkpoint)]
    assert main(call) == 1 and not (tmp_path / "out").exists()
    (line,) = capsys.readouterr().err.splitlines()  # not one for each vocal
    assert "plays without a chart and finds none; choose one of the graph 'band'" in line
