"""Token shards: what goes in comes out, damage is named, and tokenising survives being killed."""

import json

import numpy as np
import pytest
import soundfile
from counting import contents
from fake_shards import make_shards

from accompgen import audio
from accompgen.cli import main
from accompgen.config import ConfigError
from accompgen.data import shards, tokenize
from accompgen.data.pairs import PairError, mix_length, read_mix, read_pair
from accompgen.data.songs import Song, write_manifest
from accompgen.data.tokenize_song import Tokenizing
from accompgen.data.tracks import Tracks


def test_any_span_of_a_song_is_the_same_as_cut_from_the_whole(tmp_path):
    store = shards.open_shards(make_shards(tmp_path / "shards"))
    song = store.songs[5]
    whole, part = store.read(song), store.read(song, first_block=7, blocks=11)
    assert np.array_equal(part["semantic/vocal"], whole["semantic/vocal"][14:36])
    assert np.array_equal(part["semantic/all"], whole["semantic/all"][14:36])
    assert np.array_equal(part["acoustic/all"], whole["acoustic/all"][:, 21:54])
    with pytest.raises(shards.ShardError, match="has 50 blocks; asked for 11 from block 40"):
        store.read(song, 40, 11)


def test_arrays_are_read_by_name_and_at_their_rates(tmp_path):
    store = shards.open_shards(make_shards(tmp_path / "shards", band=True))
    bare, song = store.songs[:2]
    tokens = store.read(song, 7, 11, ["chord", "beat", "acoustic/bass", "semantic/drums+harmony"])
    assert [ids.shape for ids in tokens.values()] == [(11,), (22,), (4, 33), (22,)]
    chord = store.read(song)["chord"].tolist()
    assert tokens["chord"].tolist() == chord[7:18] == [chord[7]] * 3 + [chord[7] + 1] * 8 and chord[:5] == [-1] * 5
    assert set(store.read(song)) == set(song.arrays) > set(bare.arrays)
    with pytest.raises(shards.ShardError, match="song-0 has no chord; it has semantic/vocal, semantic/all"):
        store.read(bare, arrays=["chord"])


@pytest.mark.parametrize(
    "name, ids, words",
    [
        ("mel/all", np.zeros(20), "array 'mel/all' is of no known tokenizer; expected one of semantic, acoustic"),
        ("chord", np.zeros(20), r"chord has the shape \(20,\); 10 blocks need 10 frames"),
        ("semantic/all", np.full(20, -1), "semantic/all holds ids from -1 to -1; int16 needs 0 to 32767"),
        ("beat", np.full(20, -2), "beat holds ids from -2 to -2; int16 needs -1 to 32767"),
        ("semantic/all", np.full(20, 2**15), "holds ids from 32768 to 32768"),
    ],
)
def test_ids_that_cannot_be_are_refused(tmp_path, name, ids, words):
    with pytest.raises(shards.ShardError, match=words):
        shards.write_shard(tmp_path / "x", [{"id": "a", "split": "train", "blocks": 10}], {"a": {name: ids}}, "plan", {})
    assert list(tmp_path.iterdir()) == []


def test_shards_of_an_earlier_format_are_refused(tmp_path):
    folder = make_shards(tmp_path / "shards")
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(index | {"format_version": 1}))
    with pytest.raises(shards.ShardError, match="format_version 1; this version reads 2: tokenize the songs again"):
        shards.open_shards(folder)


def test_a_missing_and_a_cut_shard_are_named(tmp_path):
    folder = make_shards(tmp_path / "shards")
    victim = folder / shards.shard_name(1)
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-10])
    with pytest.raises(shards.ShardError, match="shard-00001.safetensors has"):
        shards.open_shards(folder)
    victim.unlink()
    with pytest.raises(shards.ShardError, match="shard-00001.safetensors is missing"):
        shards.open_shards(folder)
    with pytest.raises(shards.ShardError, match="run `accompgen tokenize`"):
        shards.open_shards(tmp_path / "nothing")


def alter(path):
    """Flip one bit of the last tensor: the size and the header stay as they were."""
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def test_an_altered_shard_is_named_when_a_small_folder_is_opened(tmp_path):
    folder = make_shards(tmp_path / "shards")
    alter(folder / shards.shard_name(1))
    with pytest.raises(shards.ShardError, match="shard-00001.safetensors was altered: its sha256 .* which makes it anew"):
        shards.open_shards(folder)


