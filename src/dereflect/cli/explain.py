"""`dereflect separate --explain`: heat maps of what a generative method may have invented."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dereflect.errors import InputError
from dereflect.methods.contract import Method


def explain_paths(method: Method, folder: Path, stem: str) -> dict[str, Path]:
    """Where the maps of a photo go, by the method's names for them.

    Raises:
        InputError: the method makes no such maps.
    """
    if not method.explanations:
        raise InputError(None, f"the method {method.family} has no such maps; leave it out", option="explain")
    return {name: folder / f"{stem}_{name}.png" for name in method.explanations}


def explained(method: Method, result: Any, paths: dict[str, Path]) -> dict[Path, bytes]:
    """The maps of a `Separation` as PNG files, by path; see `heat` for their colours."""
    pictures = [
        _floats(result.pictures[name].to_numpy()) for name in ("blended", "transmission", "reflection")
    ]
    device = next(method.parameters()).device
    with torch.inference_mode():
        maps = method.explain(*(picture.to(device) for picture in pictures))
    contents = {}
    for name, path in paths.items():
        buffer = io.BytesIO()
        heat(maps[name][0, 0].cpu()).save(buffer, format="PNG")
        contents[path] = buffer.getvalue()
    return contents


def heat(values: Tensor) -> Image.Image:
    """(H, W) in [0, 1] as a picture: black, red, yellow, white in equal parts."""
    ramps = torch.stack([3 * values, 3 * values - 1, 3 * values - 2], dim=-1)
    return Image.fromarray((ramps.clamp(0, 1) * 255).round().byte().numpy())


def _floats(pixels: Any) -> Tensor:
    """Pixels of any depth to (1, 3, H, W) float32 in [0, 1]."""
    scale = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1.0
    values = torch.from_numpy(pixels.astype(np.float32) / scale)
    if values.dim() == 2:
        values = values[..., None]
    return values[..., :3].expand(-1, -1, 3).permute(2, 0, 1)[None]
