"""The script in darktable itself, on a virtual screen."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dereflect.cli import app

SCRIPT = Path(__file__).parents[2] / "integrations" / "darktable" / "dereflect.lua"
WINDOW = Path(__file__).parents[2] / "examples" / "cafe.jpg"
NEEDED = ("darktable", "xvfb-run")
MISSING = [name for name in NEEDED if shutil.which(name) is None]

TURNED = """<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
  xmlns:darktable="http://darktable.sf.net/" xmpMM:DerivedFrom="photo.jpg" darktable:xmp_version="5"
  darktable:raw_params="0" darktable:auto_presets_applied="1" darktable:history_end="1"
  darktable:iop_order_version="2">
<darktable:history><rdf:Seq><rdf:li darktable:num="0" darktable:operation="flip" darktable:enabled="1"
  darktable:modversion="2" darktable:params="03000000" darktable:multi_name="" darktable:multi_priority="0"
  darktable:blendop_version="11"
  darktable:blendop_params="gz14eJxjYIAACQYYOOHEgAZY0QVwggZ7CB6pfNoAAE8gGQg="/></rdf:Seq></darktable:history>
</rdf:Description></rdf:RDF></x:xmpmeta>
"""
"""An edit: turned by half a turn."""


@pytest.mark.skipif(shutil.which("luac5.4") is None, reason="needs luac5.4")
def test_the_script_is_lua():
    done = subprocess.run(["luac5.4", "-p", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def in_darktable(folder: Path) -> list[list[str]]:
    """Run `darktable_run.lua`; gives its lines."""
    lua = Path(__file__).with_name("darktable_run.lua")
    words = ["xvfb-run", "-a", "darktable", "--disable-opencl"]
    for name in ("config", "cache", "tmp"):
        (folder / name).mkdir(exist_ok=True)
        words += [f"--{name}dir", str(folder / name)]
    words += ["--library", str(folder / "library.db"), "--luacmd", f'dofile("{lua}")']
    # Without a session bus, with which darktable 4.2 sometimes waits for itself when it starts.
    environment = {
        **os.environ,
        "HOME": str(folder),
        "NO_AT_BRIDGE": "1",
        "DEREFLECT_TEST_FOLDER": str(folder),
    }
    environment.pop("DBUS_SESSION_BUS_ADDRESS", None)
    log = (folder / "log").open("w")
    process = subprocess.Popen(words, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        end = time.monotonic() + 240
        while time.monotonic() < end and process.poll() is None:
            lines = (folder / "found").read_text().splitlines() if (folder / "found").exists() else []
            if any(line.startswith(("end", "broken")) for line in lines):
                return [line.split("\t") for line in lines]
            time.sleep(0.5)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    raise AssertionError(f"darktable did not come to the end: {(folder / 'log').read_text()[-3000:]}")


def pixels(path: Path) -> np.ndarray:
    pyvips = pytest.importorskip("pyvips")
    return pyvips.Image.new_from_file(str(path)).numpy()[..., :3]


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
def test_the_action_adds_what_the_command_writes_and_keeps_what_the_photo_has(tmp_path, real_command):
    photos = tmp_path / "photos"
    photos.mkdir()
    with Image.open(WINDOW) as image:
        small = image.reduce(4)
    small.save(photos / "photo.jpg", quality=95)
    (photos / "photo.jpg.xmp").write_text(TURNED)
    config = tmp_path / "config"
    done = CliRunner().invoke(app, ["integrations", "install", "darktable", "--to", str(config)])
    assert done.exit_code == 0, done.output
    script = config / "lua" / "dereflect.lua"
    installed = script.read_text().partition("local COMMAND = [[")[2].partition("]]")[0]
    script.write_text(script.read_text().replace(installed, str(real_command)))
    slow = tmp_path / "slow"
    waits = 'while [ "$1" != --while ]; do shift; done; while [ -e "$2" ]; do sleep 0.1; done; exit 130'
    slow.write_text(f"#!/bin/sh\ntouch {tmp_path}/working\n{waits}\n")
    slow.chmod(0o755)

    lines = in_darktable(tmp_path)
    assert lines[-1] == ["end"], lines[-3:]
    again, fault, stop = (lines.index([name]) for name in ("again", "fault", "stop"))

    assert lines[0] == ["print", "dereflect: 2 pictures added beside 1 photo"]
    described = ["photo.jpg", "4", "true", "Cup", "places|Vienna"]
    names = ["photo.jpg", "photo_transmission.tif", "photo_reflection.tif"]
    assert lines[1:again] == [["picture", name, *described] for name in names]

    edited = pixels(tmp_path / "edited.tif")
    height, width = edited.shape[:2]  # darktable drops a line and a column when it turns
    turned = np.asarray(small.rotate(180), dtype=float)[:height, :width]
    assert turned.shape == edited.shape
    assert np.abs(edited / 257 - turned).mean() < 3, "the edit is in what is separated"
    own = [real_command, "separate", tmp_path / "edited.tif", "-o", tmp_path / "own"]
    subprocess.run(own, check=True, capture_output=True)
    for layer in ("transmission", "reflection"):
        result = pixels(photos / f"photo_{layer}.tif")
        assert result.dtype == np.uint16
        assert np.array_equal(result, pixels(tmp_path / "own" / f"edited_{layer}.tif"))

    assert lines[again + 1 : fault] == [["print", "dereflect: 1 picture added beside 1 photo"]]
    said = lines[fault + 1 : stop]
    assert [way for way, _ in said] == ["print", "print_error"]
    assert said[0][1].startswith("dereflect: ")
    assert "nosuchmodel" in said[0][1]
    assert lines[stop + 1 : -1] == [
        ["print", "dereflect: stopped; 0 pictures added, nothing is half-written"]
    ]

    expected = {"photo.jpg", *names, "photo-2_transmission.tif"}
    assert {path.name for path in photos.iterdir() if path.suffix != ".xmp"} == expected
    assert [path for path in (tmp_path / "tmp").iterdir() if path.name.startswith("dereflect")] == []
