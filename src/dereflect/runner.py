"""A method on a device: any size in, padded and cropped, once or as an average of several copies."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dereflect.errors import InputError
from dereflect.methods.contract import Method, Progress
from dereflect.tiling import Layers

BEST_SCALES = (1.0, 0.75)
"""Sizes, relative to the fast one, that ``quality="best"`` averages, each as it is and mirrored."""


class Runner:
    """Runs a prepared method on batches of any size.

    Args:
        method: after `Method.prepare`.
        device: where it is.
        best: average mirrored and reduced copies.
    """

    def __init__(self, method: Method, device: torch.device, best: bool = False) -> None:
        self.method = method
        self.device = device
        self.best = best

    def __call__(self, batch: Tensor, seed: int, progress: Progress | None = None) -> Layers:
        """Separate (B, 3, h, w); both layers come back on the CPU in float32, clamped to [0, 1].

        Raises:
            InputError: not enough memory.
        """
        if not self.best:
            return self._once(batch, seed, progress)
        size = (batch.shape[-2], batch.shape[-1])
        removed, reflected = torch.zeros_like(batch), torch.zeros_like(batch)
        copies = [(scale, mirrored) for scale in BEST_SCALES for mirrored in (False, True)]
        for done, (scale, mirrored) in enumerate(copies, start=1):
            copy = batch.flip(-1) if mirrored else batch
            if scale != 1.0:
                smaller = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
                copy = F.interpolate(copy, smaller, mode="bicubic", antialias=True).clamp(0, 1)
            transmission, reflection = self._once(copy, seed, None)
            # What a smaller copy takes away is enlarged, not the smaller copy itself: detail stays.
            for total, layer in ((removed, copy - transmission), (reflected, reflection)):
                full = layer if scale == 1.0 else F.interpolate(layer, size, mode="bicubic")
                total += full.flip(-1) if mirrored else full
            if progress is not None:
                progress(done, len(copies))
        return (batch - removed / len(copies)).clamp(0, 1), (reflected / len(copies)).clamp(0, 1)

    def _once(self, batch: Tensor, seed: int, progress: Progress | None) -> Layers:
        height, width = batch.shape[-2:]
        traits = self.method.traits
        rows, columns = (_padded(side, traits.min_size, traits.size_multiple) for side in (height, width))
        padded = batch[..., _mirror(height, rows), :][..., _mirror(width, columns)]
        # The noise is drawn on the CPU, so that a seed means the same on every device.
        generator = torch.Generator().manual_seed(seed) if traits.random else None
        try:
            layers = self.method(padded.to(self.device), generator=generator, progress=progress)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            raise InputError(
                f"{width} x {height} needs more memory than {self.device} has; give a smaller --max-size"
            ) from error
        transmission, reflection = (
            layer[..., :height, :width].to("cpu", torch.float32).clamp(0, 1) for layer in layers
        )
        return transmission, reflection


def _padded(side: int, least: int, multiple: int) -> int:
    return -(-max(side, least) // multiple) * multiple


def _mirror(length: int, wanted: int) -> Tensor:
    """Indices that continue 0 .. length - 1 by reflection up to `wanted`, back and forth if need be."""
    if length == 1:
        return torch.zeros(wanted, dtype=torch.long)
    period = 2 * (length - 1)
    index = torch.arange(wanted) % period
    return torch.minimum(index, period - index)
