"""The recipe of stems: clips of folders shaped like MoisesDB and MUSDB18-HQ, and the table of
results.
"""

import json
import os
import subprocess
import sys

import musdb18_like
import numpy as np
import pytest
from evaluation_songs import ROOTS, band, voice
from musdb18_like import RATE

from accompgen import audio


@pytest.fixture(scope="module")
def local(root):
    """The recipe's scripts as modules."""
    for folder in ("stems", "musdb18"):
        sys.path.append(str(root / "recipes" / folder / "local"))
    import stem_clips
    import table

    return stem_clips, table


@pytest.fixture(scope="module")
def moises(tmp_path_factory):
    """Two songs of 3 s; a song's drums are two files, one of them mono, and the second song has no
    bass.
    """
    data = tmp_path_factory.mktemp("moises")
    for number, song in enumerate(("014f", "1c3d")):
        played = 0.3 * band(ROOTS[number], 3.0, 0.5, RATE)
        stems = {
            "drums/a": [played, played],
            "drums/b": [0.5 * played],
            "guitar/a": [0.2 * played] * 2,
        }
        stems |= {"vocals/a": [voice(ROOTS[number], 3.0, RATE)]}
        stems |= {} if number else {"bass/a": [0.7 * played] * 2}
        for name, channels in stems.items():
            path = data / song / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            audio.write(path, np.stack(channels), RATE, "PCM_16")
    return data


def read(folder, name):
    return audio.read(folder / f"{name}.wav")[0]


def test_clips_of_moisesdb(local, moises, tmp_path, capsys):
    stem_clips, _ = local
    stem_clips.main([str(moises), "-o", str(tmp_path), "--seconds", "1", "--hop", "1"])
    names = json.loads((tmp_path / "clips.json").read_text())["names"]
    assert set(names["drums"]) == {
        f"{song}@00{second}.0" for song in ("014f", "1c3d") for second in range(3)
    }
    assert {name.split("@")[0] for name in names["bass"]} == {"014f"}
    assert "6 clips for drums, 3 clips for bass" in capsys.readouterr().out
    played = 0.3 * band(ROOTS[0], 3.0, 0.5, RATE)[RATE : 2 * RATE]
    reference, context = (
        read(tmp_path / "drums" / part, "014f@001.0") for part in ("reference", "context")
    )
    gain = float(np.vdot(reference[0], played) / np.vdot(played, played)) / 1.5
    assert reference.shape == (2, RATE) and 0 < gain <= 1.001
    np.testing.assert_allclose(
        reference, gain * 1.5 * np.stack([played] * 2), atol=1e-3
    )  # both files of the stem
    np.testing.assert_allclose(
        context, gain * 0.9 * np.stack([played] * 2), atol=1e-3
    )  # bass and guitar, no voice
    stem_clips.main(
        [
            str(moises),
            "-o",
            str(tmp_path / "sung"),
            "--seconds",
            "1",
            "--stems",
            "drums",
            "--with-vocals",
        ]
    )
    assert not np.allclose(
        read(tmp_path / "sung" / "drums" / "context", "014f@000.0"), context, atol=0.05
    )


def test_clips_of_musdb18(local, tmp_path):
    stem_clips, _ = local
    musdb18_like.write_tracks(tmp_path / "data" / "test", musdb18_like.TEST, 3.0)
    ask = [
        str(tmp_path / "data"),
        "-o",
        str(tmp_path / "out"),
        "--seconds",
        "1",
        "--hop",
        "1",
        "--stems",
        "bass",
    ]
    stem_clips.main([*ask, "--clips", "2"])
    names = json.loads((tmp_path / "out" / "clips.json").read_text())["names"]["bass"]
    assert len(names) == 2 and all(
        (tmp_path / "out" / "bass" / "context" / f"{name}.wav").is_file() for name in names
    )
    with pytest.raises(SystemExit, match="has no test/.*nor is it MoisesDB"):
        stem_clips.main([str(tmp_path / "out"), "-o", str(tmp_path / "no")])
    with pytest.raises(SystemExit, match="no clip of 1 s has harp and the others sounding"):
        stem_clips.main([*ask[:-1], "harp"])


