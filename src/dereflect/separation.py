"""What comes back from a Separator: both layers at the picture's own size and depth."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from dereflect import images
from dereflect.errors import OVERWRITE, DereflectError, InputError
from dereflect.images import Picture, writing
from dereflect.images.keeping import LONGEST_SIDE
from dereflect.images.picture import Array
from dereflect.images.resizing import within
from dereflect.images.writing import target_format

WhichLayers = Literal["both", "transmission", "reflection"]
LAYERS: dict[str, tuple[str, ...]] = {
    "both": ("transmission", "reflection"),
    "transmission": ("transmission",),
    "reflection": ("reflection",),
}


class TensorSeparation(NamedTuple):
    """Both layers as float32 tensors in [0, 1]: (3, H, W), or (1, H, W) for a grey picture."""

    transmission: Tensor
    reflection: Tensor


@dataclass(frozen=True)
class Separation:
    """One picture, separated.

    Attributes:
        pictures: ``blended`` (the input, upright), ``transmission`` and ``reflection``, with metadata.
        seconds: time of the separation, reading and writing apart.
        model: the model's name.
        version: the version of dereflect that ran it.
        how: ``whole``, ``fitted at W x H`` or ``tiles of W x H``.
        device: where it ran and in what, e.g. ``cpu in bfloat16``.
        residual: how badly the layers explain the input: mean absolute difference, in [0, 1], between the
            input and the sum of both layers clipped at white. 0 means that they add up exactly. Real glass
            does not quite add (it dims the scene, and cameras bend the curve), so a few hundredths are
            normal.
        name: file name stem of the source, to name outputs by.
        reflection_found: False where the network found no reflection and left the picture as it was: the
            mean change of what it saw, the picture, its reduced copy or each of its tiles, is below half a
            level of 255. It does not depend on strength and mask. None of a model that never says so.
    """

    pictures: dict[str, Picture]
    seconds: float
    model: str
    version: str
    how: str
    device: str
    residual: float
    name: str = "picture"
    reflection_found: bool | None = None

    @cached_property
    def transmission(self) -> Image.Image:
        """The scene behind the glass, in the input's size and mode (see `to_numpy` for 16-bit colour)."""
        return self.pictures["transmission"].to_pil()

    @cached_property
    def reflection(self) -> Image.Image:
        """What the glass mirrors, in the input's size and mode."""
        return self.pictures["reflection"].to_pil()

    @cached_property
    def blended(self) -> Image.Image:
        """The input, turned upright."""
        return self.pictures["blended"].to_pil()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of how the picture was read."""
        return self.pictures["blended"].notes

    def to_numpy(self) -> tuple[Array, Array]:
        """(transmission, reflection) in the input's own depth: uint8, uint16, or float32 for float input."""
        return self.pictures["transmission"].to_numpy(), self.pictures["reflection"].to_numpy()

    def side_by_side(self) -> Image.Image:
        """Blended, transmission and reflection beside one another, in 8 bit."""
        return self.side_by_side_picture().to_pil()

    def side_by_side_picture(self, longest: int | None = None) -> Picture:
        """As `side_by_side`, with metadata and full depth; reduced to sides of `longest` pixels at most."""
        parts = [self.pictures[name] for name in ("blended", "transmission", "reflection")]
        if longest is not None:
            parts = [within(part, longest // 3, longest) for part in parts]
        blended = parts[0]
        alpha = None if blended.alpha is None else np.hstack([blended.alpha] * 3)
        return replace(blended, pixels=np.hstack([part.pixels for part in parts]), alpha=alpha)

    def output_paths(
        self, folder: Path, layers: str = "both", format: str = "keep", side_by_side: bool = False
    ) -> dict[str, Path]:
        """Where `save` would put each picture: ``<stem>_transmission.<ext>`` and so on."""
        blended = self.pictures["blended"]
        return output_paths(folder, self.name, blended.format, blended.suffix, layers, format, side_by_side)

    def save(
        self,
        folder: str | os.PathLike[str],
        layers: WhichLayers = "both",
        format: str = "keep",
        overwrite: bool = False,
        metadata: bool = True,
        side_by_side: bool = False,
    ) -> dict[str, Path]:
        """Write ``<stem>_transmission.<ext>`` and ``<stem>_reflection.<ext>`` into a folder.

        Args:
            folder: made if it is not there.
            layers: which of them.
            format: ``keep``, or a name in `dereflect.images.FORMATS`.
            overwrite: replace files that are there already.
            metadata: keep EXIF, profile, XMP and resolution.
            side_by_side: write ``<stem>_side_by_side.<ext>`` too.

        Returns:
            What was written, by layer.

        Raises:
            InputError: a file is there already, or cannot be written. Nothing half-written is left.
        """
        paths = self.output_paths(Path(folder), layers, format, side_by_side)
        self.write(paths, format, overwrite, metadata)
        return paths

    def write(
        self, paths: Mapping[str, Path], format: str = "keep", overwrite: bool = False, metadata: bool = True
    ) -> None:
        """Write the pictures of some layers to given paths; otherwise as `save`.

        All are encoded before the first is written, so that what a format cannot hold leaves no part behind,
        nor does a file that is there already.
        """
        if not overwrite and (there := [path for path in paths.values() if os.path.lexists(path)]):
            raise InputError(there[0], "exists already", remedy=OVERWRITE)
        for path, content in self.encoded(paths, format, metadata).items():
            images.write_bytes(content, path, overwrite)

    def encoded(
        self, paths: Mapping[str, Path], format: str = "keep", metadata: bool = True
    ) -> dict[Path, bytes]:
        """The contents of the files that `write` would write, by path.

        Raises:
            InputError: the format cannot hold the picture; names the path.
        """
        name = target_format(self.pictures["blended"].format, format)
        contents = {}
        for layer, path in paths.items():
            beside = layer == "side_by_side"
            picture = self.side_by_side_picture(LONGEST_SIDE.get(name)) if beside else self.pictures[layer]
            try:
                contents[path] = writing.encode(picture, name, metadata)
            except DereflectError as error:
                raise error.about(path) from error
        return contents

    def losses(self, layers: Iterable[str], format: str = "keep", metadata: bool = True) -> tuple[str, ...]:
        """What files of some layers cannot keep of the input, one sentence each.

        Raises:
            InputError: the format cannot hold the picture.
        """
        blended = self.pictures["blended"]
        name = target_format(blended.format, format)
        lost = [writing.loss(blended, name, metadata)]
        longest = LONGEST_SIDE.get(name)
        if "side_by_side" in layers and longest is not None and 3 * blended.width > longest:
            lost.append(f"the side-by-side picture is reduced: {name} ends at {longest} pixels")
        return tuple(words for words in lost if words)


def output_paths(
    folder: Path,
    stem: str,
    source_format: str,
    source_suffix: str,
    layers: str = "both",
    format: str = "keep",
    side_by_side: bool = False,
) -> dict[str, Path]:
    """Names of the outputs of one picture, by layer, from what its header says.

    Raises:
        InputError: `layers` or `format` is unknown.
    """
    if layers not in LAYERS:
        raise InputError(layers, f"unknown; one of {', '.join(LAYERS)}", option="layers")
    suffix = images.suffix_of(target_format(source_format, format), source_suffix if format == "keep" else "")
    names = (*LAYERS[layers], "side_by_side") if side_by_side else LAYERS[layers]
    return {name: folder / f"{stem}_{name}{suffix}" for name in names}
