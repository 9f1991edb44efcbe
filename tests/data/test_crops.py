from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dereflect.data.crops import decode, list_pictures
from dereflect.data.pairs import read_rgb
from dereflect.errors import InputError
from dereflect.images import upright_size


def write_turned(path: Path) -> None:
    """A JPEG whose upper half is white as a person sees it; it is stored lying on its side."""
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[:, :30] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(stored).save(path, exif=exif, quality=95)


def test_training_and_evaluation_see_a_turned_photo_alike(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    write_turned(path)
    seen = np.asarray(decode(path))
    assert seen.shape == (60, 40, 3)
    assert seen[:29].min() > 240
    assert seen[31:].max() < 15
    assert np.array_equal(seen, read_rgb(path))
    assert upright_size(path) == (40, 60)


def test_a_photo_is_reduced_to_its_shorter_side_upright(tmp_path: Path) -> None:
    write_turned(tmp_path / "turned.jpg")
    seen = np.asarray(decode(tmp_path / "turned.jpg", short_side=10))
    assert seen.shape == (15, 10, 3)
    assert seen[:6].min() > 240 > 15 > seen[9:].max()
    assert decode(tmp_path / "turned.jpg", short_side=500).size == (40, 60)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "I;16"])
def test_every_kind_of_picture_becomes_8_bit_rgb(tmp_path: Path, mode: str) -> None:
    levels = np.arange(0, 240, 20, dtype=np.uint8).reshape(3, 4)
    if mode == "I;16":
        image = Image.fromarray(levels.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(levels).convert(mode)
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_rgb(tmp_path / "a.png"), np.repeat(levels[..., None], 3, axis=2))


def test_what_is_listed_is_what_separate_takes(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    for name in ("b/a.HEIC", "c.jfif", "d.gif", "e.txt", "._c.jfif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in list_pictures(tmp_path)] == ["a.HEIC", "c.jfif", "d.gif"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        list_pictures(tmp_path / "empty")
