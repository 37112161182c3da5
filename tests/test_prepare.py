"""Songs as found become pairs: aligned, cut, filtered, counted; a stopped run goes on."""

import json
import os
import random
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from counting import run_and_kill

from accompgen import audio, cli
from accompgen.data import prepare, separate
from accompgen.data.prepare import PrepareError
from accompgen.data.segments import PrepareConfig
from accompgen.data.songs import read_manifest

RATE = 16_000
SMALL = PrepareConfig(sample_rate=16_000, segment_seconds=2.0, slack_seconds=0.4, min_seconds=1.0)


def noise(seconds, seed, level=0.1, rate=RATE, channels=1):
    """Noise below 500 Hz in bursts: sound that differs from place to place, and keeps its shape through resampling."""
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((channels, round(seconds * 1000) + 2))
    wav = audio.resample(coarse.astype(np.float32), 1000, rate)[:, : round(seconds * rate)]
    return level * wav / np.abs(wav).max()


def write(path, wav, rate=RATE, subtype="PCM_16"):
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write(path, wav, rate, subtype)


def lines(path, *values):
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


class HalfAndHalf:
    """Stands for a separator: the left channel is the voice, the right one the rest."""

    rate = 16_000
    loaded = 0

    def split(self, wav, rate):
        wav = audio.resample(wav, rate, self.rate)
        return np.stack([wav[0]] * 2), np.stack([wav[1]] * 2)


@pytest.fixture
def separator(monkeypatch):
    def load(name, device):
        HalfAndHalf.loaded += 1
        return HalfAndHalf()

    HalfAndHalf.loaded = 0
    monkeypatch.setattr(separate, "load_separator", load)


def correlation(a, b):
    size = min(a.size, b.size)
    return float(np.corrcoef(a.ravel()[:size], b.ravel()[:size])[0, 1])


def test_pair_stems_and_mixture_become_aligned_pairs(tmp_path, separator):
    waves = {name: noise(3.0, seed) for seed, name in enumerate(("v", "b", "drums", "bass"))}
    for name, wav in waves.items():
        write(tmp_path / f"{name}.wav", wav)
    write(tmp_path / "mix.flac", np.concatenate([noise(3.0, 7), noise(3.0, 8)]), subtype="PCM_24")
    manifest = lines(
        tmp_path / "m.jsonl",
        {"id": "pair", "vocal": "v.wav", "accompaniment": "b.wav", "split": "test", "licence": "CC0"},
        {"id": "sum", "vocal": "v.wav", "stems": ["drums.wav", "bass.wav"], "split": "train"},
        {"id": "mixed", "mixture": "mix.flac", "split": "train", "bpm": 90, "tags": ["x"]},
    )
    report = prepare.prepare(manifest, tmp_path / "out", SMALL, separator="any", workers=0, licence="mine")
    songs = {song.id: song for song in read_manifest(tmp_path / "out/manifest.jsonl")}
    assert [song.split for song in songs.values()] == ["test"] * 2 + ["train"] * 4
    assert {song.id: song.licence for song in songs.values() if song.id.endswith("000")} == {
        "pair-000": "CC0", "sum-000": "mine", "mixed-000": "mine",
    }  # fmt: skip
    assert [song.separated for song in songs.values()] == [False] * 4 + [True] * 2
    for name, vocal, band in (
        ("pair", waves["v"], waves["b"]),
        ("sum", waves["v"], waves["drums"] + waves["bass"]),
        ("mixed", noise(3.0, 7), noise(3.0, 8)),
    ):
        pieces = [song for song in songs.values() if song.id.startswith(name)]
        assert sum(song.seconds for song in pieces) == 3.0
        for part, expected in (("vocal", vocal), ("accompaniment", band)):
            found = [audio.read(song.tracks[part]) for song in pieces]
            assert {rate for _, rate in found} == {RATE}
            assert correlation(np.concatenate([wav for wav, _ in found], axis=1), expected) > 0.999
    about = json.loads(songs["mixed-001"].meta.read_text())
    assert about["bpm"] == 90 and about["tags"] == ["x"] and about["start"] == songs["mixed-000"].seconds
    assert report["songs"] == {"found": 3, "kept": 3} and report["hours"]["kept"] == pytest.approx(9 / 3600, abs=1e-4)
    assert HalfAndHalf.loaded == 1


