"""What a DAW gets: another rate, mono or stereo, time stamps."""

import wave
from dataclasses import replace

import av
import numpy as np
import pytest
from tiny import sing

import accompgen
from accompgen import audio
from accompgen.broadcast import stamped
from accompgen.chart import Chart
from accompgen.cli import main
from accompgen.generation.redo import redo
from accompgen.generation.song import read_song
from accompgen.stages import STEMS

RATE, DESK_RATE, SECONDS = 16_000, 48_000, 0.48  # a voice memo, and the session it goes into
STAMP = 3600 * RATE + 5  # an hour after midnight


@pytest.fixture(scope="module")
def model(band_checkpoint):
    return accompgen.load(band_checkpoint, device="cpu")


@pytest.fixture(scope="module")
def memo(tmp_path_factory):
    """A recording at 16 kHz that a DAW put an hour after midnight."""
    path = tmp_path_factory.mktemp("memo") / "memo.wav"
    path.write_bytes(stamped(audio.encode(sing(SECONDS, RATE), RATE, ".wav"), STAMP, "take 3"))
    return path


@pytest.fixture(scope="module")
def song(model, memo):
    """A song for it as a session has them, in stereo."""
    return model.accompany(memo, seed=1, rate=DESK_RATE, channels=2, chart=Chart.steady(SECONDS, bpm=300))


def ffmpeg_stamp(path):
    """What FFmpeg reads of the time stamp, or None."""
    with av.open(str(path)) as container:
        found = container.metadata.get("time_reference")
    return None if found is None else int(found)


def treble(wav, rate):
    """Power above 8.5 kHz beside all of it."""
    power = np.abs(np.fft.rfft(audio.to_mono(wav))) ** 2
    return power[np.fft.rfftfreq(wav.shape[1], 1 / rate) > 8500].sum() / power.sum()


def test_stems_at_another_rate_have_their_own_treble_and_the_vocal_its_place(model, memo, song):
    plain = model.accompany(memo, seed=1, chart=song.chart)
    assert (plain.rate, song.rate) == (RATE, DESK_RATE)
    for stem in STEMS:
        assert np.array_equal(plain.tokens[stem].codes, song.tokens[stem].codes)  # it is the same song
        assert song.tracks[stem].shape == (2, round(SECONDS * DESK_RATE))
        assert treble(song.tracks[stem], DESK_RATE) > 0.01  # the decoder's, that no file of 16 kHz could hold
    gain = np.float32(10 ** (song.report["levels"]["vocal_gain_db"] / 20))
    voice = gain * audio.resample(audio.read(memo)[0], RATE, DESK_RATE)
    assert np.abs(voice + song.accompaniment - song.mix).max() < 1e-5 and audio.peak(song.mix) < audio.PEAK_LIMIT + 1e-6
    with pytest.raises(ValueError, match="the rate is 400000 Hz; expected 8000 to 192000"):
        model.accompany(memo, rate=400_000)


def test_mono_and_stereo(model, memo, song):
    stereo = (sing(SECONDS, RATE, channels=2), RATE)
    mono = model.accompany(stereo, seed=1, channels=1)
    assert {len(wav) for wav in (mono.mix, *mono.tracks.values())} == {1}
    again = redo(model, mono, stereo, 0.16, 0.36, stems=["bass"])
    assert len(again.mix) == 1 and np.array_equal(again.tracks["drums"], mono.tracks["drums"])
    assert {len(wav) for wav in (song.mix, *song.tracks.values())} == {2}
    with pytest.raises(ValueError, match="3 channels; expected 1, 2"):
        model.accompany(memo, channels=3)


def run(*words):
    return main([*map(str, words), "--quiet"])


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_its_files_are_broadcast_waves_as_others_read_them(song, tmp_path, bits):
    paths = song.save(tmp_path, bit_depth="32f" if bits == 32 else bits)
    for name in ("mix", "accompaniment", *STEMS):
        assert ffmpeg_stamp(paths[name]) == STAMP * 3  # it counts samples, and there are three times as many
        wav, rate = audio.read(paths[name])
        assert (rate, wav.shape) == (DESK_RATE, (2, round(SECONDS * DESK_RATE)))
    sound = audio.read(paths["mix"])[0]
    assert np.abs(sound - song.mix).max() <= (0 if bits == 32 else 0.5 ** (min(bits, 24) - 1))
    if bits < 32:  # it reads no floats
        with wave.open(str(paths["mix"])) as file:
            assert (file.getframerate(), 8 * file.getsampwidth(), file.getnchannels()) == (DESK_RATE, bits, 2)


def test_generate_and_redo_keep_the_place_of_the_vocal(band_checkpoint, memo, tmp_path):
    out, model = tmp_path / "out", ("--checkpoint", band_checkpoint)
    wanted = ("--rate", DESK_RATE, "--bit-depth", "16", "--mono", "--count-in", 1, "--bpm", 240)
    assert run("generate", memo, "-o", out, *model, *wanted) == 0
    assert ffmpeg_stamp(out / "memo.mix.wav") == STAMP * 3  # with a count-in, too: there is a place already
    assert audio.read(out / "memo.bass.wav")[0].shape == (1, round(SECONDS * DESK_RATE))
    # another take goes on in the song's own format, though the recording has another rate
    part = ("--stem", "bass", "--from", 0.16, "--to", 0.36)
    assert run("redo", out / "memo.json", *part, "-o", tmp_path / "take", *model) == 0
    take, song = (read_song(place / "memo.json") for place in (tmp_path / "take", out))
    assert take.rate == DESK_RATE and np.array_equal(take.tracks["drums"], song.tracks["drums"])
    assert not np.array_equal(take.tracks["bass"], song.tracks["bass"])
    assert ffmpeg_stamp(tmp_path / "take/memo.bass.wav") == STAMP * 3


def test_a_count_in_moves_what_has_no_place_yet(song, tmp_path):
    report = {**song.report, "vocal": {**song.report["vocal"]}}
    del report["vocal"]["time_reference"]
    song = replace(song, report=report, chart=Chart.steady(SECONDS, bpm=240))
    assert song.stamp is None
    report["settings"] = {**report["settings"], "count_in": 2}
    assert song.stamp == 2 * DESK_RATE  # eight beats of a quarter of a second
    assert ffmpeg_stamp(song.save(tmp_path)["bass"]) == 2 * DESK_RATE


def test_the_click_of_a_count_in_begins_before_the_vocal(band_checkpoint, memo, tmp_path):
    assert run("chart", memo, "-o", tmp_path / "c", "--checkpoint", band_checkpoint, "--bpm", 240, "--count-in", 1) == 0
    click, (wav, _) = tmp_path / "c/memo.click.wav", audio.read(tmp_path / "c/memo.click.wav")
    assert ffmpeg_stamp(click) == STAMP - (wav.shape[1] - round(SECONDS * RATE)) < STAMP
