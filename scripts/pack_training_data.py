"""Pack the training data of the default model into a small folder, to train on another machine.

    python scripts/pack_training_data.py DATA PACKED

DATA holds photos/ and photos2/ (ordinary pictures), real89/ and pairs3/ (real pairs), validation/ and
synthetic100/ (measured, never trained on). PACKED gets photos at 256 pixels of the shorter side, pairs at
384, and a part of each measured set, as WebP: at most 35 MB. Photos that are held out stay behind, so the
recipe takes all that is there (``held_out_every=0``).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from dereflect.cli.scripts import run_script
from dereflect.data.crops import decode, held_out, list_pictures
from dereflect.data.pairs import Pair, read_pairs

LIMIT = 35_000_000
PHOTOS, PAIRS = 256, 384
MEASURED = ("validation/print", "validation/sharp", "validation/night", "synthetic100")
MEASURED_PICTURES = 8
PAIR_QUALITY = 80


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("packed", type=Path)
    parser.add_argument("--quality", type=int, default=50, help="of the photos' WebP")
    options = parser.parse_args()
    if options.packed.exists():
        parser.error(f"{options.packed}: exists already")
    for folder in ("photos", "photos2"):
        for path in list_pictures(options.data / folder):
            if not held_out(path, 20):
                name = f"{folder}_{path.stem}.webp"  # both folders may have a photo of one name
                _save(decode(path, PHOTOS), options.packed / "photos" / name, options.quality)
    for folder in ("real89", "pairs3"):
        for pair in read_pairs(options.data / folder, check_sizes=False):
            _save_pair(pair, options.packed / "pairs")
    for folder in MEASURED:
        for pair in read_pairs(options.data / folder, check_sizes=False)[:MEASURED_PICTURES]:
            _save_pair(pair, options.packed / folder)
    files = [path for path in options.packed.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"{options.packed}: {len(files)} files, {size / 1e6:.1f} MB")
    if size > LIMIT:
        raise SystemExit(f"{options.packed}: over {LIMIT / 1e6:.0f} MB; lower --quality")


def _save_pair(pair: Pair, folder: Path) -> None:
    for path, layer in ((pair.blended, "blended"), (pair.transmission, "transmission_layer")):
        _save(decode(path, PAIRS), folder / layer / f"{pair.name}.webp", PAIR_QUALITY)


def _save(picture: Image.Image, path: Path, quality: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=quality, method=5)


if __name__ == "__main__":
    run_script(main)
