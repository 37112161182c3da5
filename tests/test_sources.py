"""Manifests and folders of songs as they are found."""

import json
import unicodedata
from pathlib import Path

import pytest

from accompgen.data.folder_songs import PassedOver
from accompgen.data.songs import ManifestError, Song, write_manifest
from accompgen.data.sources import Source, choose_split, choose_validation, read_sources, read_vocals
from accompgen.data.tracks import Tracks


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
    assert (songs[1].id, songs[1].tracks.mixture, songs[1].licence) == ("y-Mix_one", tmp_path / "y/Mix one.mp3", "CC0")


def test_stems_by_name_are_those_of_the_accompaniment_or_make_it(tmp_path):
    """A manifest of ours names stems beside the accompaniment that they sum to."""
    tracks = Tracks(vocal=tmp_path / "v.wav", accompaniment=tmp_path / "b.wav", bass=tmp_path / "s.wav")
    write_manifest(tmp_path / "ours.jsonl", [Song("a", "train", "CC0", 2.0, tracks)])
    (song,) = read_sources(tmp_path / "ours.jsonl")
    assert song.tracks == tracks and song.files == [tmp_path / "v.wav", tmp_path / "b.wav"]
    (tmp_path / "stems.jsonl").write_text('{"id": "a", "vocal": "v.wav", "stems": {"bass": "s.wav", "drums": "d.wav"}}')
    (song,) = read_sources(tmp_path / "stems.jsonl")
    assert song.files == [tmp_path / name for name in ("v.wav", "s.wav", "d.wav")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a", "vocal": "v.wav", "tempo": 90}', "line 1: unknown field 'tempo'"),
        ('{"id": "a", "vocal": "v.wav", "mixture": "m.wav"}', "line 1: song a needs either a vocal"),
        ('{"id": "a", "vocal": "v.wav", "stems": ["d.wav"], "accompaniment": "b.wav"}', "one of accompaniment and stems"),
        ('{"id": "a", "licence": "CC0"}', "needs either a vocal"),
        ('{"id": "../a", "vocal": "v.wav"}', "cannot be a file name"),
        ('{"vocal": "v.wav", "split": "dev"}', "'dev' of song v is none of"),
        ('{"vocal": "v.wav", "bpm": "120"}', 'line 1: "bpm" is "120"; expected a number of beats a minute such as 120'),
        ('{"vocal": "v.wav", "bpm": -120}', 'line 1: "bpm" is -120; expected a number of beats'),
        ('{"vocal": "v.wav", "bpm": NaN}', 'line 1: "bpm" is NaN; expected a number of beats'),
        ('{"vocal": "v.wav", "bpm": true}', 'line 1: "bpm" is true; expected a number of beats'),
        ('{"id": 17, "vocal": "v.wav"}', 'line 1: "id" is 17; expected a text such as "song 17"'),
        ('{"vocal": "v.wav", "tags": "pop"}', 'line 1: "tags" is "pop"; expected a list of texts such as ["pop"]'),
        ('{"vocal": "v.wav", "stems": "b.wav"}', 'line 1: "stems" is "b.wav"; expected a list of files'),
        ('{"vocal": "v.wav", "stems": [1]}', 'line 1: "stems" is [1]; expected a list of files'),
        ('{"vocal": ["v.wav"]}', 'line 1: "vocal" is ["v.wav"]; expected the path of a file'),
        ('{"vocal": "v.wav", "key": "H"}', "line 1: key 'H' cannot be read; expected a tonic and a mode"),
        ('["v.wav"]', 'line 1: ["v.wav"] is no song; expected an object such as {"id": "one"'),
        ('{"id": 1, "vocal": 2}\n{"vocal": "v.wav"}\n{half', "line 3: no JSON"),  # and all the others, too
        ('{"id": 1, "vocal": 2}\n{"vocal": "v.wav"}\n{half', '"vocal" is 2; expected the path of a file'),
        (f'{{"id": "{"n" * 300}", "vocal": "v.wav"}}', "of 300 bytes is too long for a file name; use up to 200 bytes"),
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize(
    "text",
    [
        'id,vocal,stems,bpm,tags\nGrün,v.wav,"d.wav;b.wav",92.5,pop\n',
        'sep=;\r\nid;vocal;stems;bpm;tags\r\nGrün;v.wav;"d.wav;b.wav";92,5;pop\r\n',
        "id;vocal;stems;bpm;tags\nGrün;v.wav;d.wav,b.wav;92,5;pop;\n\n",
        "Id\tVocal\tStems\tBpm\tTags\nGrün\tv.wav\td.wav;b.wav\t92.5\tpop\n",
    ],
)
def test_csv_as_spreadsheets_write_it(tmp_path, text, encoding):
    (tmp_path / "M.CSV").write_bytes(text.encode(encoding))
    (song,) = read_sources(tmp_path / "M.CSV")
    assert (song.id, song.bpm, song.tags) == ("Grün", 92.5, ("pop",))
    assert [path.name for path in song.files] == ["v.wav", "d.wav", "b.wav"]


def test_columns_that_the_files_say_themselves_are_passed_over(tmp_path):
    (tmp_path / "m.csv").write_text("vocal,seconds,separated\nv.wav,3:20,True\n")
    assert [song.id for song in read_sources(tmp_path / "m.csv")] == ["v"]


def test_a_wrong_number_in_csv_is_told(tmp_path):
    (tmp_path / "m.csv").write_text("vocal,bpm\nv.wav,fast\nw.wav,-3\n")
    with pytest.raises(ManifestError, match='line 2: "bpm" is "fast"; expected a number.*line 3: "bpm" is -3.0; expected'):
        read_sources(tmp_path / "m.csv")


def test_text_in_another_encoding_is_told_with_its_line(tmp_path):
    (tmp_path / "m.csv").write_bytes("vocal\nv.wav\nGrün.wav\n".encode("cp1252"))
    with pytest.raises(ManifestError, match="m.csv, line 3: byte 0xfc is not UTF-8; save the file as UTF-8"):
        read_sources(tmp_path / "m.csv")


def test_json_lines_with_a_mark_and_odd_separators(tmp_path):
    line = json.dumps({"vocal": "v.wav", "tags": ["one\u2028two\x85three"], "licence": "a\u2029b"}, ensure_ascii=False)
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "m.jsonl").write_bytes(f"{line}\r\n".encode(encoding))
        (song,) = read_sources(tmp_path / "m.jsonl")
        assert (song.tags, song.licence) == (("one\u2028two\x85three",), "a\u2029b")