def test_a_sum_beyond_full_scale_is_lowered_with_its_vocal(tmp_path):
    write(tmp_path / "v.wav", noise(2.0, 0, 0.6))
    for name in "ab":
        write(tmp_path / f"{name}.wav", noise(2.0, 1, 0.8))
    manifest = lines(tmp_path / "m.jsonl", {"id": "x", "vocal": "v.wav", "stems": ["a.wav", "b.wav"]})
    prepare.prepare(manifest, tmp_path / "out", SMALL, workers=0)
    (song,) = read_manifest(tmp_path / "out/manifest.jsonl")
    vocal, band = (audio.peak(audio.read(path)[0]) for path in song.tracks.values())
    assert band == pytest.approx(audio.PEAK_LIMIT, abs=1e-3) and band / vocal == pytest.approx(1.6 / 0.6, rel=1e-2)


def test_what_is_dropped_is_counted_with_its_reason(tmp_path):
    write(tmp_path / "v.wav", noise(2.0, 0))
    write(tmp_path / "b.wav", noise(2.0, 1))
    samples, _ = soundfile.read(tmp_path / "v.wav", dtype="int16")
    soundfile.write(tmp_path / "again.flac", samples, RATE)  # the same sound in another container
    write(tmp_path / "long.wav", noise(2.5, 1))
    write(tmp_path / "short.wav", noise(0.5, 0))
    write(tmp_path / "clipped.wav", np.clip(noise(2.0, 0, 5.0), -1, 1))
    write(tmp_path / "silent.wav", np.zeros((1, 2 * RATE), np.float32))
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "meta.json").write_text("{half")
    reasons = {
        "kept": (None, {"vocal": "v.wav", "accompaniment": "b.wav"}),
        "again": ("duplicate", {"vocal": "again.flac", "accompaniment": "b.wav"}),
        "uneven": ("the files of the pair differ in length", {"vocal": "v.wav", "accompaniment": "long.wav"}),
        "brief": ("song too short", {"vocal": "short.wav", "accompaniment": "short.wav"}),
        "harsh": ("clipped", {"vocal": "clipped.wav", "accompaniment": "b.wav"}),
        "mute": ("too little voice", {"vocal": "silent.wav", "accompaniment": "b.wav"}),
        "text": ("cannot be read as sound", {"vocal": "text.wav", "accompaniment": "b.wav"}),
        "lost": ("a file is missing", {"vocal": "nowhere.wav", "accompaniment": "b.wav"}),
        "alone": ("a vocal without accompaniment", {"vocal": "v.wav"}),
        "riddle": ("its meta file cannot be used", {"vocal": "v.wav", "accompaniment": "b.wav", "meta": "meta.json"}),
    }
    manifest = lines(tmp_path / "m.jsonl", *({"id": name, **files} for name, (_, files) in reasons.items()))
    report = prepare.prepare(manifest, tmp_path / "out", SMALL, workers=0, held_out=0)
    dropped = [json.loads(line) for line in (tmp_path / "out/dropped.jsonl").read_text().splitlines()]
    assert {item["song"]: item["reason"] for item in dropped} == {k: why for k, (why, _) in reasons.items() if why}
    assert [song.id for song in read_manifest(tmp_path / "out/manifest.jsonl")] == ["kept-000"]
    assert report == json.loads((tmp_path / "out/report.json").read_text())
    assert {why: entry["count"] for why, entry in report["dropped"].items()} == {why: 1 for why, _ in reasons.values() if why}
    assert "text.wav" in next(item["detail"] for item in dropped if item["song"] == "text")
    text = prepare.table(report)
    assert "songs   1 of 10 kept" in text and all(why in text for why, _ in reasons.values() if why)


def test_music_known_of_a_song_moves_with_its_pieces(tmp_path):
    write(tmp_path / "v.wav", noise(3.0, 0))
    write(tmp_path / "b.wav", noise(3.0, 1))
    known = {
        "key": "C major",
        "bpm": 120.0,
        "beats": [[k / 2, 1 + k % 4] for k in range(6)],
        "chords": [[0, 2.5, "C:maj"], [2.5, 3, "Gm7"]],
    }
    (tmp_path / "k.json").write_text(json.dumps(known))
    manifest = lines(tmp_path / "m.jsonl", {"id": "x", "vocal": "v.wav", "accompaniment": "b.wav", "meta": "k.json"})
    prepare.prepare(manifest, tmp_path / "out", SMALL, workers=0)
    first, second = read_manifest(tmp_path / "out/manifest.jsonl")
    about, cut = json.loads(second.meta.read_text()), first.seconds
    assert about["beats"] == [[round(time - cut, 4), beat] for time, beat in known["beats"] if time >= cut]
    expected = [[max(0, a - cut), b - cut, name] for a, b, name in known["chords"]]
    assert [chord[2] for chord in about["chords"]] == ["C:maj", "G:min7"]
    assert np.allclose([chord[:2] for chord in about["chords"]], [chord[:2] for chord in expected])
    assert (about["key"], about["bpm"]) == ("C:maj", 120.0)


