"""Sound files as programs and people leave them: all of their sound is read, or what is missing is said."""

import errno
import io
import os
import struct
import tracemalloc
import warnings

import av
import coded_sound
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
    return coded_sound.made(path, codec, voice() if wav is None else wav, rate, **options)


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


ODD = 100_001  # samples: no whole number of frames of any codec, nor of milliseconds


def chirp(rate, samples=ODD):
    """Sound whose place can be told to the sample."""
    time = np.arange(samples) / rate
    return (0.3 * np.sin(2 * np.pi * (200 + 300 * time) * time)).astype(np.float32)


def lag(found, wav):
    """By how many samples `found` [T] lies behind `wav` [T]."""
    size = 1 << (len(found) + len(wav)).bit_length()
    likeness = np.fft.irfft(np.fft.rfft(found, size) * np.conj(np.fft.rfft(wav, size)), size)
    return (int(likeness.argmax()) + size // 2) % size - size // 2


@pytest.mark.parametrize(
    "name, codec, rate, format",
    [
        ("phone.m4a", "aac", 44_100, "ipod"),
        ("phone.mov", "aac", 48_000, "mov"),
        ("lossless.m4a", "alac", 44_100, "ipod"),
        ("camera.mov", "pcm_s16le", 44_100, "mov"),
        ("old phone.3gp", "aac", 44_100, "3gp"),
        ("browser.webm", "libopus", 48_000, "webm"),
        ("chat.opus", "libopus", 48_000, "opus"),
        ("browser.mp4", "libopus", 48_000, "mp4"),
        ("a.mkv", "libopus", 48_000, "matroska"),
        ("a.wv", "wavpack", 44_100, "wv"),
        ("a.tta", "tta", 44_100, "tta"),
        ("a.mp3", "libmp3lame", 44_100, "mp3"),
        ("a.avi", "pcm_s16le", 44_100, "avi"),
    ],
)
def test_formats_that_tell_their_length_are_read_to_the_sample(tmp_path, name, codec, rate, format):
    wav = chirp(rate)
    path = made(tmp_path / name, codec, wav, rate, format=format)
    found, found_rate = audio.read(path)
    assert (found.shape, found_rate) == ((1, ODD), rate)
    assert lag(found[0], wav) == 0 and same_sound(found, wav, 0)
    assert audio.length(path) == (ODD, rate)
    for first, frames in ((0, 100), (50_000, 20_000), (ODD - 1_000, 5_000)):
        assert np.array_equal(audio.read(path, first, frames)[0], found[:, first : first + frames])


def test_an_m4a_of_an_encoder_that_counts_in_samples_is_cut_where_it_says(tmp_path):
    """Apple's encoders fill the last frame, and their edit list says in samples where the sound ends."""
    path = made(tmp_path / "a.m4a", "aac", chirp(RATE), format="ipod", options={"movie_timescale": str(RATE)})
    assert audio.length(path) == (ODD, RATE)
    data = bytearray(path.read_bytes())
    entry = data.index(b"elst") + 12  # version and flags, count; then the duration of the first edit
    (stated,) = struct.unpack(">I", data[entry : entry + 4])
    assert stated == ODD
    data[entry : entry + 4] = struct.pack(">I", ODD - 30)
    path.write_bytes(data)
    assert audio.length(path) == (ODD - 30, RATE)


def test_aac_without_a_container_has_what_its_encoder_put_around_it(tmp_path):
    found, _ = audio.read(made(tmp_path / "a.aac", "aac", chirp(RATE), format="adts"))
    assert lag(found[0], chirp(RATE)) == 1024 and ODD + 1024 <= found.shape[1] < ODD + 2 * 1024


def test_a_part_of_a_long_m4a_takes_the_memory_of_that_part(tmp_path):
    path = made(tmp_path / "a.m4a", "aac", np.tile(chirp(RATE), 10), format="ipod")
    tracemalloc.start()
    found, _ = audio.read(path, 750_000, 20_000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.shape == (1, 20_000) and most < 1e6  # all of it: 4 MB


@pytest.mark.parametrize("name, options", [("a.m4a", {"movflags": "faststart"}), ("a.webm", {})])
def test_half_an_m4a_or_webm_says_how_much_is_missing(tmp_path, name, options):
    codec, format = ("aac", "ipod") if name == "a.m4a" else ("libopus", "webm")
    path = made(tmp_path / name, codec, chirp(48_000), 48_000, format=format, options=options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(AudioError, match=rf"{name}: cut off after 1\.\d\d s of the [12]\.\d\d s"):
        audio.read(path)


def test_an_m4a_that_was_never_finished_says_so(tmp_path):
    path = made(tmp_path / "a.m4a", "aac", chirp(RATE), format="ipod")  # its table of contents comes last
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(AudioError, match="a.m4a: not sound, or damaged or cut off"):
        audio.read(path)


def test_a_film_is_read_by_its_sound_and_one_without_says_so(tmp_path):
    def film(path, with_sound):
        with av.open(str(path), "w") as container:
            pictures = container.add_stream("mpeg4", rate=10)
            pictures.width = pictures.height = 32
            pictures.pix_fmt = "yuv420p"
            sound = container.add_stream("aac", rate=RATE, layout="mono") if with_sound else None
            for number in range(30):
                picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 8 * number, np.uint8), "rgb24")
                container.mux(pictures.encode(picture))
            container.mux(pictures.encode(None))
            if sound is not None:
                frame = av.AudioFrame.from_ndarray(voice()[None], format="fltp", layout="mono")
                frame.sample_rate, frame.pts = RATE, 0
                container.mux(sound.encode(frame))
                container.mux(sound.encode(None))
        return path

    found, _ = audio.read(film(tmp_path / "film.mp4", True))  # of three seconds, the sound of two
    assert found.shape == (1, SAMPLES) and same_sound(found, voice(), 0)
    with pytest.raises(AudioError, match=r"silent\.mp4: there is no sound in it, only pictures"):
        audio.read(film(tmp_path / "silent.mp4", False))


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
    assert np.array_equal(audio.downmix(wav[None]), wav)
    assert np.array_equal(audio.downmix(np.stack([wav, wav])), wav)
    assert np.array_equal(audio.downmix(np.stack([wav, 0 * wav])), wav / 2)  # half as loud, but levels are set after it
    assert np.array_equal(audio.downmix(np.stack([0.97 * wav, -wav])), -wav)
    assert audio.cancelled(np.stack([wav, -0.97 * wav])) == pytest.approx(36.5, abs=0.5)
