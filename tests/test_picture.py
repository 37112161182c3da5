"""The picture of a song: what it shows is measured on known sounds, and no file is lost for it."""

import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need the extra `eval`: matplotlib is not installed")

from accompgen import audio  # noqa: E402
from accompgen.analysis.mel_bands import band_edges  # noqa: E402
from accompgen.evaluation import pictures  # noqa: E402

RATE = 48_000  # of the picture


@pytest.fixture(scope="module")
def picture(load_tools):
    return load_tools("picture")


def tone(hertz, amplitude, seconds=1.0, rate=RATE):
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate))[None].astype(np.float32)


@pytest.fixture
def files(tmp_path):
    """A vocal of 440 Hz at 44.1 kHz, a stereo accompaniment of 110 Hz, and a mix."""
    audio.write(tmp_path / "song.vocal.wav", tone(440, 0.1, rate=44100), 44100)
    audio.write(tmp_path / "band.wav", np.repeat(tone(110, 0.5), 2, axis=0), RATE)
    audio.write(tmp_path / "mix.wav", tone(440, 0.1) + tone(110, 0.5), RATE)
    return [tmp_path / name for name in ("song.vocal.wav", "band.wav", "mix.wav")]


@pytest.fixture
def run(picture):
    """The command with arguments -> its exit status."""
    return lambda *arguments: picture.main([str(argument) for argument in arguments])


def test_a_track_is_measured(picture, files):
    track = picture.analyse(files[0])
    assert track.seconds == pytest.approx(1.0) and track.peak == pytest.approx(0.1, abs=1e-3)
    low, high, level = track.envelope[:, 200:-200]
    assert level == pytest.approx(0.1 / np.sqrt(2), abs=0.04) and np.all(low <= high)
    assert track.envelope[1].max() == pytest.approx(0.1, abs=5e-3) == -track.envelope[0].min()
    bands = band_edges(pictures.BANDS, pictures.LOW_HZ, picture.HIGH_HZ)[1:-1]
    assert bands[track.power.sum(axis=1).argmax()] == pytest.approx(440, abs=40)


def test_the_peak_is_shown_sample_by_sample(picture, tmp_path):
    wav = np.repeat(tone(110, 0.1, 3.0, 48000), 2, axis=0)
    wav[1, 100_000] = -0.7  # a click of one sample in one channel
    audio.write(tmp_path / "click.wav", wav, 48000)
    track = picture.analyse(tmp_path / "click.wav")
    assert track.peak == pytest.approx(0.7, abs=1e-3) and track.peak_seconds == 100_000 / 48000
    assert track.close.shape == (4800,) and track.close.argmin() == 2400 and track.rate == 48000
    assert track.close_seconds == pytest.approx(track.peak_seconds - 0.05)
    assert track.crest > 18 and picture.faults(track).startswith("crest ") and "lock" in picture.faults(track)
    wav[0, 10] = 0.9  # at the edge the span is moved inside
    audio.write(tmp_path / "edge.wav", wav, 48000)
    track = picture.analyse(tmp_path / "edge.wav")
    assert track.close_seconds == 0 and track.close.argmax() == 10 and track.close.shape == (4800,)


def test_the_three_share_one_decibel_scale(picture, files):
    vocal, band, mix = picture.decibels([picture.analyse(path) for path in files])
    assert max(vocal.max(), band.max(), mix.max()) == 0.0
    assert vocal.max() == pytest.approx(band.max() - 20 * np.log10(5.0), abs=1.5)  # a fifth of the amplitude
    assert min(vocal.min(), band.min(), mix.min()) == -picture.RANGE_DECIBELS


def test_silence_is_the_bottom_of_the_scale(run, picture, tmp_path):
    audio.write(tmp_path / "silence.wav", np.zeros((1, 12000), np.float32), RATE)
    track = picture.analyse(tmp_path / "silence.wav")
    assert np.all(picture.decibels([track])[0] == -picture.RANGE_DECIBELS)
    assert picture.levels(track) == "silence" and picture.faults(track) == ""
    assert run(*[tmp_path / "silence.wav"] * 3, "-o", tmp_path / "p.png") == 0


