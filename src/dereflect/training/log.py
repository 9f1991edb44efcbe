"""The log of a training run."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from dereflect.files import write_text
from dereflect.methods.objective import Objective


class RunLog:
    """One JSON line a record, and TensorBoard beside it where it is installed.

    Args:
        folder: of the run.
        chief: whether this process writes it.
        step: where the run begins; records of later steps, which a killed run has written, are dropped.
        ended: whether no step is left, so that only the last validation is done again.
    """

    def __init__(self, folder: Path, chief: bool, step: int = 0, ended: bool = False) -> None:
        self.path, self.chief = folder / "log.jsonl", chief
        if chief and self.path.exists():
            self._drop_later(step, ended)
        self.started, self.first_step = time.monotonic(), -1
        self.board: Any = None
        if chief:
            with contextlib.suppress(ImportError):
                from torch.utils.tensorboard import SummaryWriter

                self.board = SummaryWriter(str(folder / "tensorboard"))

    def _drop_later(self, step: int, ended: bool) -> None:
        kept = []
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        for line in lines:
            with contextlib.suppress(ValueError):  # the last line of a killed run may be cut
                record = json.loads(line)
                again = ended and record["step"] == step and any(key.startswith("valid_") for key in record)
                if record["step"] <= step and line.endswith("\n") and not again:
                    kept.append(line)
        if kept != lines:
            write_text("".join(kept), self.path)

    def write(self, step: int, values: dict[str, float], samples_per_step: int) -> None:
        """Append a record; `samples_per_step` 0 leaves the speed out."""
        if not self.chief or not values:
            return
        record: dict[str, float] = {"step": step} | {key: round(value, 6) for key, value in values.items()}
        if samples_per_step:
            now = time.monotonic()
            if self.first_step >= 0:
                record["samples_per_second"] = round(
                    (step - self.first_step) * samples_per_step / (now - self.started), 2
                )
            self.started, self.first_step = now, step
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        if self.board is not None:
            for key, value in values.items():
                self.board.add_scalar(key, value, step)

    def show(self, step: int, objective: Objective) -> None:
        """Put the objective's pictures into TensorBoard, where it is installed."""
        if self.board is not None:
            for name, picture in objective.pictures().items():
                self.board.add_image(name, picture.clamp(0, 1), step)
            self.board.flush()
