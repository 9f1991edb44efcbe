"""`dereflect serve`: what it refuses before it starts, and that it stops when told."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from types import SimpleNamespace

import pytest

from dereflect.cli import serve as serve_module
from dereflect.cli.options import ModelOptions
from dereflect.errors import InputError
from dereflect.web.jobs import JobQueue

pytest.importorskip("fastapi", reason="the web tests need the extra 'web'")

from dereflect.web.server import listen


def serve(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dereflect", "serve", *words],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "200"} | environment,
    )


def test_an_open_address_without_a_token_is_one_line():
    done = serve("--host", "0.0.0.0")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--token" in done.stderr
    assert "DEREFLECT_TOKEN" in done.stderr


def test_a_missing_extra_names_the_install_command(tmp_path):
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError('no', name='fastapi')\n")
    path = f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}"
    done = serve(PYTHONPATH=path)
    assert done.returncode == 2
    assert done.stderr == ("dereflect: the web page needs fastapi: run pip install 'dereflect[web]'\n")


def test_a_port_in_use_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = serve("--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "cannot be used" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no terminate signal to send")
def test_it_says_where_it_is_answers_there_and_stops_when_told():
    with subprocess.Popen(
        [sys.executable, "-m", "dereflect", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            line = process.stdout.readline()
            address = re.search(r"http://127\.0\.0\.1:\d+", line)
            assert address is not None, process.stderr.read() if process.stderr else ""
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{address[0]}/healthz", timeout=60) as answer:
                assert answer.status == 200
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        finally:
            process.kill()


@pytest.mark.parametrize("host", ["a..b", "a" * 70])
def test_a_host_that_cannot_be_a_name_is_one_line(host):
    with pytest.raises(InputError, match=f"host {host}: not an address of this machine"):
        listen(host, 0)


def test_closing_waits_no_longer_than_it_says_however_many_jobs_hang(monkeypatch):
    queue = JobQueue("hanging", 3, 9, 1 << 20, 60.0)
    waited = []
    now = iter(range(100))
    monkeypatch.setattr("dereflect.web.jobs.time", SimpleNamespace(monotonic=lambda: next(now)))
    queue._threads = [SimpleNamespace(join=waited.append) for _ in range(4)]
    queue.close(wait=3.0)
    assert waited == [2.0, 1.0, 0.0, 0.0]


def test_masks_may_be_as_large_as_photos(monkeypatch):
    told = {}
    separator = SimpleNamespace(name="own")
    monkeypatch.setattr(ModelOptions, "load", lambda self, **settings: told.update(settings) or separator)
    assert serve_module._load(["own"], ModelOptions(), 300_000_000) == {"own": separator}
    assert told == {"max_pixels": 300_000_000}
