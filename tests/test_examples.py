"""The page of examples: complete, small, honest about how it was made, and never over somebody's files."""

import base64
import hashlib
import json
import shutil
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


def tracks_of(path):
    """The tracks [C, T] in a script of the page."""
    urls = json.loads(path.read_text().partition(", ")[2].rpartition(")")[0])
    return {part: audio.decode(base64.b64decode(url.partition(",")[2])) for part, url in urls.items()}


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
    page = Elements(text)
    assert [attrs["src"] for attrs in page.all("audio")] == ["01-mix.mp3", "02-mix.mp3", "03-mix.mp3"]
    rows = [attrs["data-track"] for attrs in page.all("div") if "data-track" in attrs]
    assert rows == ["vocal", "accompaniment"] + 2 * ["vocal", "accompaniment", "truth"]
    assert text.index("A real voice") < text.index("Example 2") and "sung by A. Singer, CC BY" in text
    tracks = tracks_of(place / "out" / "02.js")
    played, true = tracks["accompaniment"], tracks["truth"]
    assert audio.loudness(true, 44_100) == pytest.approx(audio.loudness(played, 44_100), abs=1)


def test_page_has_players_pictures_and_how_they_were_made(tool, place):
    assert run(tool, place, "--count", "3") == 0
    text = (place / "out" / "index.html").read_text()
    page = Elements(text)
    ids = {attrs["id"] for _, attrs in page.found if "id" in attrs}
    players, images = page.all("audio"), page.all("img")
    assert len(players) == 3 and len(images) == 9 and page.all("html") == [{"lang": "en"}]
    assert all(set(player["aria-labelledby"].split()) <= ids for player in players) and all(image["alt"] for image in images)
    assert page.all("script") == [{}] and "http" not in text and "<!--" not in text  # nothing is loaded from elsewhere
    for word in ("ab" * 32, "guidance 3", "alto", "90 beats", "CC0 &lt;song&gt;", "<dt>Seed</dt><dd>5</dd>"):
        assert word in text
    loaded = [element["src"] for element in (*players, *images)] + ["01.js", "02.js", "03.js"]
    for file in loaded:
        assert (place / "out" / file).is_file()
    known = json.loads((place / "out" / "examples.json").read_text())
    for name, digest in known["sha256"].items():
        assert hashlib.sha256((place / "out" / name).read_bytes()).hexdigest() == digest


def test_mix_is_vocal_and_band_and_pictures_are_small(tool, place):
    assert run(tool, place, "--count", "3") == 0
    mix, rate = audio.read(place / "out" / "01-mix.mp3")
    sounds = tracks_of(place / "out" / "01.js") | {"mix": mix}
    assert rate == 44_100 and [len(wav) for wav in sounds.values()] == [1, 2, 2]  # a voice in the middle of the band
    vocal, band, mix = (sounds[part][:, :88_200] for part in ("vocal", "accompaniment", "mix"))
    for channel in range(2):
        assert np.corrcoef(mix[channel], vocal[0] + band[channel])[0, 1] > 0.98
    assert max(np.abs(vocal).max(), np.abs(band).max(), np.abs(mix).max()) < 0.95
    levels = [audio.loudness(wav, 44_100) for wav in (np.repeat(vocal, 2, axis=0), band)]
    assert levels[1] - levels[0] == pytest.approx(tool.BALANCE_LU, abs=0.3)
    assert max(path.stat().st_size for path in (place / "out").glob("*.png")) < 12_000


CHART = {
    "key": "A:min", "bpm": 120.0, "metre": 4, "beats": [[0.5 * beat, beat % 4 + 1] for beat in range(4)],
    "chords": [[0.0, 1.0, "A:min"], [1.0, 2.0, "F:maj"]],
}  # fmt: skip


@pytest.fixture
def band(place):
    """A band of two stems, with its chart and its prompt, as `generate` writes them."""
    folder, time = place / "played", np.arange(48_000) / 24_000
    low, high = (0.3 * np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (110, 660))
    for name, wav in {"bass": low, "harmony": high, "accompaniment": low + high}.items():
        audio.write(folder / f"song0.{name}.wav", np.stack([wav, wav]), 24_000)
    report = json.loads((folder / "song0.json").read_text())
    report["files"] = {key: f"song0.{key}.wav" for key in ("accompaniment", "mix", "bass", "harmony")} | {".mid": "song0.mid"}
    report["settings"] |= {"prompts": ["soft <ballad>"], "bpm": 120, "chart_sha256": "ef" * 32}
    report |= {"chart": CHART, "vocal": {"seconds": 2.0}}
    (folder / "song0.json").write_text(json.dumps(report))
    return place


def test_an_example_has_its_stems_chart_and_prompt(tool, band):
    assert run(tool, band, "--count", "2") == 0  # the other song has none of these, and that is no other setting
    text = (band / "out" / "index.html").read_text()
    page = Elements(text)
    rows = [attrs["data-track"] for attrs in page.all("div") if "data-track" in attrs]
    assert rows == ["vocal", "bass", "harmony", "vocal", "accompaniment"]
    assert text.count("by the chords and beats that it was written with") == 1
    assert "Asked for: soft &lt;ballad&gt;" in text and ">Am F</li>" in text
    tracks, (mix, _) = tracks_of(band / "out" / "01.js"), audio.read(band / "out" / "01-mix.mp3")
    together = audio.spread(tracks["vocal"], 2) + tracks["bass"] + tracks["harmony"]
    assert np.corrcoef(together[0][4000:80_000], mix[0][4000:80_000])[0, 1] > 0.99  # they are the mix, at its levels
    assert np.abs(together - mix)[:, 4000:80_000].mean() < 0.2 * np.abs(mix).mean()  # mp3


def test_the_tracks_play_over_one_clock_in_a_browser(tool, band):
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium is installed (system package `chromium`)")
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `dev`)")
    truth = band / "vocals" / "song0.accompaniment.wav"
    audio.write(truth, 0.1 * evaluation_songs.band(60, 2.0, 0.5)[None], 24000, "PCM_16")
    assert run(tool, band, "--count", "1") == 0
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page, errors = browser.new_page(), []
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((band / "out" / "index.html").as_uri())  # from a folder, as whoever cloned it opens it
        page.click("summary")
        page.click(".play")
        page.wait_for_function("Number(document.querySelector('article').dataset.at) > 0.2")
        assert page.locator(".bars li.now").count() == 1
        page.click("[aria-label='Solo Bass']")
        pressed = page.locator("[aria-pressed=true]")
        names = [pressed.nth(number).get_attribute("aria-label") for number in range(pressed.count())]
        assert names == ["Solo Bass", "Mute The band it was written for"]
        page.wait_for_function("document.querySelector('.play').textContent === '▶'")  # it ends by itself
        browser.close()
    assert errors == []


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
    assert run(tool, place, "--count", "3") == 1 and "more than 10" in capsys.readouterr().err
    assert not (place / "out").exists()
