"""Songs that sound: the band's chords, the job and its files. Needs flite and a soundfont."""

import json
import os
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import FLITE

from accompgen import audio
from accompgen.analysis.labels import harmony
from accompgen.data.executors import ExecutorError
from accompgen.data.songs import read_manifest
from accompgen.data.synthetic import make
from accompgen.data.synthetic import render as band_sound
from accompgen.data.synthetic import voices as speakers
from accompgen.data.synthetic.band import CRASH, INSTRUMENTS, STEMS, arrange
from accompgen.data.synthetic.compose import compose
from accompgen.data.synthetic.effects import Room
from accompgen.data.synthetic.mixing import draw_mix, mix_stems
from accompgen.data.synthetic.render import find_soundfonts, play
from accompgen.data.synthetic.score import METRES, Note
from accompgen.time import frames_of

RATE = make.SAMPLE_RATE


@pytest.fixture(scope="session")
def soundfonts():
    try:
        return find_soundfonts()
    except (FileNotFoundError, ImportError) as error:
        pytest.skip(str(error))


def spectrum(wave, rate, size=4096, hop=1200):
    """Power [frames, bins] of Hann windows, and their first times in seconds."""
    starts = np.arange(0, len(wave) - size, hop)
    frames = np.stack([wave[s : s + size] for s in starts]) * np.hanning(size)
    return np.abs(np.fft.rfft(frames)) ** 2, starts / rate


# what is missing


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.sf2.*fluid-soundfont-gm.*csound-soundfont"):
        find_soundfonts([tmp_path / "nowhere.sf2"])
    monkeypatch.setattr(band_sound, "FONTS", (replace(band_sound.FONTS[1], files=(str(tmp_path / "none.sf2"),)),))
    with pytest.raises(FileNotFoundError, match="Csound GM bank.*none.sf2.*apt-get install csound-soundfont"):
        find_soundfonts()
    (tmp_path / "broken.sf2").write_bytes(b"RIFF and no more")
    pytest.importorskip("fluidsynth", reason="pyfluidsynth is not installed (extra `train`)", exc_type=ImportError)
    with pytest.raises(ValueError, match="broken.sf2 is no soundfont that FluidSynth can read"):
        find_soundfonts([tmp_path / "broken.sf2"])
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    with pytest.raises(ImportError, match="apt-get install libfluidsynth3.*accompgen.train"):
        band_sound._FluidSynth()


# the band


def play_band(arrangement, seconds, font):
    return {
        part: play(part, notes, arrangement.programs[part], seconds, RATE, font) for part, notes in arrangement.events.items()
    }


@pytest.mark.parametrize("seed", [1, 4, 7])
def test_the_harmony_sounds_the_annotated_chords(soundfonts, seed):
    rng = np.random.default_rng(seed)
    song = compose(rng, 6.0)
    parts = play_band(arrange(song, rng), 6.0, soundfonts[seed % 2])
    parts.pop("drums", None)
    stems = mix_stems(parts, draw_mix(parts, rng), RATE)
    power, times = spectrum((stems["harmony"] + stems["bass"]).mean(axis=0), RATE, 8192, 2400)
    hz = np.fft.rfftfreq(8192, 1 / RATE)
    usable = (hz > 120) & (hz < 1500)
    classes = np.round(12 * np.log2(hz[usable] / 440) + 69).astype(int) % 12
    inside, outside = [], []
    for chord in song.chords:
        frames = (times > chord.start + 0.1) & (times + 8192 / RATE < chord.end)
        chroma = np.bincount(classes, power[frames][:, usable].sum(axis=0), 12)
        tones = list(harmony(chord.label).pitch_classes)
        inside.append(chroma[tones].mean())
        outside.append(np.delete(chroma, tones).mean())
    assert sum(inside) > 5 * sum(outside)


def test_drums_strike_on_the_beats(soundfonts):
    """As they are mixed, in a long room: the room must not swamp them."""
    rng = np.random.default_rng(0)
    song = compose(rng, 6.0)
    band = arrange(song, rng)
    drums = play_band(replace(band, events={"drums": band.events["drums"]}), 6.0, soundfonts[0])
    mix = replace(draw_mix(drums, rng), room=Room(2.0, 1.2, 0.02, 0), sends={"drums": -14.0})
    wave = mix_stems(drums, mix, RATE)["drums"].mean(axis=0)
    strikes = [np.abs(wave[int((b.time - 0.01) * RATE) : int((b.time + 0.05) * RATE)]).max() for b in song.beats[1:-1]]
    assert min(strikes) > 0.05 * max(strikes)
    shifted = [np.abs(wave[int((b.time - 0.08) * RATE) : int((b.time - 0.02) * RATE)]).max() for b in song.beats[1:-1]]
    assert np.median(strikes) > 2 * np.median(shifted)


