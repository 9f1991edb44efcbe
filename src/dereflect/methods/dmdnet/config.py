"""Settings of the DMDNet network, its ablation switches included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from dereflect.errors import ModelError
from dereflect.methods.configs import read_fields

Scan = Literal["regional", "global", "raster"]
StateSpace = Literal["depth", "original"]
Routing = Literal["sample", "batch"]

CHOICES = {
    "transmission_scan": get_args(Scan),
    "reflection_scan": get_args(Scan),
    "state_space": get_args(StateSpace),
    "routing": get_args(Routing),
    "ordering": ("hard", "learned"),
}


@dataclass(frozen=True)
class DMDNetConfig:
    """Shape of the network and switches of the paper's ablations; the defaults are the published network."""

    dims: tuple[int, int, int, int, int] = (48, 96, 192, 384, 768)
    """Channels of the levels 1 (full size) to 5."""
    decoder_blocks: tuple[int, int, int, int, int] = (1, 2, 2, 4, 4)
    """Depth-memory blocks of the decoder at the levels 1 to 5."""
    mugi_blocks: tuple[int, int, int, int] = (2, 2, 2, 2)
    """MuGI blocks of the decoder at the levels 1 to 4."""
    last_mugi_blocks: int = 1
    experts: int = 4
    top_k: int = 2
    states: int = 16
    """State variables of each channel of the selective scan."""
    transmission_scan: Scan = "regional"
    """Order in which the transmission stream is scanned."""
    reflection_scan: Scan = "global"
    """Order in which the reflection stream is scanned."""
    state_space: StateSpace = "depth"
    """Whether the scan's B and C are mixed with those of the depth map, or are the image's alone."""
    position_code: bool = True
    """Whether the sinusoidal position code is added before the scan."""
    memory: bool = True
    """Whether the memory expert modules act (without them their weights and banks stay, unused)."""
    routing: Routing = "sample"
    """Experts for batches: each picture's own or, as the original, only those that every picture chose."""
    ordering: Literal["hard", "learned"] = "hard"
    """"learned" scales what is scanned by a straight-through one, so that the proximity fusion that orders
    the scans and the gate's selection layer receive gradients. The forward pass is the same."""

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], source: str = "config") -> DMDNetConfig:
        """Build from parsed JSON or YAML, checking names and values.

        Raises:
            ModelError: an unknown key, or a value of the wrong type or that is not offered; names both.
        """
        config = read_fields(cls, "DMDNet", values, source)
        config.check(source)
        return config

    def check(self, source: str = "config") -> None:
        """Refuse what cannot be built.

        Raises:
            ModelError: a choice that is not offered, a tuple of the wrong length or a number out of range.
        """
        for name, offered in CHOICES.items():
            if (value := getattr(self, name)) not in offered:
                raise ModelError(source, f"{name} '{value}' is unknown; one of {', '.join(offered)}")
        for name, length in (("dims", 5), ("decoder_blocks", 5), ("mugi_blocks", 4)):
            value = getattr(self, name)
            if len(value) != length or min(value) < 1:
                raise ModelError(source, f"{name} needs {length} numbers above 0, not {list(value)}")
        for name in ("last_mugi_blocks", "states"):
            if getattr(self, name) < 1:
                raise ModelError(source, f"{name} must be above 0, not {getattr(self, name)}")
        if not 1 <= self.top_k <= self.experts:
            raise ModelError(source, f"top_k {self.top_k} must lie between 1 and experts {self.experts}")


def bank_channels(config: DMDNetConfig) -> dict[str, int]:
    """Memory banks of a network by name, with their channel counts, in the order of the published files."""
    banks = {
        f"memory_level{level}_{stream}": config.dims[level - 1] for level in range(1, 6) for stream in "TR"
    }
    slots = ("T1", "T2", "R1", "R2")
    return banks | {
        f"memory_DS{level}_{slot}": config.dims[level - 1] for level in (3, 4, 5) for slot in slots
    }
