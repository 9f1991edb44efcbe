"""Colours told by tags and not by a profile: used, and carried to the results as a profile made of them."""

import io
import struct

import numpy as np
import pytest
from made import chunk, exif_segment, jpeg, linear, photo, png, saved, segment, tiff
from PIL import Image, ImageCms

from dereflect import images
from dereflect.images import hdr
from dereflect.images.colour import colour_space
from dereflect.images.profiles import PRIMARIES, Tagged, grey_profile

TO_XYZ = {
    1: [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ],
    12: [[0.4865709, 0.2656677, 0.1982173], [0.2289746, 0.6917385, 0.0792869], [0.0, 0.0451134, 1.0439444]],
    9: [[0.6369580, 0.1446169, 0.1688810], [0.2627002, 0.6779981, 0.0593017], [0.0, 0.0280727, 1.0609851]],
}
"""From the standards' own pages, apart from the code under test."""
CURVES = {
    8: lambda x: x,
    4: lambda x: x ** (1 / 2.2),
    1: lambda x: np.where(x < 0.018, 4.5 * x, 1.099 * np.maximum(x, 1e-9) ** 0.45 - 0.099),
    13: lambda x: np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-9) ** (1 / 2.4) - 0.055),
}


def stored_as(primaries: int, transfer: int, values: np.ndarray) -> np.ndarray:
    """sRGB values as numbers of another space."""
    light = linear(values)
    if values.ndim == 3:
        light = light @ np.array(TO_XYZ[1]).T @ np.linalg.inv(np.array(TO_XYZ[primaries])).T
    return CURVES[transfer](np.clip(light, 0, 1))


def as_srgb(picture: images.Picture) -> np.ndarray:
    space = colour_space(picture.metadata.icc, picture.grey)
    pixels = picture.pixels if space is None else space.to_srgb(picture.pixels)
    return pixels / picture.scale


def cicp(primaries: int, transfer: int, matrix: int = 0, full: int = 1) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, matrix, full]))


def gama(value: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">L", round(value * 1e5)))


def chrm(primaries: int) -> bytes:
    return chunk(b"cHRM", struct.pack(">8L", *(round(value * 1e5) for value in PRIMARIES[primaries])))


def levels(values: np.ndarray, bits: int) -> np.ndarray:
    return np.rint(np.clip(values, 0, 1) * ((1 << bits) - 1)).astype(np.uint32)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("primaries", list(TO_XYZ))
@pytest.mark.parametrize("transfer", list(CURVES))
def test_cicp_of_png(bits, primaries, transfer):
    content = png(levels(stored_as(primaries, transfer, photo()), bits), bits, cicp(primaries, transfer))
    picture = images.read(content)
    inside = np.abs(as_srgb(picture) - photo())
    assert inside.mean() < (0.004 if bits == 8 else 0.003)
    assert (picture.metadata.icc is None) == ((primaries, transfer) == (1, 13))
    again = images.read(images.encode(picture, "PNG"))
    assert np.array_equal(again.pixels, picture.pixels)
    assert again.metadata.icc == picture.metadata.icc


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8, 1 / 2.6])
def test_gamma_of_png(bits, grey, gamma):
    shown = photo()[..., 1] if grey else photo()
    content = png(levels(linear(shown) ** gamma, bits), bits, gama(gamma))
    assert np.abs(as_srgb(images.read(content)) - shown).mean() < 0.004


def test_chromaticities_of_png():
    content = png(levels(stored_as(12, 4, photo()), 8), 8, gama(0.45455), chrm(12))
    picture = images.read(content)
    assert np.abs(as_srgb(picture) - photo()).mean() < 0.004


@pytest.mark.parametrize(
    "chunks",
    [
        (gama(0.45455),),
        (gama(0.45455), chrm(1)),
        (gama(1.0), chunk(b"sRGB", b"\0")),
        (chunk(b"gAMA", bytes(4)),),
        (gama(0.45455), chunk(b"cHRM", bytes(32))),
    ],
)
def test_what_is_srgb_or_nonsense_needs_no_profile(chunks):
    picture = images.read(png(levels(photo(), 8), 8, *chunks))
    assert picture.metadata.icc is None
    assert np.array_equal(picture.pixels / 255, photo())


