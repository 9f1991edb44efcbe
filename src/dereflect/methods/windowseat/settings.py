"""The ``--set`` settings of WindowSeat."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dereflect.methods.options import MethodOptions


class WindowSeatOptions(MethodOptions):
    """What can be chosen at every run."""

    tiling: Literal["short-edge", "more-tiles", "detail"] = Field(
        "short-edge",
        description="short-edge: tiles as wide as the photo's shorter side, reduced for the network "
        "(published; large photos come back soft); more-tiles: up to four tiles an axis (published); "
        "detail: tiles of the network's own side, which keep detail and take much longer",
    )
    overlap: int = Field(64, ge=8, le=512, description="pixels that neighbouring tiles share at least")
    tiles: int = Field(4, ge=1, le=64, description="tiles an axis at most, but for tiling=detail")
    batch: int = Field(1, ge=1, le=64, description="tiles at once; the original takes 2")
    posterior: Literal["mean", "sample"] = Field(
        "mean",
        description="latents of the photo: the posterior's mean, always the same, or a sample by the seed "
        "(the original samples without a seed)",
    )
    rounding: Literal["float", "published"] = Field(
        "float", description="published: cut to 8 bit before the photo's size is brought back"
    )
    quantised: bool = Field(
        False, description="hold the transformer in 4 bits (NF4), which needs bitsandbytes and a CUDA GPU"
    )
    base: str | None = Field(None, description="folder of Qwen-Image-Edit-2509 with vae and transformer")
    adapter: str | None = Field(None, description="folder of the WindowSeat release")
