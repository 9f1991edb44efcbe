"""The plug-in in GIMP 3 itself, without a window; in GIMP 2, that it says what it needs.

`DEREFLECT_GIMP` names a GIMP that is not on PATH, with arguments if need be, e.g. one in a chroot:
`DEREFLECT_GIMP="/usr/sbin/chroot /opt/trixie gimp-console-3.0"` (which sees this folder and /tmp).
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dereflect.cli import app

GIMP = shlex.split(os.environ.get("DEREFLECT_GIMP", "")) or [shutil.which("gimp-console-3.0") or ""]
GIMP_2 = shutil.which("gimp-console-2.10")
INTEGRATIONS = Path(__file__).parents[2] / "integrations"
WINDOW = Path(__file__).parents[2] / "examples" / "cafe.jpg"


def installed(folder: Path, command: Path) -> Path:
    """The plug-in, installed to a settings folder of GIMP; it runs `command`."""
    done = CliRunner().invoke(app, ["integrations", "install", "gimp", "--to", str(folder / "plug-ins")])
    assert done.exit_code == 0, done.output
    (folder / "plug-ins" / "dereflect" / "command.txt").write_text(str(command))
    return folder


def gimp(words: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # Without the tests' virtual environment: plug-ins take the `python3` of PATH, which needs GIMP's gi.
    names = {"PATH": os.defpath, "HOME": str(folder), "LANG": "C.UTF-8", **environment}
    return subprocess.run(
        words, capture_output=True, text=True, timeout=540, check=False, env=names, errors="replace"
    )


def separated(command: Path, photo: Path, folder: Path) -> dict[str, np.ndarray]:
    """The layers as the command itself writes them."""
    subprocess.run([command, "separate", photo, "-o", folder], check=True, capture_output=True)
    return {layer: pixels(folder / f"{photo.stem}_{layer}.png") for layer in ("transmission", "reflection")}


def pixels(path: Path) -> np.ndarray:
    """All bits of a PNG, without its transparency."""
    pyvips = pytest.importorskip("pyvips")
    return pyvips.Image.new_from_file(str(path)).numpy()[..., :3]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(GIMP[0]), reason="needs GIMP 3 (gimp-console-3.0)")
def test_the_plug_in_adds_what_the_command_writes(tmp_path, real_command):
    with Image.open(WINDOW) as image:
        image.reduce(4).save(tmp_path / "photo.png")
    folder = installed(tmp_path / "gimp", real_command)
    script = Path(__file__).with_name("gimp_batch.py")
    batch = ["--batch-interpreter", "python-fu-eval", "-b", f"exec(open({str(script)!r}).read())", "--quit"]
    where = {"GIMP3_DIRECTORY": str(folder), "DEREFLECT_TEST_FOLDER": str(tmp_path)}
    (tmp_path / "tmp").mkdir()
    where["TMPDIR"] = str(tmp_path / "tmp")
    done = gimp([*GIMP, "--no-interface", *batch], tmp_path, **where)
    assert (tmp_path / "found.json").exists(), done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())

    photo = found["photo"]
    assert photo["status"] == "success", photo["error"]
    layers = photo["layers"]
    assert [layer["name"] for layer in layers] == ["window reflection", "window transmission", "window"]
    assert [layer["visible"] for layer in layers] == [False, True, True]
    assert photo["selected"] == ["window transmission"]
    assert photo["images"] == 1, "an image was left behind"
    for layer, expected in separated(real_command, tmp_path / "photo.png", tmp_path / "own").items():
        assert np.array_equal(pixels(tmp_path / f"gimp_{layer}.png"), expected), layer

    deep = found["deep"]
    assert deep["status"] == "success", deep["error"]
    assert deep["precision"] == "u16-non-linear"
    assert deep["layers"][0] == {
        "name": "above transmission", "visible": True, "place": [7, -5], "size": [101, 67], "masked": True
    }  # fmt: skip
    result = pixels(tmp_path / "gimp_deep.png")
    assert result.dtype == np.uint16
    expected = separated(real_command, tmp_path / "deep.png", tmp_path / "own")["transmission"]
    assert np.array_equal(result, expected)

    masked = found["masked"]
    assert masked["status"] == "success", masked["error"]
    assert masked["inside"] == ["inner reflection", "inner"]

    *faults, after = found["faults"]
    assert [fault["status"] for fault in faults] == ["execution-error"] * 3
    assert "dereflect: /nowhere/dereflect: no such command" in faults[0]["error"]
    assert "nosuchmodel" in faults[1]["error"]
    assert "raise it with --max-pixels" in faults[2]["error"]
    assert all("\n" not in fault["error"] for fault in faults)
    assert len(after["layers"]) == 1
    assert not list((tmp_path / "tmp").glob("dereflect-gimp-*")), "a working folder was left behind"


@pytest.mark.slow
@pytest.mark.skipif(GIMP_2 is None, reason="needs GIMP 2 (gimp-console-2.10)")
def test_gimp_2_is_told_in_one_line(tmp_path, real_command):
    assert GIMP_2 is not None
    folder = installed(tmp_path / "gimp", real_command)
    done = gimp([GIMP_2, "--no-interface", "-b", "(gimp-quit 0)"], tmp_path, GIMP2_DIRECTORY=str(folder))
    said = [line for line in done.stderr.splitlines() if line.startswith("dereflect: ")]
    assert said == ["dereflect: this plug-in needs GIMP 3 (and its Python support); GIMP 2 cannot run it"], (
        done.stderr
    )
    assert "Traceback" not in done.stderr


def test_without_gimp_s_python_it_says_what_it_needs():
    script = INTEGRATIONS / "gimp" / "dereflect" / "dereflect.py"
    done = subprocess.run([sys.executable, "-I", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("dereflect: this plug-in needs GIMP 3")
    assert len(done.stderr.splitlines()) == 1
