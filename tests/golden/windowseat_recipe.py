"""Fixture access of the WindowSeat golden tests: the manifest and recipe that lie beside the files."""

import functools
import importlib.util
import json
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from fixtures import GoldenFile

from dereflect.methods.windowseat.loading import load_parts
from dereflect.methods.windowseat.step import OneStep


@functools.cache
def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def section(file: GoldenFile) -> dict[str, Any]:
    """What the manifest says of a file."""
    return manifest(file.path.parent)[file.name]


@functools.cache
def recipe(folder: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("windowseat_golden_recipe", folder / "recipe.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


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