def test_long_sounds_are_reduced_to_columns_without_losing_an_attack(picture):
    power = np.zeros((4, 3 * picture.COLUMNS + 1))
    power[2, 1000] = 7.0
    assert picture.pooled(power).shape == (4, picture.COLUMNS) and picture.pooled(power)[2].max() == 7.0
    mono = np.zeros(100 * picture.COLUMNS)
    mono[12345] = -1.0
    envelope = picture.envelope(mono)
    assert envelope.shape == (3, picture.COLUMNS) and envelope[0, 123] == -1.0 and envelope[1].max() == 0.0
    assert picture.envelope(np.ones(5)).shape == (3, 5)


def test_the_figure_shows_three_tracks_on_one_time_axis(picture, files):
    figure = picture.draw([picture.analyse(path) for path in files], "a $ong")
    axes = figure.axes
    names = [a.get_title(loc="left") for a in axes if a.get_title(loc="left")]
    assert names[::2] == ["Vocal", "Accompaniment", "Mix"]
    assert "a $ong" in [text.get_text() for text in figure.texts]
    close = [a for a in axes if a.get_title(loc="left") == "100 ms around the peak"]
    spans = [np.ptp(a.get_xlim()) for a in axes]
    assert spans.count(1.0) == 6 + 1 and len(close) == 3  # and the bar of the colours
    assert [np.ptp(a.get_xlim()) for a in close] == pytest.approx([0.1] * 3, abs=1e-3)
    assert len([a for a in axes if a.images]) == 3 and "dB" in axes[-1].get_ylabel()
    loudness = audio.loudness(*audio.read(files[0]))
    assert axes[0].get_title(loc="right") == f"−{-loudness:.1f} LUFS, peak −20.0 dBFS"


def test_ticks_of_the_time_axis(picture):
    assert [picture.clock(value, 33.2) for value in (0, 3, 7.5)] == ["0", "3", "7.5"]
    assert [picture.clock(value, 300) for value in (0, 59, 60, 285)] == ["0:00", "0:59", "1:00", "4:45"]


def test_the_command_writes_a_png_and_says_where(run, files, tmp_path, capsys):
    from matplotlib import image

    out = tmp_path / "new" / "picture.png"
    assert run(*files, "-o", out) == 0
    assert capsys.readouterr().out == f"{out}\n" and [path.name for path in out.parent.iterdir()] == ["picture.png"]
    pixels = image.imread(out)
    assert pixels.shape[:2] == (1152, 1800)
    assert len(np.unique(np.round(pixels[..., :3] @ np.float32([1, 256, 65536])))) > 100  # colours


def test_a_picture_is_replaced_only_by_force(run, files, tmp_path, capsys):
    out = tmp_path / "p.png"
    out.write_bytes(b"mine")
    assert run(*files, "-o", out) == 1
    assert out.read_bytes() == b"mine" and "--force" in capsys.readouterr().err
    assert run(*files, "-o", out, "--force") == 0
    assert out.read_bytes().startswith(b"\x89PNG")


def test_a_missing_sound_is_one_line_and_nothing_is_written(run, files, tmp_path, capsys):
    assert run(files[0], tmp_path / "none.wav", files[2], "-o", tmp_path / "p.png") == 1
    error = capsys.readouterr().err
    assert "none.wav" in error and error.count("\n") == 1 and not (tmp_path / "p.png").exists()


def test_without_matplotlib_the_extra_is_named(run, files, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(*files, "-o", tmp_path / "p.png") == 1
    assert "pip install 'accompgen[eval]'" in capsys.readouterr().err


def test_a_wrong_call_exits_2(run):
    with pytest.raises(SystemExit, match="2"):
        run("vocal.wav", "-o", "p.png")
