"""Standard output that is full, closed or read by nobody costs one line, not a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def shell(line: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line.replace("dereflect", f"{sys.executable} -m dereflect", 1)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def unread():
    """A pipe whose reader has gone, before anything is written: one that goes meanwhile may go too late."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("dereflect --version > /dev/full", "No space left on device"),
        ("dereflect --help > /dev/full", "No space left on device"),
        ("dereflect --version >&-", "it is closed"),
        ("dereflect --help", "Broken pipe"),
    ],
)
def test_what_cannot_be_said_is_one_line(unread, line, words):
    done = shell(line, unread)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"dereflect: standard output: cannot be written ({words})"]


@pytest.mark.parametrize("target", ["> /dev/full", ">&-", ""], ids=["full", "closed", "unread"])
def test_a_picture_that_cannot_be_written_to_a_pipe(model_folder, tmp_path, unread, target):
    values = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    words = f"--model {model_folder} --device cpu < {tmp_path}/a.png {target}"
    done = shell(f"dereflect separate - {words}", unread)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("dereflect: standard output: cannot be written (")


def test_a_log_that_cannot_be_written_stops_no_photo(model_folder, tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (16, 16)).save(tmp_path / name)
    words = f"--model {model_folder} --device cpu -o {tmp_path}/out"
    assert shell(f"dereflect separate {tmp_path} {words} 2> /dev/full").returncode == 0
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert shell(f"dereflect separate {tmp_path} {words} --skip-existing 2>&-").returncode == 0


def test_standard_input_that_is_closed(model_folder):
    done = shell(f"dereflect separate - --model {model_folder} <&-")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["dereflect: -: standard input is closed"]


def test_the_version_needs_no_torch():
    code = (
        "import sys; sys.argv = ['dereflect', '--version']\n"
        "from dereflect.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_a_name_that_is_no_text_can_be_printed_in_every_verb(model_folder, tmp_path):
    words = [sys.executable, "-m", "dereflect", "models", "convert", model_folder, tmp_path / "caf\udce9"]
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(words, capture_output=True, timeout=120, check=False, env=strict)
    assert done.returncode == 0, done.stderr
    assert f"--model {tmp_path}/caf\\udce9" in done.stdout.decode()
