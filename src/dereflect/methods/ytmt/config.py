"""Configuration of every YTMT network, and the names that the paper gives to its combinations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from dereflect.errors import ModelError
from dereflect.methods.configs import read_fields, refused
from dereflect.nn.exchange import Exchange
from dereflect.nn.vgg import LEVEL_CHANNELS

Shape = Literal["U", "P", "old"]


@dataclass(frozen=True)
class YtmtConfig:
    """One network of the paper, or a narrower relative of one.

    Raises:
        ModelError: a value out of range or a combination that does not exist; the message names the field.
    """

    shape: Shape = "U"
    """U-shaped, plain (P), or the older U-shaped network of the published weights (old)."""
    exchange: str = "C"
    """Letter of `Exchange`: A additive, C concat, P ReLU only, N none. The old network knows C alone."""
    stages: int = 1
    """1: the network itself. 2: a second network refines the two layers that the first one found."""
    hypercolumn: bool = True
    """Whether each network's input is the image with five VGG-19 levels (1475 channels) or the image
    alone.
    """
    image_channels: int = 3
    """Channels of the image and of both outputs."""
    width: int = 64
    """Channels at full resolution; a multiple of 8. The paper's is 64."""
    layers: int = 10
    """Convolutions in depth of a plain network (at least 3); U networks have a fixed depth."""
    squash: bool = True
    """Whether the outputs pass a sigmoid (off for denoising)."""

    def __post_init__(self) -> None:
        def refuse(field: str, reason: str) -> ModelError:
            return refused("YTMT", self, field, reason)

        if self.shape not in get_args(Shape):
            raise refuse("shape", f"is unknown; one of {', '.join(get_args(Shape))}")
        if self.exchange not in [kind.value for kind in Exchange]:
            raise refuse("exchange", "is unknown; one of A, C, P, N")
        if self.shape == "old" and self.exchange != Exchange.CONCAT:
            raise refuse("exchange", "does not exist for the old network; use C")
        if self.stages not in (1, 2):
            raise refuse("stages", "must be 1 or 2")
        if self.width < 8 or self.width % 8:
            raise refuse("width", "must be a positive multiple of 8")
        if self.layers < 3:
            raise refuse("layers", "must be at least 3")
        if self.image_channels < 1:
            raise refuse("image_channels", "must be positive")
        if self.hypercolumn and self.image_channels != 3:
            raise refuse("image_channels", "must be 3 with a hypercolumn")

    @property
    def in_channels(self) -> int:
        """Channels that each stream's first convolution sees."""
        return self.image_channels + (sum(LEVEL_CHANNELS) if self.hypercolumn else 0)

    @property
    def min_size(self) -> int:
        """Smallest height and width that the network takes: four halvings need 16 pixels."""
        return 1 if self.shape == "P" and not self.hypercolumn else 16


NAMED = {
    "uas": YtmtConfig("U", "A"),
    "ucs": YtmtConfig("U", "C"),
    "uat": YtmtConfig("U", "A", stages=2),
    "uct": YtmtConfig("U", "C", stages=2),
    "pas": YtmtConfig("P", "A", hypercolumn=False),
    "pcs": YtmtConfig("P", "C", hypercolumn=False),
    "us_relu": YtmtConfig("U", "P"),
    "us_nofi": YtmtConfig("U", "N"),
    "ucs_old": YtmtConfig("old", "C"),
    "uct_old": YtmtConfig("old", "C", stages=2),
}
"""U/P: U-shaped or plain; A/C: additive or concat; S/T: one or two stages; two ablations; the published
network.
"""


def config_from(settings: Mapping[str, Any], source: str) -> YtmtConfig:
    """Build a config from a mapping, e.g. a parsed ``config.json``.

    Raises:
        ModelError: an unknown key or a value of the wrong type; names `source` and the key.
    """
    return read_fields(YtmtConfig, "YTMT", settings, source)
