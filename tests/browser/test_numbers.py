"""The numbers of the page that needs no server, computed by Node and compared with the package's own."""

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from dereflect.images import metadata, resizing
from dereflect.images.colour import colour_space
from dereflect.images.picture import Picture
from dereflect.inference.finish import finish
from dereflect.inference.plan import Plan, make_plan
from dereflect.inference.prepare import Layers, Prepared
from dereflect.inference.removal import Removal
from dereflect.inference.run import BatchRunner, _mirror, _padded
from dereflect.inference.stripes import stripes
from dereflect.methods.contract import Method, Traits

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="no Node was found, which runs the page's functions")
SCRIPT = Path(__file__).with_name("numbers.mjs")
CAFE = Path(__file__).parents[2] / "examples" / "cafe.jpg"


def coded(values: np.ndarray) -> dict[str, str]:
    return {"type": str(values.dtype), "data": text(np.ascontiguousarray(values).tobytes())}


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def plain(content: str, dtype: str = "uint8") -> np.ndarray:
    return np.frombuffer(base64.b64decode(content), dtype)


def node(task: str, **wish: Any) -> dict[str, Any]:
    ran = subprocess.run(
        [NODE, str(SCRIPT)], input=json.dumps({"task": task, **wish}), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def crop(height: int, width: int) -> np.ndarray:
    return np.asarray(Image.open(CAFE))[300 : 300 + height, 200 : 200 + width].copy()


def opaque(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])


def adobe_rgb() -> bytes:
    """A profile of a matrix and a curve, other than sRGB: the numbers of Adobe RGB (1998)."""

    def fixed(value: float) -> bytes:
        return round(value * 65536).to_bytes(4, "big", signed=True)

    columns = {
        b"r": (0.60974, 0.31111, 0.01947),
        b"g": (0.20528, 0.62567, 0.06087),
        b"b": (0.14919, 0.06322, 0.74457),
    }
    tags = {key + b"XYZ": b"XYZ \0\0\0\0" + b"".join(map(fixed, value)) for key, value in columns.items()}
    tags |= {key + b"TRC": b"curv\0\0\0\0\0\0\0\1\x02\x33\0\0" for key in columns}
    tags |= {b"wtpt": b"XYZ \0\0\0\0" + b"".join(map(fixed, (0.9642, 1, 0.8249)))}
    tags |= {b"desc": b"desc\0\0\0\0\0\0\0\2x\0" + bytes(78), b"cprt": b"text\0\0\0\0none\0\0\0\0"}
    place, table, body = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        table += name + (place + len(body)).to_bytes(4, "big") + len(content).to_bytes(4, "big")
        body += content + bytes(-len(content) % 4)
    header = bytes(4) + b"\0\0\0\0\x02\x10\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    header += b"".join(map(fixed, (0.9642, 1, 0.8249))) + bytes(48)
    size = len(header) + 4 + len(table) + len(body)
    return size.to_bytes(4, "big") + header[4:] + len(tags).to_bytes(4, "big") + table + body


@pytest.mark.parametrize(("rows", "columns"), [(61, 97), (150, 200), (70, 101), (211, 303)])
def test_reduced_copies_are_those_of_pillow(rows, columns):
    pixels = crop(211, 303)
    found = node("reduced", pixels=coded(opaque(pixels)), height=211, width=303, rows=rows, columns=columns)
    expected = resizing.reduced(Picture(pixels), rows, columns)
    difference = np.abs(plain(found["pixels"]).reshape(rows, columns, 3).astype(int) - expected)
    assert difference.max() <= 1
    assert (
        difference > 0
    ).mean() < 0.002  # (Pillow may take the other pass first where the sides differ much)


@pytest.mark.parametrize(
    ("height", "width", "budget"), [(3000, 4000, 2**30), (300, 200, 2**30), (900, 50, 2**22)]
)
def test_the_plan_and_the_padding_are_the_same(height, width, budget):
    found = node("plan", height=height, width=width, budget=budget)
    expected = make_plan(height, width, Traits(working_size=512, bytes_per_pixel=720), budget)
    assert Plan(found["kind"], found["height"], found["width"]) == expected
    assert found["sides"] == [_padded(side, 64, 32) for side in (expected.height, expected.width)]
    assert found["mirrored"] == _mirror(expected.height, found["sides"][0]).tolist()


def separated(pixels: np.ndarray, icc: bytes | None) -> Prepared:
    """A photo of which a copy of a third of its size was separated; both layers have its structure."""
    grey = pixels.ndim == 2
    picture = Picture(pixels, metadata=metadata_with(icc))
    space = colour_space(icc, grey)
    rows, columns = pixels.shape[0] // 3, pixels.shape[1] // 3
    plain_copy = Prepared(picture, Plan("fitted", rows, columns), space, None)
    small = resizing.reduced(picture, rows, columns)
    seen = Prepared(Picture(small), plain_copy.plan, space, None).rows(0, rows)
    share = torch.linspace(0.4, 1.1, columns)
    layers = Layers((seen * share).clamp(0, 1), (seen * (1 - share)).clamp(0, 1))
    return Prepared(picture, plain_copy.plan, space, seen, layers=layers)


