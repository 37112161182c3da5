"""Beats and bars from what a network hears: those that are sung, and those that nobody sings."""

import itertools

import numpy as np
import pytest

from accompgen.config import ConfigError
from accompgen.model import bar_pointer
from accompgen.model.bar_pointer import NEAR, BarPointer, find_beats, smooth

# logits where the network hears nothing: a frame in ten is near a beat, a beat in four a downbeat
NOTHING = (-2.2, -1.1)


def hear(beats, places, seconds, sure=0.8, bars=2.0):
    """Logits [S, 2] of a network that hears beats at these times, as sure as it was taught to be."""
    logits = np.tile(NOTHING, (round(seconds * 50), 1))
    for time, place in zip(beats, places):
        for near, n in zip(NEAR, range(int(time * 50) - 2, int(time * 50) + 3)):
            if 0 <= n < len(logits):
                logits[n] = np.log(sure * near / (1 - sure * near)), bars if place == 1 else -bars
    return logits


def song(bpm, metre, seconds, first=0.31, place=3):
    beats = np.arange(first, seconds, 60 / bpm)
    return beats, (np.arange(len(beats)) + place - 1) % metre + 1


def check(found, beats, places, within=0.02):
    times = np.array([time for time, _ in found])
    assert len(times) == len(beats) and np.abs(times - beats).max() < within
    assert [place for _, place in found] == list(places)


@pytest.mark.parametrize(("bpm", "metre"), [(44, 4), (63, 4), (94, 3), (127.7, 4), (180, 3)])
def test_beats_and_bars_are_found(bpm, metre):
    beats, places = song(bpm, metre, 20.0)
    found = find_beats(hear(beats, places, 20.0))
    check(found, beats, places)
    assert 60 / np.diff([time for time, _ in found]).mean() == pytest.approx(bpm, rel=0.004)


def test_pauses_are_bridged_and_the_ends_are_reached():
    beats, places = song(100, 4, 30.0)
    logits = hear(beats, places, 30.0)
    logits[:300] = logits[700:1100] = logits[1300:] = NOTHING
    check(find_beats(logits), beats, places, within=0.07)


def test_single_beats_may_be_late_and_the_tempo_may_fall():
    steps = 0.6 * np.concatenate([np.ones(16), 1.01 ** np.arange(20)])  # from 100 a minute to 83
    beats = 0.31 + np.concatenate([[0], steps.cumsum()])
    places = np.arange(len(beats)) % 4 + 1
    heard = beats + np.where(np.arange(len(beats)) % 5 == 2, 0.03, 0.0)
    check(find_beats(hear(heard, places, beats[-1] + 0.4)), beats, places, within=0.07)


def test_nothing_heard_is_a_steady_beat_of_a_usual_tempo_and_nothing_is_nothing():
    found = find_beats(np.tile(NOTHING, (500, 1)))
    steps = np.diff([time for time, _ in found])
    assert 50 < 60 / steps.mean() < 100 and steps.max() - steps.min() < 0.05
    assert found[0][0] < steps.mean() and 10 - found[-1][0] < steps.mean() + 0.02
    assert find_beats(np.zeros((0, 2))) == []


def test_a_known_tempo_decides_between_levels():
    beats, places = song(120, 4, 20.0)
    logits = hear(beats, places, 20.0)
    half = [time for time, _ in find_beats(logits, bpm=60)]
    assert 60 / np.diff(half).mean() == pytest.approx(60, rel=0.005)
    assert all(np.abs(beats - time).min() < 0.03 for time in half)
    for bpm in (90, 250):  # nothing that is sung; a person may want it all the same
        other = np.diff([time for time, _ in find_beats(logits, bpm=bpm)])
        assert 60 / other.mean() == pytest.approx(bpm, rel=0.02)


@pytest.mark.parametrize("bpm", [29.9, 301, float("nan")])
def test_a_tempo_that_nobody_plays_is_refused(bpm):
    with pytest.raises(ConfigError, match="expected 30 to 300"):
        find_beats(np.tile(NOTHING, (100, 1)), bpm=bpm)


