"""Separate one photo shot through glass into the scene behind it and its reflection."""

from dereflect._version import __version__

__all__ = ["__version__"]
