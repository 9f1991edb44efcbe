"""Runs that are killed at random moments lose nothing, do nothing twice, and leave nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="forks"),
]
SCRIPT = Path(__file__).parents[1] / "scripts" / "kill.py"


@pytest.mark.parametrize("verb", ["separate", "beside", "batch", "video", "train"])
def test_what_is_killed_is_taken_up(verb):
    words = [sys.executable, SCRIPT, verb, "--kills", "10", "--seed", "7"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 runs of" in done.stdout
    assert " 0 killed at work" not in done.stdout
