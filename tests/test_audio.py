"""Sound files of every kind, resampling, loudness and the mix: judged by their samples."""

import errno
import io
import os

import numpy as np
import pytest
import soundfile

from accompgen import audio, sound_writer
from accompgen.audio import AudioError


def tone(seconds=1.0, rate=44_100, hz=440.0, level=0.5, channels=1):
    wave = level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    return np.stack([wave * 0.5**channel for channel in range(channels)]).astype(np.float32)


@pytest.mark.parametrize(
    "subtype, error", [("PCM_16", 1 / 32768), ("PCM_24", 1 / 2**23), ("FLOAT", 0), ("DOUBLE", 0), ("PCM_32", 1e-7)]
)
@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_reads_every_sample_format_and_rate(tmp_path, subtype, error, rate):
    wav = tone(0.3, rate, channels=3)
    soundfile.write(tmp_path / "a.wav", wav.T, rate, subtype)
    found, found_rate = audio.read(tmp_path / "a.wav")
    assert found_rate == rate and found.dtype == np.float32 and found.shape == wav.shape
    assert np.abs(found - wav).max() <= error


@pytest.mark.parametrize("dtype", ["int16", "int32", "float16", "float64"])
def test_arrays_of_every_type_have_one_full_scale(dtype):
    wav = tone(0.1, channels=2)
    scale = np.iinfo(dtype).max if dtype.startswith("int") else 1.0
    found = audio.from_array((wav.astype("float64") * scale).astype(dtype))
    assert found.dtype == np.float32 and np.abs(found - wav).max() < 1e-3
    assert np.array_equal(audio.from_array(found), found) and audio.from_array(found[0]).shape == (1, 4_410)


@pytest.mark.parametrize("samples, message", [
    (np.zeros((4_410, 2), np.float32), "4410 channels of 2 samples; expected \\[C, T\\], so transpose"),
    (np.zeros(100, np.uint8), "uint8 of shape \\(100,\\); expected floats or signed integers"),
    (np.zeros((2, 2, 100)), "float64 of shape \\(2, 2, 100\\)"),
    (np.zeros(100, complex), "complex128"),
])  # fmt: skip
def test_arrays_that_are_no_sound(samples, message):
    with pytest.raises(AudioError, match=message):
        audio.from_array(samples)


@pytest.mark.parametrize("suffix, least_db", [("flac", 80), ("ogg", 20), ("mp3", 20)])
def test_reads_compressed_formats(tmp_path, suffix, least_db):
    wav = tone(1.0, channels=2)
    soundfile.write(tmp_path / f"a.{suffix}", wav.T, 44_100)
    found, rate = audio.read(tmp_path / f"a.{suffix}")
    assert rate == 44_100 and found.shape[0] == 2
    found = audio.fit(found, wav.shape[1])
    assert 10 * np.log10((wav**2).sum() / ((found - wav) ** 2).sum()) > least_db


@pytest.mark.parametrize(
    "name, subtype", [("a.wav", "PCM_16"), ("a.wav", None), ("a.wav", "FLOAT"), ("a.flac", None), ("a.mp3", None)]
)
@pytest.mark.parametrize("seconds", [0.2, 1.2345])
def test_written_files_keep_length_and_content(tmp_path, name, subtype, seconds):
    wav = tone(seconds, channels=2, level=0.4)
    audio.write(tmp_path / name, wav, 44_100, subtype)
    found, rate = audio.read(tmp_path / name)
    assert (found.shape, rate) == (wav.shape, 44_100)
    assert np.sqrt(((found - wav) ** 2).mean()) < (0.02 if name.endswith("mp3") else 1e-4)
    if subtype:
        assert soundfile.info(tmp_path / name).subtype == subtype
    assert [file.name for file in tmp_path.iterdir()] == [name]  # no temporary left


