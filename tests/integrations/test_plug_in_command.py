"""How the GIMP plug-in runs the command: what it finds, hears, reports, stops and leaves behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="stand-ins are shell scripts")


@pytest.fixture
def photo(tmp_path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (33, 48, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(values).save(path)
    return path


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_both_layers_are_written_and_progress_ends_at_1(plug_in, command, photo, tmp_path):
    job = plug_in.Job(str(command), photo, tmp_path / "out", ["--strength", "1.0"])
    shares = list(job.run("Background"))
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    assert {layer: path.name for layer, path in job.outputs.items()} == {
        "transmission": "photo_transmission.png",
        "reflection": "photo_reflection.png",
    }


def test_only_the_wanted_layer_is_an_output(plug_in, command, photo, tmp_path):
    job = plug_in.Job(str(command), photo, tmp_path / "out", [], "--layers 'reflection'")
    list(job.run("Background"))
    assert list(job.outputs) == ["reflection"]


@pytest.mark.parametrize(
    ("words", "further", "line"),
    [
        ([], "--nope", r"--nope: no such option.*"),
        ([], "--max-pixels 10", r"Background: 48 x 33 is .* raise it with --max-pixels"),
        ([], "--layers 'both", r"Further options: No closing quotation"),
        (["--set", "k=1"], "", r"--set k=1: .*"),
    ],
)
def test_a_fault_is_the_command_s_own_line(plug_in, command, photo, tmp_path, words, further, line):
    with pytest.raises(plug_in.Failed) as caught:
        list(plug_in.Job(str(command), photo, tmp_path / "out", words, further).run("Background"))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)

    assert re.fullmatch(line, str(caught.value)), str(caught.value)


def test_a_command_that_is_none_is_named(plug_in, photo, tmp_path):
    broken = executable(tmp_path / "broken", "#!/nowhere/interpreter\n")
    with pytest.raises(plug_in.Failed, match="broken: cannot be run"):
        list(plug_in.Job(str(broken), photo, tmp_path / "out", []).run("Background"))


def test_a_command_that_dies_without_a_word_is_told_by_its_code(plug_in, photo, tmp_path):
    dying = executable(tmp_path / "dying", "#!/bin/sh\nexit 9\n")
    with pytest.raises(plug_in.Failed, match="exit code 9"):
        list(plug_in.Job(str(dying), photo, tmp_path / "out", []).run("Background"))


def test_the_command_s_python_is_not_that_of_gimp(plug_in, photo, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/of/gimp")
    told = tmp_path / "told"
    executable(tmp_path / "telling", f'#!/bin/sh\necho "[$PYTHONHOME]" > {told}\nexit 9\n')
    with pytest.raises(plug_in.Failed):
        list(plug_in.Job(str(tmp_path / "telling"), photo, tmp_path / "out", []).run("Background"))
    assert told.read_text() == "[]\n"


class TestFinding:
    def test_a_setting_goes_first_and_must_be_there(self, plug_in, tmp_path):
        set_one = executable(tmp_path / "a" / "dereflect")
        assert plug_in.find_command(f" {set_one} ", tmp_path) == str(set_one)
        with pytest.raises(plug_in.Failed, match="no such command"):
            plug_in.find_command(str(tmp_path / "nowhere"), tmp_path)

    def test_then_the_one_that_installed_the_plug_in(self, plug_in, tmp_path, monkeypatch):
        noted, on_path = executable(tmp_path / "a" / "dereflect"), executable(tmp_path / "b" / "dereflect")
        monkeypatch.setenv("PATH", str(on_path.parent))
        (tmp_path / "command.txt").write_text(f"{noted}\n")
        assert plug_in.find_command("", tmp_path) == str(noted)
        noted.unlink()
        assert plug_in.find_command("", tmp_path) == str(on_path)

    def test_copied_by_hand_it_looks_on_the_path_and_says_if_there_is_none(
        self, plug_in, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(plug_in, "USUAL", ())
        (tmp_path / "command.txt").write_text("@COMMAND@\n")
        with pytest.raises(plug_in.Failed, match="no dereflect command on PATH"):
            plug_in.find_command("", tmp_path)


def wait_until(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_leaving_the_loop_ends_the_command(plug_in, photo, tmp_path):
    mark = tmp_path / "pid"
    waits = executable(tmp_path / "waits", f"#!/bin/sh\necho $$ > {mark}\ncat > /dev/null\n")
    shares = plug_in.Job(str(waits), photo, tmp_path / "out", []).run("Background")
    next(shares)
    wait_until(lambda: mark.exists() and mark.read_text().strip())
    shares.close()
    assert not running(int(mark.read_text()))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_the_command_ends_where_the_plug_in_is_killed(plug_in, photo, tmp_path, command):
    """As GIMP does it at Cancel."""
    photos = tmp_path / "many"
    photos.mkdir()
    for number in range(400):
        (photos / f"{number:03}.png").write_bytes(photo.read_bytes())
    script = tmp_path / "plug_in.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(plug_in.__file__).parent)!r})\n"
        "from command import Job, working_folder\n"
        "from pathlib import Path\n"
        "with working_folder() as folder:\n"
        f"    job = Job({str(command)!r}, Path({str(photos)!r}), folder / 'out', [])\n"
        "    for share in job.run('Background'):\n"
        "        print(folder, share, flush=True)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        folder, share = line.rsplit(" ", 1)
        if float(share) > 0:
            break
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not running(int(children[0])))
    assert 0 < len(list(Path(folder, "out").iterdir())) < 800
    assert not list(Path(folder, "out").glob(".*")), "something half-written"


def test_the_next_run_removes_what_a_killed_one_has_left(plug_in, tmp_path, monkeypatch):
    monkeypatch.setattr(plug_in.tempfile, "gettempdir", lambda: str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f"dereflect-gimp-{gone.pid}-abcdefgh"
    own = tmp_path / f"dereflect-gimp-{os.getpid()}-abcdefgh"
    other = tmp_path / "dereflect-gimp-notes"
    for folder in (left, own, other):
        folder.mkdir()
    with plug_in.working_folder() as folder:
        assert folder.is_dir()
        assert not left.exists()
    assert {own, other} <= set(tmp_path.iterdir())
    assert not folder.exists()


def test_json_lines_that_are_no_progress_are_kept_as_words(plug_in, photo, tmp_path):
    odd = executable(tmp_path / "odd", f"#!/bin/sh\necho '{json.dumps([1])}' >&2\nexit 2\n")
    with pytest.raises(plug_in.Failed, match=r"\[1\]"):
        list(plug_in.Job(str(odd), photo, tmp_path / "out", []).run("Background"))
