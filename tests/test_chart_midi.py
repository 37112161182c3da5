"""A chart as MIDI: what it holds, read by another library than the one that wrote it."""

import numpy as np
import pytest

from accompgen.chart import Chart, ChartError
from accompgen.export.grid import grid_of
from accompgen.export.midi import key_signature, midi_bytes, tempo_changes, voicing

symusic = pytest.importorskip("symusic", reason="symusic is not installed (extra `train`)")


def read(data, ttype="second"):
    return symusic.Score.from_midi(data, ttype=ttype)


def track(score, name):
    return next(track for track in score.tracks if track.name == name)


def wandering(seconds=240.0, first=0.37, metre=4, seed=0):
    """Beats of a singer without a click: a tempo that drifts, by a tracker's frames of 20 ms."""
    random = np.random.default_rng(seed)
    steps = (
        0.5
        + 0.06 * np.sin(np.arange(2 * int(seconds)) / 40)
        + random.normal(0, 0.008, 2 * int(seconds))
    )
    times = np.round((first + np.cumsum(steps)) / 0.02) * 0.02
    beats = tuple(
        (float(time), index % metre + 1) for index, time in enumerate(times) if time < seconds
    )
    return Chart(seconds, beats, key="A:min")


@pytest.mark.parametrize("count_in", [0, 2])
def test_beats_lie_within_a_millisecond_over_four_minutes(count_in):
    chart = wandering()
    grid = grid_of(chart, count_in)
    clicks = track(read(midi_bytes(chart, "song", count_in)), "click").notes
    times = np.array([note.start for note in clicks]) - grid.offset
    assert (
        np.abs(times[times > -0.001] - [time for time, _ in chart.continued().beats]).max() < 0.001
    )
    downbeats = times[[note.pitch == 76 for note in clicks]]
    begins = [time for time, place in chart.continued().beats if place == 1]
    assert np.abs(downbeats[downbeats > -0.001] - begins).max() < 0.001


