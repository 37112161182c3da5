"""The sweep of sampling: it finds what helps, leaves what does not, uses validation songs alone, and goes on where it was."""

import json
import shutil
from dataclasses import asdict

import evaluation_songs
import numpy as np
import pytest

from accompgen import audio
from accompgen.generation import sampling as settings
from accompgen.generation.sampling import Sampling

pytest.importorskip("librosa", reason="the evaluation needs librosa: pip install 'accompgen[eval]'")
pytest.importorskip("mir_eval", reason="the evaluation needs mir_eval: pip install 'accompgen[eval]'")
PUBLISHED = {stage: settings.PUBLISHED for stage in ("semantic", "coarse", "fine")}


@pytest.fixture(scope="module")
def tool(load_tools):
    return load_tools("sweep")


class Landscape:
    """A sweep whose scores are a function of the settings, with noise between the songs that all settings share."""

    def __init__(self, function, spread=0.0):
        self.function, self.songs = function, np.linspace(-0.2, 0.2, 6)
        self.rng, self.spread, self.asked = np.random.default_rng(0), spread, []

    def __call__(self, candidates):
        self.asked += candidates
        return [self.scores(sampling) for sampling in candidates]

    def scores(self, sampling):
        return self.function(sampling) + self.songs + self.spread * self.rng.normal(size=6)


def test_search_climbs_stage_by_stage(tool):
    def function(sampling):
        semantic, coarse = sampling["semantic"], sampling["coarse"]
        return (
            -abs(semantic.guidance - 5)
            - abs(semantic.temperature - 0.7)
            - abs(coarse.top_k - 50) / 100
            - sampling["fine"].top_p
        )

    landscape = Landscape(function)
    best, rows = tool.search(landscape, ["semantic", "coarse"], tool.VALUES, PUBLISHED)
    assert best["semantic"] == Sampling(temperature=0.7, guidance=5.0).over(settings.PUBLISHED)
    assert best["coarse"] == Sampling(top_k=50).over(settings.PUBLISHED) and best["fine"] == PUBLISHED["semantic"]
    assert [tool.label(row[0]) for row in rows if row[3]][-1] == tool.label(best)
    assert all(sampling["semantic"] == best["semantic"] for sampling in landscape.asked[-3:])  # coarse begins from it


def test_search_takes_nothing_that_is_within_its_error(tool):
    best, _ = tool.search(Landscape(lambda sampling: 0.0), ["semantic"], tool.VALUES, PUBLISHED)
    assert best["semantic"] == PUBLISHED["semantic"]
    begun = PUBLISHED | {"semantic": Sampling(guidance=4.0).over(settings.PUBLISHED)}  # the checkpoint's own
    assert tool.search(Landscape(lambda sampling: 0.0), ["semantic"], tool.VALUES, begun)[0] == begun
    mean, error = tool.gain(np.array([1.0, 3.0, 2.0, 2.0]), np.ones(4))
    assert mean == 1 and error == pytest.approx(np.sqrt(2 / 3) / 2)


def test_names_and_values(tool):
    plain = dict.fromkeys(tool.STAGES, PUBLISHED["semantic"])
    assert tool.label(plain) == "default"
    assert tool.label(plain | {"coarse": Sampling(top_k=0, guidance=1.5)}) == "coarse.top_k=0+coarse.guidance=1.5"
    assert tool.parse_values("top_k=0,50") == ("top_k", (0, 50)) and tool.parse_values("guidance=1") == ("guidance", (1.0,))
    with pytest.raises(ValueError, match="expected one of guidance"):
        tool.parse_values("heat=1")


@pytest.fixture
def manifest(tmp_path):
    """Two validation songs and a test song of 1 s."""
    evaluation_songs.make_songs(tmp_path / "made", count=3, seconds=1.0)
    lines = []
    for number, split in enumerate(("test", "validation", "validation")):
        song = {"id": f"song{number}", "split": split, "licence": "none", "seconds": 1.0}
        song |= {"vocal": f"made/vocals/song{number}.wav", "accompaniment": f"made/reference/song{number}.wav"}
        lines.append(json.dumps(song | {"meta": f"made/annotations/song{number}.json"}))
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_sweep_on_sound_resumes_and_ends_in_the_checkpoint(tool, manifest, tmp_path, tiny_checkpoint, capsys):
    checkpoint = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    options = [
        "-o",
        str(tmp_path / "out"),
        "--checkpoint",
        str(checkpoint),
        "--seconds",
        "0.8",
        "--stages",
        "semantic",
        "--workers",
        "0",
    ]
    assert tool.main([str(manifest), *options, "--values", "guidance=1,3"]) == 0
    text = capsys.readouterr().out
    assert (
        text == (tmp_path / "out" / "sweep.md").read_text()
        and "| semantic.guidance=1 |" in text
        and "2 validation songs" in text
    )
    assert sorted(path.name for path in (tmp_path / "out" / "default").glob("*.wav")) == [
        f"song{number}.{part}.wav" for number in (1, 2) for part in ("accompaniment", "mix")
    ]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.mix.wav")}
    assert tool.main([str(manifest), *options, "--values", "guidance=1,3", "--into", str(checkpoint)]) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.mix.wav")} == before and len(before) == 4
    found = json.loads((checkpoint / "config.json").read_text())["sampling"]
    assert found == json.loads((tmp_path / "out" / "sampling.json").read_text()) and set(found) == set(tool.STAGES)
    assert found["coarse"] == asdict(PUBLISHED["semantic"])
    assert tool.main([str(manifest), *options, "--values", "guidance=1,3"]) == 0  # only its sampling has changed
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.mix.wav")} == before


def test_what_the_semantic_stage_alone_follows_is_swept_for_it_alone(tool, manifest, tmp_path, capsys):
    assert tool.main([str(manifest), "-o", str(tmp_path / "out"), "--values", "pulse=0,1"]) == 1
    assert "pulse is for the semantic stage; add --stages semantic" in capsys.readouterr().err


def test_too_few_validation_songs(tool, manifest, tmp_path, capsys):
    manifest.write_text("\n".join(manifest.read_text().splitlines()[:2]) + "\n")
    assert tool.main([str(manifest), "-o", str(tmp_path / "out")]) == 1
    assert "has 1 validation songs" in capsys.readouterr().err


def test_songs_are_cut_with_what_is_known_of_them(tool, manifest, tmp_path):
    assert tool.cut_songs(manifest, tmp_path / "songs", 5, 0.5) == ["song1", "song2"]
    known = json.loads((tmp_path / "songs" / "song1.json").read_text())
    assert known["beats"] == [0.1] and known["chords"][0][:2] == [0.0, 0.5]
    assert audio.read(tmp_path / "songs" / "song1.vocal.wav")[0].shape == (1, 12000)
