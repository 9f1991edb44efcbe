"""What is kept, dropped with one note, or rewritten: read from the results by ExifTool."""

import json
import shutil
import struct
import subprocess

import numpy as np
import pytest
from made import (
    chunk,
    directory,
    exif,
    exif_segment,
    header,
    iptc,
    iptc_segment,
    jpeg,
    photo,
    png,
    saved,
    segment,
    tiff,
    xmp,
    xmp_segment,
)
from PIL import Image

from dereflect import images
from dereflect.images.metadata import mark_upright, settle
from dereflect.images.xmp import without

EXIFTOOL = shutil.which("exiftool")
IPTC = iptc((25, "window"), (25, "cafe"), (80, "J. Doe"), (116, "(c) 2026 J. Doe"))
GAIN_MAP = xmp(
    'hdrgm:Version="1.0" dc:format="image/jpeg"',
    '<Container:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="Primary"/>'
    '</rdf:li><rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" Item:Length="2000"/>'
    "</rdf:li></rdf:Seq></Container:Directory>",
)
MOTION = xmp(
    'GCamera:MicroVideo="1" GCamera:MicroVideoOffset="2860" dc:format="image/jpeg"',
    "<GCamera:MotionPhoto>1</GCamera:MotionPhoto>",
)


@pytest.fixture
def facts(tmp_path):
    """What ExifTool finds in a file's content."""
    if EXIFTOOL is None:
        pytest.skip("needs exiftool (Debian: libimage-exiftool-perl)")

    def read(content: bytes) -> dict:
        path = tmp_path / "result"
        path.write_bytes(content)
        done = subprocess.run(
            [EXIFTOOL, "-j", "-n", "-G1", "-a", "-struct", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        found = json.loads(done.stdout)[0]
        assert "ExifTool:Error" not in found, found
        assert "ExifTool:Warning" not in found, found
        return found

    return read


def through(content: bytes, name: str) -> tuple[bytes, str]:
    """A result in some format, and what is said of it."""
    picture = images.read(content)
    return images.encode(picture, name), images.loss(picture, name)


def levels() -> np.ndarray:
    return np.rint(photo() * 255).astype(np.uint32)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF"])
def test_iptc_of_a_jpeg(facts, name):
    content, note = through(jpeg(photo(), iptc_segment(IPTC)), name)
    found = facts(content)
    assert note == ""
    assert found["IPTC:Keywords"] == ["window", "cafe"]
    assert found["IPTC:By-line"] == "J. Doe"


def test_iptc_of_tiff_and_png_goes_to_jpeg(facts):
    text = "\niptc\n" + f"{len(IPTC):8}\n" + IPTC.hex() + "\n"
    sources = [
        tiff(levels(), 8, extra=[(33723, 7, IPTC)]),
        tiff(levels(), 8, extra=[(33723, 1, IPTC)]),
        png(levels(), 8, chunk(b"tEXt", b"Raw profile type iptc\0" + text.encode())),
    ]
    sources[1] = sources[1].replace(
        struct.pack("<HHL", 33723, 2, len(IPTC)), struct.pack("<HHL", 33723, 1, len(IPTC))
    )
    for content in sources:
        assert facts(through(content, "JPEG")[0])["IPTC:CopyrightNotice"] == "(c) 2026 J. Doe"


def test_the_comment_of_a_jpeg(facts):
    content = jpeg(photo(), segment(0xFE, b"shot through glass"))
    assert facts(through(content, "JPEG")[0])["File:Comment"] == "shot through glass"
    assert facts(through(content, "PNG")[0])["PNG:Comment"] == "shot through glass"
    assert through(content, "TIFF")[1] == "its comment cannot be kept in TIFF"


def test_texts_and_time_of_a_png(facts):
    chunks = [
        chunk(b"tEXt", b"Title\0My window"),
        chunk(b"iTXt", b"Author\0\0\0\0\0" + "J. Döe 雨".encode()),
        chunk(b"tIME", struct.pack(">HBBBBB", 2026, 1, 2, 3, 4, 5)),
    ]
    for bits in (8, 16):
        content, note = through(png(levels() * (1 if bits == 8 else 257), bits, *chunks), "PNG")
        found = facts(content)
        assert note == ""
        assert (found["PNG:Title"], found["PNG:Author"]) == ("My window", "J. Döe 雨")
        assert found["PNG:ModifyDate"] == "2026:01:02 03:04:05"
    assert (
        through(png(levels(), 8, *chunks), "JPEG")[1] == "its texts and time of change cannot be kept in JPEG"
    )


@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_rating_and_keywords_of_a_tiff(facts, name):
    words = "window;cafe\0".encode("utf-16-le")
    extra = [(0x4746, 3, [4]), (0x9C9E, 1, list(words)), (0x010E, 2, b"A cafe\0"), (0x8298, 2, b"J. Doe\0")]
    content, note = through(tiff(levels(), 8, extra=extra), name)
    found = facts(content)
    assert note == ""
    assert found["IFD0:Rating"] == 4
    assert found["IFD0:XPKeywords"] == "window;cafe"
    assert found["IFD0:ImageDescription"] == "A cafe"
    assert found["IFD0:Copyright"] == "J. Doe"


@pytest.mark.parametrize("largest", [0x927C, 0x9286])
def test_exif_of_more_than_64_kb_loses_its_largest_entry_in_a_jpeg(facts, largest):
    block = Image.Exif()
    block[0x010F] = "Canon"
    block[0x8769] = {0x9003: "2026:01:02 03:04:05", largest: b"ASCII\0\0\0" + b"x" * 70_000}
    source = saved(photo(), "WEBP", lossless=True, exif=block.tobytes())
    content, note = through(source, "JPEG")
    found = facts(content)
    assert note == "its largest EXIF entries (over 64 kB) cannot be kept in JPEG"
    assert found["IFD0:Make"] == "Canon"
    assert found["ExifIFD:DateTimeOriginal"] == "2026:01:02 03:04:05"
    assert through(source, "PNG")[1] == ""


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("claimed", [3, 60, 60_000])
def test_exif_that_claims_more_entries_than_it_has_keeps_what_there_is(facts, order, claimed):
    entries = [(0x010F, 2, b"Canon EOS\0"), (0x0112, 3, [6])]
    block = bytearray(header(order) + directory(entries, order, 8))
    struct.pack_into(order + "H", block, 8, claimed)
    picture = images.read(jpeg(photo(), exif_segment(bytes(block))))
    assert picture.pixels.shape == (48, 36, 3)
    assert picture.notes == ("its EXIF is damaged; what could be read is kept",)
    found = facts(images.encode(picture, "JPEG"))
    assert found["IFD0:Make"] == "Canon EOS"
    assert found["IFD0:Orientation"] == 1


def test_an_entry_whose_value_lies_outside_does_not_take_the_others_along(facts):
    block = exif("<", [(0x010F, 2, b"Canon EOS\0"), (0x0110, 2, b"A model of a camera\0"), (0x0112, 3, [1])])
    place = block.index(struct.pack("<HHL", 0x0110, 2, 20)) + 4
    block = block[:place] + struct.pack("<L", 0x7FFFFFFF) + block[place + 4 :]
    picture = images.read(jpeg(photo(), exif_segment(block)))
    assert picture.notes == ("its EXIF is damaged; what could be read is kept",)
    assert facts(images.encode(picture, "JPEG"))["IFD0:Make"] == "Canon EOS"


@pytest.mark.parametrize("block", [b"II*\0\xff\xff\xff\x7f", b"nonsense", b"MM\0*\0\0\0\x08\xff\xff"])
def test_exif_that_cannot_be_followed_is_dropped_with_a_note(block):
    assert settle(block, swapped=False) == (None, ["its EXIF is damaged and is not kept"])


def test_maker_notes_stay_where_they_are():
    """Their inner addresses count from the block's start, so rebuilding the block would break them."""
    block = exif("<", [(0x010F, 2, b"Canon EOS\0"), (0x0112, 3, [6]), (0xC634, 7, bytes(range(200)))])
    kept = mark_upright(block)
    assert len(kept) == len(block)
    assert [a != b for a, b in zip(kept, block, strict=True)].count(True) == 1


@pytest.mark.parametrize(
    ("packet", "words", "gone"),
    [
        (GAIN_MAP, "its gain map is not kept", ["hdrgm", "Container"]),
        (MOTION, "its motion clip is not kept", ["MicroVideo", "MotionPhoto"]),
    ],
)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_what_speaks_of_gone_data_goes_with_one_note(facts, packet, words, gone, name):
    picture = images.read(jpeg(photo(), xmp_segment(packet)) + b"\0" * 3000)
    assert picture.notes == (words,)
    found = facts(images.encode(picture, name))
    assert not [key for key in found for word in gone if word in key]
    assert found["XMP-dc:Format"] == "image/jpeg"


def test_gone_data_is_known_by_its_name_space_and_not_by_its_prefix():
    packet = (
        GAIN_MAP.replace(b"hdrgm", b"g").replace(b"Container:", b"c:").replace(b"xmlns:Container", b"xmlns:c")
    )
    picture = images.read(jpeg(photo(), xmp_segment(packet)))
    assert picture.notes == ("its gain map is not kept",)
    assert b"GainMap" not in picture.metadata.xmp
    assert b"g:Version" not in picture.metadata.xmp


def test_xmp_in_which_nothing_changes_stays_byte_for_byte():
    packet = xmp('dc:format="image/jpeg" xmp:Rating="5" tiff:Orientation="1"')
    assert images.read(jpeg(photo(), xmp_segment(packet))).metadata.xmp == packet


def test_extended_xmp_is_noted_and_no_longer_announced():
    packet = xmp('dc:format="image/jpeg" xmpNote:HasExtendedXMP="0123456789ABCDEF0123456789ABCDEF"').replace(
        b"xmlns:dc=", b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmlns:dc='
    )
    more = segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 50)
    picture = images.read(jpeg(photo(), xmp_segment(packet), more))
    assert picture.notes == ("its extended XMP is not kept",)
    assert b"HasExtendedXMP" not in picture.metadata.xmp


@pytest.mark.parametrize("value", [0, 65_536, 4_294_967_295])
@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
def test_a_resolution_out_of_range_is_left_out(value, name):
    block = exif("<", [(0x011A, 5, [value]), (0x011B, 5, [value]), (0x0128, 3, [2])])
    picture = images.read(jpeg(photo(), exif_segment(block)))
    assert picture.metadata.dpi is None
    images.encode(picture, name)


def test_a_resolution_in_range_goes_from_format_to_format(facts):
    source = saved(photo(), "JPEG", dpi=(300, 150))
    for name in ("PNG", "TIFF"):
        picture = images.read(images.encode(images.read(source), name))
        assert picture.metadata.dpi == pytest.approx((300, 150), abs=0.05)


def test_without_metadata_only_the_profile_is_written(facts, wide_profile):
    content = saved(photo(), "PNG", icc_profile=wide_profile)
    picture = images.read(content[:33] + chunk(b"tEXt", b"Title\0x") + content[33:])
    found = facts(images.encode(picture, "PNG", metadata=False))
    assert "PNG:Title" not in found
    assert images.read(images.encode(picture, "PNG", metadata=False)).metadata.icc == wide_profile


def test_what_only_the_original_can_vouch_for_is_not_kept_and_noted():
    credentials = segment(0xEB, b"JP\0\1\0\0\0\1" + b"jumb....jumdc2pa" + bytes(20))
    gain_map = segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0" + bytes(4))
    assert images.read(jpeg(photo(), credentials)).notes == ("its content credentials are not kept",)
    assert images.read(jpeg(photo(), gain_map)).notes == ("its gain map is not kept",)
    assert images.read(png(levels(), 8, chunk(b"caBX", b"jumb"))).notes == (
        "its content credentials are not kept",
    )
    assert images.read(tiff(levels(), 8, extra=[(34735, 3, [1, 1, 0, 0])])).notes == (
        "its georeference is not kept",
    )


def test_xmp_that_is_nested_without_sense_is_kept_and_stops_no_photo():
    deep = b"<a>" * 3000 + b'<b tiff:Orientation="6"/>' + b"</a>" * 3000
    content = saved(photo(), "JPEG", xmp=deep)
    height, width = photo().shape[:2]
    assert images.upright_size(content) == (height, width) != (width, height)
    picture = images.read(content)
    assert (picture.width, picture.height) == (height, width)
    assert picture.metadata.xmp == deep.replace(b'"6"', b'"1"')
    assert without(deep, {"x"}) == b""