def test_one_make_does_it_all(root):
    """What `make` would run, and its list of dials where no data is given."""

    def make(*words):
        ask = ["make", "-C", str(root / "recipes" / "stems"), f"PYTHON={sys.executable}", *words]
        return subprocess.run(ask, capture_output=True, text=True, check=True).stdout

    run = make(
        "-n",
        "DATA=/data",
        "SCORED=/weights/stage",
        "STEMS=drums bass",
        "WORK=/nowhere",
        "COCOLA=/cocola.ckpt",
    )
    for stem in ("drums", "bass"):
        assert (
            f"generate /nowhere/clips/{stem}/context/*.wav --stems {stem} -o /nowhere/made/{stem}"
            in run
        )
        assert f"--system scored=/nowhere/made/{stem}" in run
    assert (
        run.index("stem_clips.py '/data'")
        < run.index("accompgen generate")
        < run.index("accompgen evaluate")
    )
    assert (
        run.count("--cocola '/cocola.ckpt'") == 2
        and "local/table.py drums=/nowhere/scores/drums/results.json bass=" in run
    )
    assert "make DATA=path/to/moisesdb" in make() and "WITH_VOCALS" in make("help")


def test_another_dial_is_refused_or_scored_anew(root, tmp_path):
    """A table of other clips or another seed than those asked for is not printed as if it were theirs."""
    verb, work = tmp_path / "verb", tmp_path / "work"
    # PYTHON is called as `sh verb -m accompgen ...` or as `sh verb local/SCRIPT ...`
    verb.write_text(
        'echo "$@" >> "$LOG"; case "$*" in *-o*) ;; *) exit 0;; esac\n'
        'case "$*" in local/stem_clips*) file=clips.json;; local/table*) file=;; *) file=results.json;; esac\n'
        "while [ \"$1\" != -o ]; do shift; done\n"
        '[ -z "$file" ] && { touch "$2"; exit 0; }; mkdir -p "$2"; touch "$2/$file"\n'
    )

    def make(*words):
        log = tmp_path / "log"
        log.write_text("")
        ask = ["make", "-C", str(root / "recipes" / "stems"), f"PYTHON=sh {verb}", f"WORK={work}", "DATA=/data", *words]
        done = subprocess.run(ask, capture_output=True, text=True, env=os.environ | {"LOG": str(log)})
        return done, [line.split()[2 if line.startswith("-m") else 0] for line in log.read_text().splitlines()]

    done, steps = make("STEMS=drums", "SEED=1")
    assert done.returncode == 0, done.stderr
    assert sorted(steps) == sorted(["local/stem_clips.py", "generate", "baselines", "evaluate", "local/table.py"])
    assert make("STEMS=drums", "SEED=1")[1] == []
    done, steps = make("STEMS=drums", "SEED=2")
    assert done.returncode == 2 and steps == [] and "SEED=1, this call says" in done.stderr and "another WORK" in done.stderr
    done, steps = make("STEMS=drums", "SEED=1", "EMBEDDING=vggish")
    assert done.returncode == 0 and steps == ["baselines", "evaluate", "local/table.py"]


def test_the_table_has_all_stems_and_the_published_figures(local, root, tmp_path):
    _, table = local

    def results(fad, beats):
        rows = {
            "scored": {
                "fad": {"value": fad, "low": None, "high": None},
                "beat_f1": {"value": beats, "low": 0.4, "high": 0.6},
            },
            "truth": {"fad": {"value": -0.001, "low": 0.0, "high": 0.1}, "beat_f1": {"value": None}},
        }
        return {
            "settings": {"window_seconds": 10.0}, "embedding": {"name": "vggish"}, "tracker": {"name": "beat-this"},
            "rows": rows,
            "songs": {row: {"a@0": {}, "b@0": {}} for row in rows}, "problems": ["b@0: too short"], "notes": [],
        }  # fmt: skip

    for stem, values in {"drums": (1.234, 0.5), "bass": (2.0, 0.25)}.items():
        (tmp_path / f"{stem}.json").write_text(json.dumps(results(*values)))
    published = root / "recipes" / "stems" / "published.md"
    files = [f"{stem}={tmp_path / stem}.json" for stem in ("drums", "bass")]
    table.main(
        [*files, "--name", "mine", "--published", str(published), "-o", str(tmp_path / "table.md")]
    )
    text = (tmp_path / "table.md").read_text()
    assert "| drums | mine |  | 1.23 |  | 50.0 % (40.0 to 60.0) | 2 |" in text
    assert (
        "| bass | mine |  | 2.00 |" in text
        and "| bass | truth |  | 0.00 (0.00 to 0.10) |  |  | 2 |" in text
    )
    assert (
        "drums: b@0: too short" in text
        and "Embedding of FAD and KAD: vggish; beats: beat-this" in text
    )
    assert (
        text.endswith(published.read_text())
        and "none of them measured here" in text
        and "What cannot be compared" in text
    )
