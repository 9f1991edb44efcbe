"""Raw files on the command line: alone, beside their JPEGs, and where nothing develops them."""

import json
import sys

import numpy as np
import pytest
from command_line import names, photo

from dereflect import images
from dereflect.cli.options import RawSpaceChoice
from dereflect.images import raw
from dng import write_dng

needs_rawpy = pytest.mark.skipif(not raw.is_here(), reason="raw files need the extra 'raw' (rawpy)")


@pytest.fixture
def without_rawpy(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    monkeypatch.setattr("dereflect.cli.inputs.is_here", lambda: False)


@pytest.fixture
def shoot(tmp_path):
    """A folder with a photo that is there twice, one raw and one as JPEG."""
    folder = tmp_path / "shoot"
    photo(folder / "a.JPG")
    write_dng(folder / "a.dng")
    write_dng(folder / "b.dng", mosaic=False)
    photo(folder / "c.jpg")
    return folder


def test_the_spaces_of_the_command_line_are_those_that_there_are():
    assert [choice.value for choice in RawSpaceChoice] == list(raw.SPACES)


@needs_rawpy
def test_a_raw_file_becomes_two_tiffs_of_16_bits(separate, tmp_path):
    path = write_dng(tmp_path / "window.dng", orientation=6)
    done = separate(path, "--json")
    assert done.code == 0, done.err
    assert names(tmp_path) == ["window.dng", "window_reflection.tiff", "window_transmission.tiff"]
    picture = images.read(tmp_path / "window_transmission.tiff")
    assert (picture.width, picture.height, picture.pixels.dtype) == (96, 128, np.uint16)
    assert json.loads(done.out)["width"] == 96


@needs_rawpy
def test_of_a_pair_the_raw_file_is_taken(separate, shoot, tmp_path):
    done = separate(shoot, "-o", tmp_path / "out", "--layers", "transmission")
    assert done.code == 0, done.err
    assert names(tmp_path / "out") == ["a_transmission.tiff", "b_transmission.tiff", "c_transmission.jpg"]
    assert "1 file skipped (the same photo as a file beside it)" in done.lines[-1]


@needs_rawpy
def test_a_pattern_sorts_out_pairs_and_words_do_not(separate, shoot, tmp_path):
    assert separate(shoot / "*", "-o", tmp_path / "one", "--layers", "transmission").code == 0
    assert names(tmp_path / "one") == ["a_transmission.tiff", "b_transmission.tiff", "c_transmission.jpg"]
    words = shoot / "a.JPG", shoot / "a.dng"
    assert separate(*words, "-o", tmp_path / "two", "--layers", "transmission").code == 0
    assert names(tmp_path / "two") == ["a_transmission.JPG", "a_transmission.tiff"]


@needs_rawpy
def test_skip_and_both(separate, shoot, tmp_path):
    skipped = separate(shoot, "-o", tmp_path / "one", "--raw", "skip", "--layers", "transmission")
    assert skipped.code == 0
    assert names(tmp_path / "one") == ["a_transmission.JPG", "c_transmission.jpg"]
    assert "2 raw files skipped (--raw skip)" in skipped.lines[-1]
    assert separate(shoot, "-o", tmp_path / "two", "--raw", "both", "--layers", "transmission").code == 0
    assert len(names(tmp_path / "two")) == 4


@needs_rawpy
def test_a_second_run_knows_the_results_of_the_first(separate, shoot):
    assert separate(shoot).code == 0
    before = names(shoot)
    again = separate(shoot, "--skip-existing")
    assert again.code == 0, again.err
    assert names(shoot) == before


@needs_rawpy
def test_another_format_and_space(separate, tmp_path):
    pytest.importorskip("pyvips", reason="16-bit colour in other spaces needs the extra 'deep'")
    path = write_dng(tmp_path / "a.dng")
    assert separate(path, "-o", tmp_path / "out", "--format", "png", "--raw-space", "p3").code == 0
    picture = images.read(tmp_path / "out" / "a_transmission.png")
    assert picture.pixels.dtype == np.uint16
    assert picture.metadata.icc == raw.SPACES["p3"].profile()


@needs_rawpy
def test_a_raw_file_that_cannot_be_read_is_one_line_and_the_others_are_done(separate, shoot, tmp_path):
    (shoot / "d.nef").write_bytes(b"MM\0*" + bytes(900))
    done = separate(shoot, "-o", tmp_path / "out")
    assert done.code == 1
    (line,) = [line for line in done.lines if line.startswith(str(shoot / "d.nef"))]
    assert "a raw file of a camera that LibRaw cannot read" in line
    assert len(names(tmp_path / "out")) == 6


def test_without_the_extra_jpegs_stand_in_and_one_line_names_it(without_rawpy, separate, shoot, tmp_path):
    done = separate(shoot, "-o", tmp_path / "out", "--layers", "transmission")
    assert done.code == 1
    assert names(tmp_path / "out") == ["a_transmission.JPG", "c_transmission.jpg"]
    wanted = "1 raw files: a raw file of a camera needs rawpy: run pip install 'dereflect[raw]'"
    assert [line for line in done.lines if "raw files: " in line] == [wanted]
    (shoot / "b.dng").unlink()
    rest = separate(shoot, "-o", tmp_path / "out", "--layers", "transmission", "--overwrite")
    assert rest.code == 0
    assert "1 raw file skipped for the JPEG or TIFF beside it" in rest.lines[-1]
    assert "dereflect[raw]" in rest.lines[-1]


def test_without_the_extra_a_raw_file_alone_is_one_line(without_rawpy, separate, shoot):
    done = separate(shoot / "b.dng")
    assert done.code == 2
    assert f"{shoot / 'b.dng'}: a raw file of a camera needs rawpy: run pip install" in done.err
