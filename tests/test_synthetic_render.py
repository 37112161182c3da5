"""Songs that sound: the band's chords, the job and its files. Needs flite and a soundfont."""

import json
import os
import shutil

import numpy as np
import pytest
from conftest import FLITE

from accompgen import audio
from accompgen.data.songs import read_manifest
from accompgen.data.synthetic import make
from accompgen.data.synthetic import voices as speakers
from accompgen.data.synthetic.band import arrange
from accompgen.data.synthetic.compose import compose
from accompgen.data.synthetic.render import find_soundfont, render
from accompgen.data.synthetic.score import harmony

RATE = make.SAMPLE_RATE


@pytest.fixture(scope="session")
def soundfont():
    pytest.importorskip("tinysoundfont", reason="tinysoundfont is not installed")
    try:
        return find_soundfont()
    except FileNotFoundError as error:
        pytest.skip(str(error))


def spectrum(wave, rate, size=4096, hop=1200):
    """Power [frames, bins] of Hann windows, and their first times in seconds."""
    starts = np.arange(0, len(wave) - size, hop)
    frames = np.stack([wave[s : s + size] for s in starts]) * np.hanning(size)
    return np.abs(np.fft.rfft(frames)) ** 2, starts / rate


# the band


@pytest.mark.parametrize("seed", [1, 4, 7])
def test_the_harmony_sounds_the_annotated_chords(soundfont, seed):
    rng = np.random.default_rng(seed)
    song = compose(rng, 10.0)
    stems = render(arrange(song, rng), 10.0, RATE, soundfont, rng)
    power, times = spectrum(stems["harmony"] + stems["bass"], RATE)
    hz = np.fft.rfftfreq(4096, 1 / RATE)
    usable = (hz > 120) & (hz < 1500)
    classes = np.round(12 * np.log2(hz[usable] / 440) + 69).astype(int) % 12
    inside, outside = [], []
    for chord in song.chords:
        frames = (times > chord.start + 0.1) & (times + 4096 / RATE < chord.end)
        chroma = np.bincount(classes, power[frames][:, usable].sum(axis=0), 12)
        tones = list(harmony(chord.label).pitch_classes)
        inside.append(chroma[tones].mean())
        outside.append(np.delete(chroma, tones).mean())
    assert sum(inside) > 5 * sum(outside)


def test_drums_strike_on_the_beats(soundfont):
    rng = np.random.default_rng(0)
    song = compose(rng, 10.0)
    band = arrange(song, rng)
    assert "drums" in band.events
    drums = render(band, 10.0, RATE, soundfont, rng)["drums"]
    strikes = [np.abs(drums[int((b.time - 0.01) * RATE) : int((b.time + 0.05) * RATE)]).max() for b in song.beats[1:-1]]
    assert min(strikes) > 0.05 * max(strikes)
    shifted = [np.abs(drums[int((b.time - 0.08) * RATE) : int((b.time - 0.02) * RATE)]).max() for b in song.beats[1:-1]]
    assert np.median(strikes) > 2 * np.median(shifted)


def test_a_render_does_not_depend_on_the_one_before(soundfont):
    def play(seed):
        return render(arrange(compose(np.random.default_rng(seed), 2.0), np.random.default_rng(seed)), 2.0, RATE, soundfont,
                      np.random.default_rng(seed))  # fmt: skip

    first, _, again = play(1), play(2), play(1)
    assert all(np.array_equal(first[stem], again[stem]) for stem in first)


# the job


@pytest.fixture(scope="session")
def songs(voices, soundfont, tmp_path_factory):
    """Two training songs, one of validation and one of test, of 2 s, with stems, by one process."""
    out = tmp_path_factory.mktemp("songs")
    shutil.copytree(voices, out / "voices")
    make.make_songs(out, 2, seed=5, soundfont=soundfont, workers=1, validation=1, test=1, seconds=2.0, stems=True,
                    voices=FLITE)  # fmt: skip
    return out


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted((folder / "songs").iterdir())}


