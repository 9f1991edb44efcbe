"""How files that runs have written are known, so that they are not taken for photos."""

from __future__ import annotations

OUTPUT_ENDINGS = ("_transmission", "_reflection", "_side_by_side", "_unexplained", "_invented")
"""What is appended to a photo's name, heat maps of ``--explain`` among it."""
BATCH_FOLDER = "_dereflect"
"""A folder that holds one of this name is the destination of a batch."""


def photo_stems(stem: str) -> set[str]:
    """Stems of the photos that a file of this stem would be an output of.

    >>> photo_stems("window_transmission"), photo_stems("window")
    ({'window'}, set())
    """
    return {stem.removesuffix(ending) for ending in OUTPUT_ENDINGS if stem.endswith(ending)}
