"""How the network will see a picture: whole, fitted (as a reduced copy) or in tiles; and settings' bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from dereflect.devices import available_memory
from dereflect.errors import InputError
from dereflect.images import DEFAULT_MAX_PIXELS
from dereflect.images.raw import space_of
from dereflect.methods.contract import Traits

HALF_PRECISION_MEMORY = 0.6
"""Working memory in a 16-bit format relative to float32: activations halve, buffers for sums do not."""
SMALLEST_TILE = 32

Quality = Literal["fast", "best"]


@dataclass(frozen=True)
class SeparatorSettings:
    """How pictures are read, planned and run; see `dereflect.separator.Separator` for each."""

    tile: str | int = "auto"
    max_size: int | None = None
    quality: Quality = "fast"
    seed: int = 0
    max_pixels: int = DEFAULT_MAX_PIXELS
    raw_space: str = "srgb"


@dataclass(frozen=True)
class Plan:
    """How one picture will be run.

    Attributes:
        kind: whether the network sees it whole, fitted or in tiles.
        height, width: in pixels, what the network sees at once.
        overlap: of neighbouring tiles, in pixels.
    """

    kind: Literal["whole", "fitted", "tiled"]
    height: int
    width: int
    overlap: int = 0

    def __str__(self) -> str:
        at = f"{self.width} x {self.height}"
        return {"whole": "whole", "fitted": f"fitted at {at}", "tiled": f"tiles of {at}"}[self.kind]


def check_settings(settings: SeparatorSettings, traits: Traits) -> SeparatorSettings:
    """Refuse settings that cannot be followed, and give the others back.

    Args:
        settings: ``tile`` must be ``auto``, ``off``, or a number of at least 32 pixels for a method that can
            be tiled; ``max_size`` at least 1 pixel or None; ``quality`` ``fast`` or ``best``; ``raw_space``
            a name in `dereflect.images.raw.SPACES`.
        traits: of the method.

    Raises:
        InputError: one of them is none of these.
    """
    _tile_size(settings.tile, traits)
    if settings.max_size is not None and settings.max_size < 1:
        raise InputError(settings.max_size, "give a number of pixels", option="max_size")
    if settings.quality not in ("fast", "best"):
        raise InputError(settings.quality, "unknown; fast or best", option="quality")
    space_of(settings.raw_space)
    return settings


def memory_budget(memory: int | None, device: torch.device, dtype: torch.dtype) -> int:
    """Bytes that the network may take at work, as if it worked in float32.

    Args:
        memory: what the user allows; half of what is free on `device`, if None.
        device, dtype: where it works and in what. A 16-bit format makes more of the same bytes.
    """
    budget = memory or available_memory(device) // 2
    return budget if dtype is torch.float32 else int(budget / HALF_PRECISION_MEMORY)


def make_plan(
    height: int,
    width: int,
    traits: Traits,
    budget: int,
    tile: str | int = "auto",
    max_size: int | None = None,
) -> Plan:
    """Decide how to run a picture.

    Args:
        height, width: of the picture.
        traits: of the method.
        budget: bytes that the network may take at work, in float32.
        tile: ``auto``: whole up to the method's working size and the budget, else fitted. ``off``: whole,
            whatever it takes, unless `max_size` says otherwise. A number: tiles of that many pixels.
        max_size: longest side that the network may see, in place of the method's working size.

    Raises:
        InputError: as `check_settings` for `tile`.
    """
    size = _tile_size(tile, traits)
    if size is not None:
        if size >= max(height, width):
            return Plan("whole", height, width)
        return Plan("tiled", min(size, height), min(size, width), min(traits.tile_overlap, size // 2))
    limit = max_size or (max(height, width) if tile == "off" else traits.working_size)
    scale = min(1.0, limit / max(height, width))
    if tile == "auto":
        scale = min(scale, math.sqrt(budget / (traits.bytes_per_pixel * height * width)))
    if scale >= 1.0:
        return Plan("whole", height, width)
    return Plan("fitted", max(1, round(height * scale)), max(1, round(width * scale)))


def _tile_size(tile: str | int, traits: Traits) -> int | None:
    """Side of tiles in pixels; None for the words."""
    if tile in ("auto", "off"):
        return None
    try:
        size = int(tile)
    except ValueError:
        size = 0
    if size < SMALLEST_TILE:
        raise InputError(
            tile, f"give auto, off, or a number of at least {SMALLEST_TILE} pixels", option="tile"
        )
    if not traits.tileable:
        raise InputError(size, "this method needs the whole picture; take auto or off", option="tile")
    return size
