"""The whole evaluation on small folders: what it finds, what it says of bad input, that it resumes, whatever the order."""

import json
import shutil
import unicodedata

import evaluation_songs
import numpy as np
import pytest
import tiny

pytest.importorskip("librosa", reason="the evaluation needs librosa: pip install 'accompgen[eval]'")
pytest.importorskip("mir_eval", reason="the evaluation needs mir_eval: pip install 'accompgen[eval]'")

from accompgen import audio
from accompgen.evaluation import runner, tracks
from accompgen.evaluation.folders import (
    EvaluationError,
    Report,
    find_songs,
    find_stems,
    match,
    plan_windows,
    read_annotation,
)
from accompgen.evaluation.report import table, write_results

QUICK = ("fad", "kad", "apa", "sanity")  # without the beat tracker


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Four songs, a tiny checkpoint whose semantic tokenizer embeds, and one cache for all tests."""
    folder = tmp_path_factory.mktemp("evaluation")
    evaluation_songs.make_songs(folder)
    tiny.make_checkpoint(folder / "checkpoint")
    return folder


def run(place, systems=None, songs=None, **settings):
    songs = songs or place
    systems = systems or {"truth": songs / "reference"}
    given = {"embedding": str(place / "checkpoint"), "window_seconds": 2.0, "cache": place / "cache", "progress": False}
    return runner.evaluate(systems, songs / "vocals", songs / "reference", **(given | settings))


@pytest.fixture
def copy(place, tmp_path):
    """The songs again, to be spoilt."""
    for part in ("vocals", "reference", "annotations"):
        shutil.copytree(place / part, tmp_path / part)
    shutil.copytree(place / "reference", tmp_path / "system")
    return tmp_path


def test_truth_scores_as_truth_and_damage_is_noticed(place, tmp_path):
    names = [f"song{i}" for i in range(4)]
    swapped, silent, noise = tmp_path / "swapped", tmp_path / "silent", tmp_path / "noise"
    for folder in (swapped, silent, noise):
        folder.mkdir()
    for i, name in enumerate(names):
        shutil.copy(place / "reference" / f"{names[i - 1]}.wav", swapped / f"{name}.wav")
        audio.write(silent / f"{name}.wav", np.zeros((1, 96000), np.float32), 24000)
        audio.write(noise / f"{name}.wav", 0.1 * np.random.default_rng(i).normal(size=96000).clip(-5, 5), 24000)
    systems = {"truth": place / "reference", "swapped": swapped, "silent": silent, "noise": noise}
    results = run(place, systems, annotations=place / "annotations", delta=("truth", "noise"))
    assert results["problems"] == [] and any("silent: every file" in note for note in results["notes"])
    value = {row: {m: r["value"] for m, r in measured.items()} for row, measured in results["rows"].items()}
    truth = value["truth"]
    assert truth["fad"] == pytest.approx(0, abs=1e-6) and truth["apa"] == pytest.approx(1, abs=1e-6)
    assert truth["chroma_reference"] == pytest.approx(1, abs=1e-5) and truth["onset_f1"] == 1 and truth["flagged"] < 0.5
    assert truth["beat_f1"] > 0.8 and truth["chord_tone_share"] > 0.7 and truth["key_agreement"] > 0.8
    assert value["swapped"]["chord_tone_share"] < truth["chord_tone_share"] - 0.2
    assert value["swapped"]["chroma_reference"] < 0.6 and value["swapped"]["apa"] < 0.5
    assert value["noise"]["fad"] > 0.1 and value["noise"]["flagged"] == 1
    assert value["silent"]["beat_f1"] == value["silent"]["chord_tone_share"] == value["silent"]["chroma_vocal"] == 0
    assert value["silent"]["silence_share"] == 1
    delta = results["rows"]["Delta (noise - truth)"]
    assert delta["fad"]["value"] == pytest.approx(value["noise"]["fad"] - truth["fad"])
    assert delta["chroma_reference"]["high"] < 0

    write_results(results, tmp_path / "out")
    again = json.loads((tmp_path / "out" / "results.json").read_text())
    assert again["rows"]["noise"]["fad"]["embedding"].startswith("semantic tokenizer") and again["embedding"]["sha256"]
    assert (
        again["rows"]["noise"]["fad"] | {"n": 16, "window_seconds": 2.0, "sample_rate": 16000, "seed": 0}
        == again["rows"]["noise"]["fad"]
    )
    text = (tmp_path / "out" / "table.md").read_text()
    assert (
        text.count("\n| ") == 3 * 6 - 1
        and "never with published values" in text
        and "fewer than twice the 16 dimensions" in text
    )


def test_order_and_batch_do_not_matter_and_the_cache_is_used(place, tmp_path, monkeypatch):
    first = run(place, metrics=QUICK)
    monkeypatch.setattr(tracks, "np", None)  # any embedding worked out again would fail
    assert run(place, metrics=QUICK) == first
    monkeypatch.undo()
    elsewhere = tmp_path / "elsewhere"
    for part in ("vocals", "reference"):  # the same files written in another order, another cache
        (elsewhere / part).mkdir(parents=True)
        for path in sorted((place / part).iterdir(), reverse=True):
            shutil.copy(path, elsewhere / part)
    fresh = run(place, songs=elsewhere, metrics=QUICK, cache=tmp_path / "cache")
    assert fresh["rows"] == first["rows"] and fresh["songs"] == first["songs"]


def test_a_killed_evaluation_goes_on(place, tmp_path, monkeypatch):
    whole = run(place, metrics=QUICK)
    embedded, calls = tracks.embedded, []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return embedded(*arguments)

    monkeypatch.setattr(tracks, "embedded", killed)
    with pytest.raises(KeyboardInterrupt):
        run(place, metrics=QUICK, cache=tmp_path / "cache")
    monkeypatch.undo()
    half = next((tmp_path / "cache").glob("*/*.npz"))
    half.write_bytes(half.read_bytes()[:100])  # and the disk was full
    assert run(place, metrics=QUICK, cache=tmp_path / "cache")["rows"] == whole["rows"]


def test_faults_that_an_ear_hears_are_flagged_and_kept(place, tmp_path, monkeypatch):
    for i in range(4):
        wav, rate = audio.read(place / "reference" / f"song{i}.wav")
        wav[0, 10::320] -= 0.3  # a click in each frame of 75 Hz, loud enough for the crest factor
        for border in (1.3, 2.6, 3.9):
            wav[:, round(border * rate) :] = np.roll(wav[:, round(border * rate) :], 999) * 0.9
        audio.write(tmp_path / f"song{i}.wav", wav * 0.7, rate)
    systems = {"truth": place / "reference", "clicking": tmp_path}
    settings = {"metrics": ("artefacts",), "seams": [(1.3, 1.3)]}
    results = run(place, systems, **settings)
    clicking, truth = results["rows"]["clicking"], results["rows"]["truth"]
    assert truth["flagged"]["value"] == 0 and truth["crest_excess_db"]["value"] == 0
    assert clicking["flagged"]["value"] == 1 and clicking["frame_lock"]["value"] > 5 > 1.2 > truth["frame_lock"]["value"]
    for scores in results["songs"]["clicking"].values():
        assert {"frame_lock", "buzz_db", "clicks"} <= set(scores["flags"])
    reference = results["songs"]["truth"]["song0"]["crest_db"]
    scores = results["songs"]["clicking"]["song0"]
    assert scores["crest_excess_db"] == pytest.approx(scores["crest_db"] - reference)
    assert 0 <= truth["seam_jump"]["value"] <= 1 and clicking["seam_click"]["value"] is not None
    text = table(results)
    assert "Artefacts, means over the files:" in text and "| frame lock |" in text
    assert "flagged from frame lock 1.2" in text and "borders at 1.3 s and every 1.3 s" in text
    monkeypatch.setattr(tracks.artefacts, "measure", None)  # whatever is listened to again fails
    monkeypatch.setattr(tracks, "seams", None)
    assert run(place, systems, **settings)["songs"] == results["songs"]


def test_missing_extra_and_corrupt_files_are_named_and_the_rest_is_scored(place, copy):
    (copy / "system" / "song0.wav").unlink()
    (copy / "system" / "song1.wav").write_bytes(b"RIFF nothing")
    shutil.copy(copy / "system" / "song2.wav", copy / "system" / "stranger.wav")
    (copy / "vocals" / "song3.wav").unlink()
    results = run(place, {"system": copy / "system"}, songs=copy, metrics=("sanity",))
    text = "\n".join(results["problems"])
    assert "song0" in text and "song1.wav: not sound, or damaged" in text and "stranger" in text and "song3" in text
    assert set(results["songs"]["system"]) == {"song2"}
    assert "What is missing" in table(results)


def test_lengths_rates_silence_and_few_windows_are_told(place, copy):
    wav, rate = audio.read(copy / "system" / "song0.wav")
    audio.write(copy / "system" / "song0.wav", wav[:, : rate * 2], rate)
    audio.write(copy / "system" / "song1.wav", audio.resample(audio.read(copy / "system" / "song1.wav")[0], rate, 16000), 16000)
    audio.write(copy / "system" / "song2.wav", 0 * wav, rate)
    audio.write(copy / "reference" / "song3.wav", wav[:, :rate], rate)
    results = run(place, {"system": copy / "system"}, songs=copy, metrics=("sanity",), windows=2)
    text = "\n".join(results["problems"])
    assert "song0 (2.00 of 4.00 s): the file of system is too short; the rest is silence" in text
    assert "system: sample rates 16000, 24000 Hz in one folder" in text
    assert "song2: the file of system is silent" in text
    assert "song3 (4.00 and 1.00 s): vocal and reference differ in length; the shorter is scored" in text
    assert "song3 (1.00 s): shorter than a window of 2 s" in text
    few = run(place, metrics=("sanity",), windows=3)["problems"]
    names = "song0 (2), song1 (2), song2 (2), song3 (2)"
    assert few == [f"4 songs: fewer windows fit than the 3 asked for: {names}"]  # one line, not four
    assert set(results["songs"]["system"]) == {f"song{i}" for i in range(4)}


def test_what_a_file_lacks_at_its_end_is_silent_in_the_mixes_too(place, copy):
    """A file that ends a little early, as many systems' do, is not mixed with its own beginning in the last window."""
    padded = copy / "padded"
    padded.mkdir()
    for path in (copy / "system").iterdir():
        wav, rate = audio.read(path)
        audio.write(path, wav[:, :-1200], rate, "PCM_16")
        audio.write(padded / path.name, np.pad(wav[:, :-1200], ((0, 0), (0, 1200))), rate, "PCM_16")
    rows = run(place, {"short": copy / "system", "padded": padded}, metrics=("apa",))["rows"]
    assert rows["short"]["fad_mix"]["value"] == pytest.approx(rows["padded"]["fad_mix"]["value"], rel=0.05)
    assert rows["short"]["apa"]["value"] == pytest.approx(rows["padded"]["apa"]["value"], rel=0.05)


