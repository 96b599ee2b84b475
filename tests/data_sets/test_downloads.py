"""Tests of downloads against a server of this process: cut off, resumed, refused, damaged."""

import hashlib
import io
import re
import threading
import zipfile
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import tifffile

from data_sets import downloads
from data_sets.downloads import download, sha256_of

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
Server = namedtuple("Server", "url behaviour requests")


@pytest.fixture
def server():
    """Serve CONTENT as ``behaviour`` says; ``stop_after`` (bytes) counts once, ``status`` for as many requests."""
    behaviour, requests = {"ranges": True, "stop_after": None, "status": [], "page": False, "version": {}}, []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            asked, version, content = self.headers.get("Range"), behaviour["version"], behaviour.get("content", CONTENT)
            requests.append(asked)
            if "If-Range" in self.headers:
                behaviour["if_range"] = self.headers["If-Range"]
                asked = asked if self.headers["If-Range"] in version.values() else None
            if behaviour["status"]:
                self.send_error(behaviour["status"].pop(0))
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and behaviour["ranges"] else 0
            if asked and behaviour["ranges"] and start >= len(CONTENT):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
                self.end_headers()
                return
            self.send_response(206 if asked and behaviour["ranges"] else 200)
            if asked and behaviour["ranges"]:
                first = behaviour.get("wrong_start", start)
                self.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
            for name, value in version.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "text/html" if behaviour["page"] else "application/octet-stream")
            if behaviour.get("length", ""):
                self.send_header("Content-Length", behaviour["length"])
            elif "length" not in behaviour:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            stop, behaviour["stop_after"] = behaviour["stop_after"], None
            self.wfile.write(content[start:][:stop])

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.handle_error = lambda *_: None  # a client that goes away early
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield Server(f"http://127.0.0.1:{http.server_port}/data.bin", behaviour, requests)
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    for name, value in {"PAUSE_SECONDS": 0, "ATTEMPTS": 2, "TIMEOUT_SECONDS": 5}.items():
        monkeypatch.setattr(downloads, name, value)


def fetch(server, path, *, attempts=2, **record):
    downloads.ATTEMPTS = attempts
    return download(server.url, path, **record)


def test_a_complete_download_is_checked_and_not_asked_for_again(server, tmp_path):
    path = tmp_path / "new folder" / "data.bin"
    assert fetch(server, path, sha256=SHA256.upper()) == SHA256
    assert path.read_bytes() == CONTENT and [p.name for p in path.parent.iterdir()] == ["data.bin"]
    assert fetch(server, path) == SHA256 == sha256_of(path)
    assert server.requests == [None]


def test_a_cut_off_download_goes_on_where_it_stopped(server, tmp_path):
    server.behaviour["stop_after"] = 1_234_567
    assert fetch(server, tmp_path / "data.bin") == SHA256
    assert server.requests == [None, "bytes=1234567-"]


def test_a_later_call_goes_on_and_without_ranges_starts_anew(server, tmp_path):
    path, part = tmp_path / "data.bin", tmp_path / "data.bin.part"
    server.behaviour["stop_after"] = 1000
    with pytest.raises(ConnectionError, match=r"ended after 1,000 of 3,000,000 bytes. 1,000 bytes are kept; .*--files"):
        fetch(server, path, attempts=1)
    assert part.read_bytes() == CONTENT[:1000] and not path.exists()
    server.behaviour["ranges"] = False
    assert fetch(server, path) == SHA256
    assert server.requests == [None, "bytes=1000-"] and not part.exists()


