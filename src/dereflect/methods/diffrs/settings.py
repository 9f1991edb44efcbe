"""Every switch of a DiffRS run, checked before any work starts (arXiv 2606.04107).

Defaults are the published values.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from dereflect.errors import InputError
from dereflect.methods.diffrs.pictures import Aspect, Filter, working_size
from dereflect.methods.diffrs.sampling import Disjoint
from dereflect.methods.options import MethodOptions


class DiffRSSettings(MethodOptions):
    """Settings of a run.

    Raises:
        InputError: an unknown setting, or a value of the wrong kind or range.
    """

    steps: int = Field(50, ge=1, le=1000, description="denoising steps")
    resolution: int = Field(
        960, description="side of the working size in pixels, a multiple of 8; multiples of 64 suit best"
    )
    aspect: Aspect = Field(
        "square", description="working size: square as published, or the picture's proportions at that area"
    )
    filter: Filter = Field("bilinear", description="how the picture is brought to the working size")
    attention: bool = Field(True, description="whether the layers see each other in self-attention")
    optimisation: bool = Field(True, description="whether latents are optimised at test time")
    disjoint: Disjoint = Field("code", description="form of disjoint sampling")
    k: float = Field(0.2, ge=0, le=1, description="strength of disjoint sampling")
    w: float = Field(
        0.8,
        ge=0,
        le=1,
        description="fusion in the decoder; more keeps more of the photo, reflection included",
    )
    ensemble: int = Field(1, ge=1, description="runs with independent noise whose pictures are averaged")

    @field_validator("resolution")
    @classmethod
    def _check_resolution(cls, value: int) -> int:
        try:
            working_size(1, 1, value)
        except InputError as error:
            raise ValueError(error.reason) from None
        return value


class DiffRSOptions(DiffRSSettings):
    """The ``--set`` settings: those of a run, and how the pipeline is built."""

    scheduler: Literal["ddim", "lcm"] = Field("ddim", description="sampler")
    offload: bool = Field(False, description="keep only the model at work on the GPU")

    def settings(self) -> DiffRSSettings:
        """Those of a run."""
        return DiffRSSettings(**self.model_dump(include=set(DiffRSSettings.model_fields)))