def metadata_with(icc: bytes | None):
    from dereflect.images.picture import Metadata

    return Metadata(icc=icc)


@pytest.mark.parametrize("layer", ["transmission", "reflection"])
@pytest.mark.parametrize(
    ("kind", "strength", "masked"),
    [
        ("colour", 1.0, False),
        ("colour", 0.4, True),
        ("colour", -0.7, True),
        ("grey", 0.8, False),
        ("adobe", 1.0, False),
    ],
)
def test_layers_at_full_size_are_those_of_the_package(kind, strength, masked, layer):
    pixels = crop(123, 200)
    pixels = np.asarray(Image.fromarray(pixels).convert("L")) if kind == "grey" else pixels
    icc = adobe_rgb() if kind == "adobe" else None
    prepared = separated(pixels, icc)
    mask = np.linspace(0, 1, 200, dtype=np.float32) * np.ones((123, 1), np.float32) if masked else None
    runner = BatchRunner(Method.__new__(Method), torch.device("cpu"))
    expected = getattr(finish(prepared, stripes(runner, prepared), Removal(strength, mask)), layer)
    found = node(
        "finished",
        pixels=coded(opaque(pixels)),
        height=123,
        width=200,
        small=coded(prepared.seen.numpy()),
        transmission=coded(prepared.layers.transmission.numpy()),
        reflection=coded(prepared.layers.reflection.numpy()),
        rows=prepared.plan.height,
        columns=prepared.plan.width,
        grey=kind == "grey",
        icc=text(icc) if icc else None,
        layer=layer,
        strength=strength,
        mask={"height": 123, "width": 200, "values": coded(mask)} if masked else None,
    )
    got = plain(found["pixels"]).reshape(123, 200, 4)
    assert (got[..., 3] == 255).all()
    difference = np.abs(got[..., :3].astype(int) - (expected[..., None] if kind == "grey" else expected))
    assert difference.max() <= (3 if kind == "adobe" else 1)
    assert difference.mean() < (0.35 if kind == "adobe" else 0.02)
    assert found["changed"]
    assert np.abs(expected.astype(int) - pixels).mean() > 3  # there was something to compare


def test_a_layer_that_changes_nothing_gives_the_photo_and_says_so():
    pixels = crop(60, 90)
    prepared = separated(pixels, adobe_rgb())
    seen = coded(prepared.seen.numpy())
    found = node(
        "finished",
        **{
            "pixels": coded(opaque(pixels)),
            "height": 60,
            "width": 90,
            "rows": 20,
            "columns": 30,
            "grey": False,
        },
        **{"small": seen, "transmission": seen, "reflection": coded(np.zeros((3, 20, 30), np.float32))},
        **{"icc": text(adobe_rgb()), "layer": "transmission", "strength": 1, "mask": None},
    )
    assert np.array_equal(plain(found["pixels"]).reshape(60, 90, 4)[..., :3], pixels)
    assert not found["changed"]


class Slanted(Method):
    """What numbers.mjs has in the place of a network."""

    traits = Traits(size_multiple=1, min_size=1)

    def forward(self, blended, *, generator=None, progress=None):
        share = torch.arange(blended.shape[-1]) / blended.shape[-1]
        return (blended * (0.5 + 0.4 * share)).clamp(max=1), (blended * (0.3 + 0.2 * share)).clamp(max=1)


def test_the_thorough_look_is_that_of_the_package():
    small = torch.from_numpy(crop(45, 70)).permute(2, 0, 1).float() / 255
    expected = BatchRunner(Slanted(), torch.device("cpu"))(small[None], 0, "best")
    found = node("averaged", small=coded(small.numpy()), height=45, width=70)
    for layer in ("transmission", "reflection"):
        got = plain(found[layer], "float32").reshape(3, 45, 70)
        assert np.abs(got - getattr(expected, layer)[0].numpy()).max() < 1e-5


