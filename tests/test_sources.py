"""Manifests and folders of songs as they are found."""

import json

import pytest

from accompgen.data.songs import ManifestError, Song, write_manifest
from accompgen.data.sources import choose_split, read_sources, read_vocals


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")


def test_json_and_csv_say_the_same(tmp_path):
    (tmp_path / "m.jsonl").write_text(
        '{"id": "a", "vocal": "x/v.wav", "stems": ["x/d.wav", "x/b.wav"], "bpm": 92, "tags": ["pop", "slow"], '
        '"split": "test"}\n'
        '\n{"mixture": "y/Mix one.mp3", "licence": "CC0", "key": "A minor"}\n'
    )
    (tmp_path / "m.csv").write_text(
        "id,vocal,stems,mixture,bpm,tags,split,licence,key\n"
        "a,x/v.wav,x/d.wav; x/b.wav,,92,pop;slow,test,,\n"
        ",,,y/Mix one.mp3,,,,CC0,A minor\n"
    )
    songs = read_sources(tmp_path / "m.jsonl")
    assert songs == read_sources(tmp_path / "m.csv")
    assert songs[0].files == [tmp_path / "x/v.wav", tmp_path / "x/d.wav", tmp_path / "x/b.wav"]
    assert (songs[0].bpm, songs[0].tags, songs[0].split) == (92.0, ("pop", "slow"), "test")
    assert (songs[1].id, songs[1].mixture, songs[1].licence) == ("y-Mix_one", tmp_path / "y/Mix one.mp3", "CC0")


