"""Methods that a test can see through, and pictures for them."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dereflect.methods.contract import Method, Traits

SHARE = 0.7771  # no byte times this lies half-way between two levels


class Share(Method):
    """Gives a fixed share of the photo to the transmission and the rest to the reflection."""

    family = "share"

    def __init__(self, share: float = SHARE, **traits) -> None:
        super().__init__()
        self.share = share
        self.traits = Traits(**traits)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, blended: Tensor, *, generator=None, progress=None) -> tuple[Tensor, Tensor]:
        assert blended.dtype == torch.float32
        assert all(side % self.traits.size_multiple == 0 for side in blended.shape[-2:])
        assert all(side >= self.traits.min_size for side in blended.shape[-2:])
        self.seen.append(tuple(blended.shape))
        if progress is not None:
            progress(1, 1)
        return self.share * blended, (1 - self.share) * blended


class Noise(Method):
    """Takes seeded noise for the reflection."""

    family = "noise"
    traits = Traits(random=True, tile_overlap=8)

    def forward(self, blended: Tensor, *, generator=None, progress=None) -> tuple[Tensor, Tensor]:
        assert generator is not None
        noise = 0.1 * torch.rand(blended.shape, generator=generator)
        return blended - noise, noise


def array(height: int = 30, width: int = 40, channels: int = 3, dtype=np.uint8, seed: int = 1) -> np.ndarray:
    """A picture of noise; (H, W) for one channel."""
    values = np.random.default_rng(seed).integers(
        0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype
    )
    return values[..., 0] if channels == 1 else values


def saved(image: Image.Image, name: str, **options) -> bytes:
    """An image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, format=name, **options)
    return buffer.getvalue()
