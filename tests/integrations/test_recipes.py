"""digiKam's batch queue and "Open with": the scripts as they stand, run as their callers run them."""

import configparser
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

INTEGRATIONS = Path(__file__).parents[2] / "integrations"
SCRIPTS = sorted(INTEGRATIONS.rglob("*.sh"))

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="shell scripts")


@pytest.fixture
def photo(tmp_path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (33, 48, 3), dtype=np.uint8)
    path = tmp_path / "photos" / "my window.png"
    path.parent.mkdir()
    Image.fromarray(values).save(path)
    return path


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def desk(tmp_path: Path, command: Path, monkeypatch) -> Path:
    """A folder of programs that is all of PATH but the system's own: `dereflect`, and a window that notes."""
    folder = tmp_path / "desk"
    folder.mkdir()
    for name in ["sh", "cat", "rm", "mv", "mkdir", "mktemp", "sed", "tail", "awk", "sleep", "grep", "env"]:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    (folder / "dereflect").symlink_to(command)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return folder


def opener(system: str, tmp_path: Path) -> Path:
    """The script of "Open with", as installed."""
    path = tmp_path / "dereflect-open.sh"
    text = (INTEGRATIONS / "open-with" / system / path.name).read_text()
    path.write_text(text.replace("@COMMAND@", "/nowhere/dereflect"))  # so that it looks on PATH
    return path


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=120, check=False)


