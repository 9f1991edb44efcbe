"""Which file is taken of a photo that lies in a folder raw and as JPEG."""

import pytest

from dereflect.images.raw_pairs import choose

FOLDER = ["a.NEF", "a.jpg", "b.jpg", "c.dng", "d.cr2", "D.HEIC", "e.arw", "e.tif", "e.jpg", "f.png", "f.raf"]


def test_the_raw_file_of_a_pair_is_preferred():
    chosen = choose(FOLDER)
    assert chosen.names == ["a.NEF", "b.jpg", "c.dng", "d.cr2", "e.tif", "e.jpg", "f.png", "f.raf"]
    assert (chosen.twins, chosen.unwanted, chosen.stand_ins, chosen.unreadable) == (3, 0, 0, 0)


def test_raw_files_are_skipped_where_nobody_wants_them():
    chosen = choose(FOLDER, "skip")
    assert chosen.names == ["a.jpg", "b.jpg", "D.HEIC", "e.tif", "e.jpg", "f.png"]
    assert (chosen.twins, chosen.unwanted) == (0, 5)


def test_both_takes_all():
    assert choose(FOLDER, "both").names == FOLDER


@pytest.mark.parametrize("raw", ["prefer", "both"])
def test_jpegs_stand_in_where_raw_files_cannot_be_developed(raw):
    chosen = choose(FOLDER, raw, readable=False)
    assert chosen.names == ["a.jpg", "b.jpg", "D.HEIC", "e.tif", "e.jpg", "f.png"]
    assert chosen.stand_ins + chosen.twins == 3
    assert chosen.unreadable == 2  # c and f: a PNG is nothing that cameras write
