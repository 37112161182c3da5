"""Fetching published weights, against a server on the loopback: resumption, hashes, and what a user without network reads."""

import dataclasses
import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from accompgen.tokens import fetch as module
from accompgen.tokens.fetch import FetchError, fetch
from accompgen.tokens.published import PUBLISHED, Published

CONTENT = bytes(range(256)) * 300  # 76 800 bytes, in which no two offsets modulo 256 look alike
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Site:
    """A server with one file at /file. `cuts` holds, for each coming answer, after how many bytes the line breaks."""

    def __init__(self):
        self.content, self.etag, self.changed = CONTENT, '"v1"', None
        self.ranges, self.length, self.status, self.cuts, self.requests, self.pause = True, True, None, [], [], 0.0

    def answer(self, handler):
        self.requests.append(dict(handler.headers))
        if handler.path != "/file" or self.status:
            return handler.send_error(self.status or 404)
        wanted = handler.headers["Range"]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if handler.headers["If-Range"] not in (None, self.etag, self.changed):
            start = 0
        if start >= len(self.content):
            return handler.send_error(416)
        handler.send_response(206 if start else 200)
        for name, value in (("ETag", self.etag), ("Last-Modified", self.changed)):
            if value:
                handler.send_header(name, value)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if self.length:
            handler.send_header("Content-Length", str(len(self.content) - start))
        handler.end_headers()
        time.sleep(self.pause)
        body = self.content[start:]
        handler.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)


