"""Every kind of bad input gets one line that names it, the others go on, and nothing is lost."""

import os
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from command_line import photo
from PIL import Image

from dereflect.separator import Separator


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() or path.is_symlink())


def check_one_line_and_the_rest_goes_on(separate, bad: Path, words: str, *options: str) -> None:
    """Alone: exit 2, one line that names it. Beside a good photo: exit 1, and that photo is done."""
    folder = bad.parent / "out"
    alone = separate(bad, "-o", folder, "-q", *options)
    assert alone.code == 2
    assert len(alone.lines) == 1, alone.err
    assert alone.lines[0].startswith(f"{bad}: ")
    assert words in alone.lines[0]
    assert alone.lines[0].count(str(bad)) == 1
    assert not folder.exists() or not files(folder)
    good = photo(bad.parent / "good.png")
    beside = separate(bad, good, "-o", folder, *options)
    assert beside.code == 1
    assert "1 photo separated" in beside.lines[-1]
    assert "1 failed" in beside.lines[-1]
    assert files(folder) == ["good_reflection.png", "good_transmission.png"]


def test_a_missing_path(separate, tmp_path):
    check_one_line_and_the_rest_goes_on(separate, tmp_path / "missing.jpg", "no such file or folder")


def test_an_unreadable_file(separate, tmp_path):
    photo(tmp_path / "secret.jpg").chmod(0)
    if os.access(tmp_path / "secret.jpg", os.R_OK):
        pytest.skip("this user may read everything")
    check_one_line_and_the_rest_goes_on(separate, tmp_path / "secret.jpg", "Permission denied")


def test_a_folder_without_pictures(separate, tmp_path):
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    (tmp_path / "empty" / "notes.txt").write_text("x")
    check_one_line_and_the_rest_goes_on(separate, tmp_path / "empty", "no pictures in this folder")


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png", "cut.webp", "cut.tiff"])
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_a_truncated_picture(separate, tmp_path, name, share):
    path = photo(tmp_path / name, size=(200, 200))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    check_one_line_and_the_rest_goes_on(separate, path, "")


def test_a_text_file_named_jpg(separate, tmp_path):
    (tmp_path / "text.jpg").write_text("dear diary")
    check_one_line_and_the_rest_goes_on(separate, tmp_path / "text.jpg", "is not a picture")


def test_zero_bytes(separate, tmp_path):
    (tmp_path / "zero.jpg").touch()
    check_one_line_and_the_rest_goes_on(separate, tmp_path / "zero.jpg", "is empty")


def test_a_damaged_middle(separate, tmp_path):
    path = photo(tmp_path / "damaged.png", size=(200, 200))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)
    check_one_line_and_the_rest_goes_on(separate, path, "damaged")


def bomb(path: Path, width: int = 50_000, height: int = 50_000) -> Path:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    compressor = zlib.compressobj(9)
    body = compressor.compress(bytes(3 * width + 1) * 20) + compressor.flush()
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    return path


def test_a_decompression_bomb_is_refused_before_decoding(separate, tmp_path, monkeypatch):
    from PIL import ImageFile

    def decode(self) -> None:
        raise AssertionError("the bomb was decoded")

    path = bomb(tmp_path / "bomb.png")
    with monkeypatch.context() as patch:
        patch.setattr(ImageFile.ImageFile, "load", decode)
        done = separate(path, "-q")
    assert done.code == 2
    assert done.lines == [
        f"{path}: 50000 x 50000 is 2500 megapixels, over the limit of 200; raise it with --max-pixels"
    ]
    check_one_line_and_the_rest_goes_on(separate, path, "--max-pixels")


def test_the_limit_can_be_set(separate, tmp_path):
    path = photo(tmp_path / "a.png")
    assert "over the limit" in separate(path, "--max-pixels", "1000").err
    assert separate(path, "--max-pixels", "2000").code == 0


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3), (33, 47), (1, 5000), (5000, 1)])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_odd_sizes_work(separate, tmp_path, size, suffix):
    path = photo(tmp_path / f"odd{suffix}", size=size)
    assert separate(path).code == 0
    for layer in ("transmission", "reflection"):
        assert Image.open(tmp_path / f"odd_{layer}{suffix}").size == size


def test_an_output_folder_that_is_a_file(separate, tmp_path, monkeypatch):
    path = photo(tmp_path / "a.png")
    (tmp_path / "taken").write_text("mine")
    monkeypatch.setattr(Separator, "__call__", None)  # told before the work
    done = separate(path, "-o", tmp_path / "taken", "-q")
    assert done.code == 2
    place = tmp_path / "taken"
    assert done.lines == [f"dereflect: --output {place}: is not a folder, so nothing can be written there"]
    assert place.read_text() == "mine"


