"""The network at work: any size in, padded and cropped, several pictures at once, averaged for ``best``."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dereflect.errors import InputError, Remedy
from dereflect.inference.plan import Quality
from dereflect.inference.prepare import Layers, Prepared
from dereflect.methods.contract import Method, Progress
from dereflect.nn import sharing

BEST_SCALES = (1.0, 0.75)
"""Sizes, relative to the fast one, that ``quality="best"`` averages, each as it is and mirrored."""
# CUDA raises torch.OutOfMemoryError and numpy MemoryError. These have no type of their own:
_OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator: (can't allocate memory|not enough memory)"
    r"|^MPS backend out of memory"
    r"|\bCU(DNN|BLAS)_STATUS_ALLOC_FAILED\b"
)


@dataclass(frozen=True)
class BatchRunner:
    """A method that runs on batches of any size.

    Attributes:
        method: after `Method.prepare`.
        device: where it is.
        dtype: in which it computes.
    """

    method: Method
    device: torch.device
    dtype: torch.dtype = torch.float32

    def __call__(
        self, batch: Tensor, seed: int, quality: Quality = "fast", progress: Progress | None = None
    ) -> Layers:
        """Separate (B, 3, h, w); both layers come back on the CPU in float32, clamped to [0, 1].

        Args:
            batch: float32 sRGB in [0, 1].
            seed: of stochastic methods.
            quality: ``best`` averages mirrored and reduced copies.
            progress: told of the method's own steps, or of the copies.

        Raises:
            InputError: not enough memory.
        """
        if quality == "best":
            return self._average(batch, seed, progress)
        return self._once(batch, seed, progress)

    def _average(self, batch: Tensor, seed: int, progress: Progress | None) -> Layers:
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
        return Layers((batch - removed / len(copies)).clamp(0, 1), (reflected / len(copies)).clamp(0, 1))

    def _once(self, batch: Tensor, seed: int, progress: Progress | None) -> Layers:
        height, width = batch.shape[-2:]
        traits = self.method.traits
        rows, columns = (_padded(side, traits.min_size, traits.size_multiple) for side in (height, width))
        padded = batch[..., _mirror(height, rows), :][..., _mirror(width, columns)]
        # The noise is drawn on the CPU, so that a seed means the same on every device.
        generator = torch.Generator().manual_seed(seed) if traits.random else None
        if self.device.type == "cpu":
            sharing.suit_machine()
        room = traits.any_threads and self.device.type == "cpu" and self.dtype == torch.bfloat16
        try:
            with sharing.leaving_room() if room else contextlib.nullcontext():
                layers = self.method(padded.to(self.device), generator=generator, progress=progress)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(
                f"{width} x {height}",
                f"needs more memory than {self.device} has",
                remedy=Remedy("give a smaller {}", "max_size"),
            ) from error
        return Layers(*(layer[..., :height, :width].to("cpu", torch.float32).clamp(0, 1) for layer in layers))


def run(network: BatchRunner, batch: Sequence[Prepared], progress: Progress | None = None) -> list[Prepared]:
    """Let the network see some pictures of one size at once, and give them back with their layers.

    Args:
        network: to run.
        batch: pictures that the network sees in one shape, with one seed and quality. One that is to be cut
            into tiles is alone, and comes back as it is: `stripes.stripes` runs the network on its tiles.
        progress: told of the network's steps.

    Raises:
        InputError: not enough memory.
    """
    seen = [prepared.seen for prepared in batch if prepared.seen is not None]
    if not seen:
        return list(batch)
    started = time.perf_counter()
    first = batch[0]
    with torch.inference_mode():
        transmissions, reflections = network(torch.stack(seen), first.seed, first.quality, progress)
    seconds = (time.perf_counter() - started) / len(batch)
    return [
        replace(prepared, layers=Layers(transmission, reflection), seconds=prepared.seconds + seconds)
        for prepared, transmission, reflection in zip(batch, transmissions, reflections, strict=True)
    ]


def batches(pictures: Iterable[Prepared], size: int) -> Iterator[list[Prepared]]:
    """Neighbours that the network sees in one shape, up to `size` at a time; those to be tiled go alone."""
    batch: list[Prepared] = []
    for prepared in pictures:
        if batch and _shape(prepared) != _shape(batch[0]):
            yield batch
            batch = []
        batch.append(prepared)
        if len(batch) == size or prepared.seen is None:
            yield batch
            batch = []
    if batch:
        yield batch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was too small: by the exception's type, or by the words of an allocator without one."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None
    )


def _shape(prepared: Prepared) -> torch.Size | None:
    return None if prepared.seen is None else prepared.seen.shape


def _padded(side: int, least: int, multiple: int) -> int:
    return -(-max(side, least) // multiple) * multiple


def _mirror(length: int, wanted: int) -> Tensor:
    """Indices that continue 0 .. length - 1 by reflection up to `wanted`, back and forth if need be."""
    if length == 1:
        return torch.zeros(wanted, dtype=torch.long)
    period = 2 * (length - 1)
    index = torch.arange(wanted) % period
    return torch.minimum(index, period - index)