def test_of_a_large_folder_an_altered_shard_is_named_before_its_tokens_are_used(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "CHECK_AT_OPEN_BYTES", 0)
    folder = make_shards(tmp_path / "shards")
    whole = shards.open_shards(folder).read(shards.open_shards(folder).songs[0])
    alter(folder / shards.shard_name(1))
    store = shards.open_shards(folder)
    assert np.array_equal(store.read(store.songs[0])["acoustic/all"], whole["acoustic/all"])
    for _ in range(2):  # also when it was named before
        with pytest.raises(shards.ShardError, match="shard-00001.safetensors was altered"):
            store.read(store.songs[-1], 0, 1)
    with pytest.raises(shards.ShardError, match="shard-00001.safetensors was altered"):
        store.check()


def test_lengths_that_are_not_whole_blocks_are_refused(tmp_path):
    tokens = {"a": {"semantic/vocal": np.zeros(20), "semantic/all": np.zeros(20), "acoustic/all": np.zeros((4, 29))}}
    entry = {"id": "a", "split": "train", "blocks": 10}
    with pytest.raises(shards.ShardError, match=r"acoustic/all has the shape \(4, 29\); 10 blocks need 30 frames"):
        shards.write_shard(tmp_path / "x", [entry], tokens, "plan", {"vocab": 1, "bins": 1})
    assert list(tmp_path.iterdir()) == []


# ---- pairs and tokenising, with tokenizers that only count ----


class Counter:
    """Stands for a tokenizer: the id of a frame is 50 times its mean, plus 20."""

    def __init__(self, rate, codebooks=None):
        self.sample_rate, self.codebooks, self.vocab, self.bins = rate, codebooks, 500, 1024

    def encode(self, wav, codebooks=None):
        frames = wav.unfold(-1, 320, 320).mean(-1)  # [B, T]
        ids = (frames * 50 + 20).round().long().clamp(0, 499)
        return ids if codebooks is None else ids[:, None].repeat(1, codebooks, 1)


@pytest.fixture
def manifest(tmp_path):
    """Five songs of 1.0 to 1.4 s; the vocal rises, the accompaniment falls; rates and channels differ."""
    songs = []
    for number in range(5):
        for name, rate, slope in (("vocal", 16000, 0.4), ("accompaniment", 44100, -0.4)):
            time = np.arange(round((1.0 + number / 10) * rate)) / rate
            wave = (slope * time + number / 20).astype(np.float32)
            audio.write(tmp_path / f"{number}.{name}.wav", np.stack([wave] * (1 + number % 2)), rate)
        tracks = Tracks({part: tmp_path / f"{number}.{part}.wav" for part in ("vocal", "accompaniment")})
        songs.append(Song(f"s{number}", "train", "none", 1.0 + number / 10, tracks))
    write_manifest(tmp_path / "manifest.jsonl", songs)
    return tmp_path / "manifest.jsonl"


@pytest.fixture
def tokenizers(tmp_path, monkeypatch):
    """Two component directories, loaded as counters."""
    for name, kind in (("semantic", "semantic_tokenizer"), ("acoustic", "encodec")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"kind": kind}))
        (tmp_path / name / "model.safetensors").write_bytes(name.encode())
    monkeypatch.setattr(tokenize, "_load", lambda job: (Counter(16000), Counter(24000, 8)))
    return tmp_path / "semantic", tmp_path / "acoustic"


def test_a_pair_is_cut_to_the_blocks_that_both_waves_hold(tmp_path):
    audio.write(tmp_path / "v.wav", np.linspace(-0.5, 0.5, 44100 + 1000, dtype=np.float32)[None], 44100)
    audio.write(tmp_path / "a.wav", np.full((2, 48000), 0.25, dtype=np.float32), 48000)
    song = Song("x", "train", "none", 1.0, Tracks(vocal=tmp_path / "v.wav", accompaniment=tmp_path / "a.wav"))
    blocks, waves = read_pair(song, (16000, 24000))
    assert blocks == 25
    assert [wave.shape for rate in (16000, 24000) for wave in waves[rate]] == [(16000,), (16000,), (24000,), (24000,)]
    assert abs(waves[16000][0][8000] - (-0.5 + 0.5 * 44100 / 45100)) < 1e-3  # the vocal starts where it started
    assert np.allclose(waves[24000][1][100:-100], 0.25, atol=1e-3)


