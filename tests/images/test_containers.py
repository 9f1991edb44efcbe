"""Files that are no picture, or none that is read: each is named, and told what to do with it."""

import io
import struct
import zlib

import numpy as np
import pytest
from made import chunk, grey, jpeg, photo, png, saved

from dereflect import images
from dereflect.errors import DereflectError, InputError
from dereflect.images.containers import PICTURE_SUFFIXES, RAW_SUFFIXES

HEADS = {
    "JPEG XL": b"\xff\x0a" + bytes(64),
    "JPEG XL ": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(64),
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64),
    "JPEG 2000 ": b"\xff\x4f\xff\x51" + bytes(64),
    "JPEG XR": b"II\xbc\x01" + bytes(64),
    "Photoshop": b"8BPS\0\1" + bytes(64),
    "OpenEXR": b"v/1\x01" + bytes(64),
    "Radiance": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n",
    "PDF": b"%PDF-1.7\n" + bytes(64),
    "ZIP": b"PK\x03\x04" + bytes(64),
    "web page": b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><head><title>404</title>",
    "web page ": b"<HTML><body>Not found</body></HTML>",
    "SVG": b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "film": b"\0\0\0\x18ftypisom" + bytes(64),
    "film ": b"\x1aE\xdf\xa3" + bytes(64),
    "PNM": b"P6\n4 4\n255\n" + bytes(48),
    "text": b"window, cafe, 2026",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "zeros": bytes(600),
    "raw file of a camera": b"FUJIFILMCCD-RAW 0201" + bytes(64),
    "raw file of a camera ": b"II*\0\x10\0\0\0CR\2\0" + bytes(64),
    "raw file of a camera  ": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(64),
    "raw file of a camera   ": b"IIRO\x08\0\0\0" + bytes(64),
    "raw file of a camera    ": b"IIU\0\x18\0\0\0" + bytes(64),
    "raw file of a camera     ": b"FOVb" + bytes(64),
}


@pytest.mark.parametrize("kind", list(HEADS))
def test_each_kind_is_named_in_one_line_whatever_its_name(kind, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(HEADS[kind])
    with pytest.raises(DereflectError) as caught:  # a missing extra, or what LibRaw says of it
        images.read(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert kind.strip() in line
    assert "\n" not in line


@pytest.mark.parametrize("suffix", [".NEF", ".dng", ".Cr2", ".orf"])
def test_a_tiff_by_the_name_of_a_raw_file_is_refused(suffix, tmp_path):
    path = tmp_path / f"photo{suffix}"
    path.write_bytes(saved(photo(), "TIFF"))
    with pytest.raises(DereflectError, match=r"raw file of a camera (needs rawpy|.*develop it first)"):
        images.read(path)
    assert suffix.lower() in RAW_SUFFIXES
    assert not RAW_SUFFIXES & PICTURE_SUFFIXES


def test_a_picture_by_another_name_is_what_it_is(tmp_path):
    path = tmp_path / "photo.nef"
    path.write_bytes(saved(photo(), "PNG"))
    assert images.read(path).format == "PNG"


def test_a_jpeg_of_12_bits_says_so():
    content = bytearray(jpeg(photo()))
    content[bytes(content).index(b"\xff\xc0") + 4] = 12
    with pytest.raises(InputError, match=r"JPEG of 12 bits, which is not read; convert it"):
        images.read(bytes(content))


def test_a_lossless_jpeg_says_so():
    content = jpeg(photo()).replace(b"\xff\xc0\x00\x11", b"\xff\xc3\x00\x11")
    with pytest.raises(InputError, match=r"lossless JPEG, which is not read; convert it"):
        images.read(content)


def test_a_wrong_checksum_is_named():
    content = bytearray(png(np.rint(photo() * 255).astype(np.uint32), 8))
    content[29] ^= 1  # of the header's checksum
    with pytest.raises(
        InputError, match=r"damaged PNG: the checksum of its chunk IHDR is wrong; get an undamaged"
    ):
        images.read(bytes(content))


def test_a_wrong_checksum_of_what_the_pixels_do_not_need_is_a_note():
    broken = bytearray(chunk(b"tEXt", b"Title\0window"))
    broken[-1] ^= 1
    picture = images.read(png(np.rint(photo() * 255).astype(np.uint32), 8, bytes(broken)))
    assert picture.notes == ("its chunk tEXt is damaged (wrong checksum) and is not used",)
    assert np.array_equal(picture.pixels / 255, photo())


def test_wrong_pixels_of_a_png_are_damage():
    content = bytearray(png(np.rint(photo() * 255).astype(np.uint32), 8))
    content[-30] ^= 1
    with pytest.raises(InputError, match="damaged"):
        images.read(bytes(content))


@pytest.mark.parametrize(
    "suffix", [".HIF", ".hif", ".heic", ".JPG", ".jfif", ".avif", ".tif", ".MPO", ".dib"]
)
def test_suffixes_of_cameras_count_in_any_case(suffix):
    assert suffix.lower() in PICTURE_SUFFIXES
    kind = {".hif": "HEIF", ".heic": "HEIF", ".avif": "AVIF", ".tif": "TIFF", ".dib": "BMP"}.get(
        suffix.lower(), "JPEG"
    )
    assert images.suffix_of(kind, suffix) == suffix


def test_profiles_and_texts_of_more_than_a_megabyte_are_read():
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    large = profile + bytes(3_000_000)
    large = struct.pack(">L", len(large)) + large[4:]
    text = b"Comment\0\0" + zlib.compress(b"a" * 2_000_000)
    levels = np.rint(grey() * 255).astype(np.uint32)
    content = png(levels, 8, chunk(b"iCCP", b"x\0\0" + zlib.compress(large)), chunk(b"zTXt", text))
    picture = images.read(content)
    assert picture.metadata.icc == large
    assert picture.metadata.texts == (("Comment", "a" * 2_000_000),)
    again = images.read(images.encode(picture, "PNG")).metadata
    assert (again.icc, again.texts) == (large, picture.metadata.texts)


def test_a_text_that_would_fill_the_memory_is_left_out():
    unpacked = zlib.compressobj()
    content = b"".join(unpacked.compress(bytes(1 << 20)) for _ in range(80)) + unpacked.flush()
    picture = images.read(
        png(np.rint(grey() * 255).astype(np.uint32), 8, chunk(b"zTXt", b"Comment\0\0" + content))
    )
    assert picture.notes == ("its text Comment is damaged and is not kept",)


def test_animated_avif_is_refused_and_10_bits_are_noted():
    frames = [photo(), 1 - photo()]
    from PIL import Image

    stills = [Image.fromarray(np.rint(frame * 255).astype(np.uint8)) for frame in frames]
    buffer = io.BytesIO()
    stills[0].save(buffer, "AVIF", save_all=True, append_images=stills[1:])
    with pytest.raises(InputError, match=r"is animated \(2 frames\)"):
        images.read(buffer.getvalue())
    pyvips = pytest.importorskip("pyvips")
    deep = pyvips.Image.new_from_array(np.rint(photo() * 65535).astype(np.uint16), interpretation="rgb16")
    try:
        content = deep.heifsave_buffer(compression="av1", bitdepth=10, Q=95)
    except pyvips.Error as error:
        pytest.skip(f"this libvips writes no AVIF ({error})")
    assert images.read(content).notes == ("its 10 bits a sample are read as 8",)
