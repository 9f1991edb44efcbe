"""Triplets on disk with a record from which they can be made again, byte for byte."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from dereflect._version import __version__
from dereflect.data.pairs import BLENDED, REFLECTION, TRANSMISSION, pictures_by_stem, read_rgb
from dereflect.data.synthesis.triplet import Triplet
from dereflect.downloads import sha256
from dereflect.errors import InputError, Remedy, first_line
from dereflect.files import write_text, writing
from dereflect.images import upright_size
from dereflect.strict import first_fault

RULES = ("ceilnet", "dsrnet", "zhang", "xreflection", "screen", "physical")
RECORD = "record.jsonl"
SHOWN = 24
"""Triplets on a contact sheet."""


@dataclass(frozen=True)
class TripletRecord:
    """One triplet: its sources, how they were cut, and every number drawn."""

    name: str
    rule: str
    transmission: str
    """Source file of T, relative to the folder given."""
    reflection: str
    transmission_sha256: str
    reflection_sha256: str
    size: tuple[int, int]
    """(width, height) of the triplet."""
    transmission_corner: tuple[int, int]
    """(left, top) of the part cut from T's source."""
    reflection_corner: tuple[float, float]
    """(left, top) of the part cut from R's source, as shares of the room left after covering `size`."""
    mirrored: bool
    """Whether R's source was flipped left to right."""
    draws: dict[str, Any]


def plan(
    transmissions: Path, reflections: Path, count: int, rule: str, seed: int, side: int | None, **options: str
) -> list[TripletRecord]:
    """Draw `count` triplets; each depends on the seed and its own number alone, not on `count`.

    Args:
        side: cut squares of this many pixels, from the photos large enough; None takes each T whole.
        options: for the rule's ``draw``, e.g. ``preset="night"``.

    Raises:
        InputError: a folder holds no pictures, or none as large as `side`.
    """
    module = rule_module(rule)
    sources = [_pictures(folder) for folder in (transmissions, reflections)]
    if side:
        sources[0] = [path for path in sources[0] if min(upright_size(path)) >= side]
        if not sources[0]:
            raise InputError(
                transmissions,
                f"no picture has {side} pixels on both sides",
                remedy=Remedy("lower {}", "side"),
            )
    entries = []
    for number in range(count):
        random = np.random.default_rng([seed, number])
        T = sources[0][int(random.integers(len(sources[0])))]
        others = [path for path in sources[1] if path.resolve() != T.resolve()] or sources[1]
        R = others[int(random.integers(len(others)))]
        width, height = upright_size(T)
        size = (side, side) if side else (width, height)
        left, top = (int(random.integers(room + 1)) for room in (width - size[0], height - size[1]))
        corner = float(random.uniform()), float(random.uniform())
        mirrored = bool(random.uniform() < 0.5)
        draws = module.draw(random, size[1], size[0], **options)
        entries.append(
            TripletRecord(
                name=f"{number:05d}",
                rule=rule,
                transmission=T.name,
                reflection=R.name,
                transmission_sha256=sha256(T),
                reflection_sha256=sha256(R),
                size=size,
                transmission_corner=(left, top),
                reflection_corner=corner,
                mirrored=mirrored,
                draws=asdict(draws),
            )
        )
    return entries


def make(entry: TripletRecord, transmissions: Path, reflections: Path) -> Triplet:
    """Make an entry's triplet.

    Raises:
        InputError: a source is missing or is not the file that the record was made from.
    """
    T, R = transmissions / entry.transmission, reflections / entry.reflection
    for path, digest in ((T, entry.transmission_sha256), (R, entry.reflection_sha256)):
        if not path.is_file():
            raise InputError(path, f"triplet {entry.name} was made from it, but it is not there")
        if sha256(path) != digest:
            raise InputError(
                path, f"is not the file that triplet {entry.name} was made from (other checksum)"
            )
    (width, height), (left, top) = entry.size, entry.transmission_corner
    scene = read_rgb(T)[top : top + height, left : left + width]
    mirrored = _cover(read_rgb(R), width, height, entry.reflection_corner)
    if entry.mirrored:
        mirrored = mirrored[:, ::-1]
    module = rule_module(entry.rule)
    draws = module.Draws(**{key: _tuples(value) for key, value in entry.draws.items()})
    return module.mix(scene / 255, mirrored / 255, draws)


