"""Where a person's picture meets a method: the one inference path of the whole package."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, overload

import torch

from dereflect import tiling
from dereflect._version import __version__
from dereflect.analysis import Analysis, Job, read_mask
from dereflect.canvas import Canvas, Source
from dereflect.catalog import load_method
from dereflect.devices import (
    available_memory,
    bound_kernel_cache,
    choose_device,
    choose_dtype,
    release_memory,
)
from dereflect.errors import InputError
from dereflect.images import DEFAULT_MAX_PIXELS, read_any
from dereflect.methods.contract import Method, Progress
from dereflect.runner import Runner
from dereflect.separation import Separation, TensorSeparation

HALF_PRECISION_MEMORY = 0.6
"""Working memory in a 16-bit format relative to float32: activations halve, buffers for sums do not."""


class Separator:
    """Separates pictures with one method, on one device.

    Args:
        method: a ready method, see `dereflect.load` for getting one by name.
        name: what to call the model in results.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        dtype: ``auto`` (bfloat16 where the device computes in it), ``float32``, ``bfloat16`` or ``float16``.
        tile: ``auto`` decides by size and memory, ``off`` runs every picture whole, a number cuts tiles of
            that size.
        max_size: longest side that the network may see; larger pictures are fitted. Outputs keep the input's
            size.
        quality: ``fast``, or ``best``: mirrored and resized copies are separated too and averaged, which
            takes about three times as long.
        seed: of random methods. Same input, same seed, same machine: same bytes.
        max_pixels: larger pictures are refused before they are decoded.
        memory: bytes that the network may take at work; half of what is free, if not given.

    Raises:
        InputError: a setting that cannot be followed on this machine.
    """

    def __init__(
        self,
        method: Method,
        *,
        name: str = "",
        device: str = "auto",
        dtype: str = "auto",
        tile: str | int = "auto",
        max_size: int | None = None,
        quality: Literal["fast", "best"] = "fast",
        seed: int = 0,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        memory: int | None = None,
    ) -> None:
        if quality not in ("fast", "best"):
            raise InputError(f"quality '{quality}' is unknown; fast or best")
        if max_size is not None and max_size < 1:
            raise InputError(f"max_size {max_size}: give a number of pixels")
        bound_kernel_cache()
        self.device, self.remark = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.method = method.prepare(self.device, self.dtype)
        self._run = Runner(self.method, self.device, best=quality == "best")
        self.name = name or getattr(method, "family", type(method).__name__)
        self.tile = tile
        self.max_size = max_size
        self.quality = quality
        self.seed = seed
        self.max_pixels = max_pixels
        self.memory = memory
        tiling.plan(
            1, 1, method.traits, 1 << 30, tile, max_size
        )  # refuse a bad `tile` now, not at the first picture

    @property
    def running(self) -> str:
        """Device and number format, e.g. ``cpu in bfloat16``."""
        return f"{self.device} in {str(self.dtype).removeprefix('torch.')}"

    @overload
    def __call__(
        self,
        image: Any,
        *,
        return_tensors: None = None,
        strength: float = 1.0,
        mask: Any = None,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Separation: ...

    @overload
    def __call__(
        self,
        image: Any,
        *,
        return_tensors: Literal["pt"],
        strength: float = 1.0,
        mask: Any = None,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> TensorSeparation: ...

    def __call__(
        self,
        image: Any,
        *,
        return_tensors: str | None = None,
        strength: float = 1.0,
        mask: Any = None,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Separation | TensorSeparation:
        """Separate one picture.

        Args:
            image: a path, a file's bytes, a Pillow image, a numpy array or a torch tensor, see
                `dereflect.images.read_any`.
            return_tensors: ``"pt"`` for float tensors in [0, 1] instead of a `Separation`.
            strength: how much of the reflection to take away: 0 leaves the photo as it was, 1 takes all.
                Below 0 the transmission becomes its opposite: -1 shows the reflection alone.
            mask: where to take it away: a grey picture of the same size in any form that `image` may have,
                white for yes, grey for in part.
            seed: of random methods, in place of the Separator's own.
            progress: called with (done, total) within a long separation.

        Raises:
            InputError: the picture or an argument cannot be used.
        """
        if return_tensors not in (None, "pt"):
            raise InputError(f"return_tensors '{return_tensors}' is unknown; leave it out, or give 'pt'")
        analysis = self.analyse(image, seed=seed, progress=progress)
        if return_tensors == "pt":
            canvas = self._develop(analysis, strength, mask, progress, as_floats=True)
            return TensorSeparation(*canvas.tensors())
        return self.develop(analysis, strength=strength, mask=mask, progress=progress)

    def analyse(self, image: Any, *, seed: int | None = None, progress: Progress | None = None) -> Analysis:
        """Do the part of a separation that does not depend on strength and mask: reading, and the network.

        Args:
            image, seed, progress: as for a call.

        Raises:
            InputError: as for a call.
        """
        started = time.perf_counter()
        job = self._prepare(image)
        layers = None
        if job.small is not None:
            with torch.inference_mode():
                layers = self._run(job.small[None], self.seed if seed is None else seed, progress)
        return Analysis(job, layers, seed, time.perf_counter() - started)

    def develop(
        self, analysis: Analysis, *, strength: float = 1.0, mask: Any = None, progress: Progress | None = None
    ) -> Separation:
        """Finish a separation, as often as wanted: the same bytes as a call, without running the network.

        (A tiled run is the exception: its tiles are too much to keep, so the network runs each time.)

        Args:
            analysis: of `analyse`, by this Separator.
            strength, mask, progress: as for a call.

        Raises:
            InputError: as for a call.
        """
        started = time.perf_counter()
        canvas = self._develop(analysis, strength, mask, progress)
        return self._result(analysis._job, canvas, analysis.seconds + time.perf_counter() - started)

    def _develop(
        self,
        analysis: Analysis,
        strength: float,
        mask: Any,
        progress: Progress | None,
        as_floats: bool = False,
    ) -> Canvas:
        job = analysis._job
        canvas = Canvas(job.source, strength, read_mask(mask, job.picture, self.max_pixels), as_floats)
        with torch.inference_mode():
            self._paint(job, analysis._layers, canvas, analysis._seed, progress)
        return canvas

    def stream(self, inputs: Iterable[Any], batch_size: int = 1, **call: Any) -> Iterator[Separation]:
        """Separate pictures one after the other, in order, holding no more than a batch of them.

        Args:
            inputs: pictures in any form that a call takes.
            batch_size: neighbours that the network would see at one size go through it together, up to this
                many, where the method can. A batch may round differently from single pictures in the last
                bit.
            call: `strength`, `mask` and `seed`, as for a single call.

        Raises:
            InputError: at the first picture that cannot be used.
        """
        if batch_size < 1:
            raise InputError(f"batch_size {batch_size}: give 1 or more")
        traits = self.method.traits
        if batch_size == 1 or not traits.batchable or traits.random:
            for image in inputs:
                yield self(image, **call)
            return
        waiting: list[Job] = []
        for image in inputs:
            job = self._prepare(image)
            fits = job.small is not None and (not waiting or waiting[0].shape == job.shape)
            if waiting and (not fits or len(waiting) == batch_size):
                yield from self._run_batch(waiting, **call)
                waiting = []
            waiting.append(job)
        if waiting:
            yield from self._run_batch(waiting, **call)

    def _run_batch(
        self, jobs: list[Job], strength: float = 1.0, mask: Any = None, seed: int | None = None
    ) -> Iterator[Separation]:
        with torch.inference_mode():
            started = time.perf_counter()
            smalls = [job.small for job in jobs if job.small is not None]
            layers = None
            if smalls:
                layers = self._run(torch.stack(smalls), self.seed if seed is None else seed, None)
            shared = (time.perf_counter() - started) / len(jobs)
            for index, job in enumerate(jobs):
                started = time.perf_counter()
                canvas = Canvas(job.source, strength, read_mask(mask, job.picture, self.max_pixels))
                mine = (
                    None if layers is None else (layers[0][index : index + 1], layers[1][index : index + 1])
                )
                self._paint(job, mine, canvas, seed, None)
                yield self._result(job, canvas, shared + time.perf_counter() - started)

    def _prepare(self, image: Any) -> Job:
        name = Path(os.fspath(image)).stem if isinstance(image, (str, os.PathLike)) else "picture"
        picture = read_any(image, self.max_pixels)
        source = Source(picture)
        traits = self.method.traits
        budget = self.memory or available_memory(self.device) // 2
        if self.dtype is not torch.float32:
            budget = int(budget / HALF_PRECISION_MEMORY)
        layout = tiling.plan(picture.height, picture.width, traits, budget, self.tile, self.max_size)
        small = None
        if layout.kind == "whole":
            small = source.rows(0, picture.height)
        elif layout.kind == "fitted":
            small = source.reduced(layout.height, layout.width)
        return Job(picture, source, layout, small, name)

    def _paint(
        self,
        job: Job,
        layers: tiling.Layers | None,
        canvas: Canvas,
        seed: int | None,
        progress: Progress | None,
    ) -> None:
        own_seed = self.seed if seed is None else seed
        for stripe in job.stripes(layers, lambda tile: self._run(tile, own_seed, None), progress):
            canvas.paint(stripe)

    def _result(self, job: Job, canvas: Canvas, seconds: float) -> Separation:
        transmission, reflection = canvas.pixels()
        release_memory()
        pictures = {
            "blended": job.picture,
            "transmission": job.picture.with_pixels(transmission),
            "reflection": job.picture.with_pixels(reflection),
        }
        return Separation(
            pictures=pictures,
            seconds=seconds,
            model=self.name,
            version=__version__,
            how=str(job.layout),
            device=self.running,
            residual=canvas.residual(),
            name=job.name,
        )


def load(
    source: str | os.PathLike[str] = "default",
    *,
    options: Mapping[str, str] | None = None,
    **settings: Any,
) -> Separator:
    """Get a `Separator` for a model.

    Args:
        source: a name (``dereflect models`` lists them), a model folder, a checkpoint file, or a hub id.
        options: free settings of the method, as strings.
        settings: of `Separator`: ``device``, ``dtype``, ``tile``, ``max_size``, ``quality``, ``seed``, ...

    Raises:
        ModelError: nothing of that name, or weights that cannot be used.
        InputError: a setting that cannot be followed on this machine.
    """
    method, name = load_method(source, options)
    return Separator(method, name=name, **settings)


def separate(image: Any, model: str | os.PathLike[str] = "default", **settings: Any) -> Separation:
    """Separate one picture: ``load(model, **settings)(image)``. For several, `load` once and call often."""
    return load(model, **settings)(image)
