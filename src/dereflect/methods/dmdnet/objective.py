"""How DMDNet is trained: losses, schedule, memory. The recipe is `dmdnet`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from dereflect.data.crops import decode
from dereflect.data.folders import data_folder
from dereflect.data.pairs import Pair, read_pairs
from dereflect.errors import RecipeError
from dereflect.images.fidelity import unit_psnr
from dereflect.images.tensors import to_tensor
from dereflect.methods.dmdnet.config import DMDNetConfig
from dereflect.methods.dmdnet.data import GlassMixture, Sources
from dereflect.methods.dmdnet.depth import load_depth_network
from dereflect.methods.dmdnet.fast.network import FastDMDNet
from dereflect.methods.dmdnet.losses import memory_losses_of
from dereflect.methods.dmdnet.memory import MemoryTrace
from dereflect.methods.dmdnet.method import DMDNetMethod
from dereflect.methods.dmdnet.network import DMDNet, DMDNetOutput
from dereflect.methods.objective import Batch, Moment, Objective, Turn, since
from dereflect.nn.losses import perceptual_loss
from dereflect.nn.vgg import Vgg19, load_vgg19
from dereflect.strict import first_fault
from dereflect.weights import check_keys, read_checkpoint

FIRST_RATE = 1e-4
"""The published rate, where a recipe's rates begin with a later epoch."""
PERCEPTUAL_WEIGHTS = (1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5)
"""Of the five VGG levels."""


class Weights(BaseModel):
    """Weights of the losses; the defaults are the published ones."""

    model_config = ConfigDict(extra="forbid")

    pixel_T: float = 1.0  # noqa: N815 - T and R are the layers' names
    pixel_R: float = 1.0  # noqa: N815
    perceptual: float = Field(0.02, description="of the transmission; the reflection has no such loss")
    align_T: float = 0.1  # noqa: N815
    align_R: float = 0.05  # noqa: N815
    triplet_T: float = 0.1  # noqa: N815
    triplet_R: float = 0.05  # noqa: N815
    balance_T: float = 0.008  # noqa: N815
    balance_R: float = 0.008  # noqa: N815


class Settings(BaseModel):
    """Settings of DMDNet's training (`settings:` in its recipe)."""

    model_config = ConfigDict(extra="forbid")

    seed: int = 2018
    network: dict[str, Any] = Field(default_factory=dict, description="as DMDNetConfig")
    depth: str = Field(description="the depth network's weights: dpt_next_vit_large_384.pt of MiDaS v3.1")
    vgg: str | None = Field(None, description="VGG-19 weights; default: where they are looked for")
    start_from: str | None = Field(None, description="model folder whose weights and banks to start from")
    weights: Weights = Field(default_factory=lambda: Weights.model_validate({}))
    sources: Sources = Field(default_factory=lambda: Sources.model_validate({}))
    learning_rates: dict[int, float] = Field(
        default_factory=lambda: {0: 1e-4, 30: 5e-5, 50: 1e-5}, description="rate from an epoch on"
    )
    betas: tuple[float, float] = (0.9, 0.999)
    validate_on: list[str] = Field(
        default_factory=list, description="folders of held-out pairs, measured at checkpoints"
    )
    validate_at_most: int = Field(20, description="pairs of each of them", ge=1)


