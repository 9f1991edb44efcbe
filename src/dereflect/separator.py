"""Where a person's picture meets a method: the one inference path of the whole package."""

from __future__ import annotations

import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from dereflect._version import __version__
from dereflect.catalog import load_method
from dereflect.devices import bound_kernel_cache, release_memory
from dereflect.errors import DereflectError, InputError, Remedy
from dereflect.images import DEFAULT_MAX_PIXELS
from dereflect.inference.best import settled
from dereflect.inference.faults import StreamFaults
from dereflect.inference.finish import as_tensor, finish
from dereflect.inference.guided import guide
from dereflect.inference.place import choose_place
from dereflect.inference.plan import Quality, SeparatorSettings, check_settings, memory_budget
from dereflect.inference.prepare import Prepared, prepare
from dereflect.inference.removal import Removal, make_removal
from dereflect.inference.run import BatchRunner, batches, run
from dereflect.inference.stripes import stripes
from dereflect.inference.strokes import Strokes, read_strokes
from dereflect.methods.contract import Method, Progress
from dereflect.nn import sharing
from dereflect.separation import Separation, TensorSeparation


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
            takes about three times as long. Each call may choose another.
        seed: of stochastic methods. Same input, same seed, same machine: same bytes. Each call may choose
            another.
        max_pixels: larger pictures are refused before they are decoded.
        raw_space: colour space in which cameras' raw files are developed, a name in
            `dereflect.images.raw.SPACES`.
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
        quality: Quality = "fast",
        seed: int = 0,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        raw_space: str = "srgb",
        memory: int | None = None,
    ) -> None:
        check_settings(SeparatorSettings(tile, max_size, quality, raw_space=raw_space), method.traits)
        bound_kernel_cache()
        self.device, self.remark, self.dtype = choose_place(method, device, dtype)
        if self.device.type == "cpu":
            sharing.suit_machine()
        self.method = method.prepare(self.device, self.dtype)
        self.name = name or getattr(method, "family", type(method).__name__)
        self.tile = tile
        self.max_size = max_size
        self.quality: Quality = quality
        self.seed = seed
        self.max_pixels = max_pixels
        self.raw_space = raw_space
        self.memory = memory
        self._network = BatchRunner(self.method, self.device, self.dtype)

    @property
    def running(self) -> str:
        """Device and number format, e.g. ``cpu in bfloat16``."""
        return f"{self.device} in {str(self.dtype).removeprefix('torch.')}"

    def __call__(
        self,
        image: Any,
        *,
        strength: float = 1.0,
        mask: Any = None,
        strokes: Any = None,
        quality: Quality | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
        return_tensors: str | None = None,
    ) -> Separation:
        """Separate one picture.

        Args:
            image: a path, a file's bytes, a Pillow image, a numpy array or a torch tensor, see
                `dereflect.images.read_any`.
            strength: how much of the reflection to take away: 0 leaves the photo as it was, 1 takes all.
                Below 0 the transmission becomes its opposite: -1 shows the reflection alone.
            mask: where to take it away: a grey picture in any form that `image` may have, white for yes, grey
                for in part; of the picture's size, or of its proportions.
            strokes: what a person says of it: a picture like `mask`, but transparent, with red strokes where
                reflection was left and blue ones where scene was taken away, or
                `dereflect.inference.strokes.Strokes`; see `dereflect.inference.guided`.
            quality: ``fast`` or ``best``, in place of the Separator's own.
            seed: of stochastic methods, in place of the Separator's own.
            progress: called with (done, total) within a long separation.
            return_tensors: deprecated: ``"pt"`` gives what `tensors` gives.

        Raises:
            InputError: the picture or an argument cannot be used.
        """
        if return_tensors is not None:
            if return_tensors != "pt":
                raise InputError(return_tensors, "unknown; call tensors()", option="return_tensors")
            warnings.warn(
                "return_tensors is deprecated; call separator.tensors(image) instead",
                DeprecationWarning,
                stacklevel=2,
            )
            call = {"strength": strength, "mask": mask, "strokes": strokes, "quality": quality, "seed": seed}
            return cast(Any, self.tensors(image, progress=progress, **call))
        prepared = self._prepare(image, quality, seed)
        removal = make_removal(strength, mask, prepared.picture, self.max_pixels)
        said = self._said(strokes, prepared)
        analysis = guide(run(self._network, [prepared], progress)[0], said)
        return self._separation(analysis, removal, progress)

    def tensors(
        self,
        image: Any,
        *,
        strength: float = 1.0,
        mask: Any = None,
        strokes: Any = None,
        quality: Quality | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> TensorSeparation:
        """Separate one picture into float32 sRGB tensors in [0, 1], without rounding.

        Args:
            image, strength, mask, strokes, quality, seed, progress: as for a call.

        Returns:
            (transmission, reflection), (3, H, W) each, or (1, H, W) for a grey picture.

        Raises:
            InputError: as for a call.
        """
        prepared = self._prepare(image, quality, seed)
        removal = make_removal(strength, mask, prepared.picture, self.max_pixels)
        said = self._said(strokes, prepared)
        prepared = guide(run(self._network, [prepared], progress)[0], said)
        layers = stripes(self._network, prepared, progress)
        finished = finish(prepared, layers, removal, as_floats=True)
        return TensorSeparation(as_tensor(finished.transmission), as_tensor(finished.reflection))

    def analyse(
        self,
        image: Any,
        *,
        quality: Quality | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Prepared:
        """Do what does not depend on strength, mask and strokes: reading, and the network.

        Args:
            image, quality, seed, progress: as for a call.

        Raises:
            InputError: as for a call.
        """
        return run(self._network, [self._prepare(image, quality, seed)], progress)[0]

    def develop(
        self,
        analysis: Prepared,
        *,
        strength: float = 1.0,
        mask: Any = None,
        strokes: Any = None,
        progress: Progress | None = None,
    ) -> Separation:
        """Finish a separation, as often as wanted: the same bytes as a call, without running the network.

        (A tiled run is the exception: its tiles are too much to keep, so the network runs each time.)

        Args:
            analysis: of `analyse`, by this Separator.
            strength, mask, strokes, progress: as for a call.

        Raises:
            InputError: as for a call.
        """
        removal = make_removal(strength, mask, analysis.picture, self.max_pixels)
        return self._separation(guide(analysis, self._said(strokes, analysis)), removal, progress)

    def stream(
        self,
        inputs: Iterable[Any],
        batch_size: int = 1,
        *,
        strength: float = 1.0,
        mask: Any = None,
        quality: Quality | None = None,
        seed: int | None = None,
        failed: Callable[[int, DereflectError], None] | None = None,
    ) -> Iterator[Separation]:
        """Separate pictures one after the other, in order, holding no more than a batch of them.

        One that fails, for whatever reason, is left out, and the others come all the same.

        Args:
            inputs: pictures in any form that a call takes.
            batch_size: neighbours that the network would see at one size go through it together, up to this
                many, where the method can. A batch may round differently from single pictures in the last
                bit.
            strength, mask, quality, seed: as for a call.
            failed: told of each picture that fails: its number, from 0, and what is wrong.

        Raises:
            InputError: an argument cannot be used; or, at the end and without `failed`, pictures failed.
        """
        if batch_size < 1:
            raise InputError(batch_size, "give 1 or more", option="batch_size")
        traits = self.method.traits
        size = batch_size if traits.batchable and not traits.random else 1
        faults = StreamFaults(failed)
        waiting: deque[tuple[int, Removal]] = deque()

        def prepared() -> Iterator[Prepared]:
            for faults.seen, image in enumerate(inputs):
                with faults.noted(faults.seen, image):
                    each = self._prepare(image, quality, seed)
                    removal = make_removal(strength, mask, each.picture, self.max_pixels)
                    waiting.append((faults.seen, removal))
                    yield each

        for batch in batches(prepared(), size):
            for each in self._run_all(batch):
                number, removal = waiting.popleft()
                result = None
                with faults.noted(number):
                    ran = run(self._network, [each])[0] if each.layers is None else each
                    result = self._separation(ran, removal)
                if result is not None:
                    yield result
        faults.finish()

    def _run_all(self, batch: list[Prepared]) -> list[Prepared]:
        """The network's results for a batch; the batch as it was where it is to be run singly."""
        try:
            return batch if len(batch) == 1 else run(self._network, batch)
        except Exception:  # one of them is at fault, or they are too much at once
            return batch

    def _prepare(self, image: Any, quality: Quality | None, seed: int | None) -> Prepared:
        settings = SeparatorSettings(
            self.tile,
            self.max_size,
            quality or self.quality,
            self.seed if seed is None else seed,
            self.max_pixels,
            self.raw_space,
        )
        traits = self.method.traits
        budget = memory_budget(self.memory, self.device, self.dtype)
        return prepare(image, check_settings(settings, traits), traits, budget)

    def _said(self, strokes: Any, prepared: Prepared) -> Strokes | None:
        said = read_strokes(strokes, prepared.picture, self.max_pixels)
        if said is not None and prepared.plan.kind == "tiled":
            remedy = Remedy("leave out {}", "tile")
            raise InputError(
                None, "need the picture whole or fitted, not in tiles", option="strokes", remedy=remedy
            )
        return said

    def _separation(
        self, prepared: Prepared, removal: Removal, progress: Progress | None = None
    ) -> Separation:
        started = time.perf_counter()
        finished = finish(prepared, stripes(self._network, prepared, progress), removal)
        release_memory()
        picture = prepared.picture
        return Separation(
            pictures={
                "blended": picture,
                "transmission": picture.with_pixels(finished.transmission),
                "reflection": picture.with_pixels(finished.reflection),
            },
            seconds=prepared.seconds + time.perf_counter() - started,
            model=self.name,
            version=__version__,
            how=str(prepared.plan),
            device=self.running,
            residual=finished.residual,
            reflection_found=finished.changed if self.method.traits.fades else None,
            name=prepared.name,
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
            ``best`` takes the best model that is on the disk and fits the memory, and logs which and why; see
            `dereflect.inference.best`.
        options: free settings of the method, as strings.
        settings: of `Separator`: ``device``, ``dtype``, ``tile``, ``max_size``, ``quality``, ``seed``, ...

    Raises:
        ModelError: nothing of that name, or weights that cannot be used.
        InputError: a setting that cannot be followed on this machine.
    """
    sharing.suit_machine()
    method, name = load_method(settled(source, str(settings.get("device", "auto"))), options)
    return Separator(method, name=name, **settings)


def separate(image: Any, model: str | os.PathLike[str] = "default", **settings: Any) -> Separation:
    """Separate one picture: ``load(model, **settings)(image)``. For several, `load` once and call often."""
    return load(model, **settings)(image)
