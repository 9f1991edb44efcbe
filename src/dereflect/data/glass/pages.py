"""Prints and pages out of ordinary photos: paleness and sharp marks that are no glass."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw


def page(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Lay a photo out as a print or a page of the same size.

    A third are prints that fill the picture, a third prints with a white margin, a third pages: a smaller
    photo beside rows of dark marks on paper.
    """
    kind = rng.random()
    if kind < 1 / 3:
        return photo
    width, height = photo.size
    paper = tuple(int(v) for v in rng.uniform(225, 255, 3)) if rng.random() < 0.5 else (255, 255, 255)
    sheet = Image.new("RGB", photo.size, paper)
    if kind < 2 / 3:
        left, right, top, bottom = rng.uniform(0, 0.25, 4)
        box = [left * width, top * height, (1 - right) * width, (1 - bottom) * height]
    else:
        _write(sheet, rng)
        side = rng.uniform(0.3, 0.7)
        corner = rng.uniform(0, 1 - side, 2)
        box = [corner[0] * width, corner[1] * height, (corner[0] + side) * width, (corner[1] + side) * height]
    place = tuple(round(v) for v in box)
    small = photo.resize((place[2] - place[0], place[3] - place[1]), Image.Resampling.BICUBIC)
    sheet.paste(small, (place[0], place[1]))
    return sheet


def _write(sheet: Image.Image, rng: np.random.Generator) -> None:
    """Rows of words of short vertical and horizontal strokes, as print looks from afar."""
    draw = ImageDraw.Draw(sheet)
    width, height = sheet.size
    ink = tuple(int(v) for v in rng.uniform(0, 90, 3)) if rng.random() < 0.3 else (20, 20, 20)
    letter = max(3, round(float(np.exp(rng.uniform(np.log(0.012), np.log(0.07)))) * height))
    margin = round(float(rng.uniform(0.02, 0.12)) * width)
    y = margin
    while y + letter < height - margin:
        x = margin
        end = width - margin if rng.random() < 0.8 else round(float(rng.uniform(0.3, 0.9)) * width)
        while x + letter < end:
            for _ in range(int(rng.integers(1, 9))):
                wide = max(1, round(letter * float(rng.uniform(0.3, 0.6))))
                if x + wide >= end:
                    break
                for _ in range(2):
                    a, b = rng.uniform(0, 1, 2)
                    upright = rng.random() < 0.6
                    line = (
                        (x + a * wide, y, x + a * wide, y + letter * (0.5 + b / 2))
                        if upright
                        else (x, y + b * letter, x + wide, y + b * letter)
                    )
                    draw.line(line, fill=ink, width=max(1, letter // 7))
                x += wide + max(1, letter // 6)
            x += letter // 2
        y += round(letter * 1.6)
