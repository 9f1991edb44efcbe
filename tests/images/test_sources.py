"""Pictures in every shape that a Python program may hold them."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from dereflect import images
from dereflect.errors import InputError

VALUES = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)


def content() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(VALUES).save(buffer, "PNG")
    return buffer.getvalue()


class Stream(io.RawIOBase):
    """A file that cannot be searched."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self.data.readinto(buffer)


def test_open_files_are_read_and_left_open(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(content())
    with path.open("rb") as file:
        for _ in range(2):  # wherever they stand
            assert np.array_equal(images.read_any(file).pixels, VALUES)
            assert not file.closed
        assert file.raw is not None  # not detached


@pytest.mark.parametrize("make", [io.BytesIO, Stream, lambda data: io.BufferedReader(Stream(data))])
def test_files_in_memory_and_streams(make):
    file = make(content())
    assert np.array_equal(images.read_any(file).pixels, VALUES)
    assert not file.closed


def test_a_file_open_for_text_says_what_to_do(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("window")
    with path.open() as file, pytest.raises(InputError, match=r"open the file in binary mode \('rb'\)"):
        images.read_any(file)
    with pytest.raises(InputError, match="binary mode"):
        images.read_any(io.StringIO("window"))


def test_a_closed_file_is_an_input_error():
    file = io.BytesIO(content())
    file.close()
    with pytest.raises(InputError, match="cannot be read"):
        images.read_any(file)


class HasDetach:
    def detach(self) -> None:
        raise AssertionError("nobody asked for this")


@pytest.mark.parametrize("thing", [HasDetach(), 7, None, ["a.jpg"], {"image": "a.jpg"}, object()])
def test_other_types_get_a_list_of_what_is_taken(thing):
    with pytest.raises(InputError) as caught:
        images.read_any(thing)
    for word in (
        type(thing).__name__,
        "path",
        "bytes",
        "binary file",
        "Pillow image",
        "numpy array",
        "torch tensor",
    ):
        assert word in str(caught.value)


def test_tensors_and_arrays_of_either_byte_order():
    deep = VALUES.astype(np.uint16) * 257
    assert np.array_equal(images.read_any(torch.from_numpy(VALUES).permute(2, 0, 1)).pixels, VALUES)
    assert np.array_equal(images.read_any(deep.astype(">u2")).pixels, deep)


def test_pillow_images_of_32_bits_are_taken_as_16_or_refused():
    assert images.read_any(Image.fromarray(np.full((4, 4), 40_000, np.int32))).pixels.max() == 40_000
    for bad in (70_000, -1):
        with pytest.raises(InputError, match="32-bit integers beyond 0 to 65535"):
            images.read_any(Image.fromarray(np.full((4, 4), bad, np.int32)))
    with pytest.raises(InputError, match="colour mode F"):
        images.read_any(Image.fromarray(np.zeros((4, 4), np.float32)))
