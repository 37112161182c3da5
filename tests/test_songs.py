"""The manifest: what is written is read back, and a line that cannot be used is named."""

import errno
import json
import os

import pytest

from accompgen import files
from accompgen.data.songs import ManifestError, Song, read_manifest, write_manifest
from accompgen.data.tracks import Tracks


def line(**changes):
    values = {"id": "a", "split": "train", "licence": "CC0", "seconds": 2.0, "vocal": "v.wav", "accompaniment": "b.wav"}
    return json.dumps({k: v for k, v in {**values, **changes}.items() if v is not None})


def test_round_trip_keeps_every_field_and_makes_paths_relative(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    tracks = Tracks({name: folder / f"s/{name}.flac" for name in ("vocal", "accompaniment", "drums")})
    songs = [
        Song("eins", "train", "CC0", 30.0, tracks, folder / "s/eins.json"),
        Song("übung-2", "test", "CC BY 4.0", 1.5, Tracks(mixture=tmp_path / "elsewhere/mix.mp3")),
    ]
    write_manifest(folder / "manifest.jsonl", songs)
    first, second = map(json.loads, (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines())
    assert first["tracks"] == {name: f"s/{name}.flac" for name in ("vocal", "accompaniment", "drums")}
    assert second["tracks"] == {"mixture": "../elsewhere/mix.mp3"} and first["meta"] == "s/eins.json"
    assert not {"vocal", "stems", "mixture"} & {*first, *second}
    back = read_manifest(folder / "manifest.jsonl")
    assert [s.id for s in back] == ["eins", "übung-2"]
    assert back[0] == songs[0]
    assert back[1].tracks.mixture.resolve() == (tmp_path / "elsewhere/mix.mp3").resolve()


def test_the_folder_can_move(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    write_manifest(old / "m.jsonl", [Song("a", "train", "CC0", 1.0, Tracks(vocal=old / "v.wav", accompaniment=old / "b.wav"))])
    old.rename(new)
    assert read_manifest(new / "m.jsonl")[0].tracks.vocal == new / "v.wav"


def test_an_absolute_path_stays(tmp_path):
    (tmp_path / "m.jsonl").write_text(line(vocal="/sounds/v.wav"))
    assert str(read_manifest(tmp_path / "m.jsonl")[0].tracks.vocal) == "/sounds/v.wav"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, ": no such file; expected the manifest.jsonl that `accompgen prepare`"),
        (lambda path: path.mkdir(), " is a folder; expected the manifest.jsonl that"),
    ],
)
def test_a_path_without_a_manifest_is_told(tmp_path, make, message):
    make(tmp_path / "m.jsonl")
    with pytest.raises(ManifestError, match="m.jsonl") as caught:
        read_manifest(tmp_path / "m.jsonl")
    assert message in str(caught.value)


def test_a_manifest_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "m.jsonl").write_text(line())
    monkeypatch.setattr(files, "read_text", denied)
    with pytest.raises(ManifestError, match="^cannot read .*m.jsonl: Permission denied$"):
        read_manifest(tmp_path / "m.jsonl")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line() + "\n{half", "line 2"),
        (line() + "\n\n" + line(), "line 3: song id a stands there twice"),
        (line(split="dev"), "'dev' of song a is none of train, validation, test"),
        (line(tempo=90), "tempo"),
        (line(licence=None), "licence"),
        (line(accompaniment=None), "either vocal and accompaniment, or mixture"),
        (line(mixture="m.wav"), "either vocal and accompaniment, or mixture"),
        (line(id="../a"), "cannot be a file name"),
        (line(id=150 * "ü"), f"line 1: song id '{40 * 'ü'}'... of 300 bytes is too long for a file name; use up to 208"),
        (line(id="a\ud800"), "song id 'a\\ud800' cannot be a file name"),
        (line(seconds=0), "more than 0"),
        (line(seconds="3"), "line 1"),
        (line(vocal=3), "line 1"),
        (line(id=7), 'line 1: "id" is 7; expected a text'),
        (line(seconds="3", id=7) + "\n{half\n" + line(split=[]), 'line 3: "split" is []; expected one of train'),
        ("[1, 2]", "line 1"),
        (line(tracks={"vocal": "v.wav"}), '"tracks" stands beside "vocal"'),
        (line(vocal=None, accompaniment=None, tracks={"vocal": 3}), 'line 1: "tracks" is {"vocal": 3}; expected files by name'),
        (line(vocal=None, accompaniment=None, tracks={"vocal": "v.wav"}), "either vocal and accompaniment, or mixture"),
        (line(stems={"a+b": "d.wav"}), "track 'a+b' cannot be called so"),
        (line(stems={"vocal": "d.wav"}), "track 'vocal' cannot be called so"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, text, message):
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(ManifestError, match="m.jsonl") as caught:
        read_manifest(tmp_path / "m.jsonl")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("older", "tracks"),
    [
        ({"vocal": "v.wav", "accompaniment": "b.wav"}, {"vocal": "v.wav", "accompaniment": "b.wav"}),
        (
            {"vocal": "v.wav", "accompaniment": "b.wav", "stems": {"bass": "s.wav"}},
            {"vocal": "v.wav", "accompaniment": "b.wav", "bass": "s.wav"},
        ),
        (
            {"vocal": "v.wav", "accompaniment": None, "stems": ["x/Bass.wav", "y/bass.wav", "all.wav", "a+b.wav"]},
            {"vocal": "v.wav", "bass": "x/Bass.wav", "bass-2": "y/bass.wav", "all-2": "all.wav", "a-b": "a+b.wav"},
        ),
        ({"vocal": None, "accompaniment": None, "mixture": "m.wav"}, {"mixture": "m.wav"}),
    ],
)
def test_a_manifest_of_before_is_read_as_tracks(tmp_path, older, tracks):
    today = line(vocal=None, accompaniment=None, tracks=tracks)
    (tmp_path / "older.jsonl").write_text(line(**older))
    (tmp_path / "today.jsonl").write_text(today)
    songs = read_manifest(tmp_path / "older.jsonl")
    assert songs == read_manifest(tmp_path / "today.jsonl")
    assert songs[0].tracks == {name: tmp_path / file for name, file in tracks.items()}
    write_manifest(tmp_path / "again.jsonl", songs)
    assert json.loads((tmp_path / "again.jsonl").read_text()) == json.loads(today)


def test_a_field_may_hold_any_character_and_a_name_any_bytes(tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9.wav")
    song = Song("a\u2028b", "train", "one\x85two", 1.0, Tracks(vocal=odd, accompaniment=tmp_path / "b.wav"))
    write_manifest(tmp_path / "m.jsonl", [song])
    assert read_manifest(tmp_path / "m.jsonl") == [song]
    (tmp_path / "m.jsonl").write_bytes((tmp_path / "m.jsonl").read_text(encoding="utf-8").encode("utf-8-sig"))
    assert read_manifest(tmp_path / "m.jsonl") == [song]