@pytest.mark.parametrize("font", [0, 1])
def test_a_part_does_not_depend_on_the_one_before(soundfonts, font):
    """Two melodies by one instrument, another part between them; the kit that the font lacks is its first one."""
    notes = [Note(0.1, 0.9, 60, 90), Note(0.2, 0.8, 67, 50)]
    first = play("keys", notes, 0, 1.0, RATE, soundfonts[font])
    drums = play("drums", notes, 0, 1.0, RATE, soundfonts[font])
    again = play("keys", notes, 0, 1.0, RATE, soundfonts[font])
    assert first.shape == (2, RATE) and first.dtype == np.float32 and np.array_equal(first, again)
    assert first[:, : int(0.09 * RATE)].max() == 0 and np.abs(first[:, int(0.11 * RATE) :]).max() > 0.01
    assert np.array_equal(play("drums", notes, 99, 1.0, RATE, soundfonts[font]), drums)
    assert not play("keys", (), 0, 1.0, RATE, soundfonts[font]).any()


def test_instruments_sound_in_stereo_and_up_to_the_treble(soundfonts):
    cymbal = play("drums", [Note(0.0, 1.0, CRASH, 100)], 0, 1.0, RATE, soundfonts[0])
    power, _ = spectrum(cymbal.mean(axis=0), RATE)
    hz = np.fft.rfftfreq(4096, 1 / RATE)
    assert 10 * np.log10(power[:, (hz > 14_000) & (hz < 16_000)].mean() / power[:, (hz > 4000) & (hz < 8000)].mean()) > -30
    piano = play("keys", [Note(0.0, 1.0, pitch, 90) for pitch in (50, 62, 74)], 0, 1.0, RATE, soundfonts[0])
    assert not np.allclose(piano[0], piano[1], atol=0.1 * np.abs(piano).max())


def test_louder_keys_sound_louder(soundfonts):
    for font in soundfonts:
        soft, loud = (np.square(play("keys", [Note(0.0, 0.5, 60, v)], 0, 0.5, RATE, font)).mean() for v in (50, 100))
        assert 10 * np.log10(loud / soft) == pytest.approx(12, abs=5)  # 40 log10 of the velocities, as MIDI has it


# the job


@pytest.fixture(scope="session")
def songs(voices, soundfonts, tmp_path_factory):
    """Two training songs, one of validation and one of test, of 2 s, with stems, by one process."""
    out = tmp_path_factory.mktemp("songs")
    shutil.copytree(voices, out / "voices")
    make.make_songs(out, 2, seed=5, workers=0, validation=1, test=1, seconds=2.0, voices=FLITE)
    return out


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted((folder / "songs").iterdir())}


def test_songs_depend_on_the_seed_alone(songs, tmp_path):
    for name, seed, workers, counts in (("same", 5, 2, (2, 1, 1)), ("other", 6, 1, (1, 0, 0))):
        (tmp_path / name).mkdir()
        shutil.copytree(songs / "voices", tmp_path / name / "voices")
        settings = dict(zip(("count", "validation", "test"), counts, strict=True), seconds=2.0, voices=FLITE)
        make.make_songs(tmp_path / name, seed=seed, workers=workers, **settings)
    assert contents(tmp_path / "same") == contents(songs)
    assert contents(tmp_path / "other")["train-00000.vocal.flac"] != contents(songs)["train-00000.vocal.flac"]


def test_files_of_a_song_fit_together(songs):
    manifest = read_manifest(songs / "manifest.jsonl")
    assert [s.id for s in manifest] == ["validation-00000", "test-00000", "train-00000", "train-00001"]
    assert not (songs / "manifest.partial.jsonl").exists() and len(contents(songs)) == 4 * 6
    for song in manifest:
        (vocal, rate), (band, _) = audio.read(song.tracks.vocal), audio.read(*song.tracks.accompaniment)
        assert vocal.shape == (1, 2 * RATE) and band.shape == (2, 2 * RATE) and rate == RATE == 48_000
        assert vocal.shape[1] % (frames_of(1, RATE)) == 0
        meta = json.loads(song.meta.read_text())
        assert meta["split"] == song.split and meta["beats"] and meta["chords"] and meta["notes"] and meta["singer"]["name"]
        for part, wave in (("vocal", vocal), ("accompaniment", band)):
            assert audio.loudness(wave, RATE) == pytest.approx(meta["loudness"][part], abs=0.2)
        stems = {stem: audio.read(song.tracks.vocal.with_name(f"{song.id}.{stem}.flac"))[0] for stem in STEMS}
        assert np.array_equal(sum(stems.values()), band)  # to the bit: whole steps of 16 bits add up in float32 exactly
        assert meta["stems"] == [stem for stem, wave in stems.items() if wave.any()]
    assert len({audio.read(s.tracks.vocal)[0].tobytes() for s in manifest}) == 4