def test_a_killed_run_goes_on_and_ends_like_an_uninterrupted_one(tmp_path, monkeypatch):
    for number in range(4):
        write(tmp_path / f"{number}.vocal.wav", noise(2.0, number))
        write(tmp_path / f"{number}.accompaniment.wav", noise(2.0, 10 + number))
    source = tmp_path / "m.jsonl"
    lines(source, *({"vocal": f"{n}.vocal.wav", "accompaniment": f"{n}.accompaniment.wav"} for n in range(4)))
    prepare.prepare(source, tmp_path / "whole", SMALL, workers=0)
    real, calls = audio.write, []

    def dies(path, *rest):
        calls.append(path)
        if len(calls) == 4:  # the accompaniment of the second song
            path.with_name(".accompgen-x.part").write_bytes(b"half")  # what kill -9 leaves
            raise KeyboardInterrupt
        real(path, *rest)

    monkeypatch.setattr(audio, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare(source, tmp_path / "killed", SMALL, workers=0)
    assert not (tmp_path / "killed/manifest.jsonl").exists()
    prepare.prepare(source, tmp_path / "killed", SMALL, workers=0)
    assert len(calls) == 4 + 6  # the first song was kept, three were made
    assert _contents(tmp_path / "killed") == _contents(tmp_path / "whole")
    prepare.prepare(source, tmp_path / "killed", SMALL, workers=0)
    assert len(calls) == 10  # nothing is left to do
    write(tmp_path / "1.vocal.wav", noise(2.2, 99)[:, : 2 * RATE])  # but a file that changed is read again
    prepare.prepare(source, tmp_path / "killed", SMALL, workers=0)
    assert len(calls) == 10 + 1 + 2


def test_killed_at_random_points_it_ends_like_an_uninterrupted_run(tmp_path):
    songs = 6
    for number in range(songs):
        write(tmp_path / f"songs/{number}.vocal.wav", noise(4.0, number))
        write(tmp_path / f"songs/{number}.accompaniment.wav", noise(4.0, 10 + number))
    work = partial(prepare.prepare, tmp_path / "songs", config=SMALL, workers=0)
    work(directory=tmp_path / "whole")
    whole, _ = _contents(tmp_path / "whole")
    rng, places = random.Random(0), set()
    (tmp_path / "out").mkdir()
    for count in range(songs):  # killed somewhere behind that many finished songs
        reached = lambda: len(_records(tmp_path / "out")) >= count  # noqa: B023, E731
        run_and_kill(lambda: work(directory=tmp_path / "out"), reached, rng.uniform(0, 0.03))
        there, _ = _contents(tmp_path / "out")
        visible = {name: data for name, data in there.items() if not Path(name).name.startswith(".")}
        assert all(whole[name] == data for name, data in visible.items())  # nothing is half
        assert all(json.loads(path.read_text())["pieces"] for path in _records(tmp_path / "out"))
        places.add((len(visible), len(there) - len(visible)))
    assert len(places) > 3  # the kills hit at different points
    work(directory=tmp_path / "out")
    assert _contents(tmp_path / "out") == _contents(tmp_path / "whole")


def _records(folder):
    return list(folder.rglob("[!.]*.record.json"))


def _contents(folder):
    """All files but the times in records and report."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    timed = {name for name in files if name.endswith((".record.json", "report.json"))}
    return {name: path.read_bytes() for name, path in files.items() if name not in timed}, timed


def test_other_settings_want_another_folder_or_force(tmp_path):
    write(tmp_path / "v.wav", noise(2.0, 0))
    write(tmp_path / "b.wav", noise(2.0, 1))
    manifest = lines(tmp_path / "m.jsonl", {"id": "x", "vocal": "v.wav", "accompaniment": "b.wav"})
    prepare.prepare(manifest, tmp_path / "out", SMALL, workers=0)
    other = PrepareConfig(sample_rate=24_000, segment_seconds=2.0, slack_seconds=0.4, min_seconds=1.0)
    begun = r"begun with sample_rate 16000 \(asked now: 24000\); .* or --force "
    with pytest.raises(PrepareError, match=begun):
        prepare.prepare(manifest, tmp_path / "out", other, workers=0)
    prepare.prepare(manifest, tmp_path / "out", other, workers=0, force=True)
    (song,) = read_manifest(tmp_path / "out/manifest.jsonl")
    assert audio.read(song.tracks.vocal)[1] == 24_000


def test_mistakes_are_named_before_the_work(tmp_path):
    write(tmp_path / "songs/mix.wav", noise(2.0, 0, channels=2))
    with pytest.raises(PrepareError, match="a mixture, and no separator was chosen: .*mix.wav; give --separator htdemucs"):
        prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, workers=0)
    with pytest.raises(PrepareError, match="held_out is 0.7; expected 0 to 0.5"):
        prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, separator="x", held_out=0.7)
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    for name, content in (("manifest.jsonl", "mine"), ("settings.json", '{"seed": 0}')):  # of synthetic songs, say
        (tmp_path / "full" / name).write_text(content)
        with pytest.raises(PrepareError, match="choose another folder, or --force "):
            prepare.prepare(tmp_path / "songs", tmp_path / "full", SMALL, separator="x", workers=0)
    assert (tmp_path / "full/manifest.jsonl").read_text() == "mine"
    own = lines(tmp_path / "manifest.jsonl", {"id": "x", "vocal": "songs/mix.wav"})
    for source, out in ((tmp_path / "songs", tmp_path / "songs/out"), (own, tmp_path)):
        with pytest.raises(PrepareError, match="choose a folder outside"):
            prepare.prepare(source, out, SMALL, separator="x", workers=0)
    lines(tmp_path / "m.jsonl", {"id": "x", "vocal": "songs/mix.wav"})
    with pytest.raises(PrepareError, match=r"nothing of .* can be used: a vocal without accompaniment \(1, such as"):
        prepare.prepare(tmp_path / "m.jsonl", tmp_path / "out", SMALL, workers=0)


def test_mixtures_without_demucs_name_the_extra(tmp_path, monkeypatch):
    write(tmp_path / "songs/mix.wav", noise(2.0, 0, channels=2))
    monkeypatch.setitem(sys.modules, "demucs", None)
    with pytest.raises(ImportError, match=r"accompgen\[separate\]"):
        prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, separator="htdemucs", workers=0)


def test_of_a_few_songs_as_many_are_held_out_as_asked(tmp_path):
    count = 3
    for number in range(count):
        pair(tmp_path / f"songs/mine{number}", 100 * number)
    where = tmp_path / "songs", tmp_path / "out", SMALL
    by_share = prepare.prepare(*where, workers=0)
    assert set(by_share["hours"]) & {"validation", "train"} != {"validation", "train"}  # so that it is worth testing
    assert "--validation 1" in prepare.table(by_share)
    for asked, expected in ((1, 1), (count, count - 1), (0, 0)):  # one always stays to train on
        report = prepare.prepare(*where, workers=0, validation=asked)
        splits = [song.split for song in read_manifest(tmp_path / "out/manifest.jsonl")]
        assert Counter(splits) == Counter(validation=expected, train=count - expected)
        assert ("nothing to validate with" in prepare.table(report)) == (expected == 0)
    with pytest.raises(PrepareError, match="validation is -1; expected a number of songs"):
        prepare.prepare(*where, workers=0, validation=-1)


# Files and folders as people have them


def pair(folder, seed=0, **more):
    """A song by its files, and the parts of it that `more` says."""
    write(folder / "vocals.wav", noise(2.0, seed))
    for part, number in {"bass": 11, "drums": 12, **more}.items():
        write(folder / f"{part}.wav", noise(2.0, seed + number))


def dropped(folder):
    return {item["song"]: item for item in map(json.loads, (folder / "dropped.jsonl").read_text().splitlines())}


def test_two_files_of_one_part_cost_that_song_alone(tmp_path):
    pair(tmp_path / "songs/good")
    for number, extra in enumerate(("vocals.flac", "bass.flac", "vocal.wav"), 1):
        pair(tmp_path / f"songs/bad{number}", 10 * number)
        write(tmp_path / f"songs/bad{number}" / extra, noise(2.0, 99))
    report = prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, workers=0, held_out=0)
    assert [song.id for song in read_manifest(tmp_path / "out/manifest.jsonl")] == ["good-000"]
    details = {name: item["detail"] for name, item in dropped(tmp_path / "out").items()}
    assert "vocals.flac and vocals.wav in" in details["bad1"] and details["bad1"].endswith("both the voice; keep one of them")
    assert "bass.flac and bass.wav in" in details["bad2"] and "both of one name" in details["bad2"]
    assert "vocals.wav and vocal.wav in" in details["bad3"]  # or the voice would be in its own accompaniment
    assert report["dropped"]["its files cannot be told apart"]["count"] == 3
    assert all(f"{name}: {detail}" in prepare.table(report) for name, detail in details.items())
    (tmp_path / "songs/bad2/bass.flac").unlink()  # mended, it is made
    report = prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, workers=0, held_out=0)
    assert report["songs"]["kept"] == 2


def test_a_stem_in_any_format_is_in_the_sum_or_the_song_is_dropped(tmp_path):
    pair(tmp_path / "songs/one")
    piano = noise(2.0, 5)
    soundfile.write(tmp_path / "songs/one/piano.aiff", piano.T, RATE)
    pair(tmp_path / "songs/two", 20)
    (tmp_path / "songs/two/other.wma").write_bytes(b"\x30\x26\xb2\x75 nothing that can be read")
    prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, workers=0, held_out=0)
    (song,) = read_manifest(tmp_path / "out/manifest.jsonl")
    expected = noise(2.0, 11) + noise(2.0, 12) + piano
    assert song.id == "one-000" and correlation(audio.read(*song.tracks.accompaniment)[0], expected) > 0.999
    assert "other.wma" in dropped(tmp_path / "out")["two"]["detail"]


def test_what_could_not_be_read_is_tried_again(tmp_path, monkeypatch):
    pair(tmp_path / "songs/one")
    pair(tmp_path / "songs/two", 20)
    real = audio.read

    def older(path, *rest):
        if path.parent.name == "two":
            raise audio.AudioError(f"{path}: a format of tomorrow")
        return real(path, *rest)

    monkeypatch.setattr(audio, "read", older)
    assert prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, workers=0)["songs"]["kept"] == 1
    monkeypatch.undo()
    assert prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, workers=0)["songs"]["kept"] == 2


def test_links_are_followed_and_loops_are_not(tmp_path):
    pair(tmp_path / "elsewhere/song")
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs/linked").symlink_to(tmp_path / "elsewhere/song", target_is_directory=True)
    (tmp_path / "elsewhere/song/again").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "songs/up").symlink_to(tmp_path / "songs", target_is_directory=True)
    (tmp_path / "songs/lost.wav").symlink_to(tmp_path / "nowhere.wav")
    report = prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, workers=0, held_out=0)
    assert "linked-000" in [song.id for song in read_manifest(tmp_path / "out/manifest.jsonl")]
    loops = report["passed_over"]["links to a folder that holds them"]
    assert str(tmp_path / "songs/up") in loops and len(loops) == 2
    assert report["passed_over"]["links to nothing"] == [str(tmp_path / "songs/lost.wav")]


def test_what_is_passed_over_is_named(tmp_path):
    pair(tmp_path / "songs/one", mixture=30)
    pair(tmp_path / "songs/two", 20, accompaniment=31)
    (tmp_path / "songs/notes.txt").write_text("mine")
    (tmp_path / "songs/one/._bass.wav").write_bytes(b"of a Mac")
    report = prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, workers=0, held_out=0)
    names = {reason: {Path(path).name for path in paths} for reason, paths in report["passed_over"].items()}
    assert names == {
        "mixtures beside their parts": {"mixture.wav"}, "stems beside an accompaniment": {"bass.wav", "drums.wav"},
        "no sound by their names": {"notes.txt"}, "hidden": {"._bass.wav"},
    }  # fmt: skip
    text = prepare.table(report)
    assert f"passed over, mixtures beside their parts: {tmp_path / 'songs/one/mixture.wav'}" in text


def test_overs_of_float_files_are_no_clipping(tmp_path):
    loud = noise(2.0, 1, 1.9)
    write(tmp_path / "v.wav", noise(2.0, 0, 0.6))
    write(tmp_path / "over.wav", loud, subtype="FLOAT")
    write(tmp_path / "cut.wav", np.clip(loud, -1, 1), subtype="FLOAT")
    songs = ({"id": name, "vocal": "v.wav", "accompaniment": f"{name}.wav"} for name in ("over", "cut"))
    prepare.prepare(lines(tmp_path / "m.jsonl", *songs), tmp_path / "out", SMALL, workers=0, held_out=0)
    (song,) = read_manifest(tmp_path / "out/manifest.jsonl")
    assert song.id == "over-000" and dropped(tmp_path / "out")["cut"]["reason"] == "clipped"
    assert correlation(audio.read(*song.tracks.accompaniment)[0], loud) > 0.999


def test_one_mixture_without_a_separator_costs_itself(tmp_path, separator):
    pair(tmp_path / "songs/one")
    write(tmp_path / "songs/mix.wav", noise(2.0, 7, channels=2))
    report = prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, workers=0, held_out=0)
    assert report["songs"] == {"found": 2, "kept": 1}
    assert "give --separator htdemucs" in dropped(tmp_path / "out")["mix"]["detail"]
    report = prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, separator="any", workers=0, held_out=0)
    assert report["songs"] == {"found": 2, "kept": 2}  # and the pair was not made again
    with pytest.raises(PrepareError, match="begun with separator 'any'"):
        prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, workers=0)


def test_a_meta_file_that_says_nonsense_costs_its_song(tmp_path):
    write(tmp_path / "v.wav", noise(2.0, 0))
    write(tmp_path / "b.wav", noise(2.0, 1))
    said = {"good": {"bpm": "92.5", "key": "F# minor"}, "slow": {"bpm": -1}, "odd": {"key": "H"}, "list": [1],
            "chord": {"chords": [[0, 1, "Foo"]]}, "tags": {"tags": "pop"}, "players": {"instruments": 5}}  # fmt: skip
    for name, values in said.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(values), encoding="utf-8-sig")
    songs = ({"id": name, "vocal": "v.wav", "accompaniment": "b.wav", "meta": f"{name}.json"} for name in said)
    prepare.prepare(lines(tmp_path / "m.jsonl", *songs), tmp_path / "out", SMALL, workers=0, held_out=0)
    (song,) = read_manifest(tmp_path / "out/manifest.jsonl")
    about = json.loads(song.meta.read_text())
    assert (song.id, about["bpm"], about["key"]) == ("good-000", 92.5, "F#:min")
    details = {name: item["detail"] for name, item in dropped(tmp_path / "out").items()}
    assert all(f"{name}.json" in details[name] for name in said if name != "good")
    assert "key 'H'" in details["odd"] and "chord 'Foo'" in details["chord"] and "bpm is -1" in details["slow"]


def test_names_of_any_kind_are_prepared(tmp_path):
    """Bytes that are no UTF-8, marks of Indian scripts, a name too long for what is added to it, the folder itself."""
    names = [os.fsdecode(b"caf\xe9"), "हिन्दी", "n" * 240]
    for number, name in enumerate(names):
        write(tmp_path / "songs" / f"{number}.wav", noise(2.0, number))
        for part in ("vocals.wav", "accompaniment.wav"):
            write(tmp_path / "songs" / name / part, noise(2.0, 10 * number + len(part)))
        (tmp_path / "songs" / f"{number}.wav").unlink()
    (tmp_path / "songs" / names[0] / "accompaniment.wav").write_bytes(b"no sound")  # its name stands in the record
    report = prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, workers=0, held_out=0)
    ids = [song.id for song in read_manifest(tmp_path / "out/manifest.jsonl")]
    assert report["songs"]["kept"] == 2 and "हिन्दी-000" in ids and max(map(len, ids)) == 204
    assert "caf_" in dropped(tmp_path / "out")
    whole = prepare.prepare(tmp_path / "songs" / names[1], tmp_path / "alone", SMALL, workers=0, held_out=0)
    assert whole["songs"]["kept"] == 1


def test_nothing_to_train_on_is_said_with_what_to_do(tmp_path):
    pair(tmp_path / "songs/one")
    (tmp_path / "m.csv").write_text("id,vocal,accompaniment,split\none,songs/one/vocals.wav,songs/one/bass.wav,test\n")
    text = prepare.table(prepare.prepare(tmp_path / "m.csv", tmp_path / "out", SMALL, workers=0))
    assert "there is nothing to train on or to validate with: the song is of the split test" in text
    assert '"split": "train"' in text
    text = prepare.table(prepare.prepare(tmp_path / "songs", tmp_path / "all", SMALL, workers=0, held_out=0))
    assert "there is nothing to validate with: the song is of the split train" in text


def test_no_such_source_is_one_plain_line(tmp_path, capsys):
    assert cli.main(["prepare", str(tmp_path / "nosuch"), "-o", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"accompgen: {tmp_path / 'nosuch'}: no such file or folder; give a .jsonl or .csv manifest")
    assert len(error.splitlines()) == 1 and not (tmp_path / "out").exists()
