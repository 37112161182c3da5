"""What a DAW gets: another rate, mono or stereo, time stamps."""

import wave

import av
import numpy as np
import pytest
from tiny import sing

import accompgen
from accompgen import audio
from accompgen.broadcast import stamped
from accompgen.chart_input import ChartRequest
from accompgen.cli import main
from accompgen.generation.redo import redo
from accompgen.generation.song import read_song
from accompgen.stages import STEMS

RATE, DESK_RATE, SECONDS = 16_000, 48_000, 1.2  # a voice memo, and the session it goes into
STAMP = 3600 * RATE + 5  # an hour after midnight


@pytest.fixture(scope="module")
def model(band_checkpoint):
    return accompgen.load(band_checkpoint, device="cpu")


@pytest.fixture
def memo(tmp_path):
    """A recording at 16 kHz that a DAW put an hour after midnight."""
    path = tmp_path / "memo.wav"
    path.write_bytes(stamped(audio.encode(sing(SECONDS, RATE), RATE, ".wav"), STAMP, "take 3"))
    return path


def ffmpeg_stamp(path):
    """What FFmpeg reads of the time stamp, or None."""
    with av.open(str(path)) as container:
        found = container.metadata.get("time_reference")
    return None if found is None else int(found)


def treble(wav, rate):
    """Power above 8.5 kHz beside all of it."""
    power = np.abs(np.fft.rfft(audio.to_mono(wav))) ** 2
    return power[np.fft.rfftfreq(wav.shape[1], 1 / rate) > 8500].sum() / power.sum()


def test_stems_at_another_rate_have_their_own_treble_and_the_vocal_its_place(model, memo):
    plain, song = (model.accompany(memo, seed=1, rate=rate) for rate in (None, DESK_RATE))
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


def test_mono_and_stereo(model, memo):
    stereo = (sing(SECONDS, RATE, channels=2), RATE)
    mono = model.accompany(stereo, seed=1, channels=1)
    assert {len(wav) for wav in (mono.mix, *mono.tracks.values())} == {1}
    again = redo(model, mono, stereo, 0.4, 0.8, stems=["bass"])
    assert len(again.mix) == 1 and np.array_equal(again.tracks["drums"], mono.tracks["drums"])
    wide = model.accompany(memo, seed=1, channels=2)
    assert {len(wav) for wav in (wide.mix, *wide.tracks.values())} == {2}
    with pytest.raises(ValueError, match="3 channels; expected 1, 2"):
        model.accompany(memo, channels=3)


def run(*words):
    return main([*map(str, words), "--quiet"])


@pytest.mark.parametrize("bits, subtype", [("16", "PCM_16"), ("24", "PCM_24"), ("32f", "FLOAT")])
def test_files_of_generate_lie_where_the_vocal_lay(band_checkpoint, memo, tmp_path, bits, subtype):
    out = tmp_path / "out"
    assert run("generate", memo, "-o", out, "--checkpoint", band_checkpoint, "--bpm", 120, "--rate", DESK_RATE,
               "--bit-depth", bits, "--mono", "--count-in", 1) == 0  # fmt: skip
    sounds = sorted(out.glob("*.wav"))
    assert len(sounds) == 2 + len(STEMS)
    for path in sounds:
        assert ffmpeg_stamp(path) == round(STAMP * DESK_RATE / RATE)  # a recording that has a place keeps it
        wav, rate = audio.read(path)
        assert (rate, wav.shape) == (DESK_RATE, (1, round(SECONDS * DESK_RATE)))
    if bits != "32f":
        with wave.open(str(sounds[0])) as file:  # as others read it
            assert (file.getframerate(), 8 * file.getsampwidth()) == (DESK_RATE, int(bits))
    # another take goes on in the song's own format, though the recording has another rate
    assert run("redo", out / "memo.json", "--stem", "bass", "--from", 0.4, "--to", 0.8, "-o", tmp_path / "take",
               "--checkpoint", band_checkpoint) == 0  # fmt: skip
    take, song = (read_song(place / "memo.json") for place in (tmp_path / "take", out))
    assert take.rate == DESK_RATE and np.array_equal(take.tracks["drums"], song.tracks["drums"])
    assert not np.array_equal(take.tracks["bass"], song.tracks["bass"])
    assert ffmpeg_stamp(tmp_path / "take/memo.bass.wav") == STAMP * 3


def test_a_count_in_moves_what_has_no_place_yet(model, tmp_path):
    vocal = (sing(SECONDS, RATE), RATE)
    song = model.accompany(vocal, chart=ChartRequest(bpm=120, count_in=2))
    paths = song.save(tmp_path)
    stamp = ffmpeg_stamp(paths["mix"])
    assert 3.5 * RATE < stamp <= 4 * RATE and stamp == ffmpeg_stamp(paths["bass"])  # two bars, less what bar 1 lacks
    model.accompany(vocal, chart=ChartRequest(bpm=120)).save(tmp_path / "plain")
    assert ffmpeg_stamp(next((tmp_path / "plain").glob("*.mix.wav"))) is None


def test_the_click_of_a_count_in_begins_before_the_vocal(band_checkpoint, memo, tmp_path):
    assert run("chart", memo, "-o", tmp_path / "c", "--checkpoint", band_checkpoint, "--bpm", 120, "--count-in", 1) == 0
    click, (wav, rate) = tmp_path / "c/memo.click.wav", audio.read(tmp_path / "c/memo.click.wav")
    assert ffmpeg_stamp(click) == STAMP - (wav.shape[1] - round(SECONDS * RATE)) < STAMP