def test_stems_by_name_are_those_of_the_accompaniment_or_make_it(tmp_path):
    """A manifest of ours names stems beside the accompaniment that they sum to."""
    both = Song("a", "train", "CC0", 2.0, tmp_path / "v.wav", tmp_path / "b.wav", stems={"bass": tmp_path / "s.wav"})
    write_manifest(tmp_path / "ours.jsonl", [both])
    (song,) = read_sources(tmp_path / "ours.jsonl")
    assert (song.accompaniment.name, song.stems) == ("b.wav", ())
    (tmp_path / "stems.jsonl").write_text('{"id": "a", "vocal": "v.wav", "stems": {"bass": "s.wav", "drums": "d.wav"}}')
    (song,) = read_sources(tmp_path / "stems.jsonl")
    assert song.accompaniment is None and [path.name for path in song.stems] == ["s.wav", "d.wav"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a", "vocal": "v.wav", "tempo": 90}', "line 1: unknown field 'tempo'"),
        ('{"id": "a", "vocal": "v.wav", "mixture": "m.wav"}', "line 1: song a needs either a vocal"),
        ('{"id": "a", "vocal": "v.wav", "stems": ["d.wav"], "accompaniment": "b.wav"}', "one of accompaniment and stems"),
        ('{"id": "a", "licence": "CC0"}', "needs either a vocal"),
        ('{"id": "../a", "vocal": "v.wav"}', "cannot be a file name"),
        ('{"vocal": "v.wav", "split": "dev"}', "'dev' of song v is none of"),
        ('{"vocal": "v.wav", "bpm": "fast"}', "line 1"),
        ('{"vocal": "v.wav"}\n{"vocal": "v.flac"}', "line 2: song id v stands in line 1, too"),
        ("{half", "line 1"),
        ("", "holds no songs"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, line, message):
    (tmp_path / "m.jsonl").write_text(line)
    with pytest.raises(ManifestError) as caught:
        read_sources(tmp_path / "m.jsonl")
    assert message in str(caught.value) and "m.jsonl" in str(caught.value)


def test_a_row_longer_than_the_header_is_named(tmp_path):
    (tmp_path / "m.csv").write_text("id,mixture\na,m.wav,more\n")
    with pytest.raises(ManifestError, match="m.csv, line 2: more values"):
        read_sources(tmp_path / "m.csv")


def test_a_folder_is_read_by_its_layout(tmp_path):
    touch(
        tmp_path,
        "train/Artist - Song/vocals.wav", "train/Artist - Song/drums.wav", "train/Artist - Song/bass.wav",
        "train/Artist - Song/other.wav", "train/Artist - Song/mixture.wav",
        "valid/duo/vocal.flac", "valid/duo/instrumental.flac", "valid/duo/drums.flac",
        "pairs/one.vocal.flac", "pairs/one.accompaniment.flac", "pairs/alone.vocals.wav",
        "loose/Ein Lied.mp3", "loose/notes.txt", "loose/.hidden.wav",
    )  # fmt: skip
    songs = {song.id: song for song in read_sources(tmp_path)}
    assert set(songs) == {"train-Artist_-_Song", "valid-duo", "pairs-one", "pairs-alone", "loose-Ein_Lied"}
    stems = songs["train-Artist_-_Song"]
    assert [path.name for path in stems.files] == ["vocals.wav", "bass.wav", "drums.wav", "other.wav"]  # not the mixture
    assert (stems.split, songs["valid-duo"].split, songs["pairs-one"].split) == ("train", "validation", None)
    assert songs["valid-duo"].accompaniment.name == "instrumental.flac" and songs["valid-duo"].stems == ()
    assert songs["pairs-one"].accompaniment.name == "one.accompaniment.flac"
    assert songs["pairs-alone"].files == [tmp_path / "pairs/alone.vocals.wav"]
    assert songs["loose-Ein_Lied"].mixture == tmp_path / "loose/Ein Lied.mp3"


def test_paths_that_an_id_cannot_tell_apart_get_two_ids(tmp_path):
    touch(tmp_path, "a b.wav", "a_b.wav")
    names = {song.mixture.name: song.id for song in read_sources(tmp_path)}
    assert len(set(names.values())) == 2
    touch(tmp_path, "0.wav")  # more songs do not change them
    assert names.items() <= {song.mixture.name: song.id for song in read_sources(tmp_path)}.items()


def test_songs_without_a_split_get_one_by_their_id(tmp_path):
    touch(tmp_path, *(f"{number}.wav" for number in range(1000)), "test/x.wav")
    songs = read_sources(tmp_path)
    splits = [choose_split(song, 0.1) for song in songs]
    assert 70 < splits.count("validation") < 130 and 70 < splits.count("test") < 130
    assert splits == [choose_split(song, 0.1) for song in songs]
    assert {choose_split(song, 0.0) for song in songs if song.split is None} == {"train"}
    assert next(choose_split(song, 0.0) for song in songs if song.id == "test-x") == "test"


def test_a_song_without_an_id_is_named_by_its_file(tmp_path):
    paths = ["set/x.y.wav", "set/A Song/vocals.wav", "set/one.vocal.flac", "vocals.wav", "B/mixture.wav"]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps({"vocal": path}) + "\n" for path in paths))
    assert [song.id for song in read_sources(tmp_path / "m.jsonl")] == ["set-x.y", "set-A_Song", "set-one", "vocals", "B"]


def test_vocals_to_sing_with_come_from_pairs_and_from_bare_recordings(tmp_path):
    (tmp_path / "m.jsonl").write_text(
        '{"id": "a", "vocal": "a.wav", "split": "test"}\n'
        '{"id": "b", "vocal": "b.wav", "accompaniment": "c.wav", "split": "train"}\n'
    )
    assert read_vocals(tmp_path / "m.jsonl") == {"a": tmp_path / "a.wav", "b": tmp_path / "b.wav"}
    assert list(read_vocals(tmp_path / "m.jsonl", "test")) == ["a"]
    with pytest.raises(ManifestError, match="no song of the split validation"):
        read_vocals(tmp_path / "m.jsonl", "validation")
    touch(tmp_path, "folder/x.wav", "folder/y.vocal.flac", "folder/y.accompaniment.flac")
    assert read_vocals(tmp_path / "folder") == {"x": tmp_path / "folder/x.wav", "y": tmp_path / "folder/y.vocal.flac"}
    (tmp_path / "m.jsonl").write_text('{"id": "a", "mixture": "a.wav"}')
    with pytest.raises(ManifestError, match="a is a mixture; give its vocal"):
        read_vocals(tmp_path / "m.jsonl")