def test_a_pair_of_two_lengths_is_refused_by_name(tmp_path):
    audio.write(tmp_path / "v.wav", np.zeros((1, 16000), np.float32), 16000)
    audio.write(tmp_path / "a.wav", np.zeros((1, 20000), np.float32), 16000)
    with pytest.raises(PairError, match="lost: the vocal lasts 1.00 s and the accompaniment 1.25 s"):
        tracks = Tracks(vocal=tmp_path / "v.wav", accompaniment=tmp_path / "a.wav")
        read_pair(Song("lost", "train", "none", 1.0, tracks), (16000,))


def test_files_of_any_format_are_read_to_their_end(tmp_path):
    wav = np.random.default_rng(0).normal(scale=0.1, size=(2, 44100)).astype(np.float32)
    for name in ("v.wav", "v.flac", "v.mp3", "v.ogg"):
        soundfile.write(tmp_path / name, wav.T, 44100)
        found, rate = read_mix((tmp_path / name,))
        assert rate == 44100 and found.shape[0] == 2 and abs(found.shape[1] - 44100) < 3000, name
    tracks = Tracks(vocal=tmp_path / "v.mp3", accompaniment=tmp_path / "v.mp3")
    blocks, _ = read_pair(Song("compressed", "train", "none", 1.0, tracks), (16000,))
    assert blocks >= 24, "a second, but for what a codec adds or takes"


def test_stems_of_one_rate_and_length_are_summed_and_others_refused(tmp_path):
    mono, stereo = np.full((1, 16000), 0.1, np.float32), np.stack([np.full(16100, x, np.float32) for x in (0.2, 0.4)])
    for name, wav, rate in (("a", mono, 16000), ("b", stereo, 16000), ("c", mono, 8000), ("d", mono[:, :8000], 16000)):
        audio.write(tmp_path / f"{name}.wav", wav, rate)
    a, b, c, d = (tmp_path / f"{name}.wav" for name in "abcd")
    wav, rate = read_mix((a, b))
    assert (wav.shape, rate) == ((2, 16000), 16000) == ((2, mix_length((a, b))[0]), mix_length((a, b))[1])
    np.testing.assert_allclose(wav[:, 0], [0.3, 0.5], atol=1e-4)
    for other in (c, d):
        for read in (read_mix, mix_length):
            with pytest.raises(audio.AudioError, match=rf"{other.name}.*stems that are summed need one rate and length"):
                read((a, other))


def test_tokens_stand_where_their_sound_was(manifest, tokenizers, tmp_path):
    settings = dict(workers=0, shard_minutes=2.6 / 60)
    done = tokenize.tokenize_manifest(manifest, *tokenizers, tmp_path / "out", Tokenizing(vocal_noise=0.0), **settings)
    assert done["songs"] == 5 and done["made"] == done["shards"] == 3
    store = shards.open_shards(tmp_path / "out")
    song = store.songs[3]
    tokens = store.read(song)
    assert (song.id, song.blocks) == ("s3", 32)  # 1.3 s
    middle = (np.arange(64) + 0.5) / 50
    expected = np.round((0.4 * middle + 0.15) * 50 + 20)
    assert np.abs(tokens["semantic/vocal"] - expected)[1:-1].max() <= 1  # the filter rings at the ends
    middle = (np.arange(96) + 0.5) / 75
    assert np.abs(tokens["acoustic/all"] - np.round((0.15 - 0.4 * middle) * 50 + 20))[:, 1:-1].max() <= 1
    assert tokens["acoustic/all"].shape == (8, 96)


