"""Another take of a song of one track, of a wide recording, from mp3, and beside what else was played."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import sing

import accompgen
from accompgen import audio
from accompgen.chart import Chart
from accompgen.cli import main
from accompgen.export.project import voice_of
from accompgen.generation import pipeline, progress
from accompgen.generation import redo as takes
from accompgen.generation.charting import chart_streams
from accompgen.generation.redo import redo
from accompgen.generation.song import read_song, recording_of
from accompgen.generation.vocal import read_vocal
from accompgen.generation.windows import Span

RATE, SECONDS = 44_100, 1.0
VOCAL = (sing(SECONDS, RATE), RATE)


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return accompgen.load(tiny_checkpoint, device="cpu")


@pytest.mark.parametrize("balance", [-20.0, 0.0])
def test_the_take_of_the_songs_own_seed_is_the_song(model, balance):
    song = model.accompany(VOCAL, seed=4, balance=balance)
    take = redo(model, song, VOCAL, seed=4)
    assert np.abs(take.accompaniment - song.accompaniment).max() < 0.01 * audio.peak(song.accompaniment)
    assert np.abs(take.mix - song.mix).max() < 0.01 * audio.peak(song.accompaniment)
    assert not take.accompaniment[:, -1].any(), "both fade out where the song ends"


def test_a_take_for_a_recording_of_six_channels(band_checkpoint):
    band = accompgen.load(band_checkpoint, device="cpu")
    wide, chart = (np.repeat(VOCAL[0], 6, axis=0), RATE), Chart.steady(SECONDS, bpm=240)
    song = band.accompany(wide, seed=1, chart=chart)
    # as a decoder of two channels plays: fewer than the recording has
    song = replace(song, tracks={stem: audio.spread(wav, 2) for stem, wav in song.tracks.items()})
    take = redo(band, song, wide, 0.3, 0.7, stems=["bass"], seed=9)
    change = take.tracks["bass"] - song.tracks["bass"]
    assert np.allclose(take.mix - song.mix, audio.spread(change, 6), atol=1e-6) and change.any()


def test_files_that_were_made_softer_are_as_loud_in_takes_and_projects(model, tmp_path):
    song = model.accompany(VOCAL, seed=4)
    paths = song.save(tmp_path)
    report = json.loads(paths["report"].read_text())
    report["files"]["encoding_gain"] = 0.5  # as where the peaks of an mp3 are high
    paths["report"].write_text(json.dumps(report))
    for name in ("mix", "accompaniment"):
        audio.write(paths[name], 0.5 * audio.read(paths[name])[0], RATE)
    soft = read_song(paths["report"])
    assert np.abs(voice_of(soft, read_vocal(VOCAL)) + soft.accompaniment - soft.mix).max() < 2e-3
    take = redo(model, soft, VOCAL, seed=4)
    assert np.abs(take.accompaniment - soft.accompaniment).max() < 0.01 * audio.peak(soft.accompaniment)
    again = read_song(take.save(tmp_path / "again")["report"])
    assert again.encoding_gain == 0.5


def test_a_take_that_would_pass_the_limit_is_softer_around_its_peaks(model):
    song = model.accompany(VOCAL, seed=4)
    silent = np.zeros_like(song.accompaniment)
    song = replace(song, tracks={name: silent for name in song.tracks}, mix=np.zeros_like(song.mix))
    free = redo(model, song, VOCAL, 0.3, 0.7)
    assert "peaks_softer_db" not in free.report["takes"][-1]
    peak = int(np.abs(free.mix).max(axis=0).argmax())
    sign = np.sign(free.mix[:, peak][np.abs(free.mix[:, peak]).argmax()])
    room = sign * (audio.PEAK_LIMIT - np.float32(0.6) * audio.peak(free.mix))
    mix = np.zeros_like(song.mix)
    mix[:, peak - 50 : peak + 50] = room  # of the voice, for 2 ms, as loud as leaves .6 of the new sound
    take = redo(model, replace(song, mix=mix), VOCAL, 0.3, 0.7)
    assert take.report["takes"][-1]["peaks_softer_db"] == pytest.approx(-audio.decibel(0.6), abs=0.05)
    assert 0.99 * audio.PEAK_LIMIT < audio.peak(take.mix) <= audio.PEAK_LIMIT
    assert np.allclose(take.accompaniment, take.mix - mix, atol=1e-6)
    far = np.abs(np.arange(mix.shape[1]) - peak) > 0.05 * RATE
    assert np.array_equal(take.accompaniment[:, far], free.accompaniment[:, far])
    gain = take.accompaniment[0, ~far] / np.where(free.accompaniment[0, ~far] == 0, np.nan, free.accompaniment[0, ~far])
    assert np.nanmax(np.abs(np.diff(gain))) < 0.01  # no click
    mix[:, peak - 50 : peak + 50] = sign * np.float32(0.99995 * audio.PEAK_LIMIT)  # leaves nothing
    take = redo(model, replace(song, mix=mix), VOCAL, 0.3, 0.7)
    assert take.report["takes"][-1]["peaks_softer_db"] == 60 and audio.peak(take.mix) <= audio.PEAK_LIMIT
    loud = replace(song, mix=np.full_like(song.mix, 1.01 * audio.PEAK_LIMIT))
    with pytest.raises(ValueError, match="would reach .* dBFS, and without its new sound, too; try another seed"):
        redo(model, loud, VOCAL, 0.3, 0.7)


def test_a_take_of_limited_drums_is_as_even_as_they_are(band_checkpoint):
    band = accompgen.load(band_checkpoint, device="cpu")
    band.headroom = {"drums": 9.0}
    # of weights that know no music takes differ in level; these of seeds 7 and 10 are alike
    asked = {"seed": 7, "chart": Chart.steady(SECONDS, bpm=240), "stems": ("drums",)}
    song = band.accompany(VOCAL, **asked)
    assert song.report["levels"]["drums_peaks_softer_db"] > 1
    same = redo(band, song, VOCAL, stems=["drums"], seed=7)
    change = np.abs(same.tracks["drums"] - song.tracks["drums"]).max()
    assert change < 0.02 * audio.peak(song.tracks["drums"])
    other = redo(band, song, VOCAL, 0.3, 0.7, stems=["drums"], seed=10)
    assert audio.peak(other.tracks["drums"]) < 1.1 * audio.peak(song.tracks["drums"])
    band.headroom = {}
    free = redo(band, song, VOCAL, 0.3, 0.7, stems=["drums"], seed=10)
    assert audio.peak(free.tracks["drums"]) > 3 * audio.peak(other.tracks["drums"])


def test_faders_change_the_mix_and_not_what_is_heard(band_checkpoint):
    band = accompgen.load(band_checkpoint, device="cpu")
    asked = {"seed": 4, "chart": Chart.steady(SECONDS, bpm=240)}
    plain = band.accompany(VOCAL, **asked)
    band.faders = {"drums": 6.0}
    song = band.accompany(VOCAL, **asked)
    for stem, tokens in plain.tokens.items():
        assert torch.equal(tokens.codes, song.tokens[stem].codes)
    assert song.report["levels"]["drums_fader_db"] == 6.0
    assert np.allclose(sum(song.tracks.values()), song.accompaniment, atol=1e-6)
    gains = {name: np.abs(track).sum() / np.abs(plain.tracks[name]).sum() for name, track in song.tracks.items()}
    assert gains["drums"] / gains["bass"] == pytest.approx(10 ** (6 / 20), rel=1e-4)
    assert gains["harmony"] == pytest.approx(gains["bass"], rel=1e-4)
    # a take hears what the song's stems heard, whatever the faders are now, and is as loud
    band.faders = {}
    loud, soft = (redo(band, made, VOCAL, 0.3, 0.7, stems=["drums"], seed=5) for made in (song, plain))
    ratio = np.abs(loud.tracks["drums"]).sum() / np.abs(soft.tracks["drums"]).sum()
    assert ratio == pytest.approx(gains["drums"], rel=1e-3)
    assert np.allclose(loud.tracks["drums"], gains["drums"] * soft.tracks["drums"], atol=1e-3)


def test_a_take_hears_what_else_was_played(band_checkpoint, tmp_path, capsys, monkeypatch):
    for name, seconds in (("voice", SECONDS), ("guitar", SECONDS), ("short", 0.5)):
        audio.write(tmp_path / f"{name}.wav", sing(seconds, RATE), RATE)
    out, own = tmp_path / "out", ("--checkpoint", str(band_checkpoint), "--quiet")
    asked = ("--with", str(tmp_path / "guitar.wav"), "--bpm", "240")
    assert main(["generate", str(tmp_path / "voice.wav"), *asked, "-o", str(out), *own]) == 0
    heard, read_others = [], pipeline.read_others
    monkeypatch.setattr(pipeline, "read_others", lambda vocal, others: heard.append(str(others)) or read_others(vocal, others))
    song = str(out / "voice.json")
    assert main(["redo", song, "--stem", "bass", "-o", str(tmp_path / "take"), *own]) == 0
    assert heard == [str(tmp_path / "guitar.wav")]
    assert main(["project", song]) == 0 and "guitar.wav, which plays along, is not in it" in capsys.readouterr().err
    assert main(["redo", song, "--with", str(tmp_path / "short.wav"), "-o", str(tmp_path / "other"), *own]) == 1
    assert "they must start and end together" in capsys.readouterr().err
    (tmp_path / "guitar.wav").unlink()
    assert main(["redo", song, "-o", str(tmp_path / "none"), *own]) == 1
    assert "guitar.wav: no such file; say where what else was played is (--with FILE)" in capsys.readouterr().err


def test_a_model_that_hears_the_voice_alone_refuses_what_else_was_played(model):
    song = model.accompany(VOCAL, seed=4)
    with pytest.raises(ValueError, match="hears the voice alone; leave out what else is played"):
        redo(model, song, VOCAL, others=VOCAL)


def test_of_a_long_song_an_excerpt_around_the_part_is_heard(band_checkpoint, monkeypatch):
    band = accompgen.load(band_checkpoint, device="cpu")
    vocal, chart = (sing(4.0, RATE), RATE), Chart.steady(4.0, bpm=240)
    song, lengths, given, play = band.accompany(vocal, seed=1, chart=chart), [], {}, band.play
    monkeypatch.setattr(takes, "_reach", lambda system: 20)
    monkeypatch.setattr(band, "play", lambda *args: given.update(args[4].given) or play(*args))
    monkeypatch.setattr(takes, "BEHIND_SECONDS", 0.4)
    encode = type(band.semantic_tokenizer).encode
    monkeypatch.setattr(
        type(band.semantic_tokenizer), "encode", lambda self, wav: lengths.append(wav.shape[-1] / 16_000) or encode(self, wav)
    )
    take = redo(band, song, vocal, 2.0, 2.8, stems=["bass"], seed=9)
    assert set(lengths) == {2.0}  # from 1.2 to 3.2 s
    assert takes._later(lambda start, stop: [start, stop], 30)(0, 40) == [30, 70]  # a prompt's times are the song's
    whole = chart_streams(band.system.graph, song.chart, 100)
    part = Span(30, 30, 80)
    assert whole and all(given[n].equal(ids[..., part.frames(band.system.graph.stream(n).hz)]) for n, ids in whole.items())
    change = take.tracks["bass"] - song.tracks["bass"]
    inside = slice(2 * RATE, round(2.8 * RATE))
    assert change[:, inside].any() and not change[:, : 2 * RATE].any() and not change[:, inside.stop :].any()
    before, after = song.tokens["bass"], take.tokens["bass"]
    assert after.codes.shape == before.codes.shape and after.semantic.shape == before.semantic.shape
    assert (after.semantic[:, :60] == before.semantic[:, :60]).all() and (after.codes[:, 240:] == before.codes[:, 240:]).all()


def test_a_long_song_from_files_has_no_tokens_and_says_so(model, monkeypatch, tmp_path):
    assert takes._reach(model.system) == round(25 * (40 + max(stage.window_seconds for stage in model.system.stages.values())))
    monkeypatch.setattr(takes, "_reach", lambda system: 5)
    song = read_song(model.accompany(VOCAL, seed=4).save(tmp_path)["report"])
    take = redo(model, song, VOCAL, 0.5, 0.9, seed=9)
    assert (take.accompaniment != song.accompaniment).any()
    with pytest.raises(ValueError, match="not known: it was read from files"):
        take.codes  # noqa: B018


@pytest.fixture(scope="module")
def played(band_checkpoint, tmp_path_factory):
    """A folder with a voice, and a band's song for it in `out`."""
    place = tmp_path_factory.mktemp("played")
    audio.write(place / "voice.wav", *VOCAL)
    band = accompgen.load(band_checkpoint, device="cpu")
    asked = {"seed": 1, "chart": Chart.steady(SECONDS, bpm=240)}
    band.accompany(place / "voice.wav", **asked).save(place / "out")
    return place