def test_songs_depend_on_the_seed_alone(songs, soundfont, tmp_path):
    for name, seed, workers, counts in (("same", 5, 2, (2, 1, 1)), ("other", 6, 1, (1, 0, 0))):
        (tmp_path / name).mkdir()
        shutil.copytree(songs / "voices", tmp_path / name / "voices")
        settings = dict(zip(("count", "validation", "test"), counts, strict=True), soundfont=soundfont, seconds=2.0, stems=True)
        settings["voices"] = FLITE
        make.make_songs(tmp_path / name, seed=seed, workers=workers, **settings)
    assert contents(tmp_path / "same") == contents(songs)
    assert contents(tmp_path / "other")["train-00000.vocal.flac"] != contents(songs)["train-00000.vocal.flac"]


def test_files_of_a_song_fit_together(songs):
    manifest = read_manifest(songs / "manifest.jsonl")
    assert [s.id for s in manifest] == ["validation-00000", "test-00000", "train-00000", "train-00001"]
    assert not (songs / "manifest.partial.jsonl").exists() and len(contents(songs)) == 4 * 6
    for song in manifest:
        (vocal, rate), (band, _) = audio.read(song.vocal), audio.read(song.accompaniment)
        assert vocal.shape == band.shape == (1, 2 * RATE) and rate == RATE
        assert vocal.shape[1] % (RATE * make.WINDOW_MS // 1000) == 0
        meta = json.loads(song.meta.read_text())
        assert meta["split"] == song.split and meta["beats"] and meta["chords"] and meta["notes"] and meta["singer"]["name"]
        for part, wave in (("vocal", vocal), ("accompaniment", band)):
            assert audio.loudness(wave, RATE) == pytest.approx(meta["loudness"][part], abs=0.2)
        stems = [audio.read(song.vocal.with_name(f"{song.id}.{stem}.flac"))[0] for stem in ("harmony", "bass", "drums")]
        np.testing.assert_allclose(sum(stems), band, atol=4 / 32768)
    assert len({audio.read(s.vocal)[0].tobytes() for s in manifest}) == 4


def test_a_stopped_job_goes_on(songs, soundfont, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(songs, again)
    (again / "songs" / "test-00000.json").unlink()  # as if stopped before its last file
    (again / "songs" / "train-00001.vocal.flac").unlink()
    kept = again / "songs" / "train-00000.vocal.flac"
    os.utime(kept, (1, 1))
    ticks = []
    make.make_songs(
        again, 2, 5, soundfont=soundfont, workers=1, validation=1, test=1, seconds=2.0, stems=True,
        progress=lambda done, total: ticks.append((done, total)),
    )  # fmt: skip
    assert kept.stat().st_mtime == 1 and contents(again) == contents(songs)
    assert ticks == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_folder_of_other_settings_is_refused(songs, soundfont):
    with pytest.raises(FileExistsError, match=r"seed 5 \(asked now: 6\)"):
        make.make_songs(songs, 2, seed=6, soundfont=soundfont, seconds=2.0, stems=True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count": -1}, "at least 0"),
        ({"workers": 0}, "workers"),
        ({"seconds": 2.01}, "multiple of 0.04"),
        ({"seconds": 0.4}, "at least 1 s"),
    ],
)
def test_arguments_out_of_range(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        make.make_songs(**{"out": tmp_path / "x", "count": 1, **wrong})
    assert not (tmp_path / "x").exists()


def test_songs_of_other_voices_are_not_mixed_in(songs, soundfont):
    with pytest.raises(FileExistsError, match=r"voices \[.*\] \(asked now: \['slt'\]\)"):
        make.make_songs(songs, 2, seed=5, soundfont=soundfont, seconds=2.0, stems=True, voices=["slt"])


def test_a_soundfont_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.sf2.*fluidr3mono-gm-soundfont"):
        find_soundfont(tmp_path / "nowhere.sf2")


def test_no_flite_no_songs(monkeypatch, soundfont, tmp_path):
    monkeypatch.setattr(speakers.shutil, "which", lambda program: None)
    with pytest.raises(FileNotFoundError, match="no voice is left to sing: voice slt needs the system package flite"):
        make.make_songs(tmp_path / "x", 1, soundfont=soundfont, voices=FLITE)
    assert not (tmp_path / "x").exists()
