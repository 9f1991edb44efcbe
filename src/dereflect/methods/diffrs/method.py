"""DiffRS as the catalog builds it. Everything that needs diffusers is imported only when it is used."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dereflect.downloads import ReportBytes
from dereflect.errors import InputError, MissingExtra, ModelError, first_line
from dereflect.methods.contract import Method, Progress, Traits
from dereflect.methods.diffrs.official import part_of
from dereflect.methods.diffrs.pictures import working_size
from dereflect.methods.diffrs.settings import DiffRSOptions, DiffRSSettings
from dereflect.methods.downloads import Say

LONG = 60.0
"""Seconds from which a run on a CPU is announced with an estimate of its time."""

log = logging.getLogger(__name__)


class DiffRSMethod(Method):
    """A `DiffRSPipeline` behind the method contract: any size in, the same size out.

    Args:
        pipeline: the pipeline.
        settings: the switches of every run.
        offload: keep only the model at work on the GPU.
    """

    family = "diffrs"
    explanations = ("unexplained", "invented")
    """Names of the maps that `explain` makes."""
    # The method brings every picture to its own working size and back, as published, so it takes any size
    # whole. Memory goes with the working size, not with the photo: `check_memory` watches it, and the
    # Separator need not.
    traits = Traits(working_size=1 << 14, tileable=False, random=True, batchable=False, bytes_per_pixel=64)

    def __init__(self, pipeline: Any, settings: DiffRSSettings, offload: bool = False) -> None:
        super().__init__()
        self.pipeline, self.config, self.offload = pipeline, settings, offload
        # The pipeline is no module: its parts are registered here, so that parameters and devices are seen.
        self.parts = nn.ModuleDict(
            {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}
        )
        pipeline.set_progress_bar_config(disable=True)
        self._announced = False

    def forward(
        self, blended: Tensor, *, generator: torch.Generator | None = None, progress: Progress | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Method.forward`. Each picture draws its noise in turn, transmission first.

        Raises:
            InputError: too little memory for the working size.
        """
        self._prepare_run(blended)
        settings: DiffRSSettings = self.config
        total = settings.steps * settings.ensemble

        def count(_: Any, step: int, timestep: int, tensors: dict[str, Any]) -> None:
            if progress is not None:
                progress(step + 1, total)

        output = self.pipeline(
            blended,
            settings=settings,
            generator=generator,
            output_type="pt",
            callback_on_step_end=count,
            callback_on_step_end_tensor_inputs=(),
        )
        return output.transmission.to(blended.device), output.reflection.to(blended.device)

    def explain(self, blended: Tensor, transmission: Tensor, reflection: Tensor) -> dict[str, Tensor]:
        """Maps of what was invented, by name, (B, 1, H, W) in [0, 1]; `explain.py` says what each means."""
        from dereflect.methods.diffrs.explain import invented, unexplained

        size = self._size(blended)
        return {
            "unexplained": unexplained(self.pipeline, blended, transmission, reflection, size),
            "invented": invented(blended, transmission, reflection),
        }

    def prepare(self, device: torch.device, dtype: torch.dtype) -> Method:
        """Move to `device`; UNet, autoencoder and fusion compute in `dtype`, all else stays in float32.

        Raises:
            InputError: the device cannot compute in `dtype`.
        """
        _check_dtype(device, dtype)
        self.dtype = dtype
        # Measured (benchmarks/diffrs.py further): a float32 UNet on a CPU loses by it, the decoder gains.
        slower = device.type == "cpu" and dtype == torch.float32
        channels_last = {"vae", "fusion"} if slower else {"unet", "vae", "fusion"}
        for name, part in self.parts.items():
            kept = torch.float32 if name in ("synthesis", "prompts") else dtype
            layout = torch.channels_last if name in channels_last else torch.preserve_format
            target = torch.device("cpu") if self.offload else device
            # The plain module's way: diffusers' own warns about parts that it does not have here.
            nn.Module.to(part, device=target, dtype=kept, memory_format=layout)  # type: ignore[call-overload]
        if self.offload and device.type != "cpu":
            self.pipeline.enable_model_cpu_offload(device=device)
        return self.eval()

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the pipeline: model_index.json and a sub-folder with safetensors for each part."""
        self.pipeline.save_pretrained(folder)

    def _size(self, blended: Tensor) -> tuple[int, int]:
        settings: DiffRSSettings = self.config
        return working_size(blended.shape[-2], blended.shape[-1], settings.resolution, settings.aspect)

    def _prepare_run(self, blended: Tensor) -> None:
        from dereflect.devices import available_memory
        from dereflect.methods.diffrs.estimate import check_memory, estimated_seconds, in_words, is_short

        device = torch.device(self.pipeline._execution_device)
        size, settings = self._size(blended), self.config
        check_memory(self.pipeline, size, settings, available_memory(device), blended.shape[0])
        if device.type == "cpu" and not self._announced and not is_short(self.pipeline, *size, settings):
            self._announced = True  # once is enough: the Separator's progress tells the rest
            seconds = estimated_seconds(self.pipeline, *size, settings)
            if seconds > LONG:
                log.warning(
                    "DiffRS at %d x %d in %d steps takes about %s a photo on this CPU "
                    "(fewer steps or a smaller resolution take less)",
                    size[1],
                    size[0],
                    settings.steps,
                    in_words(seconds),
                )


def _check_dtype(device: torch.device, dtype: torch.dtype) -> None:
    try:
        x = torch.ones(1, 8, 4, 4, device=device, dtype=dtype)
        torch.nn.functional.conv2d(x, torch.ones(8, 8, 3, 3, device=device, dtype=dtype))
    except RuntimeError as error:
        name = str(dtype).removeprefix("torch.")
        raise InputError(name, f"cannot be used on {device}; take float32", option="dtype") from error


def _pipeline_class() -> Any:
    try:
        from dereflect.methods.diffrs.pipeline import DiffRSPipeline
    except ImportError as error:
        raise MissingExtra(error.name or "diffusers", "diffusion", "the DiffRS method") from error
    return DiffRSPipeline


def recognises(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is one of the release's files (UNet, fusion blocks or synthesis network)."""
    return part_of(checkpoint) is not None


