"""Chords and beats of a chart as plain files, and its click: what is written, and what others write."""

import mir_eval
import numpy as np
import pytest

from accompgen.chart import Chart, ChartError
from accompgen.export.beats import read_beats, write_beats
from accompgen.export.chart_files import score_files
from accompgen.export.click import click_track
from accompgen.export.grid import grid_of
from accompgen.export.lab import is_lab, read_lab, write_lab
from accompgen.export.sheet import write_sheet
from accompgen.export.sheet_reader import parse_sheet

CHORDS = ((0.0, 1.25, "C:maj"), (1.25, 2.000001, "A:min7/b3"), (3.5, 4.0, "N"))


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "given.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_lab_is_read_by_mir_eval_and_here(file):
    path = file(write_lab(Chart(4.0, chords=CHORDS)))
    intervals, labels = mir_eval.io.load_labeled_intervals(str(path))
    assert (
        tuple((*map(float, times), label) for times, label in zip(intervals, labels))
        == CHORDS
        == read_lab(path)
    )


def test_lab_of_others(file):
    text = '# from elsewhere\r\n0.000,1.000,Am\r\n\r\n1.0005 2.0 "F#m7b5"\r\n1.9995\t3.0\tC\r\n'
    assert read_lab(file(text)) == (
        (0.0, 1.0, "A:min"),
        (1.0005, 2.0, "F#:hdim7"),
        (2.0, 3.0, "C:maj"),
    )


@pytest.mark.parametrize(
    "text, message",
    [
        ("0.0 1.0 C\n1.0 2.0 H:maj\n", "line 2: chord 'H:maj' cannot be read"),
        ("0.0 1.0\n", "line 1: '0.0 1.0'; expected start, end and chord"),
        ("0.0 one C\n", "line 1: 'one' is no time"),
        ("0.0 nan C\n", "line 1: 'nan' is no time"),
        ("1.0 0.5 C\n", "line 1: the chord ends at 0.5 s, not after its start at 1 s"),
        ("0.0 2.0 C\n1.0 3.0 G\n", "line 2: begins at 1 s, before the chord above it ends at 2 s"),
        ("\n", "no chords"),
    ],
)
def test_faults_of_a_lab_file(file, text, message):
    with pytest.raises(ChartError) as found:
        read_lab(file(text))
    assert message in str(found.value) and "given.txt" in str(found.value)


def test_which_text_is_lab():
    assert (
        is_lab("# x\n0.0\t1.5\tC:maj\n")
        and is_lab("0,1,C")
        and not is_lab("| C | G |")
        and not is_lab("0:00.00 | C |")
    )


def test_beats_are_read_by_mir_eval_and_here(file):
    chart = Chart(4.0, ((0.37, 3), (0.87, 4), (1.370001, 1), (1.9, 2)))
    path = file(write_beats(chart))
    times, labels = mir_eval.io.load_delimited(str(path), [float, str])
    assert tuple(zip(times, map(int, labels))) == chart.beats
    found = read_beats(path)
    assert tuple(zip(found.times, found.places)) == chart.beats


@pytest.mark.parametrize(
    "text, places",
    [
        ("0.5\n1.0\n1.5\n", None),  # taps
        ("0.5\t3\n1.0\t4\n1.5\t1\n", (3, 4, 1)),  # madmom
        ("5.0e-01 3.000e+00\n", "fault"),
        ("0.500 3.0\n1.000 4.0\n1.500 1.0\n", (3, 4, 1)),
        ("0.5,New Point\n1.0,New Point\n1.5,New Point\n", None),  # Sonic Visualiser
        ('"0.5","3"\n"1.0","4"\n"1.5","1"\n', (3, 4, 1)),
        ("0.5,12.3\n1.0,12.4\n1.5,13.1\n", (3, 4, 1)),
        ("0.500000\t0.500000\t\n1.000000\t1.000000\t\n1.5\t1.5\t\n", None),  # Audacity
        ("0.5\t0.5\t3\n1.0\t1.0\t4\n1.5\t1.5\t1\n", (3, 4, 1)),
        ("1.0 1\n2.0 2\n3.0 3\n", (1, 2, 3)),
        ("﻿0.5\r\n\r\n# tapped\r\n1.0\r\n1.5\r\n", None),
    ],
)
def test_beats_of_others(file, text, places):
    if places == "fault":
        with pytest.raises(ChartError, match="'3.000e.00' is no place in the bar"):
            read_beats(file(text + text.replace("5.0e-01", "9.0e-01")))
        return
    found = read_beats(file(text))
    assert found.places == places and len(found.times) == 3 and found.times[0] in (0.5, 1.0)


