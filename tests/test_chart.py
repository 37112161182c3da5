"""What a band plays by: beats and chords, and their ids."""

import numpy as np
import pytest

from accompgen.chart import (
    BEAT_IDS,
    CHORD_IDS,
    PHASES,
    Chart,
    ChartError,
    chord_chroma,
    chord_id,
    chord_label,
    pace,
)

META = {
    "beats": [[0.5, 4], [1.0, 1], [1.5, 2], [2.0, 3]],
    "chords": [[0.0, 1.0, "A:min/b3"], [1.0, 2.4, "G:7"]],
    "key": "A:min",
}


def test_a_beat_begins_with_its_first_phase_and_a_bar_with_its_own():
    ids = Chart.of_song(META, 4.0).beat_ids(100)
    assert len(ids) == 200 and ids.min() >= 0 and ids.max() < BEAT_IDS
    for seconds, place in [(0.5, 4), (1.0, 1), (1.5, 2), (2.5, 4), (3.0, 1)]:  # the last two are continued
        assert ids[round(50 * seconds)] == (PHASES if place == 1 else 0), seconds
    assert (np.diff(ids[50:75]) >= 0).all() and ids[74] == PHASES + PHASES - 1


def test_without_beats_or_chords_there_are_no_ids():
    assert Chart(4.0).beat_ids(100) is None and Chart(4.0).chord_ids(100) is None


def test_chords_sound_where_they_stand_and_elsewhere_nothing_is_known():
    ids, known = Chart.of_song(META, 4.0).chord_ids(100)
    assert (ids[:25] == chord_id("A:min")).all() and (ids[25:60] == chord_id("G:7")).all()
    assert known[:60].all() and not known[60:].any()


def test_every_id_has_a_label_that_has_the_id():
    assert [chord_id(chord_label(id)) for id in range(CHORD_IDS)] == list(range(CHORD_IDS))


@pytest.mark.parametrize(
    "label, plain",
    [("C:maj6", "C:maj"), ("D:hdim7", "D:dim"), ("E:9", "E:7"), ("F:sus4(b7)", "F:sus4"), ("G:minmaj7", "G:min"), ("X", "N")],
)
def test_other_qualities_count_as_the_one_with_most_tones_in_common(label, plain):
    assert chord_label(chord_id(label)) == plain


def test_chords_of_ids_change_on_beats():
    chart = Chart.of_song(META, 4.0)
    ids, _ = chart.with_chords([(0.0, 1.04, "A:min"), (1.04, 4.0, "F:maj")]).chord_ids(100)
    assert chart.chords_on_beats(ids).chords == ((0.0, 1.0, "A:min"), (1.0, 4.0, "F:maj"))
    assert Chart(4.0).chords_on_beats(ids).chords == ((0.0, 1.04, "A:min"), (1.04, 4.0, "F:maj"))


def test_steady_beats_have_a_downbeat_where_it_was_asked_for():
    chart = Chart.steady(4.0, 120, metre=3, first=1.25)
    assert chart.beats[:4] == ((0.25, 2), (0.75, 3), (1.25, 1), (1.75, 2)) and chart.bpm == 120 and chart.metre == 3
    with pytest.raises(ChartError, match="20 beats a minute; expected 30 to 300"):
        Chart.steady(4.0, 20)


def test_times_out_of_order_are_an_error():
    with pytest.raises(ChartError, match="beats must follow"):
        Chart(4.0, beats=((1.0, 1), (1.0, 2)))
    with pytest.raises(ChartError, match="without overlaps"):
        Chart(4.0, chords=((0.0, 2.0, "C:maj"), (1.0, 3.0, "F:maj")))


def test_bars_go_from_the_songs_beginning_to_its_end():
    bars = Chart(6.2, ((1.0, 4), (1.5, 1), (2.0, 2))).bars()
    assert [bar.number for bar in bars] == [0, 1, 2, 3]
    assert [len(bar.times) for bar in bars] == [4, 5, 5, 3]
    assert bars[0].times == (0.0, 0.5, 1.0, 1.5) and bars[3].times == (5.5, 6.0, 6.2)
    assert [bar.number for bar in Chart.steady(4.0, 120).bars()] == [1, 2]
    with pytest.raises(ChartError, match="two beats or more, and 1 are known"):
        Chart(4.0, ((1.0, 1),)).bars()


def test_the_tempo_beyond_the_beats_is_no_single_distance():
    """By a tracker's frames of 20 ms 118 beats a minute are distances of 0.50 and 0.52 s."""
    times = [round((4.0 + 60 / 118 * index) / 0.02) * 0.02 for index in range(20)]
    beats = Chart(60.0, tuple((time, index % 4 + 1) for index, time in enumerate(times))).continued().beats
    steps = np.diff([time for time, _ in beats])
    assert abs(steps[:7] - 60 / 118).max() < 0.002 and abs(steps[-80:] - 60 / 118).max() < 0.002
    missing = times[:15] + times[16:]
    assert abs(pace(missing[-9:]) - 60 / 118) < 0.004, "a beat that was left out is no slower tempo"


def test_chords_sound_as_their_tones():
    chroma = chord_chroma()
    assert chroma.shape == (CHORD_IDS, 12) and not chroma[0].any()
    np.testing.assert_allclose(np.linalg.norm(chroma[1:], axis=1), 1.0, rtol=1e-6)
    assert np.flatnonzero(chroma[chord_id("G:7")]).tolist() == [2, 5, 7, 11]
    assert np.flatnonzero(chroma[chord_id("Bb:min")]).tolist() == [1, 5, 10]
