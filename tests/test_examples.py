"""The page of examples: complete, small, honest about how it was made, and never over somebody's files."""

import hashlib
import json
from html.parser import HTMLParser

import evaluation_songs
import numpy as np
import pytest

from accompgen import audio

SAMPLING = {"temperature": 0.9, "top_k": 250, "top_p": 1.0, "guidance": 3.0}


@pytest.fixture(scope="module")
def tool(load_tools):
    return load_tools("examples")


@pytest.fixture
def place(tmp_path):
    """Vocals with what is known of them, and what a system played to them."""
    for number in range(3):
        name = f"song{number}"
        (tmp_path / "vocals").mkdir(exist_ok=True)
        audio.write(tmp_path / "vocals" / f"{name}.vocal.wav", evaluation_songs.voice(60 + number, 2.0), 24000, "PCM_16")
        meta = {
            "id": name,
            "licence": "CC0 <song>",
            "source": "composed 1",
            "key": "C:maj",
            "bpm": 90.4,
            "singer": {"name": "alto"},
        }
        (tmp_path / "vocals" / f"{name}.json").write_text(json.dumps(meta))
        _play(tmp_path / "played", name, seed=5)
    return tmp_path


def _play(folder, name, seed):
    folder.mkdir(exist_ok=True)
    band = 0.5 * evaluation_songs.band(60, 2.0, 0.5)
    audio.write(folder / f"{name}.accompaniment.wav", np.stack([band, 0.8 * band]), 24000, "PCM_16")
    settings = {stage: SAMPLING for stage in ("semantic", "coarse", "fine")} | {"balance_lu": -3.0, "noise": 0.01}
    about = {"name": "pocket", "config_sha256": "ab" * 32, "sha256": {}}
    report = {"seed": seed, "settings": settings, "checkpoint": about, "versions": {"torch": "2"}, "real_time_factor": 0.5}
    (folder / f"{name}.json").write_text(json.dumps(report))


class Elements(HTMLParser):
    """The page's elements, each with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def all(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def run(tool, place, *options):
    return tool.main([str(place / "vocals"), str(place / "played"), "-o", str(place / "out"), *options])


def test_a_real_voice_comes_first_and_true_bands_stand_beside(tool, place):
    audio.write(place / "singer.wav", evaluation_songs.voice(62, 2.0), 24000, "PCM_16")
    _play(place / "played", "singer", seed=5)
    for number in range(2):
        truth = place / "vocals" / f"song{number}.accompaniment.wav"
        audio.write(truth, 0.1 * evaluation_songs.band(60, 2.0, 0.5)[None], 24000, "PCM_16")
    with pytest.raises(SystemExit):
        run(tool, place, "--count", "2", "--voice", str(place / "singer.wav"))
    assert run(tool, place, "--count", "2", "--voice", str(place / "singer.wav"), "--credit", "A. Singer, CC BY") == 0
    text = (place / "out" / "index.html").read_text()
    sources = [attrs["src"] for attrs in Elements(text).all("audio")]
    assert sources[:4] == ["01-vocal.mp3", "01-accompaniment.mp3", "01-mix.mp3", "02-vocal.mp3"] and len(sources) == 3 + 2 * 4
    assert text.index("A real voice") < text.index("Example 2") and "sung by A. Singer, CC BY" in text
    played, true = (audio.read(place / "out" / f"02-{part}.mp3")[0] for part in ("accompaniment", "truth"))
    assert audio.loudness(true, 44_100) == pytest.approx(audio.loudness(played, 44_100), abs=1)


def test_page_has_players_pictures_and_how_they_were_made(tool, place):
    assert run(tool, place, "--count", "3") == 0
    text = (place / "out" / "index.html").read_text()
    page = Elements(text)
    ids = {attrs["id"] for _, attrs in page.found if "id" in attrs}
    players, images = page.all("audio"), page.all("img")
    assert len(players) == len(images) == 9 and page.all("html") == [{"lang": "en"}]
    assert all(set(player["aria-labelledby"].split()) <= ids for player in players) and all(image["alt"] for image in images)
    assert page.all("script") == [{}] and "http" not in text  # nothing is loaded from elsewhere
    for word in ("ab" * 32, "guidance 3", "alto", "90 beats", "CC0 &lt;song&gt;", "<dt>Seed</dt><dd>5</dd>"):
        assert word in text
    for file in (*(player["src"] for player in players), *(image["src"] for image in images)):
        assert (place / "out" / file).is_file()
    known = json.loads((place / "out" / "examples.json").read_text())
    for name, digest in known["sha256"].items():
        assert hashlib.sha256((place / "out" / name).read_bytes()).hexdigest() == digest


def test_mix_is_vocal_and_band_and_pictures_are_small(tool, place):
    assert run(tool, place, "--count", "3") == 0
    sounds = {part: audio.read(place / "out" / f"01-{part}.mp3") for part in ("vocal", "accompaniment", "mix")}
    assert {rate for _, rate in sounds.values()} == {44_100}
    assert [wav.shape[0] for wav, _ in sounds.values()] == [1, 2, 2]  # a voice in the middle of the band
    vocal, band, mix = (sounds[part][0][:, :88_200] for part in ("vocal", "accompaniment", "mix"))
    for channel in range(2):
        assert np.corrcoef(mix[channel], vocal[0] + band[channel])[0, 1] > 0.98
    assert max(np.abs(vocal).max(), np.abs(band).max(), np.abs(mix).max()) < 0.95
    levels = [audio.loudness(wav, 44_100) for wav in (np.repeat(vocal, 2, axis=0), band)]
    assert levels[1] - levels[0] == pytest.approx(tool.BALANCE_LU, abs=0.3)
    assert max(path.stat().st_size for path in (place / "out").glob("*.png")) < 12_000


def test_a_second_call_replaces_its_own_files_and_no_others(tool, place, capsys):
    assert run(tool, place, "--count", "3") == 0 and run(tool, place, "--count", "2") == 0
    assert not list((place / "out").glob("03-*"))
    (place / "out" / "mine.txt").write_text("mine")
    assert run(tool, place, "--count", "2") == 1
    assert "mine.txt" in capsys.readouterr().err and (place / "out" / "01-mix.mp3").exists()


def test_what_is_missing_or_does_not_belong_together_is_told(tool, place, capsys, monkeypatch):
    assert run(tool, place, "--count", "4") == 1 and "4 examples asked for" in capsys.readouterr().err
    _play(place / "played", "song1", seed=6)
    assert run(tool, place, "--count", "3") == 1 and "song1: made with other settings" in capsys.readouterr().err
    _play(place / "played", "song1", seed=5)
    monkeypatch.setattr(tool, "LARGEST_BYTES", 10_000)
    assert run(tool, place, "--count", "3") == 1 and "more than 6" in capsys.readouterr().err
    assert not (place / "out").exists()
