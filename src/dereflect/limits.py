"""Numbers that several rooms share and that must be known without importing anything."""

DEFAULT_MAX_PIXELS = 200_000_000
"""Larger pictures are refused before they are decoded, unless another limit is given."""
