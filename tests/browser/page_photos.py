"""Photos through glass for the page that needs no server: turned, grey, in another colour space."""

import shutil

import numpy as np
from PIL import Image
from test_numbers import adobe_rgb as adobe

from real_browser import CAFE


def glass(seed: int) -> Image.Image:
    """A picture behind another one that is faint and blurred, of a size that has to be reduced."""
    cafe = Image.open(CAFE).convert("RGB")
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8))
    reflected = np.asarray(small.resize(cafe.size, Image.Resampling.BICUBIC)).astype(float)
    scene = np.asarray(cafe.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).astype(float)
    return Image.fromarray((0.75 * scene + 0.3 * reflected).clip(0, 255).astype(np.uint8)).crop(
        (0, 0, 1131, 757)
    )


def exif(orientation: int) -> bytes:
    found = Image.Exif()
    found[0x0112], found[0x010F] = orientation, "Glass & Co"
    found.get_ifd(0x8769).update({0xA002: 1131, 0xA003: 757})
    return found.tobytes()


PHOTOS = {
    "cafe.jpg": lambda path: shutil.copy(CAFE, path),
    "turned.jpg": lambda path: glass(1).save(path, quality=92, exif=exif(6)),
    "adobe.jpg": lambda path: glass(2).save(
        path, quality=95, subsampling=0, icc_profile=adobe(), exif=exif(3)
    ),
    "plain.png": lambda path: glass(3).save(path, icc_profile=adobe(), exif=exif(8), dpi=(300, 300)),
    "lossy.webp": lambda path: glass(4).save(path, quality=90, icc_profile=adobe(), exif=exif(6)),
    "grey.jpg": lambda path: Image.open(CAFE).convert("L").resize((1131, 757)).save(path, quality=92),
}
