"""Fixture access of the WindowSeat golden tests: the manifest and recipe that lie beside the files."""

import functools
import tempfile
from pathlib import Path

import torch
from fixtures import GoldenFile, manifest, recipe

from dereflect.methods.windowseat.loading import load_parts
from dereflect.methods.windowseat.step import OneStep


@functools.cache
def network(folder: Path, dtype: torch.dtype = torch.float32, resolution: int = 96) -> OneStep:
    """The tiny components, written as the hub's folders and read by the real loader."""
    with tempfile.TemporaryDirectory() as place:
        parts = recipe(folder).write_tiny_hub(place, manifest(folder)["seed"], resolution)
        step, side = load_parts(*map(Path, parts), dtype=dtype)
    assert side == resolution
    return step


def network_of(file: GoldenFile, dtype: torch.dtype = torch.float32) -> OneStep:
    return network(file.path.parent, dtype)
