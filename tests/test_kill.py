"""Runs that are killed at random moments lose nothing, do nothing twice, and leave nothing behind."""

import subprocess
import sys
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")
SCRIPT = Path(__file__).parents[1] / "scripts" / "kill.py"


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["separate", "beside", "batch", "video", "train", "recipe"])
def test_what_is_killed_is_taken_up(verb):
    words = [sys.executable, SCRIPT, verb, "--kills", "10", "--seed", "7"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 runs of" in done.stdout
    assert " 0 killed at work" not in done.stdout


def test_films_that_differ_are_told_apart_by_their_frames(tmp_path):
    """A difference of the file alone is another fault than one of what is seen."""
    av = pytest.importorskip("av")
    difference = run_path(str(SCRIPT))["difference"]

    def film(comment: str, level: int) -> bytes:
        path = tmp_path / "film.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            container.metadata["comment"] = comment
            for number in range(3):
                planes = np.full((48, 32), 90 + (level if number == 1 else 0), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
            container.mux(stream.encode())
        return path.read_bytes()

    assert difference("a.mkv", film("one", 0), film("another", 0)) == "other bytes, equal decoded frames"
    assert difference("a.mkv", film("one", 0), film("one", 7)).endswith("{1: 7}")