def write_all(
    folder: Path,
    entries: Sequence[TripletRecord],
    transmissions: Path,
    reflections: Path,
    sheet: bool = False,
) -> Path:
    """Make the triplets of all entries, and write them and their record.

    Args:
        folder: where to.
        entries: what to make.
        transmissions, reflections: folders of the sources.
        sheet: also write contact_sheet.jpg with the first `SHOWN`.

    Returns:
        The record.

    Raises:
        InputError: as `make`, or the folder cannot be written.
    """
    shown: list[Triplet] = []
    try:
        for entry in entries:
            triplet = make(entry, transmissions, reflections)
            write_triplet(folder, entry.name, triplet)
            if sheet and len(shown) < SHOWN:
                shown.append(triplet)
        write_record(folder / RECORD, entries, transmissions, reflections)
        if shown:
            with writing(folder / "contact_sheet.jpg") as temporary:
                contact_sheet(shown).save(temporary, "JPEG", quality=90)
    except OSError as error:
        raise InputError(folder, f"cannot be written ({first_line(error)})") from error
    return folder / RECORD


def write_triplet(folder: Path, name: str, triplet: Triplet) -> None:
    """Write the three PNGs of a triplet into the field's usual folders, values rounded to 8 bit."""
    pictures = (triplet.blended, triplet.transmission, triplet.reflection)
    for place, picture in zip((BLENDED, TRANSMISSION, REFLECTION), pictures, strict=True):
        with writing(folder / place / f"{name}.png") as temporary:
            Image.fromarray(as_bytes(picture)).save(temporary, "PNG")


def write_record(
    path: Path, entries: Iterable[TripletRecord], transmissions: Path, reflections: Path
) -> None:
    """Write the record: a first line with version and source folders, then one line a triplet."""
    head = {"dereflect": __version__, "transmissions": str(transmissions), "reflections": str(reflections)}
    lines = [json.dumps(head), *(json.dumps(asdict(entry)) for entry in entries)]
    write_text("\n".join(lines) + "\n", path)


def read_record(path: Path) -> tuple[list[TripletRecord], Path, Path]:
    """Read a record.

    Returns:
        (entries, folder of T sources, folder of R sources).

    Raises:
        InputError: not a record.
    """
    try:
        head, *lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
        entries = [_entry(line) for line in lines]
        return entries, Path(head["transmissions"]), Path(head["reflections"])
    except ValidationError as error:
        raise InputError(path, f"not a synthesis record ({first_fault(error)})") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(path, f"not a synthesis record ({type(error).__name__})") from error


def contact_sheet(triplets: Sequence[Triplet], side: int = 240) -> Image.Image:
    """Rows of blended, transmission and reflection, side by side, four triplets across at most."""
    across = min(len(triplets), 4)
    down = -(-len(triplets) // across)
    gap = 6
    sheet = Image.new("RGB", (across * (3 * side + 3 * gap), down * (side + gap)), (24, 24, 24))
    for number, triplet in enumerate(triplets):
        left, top = number % across * (3 * side + 3 * gap), number // across * (side + gap)
        for place, picture in enumerate((triplet.blended, triplet.transmission, triplet.reflection)):
            image = Image.fromarray(as_bytes(picture))
            image.thumbnail((side, side), Image.Resampling.LANCZOS)
            sheet.paste(image, (left + place * (side + 1), top))
    return sheet


def rule_module(rule: str) -> Any:
    """The module of a rule by name.

    Raises:
        InputError: no rule of that name.
    """
    if rule not in RULES:
        raise InputError(rule, f"unknown; one of {', '.join(RULES)}", option="rule")
    return importlib.import_module(f"dereflect.data.synthesis.{rule}")


def as_bytes(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[0, 1] to 8 bit, rounded."""
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _entry(line: Any) -> TripletRecord:
    """A line of a record whose values, and those of its draws, are of the kinds that they are said to be."""
    TypeAdapter(TripletRecord).validate_python(line)
    entry = TripletRecord(**{key: _tuples(value) for key, value in line.items()})
    if Path(entry.name).name != entry.name:
        raise ValueError("a name is a file's, without a folder")
    TypeAdapter(rule_module(entry.rule).Draws).validate_python(entry.draws)
    return entry


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(folder, "no such folder")
    found = list(pictures_by_stem(folder).values())
    if not found:
        raise InputError(folder, "holds no pictures")
    return found


def _cover(
    picture: NDArray[np.uint8], width: int, height: int, corner: tuple[float, float]
) -> NDArray[np.uint8]:
    """Scale a picture so that it just covers width x height and cut that out of it."""
    scale = max(width / picture.shape[1], height / picture.shape[0])
    size = max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale))
    scaled = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    left, top = (
        round(share * (have - want)) for share, have, want in zip(corner, size, (width, height), strict=True)
    )
    return scaled[top : top + height, left : left + width]