def from_checkpoint(path: Path, checkpoint: Mapping[str, Any], options: DiffRSOptions) -> Method:
    """One file of the release is a third of the method: say how to bring the parts together."""
    raise ModelError(
        path,
        f"is the {part_of(checkpoint)} part of DiffRS alone; bring all parts together once with: "
        "dereflect models download diffrs --set release=FOLDER --set base=FOLDER",
    )


def recognises_folder(folder: Path) -> bool:
    """Whether a folder holds a DiffRS pipeline, or a base model that can become one."""
    index = folder / "model_index.json"
    if not index.is_file():
        return False
    try:
        name = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    except (OSError, ValueError, AttributeError):
        return True  # loading it says what is wrong with it
    return name in ("DiffRSPipeline", "StableDiffusionPipeline")


def from_folder(folder: Path, config: Mapping[str, Any], options: DiffRSOptions) -> Method:
    """Load a folder written by `DiffRSPipeline.save_pretrained`.

    Raises:
        ModelError: a folder that is no DiffRS pipeline, or whose parts do not fit.
    """
    pipeline = load_pipeline(folder)
    if options.scheduler == "lcm":
        from diffusers import LCMScheduler

        pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    return DiffRSMethod(pipeline, options.settings(), options.offload)


def load_pipeline(folder: Path) -> Any:
    """Load a `DiffRSPipeline` from a folder, quietly and never from the network.

    Raises:
        MissingExtra: diffusers is not installed.
        ModelError: the folder is another pipeline's, or a part is missing or damaged.
    """
    kind = _pipeline_class()
    index = folder / "model_index.json"
    try:
        name = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(index, f"not a readable pipeline index ({first_line(error)})") from error
    if name != kind.__name__:
        raise ModelError(
            folder,
            f"is a {name}, not DiffRS; a base model becomes one with: "
            f"dereflect models download diffrs --set base={folder}",
        )
    from diffusers.utils import logging as diffusers_logging

    bars = diffusers_logging.is_progress_bar_enabled()
    diffusers_logging.disable_progress_bar()
    try:
        return kind.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, AttributeError, KeyError) as error:
        raise ModelError(folder, f"a part of the pipeline cannot be loaded ({first_line(error)})") from error
    finally:
        if bars:
            diffusers_logging.enable_progress_bar()


def from_name(name: str, options: DiffRSOptions) -> Method:
    """The downloaded weights, if they are there; nothing is fetched unasked.

    Raises:
        ModelError: they are not there; says what to fetch, from where, how large and under which licence.
    """
    from dereflect.methods.diffrs.fetch import installed_folder, notice

    _pipeline_class()
    folder = installed_folder()
    if not (folder / "model_index.json").is_file():
        raise ModelError(
            "diffrs",
            f"its weights are not here; they are {notice()}; fetch them with: "
            "dereflect models download diffrs --yes",
        )
    return from_folder(folder, {}, options)


def download(
    name: str, yes: bool, sources: Mapping[str, str], say: Say, report: ReportBytes | None = None
) -> Path:
    """Fetch and convert the published weights; see `fetch.download`."""
    from dereflect.methods.diffrs.fetch import download as fetch

    _pipeline_class()
    return fetch(yes, sources, say, report)
