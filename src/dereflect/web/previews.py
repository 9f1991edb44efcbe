"""Small upright sRGB copies for the browser, which cannot show every format, depth and profile itself."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from dereflect.images import Picture
from dereflect.images.colour import colour_space
from dereflect.images.picture import convert_depth
from dereflect.images.resizing import within
from dereflect.inference.prepare import Prepared

LONGEST_SIDE = 1600
LAYERS = {"photo": "blended", "transmission": "transmission", "reflection": "reflection"}
"""What the page calls the pictures, and what `Separation` does."""


def preview(picture: Picture) -> bytes:
    """A JPEG in sRGB of at most `LONGEST_SIDE` pixels; transparency is left out."""
    space = colour_space(picture.metadata.icc, picture.grey)
    pixels = picture.pixels if space is None else space.to_srgb(picture.pixels)
    image = Image.fromarray(convert_depth(pixels, np.dtype(np.uint8))).convert("RGB")
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def shown(analysis: Prepared) -> Prepared:
    """An analysis of the photo's small copy, so that what is shown of it is finished quickly."""
    picture = within(analysis.picture, LONGEST_SIDE, LONGEST_SIDE)
    if picture is analysis.picture or analysis.layers is None:  # small already, or to be cut into tiles
        return analysis
    return replace(analysis, picture=picture, plan=replace(analysis.plan, kind="fitted"))