def test_a_killed_run_goes_on_and_ends_like_an_uninterrupted_one(manifest, tokenizers, tmp_path, monkeypatch):
    settings = dict(config=Tokenizing(seed=3), workers=0, shard_minutes=2.6 / 60)
    tokenize.tokenize_manifest(manifest, *tokenizers, tmp_path / "whole", **settings)
    real, seen = tokenize.tokenize_song, []

    def dies(song, *rest):
        seen.append(song.id)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return real(song, *rest)

    monkeypatch.setattr(tokenize, "tokenize_song", dies)
    with pytest.raises(KeyboardInterrupt):
        tokenize.tokenize_manifest(manifest, *tokenizers, tmp_path / "killed", **settings)
    assert not (tmp_path / "killed" / "index.json").exists()
    (tmp_path / "killed" / ".shard-00001.safetensors.part").write_bytes(b"half")  # what kill -9 leaves
    done = tokenize.tokenize_manifest(manifest, *tokenizers, tmp_path / "killed", **settings)
    assert done["made"] == 2 and seen[4:] == ["s2", "s3", "s4"]  # the first shard, s0 and s1, was kept
    names = ["index.json", *(shards.shard_name(number) for number in range(3))]
    assert all((tmp_path / "killed" / n).read_bytes() == (tmp_path / "whole" / n).read_bytes() for n in names)


def test_an_altered_shard_is_made_anew_and_never_taken_into_the_index(manifest, tokenizers, tmp_path, capsys):
    settings = dict(workers=0, shard_minutes=2.6 / 60)
    tokenize.tokenize_manifest(manifest, *tokenizers, tmp_path / "out", **settings)
    victim, before = tmp_path / "out" / shards.shard_name(1), contents(tmp_path / "out")
    alter(victim)
    assert tokenize.tokenize_manifest(manifest, *tokenizers, tmp_path / "out", **settings)["made"] == 1
    assert contents(tmp_path / "out") == before and "shard-00001.safetensors was altered" in capsys.readouterr().err
    assert tokenize.tokenize_manifest(manifest, *tokenizers, tmp_path / "out", **settings)["made"] == 0


def test_a_song_that_cannot_be_read_is_left_out_and_named(manifest, tokenizers, tmp_path):
    settings = dict(workers=0, shard_minutes=2.6 / 60)
    tokenize.tokenize_manifest(manifest, *tokenizers, tmp_path / "whole", **settings)
    sound = (tmp_path / "3.vocal.wav").read_bytes()
    (tmp_path / "3.vocal.wav").write_bytes(b"no sound")
    (tmp_path / "4.accompaniment.wav").unlink()
    done = tokenize.tokenize_manifest(manifest, *tokenizers, tmp_path / "out", **settings)
    assert "3.vocal.wav: not sound" in done["left_out"]["s3"] and "4.accompaniment.wav: no such file" in done["left_out"]["s4"]
    assert [song.id for song in shards.open_shards(tmp_path / "out").songs] == ["s0", "s1", "s2"]
    (tmp_path / "3.vocal.wav").write_bytes(sound)  # mended, it comes in, and what was whole is not made again
    done = tokenize.tokenize_manifest(manifest, *tokenizers, tmp_path / "out", **settings)
    assert list(done["left_out"]) == ["s4"] and done["made"] == 2
    assert [song.id for song in shards.open_shards(tmp_path / "out").songs] == ["s0", "s1", "s2", "s3"]
    for number in range(5):
        (tmp_path / f"{number}.vocal.wav").unlink()
    with pytest.raises(PairError, match="no song of .* can be used: s0: .*0.vocal.wav: no such file"):
        tokenize.tokenize_manifest(manifest, *tokenizers, tmp_path / "none", **settings)


def test_shards_of_other_tokenizers_are_kept_unless_forced(manifest, tokenizers, tmp_path):
    tokenize.tokenize_manifest(manifest, *tokenizers, tmp_path / "out", workers=0)
    before = (tmp_path / "out" / shards.shard_name(0)).read_bytes()
    (tokenizers[0] / "model.safetensors").write_bytes(b"trained on")
    other = "was made from other songs, tokenizers or settings; use another folder, or --force "
    with pytest.raises(shards.ShardError, match=other):
        tokenize.tokenize_manifest(manifest, *tokenizers, tmp_path / "out", workers=0)
    assert (tmp_path / "out" / shards.shard_name(0)).read_bytes() == before
    tokenize.tokenize_manifest(manifest, *tokenizers, tmp_path / "out", workers=0, force=True)
    assert (tmp_path / "out" / shards.shard_name(0)).read_bytes() != before


