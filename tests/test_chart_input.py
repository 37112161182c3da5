"""What a person says of a song's music, laid over what was found in the voice."""

import numpy as np
import pytest

from accompgen.beat_fit import filled, placed, steady_near
from accompgen.chart import Chart, ChartError
from accompgen.chart_input import ChartRequest, overlaid, read_request
from accompgen.export.sheet import write_sheet

FOUND = Chart(
    16.0,
    tuple(
        (0.25 + 0.5 * index, (index + 1) % 4 + 1) for index in range(31)
    ),  # bar 1 begins at 1.75 s
    ((0.0, 8.0, "C:maj"), (8.0, 16.0, "F:maj")),
    "C:maj",
)


def jittered(times, seed=0, by=0.015):
    return np.asarray(times) + np.random.default_rng(seed).uniform(-by, by, len(times))


def test_nothing_given_leaves_what_was_found():
    assert read_request().over(FOUND) == FOUND == ChartRequest().over(FOUND)


@pytest.mark.parametrize(
    "bpm, first, ratio", [(120, 1.21, 1), (97.3, 0.4, 1), (60, 2.0, 0.5), (150, 0.83, 2)]
)
def test_a_tempo_is_laid_on_the_beats_found(bpm, first, ratio):
    """Also where the tracker found every other beat, or twice as many."""
    truth = Chart.steady(40.0, bpm, 4, first)
    heard = Chart.steady(40.0, bpm / ratio, 4, first)
    times = jittered([time for time, _ in heard.beats])
    found = Chart(40.0, tuple((float(time), place) for time, (_, place) in zip(times, heard.beats)))
    made = read_request(bpm=bpm).over(found)
    offset = (made.beats[0][0] - truth.beats[0][0] + 30 / bpm) % (60 / bpm) - 30 / bpm
    assert abs(offset) < 0.01 and np.allclose(np.diff([time for time, _ in made.beats]), 60 / bpm)
    begins, bars = ([time for time, place in chart.beats if place == 1] for chart in (made, heard))
    few, many = sorted([begins, bars], key=len)
    assert all(min(abs(one - other) for other in many) < 0.01 for one in few) and len(begins) >= 9


def test_a_tempo_alone_begins_with_the_song():
    assert read_request(bpm=90, metre=3).over(Chart(20.0)).beats == Chart.steady(20.0, 90, 3).beats
    late = Chart(20.0, tuple((0.02 + 0.5 * index, index % 4 + 1) for index in range(39)))
    assert steady_near(late, 120, 4).beats[0] == (0.0, 1), (
        "a tracker's 20 ms are no bar of their own"
    )


def test_taps_get_the_bars_that_were_found(tmp_path):
    taps = tmp_path / "taps.txt"
    taps.write_text(
        "".join(f"{time:.3f}\n" for time in jittered([0.5 * index + 0.25 for index in range(31)]))
    )
    made = read_request(beats=taps).over(FOUND)
    assert [place for _, place in made.beats] == [place for _, place in FOUND.beats]
    assert [place for _, place in read_request(beats=taps).over(Chart(16.0)).beats][:5] == [
        1,
        2,
        3,
        4,
        1,
    ]
    assert [place for _, place in read_request(beats=taps, metre=3).over(Chart(16.0)).beats][
        :4
    ] == [1, 2, 3, 1]


def test_a_chord_file_says_where_taps_begin_bars(tmp_path):
    (tmp_path / "taps.txt").write_text("".join(f"{0.5 * index}\n" for index in range(20)))
    (tmp_path / "song.lab").write_text("0 1 C\n1 3 G\n3 5 F\n5 10 C\n")
    made = read_request(beats=tmp_path / "taps.txt", chords=tmp_path / "song.lab").over(Chart(10.0))
    assert made.beats[2] == (1.0, 1) and made.beats[0] == (0.0, 3)


def test_taps_that_were_left_out_are_filled_in():
    truth = 0.3 + np.cumsum(0.5 + 0.1 * np.sin(np.arange(40) / 8))
    some = np.delete(truth, [5, 12, 13, 30])
    assert len(filled(some)) == 40 and np.abs(filled(some) - truth).max() < 0.04
    assert np.array_equal(filled(truth), truth) and np.array_equal(filled([1.0, 2.0]), [1.0, 2.0])


def test_taps_of_a_part_of_the_song_go_on_at_their_own_tempo(tmp_path):
    taps = tmp_path / "taps.txt"
    taps.write_text("".join(f"{time:.3f}\n" for time in jittered(2.0 + 0.5 * np.arange(17))))
    beats = read_request(beats=taps).over(Chart(60.0)).continued().beats
    assert len(beats) in (119, 120, 121) and abs(beats[-1][0] - round(2 * beats[-1][0]) / 2) < 0.25
    assert np.abs(np.diff([time for time, _ in beats[40:]]) - 0.5).max() < 0.005


def test_given_beats_stand_as_they_are(tmp_path):
    path = tmp_path / "beats.txt"
    path.write_text("1.0 1\n1.6 2\n2.3 3\n3.0 1\n")
    assert read_request(beats=path).over(FOUND).beats == ((1.0, 1), (1.6, 2), (2.3, 3), (3.0, 1))


def test_another_metre_keeps_beats_and_most_bars():
    waltz = Chart(12.0, tuple((0.5 * index, (index + 1) % 6 + 1) for index in range(24)))
    made = read_request(metre=3).over(waltz)
    assert [time for time, _ in made.beats] == [time for time, _ in waltz.beats]
    assert {made.beats[index][1] for index in (5, 11, 17, 23)} == {1} and made.metre == 3
    assert placed([0.0, 0.5, 1.0, 1.5], 2, [0.5, 1.52]) == ((0.0, 2), (0.5, 1), (1.0, 2), (1.5, 1))


