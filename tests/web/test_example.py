"""The example that calls the service runs as it stands."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from dereflect.web.settings import Access

EXAMPLE = Path(__file__).parents[2] / "examples" / "call_service.py"


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, EXAMPLE, *words], capture_output=True, text=True, timeout=120)


def test_the_example_writes_both_layers(start, picture, tmp_path, monkeypatch):
    monkeypatch.setenv("DEREFLECT_TOKEN", "correct-horse")
    monkeypatch.setenv("no_proxy", "*")
    photo = tmp_path / "a.png"
    photo.write_bytes(picture())
    with start(access=Access(token="correct-horse")) as server:
        done = call(str(photo), "-o", str(tmp_path / "out"), "--address", server.url, "--strength", "0.5")
        assert done.returncode == 0, done.stderr
        expected = server.separator(photo, strength=0.5).to_numpy()[0]
    written = (tmp_path / "out" / "a_transmission.png").read_bytes()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(written))), expected)
    assert (tmp_path / "out" / "a_reflection.png").is_file()
    assert "40 x 30, share" in done.stdout


def test_the_example_says_what_is_wrong(server, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    bad = tmp_path / "a.jpg"
    bad.write_bytes(b"no picture")
    refused = call(str(bad), "--address", server.url)
    assert refused.returncode == 1
    assert refused.stderr.startswith("415: image: is not a picture")
    nobody = call(str(bad), "--address", "http://127.0.0.1:9")
    assert "is the service running?" in nobody.stderr
