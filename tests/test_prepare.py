"""Songs as found become pairs: aligned, cut, filtered, counted; a stopped run goes on."""

import json
import random
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from counting import run_and_kill

from accompgen import audio
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
            found = [audio.read(getattr(song, part)) for song in pieces]
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
    vocal, band = (audio.peak(audio.read(path)[0]) for path in (song.vocal, song.accompaniment))
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
        "key": "C",
        "bpm": 120.0,
        "beats": [[k / 2, 1 + k % 4] for k in range(6)],
        "chords": [[0, 2.5, "C:maj"], [2.5, 3, "G"]],
    }
    (tmp_path / "k.json").write_text(json.dumps(known))
    manifest = lines(tmp_path / "m.jsonl", {"id": "x", "vocal": "v.wav", "accompaniment": "b.wav", "meta": "k.json"})
    prepare.prepare(manifest, tmp_path / "out", SMALL, workers=0)
    first, second = read_manifest(tmp_path / "out/manifest.jsonl")
    about, cut = json.loads(second.meta.read_text()), first.seconds
    assert about["beats"] == [[round(time - cut, 4), beat] for time, beat in known["beats"] if time >= cut]
    expected = [[max(0, a - cut), b - cut, name] for a, b, name in known["chords"]]
    assert [chord[2] for chord in about["chords"]] == ["C:maj", "G"]
    assert np.allclose([chord[:2] for chord in about["chords"]], [chord[:2] for chord in expected])
    assert (about["key"], about["bpm"]) == ("C", 120.0)


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
    with pytest.raises(PrepareError, match=r"begun with sample_rate 16000 \(asked now: 24000\)"):
        prepare.prepare(manifest, tmp_path / "out", other, workers=0)
    prepare.prepare(manifest, tmp_path / "out", other, workers=0, force=True)
    (song,) = read_manifest(tmp_path / "out/manifest.jsonl")
    assert audio.read(song.vocal)[1] == 24_000


def test_mistakes_are_named_before_the_work(tmp_path):
    write(tmp_path / "songs/mix.wav", noise(2.0, 0, channels=2))
    with pytest.raises(PrepareError, match="mix.wav is a mixture, and no separator was chosen"):
        prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, workers=0)
    with pytest.raises(PrepareError, match="held_out is 0.7; expected 0 to 0.5"):
        prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, separator="x", held_out=0.7)
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    for name, content in (("manifest.jsonl", "mine"), ("settings.json", '{"seed": 0}')):  # of synthetic songs, say
        (tmp_path / "full" / name).write_text(content)
        with pytest.raises(PrepareError, match="choose another folder"):
            prepare.prepare(tmp_path / "songs", tmp_path / "full", SMALL, separator="x", workers=0)
    assert (tmp_path / "full/manifest.jsonl").read_text() == "mine"
    own = lines(tmp_path / "manifest.jsonl", {"id": "x", "vocal": "songs/mix.wav"})
    for source, out in ((tmp_path / "songs", tmp_path / "songs/out"), (own, tmp_path)):
        with pytest.raises(PrepareError, match="choose a folder outside"):
            prepare.prepare(source, out, SMALL, separator="x", workers=0)
    lines(tmp_path / "m.jsonl", {"id": "x", "vocal": "songs/mix.wav"})
    with pytest.raises(PrepareError, match=r"nothing of .* can be used: a vocal without accompaniment \(1\)"):
        prepare.prepare(tmp_path / "m.jsonl", tmp_path / "out", SMALL, workers=0)


def test_mixtures_without_demucs_name_the_extra(tmp_path, monkeypatch):
    write(tmp_path / "songs/mix.wav", noise(2.0, 0, channels=2))
    monkeypatch.setitem(sys.modules, "demucs", None)
    with pytest.raises(ImportError, match=r"accompgen\[separate\]"):
        prepare.prepare(tmp_path / "songs", tmp_path / "out", SMALL, separator="htdemucs", workers=0)