@pytest.mark.parametrize(
    "text, message",
    [
        ("0.5\nx\n", "line 2: 'x' is no time; expected seconds"),
        ("0.5\n-1\n", "line 2: '-1' is no time"),
        (
            "0.5\n1.0\n1.0\n",
            "line 3: 1 s is 0.000 s after the beat before it; expected times in order, 0.2 s apart",
        ),
        (
            "0.5 1\n1.0\n",
            "line 2: '' is no place in the bar; expected 1 to 32 behind each time, or behind none",
        ),
        ("0.5 0\n1.0 1\n", "line 1: '0' is no place"),
        ("".join(f"{i} 2\n" for i in range(40)), "line 33: no bar begins here or in the 32 beats"),
        ("0.5\n", "1 beats; expected two or more"),
    ],
)
def test_faults_of_a_beat_file(file, text, message):
    with pytest.raises(ChartError) as found:
        read_beats(file(text))
    assert message in str(found.value) and "given.txt" in str(found.value)


def test_a_file_that_cannot_be_read(tmp_path, file):
    with pytest.raises(ChartError, match="none.txt: no such file"):
        read_beats(tmp_path / "none.txt")
    with pytest.raises(ChartError, match="a folder; give a text file"):
        read_lab(tmp_path)
    with pytest.raises(ValueError, match="line 2: byte 0xff is not UTF-8"):
        read_lab(file(b"0 1 C\n\xff"))


@pytest.mark.parametrize("count_in", [0, 1])
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_clicks_lie_on_the_beats_and_bars_are_accented(rate, count_in):
    chart = Chart(4.0, tuple((0.3 + 0.45 * index, (index + 2) % 3 + 1) for index in range(9)))
    wav = click_track(chart, rate, round(4.0 * rate), count_in)
    offset = grid_of(chart, count_in).offset
    assert (
        wav.dtype == np.float32
        and wav.shape == (1, round(4.0 * rate) + round(offset * rate))
        and abs(wav).max() < 0.9
    )
    assert offset == pytest.approx(count_in * (0.45 * 5 - 0.3))
    silence = np.zeros(round(0.06 * rate), np.float32)
    onsets = np.flatnonzero(
        (wav[0] != 0) & (np.concatenate([silence, wav[0]])[: wav.shape[1]] == 0)
    )
    onsets = onsets[np.diff(onsets, prepend=-rate) > 0.1 * rate] / rate - offset
    beats = np.array([beat.seconds for beat in grid_of(chart, count_in).beats if beat.place])
    assert len(beats) == 9 + 5 * count_in and np.abs(onsets - beats).max() < 2.5 / rate
    loud = [
        abs(wav[0, round((beat + offset) * rate) :][: round(0.05 * rate)]).max() > 0.5
        for beat in beats
    ]
    assert loud == [beat.place == 1 for beat in grid_of(chart, count_in).beats if beat.place]


@pytest.mark.parametrize("first", [0.0, 0.4])
@pytest.mark.parametrize("count_in", [0, 1])
def test_a_song_with_one_beat_in_it_can_be_written(first, count_in):
    chart = Chart.steady(0.9, 60, 4, first).with_chords(((0.0, 0.9, "A:min"),))
    assert len(chart.beats) == 2
    sheet = parse_sheet(write_sheet(chart), "sheet")
    assert sheet.chords(chart) == chart.chords
    grid = grid_of(chart, count_in)
    # the bar that is counted in, and what lies before the first beat
    assert grid.offset == pytest.approx(max(0, 4 * count_in - first))
    assert all(score_files(chart, "song", count_in).values())
    assert len(click_track(chart, 8_000, 7_200, count_in)) > 0


@pytest.mark.parametrize("place", [1, 4])
@pytest.mark.parametrize("count_in", [0, 1])
def test_a_song_between_two_beats_can_be_written(place, count_in):
    # as the beats of a shout of a second were found: before and behind it
    chart = Chart(1.0, ((-0.01, place), (1.01, place % 4 + 1))).with_chords(((0.0, 1.0, "A:min"),))
    assert chart.continued().beats == ((0.0, place),)
    assert parse_sheet(write_sheet(chart), "sheet").chords(chart) == chart.chords
    assert grid_of(chart, count_in).offset == pytest.approx(1.02 * count_in * (3 + place), abs=0.05)
    assert all(score_files(chart, "song", count_in).values())
    assert len(click_track(chart, 8_000, 8_000, count_in)) > 0
