"""Rhythm measures against beats made by hand."""

import sys
import types

import numpy as np
import pytest

pytest.importorskip("mir_eval", reason="beat scores need mir_eval: pip install 'accompgen[eval]'")
pytest.importorskip("librosa", reason="beat tracking needs librosa: pip install 'accompgen[eval]'")

from accompgen.analysis import beats
from accompgen.evaluation import listen, trackers

GRID = 0.25 + 0.5 * np.arange(20)  # 120 beats a minute, ten seconds


def clicks(times, seconds=10.0):
    wav = np.zeros(round(seconds * listen.RATE), np.float32)
    burst = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(480) / listen.RATE) * np.hanning(480)
    for time in times:
        start = round(time * listen.RATE)
        wav[start : start + 480] += burst[: len(wav) - start]
    return wav


@pytest.mark.parametrize(
    "estimated, expected",
    [
        (GRID, 1.0),
        (GRID + 0.06, 1.0),  # inside the window of 70 ms
        (GRID + 0.08, 0.0),  # outside
        (GRID[::2], 2 * 1 * 0.5 / 1.5),  # half of them: precision 1, recall 1/2
        (np.sort(np.concatenate([GRID, GRID + 0.25])), 2 * 0.5 * 1 / 1.5),  # twice as many
        (GRID[:5], 2 * 1 * 0.25 / 1.25),  # the first seconds count as all others do
        (np.zeros(0), 0.0),
    ],
)
def test_beat_f1_of_hand_made_beats(estimated, expected):
    assert beats.beat_f1(estimated, GRID) == pytest.approx(expected)


def test_beat_f1_has_no_value_without_reference_beats():
    assert beats.beat_f1(GRID, [1.0]) is None


def test_onset_f1_matches_each_onset_once():
    assert beats.onset_f1([1.0, 1.01, 2.0], [1.0, 2.0]) == pytest.approx(2 * (2 / 3) / (5 / 3))
    assert beats.onset_f1([1.06], [1.0]) == 0.0
    assert beats.onset_f1([], [1.0]) == 0.0 and beats.onset_f1([1.0], []) is None


@pytest.mark.parametrize(
    "estimated, error, octave",
    [(120, 0, 0), (126, 5, 0), (60, 0, 1), (240, 0, 1), (63, 5, 1), (360, 0, 1), (40, 0, 1), (30, 0, 1)],
)
def test_tempo_error_counts_octaves_apart(estimated, error, octave):
    assert beats.tempo_error(estimated, 120) == (pytest.approx(error), octave)


def test_tempo_is_the_median_distance():
    assert beats.tempo([0, 0.5, 1.0, 1.5, 3.5]) == 120
    assert beats.tempo([0, 0.5]) is None and beats.tempo_error(None, 120) == (None, None)


def test_a_click_track_is_found_beat_by_beat_and_scores_one():
    heard = listen.beats(clicks(GRID))
    assert beats.beat_f1(heard, GRID) == 1.0
    assert beats.beat_f1(heard, GRID + 0.25) == 0.0  # half a beat late
    assert beats.onset_f1(listen.onsets(clicks(GRID)), GRID) == 1.0
    assert beats.tempo(heard) == pytest.approx(120, rel=0.02)


def test_silence_has_no_beats():
    assert len(listen.beats(np.zeros(24000, np.float32))) == len(listen.onsets(np.zeros(100, np.float32))) == 0


def test_trackers_are_named_and_missing_ones_say_what_to_do(monkeypatch):
    with pytest.raises(ValueError, match="'madmom' is none of librosa, beat-this"):
        trackers.find_tracker("madmom")
    with pytest.raises(ValueError, match="needs its weight file"):
        trackers.find_tracker("beat-this")
    monkeypatch.setitem(sys.modules, "beat_this", None)
    monkeypatch.setitem(sys.modules, "beat_this.inference", None)
    with pytest.raises(ImportError, match="wants torchaudio"):
        trackers.find_tracker("beat-this", "final0.ckpt")


def test_beat_this_gets_the_sound_its_rate_and_its_weights(monkeypatch):
    class Audio2Beats:
        def __init__(self, checkpoint, device):
            assert (checkpoint, device) == ("final0.ckpt", "cpu")

        def __call__(self, signal, rate):
            assert signal.shape == (48000,) and rate == 24000
            return np.array([0.5, 1.0]), np.array([0.5])

    package = types.ModuleType("beat_this.inference")
    package.Audio2Beats = Audio2Beats
    monkeypatch.setitem(sys.modules, "beat_this", types.ModuleType("beat_this"))
    monkeypatch.setitem(sys.modules, "beat_this.inference", package)
    assert list(trackers.find_tracker("beat-this", "final0.ckpt")(np.zeros(48000, np.float32))) == [0.5, 1.0]
