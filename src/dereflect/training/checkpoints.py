"""The checkpoints of a run: `checkpoints/step-00001234/state.pt` in its folder, complete or absent."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import torch

from dereflect.files import writing
from dereflect.leftovers import sweep


def complete(folder: Path) -> list[Path]:
    """Complete checkpoints under a run's folder (or a checkpoint folder itself), oldest first."""
    if (folder / "state.pt").is_file():
        return [folder / "state.pt"]
    return sorted(folder.glob("checkpoints/step-*/state.pt"))


def write(state: dict[str, Any], folder: Path, keep: int) -> None:
    """Write the checkpoint of step `state["step"]`, and remove the oldest beyond `keep`."""
    place = folder / "checkpoints" / f"step-{state['step']:08d}"
    place.mkdir(parents=True, exist_ok=True)
    with writing(place / "state.pt") as temporary:
        torch.save(state, temporary)
    for old in complete(folder)[:-keep]:
        shutil.rmtree(old.parent)


def tidy(folder: Path) -> None:
    """Remove what a killed run has left: temporary files, and folders of checkpoints that are not there."""
    for place in (folder, folder / "model", *folder.glob("checkpoints/step-*")):
        sweep(place)
    for place in folder.glob("checkpoints/step-*"):
        with contextlib.suppress(OSError):  # there is something in it
            place.rmdir()
