"""Sound files as programs and people leave them: all of their sound is read, or what is missing is said."""

import errno
import io
import os
import struct
import warnings

import av
import numpy as np
import pytest
import soundfile

from accompgen import audio, sound_file
from accompgen.files import SoundWarning
from accompgen.sound_file import AudioError

RATE, SAMPLES = 44_100, 88_200  # 2 s


def voice(samples=SAMPLES):
    time = np.arange(samples) / RATE
    return (0.3 * np.sin(2 * np.pi * 220 * time) * (1 + np.sin(2 * np.pi * 1.5 * time)) / 2).astype(np.float32)


def made(path, codec, wav=None, rate=RATE, **options):
    """A file that FFmpeg writes."""
    wav = voice() if wav is None else wav
    with av.open(str(path) if isinstance(path, os.PathLike) else path, "w", **options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray((wav[None] * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(stream.format, "mono", rate, frame_size=stream.codec_context.frame_size or 4096)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def same_sound(found, wav, first):
    """Whether `found` [1, T] is `wav` [T] behind `first` samples, as far as lossy codecs keep it."""
    piece = found[0, first : first + len(wav)]
    return np.corrcoef(piece, wav[: len(piece)])[0, 1] > 0.99


class Pipe(io.RawIOBase):
    """A file that cannot be written twice in one place."""

    def __init__(self):
        self.data = bytearray()

    def write(self, data):
        self.data += data
        return len(data)

    def writable(self):
        return True


@pytest.mark.parametrize("silence", [0, RATE])
def test_an_mp3_of_changing_bitrate_without_a_count_is_read_to_its_end(tmp_path, silence):
    wav = np.concatenate([np.zeros(silence, np.float32), voice()])
    path = made(tmp_path / "a.mp3", "libmp3lame", wav, format="mp3", options={"write_xing": "0"})
    found, rate = audio.read(path)
    assert rate == RATE and len(wav) <= found.shape[1] < len(wav) + 3 * 1152  # the encoder's delay is not known, so not cut
    assert same_sound(found, wav, 1105) and audio.length(path) == (found.shape[1], RATE)


def test_an_mp3_that_counts_has_the_length_it_was_made_of(tmp_path):
    found, _ = audio.read(made(tmp_path / "a.mp3", "libmp3lame", format="mp3"))
    assert found.shape == (1, SAMPLES) and same_sound(found, voice(), 0)


def test_an_mp3_cut_in_half_says_so(tmp_path):
    path = made(tmp_path / "a.mp3", "libmp3lame", format="mp3")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"a\.mp3: cut off after [01]\.\d\d s of the [12]\.\d\d s"):
        audio.read(path)


@pytest.mark.parametrize("suffix, subtype, rate", [("mp3", None, RATE), ("ogg", "VORBIS", RATE), ("ogg", "OPUS", 48_000)])
def test_two_files_in_one_are_both_read(tmp_path, suffix, subtype, rate):
    soundfile.write(tmp_path / f"once.{suffix}", voice(), rate, subtype)
    once = (tmp_path / f"once.{suffix}").read_bytes()
    (tmp_path / f"twice.{suffix}").write_bytes(2 * once)
    single, twice = (audio.read(tmp_path / f"{name}.{suffix}")[0] for name in ("once", "twice"))
    assert twice.shape[1] == pytest.approx(2 * single.shape[1], abs=3_600)  # codecs pad, and the second one's padding stays
    assert audio.loudness(twice[:, single.shape[1] :], rate) == pytest.approx(audio.loudness(single, rate), abs=1)


def test_an_mp3_behind_zeros_and_its_elder_brother_are_read(tmp_path):
    path = made(tmp_path / "a.mp3", "libmp3lame", format="mp3", options={"write_xing": "0"})
    (tmp_path / "zeros.mp3").write_bytes(bytes(3_000) + path.read_bytes())
    assert audio.read(tmp_path / "zeros.mp3")[0].shape == audio.read(path)[0].shape
    found, _ = audio.read(made(tmp_path / "a.mp2", "mp2", format="mp2"))
    assert SAMPLES <= found.shape[1] < SAMPLES + 2 * 1152


def test_a_flac_from_a_pipe_has_no_count_and_all_its_sound(tmp_path):
    pipe = Pipe()
    made(pipe, "flac", format="flac")
    (tmp_path / "a.flac").write_bytes(pipe.data)
    with open(tmp_path / "a.flac", "rb") as file:
        assert soundfile.info(file).frames > 1 << 40  # what libsndfile makes of it
    found, _ = audio.read(tmp_path / "a.flac")
    assert found.shape == (1, SAMPLES) and np.abs(found[0] - voice()).max() < 1e-4
    part, _ = audio.read(tmp_path / "a.flac", 1_000, 500)
    assert np.array_equal(part, found[:, 1_000:1_500])


@pytest.fixture
def wav_bytes(tmp_path):
    soundfile.write(tmp_path / "v.wav", voice(), RATE, "PCM_16")
    return bytearray((tmp_path / "v.wav").read_bytes())


def test_half_a_wav_says_how_much_is_missing(tmp_path, wav_bytes):
    (tmp_path / "a.wav").write_bytes(wav_bytes[: len(wav_bytes) // 2])
    with pytest.raises(AudioError, match=r"a\.wav: cut off after 1\.00 s of the 2\.00 s"):
        audio.read(tmp_path / "a.wav")


@pytest.mark.parametrize("size, noted", [(0, True), (0xFFFFFFFF, False), (0x7FFFFFFF - 36, False)])
def test_a_wav_whose_writer_never_came_back_to_its_head(tmp_path, wav_bytes, size, noted):
    at = wav_bytes.index(b"data") + 4
    wav_bytes[at : at + 4] = struct.pack("<I", size)
    (tmp_path / "a.wav").write_bytes(wav_bytes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found, _ = audio.read(tmp_path / "a.wav")
    assert found.shape == (1, SAMPLES) and np.abs(found[0] - voice()).max() < 1e-4
    assert [w.category for w in caught] == [SoundWarning] * noted
    assert not noted or "a.wav: its header says 0 bytes" in str(caught[0].message)


def test_broadcast_and_telephone_wavs_are_read(tmp_path):
    soundfile.write(tmp_path / "a.wav", voice(), RATE, "PCM_16", format="RF64")
    data = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "b.wav").write_bytes(b"BW64" + data[4:])
    assert audio.read(tmp_path / "b.wav")[0].shape == (1, SAMPLES)
    soundfile.write(tmp_path / "gsm.wav", voice()[::5], 8_820, "GSM610")
    assert audio.read(tmp_path / "gsm.wav")[0].shape[1] == pytest.approx(SAMPLES / 5, abs=320)


def test_tags_in_an_old_encoding_are_no_reason_to_refuse_the_sound(tmp_path):
    path = made(tmp_path / "a.mp3", "libmp3lame", format="mp3", options={"id3v2_version": "0"})
    path.write_bytes(path.read_bytes() + b"TAG" + b"caf\xe9".ljust(125, b"\0"))
    assert audio.read(path)[0].shape == (1, SAMPLES)


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
def test_half_a_long_wav_says_how_much_is_missing(tmp_path, magic):
    soundfile.write(tmp_path / "a.wav", voice(), RATE, "PCM_16", format="RF64")
    data = (tmp_path / "a.wav").read_bytes()
    size = 2 * SAMPLES
    head = b"ds64" + struct.pack("<IQQQI", 28, len(data) + 28, size, SAMPLES, 0)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    whole = magic + b"\xff\xff\xff\xffWAVE" + head + form + b"data\xff\xff\xff\xff" + data[-size:]
    (tmp_path / "b.wav").write_bytes(whole)
    assert audio.read(tmp_path / "b.wav")[0].shape == (1, SAMPLES)
    (tmp_path / "b.wav").write_bytes(whole[: -size // 2])
    with pytest.raises(AudioError, match=r"b\.wav: cut off after 1\.00 s of the 2\.00 s"):
        audio.read(tmp_path / "b.wav")


def test_an_m4a_is_read_as_long_as_it_states(tmp_path):
    path = made(tmp_path / "a.m4a", "aac", format="mp4")
    found, _ = audio.read(path)
    with av.open(str(path)) as container:
        stated = container.streams.audio[0].duration  # in samples
    assert found.shape == (1, stated) and SAMPLES <= stated <= SAMPLES + 1_024 and same_sound(found, voice(), stated - SAMPLES)


def test_a_way_of_coding_that_is_not_known_is_named(tmp_path):
    path = made(tmp_path / "a.mka", "aac", format="matroska")
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    for read in (audio.read, audio.length):
        with pytest.raises(AudioError, match="a.mka: its sound is coded in a way that FFmpeg does not know here; convert"):
            read(path)


def test_a_disk_that_fails_on_the_way_is_named(tmp_path, monkeypatch):
    path = made(tmp_path / "a.mp3", "libmp3lame", format="mp3")

    def fails(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(sound_file, "_read_head", fails)
    for read in (audio.read, audio.length):
        with pytest.raises(AudioError, match="a.mp3: cannot be read: Input/output error; check"):
            read(path)


def test_a_name_that_is_no_text(tmp_path, wav_bytes):
    path = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    with open(path, "wb") as file:
        file.write(wav_bytes)
    assert audio.read(os.fsdecode(path))[0].shape == (1, SAMPLES)


def test_a_playlist_opens_no_other_file(tmp_path):
    soundfile.write(tmp_path / "v.wav", voice(), RATE)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nv.wav\n#EXT-X-ENDLIST\n")
    (tmp_path / "list.wav").write_text("ffconcat version 1.0\nfile v.wav\n")
    for name in ("list.m3u8", "list.wav"):
        with pytest.raises(AudioError, match=f"{name}: not sound, or damaged"):
            audio.read(tmp_path / name)


def test_channels_that_cancel_are_heard_as_one_of_them():
    wav = voice()
    assert np.array_equal(audio.heard(wav[None]), wav)
    assert np.array_equal(audio.heard(np.stack([wav, wav])), wav)
    assert np.array_equal(audio.heard(np.stack([wav, 0 * wav])), wav / 2)  # half as loud, but levels are set after it
    assert np.array_equal(audio.heard(np.stack([0.97 * wav, -wav])), -wav)
    assert audio.cancelled(np.stack([wav, -0.97 * wav])) == pytest.approx(36.5, abs=0.5)