@pytest.fixture
def copied(played, tmp_path):
    """The files of that song, to be changed."""
    shutil.copytree(played, tmp_path, dirs_exist_ok=True)
    return tmp_path


def change_report(place, **values):
    path = place / "out" / "voice.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return path


def test_the_mix_follows_a_stem_that_was_changed_elsewhere(copied):
    before = read_song(copied / "out" / "voice.json")
    file = copied / "out" / "voice.bass.wav"
    audio.write(file, 0.5 * audio.read(file)[0], RATE)
    song = read_song(copied / "out" / "voice.json")
    change = song.tracks["bass"] - before.tracks["bass"]
    assert np.abs(change).max() > 1e-3
    np.testing.assert_allclose(song.mix - before.mix, change, atol=1e-6)
    np.testing.assert_allclose(song.accompaniment - before.accompaniment, change, atol=1e-6)


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (RATE // 2, RATE, "voice.bass.wav has 22050 samples at 44100 Hz, the mix 44100 at 44100 Hz"),
        (RATE, 48_000, "voice.bass.wav has 44100 samples at 48000 Hz, the mix 44100 at 44100 Hz"),
    ],
)
def test_a_stem_that_does_not_fit_the_mix_is_named(copied, samples, rate, message):
    file = copied / "out" / "voice.bass.wav"
    audio.write(file, audio.read(file)[0][:, :samples], rate)
    with pytest.raises(audio.AudioError, match=message):
        read_song(copied / "out" / "voice.json")