def test_beats_are_kept_by_the_weights_that_heard_them(place, tmp_path, monkeypatch):
    def find(name, weights, device):
        times = np.array([float(t) for t in weights.read_text().split()])
        return lambda mono: times

    monkeypatch.setattr(runner, "find_tracker", find)
    found = []
    for times in ("0.5 1.0 1.5", "0.2"):
        weights = tmp_path / "weights.ckpt"
        weights.write_text(times)
        settings = {"metrics": ("rhythm",), "tracker": "beat-this", "tracker_weights": weights}
        found.append(run(place, annotations=place / "annotations", **settings)["rows"]["truth"])
    assert found[0]["beat_f1"]["value"] != found[1]["beat_f1"]["value"]


def test_one_file_is_scored_without_what_needs_two(place, copy):
    for i in (1, 2, 3):
        for part in ("vocals", "reference", "system"):
            (copy / part / f"song{i}.wav").unlink()
    results = run(place, {"system": copy / "system"}, songs=copy, metrics=QUICK)
    row = results["rows"]["system"]
    assert row["fad"]["value"] == pytest.approx(0, abs=1e-6) and row["fad"]["low"] is None
    assert "apa" not in row and results["problems"] == [
        "apa: songs of at least two recordings are needed to shuffle them; it is left out"
    ]


