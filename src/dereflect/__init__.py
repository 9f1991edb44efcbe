"""Separate one photo shot through glass into the scene behind it and its reflection.

    import dereflect
    separator = dereflect.load("default")
    result = separator("window.jpg")
    result.save("out/")

Everything below is imported when it is first used: ``import dereflect`` alone takes a moment and brings no
    torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dereflect import cores
from dereflect._version import __version__

if TYPE_CHECKING:
    from dereflect.separation import Separation
    from dereflect.separator import Separator, load, separate

cores.settle()

__all__ = ["Separation", "Separator", "__version__", "load", "separate"]


def __getattr__(name: str) -> Any:
    if name == "Separation":
        from dereflect.separation import Separation

        return Separation
    if name in ("Separator", "load", "separate"):
        from dereflect import separator

        return getattr(separator, name)
    raise AttributeError(f"module 'dereflect' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
