"""Raw files of cameras: developed once, turned upright, with what they say of the shot."""

import io
import json
import re
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dereflect import images
from dereflect.errors import InputError, MissingExtra
from dereflect.images.colour import ColourSpace
from dereflect.images.raw import SPACES
from dereflect.separator import Separator
from dng import directory, dng, photo, write_dng
from simple_methods import Share

rawpy = pytest.importorskip("rawpy", reason="raw files need the extra 'raw' (rawpy)")
KINDS = pytest.mark.parametrize("mosaic", [True, False], ids=["mosaic", "linear"])
CAMERA_RAW = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" '
    b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" crs:Exposure2012="+2.00" xmp:Rating="4">'
    b"<crs:ToneCurve><rdf:Seq><rdf:li>0, 0</rdf:li></rdf:Seq></crs:ToneCurve></rdf:Description></rdf:RDF>"
    b"</x:xmpmeta>"
)


def error(picture: images.Picture, expected: np.ndarray | None = None) -> float:
    shown = photo() if expected is None else expected
    return float(np.abs(picture.pixels / 65535 - shown).mean())


@KINDS
def test_the_test_s_own_files_are_valid(mosaic):
    with rawpy.imread(io.BytesIO(dng(mosaic=mosaic))) as raw:
        assert (raw.sizes.width, raw.sizes.height) == (128, 96)
        assert raw.raw_type == (rawpy.RawType.Flat if mosaic else rawpy.RawType.Stack)
        assert raw.camera_whitebalance[:3] == pytest.approx([2.0, 1.0, 1 / 0.7], rel=1e-3)


@KINDS
def test_a_raw_file_is_developed_to_16_bit_srgb_by_the_camera_s_white_balance(mosaic):
    picture = images.read(dng(mosaic=mosaic))
    assert picture.pixels.dtype == np.uint16
    assert picture.format == "RAW"
    assert picture.notes == ()
    assert error(picture) < (0.005 if mosaic else 0.0005)
    assert len(np.unique(picture.pixels)) > 1000


def test_the_exposure_stays_as_it_was_shot():
    dark = images.read(dng(photo() * 0.4, mosaic=False))
    assert error(dark, photo() * 0.4) < 0.0005


@pytest.mark.parametrize("space", [name for name in SPACES if name != "srgb"])
def test_another_space_shows_the_same_colours(space):
    pytest.importorskip("pyvips", reason="16-bit colour in other spaces needs the extra 'deep'")
    picture = images.read(dng(mosaic=False), raw_space=space)
    assert picture.metadata.icc is not None
    assert error(picture) > 0.01  # its numbers are others
    shown = ColourSpace(picture.metadata.icc).to_srgb(picture.pixels)
    assert np.abs(shown / 65535 - photo()).mean() < 0.005


def test_an_unknown_space_is_named():
    with pytest.raises(InputError, match=r"raw_space cmyk: unknown; one of srgb, p3, adobe"):
        images.read(dng(), raw_space="cmyk")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_photo_comes_upright(orientation):
    upright = photo(96, 96 + 32)
    turns = {  # how a picture that EXIF calls so lies in the file
        **{1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud},
        **{5: lambda x: x.swapaxes(0, 1), 6: np.rot90, 7: lambda x: np.rot90(x, 2).swapaxes(0, 1)},
        8: lambda x: np.rot90(x, -1),
    }
    stored = np.ascontiguousarray(turns[orientation](upright))
    content = dng(stored, mosaic=False, orientation=orientation)
    picture = images.read(content)
    assert error(picture, upright) < 0.0005
    assert images.upright_size(content) == (128, 96)
    assert images.probe(content) == ("RAW", stored.shape[1], stored.shape[0])
    block = Image.Exif()
    block.load(picture.metadata.exif)
    assert block[0x0112] == 1
    assert (block.get_ifd(0x8769)[0xA002], block.get_ifd(0x8769)[0xA003]) == (128, 96)


def test_exif_tells_of_the_shot_and_of_the_developed_picture():
    block = Image.Exif()
    block.load(images.read(dng()).metadata.exif)
    inner, gps = block.get_ifd(0x8769), block.get_ifd(0x8825)
    assert (block[0x010F], block[0x0110], block[0x013B]) == ("Own", "Own Camera", "J. Doe")
    assert float(inner[33434]) == pytest.approx(1 / 250)
    assert (float(inner[33437]), inner[34855], float(inner[37386])) == (2.8, 200, 35.0)
    assert inner[36867] == "2026:11:26 10:20:30"
    assert inner[0xA001] == 1  # sRGB
    assert 37500 not in inner  # maker notes, whose addresses would point nowhere
    assert [float(part) for part in gps[2]] == [52.0, 31.0, 12.0]


