"""Between a picture's own pixels and the network's sRGB floats, a few rows at a time."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dereflect.errors import InputError
from dereflect.images import Picture
from dereflect.images.colour import colour_space
from dereflect.images.picture import Array, convert_depth
from dereflect.images.tensors import to_tensor
from dereflect.tiling import Stripe

LUMA = (0.2126, 0.7152, 0.0722)
"""Weights of red, green and blue in grey (Rec. 709)."""


class Source:
    """A picture as the network sees it: (3, rows, W) float32 sRGB in [0, 1]."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.space = None if picture.grey else colour_space(picture.metadata.icc)

    def own(self, start: int, stop: int) -> Array:
        """Some rows in the picture's own space and depth, (rows, W, 3); grey three times."""
        pixels = self.picture.pixels[start:stop]
        return np.repeat(pixels[..., None], 3, axis=2) if self.picture.grey else pixels

    def srgb(self, start: int, stop: int) -> Array:
        """Some rows in sRGB and the picture's own depth, (rows, W, 3)."""
        own = self.own(start, stop)
        return own if self.space is None else self.space.to_srgb(own)

    def rows(self, start: int, stop: int) -> Tensor:
        """Some rows as the network sees them, (3, rows, W)."""
        return to_tensor(self.srgb(start, stop))

    def reduced(self, height: int, width: int) -> Tensor:
        """The whole picture reduced to (3, height, width), every original pixel counted."""
        pixels = self.picture.pixels
        if pixels.dtype == np.uint8:
            small = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
        else:
            planes = pixels[..., None] if pixels.ndim == 2 else pixels
            resized = [
                np.asarray(
                    Image.fromarray(planes[..., channel].astype(np.float32)).resize(
                        (width, height), Image.Resampling.BICUBIC
                    )
                )
                for channel in range(planes.shape[2])
            ]
            small = np.stack(resized, axis=-1).clip(0, self.picture.scale)
            if pixels.dtype == np.uint16:
                small = np.rint(small).astype(np.uint16)
        if small.ndim == 2 or small.shape[2] == 1:
            small = np.repeat(small.reshape(height, width, 1), 3, axis=2)
        return to_tensor(small if self.space is None else self.space.to_srgb(small))


class Canvas:
    """Takes stripes of both layers and holds the finished pictures, in the input's own space and depth.

    Args:
        source: the input.
        strength: share of the reflection that is taken away, 0 to 1; below 0 down to -1, share of everything
            but the reflection that is taken away.
        mask: (H, W) float32 in [0, 1], where it is taken away; None for everywhere.
        as_floats: hold float32 sRGB, for tensors, instead of the picture's own depth.

    Raises:
        InputError: a strength outside -1 to 1.
    """

    def __init__(
        self, source: Source, strength: float = 1.0, mask: Array | None = None, as_floats: bool = False
    ) -> None:
        if not -1.0 <= strength <= 1.0:
            raise InputError(f"strength {strength}: give a number from -1 to 1")
        self.source = source
        self.strength = strength
        self.mask = mask
        picture = source.picture
        dtype = np.dtype(np.float32) if as_floats else picture.pixels.dtype
        self._floats = as_floats or picture.pixels.dtype == np.float32
        self._transmission = np.empty(picture.pixels.shape, dtype)
        self._reflection = np.empty(picture.pixels.shape, dtype)
        self._difference = 0.0

    def paint(self, stripe: Stripe) -> None:
        """Finish some rows."""
        start, stop = stripe.start, stripe.start + stripe.transmission.shape[1]
        photo = self.source.rows(start, stop)
        transmission, reflection = stripe.transmission.clamp(0, 1), stripe.reflection.clamp(0, 1)
        if self.strength < 1.0 or self.mask is not None:
            share = torch.tensor(abs(self.strength))
            if self.mask is not None:
                share = share * torch.from_numpy(self.mask[start:stop])
            only_reflection = photo + share * (reflection - photo)
            transmission = photo + share * (transmission - photo)
            reflection = share * reflection
        explained = (transmission + reflection).clamp(0, 1)
        self._difference += float((photo - explained).abs().sum(dtype=torch.float64))
        if self.strength < 0.0:
            transmission = only_reflection
        self._transmission[start:stop] = self._finish(transmission, start, stop, keep_own=True)
        self._reflection[start:stop] = self._finish(reflection, start, stop, keep_own=False)

    def _finish(self, layer: Tensor, start: int, stop: int, keep_own: bool) -> Array:
        """(3, rows, W) sRGB floats to the picture's own pixels, rounded to the nearest level."""
        picture, space = self.source.picture, self.source.space
        if picture.grey:
            layer = (layer * torch.tensor(LUMA)[:, None, None]).sum(0)
            return convert_depth(layer.numpy(), self._transmission.dtype)
        values = layer.permute(1, 2, 0).numpy()
        if self._floats:
            return values
        pixels = convert_depth(values, picture.pixels.dtype)
        if space is None:
            return pixels
        changed = space.from_srgb(pixels)
        if not keep_own:
            return changed
        # Only the change goes through the conversion: what did not change keeps the colours that sRGB cannot
        # hold.
        kept = self.source.own(start, stop).astype(np.int32)
        before = space.from_srgb(self.source.srgb(start, stop)).astype(np.int32)
        return (kept + changed.astype(np.int32) - before).clip(0, picture.scale).astype(picture.pixels.dtype)

    def pixels(self) -> tuple[Array, Array]:
        """Both layers, (H, W) or (H, W, 3), in the input's own depth."""
        return self._transmission, self._reflection

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Both layers as float32 tensors, (1, H, W) or (3, H, W), in sRGB."""
        layers = (self._transmission, self._reflection)
        first, second = (
            torch.from_numpy(
                layer[None] if layer.ndim == 2 else np.ascontiguousarray(layer.transpose(2, 0, 1))
            )
            for layer in layers
        )
        return first, second

    def residual(self) -> float:
        """Mean absolute difference between the input and both layers' sum clipped at white, in [0, 1]."""
        return self._difference / (3 * self.source.picture.height * self.source.picture.width)
