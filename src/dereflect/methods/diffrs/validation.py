"""Held-out crops separated during training: numbers for the log, pictures for the eye."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from dereflect.images.fidelity import unit_psnr
from dereflect.methods.diffrs.settings import DiffRSSettings
from dereflect.methods.objective import Samples


class ValidationSettings(BaseModel):
    """How validation is done."""

    model_config = ConfigDict(extra="forbid")

    pictures: int = Field(2, ge=0, description="held-out crops to separate at each checkpoint; 0 for none")
    steps: int = Field(10, ge=1, le=1000, description="denoising steps of each")


class Validation:
    """Separates the same few crops with the same noise each time."""

    def __init__(self, settings: ValidationSettings) -> None:
        self.settings = settings
        self.attention = True
        self.optimisation = False
        self.weight = 0.0
        self.rows: list[Tensor] = []

    def run(self, pipeline: Any, samples: Samples | None) -> dict[str, float]:
        """Mean PSNR in dB of both layers, and what each gains over the untouched input."""
        self.rows = []
        if samples is None:
            return {}
        totals = {"transmission": 0.0, "reflection": 0.0}
        gains = dict(totals)
        for index in range(self.settings.pictures):
            sample = samples.draw(0, index)
            blended = sample["blended"][None]
            settings = DiffRSSettings(
                steps=self.settings.steps,
                resolution=blended.shape[-1],
                attention=self.attention,
                optimisation=self.optimisation,
                w=self.weight,
            )
            output = pipeline(
                blended,
                settings=settings,
                generator=torch.Generator().manual_seed(index),
                output_type="pt",
            )
            for name in totals:
                reached = unit_psnr(output[name][0].cpu(), sample[name])
                totals[name] += reached / self.settings.pictures
                gains[name] += (reached - unit_psnr(sample["blended"], sample[name])) / self.settings.pictures
            found = [output.transmission[0].cpu(), output.reflection[0].cpu()]
            self.rows.append(
                torch.cat([sample["blended"], *found, sample["transmission"], sample["reflection"]], dim=2)
            )
        return {f"{name}_psnr": value for name, value in totals.items()} | {
            f"{name}_gain": value for name, value in gains.items()
        }

    def write(self, folder: Path) -> None:
        """Write what was last separated as ``validation.png``: photo, both layers found, both layers true."""
        if self.rows:
            rows = torch.cat(self.rows, dim=1).clamp(0, 1).mul(255).round().byte()
            Image.fromarray(rows.permute(1, 2, 0).numpy()).save(folder / "validation.png")
