"""The figures a checkpoint must reach: half-way goals, swapped vocals, the band, long songs, a person's notes, the codec."""

import json
import subprocess

import evaluation_songs
import numpy as np
import pytest

from accompgen import audio
from accompgen.analysis.keys import find_key


@pytest.fixture(scope="module")
def figures(load_tools):
    return load_tools("judge_figures")


@pytest.fixture(scope="module")
def judge(load_tools, figures):
    return load_tools("judge_probes", "judge_chart", "judge_play", "judge")


def value(number, half=0.02):
    return {"value": number, "low": number - half, "high": number + half, "n": 4, "songs": 4}


def results(system, swapped, shuffled, codec, truth):
    """Results of four songs whose measures all have one value in a row."""
    rows, songs = {}, {}
    for name, number in (("system", system), ("swapped", swapped), ("shuffled", shuffled), ("codec", codec), ("truth", truth)):
        measures = ("chord_tone_share", "beat_f1", "chroma_vocal")
        rows[name] = {measure: value(number) for measure in measures}
        songs[name] = {
            f"{i}@song{i}": {measure: number + 0.01 * (i - 1.5) * (name == "system") for measure in measures} for i in range(4)
        }
    return {"rows": rows, "songs": songs, "settings": {"seed": 0}}


def test_goals_lie_half_way(figures):
    harmony_row, rhythm_row = figures.against_shuffled(results(0.5, 0.2, 0.2, 0.8, 0.9))
    assert ">= 0.500" in harmony_row[2] and harmony_row[3] == "yes" and "50 % of the way" in harmony_row[1]
    assert ">= 0.550" in rhythm_row[2] and rhythm_row[3] == "**no**"


def test_another_songs_vocal_must_cost(figures):
    listens = figures.swapped(results(0.5, 0.2, 0.2, 0.8, 0.9))
    assert len(listens) == 5 and all(row[3] == "yes" for row in listens)
    deaf = figures.swapped(results(0.5, 0.5, 0.2, 0.8, 0.9))
    assert [row[3] for row in deaf] == ["**no**"] * 5


def test_band_and_faults(figures):
    songs = {
        f"s{i}": {"drums": 1.0, "bass": 0.2 + 0.2 * i, "chords": 0.5, "flags": ["flatness"] if i == 3 else []} for i in range(4)
    }
    truth = {name: {"drums": 1.0, "bass": 1.0, "chords": 1.0, "flags": []} for name in songs}
    drums, bass, chords, faults = figures.band({"songs": {"system": songs, "truth": truth}})
    assert (drums[3], bass[3], chords[3]) == ("yes", "**no**", "yes") and "50 %" in bass[1] and "truth 100 %" in bass[1]
    assert faults[1] == "1 of 4: s3" and faults[3] == "**no**"


def test_faults_that_an_ear_hears_miss_their_goals(figures):
    names = ("frame_lock", "buzz_db", "clicks", "crest_excess_db", "seam_jump", "seam_click")
    fine = dict(zip(names, (1.1, None, 0.5, 0.0, 0.5, 0.4)))
    bad = dict(zip(names, (1.2, 9.0, 30.0, 5.0, 0.9, 0.9)))
    songs = {"truth": {}, "codec": {}, "system": {}}
    for i in range(4):
        songs["truth"][f"s{i}"] = fine | {"frame_lock": 1.1 + 0.01 * i}
        songs["codec"][f"s{i}"] = songs["truth"][f"s{i}"]
        songs["system"][f"s{i}"] = bad if i else fine  # one good song does not save the others
    crests = {"truth": 0.0, "codec": -1.4, "system": 1.6}
    rows = {
        name: {"crest_excess_db": value(crest), "seam_jump": value(0.5), "seam_click": value(0.5)}
        for name, crest in crests.items()
    }
    found = figures.sound({"rows": rows, "songs": songs, "settings": {"seed": 0, "seams": [[20, 10]]}})
    verdicts = {row[0]: row[3] for row in found}
    assert {name.split(":")[0] for name, verdict in verdicts.items() if verdict == "yes"} == {"codec"}
    assert len(verdicts) == 10 and sum(verdict == "**no**" for verdict in verdicts.values()) == 6
    lock = next(row for row in found if row[0] == "system: frame lock")
    assert "3 of 4 songs reach 1.2" in lock[1] and "truth at most 1.13" in lock[2]
    silent = {"crest_excess_db": {"value": None, "low": None, "high": None}}
    found = figures.sound({"rows": rows | {"system": silent}, "songs": songs, "settings": {"seams": []}})
    assert found[-1][3] == "**no**" and len(found) == 8