def test_cicp_comes_before_a_profile_and_a_profile_before_gamma(wide_profile):
    import zlib

    iccp = chunk(b"iCCP", b"x\0\0" + zlib.compress(wide_profile))
    assert images.read(png(levels(photo(), 8), 8, gama(1.0), iccp)).metadata.icc == wide_profile
    assert images.read(png(levels(photo(), 8), 8, cicp(1, 13), iccp)).metadata.icc is None


@pytest.mark.parametrize("primaries", list(TO_XYZ))
@pytest.mark.parametrize("transfer", list(CURVES))
def test_nclx_of_heic(primaries, transfer):
    pillow_heif = pytest.importorskip("pillow_heif")
    image = Image.fromarray(levels(stored_as(primaries, transfer, photo(90, 120)), 8).astype(np.uint8))
    buffer = io.BytesIO()
    names = {"color_primaries": primaries, "transfer_characteristics": transfer, "matrix_coefficients": 6}
    pillow_heif.from_pillow(image).save(buffer, quality=97, chroma=444, full_range_flag=1, **names)
    picture = images.read(buffer.getvalue())
    assert np.abs(as_srgb(picture) - photo(90, 120)).mean() < 0.012
    again = images.read(images.encode(picture, "HEIF"))
    assert again.metadata.icc == picture.metadata.icc
    assert np.abs(as_srgb(again) - photo(90, 120)).mean() < 0.015


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("transfer", [16, 18])
def test_pq_and_hlg_become_ordinary_with_one_note(bits, transfer):
    light = 203 * linear(photo())  # reference white, 203 cd/m2: what an ordinary picture's white is
    if transfer == 16:
        power = (light / 1e4) ** 0.1593017578125
        signal = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    else:
        luma = np.maximum((light / 1000) @ np.array([0.2126, 0.7152, 0.0722]), 1e-12)[..., None]
        scene = np.clip(light / 1000 * luma ** (1 / 1.2 - 1), 0, 1)
        signal = np.where(
            scene <= 1 / 12,
            np.sqrt(3 * scene),
            0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073,
        )
    picture = images.read(png(levels(signal, bits), bits, cicp(1, transfer)))
    assert np.abs(picture.pixels / picture.scale - photo()).mean() < (0.02 if transfer == 18 else 0.004)
    (note,) = picture.notes
    assert "high dynamic range" in note
    assert "tone-mapped" in note


def test_highlights_of_pq_roll_off_and_keep_their_order():
    light = np.linspace(1, 4000, 256)[None].repeat(3, 0)
    signal = hdr._to_pq(light)
    values = hdr.tone_mapped(np.rint(signal * 65535).astype(np.uint16), Tagged(1, 16))[0].astype(int)
    assert values[-1] == 65535
    assert (np.diff(values) >= 0).all()
    assert values[0] < 5000


def test_colours_that_stand_for_nothing_known_are_refused():
    from dereflect.errors import InputError

    with pytest.raises(InputError, match=r"transfer 9.*convert it to sRGB"):
        images.read(png(levels(photo(), 8), 8, cicp(1, 9)))
    with pytest.raises(InputError, match=r"primaries 77.*convert it to sRGB"):
        images.read(png(levels(photo(), 8), 8, cicp(77, 13)))


@pytest.mark.parametrize("name", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
def test_grey_profiles_are_used_and_carried(name, gamma):
    profile = grey_profile("test", gamma)
    shown = photo()[..., 1]
    content = saved(
        linear(shown) ** (1 / gamma), name, icc_profile=profile, **({"quality": 98} if name == "JPEG" else {})
    )
    picture = images.read(content)
    assert np.abs(as_srgb(picture) - shown).mean() < 0.03
    assert images.read(images.encode(picture, name)).metadata.icc == profile


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "curve",
    [1.8, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045), np.linspace(0, 65535, 256).astype(np.uint16)],
)
def test_grey_spaces_convert_there_and_back(dtype, curve):
    from dereflect.images.colour import GreySpace

    space = GreySpace(grey_profile("test", curve))
    white = np.iinfo(dtype).max
    every = np.linspace(0, white, 500).astype(dtype)
    back = space.from_srgb(space.to_srgb(every)).astype(int)
    assert np.abs(back - every).max() <= (3 if dtype == np.uint8 else 40)


