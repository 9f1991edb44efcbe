"""WindowSeat as the catalog builds it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dereflect.downloads import ReportBytes
from dereflect.errors import ModelError
from dereflect.methods.contract import Method, Progress, Traits
from dereflect.methods.downloads import Say
from dereflect.methods.windowseat import fetch
from dereflect.methods.windowseat.loading import load_parts
from dereflect.methods.windowseat.separation import canvas, finished, reflection_left
from dereflect.methods.windowseat.settings import WindowSeatOptions
from dereflect.methods.windowseat.step import REDUCTION, OneStep
from dereflect.methods.windowseat.tiling import plan_tiles


@dataclass(frozen=True)
class WindowSeatConfig:
    """What `save_pretrained` keeps: where the parts are. They are too large to be copied unasked."""

    base: str
    adapter: str


class WindowSeatMethod(Method):
    """One step of the transformer for every tile of a photo.

    Args:
        step: the network.
        resolution: side of its square.
        options: see `WindowSeatOptions`.
        config: where the parts came from.
    """

    family = "windowseat"

    def __init__(
        self, step: OneStep, resolution: int, options: WindowSeatOptions, config: WindowSeatConfig
    ) -> None:
        super().__init__()
        self.config, self.options, self.step, self.resolution = config, options, step, resolution
        # The method cuts its own tiles and brings them to the network's side, so it takes any size whole.
        self.traits = Traits(
            working_size=1 << 14,
            tileable=False,
            random=options.posterior == "sample",
            batchable=False,
            bytes_per_pixel=64,
        )

    def forward(
        self, blended: Tensor, *, generator: torch.Generator | None = None, progress: Progress | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Method.forward`. The transmission is the network's, the reflection what is left of the photo.

        Raises:
            InputError: a photo too long for the tiles allowed.
        """
        found = torch.stack([self._one(photo, generator, progress) for photo in blended])
        return found, reflection_left(blended, found)

    def _one(self, photo: Tensor, generator: torch.Generator | None, progress: Progress | None) -> Tensor:
        options, (height, width) = self.options, photo.shape[-2:]
        plan = plan_tiles(width, height, self.resolution, options.tiling, options.overlap, options.tiles)
        device = next(self.step.vae.parameters()).device

        def network(tiles: Tensor, first: int) -> Tensor:
            noise = self._noise(len(tiles), generator) if options.posterior == "sample" else None
            with torch.no_grad():
                return self.step(tiles.to(device), None if noise is None else noise.to(device))

        pixels = photo.float().cpu().permute(1, 2, 0).numpy()
        result = canvas(pixels, plan, self.resolution, network, options.batch, progress)
        picture = finished(result, width, height, options.rounding)
        return torch.from_numpy(picture).permute(2, 0, 1).to(photo.device)

    def _noise(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Noise of some tiles, drawn tile by tile, so that it does not depend on how many run at once."""
        side = self.resolution // REDUCTION
        shape = (self.step.vae.config.z_dim, 1, side, side)
        device = generator.device if generator is not None else "cpu"
        return torch.stack([torch.randn(shape, generator=generator, device=device) for _ in range(count)])

    def prepare(self, device: torch.device, dtype: torch.dtype) -> Method:
        """Move to `device`; weights take `dtype`, unless they are in 4 bits, which stay.

        Raises:
            InputError: they do not fit there.
        """
        self.dtype = dtype
        if self.options.quantised:
            self.step.vae.to(device)
        else:
            fetch.check_move(self.step, device, dtype)
            self.step.to(device=device, dtype=dtype)
        return self.eval()

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json`` alone, which names the folders of the parts: they hold 43 GB."""
        from dereflect.files import write_text

        text = json.dumps({"method": self.family, "config": asdict(self.config)}, indent=2)
        write_text(text + "\n", Path(folder) / "config.json")


def recognises(checkpoint: Mapping[str, Any]) -> bool:
    """Whether this is the release's adapter."""
    return any(key.endswith(".lora_A.default.weight") for key in checkpoint)


def from_checkpoint(path: Path, checkpoint: Mapping[str, Any], options: WindowSeatOptions) -> Method:
    """The adapter alone is not enough: say what to give."""
    raise ModelError(
        path, "is an adapter alone; give the name windowseat with the settings base=FOLDER and adapter=FOLDER"
    )


def recognises_folder(folder: Path) -> bool:
    """Whether a folder is a WindowSeat release."""
    return (folder / "transformer_lora" / "adapter_config.json").is_file()


def from_folder(folder: Path, config: Mapping[str, Any], options: WindowSeatOptions) -> WindowSeatMethod:
    """Load from the release's own folder, or from a ``config.json`` that names the folders of the parts."""
    if recognises_folder(folder):
        return _load(_base(options), folder, options)
    if not {"base", "adapter"} <= config.keys():
        raise ModelError(folder / "config.json", "names no base and adapter")
    return _load(Path(config["base"]), Path(config["adapter"]), options)


def from_name(name: str, options: WindowSeatOptions) -> WindowSeatMethod:
    """The parts from the settings ``base`` and ``adapter``, or from where they were downloaded to.

    Raises:
        ModelError: a part is not there (says what to fetch, from where, how large and under which licence).
    """
    adapter = Path(options.adapter).expanduser() if options.adapter else fetch.place("adapter")
    return _load(_base(options), adapter, options)


def download(
    name: str, yes: bool, sources: Mapping[str, str], say: Say, report: ReportBytes | None = None
) -> Path:
    """Fetch what is not given as a local folder; see `fetch.download`."""
    return fetch.download(yes, sources, say, report)


def _base(options: WindowSeatOptions) -> Path:
    return Path(options.base).expanduser() if options.base else fetch.place("base")


def _load(base: Path, adapter: Path, options: WindowSeatOptions) -> WindowSeatMethod:
    fetch.check_present(base, adapter)
    fetch.check_memory(base, options.quantised)
    step, resolution = load_parts(base, adapter, quantised=options.quantised)
    return WindowSeatMethod(step, resolution, options, WindowSeatConfig(str(base), str(adapter)))