def test_exif_does_not_call_another_space_srgb():
    block = Image.Exif()
    block.load(images.read(dng(), raw_space="adobe").metadata.exif)
    assert block.get_ifd(0x8769)[0xA001] == 65535


def test_xmp_is_kept_without_the_settings_of_a_raw_developer():
    packet = images.read(dng(xmp=CAMERA_RAW)).metadata.xmp
    assert b'xmp:Rating="4"' in packet
    assert b"Exposure2012" not in packet
    assert b"ToneCurve" not in packet


def test_a_file_without_a_white_balance_says_so():
    assert images.read(dng(neutral=None)).notes == (
        "states no white balance of the camera; that of daylight was taken",
    )


def test_a_sensor_s_data_in_a_tiff_is_known_by_content(tmp_path):
    path = write_dng(tmp_path / "photo.tif")
    assert images.read(path).format == "RAW"
    assert error(images.read(path.read_bytes())) < 0.005


@pytest.mark.parametrize("cut", [1, 5000, 20_000])
def test_a_cut_file_is_one_line(cut, tmp_path, capfd):
    path = write_dng(tmp_path / "photo.dng", cut=cut)
    with pytest.raises(InputError, match=r"photo\.dng: damaged picture: it is cut off"):
        images.read(path)
    assert capfd.readouterr() == ("", "")  # LibRaw would print a line of its own


def test_damaged_pixels_are_one_line():
    # Not called a DNG, it is left to LibRaw, which does not mind before it comes to the pixels.
    wrong = dng(cut=9000).replace(struct.pack("<HHL", 50706, 1, 4), struct.pack("<HHL", 50705, 1, 4))
    assert images.probe(wrong) == ("RAW", 128, 96)
    with pytest.raises(InputError, match=r"^picture: damaged picture \([A-Z][a-z /]+\)$"):
        images.read(wrong)


def test_rows_that_are_missing_at_the_end_are_a_note():
    values = photo()
    values[-20:] = 0
    assert images.read(dng(values)).notes == ("its last rows are empty; the file may be cut off",)


@pytest.mark.parametrize("name", ["photo.nef", "photo.CR2", "photo.crw", "photo.rw2"])
def test_what_libraw_cannot_read_is_one_line(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"MM\0*\0\0\0\x08" + bytes(600))
    with pytest.raises(InputError) as caught:
        images.read(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: is a raw file of a camera that LibRaw cannot read (")
    assert "develop it first" in line
    assert "\n" not in line


def test_without_the_extra_one_line_says_so(tmp_path, monkeypatch):
    path = write_dng(tmp_path / "photo.dng")
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(MissingExtra) as caught:
        images.read(path)
    assert str(caught.value) == (
        f"{path}: a raw file of a camera needs rawpy: run pip install 'dereflect[raw]'"
    )


def test_pixels_are_counted_before_they_are_developed():
    with pytest.raises(InputError, match="over the limit"):
        images.read(dng(), max_pixels=5000)


def test_layers_are_16_bit_tiffs_with_profile_and_exif(tmp_path):
    path = write_dng(tmp_path / "window.DNG", orientation=6)
    result = Separator(Share(), dtype="float32")(path)
    paths = result.save(tmp_path / "out")
    assert [each.name for each in paths.values()] == ["window_transmission.tiff", "window_reflection.tiff"]
    again = images.read(paths["transmission"])
    assert again.pixels.shape == (128, 96, 3)
    assert again.pixels.dtype == np.uint16
    assert again.metadata.icc == SPACES["srgb"].profile()
    assert b"Own Camera" in again.metadata.exif


def test_a_separator_develops_to_its_space(tmp_path):
    pytest.importorskip("pyvips", reason="16-bit colour in other spaces needs the extra 'deep'")
    result = Separator(Share(1.0), dtype="float32", raw_space="prophoto")(write_dng(tmp_path / "a.dng"))
    assert result.pictures["transmission"].metadata.icc == SPACES["prophoto"].profile()
    assert np.array_equal(result.to_numpy()[0], result.pictures["blended"].pixels)
    with pytest.raises(InputError, match="raw_space"):
        Separator(Share(), raw_space="none")


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
@pytest.mark.parametrize("format", ["keep", "jpg", "png"])
def test_exiftool_finds_no_fault_in_the_results(format, tmp_path):
    result = Separator(Share(), dtype="float32")(write_dng(tmp_path / "a.dng", orientation=8, xmp=CAMERA_RAW))
    paths = result.save(tmp_path, layers="transmission", format=format)

    def told(*words: str) -> str:
        command = ["exiftool", *words, str(paths["transmission"])]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout

    # What the standards want of every file, and what a TIFF of ours has in any case, is no fault of EXIF.
    formal = r"Missing required|is not allowed in TIFF|0x0103 Compression|xpacket wrapper"
    warnings = told("-validate", "-warning", "-a", "-s3").splitlines()[1:]
    assert not [line for line in warnings if not re.search(formal, line)]
    (found,) = json.loads(told("-j", "-G1"))
    assert found["IFD0:Model"] == "Own Camera"
    assert found["IFD0:Orientation"] == "Horizontal (normal)"
    assert found["ExifIFD:ExposureTime"] == "1/250"
    assert found["ExifIFD:ColorSpace"] == "sRGB"
    assert (found["ExifIFD:ExifImageWidth"], found["ExifIFD:ExifImageHeight"]) == (96, 128)
    assert found["XMP-xmp:Rating"] == 4


# What other makers do with EXIF, which no file at hand shows: containers of their own around it.


def exif_tiff(order: bytes = b"II*\0") -> bytes:
    """A TIFF of a camera's name, as the containers hold it, and of its EXIF."""
    inner = {33437: (5, [4.0]), 36867: (2, b"2026:01:02 03:04:05\0")}
    first = {271: (2, b"Maker\0"), 272: (2, b"Body 7\0"), 34665: (4, [0])}
    place = 8 + len(directory(first, 8))
    first[34665] = (4, [place])
    return order + struct.pack("<L", 8) + directory(first, 8) + directory(inner, place)


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L", 8 + len(content)) + kind + content


def canon() -> bytes:
    name = b"II*\0" + struct.pack("<L", 8) + directory({271: (2, b"Maker\0"), 272: (2, b"Body 7\0")}, 8)
    shot = {33437: (5, [4.0]), 36867: (2, b"2026:01:02 03:04:05\0")}
    exif = b"II*\0" + struct.pack("<L", 8) + directory(shot, 8)
    parts = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48") + box(b"CMT1", name) + box(b"CMT2", exif)
    return box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"moov", box(b"uuid", parts))


def fujifilm() -> bytes:
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "JPEG", exif=b"Exif\0\0" + exif_tiff())
    head = b"FUJIFILMCCD-RAW 0201".ljust(84, b"\0")
    return head + struct.pack(">LL", 160, len(image.getvalue())) + bytes(68) + image.getvalue()


