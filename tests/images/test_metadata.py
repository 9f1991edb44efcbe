"""What files say about their pictures survives, and orientation is applied once."""

import io

import numpy as np
import pytest
from PIL import Image

from dereflect import images
from dereflect.images.metadata import apply_orientation, mark_upright

ORIENTATION, MAKE, EXIF, GPS = 0x0112, 0x010F, 0x8769, 0x8825
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
SAVE = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}


def exif_block(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[MAKE] = "Maker"
    exif[EXIF] = {0x9003: "2020:01:02 03:04:05", 0x829A: (1.0 / 125), 0xA002: 40, 0xA003: 24}
    exif[GPS] = {1: "N", 2: (1.0, 2.0, 3.0)}
    return exif.tobytes()


def photo(height: int = 24, width: int = 40) -> np.ndarray:
    ramp = np.linspace(0, 255, height * width * 3)
    return ramp.reshape(height, width, 3).astype(np.uint8)


def stored(name: str, orientation: int = 6) -> bytes:
    buffer = io.BytesIO()
    extra: dict = {"exif": exif_block(orientation), "dpi": (300, 300)}
    if name == "PNG":
        from PIL.PngImagePlugin import PngInfo

        extra["pnginfo"] = PngInfo()
        extra["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    elif name == "TIFF":
        extra = {"tiffinfo": {ORIENTATION: orientation, MAKE: "Maker", 700: XMP}, "dpi": (300, 300)}
    else:
        extra["xmp"] = XMP
    Image.fromarray(photo()).save(buffer, format=name, **SAVE[name], **extra)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_what_pillow_would_apply(orientation):
    image = Image.fromarray(photo())
    image.getexif()[ORIENTATION] = orientation
    from PIL import ImageOps

    assert np.array_equal(apply_orientation(photo(), orientation), np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("source", list(SAVE))
@pytest.mark.parametrize("target", list(SAVE))
def test_metadata_survives_every_change_of_format_and_the_orientation_is_marked_as_applied(source, target):
    picture = images.read(stored(source))
    assert (picture.width, picture.height) == (24, 40)
    again = Image.open(io.BytesIO(images.encode(picture, target)))
    again.load()
    assert again.size == (24, 40)
    exif = again.getexif()
    assert exif.get(ORIENTATION, 1) == 1
    assert exif[MAKE] == "Maker"
    xmp = again.info["xmp"]
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    assert xmp.startswith(b"<x:xmpmeta")
    assert b'Orientation="6"' not in xmp
    if source != "TIFF":  # our TIFF was written without these
        assert exif.get_ifd(EXIF)[0x9003] == "2020:01:02 03:04:05"
        assert float(exif.get_ifd(EXIF)[0x829A]) == pytest.approx(1 / 125)
        assert exif.get_ifd(GPS)[1] == "N"
        assert (exif.get_ifd(EXIF)[0xA002], exif.get_ifd(EXIF)[0xA003]) == (24, 40)
    if "WEBP" not in (source, target):
        assert again.info["dpi"][0] == pytest.approx(300, abs=0.1)


def test_reading_our_own_output_turns_nothing_again():
    picture = images.read(stored("JPEG"))
    again = images.read(images.encode(picture, "PNG"))
    assert np.array_equal(again.pixels, picture.pixels)


def test_stripped_metadata_is_gone_but_the_profile_stays():
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = images.read(stored("JPEG"))
    picture = images.Picture(
        picture.pixels, metadata=images.Metadata(picture.metadata.exif, profile, XMP, (300, 300))
    )
    again = Image.open(io.BytesIO(images.encode(picture, "JPEG", metadata=False)))
    assert not again.getexif()
    assert "xmp" not in again.info
    assert again.info["icc_profile"] == profile


def test_the_embedded_thumbnail_of_the_old_picture_is_unlinked():
    exif = Image.Exif()
    exif[MAKE] = "Maker"
    block = bytearray(exif.tobytes().removeprefix(b"Exif\x00\x00"))
    order = "little" if block[:2] == b"II" else "big"
    first = int.from_bytes(block[4:8], order)
    count = int.from_bytes(block[first : first + 2], order)
    end = first + 2 + 12 * count
    block[end : end + 4] = (1234).to_bytes(4, order)
    assert mark_upright(bytes(block))[end : end + 4] == bytes(4)


@pytest.mark.parametrize("broken", [b"", b"II", b"MM\x00*\xff\xff\xff\xff", b"nonsense that is long enough"])
def test_broken_exif_is_dropped(broken):
    assert mark_upright(broken) == b""
