"""Every switch of a DiffRS run, checked before any work starts (arXiv 2606.04107; defaults are the published
ones).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, get_args

from dereflect.errors import InputError
from dereflect.methods.contract import Options
from dereflect.methods.diffrs.pictures import Aspect, Filter, working_size
from dereflect.methods.diffrs.sampling import Disjoint


@dataclass(frozen=True)
class DiffRSSettings:
    """Settings of a run.

    Attributes:
        steps: denoising steps, 1 to 1000.
        resolution: working size, see `pictures.working_size`.
        aspect: "square" as published, or "keep" the picture's proportions at the same area.
        filter: how the picture is brought to the working size.
        attention: whether the layers see each other in self-attention.
        optimisation: whether latents are optimised at test time.
        disjoint: form of disjoint sampling.
        k: strength of disjoint sampling, 0 to 1.
        w: weight of the fusion in the decoder, 0 to 1. Larger keeps more of the input, reflection included.
        ensemble: runs with independent noise whose pictures are averaged.
    """

    steps: int = 50
    resolution: int = 960
    aspect: Aspect = "square"
    filter: Filter = "bilinear"
    attention: bool = True
    optimisation: bool = True
    disjoint: Disjoint = "code"
    k: float = 0.2
    w: float = 0.8
    ensemble: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 1000:
            raise InputError(f"steps={self.steps} must be 1 to 1000; the published number is 50")
        if self.ensemble < 1:
            raise InputError(f"ensemble={self.ensemble} must be at least 1")
        if not 0 <= self.k <= 1:
            raise InputError(f"k={self.k} must be 0 (no disjoint sampling) to 1; the published value is 0.2")
        if not 0 <= self.w <= 1:
            raise InputError(f"w={self.w} must be 0 (no fusion) to 1; the published value is 0.8")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name}={getattr(self, name)} must be one of {', '.join(allowed)}")
        working_size(1, 1, self.resolution)

    @classmethod
    def from_options(cls, options: Options) -> DiffRSSettings:
        """Read ``--set key=value`` strings.

        Raises:
            InputError: an unknown key, or a value of the wrong kind or range.
        """
        kinds = {field.name: type(field.default) for field in fields(cls)}
        values: dict[str, Any] = {}
        for key, text in options.items():
            if key not in kinds:
                raise InputError(f"diffrs has no setting '{key}'; it has {', '.join(kinds)}")
            values[key] = _parse(key, text, kinds[key])
        return cls(**values)


_CHOICES: dict[str, tuple[str, ...]] = {
    "aspect": get_args(Aspect),
    "filter": get_args(Filter),
    "disjoint": get_args(Disjoint),
}

_SWITCH = {
    "on": True,
    "true": True,
    "yes": True,
    "1": True,
    "off": False,
    "false": False,
    "no": False,
    "0": False,
}


def _parse(key: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in _SWITCH:
            raise InputError(f"{key}={text}: give on or off")
        return _SWITCH[text.lower()]
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise InputError(f"{key}={text}: give {what}") from None