def test_a_recording_that_is_not_in_the_mix_is_refused_and_a_copy_is_not(copied):
    song = read_song(copied / "out" / "voice.json")
    audio.write(copied / "copy.flac", *VOCAL)
    assert recording_of(song, copied / "copy.flac").sha256 != song.report["vocal"]["sha256"]
    audio.write(copied / "other.wav", np.roll(VOCAL[0], RATE // 3, axis=-1)[..., ::-1].copy(), RATE)
    with pytest.raises(audio.AudioError, match="other.wav is not the voice in the mix of voice"):
        recording_of(song, copied / "other.wav")


@pytest.mark.parametrize(
    "values",
    [
        {"levels": {}},
        {"levels": {"accompaniment_gain_db": "loud", "vocal_gain_db": 0}},
        {"chart": {"beats": [1, 2]}},
        {"settings": None},
        {"checkpoint": {}},
        {"seed": None},
        {"vocal": {"seconds": 1.2}},
    ],
)
def test_a_report_that_was_edited_away_is_refused(copied, values):
    path = change_report(copied, **values)
    with pytest.raises(audio.AudioError, match="is no report of a song"):
        read_song(path)


def test_a_take_says_what_it_was_asked_for(played, band_checkpoint):
    band = accompgen.load(band_checkpoint, device="cpu")
    song = read_song(played / "out" / "voice.json")
    take = redo(band, song, played / "voice.wav", stems=["bass"], seed=3, others=VOCAL)
    others = {"file": "samples", "sha256": read_vocal(VOCAL).sha256}
    expected = {"stems": ["bass"], "from": 0.0, "to": 1.0, "seed": 3, "others": others}
    assert take.report["takes"] == [expected]


@pytest.mark.parametrize("quiet", [False, True])
def test_a_take_shows_how_far_it_is(played, band_checkpoint, tmp_path, capsys, monkeypatch, quiet):
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0)  # it takes less
    song, own = str(played / "out" / "voice.json"), ["--checkpoint", str(band_checkpoint)]
    asked = ["--stem", "bass", "-o", str(tmp_path / "take"), *own, *(["--quiet"] if quiet else [])]
    assert main(["redo", song, *asked]) == 0
    shown = capsys.readouterr().err
    assert ("id/s" in shown and "bass anew" in shown) is not quiet