def minolta() -> bytes:
    blocks = b"\0PRD" + struct.pack(">L", 24) + bytes(24)
    blocks += b"\0TTW" + struct.pack(">L", len(exif_tiff())) + exif_tiff()
    return b"\0MRM" + struct.pack(">L", len(blocks)) + blocks


CONTAINERS = {
    "Canon CR3": canon,
    "Fujifilm RAF": fujifilm,
    "Minolta MRW": minolta,
    "Olympus ORF": lambda: exif_tiff(b"IIRO"),
    "Panasonic RW2": lambda: exif_tiff(b"IIU\0"),
    "Nikon NEF": exif_tiff,
}


@pytest.mark.parametrize("maker", list(CONTAINERS))
def test_exif_is_found_in_the_containers_of_makers(maker):
    from dereflect.images.raw import RawFile
    from dereflect.images.raw_metadata import of_raw

    # LibRaw, which would unpack the pixels to answer, is not asked.
    known = of_raw(io.BytesIO(CONTAINERS[maker]()), RawFile(object(), 40, 30, 1))
    block = Image.Exif()
    block.load(known.exif)
    assert (block[271], block[272]) == ("Maker", "Body 7")
    assert float(block.get_ifd(0x8769)[33437]) == 4.0
    assert block.get_ifd(0x8769)[36867] == "2026:01:02 03:04:05"


def test_what_only_libraw_knows_of_the_shot_goes_to_exif():
    from dereflect.images.raw import RawFile
    from dereflect.images.raw_metadata import of_raw

    class Handle:
        other = rawpy.Other(400.0, 0.004, 5.6, 50.0, None, 0, "J. Doe")
        lens = rawpy.Lens("50 mm", "Maker", 50.0, 50.0)

    block = Image.Exif()
    block.load(of_raw(io.BytesIO(b"FOVb" + bytes(200)), RawFile(Handle(), 40, 30, 1)).exif)
    inner = block.get_ifd(0x8769)
    assert (inner[34855], float(inner[33437]), float(inner[37386])) == (400, 5.6, 50.0)
    assert float(inner[33434]) == pytest.approx(1 / 250)
    assert inner[0xA434] == "50 mm"
    assert block[0x013B] == "J. Doe"
