"""Configuration of DSIT's network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dereflect.errors import ModelError
from dereflect.methods.configs import read_fields, refused
from dereflect.nn.swin import SwinConfig

Five = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class DSITConfig:
    """Sizes of the network; the defaults are the published ones.

    Raises:
        ModelError: a value out of range; the message names the field.
    """

    width: int = 48
    """Channels at full resolution; a level down has twice as many. Swin begins with four times as many."""
    swin_depths: tuple[int, ...] = (2, 2, 18, 2)
    swin_heads: tuple[int, ...] = (6, 12, 24, 48)
    swin_window: int = 12
    heads: Five = (8, 8, 4, 2, 1)
    """Attention heads of blocks with 16, 8, 4, 2 and 1 times `width` channels."""
    window: int = 12
    """Side of the attention's windows in the decoder."""
    resolution: int = 384
    """Picture side that windows are fitted to: no window is larger than a level of such a picture."""
    attention_blocks: Five = (12, 8, 4, 2, 2)
    """Dual-attention blocks of the decoder's levels, from 1/16 up."""
    gated_blocks: Five = (2, 2, 2, 2, 2)
    """Mutually gated blocks of the same levels."""

    def __post_init__(self) -> None:
        def refuse(field: str, reason: str) -> ModelError:
            return refused("DSIT", self, field, reason)

        for field, length in (("heads", 5), ("attention_blocks", 5), ("gated_blocks", 5), ("swin_depths", 4)):
            if len(getattr(self, field)) != length:
                raise refuse(field, f"must have {length} numbers")
        if len(self.swin_heads) != len(self.swin_depths):
            raise refuse("swin_heads", "must have as many numbers as swin_depths")
        if self.width < 2 or self.width % 2:
            raise refuse("width", "must be positive and even")
        if self.resolution < 32 or self.resolution % 32:
            raise refuse("resolution", "must be a positive multiple of 32")
        if min(self.window, self.swin_window) < 2:
            raise refuse("window", "must be at least 2")
        for scale, heads in zip((16, 8, 4, 2, 1), self.heads, strict=True):
            if self.width * scale % heads:
                raise refuse("heads", f"must divide {self.width * scale} channels")

    @property
    def swin(self) -> SwinConfig:
        """Sizes of the Swin prior."""
        return SwinConfig(4 * self.width, self.swin_depths, self.swin_heads, self.swin_window)


def config_from(settings: Mapping[str, Any], source: str) -> DSITConfig:
    """Build a config from a mapping, e.g. a parsed ``config.json``.

    Raises:
        ModelError: an unknown key or a value of the wrong type; names `source` and the key.
    """
    return read_fields(DSITConfig, "DSIT", settings, source)
