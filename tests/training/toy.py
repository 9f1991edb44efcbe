"""A tiny objective: two networks in two turns, random numbers in the loss, data addressed by number."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dereflect.methods.objective import Batch, Moment, Objective, Turn


class ToySamples:
    def __len__(self) -> int:
        return 12

    def draw(self, epoch: int, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(1000 * epoch + index)
        x = torch.randn(4, generator=generator)
        return {"x": x, "y": x.sum()[None]}


class ToyObjective(Objective):
    averaged = "model"

    def __init__(
        self, settings: Mapping[str, Any] | None = None, folders: Mapping[str, Path] | None = None
    ) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.networks = {"model": nn.Linear(4, 1), "judge": nn.Linear(1, 1)}
        self.optimizers = {
            name: torch.optim.Adam(net.parameters(), 0.05) for name, net in self.networks.items()
        }
        self.samples = ToySamples()
        self.seen: list[float] = []
        self.losses: list[float] = []
        self.calls = torch.zeros(1)

    def turns(self, batch: Batch, moment: Moment) -> Iterator[Turn]:
        self.seen += batch["x"][:, 0].tolist()
        found = self.networks["model"](batch["x"])
        noise = 0.01 * torch.randn(())
        yield Turn("judge", (self.networks["judge"](found.detach()) - batch["y"]).square().mean())
        loss = (found - batch["y"] + noise).square().mean() + 0.1 * self.networks["judge"](
            found
        ).square().mean()
        self.calls += 1
        self.losses.append(float(loss.detach()))
        yield Turn("model", loss, {"loss": loss.detach()})

    def learning_rate(self, name: str, moment: Moment) -> float | None:
        return 0.05 * (1 - moment.step / moment.total_steps) if name == "model" else None

    def extra_state(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        self.calls = state["calls"]

    def export(self, folder: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        torch.save(self.networks["model"].state_dict(), Path(folder) / "weights.pt")