def test_long_songs_must_hold(figures):
    names = ("chord_tone_share", "chroma_vocal", "beat_f1", "drums", "bass", "chords")
    steady = {**dict.fromkeys(names, 0.6), "loudness_lufs": -20.0, "flatness": 0.01}
    rows = figures.minutes({"minutes": {"system": [steady, steady, steady]}, "data": {"songs": 2}})
    assert {row[3] for row in rows} == {"yes", ""} and "(2 songs)" in rows[0][0] and rows[0][1] == "0.600, 0.600, 0.600"
    dying = {**steady, "bass": 0.3, "loudness_lufs": -30.0}
    lost = [
        row[0] for row in figures.minutes({"minutes": {"system": [steady, dying]}, "data": {"songs": 1}}) if row[3] == "**no**"
    ]
    assert lost == ["minute by minute: bass (1 songs)", "minute by minute: LUFS (1 songs)"]


def test_annotated_notes_make_a_profile_and_score_a_band(figures, tmp_path):
    (tmp_path / "notes.csv").write_text("0.25,261.63,0.5\n1.0,392.0,0.25\n1.25,440.0,0.25\n")
    profile = figures.notes_profile(tmp_path / "notes.csv", 2.0)
    assert profile.shape == (4, 12)
    assert profile[0, 0] == profile[1, 0] == 1 and profile[2, 7] == profile[2, 9] == 0.5 and not profile[3].any()
    for root, name in ((60, "right"), (66, "wrong")):
        audio.write(tmp_path / f"{name}.wav", 0.5 * evaluation_songs.band(root, 2.0, 0.5), 24000, "PCM_16")
    sung = np.zeros((4, 12))
    sung[:, [0, 4, 7]] = 1 / 3
    right, wrong = (figures.voice_scores(tmp_path / f"{name}.wav", sung, "C:maj") for name in ("right", "wrong"))
    assert right[1] > 0.8 and wrong[1] < 0.3 and right[0] > wrong[0]
    assert find_key(sung) is not None


def test_codec_figures_see_a_missing_octave(figures, tmp_path):
    for folder in ("songs", "baselines/codec"):
        (tmp_path / folder).mkdir(parents=True)
    wav = 0.4 * evaluation_songs.band(60, 3.0, 0.5)
    audio.write(tmp_path / "songs" / "a.accompaniment.wav", wav, 24000, "PCM_16")
    audio.write(tmp_path / "baselines" / "codec" / "a.wav", wav, 24000, "PCM_16")
    assert [row[3] for row in figures.codec(tmp_path)] == ["yes"] * 3
    spectrum = np.fft.rfft(wav)
    spectrum[round(2000 * 3) : round(4000 * 3)] *= 0.1
    audio.write(tmp_path / "baselines" / "codec" / "a.wav", np.fft.irfft(spectrum).astype(np.float32), 24000, "PCM_16")
    octave = figures.codec(tmp_path)[2]
    assert octave[3] == "**no**" and "-20" in octave[1] and "2000 to 4000" in octave[1]