@pytest.mark.parametrize(
    ("version", "kept"),
    [
        ({"ETag": '"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, '"1"'),
        ({"ETag": 'W/"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, "Mon, 01 Jan 2024 00:00:00 GMT"),
        ({"ETag": 'W/"1"'}, None),
    ],
)
@pytest.mark.parametrize("changed", [False, True])
def test_a_file_that_changed_meanwhile_is_not_joined_from_two_versions(server, tmp_path, version, kept, changed):
    path, other = tmp_path / "data.bin", CONTENT[::-1]
    server.behaviour.update({"version": version, "stop_after": 1000})
    with pytest.raises(ConnectionError):
        fetch(server, path, attempts=1)
    if changed:
        server.behaviour.update(
            {"version": {name: f"other {value}" for name, value in version.items()}, "content": other}
        )
    fetch(server, path)
    assert server.requests == [None, "bytes=1000-"] and server.behaviour.get("if_range") == kept
    if kept:  # without a version nobody can know
        assert path.read_bytes() == (other if changed else CONTENT)
    assert [file.name for file in tmp_path.iterdir()] == ["data.bin"]


def test_a_part_that_is_complete_already_or_too_long(server, tmp_path):
    path, part = tmp_path / "data.bin", tmp_path / "data.bin.part"
    part.write_bytes(CONTENT)
    assert fetch(server, path) == SHA256
    path.unlink()
    part.write_bytes(CONTENT + b"more")
    assert fetch(server, path) == SHA256
    assert server.requests == ["bytes=3000000-", "bytes=3000004-", None]


def test_a_server_that_sends_another_range_is_asked_for_all_of_it(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:500])
    server.behaviour["wrong_start"] = 0
    assert fetch(server, tmp_path / "data.bin") == SHA256
    assert server.requests == ["bytes=500-", None]


def test_a_wrong_checksum_leaves_nothing_that_would_be_gone_on_with(server, tmp_path):
    with pytest.raises(ValueError, match=rf"data.bin from http.* checksum {SHA256}, expected 00ff: .*--files FOLDER"):
        fetch(server, tmp_path / "data.bin", sha256="00ff")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "data.bin").write_bytes(b"something else")
    with pytest.raises(ValueError, match=f"expected {SHA256}: it is damaged or another version. Delete"):
        fetch(server, tmp_path / "data.bin", sha256=SHA256)
    assert (tmp_path / "data.bin").exists()  # it may be the user's


def test_statuses_that_stay_and_those_that_pass(server, tmp_path):
    server.behaviour["status"] = [404]
    with pytest.raises(
        ConnectionError, match=r"data.bin could not be downloaded: the server answers 404 Not Found\. D"
    ):
        fetch(server, tmp_path / "data.bin")
    assert len(server.requests) == 1
    server.behaviour["status"] = [503, 503]
    with pytest.raises(ConnectionError, match="503"):
        fetch(server, tmp_path / "data.bin")
    server.behaviour["status"] = [503, 429]
    assert fetch(server, tmp_path / "data.bin", attempts=3) == SHA256


def test_a_web_page_is_not_taken_for_the_file(server, tmp_path):
    server.behaviour["page"] = True
    with pytest.raises(ConnectionError, match="sends a web page or another text instead of the file"):
        fetch(server, tmp_path / "data.bin")
    assert server.requests == [None] and list(tmp_path.iterdir()) == []


def test_no_connection_and_no_url(tmp_path):
    with pytest.raises(ConnectionError, match=r"http://127.0.0.1:9/a could not be downloaded: .*refused.* browser"):
        download("http://127.0.0.1:9/a", tmp_path / "a")
    with pytest.raises(ValueError, match="file:///etc/hosts cannot be downloaded: only http"):
        download("file:///etc/hosts", tmp_path / "a")


def test_a_full_disk_is_said_before_anything_is_written(server, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: namedtuple("Usage", "free")(1000))
    with pytest.raises(OSError, match=r"no room for data.bin.part: 3,000,000 bytes are missing"):
        fetch(server, tmp_path / "data.bin")
    assert list(tmp_path.iterdir()) == []


def whole(suffix):
    file = io.BytesIO()
    if suffix == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.png", CONTENT[:9999])
    else:
        tifffile.imwrite(file, np.zeros((3, 64, 64), np.uint8), photometric="minisblack")
    return file.getvalue()


@pytest.mark.parametrize("length", ["", "abc", "-5"])
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("data.zip", whole("zip"), None),
        ("data.tif", whole("tif"), None),
        ("data.zip", whole("zip")[:-30], "is no whole zip file"),
        ("data.tif", whole("tif")[:9000], "is no whole tif file"),
        ("data.tif", CONTENT[:9000], "is no whole tif file"),
        ("data.zip", b"", "is empty"),
        ("data.bin", b"\n<!DOCTYPE html><title>Log in</title>", "is a web page or another text"),
    ],
)
def test_without_a_length_what_arrived_is_looked_at(server, tmp_path, length, name, content, said):
    server.behaviour.update({"length": length, "content": content})
    if said is None:
        assert fetch(server, tmp_path / name) == hashlib.sha256(content).hexdigest()
        return
    with pytest.raises(ValueError, match=f"{name} from http.* {said}: it is damaged"):
        fetch(server, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", ["3000000", ""])
def test_another_size_than_on_record_is_refused(server, tmp_path, capsys, length):
    server.behaviour["length"] = length
    with pytest.raises((ConnectionError, ValueError), match=r"(announces 3,000,000|has [\d,]+) bytes, expected 1,234"):
        fetch(server, tmp_path / "data.bin", size=1234)
    assert list(tmp_path.iterdir()) == [] and len(server.requests) == 1
    assert fetch(server, tmp_path / "data.bin", size=len(CONTENT)) == SHA256
    assert f"Note: {server.url} is not encrypted (http); nothing shows" in capsys.readouterr().out
