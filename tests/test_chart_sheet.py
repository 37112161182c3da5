"""A chart as a sheet of bars: written, edited by hand, read back."""

import pytest

from accompgen.chart import Chart, ChartError
from accompgen.export.sheet import write_sheet
from accompgen.export.sheet_reader import parse_sheet, read_sheet

STEADY = Chart.steady(16.0, 120)  # 8 bars of 2 s
CHORDS = (
    (0.0, 2.0, "C:maj"), (2.0, 3.5, "A:min7"), (3.5, 6.0, "F:maj/3"), (6.0, 7.0, "N"), (8.0, 9.0, "G:7(b9)"),
    (9.0, 14.0, "G:7(b9)"), (14.0, 16.0, "D:maj(*5)"),
)  # fmt: skip


def labels(text, chart=STEADY, **more):
    """What a sheet says of each bar of a song: the labels of its chords."""
    chords = parse_sheet(text, "sheet.txt", **more).chords(chart)
    bars = [bar.times for bar in chart.bars()]
    return [
        " ".join(label for start, end, label in chords if start < bar[-1] and bar[0] < end)
        for bar in bars
    ]


def fault(text, chart=STEADY, **more):
    with pytest.raises(ChartError) as found:
        parse_sheet(text, "sheet.txt", **more).chords(chart)
    return str(found.value)


def test_the_sheet_of_a_chart():
    chart = Chart(STEADY.seconds, STEADY.beats, CHORDS, "A:min")
    assert write_sheet(chart, "song").splitlines() == [
        "# chords of song",
        "# a sign a beat: . the chord goes on, N no chord, ? not known; % repeats a bar",
        "key: A:min",
        "tempo: 120",
        "metre: 4/4",
        "",
        "0:00.00 | C . . .           | Am7 . . F/A | . . . . | N . ? .         |",
        "0:08.00 | G7(b9) . G7(b9) . | . . . .     | . . . . | D:maj(*5) . . . |",
    ]


@pytest.mark.parametrize("pickup", range(4))
@pytest.mark.parametrize("begin", [0.0, 0.3])
def test_chords_on_beats_come_back_as_they_were(pickup, begin, tmp_path):
    """Also where the song begins within a bar, and before its first beat: with other chords there, or none."""
    beats = tuple((begin + 0.5 * index, (index - pickup) % 4 + 1) for index in range(32))
    times = [time for time, _ in beats]
    twice = [(0.0, times[1], "E:7"), (times[1], times[3], "E:7")]
    for first in [(0.0, times[3], "E:7")], twice, [], [(times[1], times[3], "N")]:
        chords = (
            *first,
            (times[3], times[7], "C:maj"),
            (times[8], times[9], "A:min/b3"),
            (times[9], 16.0, "Bb:maj7"),
        )
        if begin:
            chords = (
                (0.0, begin, "F#:dim"),
                *((max(begin, start), end, label) for start, end, label in chords),
            )
        chart = Chart(16.0, beats, chords)
        path = tmp_path / "song.chords.txt"
        path.write_text(write_sheet(chart))
        assert read_sheet(path).chords(chart) == chords


def test_a_change_on_half_a_beat_is_kept_and_another_one_moves_there():
    chords = ((0.0, 0.75, "C:maj"), (0.75, 2.1, "F:maj"), (2.1, 16.0, "G:maj"))
    found = parse_sheet(write_sheet(STEADY.with_chords(chords)), "").chords(STEADY)
    assert found == ((0.0, 0.75, "C:maj"), (0.75, 2.0, "F:maj"), (2.0, 16.0, "G:maj"))


def test_a_chart_without_chords_is_a_sheet_to_fill_in():
    text = write_sheet(STEADY)
    assert (
        text.count("?") - 1 == 1 and parse_sheet(text, "").chords(STEADY) == ()
    )  # one stands in the comment
    with pytest.raises(ChartError, match="and 1 are known"):
        write_sheet(Chart(4.0, ((1.0, 1),)))


def test_head_says_key_tempo_and_metre():
    sheet = parse_sheet("Key: A minor\ntempo: 96.5 bpm\nmeter = 3/4\n\n| Am |", "")
    assert (sheet.key, sheet.bpm, sheet.metre, sheet.pickup) == ("A:min", 96.5, 3, 0)
    wandering = Chart(
        16.0, tuple((0.5 * index + 0.02 * (index % 3), index % 4 + 1) for index in range(32))
    )
    assert "tempo: ca. 120.0" in write_sheet(wandering), (
        "a tempo that varies is not one to be asked for"
    )
    assert parse_sheet(write_sheet(wandering), "").bpm is None
    slow = Chart(60.0, tuple((3.0 * index, index % 4 + 1) for index in range(20)))
    assert "tempo: ca. 20.0" in write_sheet(slow), "nor is one that nobody may ask for"
    assert parse_sheet(write_sheet(slow), "").bpm is None


