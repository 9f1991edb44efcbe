import contextlib
import hashlib
import http.server
import re
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dereflect.downloads import BLOCK, fetch, sha256, show_progress
from dereflect.errors import InputError, ModelError

CONTENT = bytes(range(256)) * (BLOCK // 64)  # four blocks
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves one content with ranges; can cut, fail, forget ranges and change its mind."""

    content = CONTENT
    tag = '"first"'
    cut_at: int | None = None
    ranges = True
    tells_length = True
    failures: list[int] = []  # noqa: RUF012
    requests: list[str | None] = []  # noqa: RUF012
    seconds = 0.0

    def do_GET(self):
        asked = self.headers.get("Range")
        Server.requests.append(asked)
        if Server.failures:
            self.send_error(Server.failures.pop(0))
            return
        if not Server.ranges or self.headers.get("If-Range", Server.tag) != Server.tag:
            asked = None
        start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked else 0
        if start >= len(Server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(Server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if asked else 200)
        if Server.tag:
            self.send_header("ETag", Server.tag)
        if Server.tells_length:
            self.send_header("Content-Length", str(len(Server.content) - start))
        self.end_headers()
        time.sleep(Server.seconds)
        with contextlib.suppress(OSError):  # the client has read enough
            self.wfile.write(Server.content[start:][: Server.cut_at])

    def log_message(self, *_):
        pass


@pytest.fixture
def url(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("content", "tag", "cut_at", "ranges", "tells_length", "seconds"):
        monkeypatch.setattr(Server, name, getattr(Server, name))
    for name in ("failures", "requests"):
        monkeypatch.setattr(Server, name, [])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/w.pth"
    server.shutdown()
    thread.join()
    server.server_close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("checksum", [SHA256, SHA256[:15], "git:1dddf5a0a9d3e1f5e8a7c7b2c1e5ce1e2c0f7f1f"])
def test_a_file_comes_whole_once(url, tmp_path, checksum):
    if checksum.startswith("git"):
        checksum = "git:" + hashlib.sha1(f"blob {len(CONTENT)}\0".encode() + CONTENT).hexdigest()
    seen = []
    for _ in range(2):
        path = fetch(url, tmp_path / "new" / "w.pth", checksum, report=lambda *words: seen.append(words))
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["w.pth"]
    assert seen[-1] == ("w.pth", len(CONTENT), len(CONTENT))
    assert Server.requests == [None]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_length_that_the_server_does_not_tell_is_shown_at_the_end(
    url, tmp_path, monkeypatch, capsys, terminal
):
    Server.tells_length = False
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    show, seen = show_progress(), []

    def report(*words):
        seen.append(words)
        show(*words)

    fetch(url, tmp_path / "w.pth", SHA256, report=report)
    assert seen[0] == ("w.pth", BLOCK, 0)
    assert seen[-1] == ("w.pth", len(CONTENT), len(CONTENT))
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("checksum", [SHA256, ""])
def test_a_cut_download_goes_on_where_it_was_cut(url, tmp_path, checksum):
    Server.cut_at = BLOCK
    path = fetch(url, tmp_path / "w.pth", checksum, patience=0)
    assert path.read_bytes() == CONTENT
    asked = Server.requests[1 if not checksum else 0 :]
    assert asked == [None, *(f"bytes={n * BLOCK}-" for n in (1, 2, 3))]


@pytest.mark.parametrize("checksum", [SHA256, ""])
def test_a_later_call_goes_on_with_what_an_earlier_one_brought(url, tmp_path, checksum):
    def stop(name, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(url, tmp_path / "w.pth", checksum, report=stop)
    (part,) = tmp_path.iterdir()
    assert part.suffix == ".part"
    assert fetch(url, tmp_path / "w.pth", checksum).read_bytes() == CONTENT
    assert Server.requests[-1] == f"bytes={BLOCK}-"


def test_parts_of_two_contents_are_never_joined(url, tmp_path):
    def stop(name, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(url, tmp_path / "w.pth", report=stop)
    Server.content, Server.tag = CONTENT[::-1], '"second"'
    assert fetch(url, tmp_path / "w.pth").read_bytes() == CONTENT[::-1]


def test_a_change_between_two_pieces_starts_anew(url, tmp_path):
    Server.cut_at = BLOCK

    def change(name, done, total):
        Server.content, Server.tag, Server.cut_at = CONTENT[::-1], '"second"', None

    assert fetch(url, tmp_path / "w.pth", report=change, patience=0).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("checksum", [SHA256, ""])
def test_a_server_that_knows_no_ranges_starts_anew(url, tmp_path, checksum):
    Server.cut_at, Server.ranges, Server.tag = 2 * BLOCK, False, ""

    def mend(name, done, total):
        Server.cut_at = None if len(Server.requests) > 2 else Server.cut_at

    assert fetch(url, tmp_path / "w.pth", checksum, report=mend, patience=0).read_bytes() == CONTENT


def test_a_whole_part_needs_no_more_bytes(url, tmp_path):
    part = tmp_path / f"w.pth.{SHA256[7:19]}.part"
    part.write_bytes(CONTENT)
    assert fetch(url, tmp_path / "w.pth", SHA256).read_bytes() == CONTENT
    part.write_bytes(CONTENT + b"more")
    (tmp_path / "w.pth").unlink()
    assert fetch(url, tmp_path / "w.pth", SHA256, patience=0).read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_removed(url, tmp_path):
    with pytest.raises(ModelError, match=r"w\.pth: what came has the wrong checksum and was removed"):
        fetch(url, tmp_path / "w.pth", "sha256:" + 64 * "0")
    assert names(tmp_path) == []


def test_a_damaged_file_is_fetched_again(url, tmp_path):
    (tmp_path / "w.pth").write_bytes(b"damaged")
    assert fetch(url, tmp_path / "w.pth", SHA256).read_bytes() == CONTENT


def test_without_a_published_checksum_the_first_download_holds(url, tmp_path):
    path = fetch(url, tmp_path / "w.pth")
    assert (tmp_path / "w.pth.sha256").read_text() == f"{SHA256[7:]}  w.pth\n"
    Server.requests.clear()
    fetch(url, path)
    assert not Server.requests
    path.write_bytes(b"another")
    with pytest.raises(ModelError, match=r"w\.pth: wrong checksum.*w\.pth\.sha256.*remove both"):
        fetch(url, path)
    assert path.read_bytes() == b"another"


def test_a_file_put_there_by_hand_is_recorded(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"mine")
    fetch("http://127.0.0.1:9/none", tmp_path / "w.pth")
    assert (tmp_path / "w.pth.sha256").read_text().split()[0] == sha256(tmp_path / "w.pth")


@pytest.mark.parametrize("checksum", [SHA256, ""])
def test_no_connection_is_one_line(tmp_path, monkeypatch, checksum):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(
        ModelError, match=r"^http://127\.0\.0\.1:9/w: no connection to 127\.0\.0\.1:9; fetch it by hand.*$"
    ):
        fetch("http://127.0.0.1:9/w", tmp_path / "w.pth", checksum, patience=0)
    assert names(tmp_path) == []


@pytest.mark.parametrize("checksum", [SHA256, ""])
def test_a_missing_file_is_told_at_once(url, tmp_path, checksum):
    Server.failures = [404] * 9
    with pytest.raises(ModelError, match="answers 404 Not Found; fetch it by hand"):
        fetch(url, tmp_path / "w.pth", checksum, patience=0)
    assert len(Server.failures) >= 7
    assert names(tmp_path) == []


def test_a_busy_server_is_asked_again(url, tmp_path):
    Server.failures = [503, 429, 500]
    assert fetch(url, tmp_path / "w.pth", SHA256, patience=0).read_bytes() == CONTENT
    (tmp_path / "w.pth").unlink()
    Server.failures = [503] * 9
    with pytest.raises(ModelError, match=r"cut off after 0 of unknown bytes \(.* answers 503"):
        fetch(url, tmp_path / "w.pth", SHA256, patience=0)


def test_a_connection_that_brings_nothing_gives_up(url, tmp_path):
    Server.cut_at = 0
    with pytest.raises(ModelError, match=rf"cut off after 0 of {len(CONTENT)} bytes .* again to go on"):
        fetch(url, tmp_path / "w.pth", SHA256, patience=0)


def test_too_little_space_is_told_before_anything_comes(url, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ModelError, match=r"no space for w\.pth: .* MB are needed, .*DEREFLECT_CACHE"):
        fetch(url, tmp_path / "w.pth", SHA256, patience=0)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(url, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"w\.pth: cannot be written"):
        fetch(url, tmp_path / "file" / "w.pth", SHA256)


def test_processes_that_want_one_file_wait_for_one_another(url, tmp_path):
    Server.seconds = 0.2
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(lambda _: fetch(url, tmp_path / "w.pth", SHA256), range(3)))
    assert all(path.read_bytes() == CONTENT for path in paths)
    assert Server.requests == [None]
    assert names(tmp_path) == ["w.pth"]
