"""Songs of several corpora: they take turns, and a piece that cannot be used is passed over. Nothing sounds here."""

from dataclasses import replace

import numpy as np
import pytest
from score_files import attributes, harmony, note, write_score

from accompgen.data.synthetic import make
from accompgen.data.synthetic.score import ScoreError

JOB = make.Job(0, 8.0, (), (), False, ())


def write_song(path, melody=True):
    """Eight bars of a lead sheet; without a melody one of rests alone, which is none."""
    bars = [attributes() + harmony("C", "major") + "".join(note(60 + step, 1) for step in (0, 2, 4, 5)) for _ in range(8)]
    silent = [attributes() + '<note><rest/><duration>16</duration></note>' for _ in range(8)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_score(path, {"Voice": bars if melody else silent})


@pytest.fixture
def folders(tmp_path):
    pytest.importorskip("music21", reason="music21 is not installed (extra `train`)")
    for number in range(30):  # pieces go to a split by their names: enough for each
        write_song(tmp_path / "many" / f"song {number}.musicxml")
    for number in range(12):
        write_song(tmp_path / "few" / f"piece {number}.musicxml", melody=number % 2 == 0)
    return tuple(str(tmp_path / name) for name in ("many", "few"))


def test_corpora_take_turns(folders):
    pieces = make._pieces(folders, "train", 0)
    names = [folder for folder, _ in pieces]
    assert names[::2] == [folders[0]] * (len(names) // 2) and names[1::2] == [folders[1]] * (len(names) // 2)
    many = {piece for folder, piece in pieces if folder == folders[0]}
    assert len(many) == len(pieces) // 2 and many.isdisjoint(piece for _, piece in make._pieces(folders, "validation", 0))
    assert make._pieces(folders, "train", 1) != pieces


def test_a_piece_that_cannot_be_used_is_passed_over(folders, tmp_path):
    job, seen, passed = replace(JOB, corpora=folders[1:]), set(), []
    for index in range(4):
        score, origin = make._choose_score(job, "train", index, np.random.default_rng(0), tmp_path / "scores")
        assert score.melody and score.seconds == 8.0
        seen.add(origin["source"])
        passed += origin.get("passed_over", [])
    assert seen and all("piece" in line and ".musicxml" in line for line in passed) and passed
    with pytest.raises(ScoreError, match="no train piece of .* can be used; the last one"):
        bad = tmp_path / "bad"
        for number in range(12):
            write_song(bad / f"piece {number}.musicxml", melody=False)
        make._choose_score(replace(JOB, corpora=(str(bad),)), "train", 0, np.random.default_rng(0), None)