def test_an_edited_sheet():
    edited = """
        # mine
        key: C

        [Verse 1]
        0:00.00 | Am . . . | F . G . |   # softly
        | C / / / | % |
        | Em7 G7 | |
        [Chorus] |Dm7 - - G7sus4|Cadd9||
    """
    assert labels(edited) == [
        "A:min", "F:maj G:maj", "C:maj", "C:maj", "E:min7 G:7", "G:7", "D:min7 G:sus4(b7)", "C:maj(9)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text, bars",
    [
        ("|: Am | F :| C | G | D | E |", "A F A F C G D E"),
        ("| Am | F :| x3 C | G |", "A F A F A F C G"),
        ("|: Am | F :| x2 |: C :| 4x", "A F A F C C C C"),
        ("|: Am | F | C :|", "A F C A F C A F"),
        ("| Am | F |: C | G :|", "A F C G C G C G"),
        ("Am F\nC G\nDm E\nA B", "A F C G D E A B"),
        ("Am | F | C | G | D | E | A | B", "A F C G D E A B"),
    ],
)
def test_repeats(text, bars):
    assert [label[0] for label in labels(text)] == bars.split()


def test_a_progression_goes_on_to_the_end_if_that_is_wanted():
    assert [label[0] for label in labels("| Am | F | C |", repeat=True)] == list("AFCAFCAF")
    assert [label[0] for label in labels("| Am | F |: C :|", repeat=True)] == list("AFCCCCCC")
    assert fault("| Am | F | C |") == (
        "sheet.txt: it has 3 bars, the song has 8; add the others, or end it with :| to repeat it to the song's end"
    )


def test_signs_divide_a_bar():
    waltz = Chart.steady(6.0, 120, metre=3)
    assert parse_sheet("|C G F|C|Am . G|Am G F E D C|", "").chords(waltz)[-1] == (
        5.75,
        6.0,
        "C:maj",
    )
    assert parse_sheet("| C G |:F:|", "").chords(STEADY)[:2] == (
        (0.0, 1.0, "C:maj"),
        (1.0, 2.0, "G:maj"),
    )
    assert parse_sheet("| C . G . F . D . |:F:|", "").chords(STEADY)[1] == (0.5, 1.0, "G:maj")


def test_a_bar_that_the_song_breaks_off_has_the_first_signs():
    chart = Chart.steady(3.0, 120)
    assert parse_sheet("|: C . G . :|", "").chords(chart)[2:] == ((2.0, 3.0, "C:maj"),)
    assert parse_sheet("|: C G :|", "").chords(Chart.steady(3.5, 120))[2:] == (
        (2.0, 3.0, "C:maj"),
        (3.0, 3.5, "G:maj"),
    )


def test_bars_begin_at_bar_1_and_a_pickup_is_said_to_be_one():
    chart = Chart(
        5.0, tuple((0.5 * index, (index + 2) % 4 + 1) for index in range(10))
    )  # beats 3 and 4, two bars
    assert parse_sheet("| C | G |", "").chords(chart) == ((1.0, 3.0, "C:maj"), (3.0, 5.0, "G:maj"))
    assert parse_sheet("pickup: 2\n| F G | C | G |", "").chords(chart)[:2] == (
        (0.0, 0.5, "F:maj"),
        (0.5, 1.0, "G:maj"),
    )
    assert parse_sheet("pickup: 2\n| F |: C :|", "").chords(chart)[1:] == (
        (1.0, 3.0, "C:maj"),
        (3.0, 5.0, "C:maj"),
    )
    assert "its pickup has 3 of the beats before bar 1, the song's 2" in fault(
        "pickup: 3\n| F | C | G |", chart
    )
    short = Chart(1.0, ((0.0, 2), (0.4, 3), (0.8, 4)))
    assert "it has 1 bar, the song has 0; take some out" in fault("| C |", short, repeat=True)
    assert "it has 1 bar and a pickup, the song has 2; add" in fault("pickup: 2\n| F | C |", chart)


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "| Am | F |\n\n| C | Hm . . . |",
            "sheet.txt, line 3, bar 4: chord 'Hm' cannot be read; expected a symbol",
        ),
        ("key: H major\n| C |", "sheet.txt, line 1: key 'H major' cannot be read"),
        ("tempo: 20\n| C |", "sheet.txt, line 1: tempo '20'; expected 30 to 300 beats a minute"),
        ("metre: 4/5\n| C |", "sheet.txt, line 1: metre '4/5'; expected beats"),
        ("# nothing\n", "sheet.txt: no bars"),
        ("| C |\nAm F", "sheet.txt, line 2: 'Am F' has no bar lines"),
        ("| % | C |", "line 1, bar 1: % repeats the bar before it, and there is none"),
        ("| C | % . . . |", "line 1, bar 2: % stands alone in its bar"),
        ("| . . C . |:F:|", "line 1, bar 1: it begins with ."),
        ("|: :| C |", "line 1: :| with no bars to repeat"),
        ("|: C :| x1000 | D |", "line 1: a repeat played 1000 times"),
        ("| C . G |:F:|", "line 1, bar 1: 3 signs in a bar of 4 beats"),
        ("|C|C|C|C|C|C|C|C|C|", "sheet.txt: it has 9 bars, the song has 8; take some out"),
    ],
)
def test_faults_are_named_with_line_and_bar(text, message):
    assert message in fault(text)
