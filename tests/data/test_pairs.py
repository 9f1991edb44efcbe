import numpy as np
import pytest
from PIL import Image

from dereflect.data.pairs import natural_order, read_pairs, read_rgb
from dereflect.errors import InputError


def write(path, size=(8, 6), colour=(10, 20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    for name in ("10", "2", "b"):
        write(tmp_path / "blended" / f"{name}.jpg")
        write(tmp_path / "transmission_layer" / f"{name}.png")
    return tmp_path


def test_pairs_match_by_stem_in_natural_order(folder):
    (folder / "blended" / "notes.txt").write_text("not a picture")
    pairs = read_pairs(folder)
    assert [pair.name for pair in pairs] == ["2", "10", "b"]
    assert pairs[0].transmission.name == "2.png"
    assert pairs[0].reflection is None
    for name in ("10", "2", "b"):
        write(folder / "reflection_layer" / f"{name}.bmp")
    assert read_pairs(folder)[1].reflection.name == "10.bmp"


def test_digits_that_are_no_numbers_sort_as_text():
    assert natural_order(["10", "1²", "2", "1"]) == ["1", "1²", "2", "10"]


def test_a_missing_partner_is_named(folder):
    (folder / "transmission_layer" / "2.png").unlink()
    with pytest.raises(InputError, match=r"blended.2\.jpg.*transmission_layer"):
        read_pairs(folder)
    write(folder / "transmission_layer" / "2.png")
    write(folder / "transmission_layer" / "7.png")
    with pytest.raises(InputError, match=r"7\.png: has no partner"):
        read_pairs(folder)


def test_a_reflection_folder_must_be_complete(folder):
    write(folder / "reflection_layer" / "2.png")
    with pytest.raises(InputError, match=r"10\.jpg.*reflection_layer \(nor have 1 others\)"):
        read_pairs(folder)


def test_different_sizes_are_named(folder):
    write(folder / "transmission_layer" / "2.png", size=(8, 7))
    with pytest.raises(InputError, match=r"2\.png: is 8x7, but .*2\.jpg is 8x6"):
        read_pairs(folder)
    assert len(read_pairs(folder, check_sizes=False)) == 3


def test_empty_missing_and_double(folder, tmp_path):
    write(folder / "blended" / "2.png")
    with pytest.raises(InputError, match="same name as"):
        read_pairs(folder)
    with pytest.raises(InputError, match="no such folder"):
        read_pairs(tmp_path / "nowhere")
    bare = tmp_path / "bare"
    (bare / "blended").mkdir(parents=True)
    with pytest.raises(InputError, match="no folder 'transmission_layer'"):
        read_pairs(bare)
    (bare / "transmission_layer").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        read_pairs(bare)


def test_a_text_file_named_jpg_is_named(folder):
    (folder / "blended" / "2.jpg").write_text("hello")
    with pytest.raises(InputError, match=r"2\.jpg: is not a picture that can be read"):
        read_pairs(folder)


def test_a_turned_photo_is_read_upright(tmp_path):
    image = Image.new("RGB", (8, 6))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_rgb(tmp_path / "turned.jpg").shape == (8, 6, 3)
    assert read_rgb(tmp_path / "turned.jpg").dtype == np.uint8


def test_natural_order():
    assert natural_order(["a10", "a9", "10", "9", "b"]) == ["9", "10", "a9", "a10", "b"]