def weighted_losses(
    done: DMDNetOutput, transmission: Tensor, reflection: Tensor, weights: Weights, vgg: Vgg19 | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Total loss and its unweighted parts.

    Args:
        done: of a forward pass with ``train=True``.
        transmission: (B, 3, H, W) target.
        reflection: the same.
        vgg: needed where ``weights.perceptual`` is above zero.
    """
    parts = {
        "pixel_T": F.l1_loss(done.transmission, transmission),
        "pixel_R": F.l1_loss(done.reflection, reflection),
    }
    if weights.perceptual > 0 and vgg is not None:
        parts["perceptual"] = perceptual_loss(vgg, done.transmission, transmission, PERCEPTUAL_WEIGHTS)
    if done.traces:
        parts |= vars(memory_losses_of(done.traces))
    total = torch.stack([getattr(weights, name) * value for name, value in parts.items()]).sum()
    return total, parts


class DMDNetObjective(Objective):
    """Pixel, perceptual, alignment, triplet and balance losses; the memory banks evolve after each step.

    The banks are buffers of the network, so checkpoints hold them. With several processes each gathers what
    all asked of the memory and applies it, so the banks stay equal, and are what one process with the whole
    batch would have.
    """

    averaged = "separator"
    unused_parameters = True  # experts that were not chosen, and the layers that only order and select

    def __init__(self, settings: Mapping[str, Any], folders: Mapping[str, Path]) -> None:
        super().__init__()
        try:
            self.settings = Settings.model_validate(settings)
        except ValidationError as error:
            raise RecipeError("settings", first_fault(error)) from error
        config = DMDNetConfig.from_mapping(self.settings.network, "settings.network")
        network = DMDNet(config)
        if self.settings.start_from:
            folder = Path(self.settings.start_from)
            state = read_checkpoint(folder / "model.safetensors")
            own = {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
            check_keys(network.state_dict(), own, str(folder))
            network.load_state_dict(own)
        self.networks["separator"] = network
        self.optimizers["separator"] = torch.optim.Adam(
            network.parameters(),
            since(self.settings.learning_rates, 0, FIRST_RATE),
            betas=self.settings.betas,
        )
        self.helpers["depth"] = load_depth_network(Path(self.settings.depth).expanduser())
        if self.settings.weights.perceptual > 0:
            self.helpers["vgg"] = load_vgg19(self.settings.vgg)
        self.samples = GlassMixture(self.settings.sources, folders, self.settings.seed)
        self.held_out = {name: held_out_pairs(folders, name) for name in self.settings.validate_on}

    def learning_rate(self, name: str, moment: Moment) -> float:
        """The rate of the last epoch mark that has been reached."""
        return since(self.settings.learning_rates, moment.epoch, FIRST_RATE)

    def turns(self, batch: Batch, moment: Moment) -> Iterator[Turn]:
        """One optimizer; the banks change after it has stepped."""
        image = batch["blended"]
        depth: Any = self.helpers["depth"]
        vgg: Any = self.helpers.get("vgg")
        done: DMDNetOutput = self.networks["separator"](image, depth.features(image), train=True)
        total, parts = weighted_losses(
            done, batch["transmission"], batch["reflection"], self.settings.weights, vgg
        )
        yield Turn("separator", total, {name: value.detach() for name, value in parts.items()})
        self.plain("separator").remember([gathered(trace) for trace in done.traces])

    def validate(self) -> dict[str, float]:
        """Mean PSNR of T and R on every held-out set, and what T gains over the untouched photo."""
        network: DMDNet = self.plain("separator")
        separate = FastDMDNet(network)
        depth: Any = self.helpers["depth"]
        device = next(network.parameters()).device
        results: dict[str, float] = {}
        for name, pairs in self.held_out.items():
            scores: dict[str, list[float]] = {"psnr_T": [], "gain_T": [], "psnr_R": []}
            for pair in pairs[: self.settings.validate_at_most]:
                blended, truth = to_tensor(decode(pair.blended)), to_tensor(decode(pair.transmission))
                if truth.shape != blended.shape:
                    continue
                image = blended[None].to(device)
                with torch.no_grad():
                    done = separate(image, depth.features(image))
                score = unit_psnr(done.transmission.clamp(0, 1)[0].cpu(), truth)
                scores["psnr_T"].append(score)
                scores["gain_T"].append(score - unit_psnr(blended, truth))
                if pair.reflection is not None:
                    mirrored = to_tensor(decode(pair.reflection))
                    scores["psnr_R"].append(unit_psnr(done.reflection.clamp(0, 1)[0].cpu(), mirrored))
            results |= {f"{name}_{key}": mean(values) for key, values in scores.items() if values}
        return results

    def export(self, folder: str) -> None:
        """Network, banks and depth network as one model folder."""
        network = self.plain("separator")
        with torch.device("meta"):
            method = DMDNetMethod(network.config)
        method.network = network
        method.depth = self.helpers["depth"]  # type: ignore[assignment]
        method.save_pretrained(folder)


def held_out_pairs(folders: Mapping[str, Path], name: str) -> list[Pair]:
    """The pairs of a held-out folder.

    Raises:
        RecipeError: it is not there.
    """
    return read_pairs(data_folder(folders, name, name), check_sizes=False)


def gathered(trace: MemoryTrace) -> MemoryTrace:
    """A trace with the queries of all processes, in the order of their ranks.

    The trace itself where there is one process.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return trace
    world = torch.distributed.get_world_size()
    query, ran = trace.query.float().contiguous(), trace.ran.to(torch.uint8).contiguous()
    queries = [torch.empty_like(query) for _ in range(world)]
    flags = [torch.empty_like(ran) for _ in range(world)]
    torch.distributed.all_gather(queries, query)
    torch.distributed.all_gather(flags, ran)
    return MemoryTrace(
        trace.bank, trace.gate, torch.cat(flags).bool(), torch.cat(queries), trace.align, trace.triplet
    )
