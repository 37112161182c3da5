"""The damage table on a few short songs: each damage is noticed by the metric that should, and not by all of them."""


import evaluation_songs
import numpy as np
import pytest
import tiny

pytest.importorskip("librosa", reason="the evaluation needs librosa: pip install 'accompgen[eval]'")
pytest.importorskip("mir_eval", reason="the evaluation needs mir_eval: pip install 'accompgen[eval]'")


@pytest.fixture(scope="module")
def tool(load_tools):
    return load_tools("damage_table")


def test_damages_are_noticed_by_the_metrics_that_should(tool, tmp_path, capsys):
    made = evaluation_songs.make_songs(tmp_path / "made", count=6, seconds=4.0)
    songs = tmp_path / "songs"
    songs.mkdir()
    for part, ending in (("vocals", ".vocal.wav"), ("reference", ".accompaniment.wav"), ("annotations", ".json")):
        for path in (made / part).iterdir():
            path.rename(songs / f"{path.stem}{ending}")
    checkpoint = tiny.make_checkpoint(tmp_path / "checkpoint")
    damages = ["out of tune by 50 cents", "half a beat late", "another song's", "hiss at -10 dB", "silence"]
    tool.main(
        [
            str(songs),
            "-o",
            str(tmp_path / "out"),
            "--embedding",
            str(checkpoint),
            "--window",
            "4",
            "--quiet",
            "--damages",
            *damages,
        ]
        + ["--cache", str(tmp_path / "cache")]
    )
    text = capsys.readouterr().out
    assert text == (tmp_path / "out" / "damage.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    headings = [heading.split(" (")[0] for heading in rows[0]]
    noticed = {row[0]: {heading for heading, cell in zip(headings, row) if cell.startswith("**")} for row in rows[2:]}
    assert noticed["untouched"] == set()
    assert {"chord tones", "chroma to reference"} <= noticed["out of tune by 50 cents"] and "beat F1" not in noticed[
        "out of tune by 50 cents"
    ]
    assert {"beat F1", "onset F1"} <= noticed["half a beat late"]
    assert {"chord tones", "chroma to reference", "key"} <= noticed["another song's"]
    assert {"beat F1", "chord tones", "chroma to vocal", "flagged"} <= noticed["silence"]


def test_damages_do_what_they_say(tool):
    rate, rng = 24000, np.random.default_rng(0)
    wav = evaluation_songs.band(60, 4.0, 0.5)
    known = {"bpm": 120}
    spoilt = {name: damage(wav, rate, rng, known) for name, damage in tool.DAMAGES.items()}
    assert all(len(sound) == len(wav) and np.isfinite(sound).all() for sound in spoilt.values())
    np.testing.assert_array_equal(spoilt["half a beat late"][6000:], wav[:-6000])
    np.testing.assert_array_equal(spoilt["two seconds looped"][48000:], wav[:48000])
    high = np.abs(np.fft.rfft(spoilt["dull above 2 kHz"]))[4 * 2500 :].sum() / np.abs(np.fft.rfft(wav))[4 * 2500 :].sum()
    assert high < 0.1
    assert np.std(spoilt["20 dB softer"]) == pytest.approx(0.1 * np.std(wav))
    assert np.std(spoilt["hiss at -10 dB"] - wav) == pytest.approx(0.316 * np.sqrt(np.mean(wav**2)), rel=0.02)


def test_noticed_needs_the_whole_interval_on_the_bad_side(tool):
    worse, unsure = {"value": -1.0, "low": -2.0, "high": -0.5}, {"value": -1.0, "low": -2.0, "high": 0.5}
    assert tool.noticed(worse, 1) and not tool.noticed(worse, -1) and not tool.noticed(unsure, 1)
    assert not tool.noticed(None, 1) and not tool.noticed({"value": 1.0, "low": None, "high": None}, -1)
