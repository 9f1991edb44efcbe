"""The field's data sets on disk: recognised by name, read into pairs, faults named."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from dereflect.data.known_sets import LAYOUTS, Layout
from dereflect.data.pairs import (
    BLENDED,
    TRANSMISSION,
    Pair,
    natural_order,
    pictures_by_stem,
    read_pairs,
)
from dereflect.errors import InputError
from dereflect.images import upright_size


@dataclass(frozen=True)
class DataSet:
    """Pairs that were found, ready to be measured."""

    name: str
    folder: Path
    pairs: list[Pair]
    layout: Layout | None = None
    notes: list[str] = field(default_factory=list)
    """What a reader of the numbers must know: counts and sizes that differ, and what was done about it."""
    cut_to_common: bool = False
    """Pictures of a pair differ in size by a few pixels, and are to be cut to their common top left part."""

    def first(self, count: int) -> DataSet:
        """The first pictures only, with a note that says so."""
        if count >= len(self.pairs):
            return self
        return replace(
            self, pairs=self.pairs[:count], notes=[*self.notes, f"only the first {count} pictures"]
        )


def recognise(folder: Path) -> Layout | None:
    """The data set that a folder's name stands for, if any."""
    plain = re.sub(r"[^a-z0-9]", "", folder.resolve().name.lower())
    return next((layout for layout in LAYOUTS.values() if plain in layout.aliases), None)


def read_data_set(folder: Path | str) -> DataSet:
    """Read one data set: plain folders, SIR2's own m/g/r names or CEILNet's input/label names.

    Raises:
        InputError: the folder holds no pairs in any form known here, or broken ones; names the file or
            folder.
    """
    folder = Path(folder)
    layout = recognise(folder)
    name = layout.name if layout else folder.resolve().name
    if not folder.is_dir():
        raise InputError(folder, "no such folder")
    pairs: list[Pair] = []
    if (folder / BLENDED).is_dir() or (folder / TRANSMISSION).is_dir():
        pairs = read_pairs(folder, check_sizes=False)
    for own_names in (_ceilnet_names, _sir2_names):
        pairs = pairs or own_names(folder)
    if not pairs and layout is not None and not layout.layers:
        raise InputError(folder, f"{layout.title}; nothing to measure, use `dereflect separate` to look")
    if not pairs:
        raise InputError(
            folder,
            f"no pairs found; expected folders '{BLENDED}' and '{TRANSMISSION}' "
            "(and 'reflection_layer' where known), see `dereflect data`",
        )
    return _with_notes(DataSet(name, folder, pairs, layout))


def find_data_sets(folder: Path | str) -> list[DataSet]:
    """The data sets in `folder`: itself, or those in its sub-folders down to two levels.

    Raises:
        InputError: none were found, or one is broken.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "no such folder")
    return [read_data_set(candidate) for candidate in _candidates(folder)]


@dataclass(frozen=True)
class Check:
    """What a folder holds."""

    usable: list[DataSet]
    to_look_at: list[tuple[Path, Layout, int]]
    """Published sets without truth: folder, which one, how many pictures."""
    faults: list[str]
    """One line for each set that cannot be used."""


def check_folder(folder: Path | str) -> Check:
    """Look at every data set in a folder without stopping at the first fault.

    Raises:
        InputError: no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "no such folder")
    result = Check([], [], [])
    below = [path for path in sorted(folder.rglob("*")) if path.is_dir()]
    for path in [folder, *below]:
        layout = recognise(path)
        if layout is not None and not layout.layers:
            result.to_look_at.append((path, layout, len(pictures_by_stem(path))))
    candidates = _candidates(folder)
    if result.to_look_at and candidates == [folder]:
        return result
    for candidate in candidates:
        try:
            result.usable.append(read_data_set(candidate))
        except InputError as error:
            result.faults.append(str(error))
    return result


def _candidates(folder: Path) -> list[Path]:
    """Folders that look like a data set: this one, else those below it; this one if none does."""
    if _looks_like_a_set(folder):
        return [folder]
    below = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    below += [path for parent in below for path in sorted(parent.iterdir()) if path.is_dir()]
    return [path for path in below if _looks_like_a_set(path)] or [folder]


def _looks_like_a_set(folder: Path) -> bool:
    if (folder / BLENDED).is_dir():
        return True
    layout = recognise(folder)
    return layout is not None and bool(layout.layers) and bool(_ceilnet_names(folder) or _sir2_names(folder))


def _with_notes(found: DataSet) -> DataSet:
    notes: list[str] = []
    layout = found.layout
    if layout is not None:
        if len(found.pairs) != layout.pictures:
            notes.append(f"{len(found.pairs)} pictures here, {layout.pictures} in the published set")
        notes += layout.faults
        if "R" in layout.layers and any(pair.reflection is None for pair in found.pairs):
            notes.append("no reflection_layer here, though the published set has one")
    different = [pair for pair in found.pairs if len({upright_size(p) for p in pair.paths().values()}) > 1]
    for pair in different:
        sizes = [upright_size(path) for path in pair.paths().values()]
        spread = max(max(s[axis] for s in sizes) - min(s[axis] for s in sizes) for axis in (0, 1))
        if layout is None or spread > 2:
            raise InputError(
                pair.transmission,
                f"sizes of this pair differ "
                f"({', '.join(f'{w}x{h}' for w, h in sizes)}); pictures of a pair must be of one size",
            )
    if different:
        names = ", ".join(pair.name for pair in different[:5])
        notes.append(f"{len(different)} pairs differ in size by a pixel or two and are cut: {names}")
    return replace(found, notes=notes, cut_to_common=bool(different))


def _ceilnet_names(folder: Path) -> list[Pair]:
    """``<n>-input``, ``<n>-label1`` (T) and ``<n>-label2`` (R) in one folder."""
    return _by_endings(folder, "-input", "-label1", "-label2", lambda path, stem: stem)


def _sir2_names(folder: Path) -> list[Pair]:
    """Scenes in folders of their own: files ``m`` (mixture), ``g`` (truth), ``r``, or ``...-m`` and so on."""
    found: list[Pair] = []
    for scene in sorted(path for path in (folder, *folder.rglob("*")) if path.is_dir()):
        place = "-".join(scene.relative_to(folder).parts)

        def name(path: Path, stem: str, place: str = place) -> str:
            return "-".join(part for part in (place, stem.rstrip("-_")) if part) or path.stem

        found += _by_endings(scene, "m", "g", "r", name)
    order = natural_order(pair.name for pair in found)
    return sorted(found, key=lambda pair: order.index(pair.name))


def _by_endings(
    folder: Path, blended: str, transmission: str, reflection: str, name: Callable[[Path, str], str]
) -> list[Pair]:
    files = pictures_by_stem(folder) if folder.is_dir() else {}
    pairs = []
    for stem in natural_order(files):
        start = stem[: -len(blended)]
        if stem.endswith(blended) and (len(blended) > 1 or not start or start[-1] in "-_"):
            truth, other = files.get(start + transmission), files.get(start + reflection)
            if truth is not None:
                pairs.append(Pair(name(files[stem], start), files[stem], truth, other))
    return pairs