def test_given_chords_replace_found_ones_where_they_are_given():
    made = read_request(chords="| Am | ? |: F :|").over(FOUND)
    assert made.chords == (
        (0.0, 1.75, "C:maj"), (1.75, 3.75, "A:min"), (3.75, 5.75, "C:maj"),
        *((1.75 + 2 * bar, min(16.0, 3.75 + 2 * bar), "F:maj") for bar in range(2, 8)),
    )  # fmt: skip
    assert made.beats == FOUND.beats and made.key == "C:maj"
    assert read_request(chords="| Am |: ? :|").chords_on(FOUND) == ((1.75, 3.75, "A:min"),)


def test_chords_on_top_of_others():
    below = ((0.0, 4.0, "a"), (4.0, 6.0, "b"), (7.0, 9.0, "c"))
    assert overlaid(below, ()) == below
    assert overlaid(below, ((1.0, 2.0, "x"), (3.0, 5.0, "y"), (6.5, 9.0, "z"))) == (
        (0.0, 1.0, "a"), (1.0, 2.0, "x"), (2.0, 3.0, "a"), (3.0, 5.0, "y"), (5.0, 6.0, "b"), (6.5, 9.0, "z"),
    )  # fmt: skip


@pytest.mark.parametrize("text", ["| Am | F | C | G |", "Am F C G", "|: Am | F | C | G :|"])
def test_chords_as_a_text_go_on_to_the_end(text):
    chords = read_request(chords=text).chords_on(Chart.steady(12.0, 120))
    assert [label[0] for _, _, label in chords] == list("AFCGAF")


def test_an_edited_sheet_comes_back(tmp_path):
    path = tmp_path / "song.chords.txt"
    path.write_text(write_sheet(FOUND).replace("F", "Dm7"))
    asked = read_request(chords=path)
    assert asked.key == "C:maj" and asked.bpm == 120
    made = asked.over(FOUND)
    assert [label for _, _, label in made.chords] == ["C:maj", "D:min7"]
    assert read_request(chords=path, key="A minor", bpm=100).bpm == 100
    assert read_request(chords=path, key="A minor").over(FOUND).key == "A:min"


def test_a_lab_file_in_seconds(tmp_path):
    path = tmp_path / "song.lab"
    path.write_text("2.1\t3.3\tG\n3.3\t4.0\tX\n15.0\t16.5\tAm\n")
    asked = read_request(chords=str(path))
    assert asked.chords_on(FOUND) == ((2.1, 3.3, "G:maj"), (15.0, 16.0, "A:min"))
    assert asked.over(FOUND).chords[2] == (3.3, 8.0, "C:maj"), (
        "an unknown chord is none that is given"
    )
    with pytest.raises(
        ChartError, match="song.lab: a chord begins at 15 s, and the song ends at 10.00 s"
    ):
        asked.over(Chart.steady(10.0, 120))


@pytest.mark.parametrize(
    "given, message",
    [
        ({"bpm": 29.9}, "--bpm 29.9: expected 30 to 300 beats a minute"),
        ({"bpm": float("nan")}, "--bpm nan"),
        ({"bpm": 301}, "--bpm 301"),
        ({"metre": 0}, "--metre 0: expected 1 to 32"),
        ({"count_in": -1}, "--count-in -1: expected 0 to 16 bars"),
        ({"key": "H"}, "--key: key 'H' cannot be read; expected a tonic and a mode"),
        ({"chords": "| Am | Hm |"}, "--chords, line 1, bar 2: chord 'Hm' cannot be read"),
        (
            {"chords": "nowhere.txt"},
            "--chords nowhere.txt: no such file; expected a file, or chords such as",
        ),
        ({"chords": ""}, "--chords"),
        ({"chords": "Am " * 500 + "H"}, "no such file; expected a file, or chords"),
        ({"beats": "nowhere.txt"}, "nowhere.txt: no such file"),
        ({"beats": "x", "bpm": 100}, "--bpm and --beats both say"),
    ],
)
def test_faults_are_named(given, message):
    with pytest.raises(ChartError) as found:
        read_request(**given)
    assert message in str(found.value)


def test_more_bars_than_the_song_has_and_beats_of_another_song(tmp_path):
    sheet = tmp_path / "sheet.txt"
    sheet.write_text("|C|C|C|C|C|C|C|C|C|")
    with pytest.raises(ChartError, match="sheet.txt: it has 9 bars, the song has 8; take some out"):
        read_request(chords=sheet).over(Chart.steady(16.0, 120))
    with pytest.raises(ChartError, match="--chords: it has 9 bars, the song has 8; take some out"):
        read_request(chords="|C|: C|C|C|C|C|C|C|C :|").over(Chart.steady(16.0, 120))
    # a progression of a text goes round, and so ends with the song
    cut = read_request(chords="|C|C|C|C|C|C|C|F|G|").over(Chart.steady(16.0, 120))
    assert [label for _, _, label in cut.chords][-1] == "F:maj" and cut.chords[-1][1] == 16.0
    with pytest.raises(ChartError, match="and 0 are known"):
        read_request(chords="| C |").over(Chart(16.0))
    path = tmp_path / "beats.txt"
    path.write_text("".join(f"{index}\n" for index in range(1, 60)))
    with pytest.raises(
        ChartError, match="beats.txt: beats from 1 to 59 s, and the song ends at 16.00 s"
    ):
        read_request(beats=path).over(FOUND)
    assert len(read_request(beats=path).over(Chart(58.5)).beats) == 58