def test_grey_spaces_agree_with_littlecms():
    from dereflect.images.colour import GreySpace

    profile = grey_profile("test", 2.2)
    every = np.arange(256, dtype=np.uint8)[None]
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), "L", "RGB"
    )
    theirs = np.asarray(ImageCms.applyTransform(Image.fromarray(every), transform))[..., 0]
    assert np.abs(GreySpace(profile).to_srgb(every).astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("name", ["WEBP", "BMP"])
def test_a_format_without_grey_or_profiles_gets_srgb(name):
    content = saved(linear(photo()[..., 1]), "PNG", icc_profile=grey_profile("test", 1.0))
    again = images.read(images.encode(images.read(content), name))
    assert again.metadata.icc is None
    assert np.abs(again.pixels.reshape(36, 48, -1)[..., 0] / 255 - photo()[..., 1]).mean() < 0.03


def test_adobe_rgb_that_a_camera_tells_in_exif():
    block = Image.Exif()
    block[0x8769] = {0xA001: 65535, 0xA005: {1: "R03"}}
    to_xyz = [
        [0.5767309, 0.1855540, 0.1881852],
        [0.2973769, 0.6273491, 0.0752741],
        [0.0270343, 0.0706872, 0.9911085],
    ]
    light = linear(photo()) @ np.array(TO_XYZ[1]).T @ np.linalg.inv(np.array(to_xyz)).T
    stored = np.clip(light, 0, 1) ** (256 / 563)
    picture = images.read(jpeg(stored, exif_segment(block.tobytes()[6:]), quality=98))
    assert np.abs(as_srgb(picture) - photo()).mean() < 0.02
    assert np.abs(stored - photo()).mean() > 0.03  # it is another space
    assert images.read(images.encode(picture, "JPEG")).metadata.icc == picture.metadata.icc


def test_primaries_of_a_tiff():
    content = tiff(levels(stored_as(12, 13, photo()), 8), 8, extra=[(318, 5, [2] * 2), (319, 5, [1] * 6)])
    rationals = [struct.pack("<LL", round(value * 1e4), 10_000) for value in PRIMARIES[12]]
    content = content.replace(struct.pack("<LL", 2, 1) * 2, b"".join(rationals[:2]))
    content = content.replace(struct.pack("<LL", 1, 1) * 6, b"".join(rationals[2:]))
    picture = images.read(content)
    assert picture.metadata.icc is not None
    assert np.abs(as_srgb(picture) - photo()).mean() < 0.004


def test_a_profile_that_converts_one_way_only_is_used_once():
    picture = images.read(saved(photo(), "PNG", icc_profile=one_way_profile()))
    assert picture.metadata.icc is None
    assert picture.notes == (
        "its colour profile cannot be converted back to; the colours were converted to sRGB",
    )
    assert (
        np.abs(picture.pixels[..., 0] / 255 - photo()[..., 1]).mean() < 0.08
    )  # its red and green change places


def one_way_profile() -> bytes:
    """An RGB profile of a table (A2B0) alone, which swaps red and green of sRGB, of 9 steps."""
    steps = np.linspace(0, 1, 9)
    red, green, blue = np.meshgrid(steps, steps, steps, indexing="ij")
    rgb = np.stack([green, red, blue], axis=-1).reshape(1, -1, 3)
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    image = Image.fromarray(np.rint(rgb * 255).astype(np.uint8))
    lab = np.asarray(ImageCms.applyTransform(image, transform)).reshape(-1, 3).astype(np.int64)
    lab[:, 1:] = np.asarray(lab[:, 1:], np.uint8).astype(np.int8).astype(np.int64) + 128
    table = (lab * 257).astype(">u2").tobytes()
    ramp = np.array([0, 65535], ">u2").tobytes()
    lut = b"mft2\0\0\0\0" + bytes([3, 3, 9, 0]) + np.rint(np.eye(3) * 65536).astype(">i4").tobytes()
    lut += struct.pack(">HH", 2, 2) + ramp * 3 + table + ramp * 3
    return with_tag(b"RGB ", b"A2B0", lut)


def with_tag(space: bytes, name: bytes, tag: bytes) -> bytes:
    """An input profile of one table."""
    white = b"XYZ \0\0\0\0" + np.rint(np.array([0.9642, 1, 0.82491]) * 65536).astype(">i4").tobytes()
    text = b"one way"
    description = b"desc\0\0\0\0" + struct.pack(">L", len(text) + 1) + text + b"\0" + bytes(78)
    tags = {b"desc": description, b"wtpt": white, name: tag}
    place, rows, body = 132 + 12 * len(tags), b"", b""
    for key, content in tags.items():
        rows += key + struct.pack(">LL", place + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    head = struct.pack(">L4sL4s4s4s", place + len(body), b"\0\0\0\0", 0x02400000, b"mntr", space, b"Lab ")
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    head += np.rint(np.array([0.9642, 1, 0.82491]) * 65536).astype(">i4").tobytes()
    return head.ljust(128, b"\0") + struct.pack(">L", len(tags)) + rows + body


def test_a_grey_profile_of_a_table_alone_is_used_once():
    ramp = np.linspace(0, 65535, 17).astype(">u2")
    lut = b"mft2\0\0\0\0" + bytes([1, 3, 17, 0]) + np.rint(np.eye(3) * 65536).astype(">i4").tobytes()
    middle = np.full_like(ramp, 0x8080)
    table = np.stack([ramp, middle, middle], axis=1).astype(">u2").tobytes()
    ends = np.array([0, 65535], ">u2").tobytes()
    lut += struct.pack(">HH", 2, 2) + ends + table + ends * 3
    picture = images.read(saved(photo()[..., 1], "PNG", icc_profile=with_tag(b"GRAY", b"A2B0", lut)))
    assert picture.metadata.icc is None
    assert len(picture.notes) == 1
    lightness = photo()[..., 1]  # the table takes its levels as L*
    luminance = np.where(lightness > 0.08, ((lightness + 0.16) / 1.16) ** 3, lightness / 9.033)
    assert np.abs(picture.pixels / 255 - CURVES[13](luminance)).mean() < 0.01


@pytest.mark.parametrize("kind", ["embedded", "calibrated"])
def test_bitmaps_with_a_profile_or_end_points(kind):
    base = saved(photo(), "BMP")
    pixels = base[54:]
    head = bytearray(base[14:54] + bytes(84))
    struct.pack_into("<L", head, 0, 124)
    profile = grey_profile("not used", 1.0) if kind == "calibrated" else one_way_profile()
    if kind == "embedded":
        head[56:60] = b"DEBM"
        struct.pack_into("<LL", head, 112, 124 + len(pixels), len(profile))
    else:  # Display P3, linear
        ends = np.array(TO_XYZ[12]).T
        head[60:96] = np.rint(ends * 2**30).astype("<i4").tobytes()
        head[96:108] = struct.pack("<3L", *[65536] * 3)
    content = b"BM" + struct.pack("<LLL", 138 + len(pixels) + len(profile), 0, 138) + bytes(head) + pixels
    picture = images.read(content + (profile if kind == "embedded" else b""))
    if kind == "embedded":
        assert "cannot be converted back to" in picture.notes[0]
    else:
        assert picture.metadata.icc is not None
        assert as_srgb(picture).mean() > picture.pixels.mean() / 255 + 0.1  # linear numbers look too dark


def test_a_profile_of_which_a_part_is_missing_is_not_used():
    part = b"ICC_PROFILE\0" + bytes([1, 2]) + grey_profile("part", 1.0)[:100]
    picture = images.read(jpeg(photo(), segment(0xE2, part)))
    assert picture.metadata.icc is None
    assert picture.notes == ("its colour profile is incomplete and is not used",)
