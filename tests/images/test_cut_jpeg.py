"""A JPEG that lacks only its last bytes is a picture with a note; one that lacks more is damaged."""

import io

import numpy as np
import pytest
from PIL import Image

from dereflect import images
from dereflect.errors import InputError

KINDS = {
    "baseline": {},
    "subsampled": {"subsampling": 2},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 4},
    "grey": {},
}


def whole(kind: str) -> bytes:
    noise = np.random.default_rng(1).integers(0, 40, (240, 320, 3))
    values = (np.linspace(0, 200, 320)[None, :, None] + noise).astype(np.uint8)
    buffer = io.BytesIO()
    options = {"quality": 95, "subsampling": 0} | KINDS[kind]
    Image.fromarray(values[..., 0] if kind == "grey" else values).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("lost", [1, 2])
def test_without_its_end_it_is_all_there(kind, lost):
    content = whole(kind)
    picture = images.read(content[:-lost])
    assert np.array_equal(picture.pixels, images.read(content).pixels)
    assert picture.notes == ("its last bytes are missing; no pixel is missing",)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("lost", [5, 12, 60])
def test_without_some_bytes_more_the_note_says_which_rows_may_be_wrong(kind, lost):
    content = whole(kind)
    picture = images.read(content[:-lost])
    (note,) = picture.notes
    assert note.startswith("its last bytes are missing; ")
    rows = int(note.split("lowest ")[1].split()[0]) if "lowest" in note else 0
    assert rows <= 17
    kept = picture.height - rows
    assert np.array_equal(picture.pixels[:kept], images.read(content).pixels[:kept])


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_file_that_lacks_a_part_is_an_error(kind, share):
    content = whole(kind)
    with pytest.raises(InputError, match="damaged picture: it is cut off"):
        images.read(content[: int(len(content) * (1 - share))])


def test_what_follows_the_end_is_no_matter():
    content = whole("baseline")
    picture = images.read(content + bytes(1000))
    assert picture.notes == ()
    assert np.array_equal(picture.pixels, images.read(content).pixels)