@pytest.mark.parametrize("back", [False, True])
def test_colours_of_a_profile_are_those_of_littlecms(back):
    pixels = crop(64, 64)
    space = colour_space(adobe_rgb())
    expected = space.from_srgb(pixels) if back else space.to_srgb(pixels)
    found = node("colours", icc=text(adobe_rgb()), pixels=coded(opaque(pixels)), grey=False, back=back)
    difference = np.abs(plain(found["pixels"]).reshape(64, 64, 4)[..., :3].astype(int) - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.3
    assert not found["unknown"]
    assert np.abs(expected.astype(int) - pixels).mean() > 2


def test_srgb_is_known_as_such_and_tables_as_unknown():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = coded(opaque(crop(4, 4)))
    assert node("colours", icc=text(srgb), pixels=pixels, grey=False, back=False)["same"]
    of_tables = adobe_rgb().replace(b"desc", b"A2B0", 1)
    found = node("colours", icc=text(of_tables), pixels=pixels, grey=False, back=False)
    assert (found["same"], found["unknown"]) == (True, True)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_as_near_to_the_picture_as_pillows(channels):
    pixels = crop(123, 203)
    pixels = pixels if channels == 3 else np.asarray(Image.fromarray(pixels).convert("L"))
    exif = example_exif()
    known = {"exif": text(exif), "icc": text(adobe_rgb()), "xmp": None, "dpi": [300, 300]}
    wish = {"height": 123, "width": 203, "channels": channels, "known": known}
    found = node("written", format="JpegWriter", pixels=coded(opaque(pixels)), **wish)
    image = Image.open(io.BytesIO(base64.b64decode(found["file"])))
    assert (image.mode, image.size, image.info["dpi"]) == (
        {1: "L", 3: "RGB"}[channels],
        (203, 123),
        (300, 300),
    )
    assert image.info["icc_profile"] == adobe_rgb()
    assert image.info["exif"] == b"Exif\0\0" + exif
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0)
    theirs = np.asarray(Image.open(buffer)).astype(int)
    ours = np.asarray(image).astype(int)
    assert np.abs(ours - pixels).mean() < np.abs(theirs - pixels).mean() * 1.02 + 0.01
    assert len(base64.b64decode(found["file"])) < 1.05 * len(buffer.getvalue()) + 5000


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_keeps_every_pixel_and_the_metadata(channels):
    pixels = opaque(crop(90, 77))
    if channels < 3:
        pixels[..., :3] = pixels[..., :1]
    if channels in (2, 4):
        pixels[..., 3] = np.arange(77)
    exif = example_exif()
    known = {"exif": text(exif), "icc": text(adobe_rgb()), "xmp": text(b"<x:xmpmeta/>"), "dpi": [300, 150]}
    found = node(
        "written",
        format="PngWriter",
        pixels=coded(pixels),
        height=90,
        width=77,
        channels=channels,
        known=known,
    )
    image = Image.open(io.BytesIO(base64.b64decode(found["file"])))
    assert image.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    assert np.array_equal(np.asarray(image.convert("RGBA")), pixels)
    assert image.info["icc_profile"] == adobe_rgb()
    assert image.info["exif"].removeprefix(b"Exif\0\0") == exif
    assert image.info["xmp"] == b"<x:xmpmeta/>"
    assert [round(value) for value in image.info["dpi"]] == [300, 150]


def example_exif(orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Glass & Co"
    exif.get_ifd(0x8769).update({0xA002: 1200, 0xA003: 800, 0x9003: "2024:05:06 07:08:09"})
    return exif.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_marked_upright_byte_for_byte_as_the_package_does(orientation, swapped):
    exif = example_exif(orientation)
    found = node("upright", exif=text(exif), swapped=swapped)
    assert base64.b64decode(found["exif"]) == metadata.mark_upright(exif, swapped)


def test_exif_that_cannot_be_followed_is_not_kept():
    assert node("upright", exif=text(b"II*\0\xff\xff\0\0"), swapped=False)["exif"] is None


@pytest.mark.parametrize(
    ("format", "options"), [("JPEG", {}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True})]
)
def test_a_files_metadata_is_found_and_the_bare_file_has_its_pixels(format, options):
    pixels = crop(40, 60)
    buffer = io.BytesIO()
    exif, icc = example_exif(), adobe_rgb()
    marked = b"Exif\0\0" + exif
    Image.fromarray(pixels).save(buffer, format, exif=marked, icc_profile=icc, **options)
    found = node("read", file=text(buffer.getvalue()))
    assert (found["format"].upper(), found["orientation"], found["settled"]) == (format, 6, False)
    assert found["lossless"] == (format == "PNG" or bool(options))
    assert base64.b64decode(found["exif"]) == exif
    assert base64.b64decode(found["icc"]) == icc
    bare = Image.open(io.BytesIO(base64.b64decode(found["bare"])))
    assert "icc_profile" not in bare.info
    assert not bare.getexif()
    assert np.array_equal(np.asarray(bare), np.asarray(Image.open(io.BytesIO(buffer.getvalue()))))


def test_what_is_no_picture_has_no_format():
    assert node("read", file=text(b"#!/bin/sh\nexit 0\n"))["format"] == ""
    assert node("read", file=text(b"\0\0\0\x18ftypheic\0\0\0\0"))["format"] == "HEIC"