def test_a_song_knows_itself(songs):
    for song in read_manifest(songs / "manifest.jsonl"):
        meta = json.loads(song.meta.read_text())
        assert meta["source"] == "composed" and meta["metre"] in METRES and meta["bpm"] > 0 and ":" in meta["key"]
        assert meta["instruments"].keys() == meta["programs"].keys() == meta["fonts"].keys() == meta["players"].keys()
        assert all(INSTRUMENTS[part][meta["programs"][part]] == name for part, name in meta["instruments"].items())
        assert set(meta["fonts"].values()) <= {"FluidR3_GM.sf2", "sf_GMbank.sf2"}
        assert meta["sections"][0][0] == 0 and meta["sections"][-1][1] == 2.0 and meta["sections"][0][2] in ("verse", "bridge")
        assert [[p["start"], p["end"], p["label"]] for p in meta["passages"]] == meta["sections"]
        assert {part for p in meta["passages"] for part in p["parts"]} == meta["programs"].keys()
        assert all(abs(p["loudness"]) < 20 for p in meta["passages"])
        assert {position for _, position in meta["beats"]} <= set(range(1, 5)) and meta["mix"]["room"]["seconds"] > 0
        assert all(licence in meta["licence"] for licence in ("FluidR3 GM MIT", "Csound GM bank public domain"))


def test_stems_can_be_left_out(songs, tmp_path):
    shutil.copytree(songs / "voices", tmp_path / "voices")
    make.make_songs(
        tmp_path, 1, seed=5, workers=1, validation=0, test=0, seconds=2.0, stems=False, voices=FLITE
    )
    assert set(contents(tmp_path)) == {f"train-00000.{end}" for end in ("vocal.flac", "accompaniment.flac", "json")}
    assert contents(tmp_path).items() <= contents(songs).items()
    with pytest.raises(FileExistsError, match=r"stems False \(asked now: True\)"):
        make.make_songs(tmp_path, 1, seed=5, workers=1, validation=0, test=0, seconds=2.0)


def test_a_stopped_job_goes_on(songs, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(songs, again)
    (again / "songs" / "test-00000.json").unlink()  # as if stopped before its last file
    (again / "songs" / "train-00001.vocal.flac").unlink()
    kept = again / "songs" / "train-00000.vocal.flac"
    os.utime(kept, (1, 1))
    ticks = []
    make.make_songs(
        again, 2, 5, workers=1, validation=1, test=1, seconds=2.0,
        progress=lambda done, total: ticks.append((done, total)),
    )  # fmt: skip
    assert kept.stat().st_mtime == 1 and contents(again) == contents(songs)
    assert ticks == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_folder_of_other_settings_is_refused(songs):
    with pytest.raises(FileExistsError, match=r"seed 5 \(asked now: 6\)"):
        make.make_songs(songs, 2, seed=6, seconds=2.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count": -1}, "^count is -1; expected a number of songs, 0 or more$"),
        ({"validation": -2}, "^validation is -2; expected a number of songs, 0 or more$"),
        ({"workers": -1}, "workers is -1; expected 0 .this process alone. or more"),
        ({"seconds": 2.01}, "multiple of 0.04"),
        ({"seconds": 0.4}, "at least 1 s"),
    ],
)
def test_arguments_out_of_range(tmp_path, wrong, message):
    with pytest.raises((ValueError, ExecutorError), match=message):
        make.make_songs(**{"out": tmp_path / "x", "count": 1, **wrong})
    assert not (tmp_path / "x").exists()


def test_songs_of_other_voices_are_not_mixed_in(songs, soundfonts):
    with pytest.raises(FileExistsError, match=r"voices \[.*\] \(asked now: \['slt'\]\)"):
        make.make_songs(songs, 2, seed=5, seconds=2.0, voices=["slt"])


def test_no_flite_no_songs(monkeypatch, soundfonts, tmp_path):
    monkeypatch.setattr(speakers.shutil, "which", lambda program: None)
    with pytest.raises(FileNotFoundError, match="no voice is left to sing: voice slt needs the system package flite"):
        make.make_songs(tmp_path / "x", 1, workers=1, validation=0, test=0, seconds=2.0, voices=FLITE)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("count, held_out", [(0, 0), (1, 1), (6, 1), (30, 3), (600, 60), (6000, 60)])
def test_as_many_songs_are_held_out_as_go_with_the_count(count, held_out):
    assert make.held_out_with(count) == held_out