def test_an_output_folder_that_cannot_be_written(separate, tmp_path):
    path = photo(tmp_path / "a.png")
    (tmp_path / "locked").mkdir(mode=0o500)
    if os.access(tmp_path / "locked", os.W_OK):
        pytest.skip("this user may write everywhere")
    done = separate(path, "-o", tmp_path / "locked", "-q")
    assert done.code == 2
    assert "Permission denied" in done.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk_leaves_nothing_half_written(model_folder, tmp_path):
    """A limit on the size of files makes writing fail midway, as a full disk does."""
    path = photo(tmp_path / "a.png", size=(300, 200))
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "sys.argv = ['dereflect', *sys.argv[1:]]\n"
        "from dereflect.cli import main\nmain()"
    )
    words = ["separate", path, "-o", tmp_path / "out", "--model", model_folder, "--device", "cpu", "-q"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "cannot be written (File too large)" in done.stderr
    assert files(tmp_path / "out") == []


@pytest.mark.parametrize("moment", ["os.fsync", "dereflect.images.writing.encode"])
def test_ctrl_c_leaves_nothing_half_written(separate, tmp_path, monkeypatch, moment):
    def interrupt(*words: object) -> None:
        raise KeyboardInterrupt

    paths = [photo(tmp_path / f"{name}.png") for name in "abc"]
    monkeypatch.setattr(moment, interrupt)
    done = separate(*paths, "-o", tmp_path / "out")
    assert done.code == 130
    assert "stopped; 0 of 3 photos were separated" in done.err
    assert not (tmp_path / "out").exists() or files(tmp_path / "out") == []


def test_an_unknown_model_gets_the_nearest_names(dereflect, tmp_path):
    done = dereflect("separate", photo(tmp_path / "a.png"), "--model", "defualt")
    assert done.code == 2
    assert len(done.lines) == 1
    known = "dereflect: defualt: no model of this name, and no such file or folder; did you mean default"
    assert done.lines[0].startswith(known)


class Evil:
    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(dereflect, tmp_path, zipped):
    import torch

    model = tmp_path / "evil.pt"
    if zipped:
        torch.save({"weight": Evil(str(tmp_path / "ran"))}, model)
    else:
        model.write_bytes(pickle.dumps({"weight": Evil(str(tmp_path / "ran"))}))
    done = dereflect("separate", photo(tmp_path / "a.png"), "--model", model)
    assert done.code == 2
    assert len(done.lines) == 1
    assert "only safe loading is done" in done.lines[0]
    assert not (tmp_path / "ran").exists()


def test_a_picture_as_model_is_refused(dereflect, tmp_path):
    path = photo(tmp_path / "a.png")
    done = dereflect("separate", path, "--model", path)
    assert done.code == 2
    assert "is a picture, not a model" in done.err


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_links_that_go_in_circles(separate, tmp_path):
    photo(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "circle").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "self.png").symlink_to(tmp_path / "in" / "self.png")
    done = separate(tmp_path / "in", "-r", "-o", tmp_path / "out")
    assert done.code == 1
    assert files(tmp_path / "out") == ["a_reflection.png", "a_transmission.png"]
    alone = separate(tmp_path / "in" / "self.png")
    assert alone.code == 2
    assert "a link that leads back to itself" in alone.err


def test_a_name_too_long_for_its_outputs(separate, tmp_path):
    path = photo(tmp_path / ("x" * 250 + ".png"))
    done = separate(path, "-q")
    assert done.code == 2
    assert len(done.lines) == 1
    assert "File name too long" in done.lines[0]


def test_a_folder_named_like_a_picture(separate, tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    photo(tmp_path / "folder.jpg" / "a.png")
    assert separate(tmp_path / "folder.jpg", "-o", tmp_path / "out").code == 0
    assert len(files(tmp_path / "out")) == 2


def test_16_bit_without_the_extra_names_the_file_and_the_command(separate, tmp_path, monkeypatch):
    from dereflect import images

    deep = tmp_path / "deep.png"
    deep.write_bytes(images.encode(images.from_array(np.zeros((8, 8, 3), np.uint16)), "PNG"))
    monkeypatch.setitem(sys.modules, "pyvips", None)
    check_one_line_and_the_rest_goes_on(separate, deep, "pip install 'dereflect[deep]'")