def test_rows_pair_compositions_and_never_one_with_itself(judge, tmp_path, capsys):
    songs, played = tmp_path / "songs", tmp_path / "played"
    for folder in (songs, played):
        folder.mkdir()
    for i in range(4):
        for name in (f"songs/t{i}.vocal.wav", f"songs/t{i}.accompaniment.wav", f"played/t{i}.accompaniment.wav"):
            (tmp_path / name).write_bytes(name.encode())
        (songs / f"t{i}.json").write_text(json.dumps({"id": f"t{i}", "source": f"POP909 {i // 2}"}))
    command = ["rows", str(songs), str(played), "-o", str(tmp_path / "out")]
    assert judge.main([*command, "--count", "4"]) == 0 and "4 songs of 2 compositions" in capsys.readouterr().out
    assert (tmp_path / "out/songs/POP909-0@t1.vocal.wav").read_bytes() == b"songs/t1.vocal.wav"
    assert (tmp_path / "out/system/POP909-1@t2.wav").read_bytes() == b"played/t2.accompaniment.wav"
    for i in range(4):
        other = (tmp_path / f"out/swapped/POP909-{i // 2}@t{i}.wav").read_bytes().decode()
        assert int(other[len("played/t")]) // 2 != i // 2
    assert judge.main([*command, "--count", "3"]) == 0 and len(list((tmp_path / "out/system").iterdir())) == 3
    (played / "t0.accompaniment.wav").unlink()
    assert judge.main(command) == 1 and "t0; generate it" in capsys.readouterr().err


def test_make_plans_the_whole_judgement(root, tmp_path):
    goals = ["judge", "chart", "examples", "SIZE=pocket", "SCORED=pocket"]
    command = ["make", "-C", str(root / "recipes" / "synthetic"), "-n", *goals]
    dials = [
        f"WORK={tmp_path}",
        "JUDGE_SONGS=3",
        "LONG_SONGS=0",
        "VOICE=",
        "EXAMPLES=2",
        f"SWEEP_FROM={tmp_path / 'songs.jsonl'}",
    ]
    (tmp_path / "songs.jsonl").touch()
    done = subprocess.run([*command, "sweep", *dials], capture_output=True, text=True, check=True)
    plan = done.stdout.replace("\\\n", " ")
    steps = ("synthesize", "generate --manifest", "judge.py rows", "baselines --vocals", "evaluate --vocals", "judge.py table")
    assert [plan.index(step) for step in steps] == sorted(plan.index(step) for step in steps)
    parts = ("given", "tempo", "asked", "prompts")
    assert all(f"judge.py play {part} " in plan and f" --{part} " in plan for part in parts)
    none = [f"{part.upper()}_SONGS=0" for part in ("given", "tempo", "asked", "prompt")]
    done = subprocess.run([*command, *dials, *none], capture_output=True, text=True, check=True)
    plain = done.stdout.replace("\\\n", " ")
    assert "judge.py probes" in plain and "judge.py chart --songs" in plain and "--given" not in plain
    assert "judge.py play" not in plain
    assert "--test 3 " in plan and "--system swapped=" in plan and "--long" not in plan and "--voice" not in plan
    assert "band sanity artefacts " in plan and "--seams 20:10 6.4:4.28 6.4 " in plan
    assert "examples.py" in plan and "--count 2" in plan and f"sweep.py {tmp_path / 'songs.jsonl'}" in plan


def test_mixtures_are_the_sum_of_both_parts(judge, tmp_path):
    time = np.arange(4800) / 24000
    parts = {"vocal": np.sin(2 * np.pi * 440 * time), "accompaniment": np.sin(2 * np.pi * 220 * time)}
    for part, wave in parts.items():
        audio.write(tmp_path / f"a@b.{part}.wav", (0.3 * wave[None]).astype(np.float32), 24000)
    assert judge.main(["mixtures", str(tmp_path), "-o", str(tmp_path / "out")]) == 0
    mixture, rate = audio.read(tmp_path / "out" / "a@b.wav")
    assert rate == 24000 and np.allclose(mixture[0], 0.3 * (parts["vocal"] + parts["accompaniment"]), atol=1e-3)