@pytest.fixture
def site(monkeypatch):
    """A running Site; `hubert-base` is pinned to its content, `hubert-large` has no known hash."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            site.answer(self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}/file"
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    monkeypatch.setitem(PUBLISHED, "hubert-base", Published("hubert-base", "base.pt", site.url, len(CONTENT), SHA256))
    monkeypatch.setitem(PUBLISHED, "hubert-large", Published("hubert-large", "large.pt", site.url, None, None))
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


def ranges(site):
    return [request.get("Range") for request in site.requests]


def broken_download(site, folder, name="hubert-base", at=1000):
    """Leave a .part of `at` bytes, as a download does that breaks off on every attempt."""
    site.cuts = [at] + [0] * (module.ATTEMPTS - 1)
    with pytest.raises(FetchError, match=f"broke off {module.ATTEMPTS} times, last at {at} bytes"):
        fetch(name, cache=folder)
    site.requests.clear()


def test_the_published_table():
    assert set(PUBLISHED) == {
        "hubert-base", "hubert-large", "encodec-24khz", "encodec-32khz", "encodec-48khz", "vocos-encodec-24khz",
        "vocos-encodec-24khz-config", "musicgen-small", "t5-base", "t5-base-pieces", "vggish", "clap-music", "beat-this",
    }  # fmt: skip
    encodec = PUBLISHED["encodec-24khz"]
    assert encodec.sha256.startswith("d7cc33bc") and "d7cc33bc" in encodec.file
    assert PUBLISHED["hubert-large"].sha256 is None  # nobody printed one that a second source confirms
    for row in PUBLISHED.values():
        assert row.beside is None or Path(PUBLISHED[row.beside].file).parent == Path(row.file).parent
    for name, row in PUBLISHED.items():
        assert row.url.startswith("https://") and (row.sha256 is None or len(row.sha256) == 64)
        if name.startswith(("hubert", "encodec")) and name != "encodec-32khz":
            assert row.url.startswith("https://dl.fbaipublicfiles.com/") and row.url.endswith("/" + row.file)
    assert PUBLISHED["clap-music"].file.endswith(f"-{PUBLISHED['clap-music'].sha256[:8]}.bin")  # as its reader checks it


@pytest.mark.parametrize("name, words", [
    ("stage-drums", "stage-drums.safetensors from STAGE's shared drive"), ("stage-bass", "stage-bass.safetensors"),
    ("hafm", "configs/ar.yaml"),
])  # fmt: skip
def test_what_cannot_be_fetched_says_what_to_do(tmp_path, name, words):
    with pytest.raises(FetchError, match=words):
        fetch(name, cache=tmp_path)
    assert not any(tmp_path.iterdir())


def test_what_belongs_beside_a_file_is_fetched_too(site, tmp_path, monkeypatch):
    folder = {name: PUBLISHED[f"vocos-encodec-24khz{name}"].file for name in ("", "-config")}
    assert sorted(folder.values()) == ["vocos-encodec-24khz/config.yaml", "vocos-encodec-24khz/pytorch_model.bin"]
    for name in folder:
        row = dataclasses.replace(PUBLISHED[f"vocos-encodec-24khz{name}"], url=PUBLISHED["hubert-base"].url)
        monkeypatch.setitem(PUBLISHED, row.name, row)
    path = fetch("vocos-encodec-24khz", cache=tmp_path, progress=False)
    assert path == tmp_path / folder[""] and path.read_bytes() == CONTENT
    assert (tmp_path / folder["-config"]).read_bytes() == CONTENT
    requests = len(site.requests)
    assert fetch("vocos-encodec-24khz", cache=tmp_path) == path and len(site.requests) == requests == 2


def test_a_whole_download_is_checked_and_leaves_nothing_else(site, tmp_path, capsys):
    path = fetch("hubert-base", cache=tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "base.pt" and path.read_bytes() == CONTENT
    assert sorted(p.name for p in path.parent.iterdir()) == [".base.pt.lock", "base.pt"]
    captured = capsys.readouterr()
    assert captured.out == "" and SHA256 in captured.err and "base.pt" in captured.err


def test_without_progress_a_pinned_download_is_silent(site, tmp_path, capsys):
    fetch("hubert-base", cache=tmp_path, progress=False)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_the_default_folder_is_the_cache(site, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCOMPGEN_CACHE", str(tmp_path / "cache"))
    assert fetch("hubert-base") == tmp_path / "cache" / "weights" / "base.pt"


def test_a_valid_file_is_not_downloaded_again(site, tmp_path):
    (tmp_path / "base.pt").write_bytes(CONTENT)
    assert fetch("hubert-base", cache=tmp_path) == tmp_path / "base.pt"
    assert site.requests == []


def test_an_altered_file_is_refused_and_force_replaces_it(site, tmp_path):
    path = tmp_path / "base.pt"
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(FetchError, match=f"expected {SHA256}. Delete it or use --force"):
        fetch("hubert-base", cache=tmp_path)
    assert site.requests == [] and path.read_bytes() != CONTENT
    assert fetch("hubert-base", cache=tmp_path, force=True).read_bytes() == CONTENT


def test_a_failed_force_keeps_the_old_file(site, tmp_path):
    (tmp_path / "base.pt").write_bytes(CONTENT)
    site.status = 404
    with pytest.raises(FetchError):
        fetch("hubert-base", cache=tmp_path, force=True)
    assert (tmp_path / "base.pt").read_bytes() == CONTENT


def test_a_cut_transfer_goes_on_within_the_same_call(site, tmp_path):
    site.cuts = [30_000, 10_000]
    assert fetch("hubert-base", cache=tmp_path).read_bytes() == CONTENT
    assert ranges(site) == [None, "bytes=30000-", "bytes=40000-"]


def test_the_next_call_resumes_a_download_that_was_given_up(site, tmp_path):
    broken_download(site, tmp_path)
    assert (tmp_path / "base.pt.part").read_bytes() == CONTENT[:1000] and not (tmp_path / "base.pt").exists()
    assert fetch("hubert-base", cache=tmp_path).read_bytes() == CONTENT
    assert ranges(site) == ["bytes=1000-"] and site.requests[0]["If-Range"] == '"v1"'
    assert sorted(p.name for p in tmp_path.iterdir()) == [".base.pt.lock", "base.pt"]


def test_resumption_by_date_where_the_etag_is_weak(site, tmp_path):
    site.etag, site.changed = 'W/"weak"', "Tue, 15 Jun 2021 12:00:00 GMT"
    broken_download(site, tmp_path)
    assert fetch("hubert-base", cache=tmp_path).read_bytes() == CONTENT
    assert site.requests[0]["If-Range"] == site.changed and ranges(site) == ["bytes=1000-"]


def test_without_any_validator_nothing_is_resumed(site, tmp_path):
    site.etag = None
    broken_download(site, tmp_path, at=0)
    (tmp_path / "base.pt.part").write_bytes(b"of unknown origin")
    assert fetch("hubert-base", cache=tmp_path).read_bytes() == CONTENT
    assert ranges(site) == [None]


def test_a_server_without_ranges_starts_again(site, tmp_path):
    broken_download(site, tmp_path)
    site.ranges = False
    assert fetch("hubert-base", cache=tmp_path).read_bytes() == CONTENT
    assert ranges(site) == ["bytes=1000-"]


def test_a_file_changed_on_the_server_starts_again(site, tmp_path):
    broken_download(site, tmp_path, "hubert-large")
    site.content, site.etag = CONTENT[::-1], '"v2"'
    assert fetch("hubert-large", cache=tmp_path).read_bytes() == CONTENT[::-1]
    assert ranges(site) == ["bytes=1000-"]  # answered in full, since If-Range no longer holds


def test_a_server_that_ignores_if_range_is_found_out(site, tmp_path):
    broken_download(site, tmp_path, "hubert-large")
    origin = tmp_path / "large.pt.part.json"
    origin.write_text(json.dumps(json.loads(origin.read_text()) | {"size_bytes": len(CONTENT) + 5}))
    assert fetch("hubert-large", cache=tmp_path).read_bytes() == CONTENT
    assert ranges(site) == ["bytes=1000-", None]


def test_a_part_from_another_address_is_not_continued(site, tmp_path):
    broken_download(site, tmp_path)
    fetch("hubert-base", cache=tmp_path, url=site.url.replace("127.0.0.1", "localhost"))
    assert ranges(site) == [None]


def test_a_complete_part_only_needs_its_name(site, tmp_path):
    broken_download(site, tmp_path)
    (tmp_path / "base.pt.part").write_bytes(CONTENT)
    assert fetch("hubert-base", cache=tmp_path).read_bytes() == CONTENT
    assert site.requests == []


def test_a_wrong_file_is_refused_and_deleted(site, tmp_path):
    site.content = CONTENT[::-1]
    with pytest.raises(FetchError, match=f"expected {SHA256}"):
        fetch("hubert-base", cache=tmp_path)
    assert not (tmp_path / "base.pt").exists() and not (tmp_path / "base.pt.part").exists()


def test_a_file_of_another_size_is_refused_before_it_is_downloaded(site, tmp_path):
    site.content = CONTENT + b"!"
    with pytest.raises(FetchError, match=f"has {len(CONTENT) + 1} bytes, expected {len(CONTENT)}"):
        fetch("hubert-base", cache=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".base.pt.lock"]


def test_a_file_without_a_length_is_refused(site, tmp_path):
    site.length = False
    with pytest.raises(FetchError, match="does not say how long it is"):
        fetch("hubert-large", cache=tmp_path)


def test_an_unpublished_hash_is_recorded_said_and_checked_from_then_on(site, tmp_path, capsys):
    path = fetch("hubert-large", cache=tmp_path, progress=False)
    assert "trusted on first use: " + SHA256 in capsys.readouterr().err
    assert (tmp_path / "large.pt.sha256").read_text() == f"{SHA256}  large.pt\n"
    fetch("hubert-large", cache=tmp_path)
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(FetchError, match=f"expected {SHA256}"):
        fetch("hubert-large", cache=tmp_path)
    assert len(site.requests) == 1


def test_a_file_put_there_by_hand_is_recorded_too(site, tmp_path, capsys):
    (tmp_path / "large.pt").write_bytes(CONTENT)
    fetch("hubert-large", cache=tmp_path)
    assert (tmp_path / "large.pt.sha256").read_text().startswith(SHA256) and site.requests == []


def by_hand(path, row):
    return f"download {row.url} and save it as {path} ({row.size_bytes} bytes, sha256 {row.sha256})"


@pytest.mark.parametrize("status, words", [(404, "answered 404 Not Found"), (503, "answered 503")])
def test_an_error_of_the_server_says_what_to_do_by_hand(site, tmp_path, status, words):
    site.status = status
    with pytest.raises(FetchError, match=words) as caught:
        fetch("hubert-base", cache=tmp_path)
    assert by_hand(tmp_path / "base.pt", PUBLISHED["hubert-base"]) in str(caught.value)


def test_no_network_says_what_to_do_by_hand(tmp_path, monkeypatch):
    def unknown_host(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", unknown_host)
    for row in PUBLISHED.values():
        with pytest.raises(FetchError, match="Name or service not known") as caught:
            fetch(row.name, cache=tmp_path)
        message = str(caught.value)
        assert row.url in message and str(tmp_path / row.file) in message and "\n" not in message
        assert (row.sha256 or "not published") in message


def test_nobody_listens(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound, not listening: the connection is refused
        with pytest.raises(FetchError, match="refused.*To do it by hand"):
            fetch("hubert-base", cache=tmp_path, url=f"http://127.0.0.1:{reserved.getsockname()[1]}/file")


def test_a_full_disk_is_noticed_before_the_download(site, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(FetchError, match=f"no room for {len(CONTENT)} more bytes"):
        fetch("hubert-base", cache=tmp_path)


def test_a_folder_that_cannot_be_made(site, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FetchError, match="cannot write .*file"):
        fetch("hubert-base", cache=tmp_path / "file" / "weights")


def test_unknown_names_and_addresses(tmp_path):
    with pytest.raises(FetchError, match="no published weights 'hubert'; there are hubert-base, hubert-large, encodec-24khz"):
        fetch("hubert", cache=tmp_path)
    with pytest.raises(FetchError, match="no http or https address"):
        fetch("hubert-base", cache=tmp_path, url="file:///etc/hostname")


def test_two_processes_at_once_both_end_well(site, tmp_path):
    code = (
        "from accompgen.tokens import fetch as m, published\n"
        f"m.PUBLISHED['x'] = published.Published('x', 'x.pt', {site.url!r}, None, None)\n"
        f"print(m.file_hash(m.fetch('x', cache={str(tmp_path)!r}, progress=False)))"
    )
    site.pause = 1.0
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == [SHA256] * 2
    assert [process.returncode for process in processes] == [0, 0]
    assert len(site.requests) == 1 and (tmp_path / "x.pt").read_bytes() == CONTENT
    assert (tmp_path / "x.pt.sha256").read_text().startswith(SHA256)