def test_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "plain").write_text("")
    audio.write(tmp_path / "a.wav", tone(0.1), 44_100)
    assert (tmp_path / "a.wav").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_nothing_is_clipped_on_writing(tmp_path):
    loud = tone(0.1, level=1.5)
    with pytest.raises(AudioError, match="peak 1.5.* would clip"):
        audio.write(tmp_path / "a.wav", loud, 44_100)
    audio.write(tmp_path / "a.wav", loud, 44_100, "FLOAT")
    assert np.array_equal(audio.read(tmp_path / "a.wav")[0], loud)
    with pytest.raises(AudioError, match="NaN or infinite"):
        audio.write(tmp_path / "b.wav", np.full((1, 100), np.nan, np.float32), 44_100)


@pytest.mark.parametrize(
    "rate, channels, suffix, subtype, message",
    [
        (44_100, 1, ".aac", None, "'.aac' is not one of .wav, .flac, .mp3"),
        (96_000, 1, ".mp3", None, "mp3 has no sample rate of 96000 Hz"),
        (44_100, 1, ".flac", "FLOAT", "flac has no subtype FLOAT"),
        (44_100, 9, ".flac", None, "at most 8 channels, not 9"),
    ],
)
def test_what_a_format_cannot_hold(rate, channels, suffix, subtype, message):
    with pytest.raises(AudioError, match=message):
        audio.encode(np.zeros((channels, 10), np.float32), rate, suffix, subtype)