def left(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_shell_reads_the_script(script):
    assert run("sh", "-n", script).returncode == 0


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
def test_shellcheck_finds_nothing_in_the_openers():
    found = [path for path in SCRIPTS if path.parent.parent.name == "open-with"]
    assert len(found) == 2
    assert run("shellcheck", "-s", "sh", *found).stdout == ""


def test_the_desktop_entry_is_valid():
    path = INTEGRATIONS / "open-with" / "linux" / "dereflect.desktop"
    entry = configparser.ConfigParser(interpolation=None)
    entry.optionxform = str  # type: ignore[assignment,method-assign]
    entry.read(path)
    assert entry["Desktop Entry"]["Exec"] == '"@FOLDER@/dereflect-open.sh" %F'
    assert "image/jpeg" in entry["Desktop Entry"]["MimeType"].split(";")
    if shutil.which("desktop-file-validate") is None:
        pytest.skip("the whole check needs desktop-file-validate")
    done = run("desktop-file-validate", path)
    assert (done.returncode, done.stdout) == (0, "")


class TestOpenWithOnLinux:
    def test_progress_goes_to_the_window_and_results_lie_beside_the_photo(self, desk, tmp_path, photo):
        program(desk, "zenity", f"cat > {tmp_path}/percent")
        done = run("sh", opener("linux", tmp_path), photo)
        assert done.returncode == 0, done.stderr
        assert sorted(path.name for path in photo.parent.iterdir()) == [
            "my window.png",
            "my window_reflection.png",
            "my window_transmission.png",
        ]
        percents = [int(line) for line in (tmp_path / "percent").read_text().split()]
        assert percents == sorted(percents)
        assert set(percents) <= set(range(100))
        assert left(tmp_path) == []

    def test_cancel_in_the_window_stops_the_command(self, desk, tmp_path, photo):
        for number in range(300):
            (photo.parent / f"{number:03}.png").write_bytes(photo.read_bytes())
        program(desk, "zenity", "while read percent; do [ $percent -gt 0 ] && exit 1; done")
        done = run("sh", opener("linux", tmp_path), photo.parent)
        assert done.returncode == 130
        written = [path.name for path in photo.parent.iterdir() if "_" in path.name]
        assert 0 < len(written) < 600
        assert not [name for name in written if name.startswith(".")], "something half-written"
        assert left(tmp_path) == []

    @pytest.mark.parametrize(
        ("teller", "words"), [("zenity", "--error"), ("kdialog", "--error"), ("notify-send", "dereflect")]
    )
    def test_a_fault_is_told_with_what_there_is(self, desk, tmp_path, photo, teller, words):
        program(
            desk, teller, f'[ "$1" = --progress ] && exec cat; for w; do echo "$w"; done >> {tmp_path}/told'
        )
        photo.write_text("no picture")
        assert run("sh", opener("linux", tmp_path), photo).returncode == 2
        told = (tmp_path / "told").read_text()
        assert words in told
        assert f"{photo}: " in told
        assert "{" not in told


class TestOpenWithOnMacOS:
    def test_results_lie_beside_the_photo(self, desk, tmp_path, photo):
        assert run("sh", opener("macos", tmp_path), photo).returncode == 0
        assert len(list(photo.parent.iterdir())) == 3
        assert left(tmp_path) == []

    def test_a_fault_is_an_alert(self, desk, tmp_path, photo):
        program(desk, "osascript", f'for last; do :; done; echo "$last" > {tmp_path}/told')
        photo.write_text("no picture")
        assert run("sh", opener("macos", tmp_path), photo).returncode == 2
        assert (tmp_path / "told").read_text().startswith(f"{photo}: ")

    def test_ending_the_script_stops_the_command(self, desk, tmp_path, photo):
        for number in range(300):
            (photo.parent / f"{number:03}.png").write_bytes(photo.read_bytes())
        process = subprocess.Popen(["sh", str(opener("macos", tmp_path)), str(photo.parent)])
        wait_until(lambda: len(list(photo.parent.iterdir())) > 303)
        process.terminate()
        assert process.wait(60) == 130
        assert len(list(photo.parent.iterdir())) < 900
        assert left(tmp_path) == []


class TestDigikam:
    """digiKam puts quoted names into the script and runs it by `/bin/sh -c`; standard input is a pipe."""

    def start(self, photo: Path, target: Path) -> subprocess.Popen[str]:
        script = (INTEGRATIONS / "digikam" / "batch_queue.sh").read_text()
        script = script.replace("$INPUT", f'"{photo}"').replace("$OUTPUT", f'"{target}"')
        return subprocess.Popen(
            ["/bin/sh", "-c", script], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def test_the_output_is_the_transmission(self, desk, tmp_path, photo, command):
        target = tmp_path / "a result.png"
        process = self.start(photo, target)
        assert process.wait(60) == 0
        subprocess.run([command, "separate", photo, "-o", tmp_path / "own"], check=True, capture_output=True)
        assert target.read_bytes() == (tmp_path / "own" / "my window_transmission.png").read_bytes()
        assert left(tmp_path) == []

    def test_where_it_fails_there_is_no_output(self, desk, tmp_path, photo):
        photo.write_text("no picture")
        process = self.start(photo, tmp_path / "result.png")
        process.wait(60)
        assert process.stderr is not None
        assert str(photo) in process.stderr.read()
        assert not (tmp_path / "result.png").exists()
        assert left(tmp_path) == []

    def test_the_command_stops_where_digikam_kills_the_script(self, desk, tmp_path, photo):
        (desk / "dereflect").unlink()
        program(desk, "dereflect", f'echo $$ > {tmp_path}/pid; echo "$@" > {tmp_path}/words; exec cat')
        process = self.start(photo, tmp_path / "result.png")
        wait_until(lambda: (tmp_path / "words").exists() and (tmp_path / "words").read_text())
        assert (tmp_path / "words").read_text().strip().endswith("--while -")
        process.kill()
        process.communicate()  # closes the pipe
        wait_until(lambda: not os.path.exists(f"/proc/{(tmp_path / 'pid').read_text().strip()}"))
        assert not (tmp_path / "result.png").exists()

    @pytest.mark.parametrize("name", ["batch_queue.sh", "batch_queue.cmd"])
    def test_the_page_shows_the_script(self, name):
        page = INTEGRATIONS.parent / "docs" / "integrations" / "open_with.md"
        script = (INTEGRATIONS / "digikam" / name).read_text()
        assert textwrap.indent(script, "    ") in page.read_text(encoding="utf-8")

    def test_the_one_for_windows_is_one_line(self):
        """digiKam joins lines by `&`, so that a remark would hide what follows."""
        lines = (INTEGRATIONS / "digikam" / "batch_queue.cmd").read_text().splitlines()
        assert lines == ["dereflect separate - --quiet < $INPUT > $OUTPUT || del $OUTPUT"]


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