def test_a_name_is_the_same_in_either_form_of_unicode(tmp_path):
    composed, apart = (unicodedata.normalize(form, "Café.wav") for form in ("NFC", "NFD"))
    touch(tmp_path, apart)
    (tmp_path / "m.jsonl").write_text(json.dumps({"vocal": composed}))
    (song,) = read_sources(tmp_path / "m.jsonl")
    assert song.id == "Café" and song.tracks.vocal.exists()
    (tmp_path / "m.jsonl").write_text(f'{json.dumps({"vocal": composed})}\n{json.dumps({"vocal": apart})}')
    with pytest.raises(ManifestError, match="line 2: song id Café stands in line 1, too"):
        read_sources(tmp_path / "m.jsonl")
    assert [song.id for song in read_sources(tmp_path)] == ["Café"]


def test_stems_beside_a_voice_by_their_names(tmp_path):
    """What synthesize and generate write lies in one folder: no stem is taken for a song."""
    touch(tmp_path, *(f"a.{part}.flac" for part in ("vocal", "accompaniment", "bass", "drums", "mix")), "a.wav")
    touch(tmp_path, "b.Vocals.wav", "b.bass.wav", "b.keys.aiff", "c.wav")
    passed = PassedOver()
    songs = {song.id: song for song in read_sources(tmp_path, passed)}
    assert set(songs) == {"a", "b", "c"}
    assert [path.name for path in songs["a"].files] == ["a.vocal.flac", "a.accompaniment.flac"]
    assert [path.name for path in songs["b"].files] == ["b.Vocals.wav", "b.bass.wav", "b.keys.aiff"]
    assert {path.name for path in passed.paths["mixtures beside their parts"]} == {"a.mix.flac", "a.wav"}
    assert passed.lines(1)[0].endswith("and 1 more")


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
    assert [path.name for path in songs["valid-duo"].tracks.accompaniment] == ["instrumental.flac"]
    assert songs["pairs-one"].files[1].name == "one.accompaniment.flac"
    assert songs["pairs-alone"].files == [tmp_path / "pairs/alone.vocals.wav"]
    assert songs["loose-Ein_Lied"].tracks.mixture == tmp_path / "loose/Ein Lied.mp3"


def test_paths_that_an_id_cannot_tell_apart_get_two_ids(tmp_path):
    touch(tmp_path, "a b.wav", "a_b.wav")
    names = {song.tracks.mixture.name: song.id for song in read_sources(tmp_path)}
    assert len(set(names.values())) == 2
    touch(tmp_path, "0.wav")  # more songs do not change them
    assert names.items() <= {song.tracks.mixture.name: song.id for song in read_sources(tmp_path)}.items()


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
    assert read_vocals(tmp_path / "m.jsonl") == ({"a": tmp_path / "a.wav", "b": tmp_path / "b.wav"}, [])
    assert list(read_vocals(tmp_path / "m.jsonl", "test")[0]) == ["a"]
    with pytest.raises(ManifestError, match="no song of the split validation"):
        read_vocals(tmp_path / "m.jsonl", "validation")
    touch(tmp_path, "folder/x.wav", "folder/y.vocal.flac", "folder/y.accompaniment.flac")
    touch(tmp_path, "folder/take.flac", "folder/take.wav", "folder/talk.m4a")
    vocals, faults = read_vocals(tmp_path / "folder")
    assert {name: path.name for name, path in vocals.items()} == {"x": "x.wav", "y": "y.vocal.flac", "talk": "talk.m4a"}
    assert len(faults) == 1 and faults[0].startswith("take: take.flac and take.wav in ")
    (tmp_path / "m.jsonl").write_text('{"id": "a", "mixture": "a.wav"}')
    with pytest.raises(ManifestError, match="a is a mixture; give its vocal"):
        read_vocals(tmp_path / "m.jsonl")


def test_songs_held_out_by_number_are_the_sources_own_first():
    told = [None, "validation", None, "test", None, "train"]
    songs = [Source(f"s{n}", split, tracks=Tracks(vocal=Path("v.wav"))) for n, split in enumerate(told)]
    for count, expected in ((0, 1), (1, 1), (2, 2), (9, 3)):  # and one of the three that say none stays to train on
        splits = choose_validation(songs, count)
        assert [splits[name] for name in ("s1", "s3", "s5")] == ["validation", "test", "train"]
        assert list(splits.values()).count("validation") == expected and "train" in (splits[f"s{n}"] for n in (0, 2, 4))
