"""Baseline folders: what is in each row, and that none of them is the song's own accompaniment."""

import json

import evaluation_songs
import numpy as np
import pytest
import tiny

from accompgen import audio
from accompgen.evaluation import baselines, harmony
from accompgen.evaluation.folders import EvaluationError

ROWS = tuple(row for row in baselines.ROWS if row != "codec")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return evaluation_songs.make_songs(tmp_path_factory.mktemp("baselines"), count=3, seconds=1.5)


def write(place, out, **settings):
    given = {"annotations": place / "annotations", "progress": False}
    return baselines.write_baselines(place / "vocals", place / "reference", out, **(given | settings))


def test_every_row_has_a_file_of_the_right_length_for_every_song(place, tmp_path):
    found, problems = write(place, tmp_path, rows=ROWS)
    assert problems == [] and set(found) == set(ROWS)
    for row, folder in found.items():
        assert sorted(path.name for path in folder.iterdir()) == ["song0.wav", "song1.wav", "song2.wav"]
        for path in folder.iterdir():
            assert audio.read(path)[0].shape == (1, 36000), row

    def sound(row, name):
        return audio.read(tmp_path / row / f"{name}.wav")[0][0]

    for name in ("song0", "song1", "song2"):
        own = (place / "reference" / f"{name}.wav").read_bytes()
        assert (tmp_path / "truth" / f"{name}.wav").read_bytes() == own
        assert not sound("silence", name).any()
        truth, noise = sound("truth", name), sound("noise", name)
        assert np.std(noise) == pytest.approx(np.sqrt(np.mean(truth**2)), rel=0.1)
        beats = [beat[0] for beat in json.loads((place / "annotations" / f"{name}.json").read_text())["beats"]]
        loud = np.abs(sound("click", name)) > 0.05
        assert loud.any() and all(loud[round(t * 24000) :][:480].any() for t in beats if t < 1.45)
        assert loud.sum() <= len(beats) * 480
        for row in ("shuffled", "retrieval", "random"):
            assert np.abs(sound(row, name) - truth).max() > 0.05
    sources = json.loads((tmp_path / "baselines.json").read_text())["sources"]
    assert set(sources) == {"shuffled", "retrieval", "random"}
    assert all(f"{name}.wav" not in source for row in sources.values() for name, source in row.items())


def test_codec_row_is_the_round_trip(place, tmp_path):
    from accompgen.tokens.load import load_codec

    checkpoint = tiny.make_checkpoint(tmp_path / "checkpoint")
    found, _ = write(place, tmp_path / "out", rows=("codec",), checkpoint=str(checkpoint))
    wav, rate = audio.read(found["codec"] / "song1.wav")
    expected, _ = baselines._round_trip(*audio.read(place / "reference" / "song1.wav"), load_codec(checkpoint))
    expected = expected / max(1.0, audio.peak(expected) / audio.PEAK_LIMIT)
    assert rate == 48000 and wav == pytest.approx(expected, abs=1e-4)


def test_retrieval_takes_the_nearest_key_and_tempo(place, tmp_path):
    keys = {"song0": ("C:maj", 100), "song1": ("A:min", 104), "song2": ("Gb:maj", 100), "song3": ("C:maj", 150)}
    for name, (key, bpm) in keys.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"key": key, "bpm": bpm}))
    songs = evaluation_songs.make_songs(tmp_path / "songs", count=4, seconds=1.0)
    write(songs, tmp_path / "out", rows=("retrieval",), annotations=tmp_path)
    sources = json.loads((tmp_path / "out" / "baselines.json").read_text())["sources"]["retrieval"]
    assert sources["song0"].endswith("song1.wav") and sources["song1"].endswith("song0.wav")


def test_distance_of_key_and_tempo():
    assert baselines.distance(("C:maj", 100), ("A:min", 200)) == 0
    assert baselines.distance(("C:maj", 100), ("G:maj", 100)) == pytest.approx(1 / 6)
    assert baselines.distance(("C:maj", 100), ("F#:maj", 100)) == pytest.approx(1)
    assert baselines.distance(("C:maj", 100), ("C:maj", 100 * 2**0.5)) == pytest.approx(1)
    assert baselines.distance((None, None), ("C:maj", 100)) == 2
    assert [harmony.fifths(key) for key in ("C:maj", "G:maj", "E:min", "F:maj", "D:min")] == [0, 1, 1, 11, 11]


def test_files_that_are_there_are_kept_unless_forced(place, tmp_path):
    write(place, tmp_path, rows=("noise",))
    path = tmp_path / "noise" / "song0.wav"
    first = path.read_bytes()
    path.write_bytes(b"mine")
    write(place, tmp_path, rows=("noise",))
    assert path.read_bytes() == b"mine"
    write(place, tmp_path, rows=("noise",), force=True)
    assert path.read_bytes() == first


def test_rows_of_another_seed_checkpoint_or_other_songs_are_not_passed_off_as_these(place, tmp_path):
    write(place, tmp_path, rows=("shuffled", "noise"))
    write(place, tmp_path, rows=("truth",), seed=1)  # which no seed decides
    about = json.loads((tmp_path / "baselines.json").read_text())
    assert about["settings"] == {"shuffled": {"seed": 0}, "noise": {"seed": 0}} and set(about["sources"]) == {"shuffled"}
    with pytest.raises(EvaluationError, match="noise was made with seed 0, not 1; use --force"):
        write(place, tmp_path, rows=("noise",), seed=1)
    more = evaluation_songs.make_songs(tmp_path / "more", count=5, seconds=1.5)
    with pytest.raises(EvaluationError, match="shuffled was made of other songs"):
        write(more, tmp_path, rows=("shuffled",))
    write(place, tmp_path, rows=("noise",), seed=1, force=True)
    assert json.loads((tmp_path / "baselines.json").read_text())["settings"]["noise"] == {"seed": 1}
    checkpoint = tiny.make_checkpoint(tmp_path / "checkpoint")
    write(place, tmp_path, rows=("codec",), checkpoint=str(checkpoint))
    with pytest.raises(EvaluationError, match="codec was made with checkpoint .*checkpoint, not pocket"):
        write(place, tmp_path, rows=("codec",), checkpoint="pocket")


def test_what_cannot_be_done_is_said(place, tmp_path):
    with pytest.raises(EvaluationError, match="no baseline 'applause'"):
        write(place, tmp_path, rows=("applause",))
    one = evaluation_songs.make_songs(tmp_path / "one", count=1, seconds=1.0)
    with pytest.raises(EvaluationError, match="at least two"):
        write(one, tmp_path / "out", rows=("shuffled",))
    with pytest.raises(EvaluationError, match="larger pool"):
        write(one, tmp_path / "out", rows=("random",))
    (place / "vocals" / "song9.wav").write_bytes(b"RIFF nothing")
    (place / "reference" / "song9.wav").write_bytes(b"RIFF nothing")
    try:
        _, problems = write(place, tmp_path / "out", rows=("silence",))
    finally:
        for part in ("vocals", "reference"):
            (place / part / "song9.wav").unlink()
    assert any("song9.wav: not sound" in problem for problem in problems)
    assert len(list((tmp_path / "out" / "silence").iterdir())) == 3