def test_empty_folders(place, copy, tmp_path):
    (tmp_path / "empty").mkdir()
    results = run(place, {"truth": copy / "reference", "nothing": tmp_path / "empty"}, songs=copy, metrics=("sanity",))
    assert "nothing: " in results["problems"][0] and results["rows"]["nothing"] == {}
    assert "| nothing | - |" in table(results)
    with pytest.raises(EvaluationError, match="holds no sound files"):
        runner.evaluate({"s": copy / "system"}, tmp_path / "empty", copy / "reference", metrics=("sanity",), progress=False)
    for name in ("song0.mix.wav", "song0.accompaniment.wav"):  # as `generate` leaves them
        (tmp_path / "empty" / name).write_bytes((copy / "vocals" / "song0.wav").read_bytes())
    none = (
        "empty: none of its 2 sound files counts as a vocal by its name; "
        "NAME.wav, NAME.vocal.wav, .* do, NAME.accompaniment.wav, .*NAME.mix.wav, .* do not; "
        "nothing can be scored"
    )
    with pytest.raises(EvaluationError, match=none):
        runner.evaluate({"s": copy / "system"}, tmp_path / "empty", progress=False)
    with pytest.raises(EvaluationError, match="is not a folder"):
        runner.evaluate({"s": copy / "system"}, tmp_path / "no", copy / "reference", metrics=("sanity",), progress=False)