def test_an_interrupted_write_leaves_nothing_and_keeps_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "a.wav").write_bytes(b"old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        audio.write(tmp_path / "a.wav", tone(0.1), 44_100)
    assert [file.name for file in tmp_path.iterdir()] == ["a.wav"] and (tmp_path / "a.wav").read_bytes() == b"old"


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(AudioError, match="a.wav: No space left on device"):
        audio.write(tmp_path / "a.wav", tone(0.1), 44_100)
    assert not list(tmp_path.iterdir())


class FullDisk(io.BytesIO):
    """A file on a disk that is full after ten thousand bytes."""

    def write(self, data):
        if self.tell() + len(data) > 10_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_a_disk_that_fills_up_meanwhile_is_an_error_too(tmp_path, monkeypatch, name, capfd):
    """libsndfile writes from C, where exceptions are lost."""
    monkeypatch.setattr(sound_writer, "replacing", lambda path: FullDisk())
    with pytest.raises(AudioError, match=f"{name}: No space left on device; make room"):
        audio.write(tmp_path / name, np.random.default_rng(0).uniform(-0.5, 0.5, (2, 44_100)), 44_100)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("suffix, stamp", [(".wav", None), (".wav", 7), (".flac", None), (".mp3", None)])
def test_pieces_are_written_as_the_whole(monkeypatch, suffix, stamp):
    wav = tone(0.5, channels=2, level=0.4)
    whole = audio.encode(wav, 44_100, suffix, stamp=stamp)
    monkeypatch.setattr(sound_writer, "BLOCK_FRAMES", 4_001)
    asked = []

    def piece(place):
        asked.append(place)
        return 2 * wav[place]

    pieces = audio.Pieces(wav.shape, piece)
    assert audio.encode(audio.Pieces(wav.shape, lambda place: 0.5 * pieces[place]), 44_100, suffix, stamp=stamp) == whole
    assert max(span.stop - span.start for _, span in asked) == 4_001
    assert audio.peak(pieces) == 2 * audio.peak(wav) and np.array_equal(np.asarray(pieces), 2 * wav) and len(pieces) == 2
    wav[0, -1] = np.nan
    assert np.isnan(audio.peak(pieces))


def test_files_that_belong_together_appear_together(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(AudioError, match="cannot write .*/folder: "):  # the rename fails, not the writing
        audio.write_files({tmp_path / "a.wav": b"a", tmp_path / "folder": b"b"})
    with pytest.raises(AudioError, match="cannot write .*/none/b.wav: No such file"):
        audio.write_files({tmp_path / "a.wav": b"a", tmp_path / "none" / "b.wav": b"b"})
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    audio.write_files({tmp_path / "a.wav": b"a", tmp_path / "b.wav": b"b"})
    assert [(tmp_path / name).read_bytes() for name in ("a.wav", "b.wav")] == [b"a", b"b"]


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has a umask")
def test_a_file_has_the_permissions_of_a_new_one(tmp_path):
    (tmp_path / "usual").write_bytes(b"")
    audio.write_bytes(tmp_path / "a.wav", b"a")
    modes = [(tmp_path / name).stat().st_mode for name in ("usual", "a.wav")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_resampling_keeps_a_tone_and_gives_the_exact_length(rate):
    for samples in (rate, rate // 3 + 1, 1):
        wav = tone(1, rate, channels=2)[:, :samples]
        for to in (16_000, 24_000):
            there = audio.resample(wav, rate, to)
            assert there.shape == (2, round(samples * to / rate))
    there = audio.resample(tone(1, rate, channels=2), rate, 24_000)
    expected = tone(1, 24_000, channels=2)
    assert np.abs(there - expected)[:, 2_000:-2_000].max() < 2e-3  # the ends ring


def test_loudness_of_the_reference_tone():
    # BS.1770: 997 Hz at full scale in one channel reads -3.01 LUFS; in both channels, 3.01 LU more
    wav = tone(2, 48_000, 997, level=1.0)
    assert audio.loudness(wav, 48_000) == pytest.approx(-3.01, abs=0.05)
    assert audio.loudness(np.repeat(wav, 2, axis=0), 48_000) == pytest.approx(0.0, abs=0.05)
    assert audio.loudness(wav / 10, 48_000) == pytest.approx(-23.01, abs=0.05)


@pytest.mark.parametrize("channel", [0, 2, 3, 5])
def test_loudness_of_a_voice_in_one_of_six_channels(channel):
    wav = tone(5, 48_000, 997, level=1.0)
    six = np.zeros((6, wav.shape[1]), np.float32)
    six[channel] = wav
    assert audio.loudness(six, 48_000) == pytest.approx(-3.01, abs=0.05)
    assert audio.loudness(np.repeat(wav, 4, axis=0), 48_000) == pytest.approx(3.01, abs=0.05)
    assert audio.loudness(np.zeros((6, 48_000), np.float32), 48_000) == float("-inf")


@pytest.mark.parametrize("seconds", [0.01, 0.2, 0.3999, 0.4, 0.41])
@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_loudness_of_short_clips(seconds, rate):
    assert audio.loudness(tone(seconds, rate, 997, level=0.5), rate) == pytest.approx(-9.03, abs=0.6)


@pytest.mark.parametrize("rate, samples", [(11_025, 2205), (11_025, 4410), (12_345, 4938), (8_005, 3202)])
def test_loudness_of_a_clip_as_long_as_a_block(rate, samples):
    # blocks of 0.4 s are no whole number of samples of a tenth of a second at these rates
    assert audio.loudness(tone(1, rate, 997, level=0.5)[:, :samples], rate) == pytest.approx(-9.03, abs=0.6)


def test_loudness_of_samples_of_another_scale():
    wav = tone(2, 48_000, 997, level=1.0)
    assert audio.loudness(32_767 * wav, 48_000) == pytest.approx(-3.01 + audio.decibel(32_767), abs=0.1)


def test_loudness_of_silence():
    assert audio.loudness(np.zeros((2, 44_100), np.float32), 44_100) == float("-inf")


@pytest.mark.parametrize("balance", [-12.0, -3.0, 0.0, 6.0])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_mix_has_the_balance_and_is_vocal_times_gain_plus_accompaniment(balance, channels):
    rng = np.random.default_rng(0)
    vocal = tone(3, 44_100, 300, level=0.2, channels=channels)
    accompaniment, mixed, levels = audio.mix(vocal, rng.normal(0, 0.3, (1, 132_300)).astype(np.float32), 44_100, balance)
    in_mix = np.broadcast_to(accompaniment, vocal.shape)
    gain = 10 ** (levels["vocal_gain_db"] / 20)
    assert np.abs(mixed - in_mix - gain * vocal).max() < 1e-3
    assert audio.loudness(in_mix, 44_100) - audio.loudness(mixed - in_mix, 44_100) == pytest.approx(balance, abs=0.05)
    assert levels["accompaniment_lufs"] - levels["vocal_lufs"] - levels["vocal_gain_db"] == pytest.approx(balance, abs=0.05)
    assert mixed.shape == vocal.shape


def test_a_loud_mix_is_turned_down_below_minus_1_dbfs():
    vocal, band = tone(1, level=1.0), tone(1, hz=443, level=1.0)
    accompaniment, mixed, levels = audio.mix(vocal, band, 44_100, 6.0)
    assert audio.peak(mixed) == pytest.approx(10 ** (-1 / 20), abs=1e-3)
    assert max(audio.peak(mixed), audio.peak(accompaniment)) < 10 ** (-1 / 20)
    assert levels["vocal_gain_db"] < -6 and levels["mix_peak_dbfs"] <= -1.0
    # where vocal and band cancel, the band's own file must not exceed the limit either
    accompaniment, mixed, _ = audio.mix(tone(1, level=1.0), -tone(1, level=1.0), 44_100, 0.5)
    assert audio.peak(accompaniment) <= 10 ** (-1 / 20) and audio.peak(mixed) < 0.1


def test_a_quiet_mix_is_left_as_loud_as_the_vocal():
    vocal = tone(1, level=0.1)
    _, mixed, levels = audio.mix(vocal, tone(1, hz=700, level=0.9), 44_100, -3.0)
    assert levels["vocal_gain_db"] == 0.0 and 0.1 < audio.peak(mixed) < 0.25


def test_a_silent_accompaniment_leaves_the_vocal():
    vocal = tone(1)
    accompaniment, mixed, levels = audio.mix(vocal, np.zeros((1, 44_100), np.float32), 44_100, 0.0)
    assert np.array_equal(mixed, vocal) and not accompaniment.any() and levels["accompaniment_lufs"] is None


def test_vocals_that_cannot_be_used():
    audio.check_vocal(tone(0.2), 44_100)
    soft = 3e-4 * np.random.default_rng(0).standard_normal((1, 44_100)).astype(np.float32)
    audio.check_vocal(soft, 44_100)
    one_sided = np.concatenate([soft, 0 * soft])  # of which half is heard: -6 dB
    for wav, message in (
        (tone(0.19), "0.190 s long; at least 0.2 s"),
        (tone(1, level=0.0009), "silent, its peak is -60.9 dBFS"),
        (np.full((1, 44_100), 0.5, np.float32), "silent, its peak is -inf"),
        (np.where(np.arange(44_100) == 22_050, 0.002, 0)[None].astype(np.float32), "below -70 LUFS"),
        (one_sided, "below -70 LUFS"),
    ):
        with pytest.raises(AudioError, match=message):
            audio.check_vocal(wav, 44_100)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_part_of_a_file_is_that_part(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(0.5, 8_000, channels=2).T, 8_000)
    whole, _ = audio.read(path)
    for first, frames in ((0, 10), (1234, 700), (3990, 100), (17, None)):
        part, rate = audio.read(path, first, frames)
        assert rate == 8_000 and np.array_equal(part, whole[:, first:][:, :frames])
    assert audio.length(path) == (4_000, 8_000)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(AudioError, match="cut off|damaged"):
        audio.read(path, 3_000, 500)


def test_how_long_a_file_says_it_is(tmp_path):
    audio.write(tmp_path / "tone.wav", np.zeros((2, 12_000), np.float32), 48_000)
    assert audio.seconds(tmp_path / "tone.wav") == 0.25
    (tmp_path / "words.wav").write_text("words")
    (tmp_path / "voice.raw").write_bytes(bytes(100))  # of which soundfile wants to be told rate and channels
    for name in ("words.wav", "voice.raw"):
        with pytest.raises(audio.AudioError, match=f"{name}: not sound, or damaged"):
            audio.seconds(tmp_path / name)
    with pytest.raises(audio.AudioError, match="no such file"):
        audio.seconds(tmp_path / "none.wav")
