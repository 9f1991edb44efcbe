"""What a method must be to separate, and nothing more (CONTRIBUTING.md shows how to add one).

What it tells of itself, its cards, settings, trainings and verbs, is its `dereflect.methods.family.Family`;
how it is trained, its `dereflect.methods.objective.Objective`.

A method is a `torch.nn.Module` that separates a float batch. Padding to a multiple, tiling, devices, colour
and files are not its business: the `Separator` does them for every method alike.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)`` by methods that work in many steps."""


@dataclass(frozen=True)
class Traits:
    """What the Separator must know of a method to run it well."""

    size_multiple: int = 1
    """Height and width handed to `Method.forward` are multiples of this: the Separator pads by reflection."""
    min_size: int = 1
    """Smallest height and width that `Method.forward` takes (smaller pictures are padded up to it)."""
    working_size: int = 1024
    """Longer side, in pixels, above which a *fitted* run separates a reduced copy."""
    tileable: bool = True
    """Whether a tile's result equals the whole picture's away from the tile's border."""
    tile_overlap: int = 64
    """Overlap of neighbouring tiles in pixels: at least the reach of the network's local context."""
    random: bool = False
    """Whether the result depends on a `torch.Generator`."""
    fades: bool = False
    """Whether it gives a photo in which it finds no reflection back as it was, with a reflection of all but
    nothing; the Separator then says so."""
    any_threads: bool = False
    """Whether in bfloat16 the number of threads changes no bit of the result; then there are fewer of them
    while other programs are busy."""
    batchable: bool = True
    """Whether several pictures of one size may share a batch."""
    bytes_per_pixel: int = 2000
    """Peak working memory per input pixel in float32, measured; the Separator's memory budget uses it."""


class Method(nn.Module):
    """Base class of all methods.

    Subclasses set `family` and `traits`, keep their configuration dataclass in `config`, and implement
    `forward`.
    """

    family: ClassVar[str]
    traits: Traits
    config: Any
    dtype: torch.dtype = torch.float32
    devices: ClassVar[tuple[str, ...]] = ()
    """Kinds of device on which it runs, e.g. ``("cpu",)``; empty for any."""
    fixed_dtype: torch.dtype | None = None
    """What it computes in, whatever is asked for; None where that can be chosen."""
    explanations: ClassVar[tuple[str, ...]] = ()
    """Names of the maps that `explain` makes; none by default."""

    def forward(
        self, blended: Tensor, *, generator: torch.Generator | None = None, progress: Progress | None = None
    ) -> tuple[Tensor, Tensor]:
        """Separate a batch.

        Args:
            blended: (B, 3, H, W) float32 in [0, 1], sRGB, H and W multiples of ``traits.size_multiple``.
            generator: source of noise of stochastic methods; ignored by the others.
            progress: called after each step of methods that take many.

        Returns:
            (transmission, reflection), each (B, 3, H, W) float32, nominally in [0, 1] (the Separator clamps).
        """
        raise NotImplementedError

    def explain(self, blended: Tensor, transmission: Tensor, reflection: Tensor) -> dict[str, Tensor]:
        """Maps of what the method may have invented, for those that name some in `explanations`.

        Args:
            blended, transmission, reflection: (B, 3, H, W) in [0, 1], as read and as separated.

        Returns:
            One map a name, (B, 1, H, W) in [0, 1].
        """
        raise NotImplementedError

    def prepare(self, device: torch.device, dtype: torch.dtype) -> Method:
        """Move to `device` and choose the dtype to compute in; input and output of `forward` stay float32.

        The default converts every parameter and uses channels-last, which is what convolutions like.
        A method with parts that must stay float32 overrides this.
        """
        self.dtype = dtype
        self.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self.eval()

    def saved_state(self) -> dict[str, Tensor]:
        """The tensors that `save_pretrained` writes, by the names that the family's ``from_folder`` reads."""
        return self.state_dict()

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json`` and ``model.safetensors`` into `folder`, each whole or not at all."""
        from dereflect.files import write_text
        from dereflect.weights import save_state

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_state(self.saved_state(), folder / "model.safetensors")
        text = json.dumps({"method": self.family, "config": asdict(self.config)}, indent=2)
        write_text(text + "\n", folder / "config.json")
