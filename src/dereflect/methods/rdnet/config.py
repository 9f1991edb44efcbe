"""Configuration of every RDNet: the toolbox's, the older one, the challenge's, or a narrower relative."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from dereflect.errors import ModelError
from dereflect.methods.configs import read_fields, refused
from dereflect.nn.convnext import ConvNeXtConfig
from dereflect.nn.focalnet import FocalNetConfig

Prompt = Literal["numbers", "map", "none"]
Order = Literal["transmission_first", "reflection_first"]


@dataclass(frozen=True)
class RDNetConfig:
    """One network; the defaults are those of the paper at full size.

    Raises:
        ModelError: a value out of range; the message names the field.
    """

    prompt: Prompt = "numbers"
    """What scales the stem's channels: six numbers of the photo turned into factors (the paper), a map of
    factors (the challenge's variant), or nothing (the published ablation).
    """
    order: Order = "transmission_first"
    """Which layer the decoder's first three channels are. In the older weights it is the reflection."""
    channels: tuple[int, ...] = (64, 128, 256, 512)
    """Channels of the four levels of a column, at 1/2, 1/4, 1/8 and 1/16 of the size."""
    blocks: tuple[int, ...] = (2, 2, 4, 2)
    """NAF blocks of each level of a column."""
    columns: int = 4
    backbone_width: int = 192
    backbone_depths: tuple[int, ...] = (2, 2, 18, 2)
    classifier_widths: tuple[int, ...] = (96, 192, 384, 768)
    classifier_depths: tuple[int, ...] = (3, 3, 27, 3)
    prompt_width: int = 512
    """Width between the two layers that make factors of the six numbers."""
    drop_rate: float = 0.3
    """Stochastic depth of the backbone's last block, in training."""

    def __post_init__(self) -> None:
        for name in ("channels", "blocks", "backbone_depths", "classifier_widths", "classifier_depths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if len(getattr(self, name)) != 4 or min(getattr(self, name)) < 1:
                raise self._refused(name, "must be four positive numbers")
        for name in ("columns", "backbone_width", "prompt_width"):
            if getattr(self, name) < 1:
                raise self._refused(name, "must be positive")
        if any(width % 2 for width in self.channels):
            raise self._refused("channels", "must be even: a gate halves them")
        if self.prompt not in get_args(Prompt):
            raise self._refused("prompt", f"is unknown; one of {', '.join(get_args(Prompt))}")
        if self.order not in get_args(Order):
            raise self._refused("order", f"is unknown; one of {', '.join(get_args(Order))}")
        if not 0 <= self.drop_rate < 1:
            raise self._refused("drop_rate", "must be in [0, 1)")

    def _refused(self, field: str, reason: str) -> ModelError:
        return refused("RDNet", self, field, reason)

    @property
    def backbone(self) -> FocalNetConfig:
        """The backbone's configuration."""
        return FocalNetConfig(self.backbone_width, self.backbone_depths, drop_rate=self.drop_rate)

    @property
    def classifier(self) -> ConvNeXtConfig:
        """The classifier's configuration."""
        return ConvNeXtConfig(self.classifier_depths, self.classifier_widths)


def config_from(settings: Mapping[str, Any], source: str) -> RDNetConfig:
    """Build a config from a mapping, e.g. a parsed ``config.json``.

    Raises:
        ModelError: an unknown key or a value of the wrong type; names `source` and the key.
    """
    return read_fields(RDNetConfig, "RDNet", settings, source)