def test_a_folder_that_is_called_like_a_sound_is_passed_over(place, copy):
    for part in ("vocals", "reference", "system"):
        (copy / part / "afolder.wav").mkdir()
    (copy / "system" / "song0.drums.wav").mkdir()
    results = run(place, {"system": copy / "system"}, songs=copy, metrics=("sanity",))
    assert results["problems"] == [] and len(results["songs"]["system"]) == 4
    assert find_stems(copy / "system") == {}


def test_a_singer_without_a_true_band_can_be_scored(place):
    systems, given = {"mine": place / "reference"}, {"window_seconds": 2.0, "cache": place / "cache", "progress": False}
    results = runner.evaluate(systems, place / "vocals", **given)
    row = results["rows"]["mine"]
    assert row["chroma_vocal"]["value"] is not None and row["frame_lock"]["value"] is not None
    assert {"fad", "kad", "apa"}.isdisjoint(row) and results["data"]["reference"] is None and not results["problems"]
    for measure in ("beat_f1", "onset_f1", "chroma_reference", "crest_excess_db"):  # of a reference alone
        assert row[measure]["value"] is None
    assert "there is no reference" in table(results)
    with pytest.raises(ValueError, match="apa, fad: there is nothing to compare with; .*--reference"):
        runner.evaluate(systems, place / "vocals", metrics=("apa", "fad"), **given)
    known = runner.evaluate(systems, place / "vocals", annotations=place / "annotations", metrics=("rhythm",), **given)
    assert known["rows"]["mine"]["beat_f1"]["value"] is not None  # against what is annotated


