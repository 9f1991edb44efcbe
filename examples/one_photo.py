"""Separate one photo and print how it was run.

python examples/one_photo.py examples/cafe.jpg -o out/
"""

import argparse
from pathlib import Path

import dereflect


def main() -> None:
    parser = argparse.ArgumentParser(description="Separate one photo.")
    parser.add_argument("photo", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("out"))
    parser.add_argument("--model", default="default", help="a name, a folder or a checkpoint file")
    options = parser.parse_args()

    separator = dereflect.load(options.model)
    result = separator(options.photo)
    for layer, path in result.save(options.output, side_by_side=True, overwrite=True).items():
        print(f"{layer}: {path}")
    print(f"{result.how} in {result.seconds:.2f} s on {result.device}, residual {result.residual:.4f}")


if __name__ == "__main__":
    main()
