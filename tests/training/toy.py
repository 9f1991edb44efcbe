"""Tiny objectives: two networks in two turns with random numbers in the loss, and one of plain algebra."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.methods.objective import Batch, Moment, Objective, Turn


class ToySamples:
    def __len__(self) -> int:
        return 12

    def draw(self, epoch: int, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(1000 * epoch + index)
        x = torch.randn(4, generator=generator)
        return {"x": x, "y": x.sum()[None]}


class Line(nn.Linear):
    """With a forward of ours: a compiler leaves PyTorch's own modules alone."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class ToyObjective(Objective):
    averaged = "model"

    def __init__(
        self, settings: Mapping[str, Any] | None = None, folders: Mapping[str, Path] | None = None
    ) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.networks = {"model": Line(4, 1), "judge": Line(1, 1)}
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


class AlgebraObjective(Objective):
    """One linear network under plain gradient descent: every step can be worked out by hand."""

    averaged = "model"
    rate = 0.1
    shuffled = False

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.networks = {"model": nn.Linear(4, 1, bias=False)}
        self.optimizers = {"model": torch.optim.SGD(self.networks["model"].parameters(), self.rate)}
        self.samples = ToySamples()
        self.path = [self.weight()]

    def weight(self) -> Tensor:
        return self.plain("model").weight.detach().clone()

    def turns(self, batch: Batch, moment: Moment) -> Iterator[Turn]:
        loss = (self.networks["model"](batch["x"]) - batch["y"]).square().mean()
        yield Turn("model", loss, {"loss": loss.detach()})

    def gradient(self, weight: Tensor, first: int, count: int) -> Tensor:
        """Of the mean loss of samples `first` to `first + count` of epoch 0, by the formula."""
        drawn = [self.samples.draw(0, index) for index in range(first, first + count)]
        x, y = torch.stack([s["x"] for s in drawn]), torch.stack([s["y"] for s in drawn])
        return 2 / count * (x @ weight.T - y).T @ x

    def learning_rate(self, name: str, moment: Moment) -> float | None:
        if moment.step:
            self.path.append(self.weight())  # what the last step led to
        return None

    def export(self, folder: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