def test_settled_beats_stay_and_the_others_follow():
    beats, places = song(100, 3, 30.0)
    logits = hear(beats, places, 30.0)
    settled = find_beats(logits[:700])[:15]
    check(find_beats(logits, settled=settled), beats, places)
    assert find_beats(logits, settled=settled)[:15] == settled
    # of a stream that forgot the first seconds, and of one that heard nothing between
    check(find_beats(logits[300:], settled=settled, start=6.0), beats, places)
    check(find_beats(logits[600:], settled=settled, start=12.0), beats, places)
    # even where what was settled is no longer believed
    late = [(time + 0.1, place) for time, place in settled]
    again = find_beats(logits, settled=late)
    ends = np.array([time for time, _ in again[-5:]])
    assert again[:15] == late and np.abs(ends - beats[-5:]).max() < 0.03
    assert find_beats(logits[:100], settled=settled) == settled


def test_a_song_heard_in_pieces_has_the_beats_of_the_whole():
    beats, places = song(87, 4, 40.0)
    logits = hear(beats, places, 40.0)
    found = []
    for seconds in (10, 20, 30, 40):  # the last two beats of each call may still move
        found = find_beats(logits[: seconds * 50], settled=found[:-2])
    check(found, beats, places)


def test_the_path_is_the_best_of_all(monkeypatch):
    """Against every sequence of beats in a few frames, each scored by the definition."""
    monkeypatch.setattr(bar_pointer, "SLOWEST_BPM", 590.0)
    monkeypatch.setattr(bar_pointer, "FASTEST_BPM", 1010.0)
    monkeypatch.setattr(bar_pointer, "TEMPO_STEP", 0.3)
    monkeypatch.setattr(bar_pointer, "EARLY_OR_LATE", np.arange(0, 2))
    monkeypatch.setattr(bar_pointer, "METRES", {3: 1.0})
    pointer = BarPointer(50)  # periods of about 5, 4 and 3 frames
    assert len(pointer.periods) == 3
    rng = np.random.default_rng(3)
    for _ in range(5):
        logits = rng.normal(-1, 3, (13, 2))
        scores = pointer._scores(logits)
        best, path = -np.inf, None
        for first, row, tempo in itertools.product(range(13), range(3), range(3)):
            if first < pointer.periods[tempo]:
                start = pointer.tempo_prior[tempo] - np.log(pointer.periods[tempo])
                start += pointer.row_prior[row] + scores[first, row]
                score, beats = continue_path(pointer, scores, first, row, tempo, start)
                if score > best:
                    best, path = score, beats
        frames, places = pointer.decode(logits)
        assert list(zip(frames, places)) == path


def continue_path(pointer, scores, n, row, tempo, score):
    """The best score and path of all that go on from a beat."""
    best, path = -np.inf, None
    if len(scores) - n <= pointer.periods[tempo]:
        best, path = score, [(n, pointer.place[row])]
    largest = bar_pointer.LARGEST_CHANGE
    changes = range(-largest, largest + 1)
    for shift, change in itertools.product(range(len(pointer.intervals)), changes):
        after, following = tempo + change, (row + 1) % 3
        arrived = n + pointer.intervals[shift, tempo]
        if 0 <= after < len(pointer.periods) and arrived < len(scores):
            moved = pointer.interval_scores[shift, tempo] + pointer.change_scores[change + largest]
            more = moved + scores[arrived, following]
            found, beats = continue_path(pointer, scores, arrived, following, after, score + more)
            if found > best:
                best, path = found, [(n, pointer.place[row]), *beats]
    return best, path


def test_smoothing_takes_the_frames_out_of_a_steady_beat():
    times = np.arange(30) * 23.4 + 5
    rounded = np.floor(times)
    assert np.abs(smooth(rounded) - (times - 0.5))[2:-2].max() < 0.35
    assert (smooth(rounded, fixed=10)[:10] == rounded[:10]).all()
    assert list(smooth(np.array([3.0]))) == [3.0] and list(smooth(np.zeros(0))) == []
