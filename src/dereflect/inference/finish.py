"""From stripes of both layers to finished pictures, in the input's own colour space and depth."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dereflect.images.picture import Array, convert_depth
from dereflect.inference.prepare import Prepared
from dereflect.inference.removal import Removal
from dereflect.inference.stripes import Stripe

LUMA = (0.2126, 0.7152, 0.0722)
"""Weights of red, green and blue in grey (Rec. 709)."""


class Finished(NamedTuple):
    """Both layers of a whole picture, (H, W) or (H, W, 3) each, and how badly they explain it.

    `residual` is the mean absolute difference, in [0, 1], between the photo and the layers' sum clipped at
    white. `changed` is whether the network changed any of what it saw, see `Stripe`.
    """

    transmission: Array
    reflection: Array
    residual: float
    changed: bool


@torch.inference_mode()
def finish(
    prepared: Prepared, stripes: Iterable[Stripe], removal: Removal, as_floats: bool = False
) -> Finished:
    """Put stripes together, with as much taken away as is wanted.

    Args:
        prepared: the picture.
        stripes: of its layers, from top to bottom.
        removal: how much to take away, and where.
        as_floats: give float32 sRGB, for tensors, instead of the picture's own space and depth.
    """
    pixels = prepared.picture.pixels
    dtype = np.dtype(np.float32) if as_floats else pixels.dtype
    transmission, reflection = np.empty(pixels.shape, dtype), np.empty(pixels.shape, dtype)
    difference, changed = 0.0, False
    for stripe in stripes:
        rows = slice(stripe.start, stripe.start + stripe.photo.shape[1])
        shown, reflected, explained = _taken_away(stripe, removal, rows)
        changed |= stripe.changed
        difference += float((stripe.photo - explained).abs().sum(dtype=torch.float64))
        transmission[rows] = _transmission_pixels(shown, stripe.photo, rows, prepared, dtype)
        reflection[rows] = _own_pixels(reflected, prepared, dtype)
    residual = difference / (3 * prepared.picture.height * prepared.picture.width)
    return Finished(transmission, reflection, residual, changed)


def as_tensor(layer: Array) -> Tensor:
    """(H, W) or (H, W, 3) as a tensor, (1, H, W) or (3, H, W)."""
    return torch.from_numpy(
        layer[None] if layer.ndim == 2 else np.ascontiguousarray(layer.transpose(2, 0, 1))
    )


def _taken_away(stripe: Stripe, removal: Removal, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Transmission and reflection to show, and the photo as both layers explain it; (3, rows, W) each."""
    photo = stripe.photo
    transmission, reflection = stripe.transmission.clamp(0, 1), stripe.reflection.clamp(0, 1)
    only_reflection = reflection
    share = removal.share(rows.start, rows.stop)
    if share is not None:
        only_reflection = photo + share * (reflection - photo)
        transmission = photo + share * (transmission - photo)
        reflection = share * reflection
    explained = (transmission + reflection).clamp(0, 1)
    return (only_reflection if removal.strength < 0 else transmission), reflection, explained


def _transmission_pixels(
    layer: Tensor, photo: Tensor, rows: slice, prepared: Prepared, dtype: np.dtype[np.generic]
) -> Array:
    """As `_own_pixels`; what did not change keeps the colours that sRGB cannot hold.

    To that end, only the change goes through the conversion between colour spaces.
    """
    changed = _own_pixels(layer, prepared, dtype)
    if prepared.space is None or dtype == np.float32:
        return changed
    own = prepared.picture.pixels[rows]
    before = _own_pixels(photo, prepared, dtype)
    kept = own.astype(np.int32) + changed.astype(np.int32) - before.astype(np.int32)
    return kept.clip(0, prepared.picture.scale).astype(dtype)


def _own_pixels(layer: Tensor, prepared: Prepared, dtype: np.dtype[np.generic]) -> Array:
    """(3, rows, W) sRGB floats to the picture's own space and depth, rounded; floats stay in sRGB."""
    if prepared.picture.grey:
        layer = (layer * torch.tensor(LUMA)[:, None, None]).sum(0, keepdim=True)
    pixels = convert_depth(layer.permute(1, 2, 0).numpy(), dtype)
    pixels = pixels[..., 0] if prepared.picture.grey else pixels
    return pixels if prepared.space is None or dtype == np.float32 else prepared.space.from_srgb(pixels)
