"""The table and the page: their numbers, that the page needs no other file, and that a browser draws it."""

import base64
import html
import json
import re
import shutil
import struct
import subprocess
import zlib
from html.parser import HTMLParser

import evaluation_songs
import numpy as np
import pytest

from accompgen import audio
from accompgen.evaluation import page, pictures, report


def scores(beat, chroma, **more):
    return {"beat_f1": beat, "chroma_reference": chroma, "flags": [], **more}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = evaluation_songs.make_songs(tmp_path_factory.mktemp("page"), count=3, seconds=1.0)
    (folder / "vocals" / "song2.wav").rename(folder / "vocals" / "a<b>&c.wav")  # a name that HTML would misread
    (folder / "reference" / "song2.wav").rename(folder / "reference" / "a<b>&c.wav")
    return folder


@pytest.fixture(scope="module")
def results():
    interval = {"low": 0.4, "high": 0.6, "n": 3, "songs": 3}
    return {
        "format": "accompgen-evaluation",
        "settings": {"metrics": ["rhythm", "fad"], "window_seconds": 1.0, "windows": None, "seed": 0, "seams": []},
        "embedding": {"name": "pocket", "sample_rate": 16000, "sha256": "ab" * 32, "note": "for development"},
        "tracker": {"name": "librosa", "sha256": None},
        "data": {"songs": 3, "windows": 3, "seconds": 3.0, "reference": "0123", "background": None, "annotated": 2},
        "versions": {"python": "3.11", "absent": None},
        "rows": {
            "mine": {
                "beat_f1": {"value": 0.5, **interval}, "dc_offset": {"value": 0.0, **interval},
                "frame_lock": {"value": 12.0, **interval},
                "fad": {"value": 1.25, "low": None, "high": None, "n": 30, "songs": 3,
                        "warning": "30 embeddings are fewer than 128 dimensions"},
            },
            "empty": {},
        },
        "songs": {
            "mine": {
                "song0": scores(0.9, 0.8, frame_lock=13.5, buzz_db=None),
                "song1": scores(0.1, None), "a<b>&c": scores(0.5, 0.2) | {"flags": ["held_share"]},
            },
            "empty": {},
        },
        "problems": ["song9: <missing>"], "notes": [],
    }  # fmt: skip


def test_table_shows_values_intervals_and_what_is_missing(results):
    text = report.table(results)
    assert "| mine | 3 | 1.250 | 0.500 [0.400, 0.600] |" in text and "| empty | - | - | - |" in text
    assert "embedding pocket (for development), 16000 Hz, weights abababababab" in text and "n = 30 embeddings" in text
    assert "annotated beats for 2 of 3 songs" in text and "What is missing:\n\n- song9: <missing>" in text
    assert "KAD" not in text.splitlines()[0]  # no row has it


def test_songs_are_ranked_by_the_mean_of_their_places():
    songs = {
        "good": scores(0.9, 0.9, song_fad=1.0), "bad": scores(0.1, 0.2, song_fad=9.0),
        "half": scores(0.8, 0.3, song_fad=2.0), "unknown": {"flags": []},
    }  # fmt: skip
    assert page.rank(songs) == ["good", "half", "bad", "unknown"]


class Outside(HTMLParser):
    """What a page asks for from elsewhere."""

    def __init__(self):
        super().__init__()
        self.found, self.audios, self.images = [], [], []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("src", "href", "data-sound"):
                {"figure": self.audios, "img": self.images}.get(tag, self.found).append(value)
                if not value.startswith("data:"):
                    self.found.append(value)