def test_bad_annotations_are_told(place, copy):
    (copy / "annotations" / "song0.json").unlink()
    (copy / "annotations" / "song1.json").write_text('{"beats": "soon"}')
    (copy / "annotations" / "song2.json").write_text('{"chords": [[0, 4, "H:maj"]]}')
    problems = "\n".join(run(place, songs=copy, annotations=copy / "annotations", metrics=("harmony",))["problems"])
    assert "songs have no annotation NAME.json" in problems and ": song0" in problems and "'H:maj'" in problems
    assert "song1.json: its beats cannot be used (could not convert string to float: 's')" in problems


def test_songs_with_annotated_beats_are_counted_as_such(place, copy):
    (copy / "annotations" / "song0.json").write_text('{"key": "C:maj"}')
    (copy / "annotations" / "song1.json").write_text('{"beats": "soon", "bpm": 120}')
    results = run(place, songs=copy, annotations=copy / "annotations", metrics=("rhythm",))
    assert "annotated beats for 2 of 4 songs, else tracked on the reference" in table(results)


def test_foreign_results_are_not_replaced(place, tmp_path):
    (tmp_path / "results.json").write_text('{"mine": 1}')
    with pytest.raises(EvaluationError, match="is not replaced"):
        write_results(run(place, metrics=("sanity",)), tmp_path)


def test_settings_out_of_range(place):
    for wrong in ({"metrics": ("fad", "beauty")}, {"window_seconds": 0.0}, {"windows": 0}):
        with pytest.raises(ValueError, match="expected some of fad"):
            run(place, **wrong)
    endless = [{"seams": [(float(border), float(border))]} for border in ("nan", "inf")]
    for wrong in (*endless, {"seams": [(1.0, 0.0)]}, {"seams": [(1.0, 1.0)], "metrics": ("sanity",)}):
        with pytest.raises(ValueError, match="expected pairs of at least 0.1 s"):
            run(place, **wrong)


def test_files_of_a_song_are_found_by_name(tmp_path):
    for name in (
        "a.vocal.flac",
        "a.accompaniment.flac",
        "a.mix.wav",
        "b.vocal.accompaniment.wav",
        "c.wav",
        "notes.txt",
        ".d.wav",
    ):
        (tmp_path / name).touch()
    assert {n: p.name for n, p in find_songs(tmp_path, "vocal").items()} == {"a": "a.vocal.flac", "c": "c.wav"}
    assert set(find_songs(tmp_path, "accompaniment")) == {"a", "b", "c"}
    (tmp_path / "c.mp3").touch()
    with pytest.raises(EvaluationError, match="both the song 'c'"):
        find_songs(tmp_path, "vocal")
    report = Report()
    assert match(["a", "b"], ["b", "z"], "F", "output", report) == ["b"]
    assert report.problems == ["F: 1 of 2 songs have no output: a", "F: 1 output files belong to no song that is scored: z"]


@pytest.mark.parametrize(
    "seconds, most, expected", [(30.0, None, (10.0, 3)), (29.99, None, (10.0, 2)), (30.0, 2, (10.0, 2)), (4.0, None, (4.0, 1))]
)
def test_window_plans(seconds, most, expected):
    plan = plan_windows(seconds, 10.0, most)
    assert (plan.seconds, plan.count) == expected


def test_windows_are_cut_where_they_lie():
    plan = plan_windows(4.0, 2.0)
    first, second = plan.cut(np.arange(7.0), 2)
    assert list(first) == [0, 1, 2, 3] and list(second) == [4, 5, 6, 0]


def test_shuffling_never_pairs_a_recording_with_itself():
    names = [f"track{t}@{i}" for t in range(5) for i in range(3)]
    for seed in range(20):
        pairs = runner.sets.shuffle(names, seed)
        assert set(pairs) == set(names)
        assert all(name.split("@")[0] != other.split("@")[0] for name, other in pairs.items())
    assert runner.sets.shuffle(["a@1", "a@2"], 0) == {}


