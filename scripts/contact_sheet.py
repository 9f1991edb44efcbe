"""A contact sheet of a folder: photo, transmission, reflection beside one another, for looking at a model.

python scripts/contact_sheet.py FOLDER SHEET.jpg [--model default] [--width 260] [--columns 3] [--only X]
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw

import dereflect
from dereflect.cli.scripts import run_script
from dereflect.data.crops import list_pictures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--width", type=int, default=260)
    parser.add_argument("--columns", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    separator = dereflect.load(arguments.model)
    cells = []
    for path in list_pictures(arguments.folder):
        if arguments.only and path.stem not in arguments.only:
            continue
        result = separator(path)
        pictures = [result.blended, result.transmission, result.reflection]
        height = round(arguments.width * pictures[0].height / pictures[0].width)
        cell = Image.new("RGB", (3 * arguments.width, height))
        for index, picture in enumerate(pictures):
            cell.paste(picture.convert("RGB").resize((arguments.width, height)), (index * arguments.width, 0))
        ImageDraw.Draw(cell).text((4, 4), path.stem, fill="white", stroke_width=1, stroke_fill="black")
        cells.append(cell)
    gap, columns = 4, arguments.columns
    piles: list[list[Image.Image]] = [[] for _ in range(columns)]
    for cell in cells:  # each goes on the shortest pile
        min(piles, key=lambda pile: sum(item.height + gap for item in pile)).append(cell)
    tallest = max(sum(item.height + gap for item in pile) for pile in piles)
    sheet = Image.new("RGB", (columns * (3 * arguments.width + 3 * gap), tallest), "white")
    for column, pile in enumerate(piles):
        top = 0
        for cell in pile:
            sheet.paste(cell, (column * (3 * arguments.width + 3 * gap), top))
            top += cell.height + gap
    sheet.save(arguments.sheet, quality=82)


if __name__ == "__main__":
    run_script(main)