def bar_starts(score):
    """Seconds of the bar lines that a sequencer draws: by signatures and ticks."""
    ticks, quarter = [], score.ticks_per_quarter
    changes = [(sign.time, sign.numerator, sign.denominator) for sign in score.time_signatures]
    for (start, numerator, denominator), (end, _, _) in zip(
        changes, [*changes[1:], (score.end(), 0, 0)]
    ):
        ticks += range(start, end, numerator * 4 * quarter // denominator)
    tempi = [(tempo.time, tempo.mspq) for tempo in score.tempos] + [(score.end() + 1, 0)]
    edges = np.cumsum(
        [0] + [(b[0] - a[0]) * a[1] / quarter / 1e6 for a, b in zip(tempi, tempi[1:])]
    )
    return np.interp(ticks, [time for time, _ in tempi], edges)


@pytest.mark.parametrize(
    "first, place, signature",
    [(0.37, 1, (1, 4)), (0.04, 1, (1, 8)), (0.02, 1, (1, 16)), (0.3, 3, (3, 4))],
)
def test_bars_are_the_songs_though_it_does_not_begin_with_one(first, place, signature):
    """The file begins with the recording; what comes before bar 1 is a short bar of its own."""
    times = first + 0.5 * np.arange(60)
    chart = Chart(
        30.0,
        tuple(
            (float(time), (index + place - 1) % 4 + 1)
            for index, time in enumerate(times)
            if time < 30
        ),
    )
    score = read(midi_bytes(chart), "tick")
    begins = [time for time, place in chart.beats if place == 1]
    assert np.abs(bar_starts(score) - [0.0, *begins]).max() < 0.001
    signs = [(sign.numerator, sign.denominator) for sign in score.time_signatures]
    assert signs == [signature, (4, 4)]


def test_what_is_shorter_than_a_sixteenth_joins_the_first_beat():
    chart = Chart(30.0, tuple((0.01 + 0.5 * index, index % 4 + 1) for index in range(60)))
    starts = bar_starts(read(midi_bytes(chart), "tick"))
    assert (
        starts[0] == 0 and np.abs(starts[1:] - [2.01 + 2 * bar for bar in range(14)]).max() < 0.001
    )


def test_count_in_comes_before_the_bar_of_the_first_beat():
    chart = Chart(
        10.0, tuple((0.3 + 0.5 * index, (index + 2) % 4 + 1) for index in range(20))
    )  # beats 3 and 4, then bar 1
    assert grid_of(chart, 1).offset == pytest.approx(2.0 + 1.0 - 0.3)
    score = read(midi_bytes(chart, count_in=1))
    assert {marker.text: round(marker.time, 3) for marker in score.markers} == {
        "count-in": 0.0, "recording": 2.7, "bar 1": 4.0, "bar 5": 12.0,
    }  # fmt: skip
    assert [note.pitch for note in track(score, "click").notes][:9] == [76, 77, 77, 77] * 2 + [76]
    assert np.allclose(
        bar_starts(read(midi_bytes(chart, count_in=1), "tick")), np.arange(0, 12.7, 2.0), atol=0.001
    )
    with pytest.raises(ChartError, match="count-in of 17 bars; expected 0 to 16"):
        midi_bytes(chart, count_in=17)


def test_a_steady_song_has_one_tempo():
    for bpm in (300, 118, 59.3):
        tempi = read(midi_bytes(Chart.steady(240.0, bpm)), "tick").tempos
        assert len(tempi) == 1 and 60e6 / tempi[0].mspq == pytest.approx(bpm, rel=1e-5)


def test_rounding_of_tempi_does_not_add_up():
    micros = np.cumsum([0.0, *([333_333.4] * 700), *([444_444.4] * 700)])
    changes = tempo_changes(micros, [1] * 1400)
    assert 2 <= len(changes) <= 8
    tempi = np.repeat(
        [tempo for _, tempo in changes], np.diff([*(index for index, _ in changes), 1400])
    )
    assert np.abs(np.cumsum(tempi) - micros[1:]).max() <= 501


def test_metres_and_a_bar_that_is_shorter():
    chart = Chart(
        20.0,
        tuple(
            (0.5 * index, place)
            for index, place in enumerate([1, 2, 3] * 4 + [1, 2] + [1, 2, 3] * 8)
        ),
    )
    score = read(midi_bytes(chart), "tick")
    assert [(sign.time, sign.numerator) for sign in score.time_signatures] == [
        (0, 3),
        (5760, 2),
        (6720, 3),
    ]


@pytest.mark.parametrize(
    "key, shown",
    [("C:maj", (0, 0)), ("A:min", (0, 1)), ("F#:min", (3, 1)), ("Bb:maj", (-2, 0)), ("D:dor", (0, 0)), ("G#:maj", (-4, 0)),
     ("D#:min", (-6, 1)), ("E:phr", (0, 0)), ("B:loc", (0, 0)), ("F:lyd", (0, 0)), ("G:mix", (0, 0))],
)  # fmt: skip
def test_key_signatures(key, shown):
    chart = Chart(4.0, Chart.steady(4.0, 120).beats, key=key)
    (found,) = read(midi_bytes(chart), "tick").key_signatures
    assert (found.key, found.tonality) == shown, key_signature(key)


def test_no_key_no_signature():
    assert not read(midi_bytes(Chart.steady(4.0, 120)), "tick").key_signatures


def test_chords_sound_from_their_starts_to_their_ends_and_have_names():
    chords = ((0.0, 1.0, "A:min/b3"), (1.0, 1.75, "N"), (1.75, 3.0, "G:7"), (3.0, 4.0, "G:7"))
    score = read(midi_bytes(Chart.steady(4.0, 120).with_chords(chords)))
    notes = track(score, "chords").notes
    sounding = {(round(note.start, 3), round(note.end, 3)) for note in notes}
    assert sounding == {(0.0, 1.0), (1.75, 3.0), (3.0, 4.0)}
    assert (
        sorted(note.pitch for note in notes if note.start == 0)
        == voicing("A:min/b3")
        == [36, 57, 60, 64]
    )
    # symusic gives the lyrics of a track one of their own, of the same name
    lyrics = [lyric for track in score.tracks if track.name == "chords" for lyric in track.lyrics]
    assert [(round(lyric.time, 3), lyric.text) for lyric in lyrics] == [
        (0.0, "Am/C"), (1.0, "N.C."), (1.75, "G7"), (3.0, "G7"),
    ]  # fmt: skip


def test_a_name_may_have_any_letters():
    data = midi_bytes(Chart.steady(4.0, 120), "été 夏 \udcff")
    assert "été 夏 ?".encode() in data and read(data).tempos


def test_a_chart_without_beats_is_an_error():
    with pytest.raises(
        ChartError, match="two beats or more, and 0 are known; give --bpm or --beats"
    ):
        midi_bytes(Chart(4.0))