def test_a_shard_of_a_song_that_is_gone_is_kept_unless_forced(manifest, tokenizers, tmp_path):
    settings = {"workers": 0, "shard_minutes": 1.0 / 60}
    tokenize.tokenize_manifest(manifest, *tokenizers, tmp_path / "out", **settings)
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:4]))
    with pytest.raises(shards.ShardError, match="is not of this manifest; .* or --force "):
        tokenize.tokenize_manifest(manifest, *tokenizers, tmp_path / "out", **settings)


def test_what_is_no_manifest_and_no_tokenizer_is_named(manifest, tokenizers, tmp_path, capsys):
    """In one line each, before the work; the manifest first, where nothing else is there either."""
    semantic, acoustic = tokenizers
    (tmp_path / "empty").mkdir()
    (tmp_path / "stage").mkdir()
    (tmp_path / "stage" / "config.json").write_text('{"stage": {}}')
    expected = "expected the manifest.jsonl that `accompgen prepare` wrote"
    for source, first, second, message in (
        ("nope.jsonl", "none", "none", f"nope.jsonl: no such file; {expected}"),
        ("empty", "none", "none", f"empty is a folder; {expected}"),
        (".", "none", "none", f"{expected}: give {manifest}"),
        ("0.vocal.wav", "none", "none", f"0.vocal.wav is sound; {expected}"),
        (manifest, "none", acoustic, "cannot read"),
        (manifest, acoustic, semantic, f"--semantic-tokenizer {acoustic} holds encodec; expected "),
        (manifest, acoustic, semantic, "semantic_tokenizer; the two tokenizers are swapped"),
        (manifest, acoustic, acoustic, "holds encodec; expected semantic_tokenizer"),
        (manifest, semantic, "stage", "stage holds stage; expected encodec"),
    ):  # fmt: skip
        places = {"--semantic-tokenizer": first, "--acoustic-tokenizer": second, "-o": "out"}
        options = [word for name, place in places.items() for word in (name, str(tmp_path / place))]
        assert main(["tokenize", str(tmp_path / source), *options]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("accompgen: ") and message in line and "Errno" not in line, line
        assert not (tmp_path / "out").exists()


def test_the_noise_depends_on_seed_and_song_alone(manifest, tmp_path):
    from accompgen.data.songs import read_manifest

    first, second = read_manifest(manifest)[:2]
    units = Counter(16000), Counter(24000, 8)
    settings = [Tokenizing(vocal_noise=0.3, seed=seed) for seed in (0, 0, 1)]
    vocal = [tokenize.tokenize_song(first, *units, config)[1]["semantic/vocal"] for config in settings]
    assert np.array_equal(vocal[0], vocal[1]) and not np.array_equal(vocal[0], vocal[2])
    other = tokenize.tokenize_song(second, *units, settings[0])[1]["semantic/vocal"]
    assert not np.array_equal(other[:50] - other[:50].mean(), vocal[0][:50] - vocal[0].mean())


def test_two_processes_make_what_one_makes(manifest, tmp_path):
    from tiny import make_checkpoint

    pocket = make_checkpoint(tmp_path / "pocket")
    parts = pocket / "semantic_tokenizer", pocket / "acoustic_tokenizer"
    for workers in (0, 2):
        tokenize.tokenize_manifest(
            manifest, *parts, tmp_path / str(workers), Tokenizing(codebooks=4), workers=workers, shard_minutes=2.6 / 60
        )
    names = ["index.json", *(shards.shard_name(number) for number in range(3))]
    assert all((tmp_path / "0" / name).read_bytes() == (tmp_path / "2" / name).read_bytes() for name in names)


# ---- stems, mixtures and the chart ----

PARTS = ("drums", "bass", "harmony")
META = {"beats": [[0.1 + 0.25 * n, n % 4 + 1] for n in range(5)], "chords": [[0.2, 0.6, "C"], [0.6, 1.0, "A:min"]]}


@pytest.fixture
def band_manifest(tmp_path):
    """Two songs of 1 s: one with three stems, which sum to its accompaniment, and a chart; one with the accompaniment alone."""
    rng, songs = np.random.default_rng(0), []
    for number in range(2):
        names = ("vocal", *(("accompaniment",) if number else PARTS))
        files = Tracks({name: tmp_path / f"{number}.{name}.wav" for name in names})
        waves = {name: rng.uniform(-0.2, 0.2, (1, 50)).repeat(320, 1).astype(np.float32) for name in files}
        for name, path in files.items():
            audio.write(path, waves[name], 16000)
        (tmp_path / f"{number}.json").write_text(json.dumps(META))
        meta = tmp_path / "0.json" if not number else None
        songs.append(Song(f"s{number}", "train", "none", 1.0, files, meta))
    write_manifest(tmp_path / "manifest.jsonl", songs)
    return tmp_path / "manifest.jsonl"


def test_stems_mixtures_and_the_chart_of_a_song(band_manifest, tokenizers, tmp_path):
    config = Tokenizing(codebooks=4, stems=(*PARTS, "all"), mixtures=3, vocal_noise=0.0)
    tokenize.tokenize_manifest(band_manifest, *tokenizers, tmp_path / "out", config, workers=0)
    store = shards.open_shards(tmp_path / "out")
    full, plain = store.songs
    mixtures = ("drums+bass", "drums+harmony", "bass+harmony")
    heard = {f"semantic/{name}" for name in ("vocal", "all", *PARTS, *mixtures)}
    assert set(full.arrays) == heard | {f"acoustic/{name}" for name in (*PARTS, "all")} | {"beat", "chord"}
    assert set(plain.arrays) == {"semantic/vocal", "semantic/all", "acoustic/all"}, "no stem, so no mixture; no chart"
    tokens = store.read(full)
    stems = {name: tokens[f"semantic/{name}"] - 20.0 for name in PARTS}  # the ids follow from the sound
    for mixture in mixtures:
        expected = sum(stems[name] for name in mixture.split("+")) + 20
        assert np.abs(tokens[f"semantic/{mixture}"] - expected)[2:-2].max() <= 2
    assert np.abs(tokens["semantic/all"] - sum(stems.values()) - 20)[2:-4].max() <= 3
    assert tokens["acoustic/bass"].shape == (4, 75) and not np.array_equal(tokens["acoustic/bass"], tokens["acoustic/drums"])
    assert tokens["chord"].tolist() == [-1] * 5 + [1] * 10 + [22] * 10  # not known before the first; C, A minor
    beat = tokens["beat"]
    # a bar begins at 0.1 s, and 0.25 s make a beat: its parts are counted from 16, those of the next beat from 0
    assert beat.shape == (50,) and beat[5] == 16 and (np.diff(beat[5:17]) > 0).all() and beat[16] > 28 and beat[18] < 3


def test_mixtures_are_drawn_for_each_song_and_of_two_stems_at_least(band_manifest, tokenizers, tmp_path):
    config = Tokenizing(codebooks=0, stems=PARTS, mixtures=1)
    done = tokenize.tokenize_manifest(band_manifest, *tokenizers, tmp_path / "out", config, workers=0)
    (song,) = shards.open_shards(tmp_path / "out").songs
    assert "s1 has none of the stems drums, bass, harmony; it has none" in done["left_out"]["s1"]
    assert len([name for name in song.arrays if "+" in name]) == 1 and not any("acoustic" in name for name in song.arrays)
    with pytest.raises(shards.ShardError, match="other songs, tokenizers or settings"):
        tokenize.tokenize_manifest(band_manifest, *tokenizers, tmp_path / "out", Tokenizing(stems=PARTS), workers=0)


@pytest.mark.parametrize(
    "text",
    ["{", '{"beats": [["one", 1]]}', '{"chords": [[0, 1, "H:major"]]}', '{"beats": [[1, 1], [0, 2]]}', '{"chords": [3]}'],
)
def test_a_chart_that_cannot_be_read_names_its_song(band_manifest, tokenizers, tmp_path, text):
    (tmp_path / "0.json").write_text(text)
    done = tokenize.tokenize_manifest(band_manifest, *tokenizers, tmp_path / "out", workers=0)
    assert "s0: " in done["left_out"]["s0"] and "its beats or chords cannot be read" in done["left_out"]["s0"]


@pytest.mark.parametrize(
    "values, words",
    [
        ({"stems": ()}, "expected at least one"),
        ({"stems": ("all", "all")}, "each once"),
        ({"codebooks": -1}, "codebooks is -1"),
        ({"vocal_noise": 2.0}, "vocal_noise is 2.0"),
    ],
)
def test_settings_out_of_range_are_refused(values, words):
    with pytest.raises(ConfigError, match=words):
        Tokenizing(**values)
