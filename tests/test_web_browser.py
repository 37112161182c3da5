"""The page in a real browser, the whole way: upload, wait, play, edit a chord, play a part anew, download, open the zip.

Needs Chromium from the system's packages; its driver downloads none.
"""

import shutil
import socket
import zipfile

import pytest
from coded_sound import made
from tiny import make_checkpoint, sing

import accompgen
from accompgen import audio

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECONDS = 2.0  # of song: two bars at a quick tempo
PATIENCE_MS = 60_000  # the rest of the machine may be busy

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (system package `chromium`)")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the page of a tiny band is served."""
    pytest.importorskip("gradio", reason="gradio is not installed (extra `web`)")
    from accompgen.web.serve import open_page

    model = accompgen.load(make_checkpoint(tmp_path_factory.mktemp("web") / "band", graph="band"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open_page(model, port) as served:
        yield served


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium, whose microphone hears somebody sing."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `dev`)")
    sung = tmp_path_factory.mktemp("microphone") / "sung.wav"
    audio.write(sung, sing(4.0), 44_100, "PCM_16")
    microphone = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with driver.sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *microphone, f"--use-file-for-fake-audio-capture={sung}"]
        )
        yield launched
        launched.close()


@pytest.fixture
def page(browser, address):
    """The page as it opens; errors of its scripts fail the test."""
    opened = browser.new_page(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    opened.set_default_timeout(PATIENCE_MS)
    errors = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda line: errors.append(line.text) if "js_on_load" in line.text else None)
    opened.goto(address)
    opened.wait_for_selector("#go")
    yield opened
    opened.close()
    assert errors == []


def upload(page, path):
    page.set_input_files("#voice input[type=file]", path)
    page.wait_for_selector("#voice .waveform-container, #voice [data-testid^=waveform]", state="attached")


def take_is_ready(page, number):
    page.wait_for_selector(f".ag-desk[data-ready='{number}']")


def test_the_whole_way(page, tmp_path):
    voice = tmp_path / "My song.wav"
    audio.write(voice, sing(SECONDS), 44_100)
    upload(page, voice)
    page.click("#more button")
    page.fill("#bpm input", "240")
    page.click("#go")
    take_is_ready(page, 1)
    assert page.locator(".ag-rows .ag-name").all_inner_texts() == ["Your voice", "Drums", "Bass", "Harmony"]

    # it plays, and mute is a switch
    page.click(".ag-play")
    page.wait_for_function("Number(document.querySelector('.ag-desk').dataset.at) > 0.3")
    page.click("text=Mute >> nth=1")
    assert page.get_attribute("[aria-label='Mute Drums']", "aria-pressed") == "true"
    page.click(".ag-play")

    # another chord
    page.fill(".ag-bar input >> nth=1", "Dm")
    page.click(".ag-apply")
    take_is_ready(page, 2)
    assert page.input_value(".ag-bar input >> nth=1") == "Dm"
    assert page.locator(".ag-takes button").all_inner_texts() == ["Take 1", "Take 2 · your chords"]

    # one stem of a part anew
    box = page.locator(".ag-rows canvas").nth(1).bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 20, steps=3)
    page.mouse.up()
    page.click("text=Only bass")
    page.click(".ag-another")
    take_is_ready(page, 3)
    page.click(".ag-ab")
    take_is_ready(page, 2)

    with page.expect_download() as download:
        page.click(".ag-download")
    path = tmp_path / "take.zip"
    download.value.save_as(path)
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
        assert {f"My song/My song.{ending}" for ending in ("mid", "bass.wav", "dawproject")} <= set(names)
        wav = audio.decode(file.read("My song/My song.mix.wav"))
        assert wav.shape[1] == round(SECONDS * 44_100) and audio.peak(wav) > 0.01
        assert "Dm" in file.read("My song/My song.chords.txt").decode()


def test_what_is_no_sound_is_said_and_a_stopped_band_keeps_the_page(page, tmp_path):
    page.click("#go")
    page.wait_for_selector("text=Sing something first")
    noise = tmp_path / "notes.wav"
    noise.write_text("this is no sound")
    page.set_input_files("#voice input[type=file]", noise)
    page.wait_for_timeout(500)
    page.click("#go")
    said = page.wait_for_selector(".ag-said p >> text=notes.wav").inner_text()
    assert "/tmp" not in said and str(tmp_path) not in said
    assert page.is_enabled("#go")


def test_two_browsers_at_once_with_what_phones_and_browsers_record(page, browser, address, tmp_path):
    """A webm and a mov, which browsers call videos, by two visitors: each gets their own."""
    second = browser.new_page()
    second.set_default_timeout(PATIENCE_MS)
    second.goto(address)
    second.wait_for_selector("#go")
    page.set_input_files("#voice input[type=file]", made(tmp_path / "chat.webm", "libopus", sing(0.8, 48_000)[0], 48_000))
    second.set_input_files("#voice input[type=file]", made(tmp_path / "phone.mov", "aac", sing(1.2)[0], 44_100))
    for visitor in (page, second):
        visitor.wait_for_selector("#voice audio, #voice .waveform-container, #voice [data-testid^=waveform]", state="attached")
        visitor.click("#more button")
        visitor.fill("#bpm input", "240")
    page.click("#go")
    second.click("#go")
    for visitor, seconds in ((page, 0.8), (second, 1.2)):
        take_is_ready(visitor, 1)
        assert visitor.evaluate("document.querySelectorAll('.ag-rows canvas').length") == 4
        shown = visitor.locator(".ag-bar").last
        assert shown.count() == 1 and visitor.inner_text(".ag-clock") == f"0:00 / 0:0{int(seconds)}"
    second.close()


def test_a_voice_is_recorded(page):
    page.context.grant_permissions(["microphone"])
    page.click("#voice button[aria-label='Record audio']")
    page.click("#voice .record-button")
    page.wait_for_timeout(1_500)
    page.click("#voice .stop-button:visible")
    page.wait_for_selector("#voice [data-testid^=waveform], #voice .waveform-container", state="attached")
    page.click("#more button")
    page.fill("#bpm input", "240")
    page.wait_for_timeout(500)  # the recording is on its way
    page.click("#go")
    take_is_ready(page, 1)