def test_difference_of_two_rows_pairs_songs_and_adds_spreads():
    set_metric = {"low": None, "high": None, "n": 9, "songs": 3}
    rows = {
        "a": {"apa": {"value": 1.0, "spread": 0.3, **set_metric}, "beat_f1": {"value": 0.5}, "kad": {"value": None}},
        "b": {"apa": {"value": 0.4, "spread": 0.4, **set_metric}, "beat_f1": {"value": 0.4}, "kad": {"value": 1.0}},
    }
    songs = {
        "a": {"x": {"beat_f1": 0.1}, "y": {"beat_f1": 0.9}, "z": {"beat_f1": None}, "only": {"beat_f1": 0.0}},
        "b": {"x": {"beat_f1": 0.0}, "y": {"beat_f1": 0.8}, "z": {"beat_f1": 0.7}},
    }
    result = runner.difference(rows, songs, "a", "b")
    assert result["apa"]["value"] == pytest.approx(-0.6) and result["apa"]["high"] == pytest.approx(-0.1)
    fall = result["beat_f1"]
    assert [fall["low"], fall["value"], fall["high"]] == pytest.approx([-0.1] * 3)  # each song fell by as much
    assert result["beat_f1"]["n"] == 2 and "kad" not in result
    with pytest.raises(ValueError, match="no row 'c'"):
        runner.difference(rows, songs, "a", "c")


def test_annotations_are_read_as_people_write_them(tmp_path):
    chords = [[0, 1, "Am"], [1, 2, "F#m7"], [2, 3, "C:maj(9)"]]
    known = {"key": "A minor", "bpm": "92.5", "beats": [0.5, [1.0, 2]], "chords": chords}
    (tmp_path / "a.json").write_text(json.dumps(known), encoding="utf-8-sig")
    report = Report()
    read = {
        "key": "A:min", "bpm": 92.5, "beats": [0.5, 1.0],
        "chords": [(0, 1, "A:min"), (1, 2, "F#:min7"), (2, 3, "C:maj(9)")],
    }  # fmt: skip
    assert read_annotation(tmp_path, "a", report) == read and report.problems == []
    (tmp_path / "b.json").write_text(json.dumps(known | {"key": "H", "bpm": -120}), encoding="utf-16")
    assert read_annotation(tmp_path, "b", report) == {name: read[name] for name in ("beats", "chords")}
    assert len(report.problems) == 2 and all("b.json: its " in line for line in report.problems)
    assert "key 'H'" in report.problems[0] and "-120 is no number of beats" in report.problems[1]
    (tmp_path / "c.json").write_bytes(b'{"key": "caf\xe9"}')
    assert read_annotation(tmp_path, "c", report) == {} and "save the file as UTF-8" in report.problems[2]


def test_a_name_is_the_same_in_either_form_of_unicode(place, copy):
    for part, form in (("vocals", "NFC"), ("reference", "NFD"), ("system", "NFC"), ("annotations", "NFD")):
        for path in (copy / part).iterdir():
            if path.stem == "song0":
                path.rename(path.with_name(unicodedata.normalize(form, "café") + path.suffix))
    settings = {"annotations": copy / "annotations", "metrics": ("harmony",)}
    results = run(place, {"system": copy / "system"}, songs=copy, **settings)
    assert results["problems"] == [] and len(results["songs"]["system"]) == 4
    assert results["songs"]["system"]["café"]["key_agreement"] is not None


def test_two_files_of_a_song_cost_that_song_alone(place, copy):
    shutil.copy(copy / "vocals" / "song0.wav", copy / "vocals" / "song0.flac")
    results = run(place, {"system": copy / "system"}, songs=copy, metrics=("sanity",))
    assert set(results["songs"]["system"]) == {"song1", "song2", "song3"}
    assert "song0.flac and song0.wav are both the song 'song0'; remove one" in results["problems"][0]
