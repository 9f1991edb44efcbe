"""Sources of training samples in the folders that a recipe names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from dereflect.data.augment import JointGeometry
from dereflect.data.folders import data_folder
from dereflect.data.mixture import PhotosBehindGlass, RealPairs, Rule
from dereflect.data.pairs import pictures_by_stem, read_pairs
from dereflect.errors import RecipeError


def photo_source(
    folders: Mapping[str, Path], sub_folder: str, geometry: JointGeometry, rule: Rule, seed: int
) -> PhotosBehindGlass:
    """Synthetic samples of the folder ``photos``.

    Args:
        folders: of the recipe's data, by role.
        sub_folder: of the photos, where the data is one folder.
        geometry: random geometry of training.
        rule: mixes two photos.
        seed: of the photos' order.

    Raises:
        RecipeError: the folder is missing, or has fewer than two pictures; names it.
    """
    folder = data_folder(folders, "photos", sub_folder)
    photos = list(pictures_by_stem(folder).values())
    if len(photos) < 2:
        raise RecipeError(f"data folder {folder} (photos)", f"needs at least two pictures, has {len(photos)}")
    return PhotosBehindGlass(photos, geometry, rule, seed)


def pair_source(
    folder: Path,
    geometry: JointGeometry,
    align: int,
    held_out: Collection[str],
    kind: type[RealPairs] = RealPairs,
) -> RealPairs:
    """Real pairs of a folder, but for those held out.

    Args:
        folder: as `dereflect.data.pairs.read_pairs` takes it.
        geometry: random geometry of training.
        align: pairs are first resized to multiples of this; 0: not, and the sizes of a pair must be equal.
        held_out: stems of pairs never trained on.
        kind: what becomes of the reflection.
    """
    pairs = [pair for pair in read_pairs(folder, check_sizes=not align) if pair.name not in held_out]
    return kind(pairs, geometry, align)