@pytest.fixture(scope="module")
def written(place, results, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    systems = {"mine": place / "reference", "empty": tmp_path_factory.mktemp("empty")}
    return page.write_page(results, systems, place / "vocals", out, place / "reference", progress=False)


def test_page_holds_everything_and_asks_for_nothing(written, place):
    text = written.read_text()
    parser = Outside()
    parser.feed(text)
    assert parser.found == [] and "http" not in re.sub(r"base64,[^']*", "", text)
    assert len(parser.audios) == len(parser.images) // 2 == 3 * 3  # the voice, the row and the truth of three songs
    assert text.count("data-part='mine'") == text.count("data-part='truth (reference)'") == 3
    assert "<td class=little title='30 embeddings are fewer than 128 dimensions'>1.250</td>" in text
    assert "a&lt;b&gt;&amp;c" in text and "<b>&c" not in text and "&lt;missing&gt;" in text and "<!--" not in text
    wav, rate = audio.decode(base64.b64decode(parser.audios[1].partition(",")[2])), 24000
    assert "<h3>Artefacts, means over the files</h3>" in text and "frame lock <b>13.50</b>" in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert data["rows"]["mine"][2][0] == "a<b>&c" and data["rows"]["mine"][2][2] == ["held_share"]
    assert abs(wav.shape[1] - rate) < 3000  # one second, as MP3 pads it


def test_page_and_table_have_the_same_sections(results, place, tmp_path):
    lock = {"value": 1.07, "low": None, "high": None, "n": 3}
    minute = dict.fromkeys(report.MINUTE, 0.25) | {"songs": 7}
    more = {"stems": {"mine": {"drums": {"frame_lock": lock}}}, "minutes": {"mine": [minute]}}
    found = results | more
    systems = {"mine": place / "reference"}
    path = page.write_page(
        found, systems, place / "vocals", tmp_path, place / "reference", progress=False
    )
    shown = path.read_text().partition("<h2>Songs</h2>")[0]
    text = report.table(found)
    titles = re.findall(r"^(.+):\n\n\|", text, re.M)
    assert report.STEMS_TITLE in titles and len(titles) >= 3
    assert titles == [title for title in re.findall("<h3>(.*?)</h3>", shown) if "," in title]
    assert "| mine: drums | 3 | 1.07 |" in text
    assert "<th>mine: drums</th><td>3</td><td>1.07</td>" in shown
    assert "<th>mine</th><td>1</td><td>7</td><td>0.25" in shown


def test_page_of_another_row_is_refused(results, place, tmp_path):
    with pytest.raises(ValueError, match="no row 'theirs' to listen to"):
        page.write_page(results, {"mine": place / "reference"}, place / "vocals", tmp_path, row="theirs", progress=False)


def decode_png(data):
    """[H, W, 3] of a PNG as `pictures.png` writes it."""
    width, height = struct.unpack(">II", data[16:24])
    size = struct.unpack(">I", data[33:37])[0]
    rows = np.frombuffer(zlib.decompress(data[41 : 41 + size]), np.uint8).reshape(height, 1 + 3 * width)
    return rows[:, 1:].reshape(height, width, 3)


def test_pictures_show_pitch_where_it_is():
    time = np.arange(48000) / 24000
    low, high = (0.3 * np.sin(2 * np.pi * f * time).astype(np.float32) for f in (220, 3520))
    spectrogram = decode_png(pictures.mel_picture(np.concatenate([low, high]))).sum(axis=2)
    assert spectrogram.shape == (96, 201)
    rows = spectrogram[:, [50, 150]].argmax(axis=0)  # counted from the top
    assert rows[0] > 75 > 45 > rows[1]
    chroma = decode_png(pictures.chroma_picture(low)).sum(axis=2)
    assert chroma.shape == (12 * 12, 16 * 4)
    assert {int(row) // 12 for row in np.argwhere(chroma == chroma.max())[:, 0]} == {11 - 9}  # A, with C at the bottom


def drawn(page_file, tmp_path):
    """The page's HTML after its scripts have run; skips without a browser."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if not browser:
        pytest.skip("chromium is not installed")
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
    ]  # fmt: skip
    command = [browser, *flags, "--dump-dom", page_file.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout


def probed(written, tmp_path, script):
    """What `script`, the body of an async function, returns at the end of the page."""
    asking = f"<script>(async () => {{ {script} }})().then((found) => {{ document.body.dataset.found = "
    asking += "JSON.stringify(found); });</script></html>"
    page_file = tmp_path / "probed.html"
    page_file.write_text(written.read_text().replace("</html>", asking))
    return json.loads(html.unescape(re.search(r'data-found="([^"]*)"', drawn(page_file, tmp_path))[1]))


def test_a_browser_draws_the_page(written, tmp_path):
    text = drawn(written, tmp_path)
    table = re.search(r'id="songs">(.*?)</div>', text, re.S)[1]  # drawn by the script
    assert text.count("with the voice") == 3 + 1 and "0.0 of 1.0 s" in text  # the players, and the script
    assert table.count("<tr>") == 4 and "0.900" in table and "held_share" in table


MEASURE = """
  const wide = songs.cloneNode(), heads = ["row", "songs", ...Array.from({length: 30}, (_, i) => "figure " + i)];
  const name = "a_name_without_any_spaces_that_is_longer_than_a_telephone_is_wide";
  wide.innerHTML = "<table><tr>" + heads.map((head) => `<th>${head}</th>`).join("") + `</tr><tr><th>${name}</th>`
    + "<td>0.123</td>".repeat(31) + "</tr></table>";
  songs.after(wide);
  return [1148, 358].map((width) => {
    document.body.style.width = width + "px";
    fitAll();
    const cut = [...document.querySelectorAll(".wide, .song, h3")].filter((e) => e.scrollWidth > e.clientWidth);
    const shown = [...wide.querySelectorAll("tr:first-child th")].map((e) => e.textContent);
    return {cut: cut.length, tables: wide.children.length, heads: shown.filter((text) => text !== "row")};
  });
"""


def test_tables_go_on_below_where_the_page_is_too_narrow_for_them(written, tmp_path):
    found = probed(written, tmp_path, MEASURE)
    whole = ["songs", *(f"figure {i}" for i in range(30))]
    assert [width["cut"] for width in found] == [0, 0]
    assert [width["heads"] for width in found] == [whole, whole]  # every column, once
    assert 1 < found[0]["tables"] < found[1]["tables"]


LISTEN = """
  const starts = [], gains = [];
  let stops = 0, time = 10;
  window.AudioContext = class {
    get currentTime() { return time; }
    async resume() {}
    async decodeAudioData() { return "sound"; }
  };
  window.GainNode = class {
    constructor() { this.level = 0; gains.push(this); this.gain = {setTargetAtTime: (level) => { this.level = level; }}; }
    connect() {}
  };
  window.AudioBufferSourceNode = class {
    connect(next) { return next; }
    start(when, offset) { starts.push([when, offset]); }
    stop() { stops++; }
  };
  const song = document.querySelector(".song"), button = song.querySelector("button");
  const choices = song.querySelectorAll("figcaption input"), levels = () => gains.slice(-3).map((each) => each.level);
  const settle = async () => { for (let i = 0; i < 20; i++) await null; };
  for (let i = 0; i < 3; i++) button.click();  // while nothing is decoded
  await settle();
  const first = [...starts], before = levels();
  time += 0.55;
  choices[2].click();
  const after = levels(), switched = starts.length + stops;
  button.click();
  button.click();
  await settle();
  return {first, before, after, switched, again: starts.slice(3), stops};
"""


def test_another_band_is_heard_from_the_same_moment_on(written, tmp_path):
    found = probed(written, tmp_path, LISTEN)
    # the voice, the row and the truth start once, together, however often the button is clicked
    assert found["first"] == [[10.05, 0]] * 3
    assert found["before"] == [1, 1, 0] and found["after"] == [1, 0, 1]
    assert found["switched"] == 3  # nothing starts or stops at a switch
    assert found["stops"] == 3 and len(found["again"]) == 3
    assert [offset for _, offset in found["again"]] == pytest.approx([0.5] * 3)  # and a pause keeps the place
