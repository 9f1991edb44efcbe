"""Configuration of DSRNet's networks, and the published ones by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dereflect.errors import ModelError
from dereflect.methods.configs import read_fields, refused


@dataclass(frozen=True)
class DSRNetConfig:
    """Sizes of a network; the defaults are the toolbox XReflection's.

    Raises:
        ModelError: a value out of range; the message names the field.
    """

    width: int = 64
    """Channels at full resolution; a level down has twice as many."""
    encoder_blocks: tuple[int, ...] = (2, 2, 4, 8)
    """Mutually gated blocks of each level, from full resolution down."""
    middle_blocks: int = 12
    decoder_blocks: tuple[int, ...] = (2, 2, 2, 2)
    """The same on the way up."""
    residual_blocks: tuple[int, int] = (2, 4)
    """Two-stream and one-stream blocks of the residual module."""
    shared_b: bool = False
    """Whether both streams scale a block's second stage alike."""

    def __post_init__(self) -> None:
        def refuse(field: str, reason: str) -> ModelError:
            return refused("DSRNet", self, field, reason)

        if self.width < 1:
            raise refuse("width", "must be positive")
        if not 1 <= len(self.encoder_blocks) <= 5:
            raise refuse("encoder_blocks", "must have one to five levels")
        if len(self.decoder_blocks) != len(self.encoder_blocks):
            raise refuse("decoder_blocks", "must have as many levels as encoder_blocks")
        if len(self.residual_blocks) != 2:
            raise refuse("residual_blocks", "must have two numbers")

    @property
    def size_multiple(self) -> int:
        """What height and width must be multiples of: four halvings of VGG-19, and those of the encoder."""
        return max(16, 2 ** len(self.encoder_blocks))


NAMED = {
    "xreflection": DSRNetConfig(),
    "dsrnet_l": DSRNetConfig(shared_b=True),
    "dsrnet_l_nature": DSRNetConfig(shared_b=True, residual_blocks=(2, 2)),
    "dsrnet_s": DSRNetConfig(
        width=32, encoder_blocks=(2, 2, 2), middle_blocks=4, decoder_blocks=(2, 2, 2), residual_blocks=(2, 4)
    ),
}
"""The toolbox's network, and the three of the authors' own repository."""


def config_from(settings: Mapping[str, Any], source: str) -> DSRNetConfig:
    """Build a config from a mapping, e.g. a parsed ``config.json``.

    Raises:
        ModelError: an unknown key or a value of the wrong type; names `source` and the key.
    """
    return read_fields(DSRNetConfig, "DSRNet", settings, source)
