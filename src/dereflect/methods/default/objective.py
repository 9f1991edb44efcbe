"""How the default model is trained: data, losses, schedule. The recipe is `default`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from dereflect.data.crops import decode, decode_all, held_out, list_pictures, random_crop
from dereflect.data.glass import DISPLAY, GlassMix, photograph, residual_reflection
from dereflect.data.pairs import Pair, read_pairs
from dereflect.errors import RecipeError
from dereflect.images.fidelity import unit_psnr
from dereflect.images.tensors import to_tensor
from dereflect.methods.default.method import DefaultMethod
from dereflect.methods.default.network import DefaultConfig, DefaultNetwork
from dereflect.methods.objective import Batch, Moment, Objective, Turn
from dereflect.strict import first_fault


class Settings(BaseModel):
    """Settings of the default model's training (`settings:` in its recipe)."""

    model_config = ConfigDict(extra="forbid")

    seed: int = 0
    photos: str = Field("photos", description="sub-folder of ordinary photos, the sources of both layers")
    pairs: str | None = Field(None, description="sub-folder with blended and transmission_layer: real pairs")
    held_out_pairs: list[str] = Field(default_factory=list, description="stems of pairs never trained on")
    held_out_every: int = Field(
        20, description="photos whose name's CRC-32 is divisible by this are never trained on"
    )
    validate_on: list[str] = Field(
        default_factory=list, description="further sub-folders of pairs, only measured"
    )
    validate_at_most: int = 30
    encoder_weights: str | None = Field(
        None, description="safetensors of the encoder; default: the embedded ones"
    )
    start_from: str | None = Field(None, description="model folder whose weights to start from")
    network: dict[str, Any] = Field(default_factory=dict)
    glass: dict[str, float] = Field(default_factory=dict)
    short_side: int = Field(480, description="photos are held in memory at this shorter side at most")
    crop: int = Field(160, description="side of training crops, a multiple of 32")
    grow: dict[int, int] = Field(
        default_factory=dict,
        description="sample number: side of crops from there on; numbers are multiples of a step's samples",
    )
    crops_per_epoch: int = 20000
    real_share: float = Field(0.3, ge=0, le=1, description="share of crops from real pairs")
    real_strength: float = Field(
        0.0, ge=0, le=1, description="share of real crops whose reflection is made weaker or stronger"
    )
    residual_share: float = Field(
        0.15, ge=0, le=1, description="share of synthesis that mirrors a real pair's residual"
    )
    learning_rate: float = 6e-4
    encoder_factor: float = Field(
        0.0, ge=0, description="learning rate of the encoder's last stages relative to the rest; 0: frozen"
    )
    warm_up: int = 200
    final_factor: float = 0.02
    weight_decay: float = 1e-4
    pixel: float = 1.0
    square: float = 2.0
    gradient: float = 1.0
    logarithm: float = Field(
        0.0,
        ge=0,
        description="weight of the logarithm of each crop's squared error, which is its PSNR: faint "
        "reflections count as much as strong ones",
    )
    reflection: float = 0.5
    real_reflection: float = 0.25
    perceptual: float = 0.0


class GlassCrops:
    """Training crops: real pairs, and photos put behind random glass. See `Samples`."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.mix = GlassMix(**settings.glass)
        photos = [
            p for p in list_pictures(folder / settings.photos) if not held_out(p, settings.held_out_every)
        ]
        self.photos = decode_all(photos, settings.short_side)
        self.pairs = []
        if settings.pairs:
            for pair in read_pairs(folder / settings.pairs, check_sizes=False):
                if pair.name not in settings.held_out_pairs:
                    sides = (decode(path, settings.short_side) for path in (pair.blended, pair.transmission))
                    self.pairs.append(tuple(sides))
        self.pairs = [(i, t if t.size == i.size else t.resize(i.size)) for i, t in self.pairs]

    def __len__(self) -> int:
        return self.settings.crops_per_epoch

    def draw(self, epoch: int, index: int) -> dict[str, Tensor]:
        """A crop with its layers, and how much its reflection layer counts ((1, 1, 1): real ones are
        estimates).
        """
        rng = np.random.default_rng((self.settings.seed, epoch, index))
        size = self._side(epoch * len(self) + index)
        if self.pairs and rng.random() < self.settings.real_share:
            blended, transmission = _jitter(random_crop(list(self._pair(rng)), size, rng), rng)
            if self.settings.real_strength and rng.random() < self.settings.real_strength:
                blended = _restrengthen(blended, transmission, float(rng.uniform(0.3, 1.3)))
            reflection = residual_reflection(blended, transmission)
            weight = self.settings.real_reflection
        else:
            (scene,) = random_crop([self._photo(rng)], size, rng)
            if self.pairs and rng.random() < self.settings.residual_share:
                mirrored = residual_reflection(*random_crop(list(self._pair(rng)), size, rng))
                mirrored = (mirrored * float(rng.uniform(0.8, 1.6))).clamp(0, 1)
            else:
                (mirrored,) = random_crop([self._photo(rng)], size, rng)
            # Real scenes behind glass are darker than photo collections (benchmarks/glass_statistics.py).
            (scene,), (mirrored,) = _jitter([scene], rng, -1.0), _jitter([mirrored], rng)
            glass = photograph(scene, mirrored, self.mix, rng)
            blended, transmission, reflection, weight = (
                glass.blended,
                glass.transmission,
                glass.reflection,
                1.0,
            )
        return {
            "blended": blended,
            "transmission": transmission,
            "reflection": reflection,
            "weight": torch.full((1, 1, 1), weight),
        }

    def _side(self, number: int) -> int:
        """Crops grow: small ones teach most in an hour, large ones show the context that photos have."""
        starts = [start for start in self.settings.grow if start <= number]
        return self.settings.grow[max(starts)] if starts else self.settings.crop

    def _photo(self, rng: np.random.Generator) -> Any:
        return self.photos[int(rng.integers(len(self.photos)))]

    def _pair(self, rng: np.random.Generator) -> Any:
        return self.pairs[int(rng.integers(len(self.pairs)))]


def _jitter(images: list[Tensor], rng: np.random.Generator, darkest: float = -0.35) -> list[Tensor]:
    """The same exposure (`darkest` to 0.15, natural logarithm) and white balance change to all `images`,
    half of the time.
    """
    if rng.random() < 0.5:
        return images
    gain = math.exp(rng.uniform(darkest, 0.15)) * np.exp(rng.uniform(-0.1, 0.1, (3, 1, 1)))
    power = math.exp(rng.uniform(-0.25, 0.25))
    scale = torch.from_numpy(gain.astype(np.float32))
    return [(image**power * scale).clamp(0, 1) for image in images]


def _restrengthen(blended: Tensor, transmission: Tensor, strength: float) -> Tensor:
    """The real photo with `strength` times its reflection (irradiances add, so it scales in linear light)."""
    scene = transmission**DISPLAY
    return (scene + strength * (blended**DISPLAY - scene)).clamp(0, 1) ** (1 / DISPLAY)


class DefaultObjective(Objective):
    """Losses of the default model on both layers.

    Pixel terms (L1 and squared), gradient L1, if `logarithm` > 0 the logarithm of each crop's squared error,
    and, if `perceptual` > 0, L1 between the encoder's features of the transmissions (the trained encoder
    itself serves as the judge).
    """

    averaged = "separator"

    def __init__(self, settings: Mapping[str, Any], folders: Mapping[str, Path]) -> None:
        super().__init__()
        try:
            self.settings = Settings.model_validate(settings)
            config = DefaultConfig(**self.settings.network)
        except ValidationError as error:
            raise RecipeError(f"settings: {first_fault(error)}") from error
        except TypeError as error:
            raise RecipeError(f"settings.network: {error}") from error
        for side in (self.settings.crop, *self.settings.grow.values()):
            if side % 32:
                raise RecipeError(f"settings.crop: {side} is not a multiple of 32")
        self.folder = folders["data"]
        network = DefaultNetwork(config)
        if network.encoder is not None:
            DefaultMethod.load_encoder(network, self.settings.encoder_weights)
            network.encoder.requires_grad_(False)
            # Edges and colours are the same behind glass: the first layers stay as they are, at no cost.
            network.encoder.stages[1:].requires_grad_(self.settings.encoder_factor > 0)
        if self.settings.start_from:
            DefaultMethod.load_weights(network, Path(self.settings.start_from))
        self.networks["separator"] = network
        encoder = [] if network.encoder is None else list(network.encoder.stages[1:].parameters())
        ids = set() if network.encoder is None else {id(p) for p in network.encoder.parameters()}
        groups: list[dict[str, Any]] = [{"params": [p for p in network.parameters() if id(p) not in ids]}]
        if self.settings.encoder_factor > 0:
            groups.append({"params": encoder, "rate_factor": self.settings.encoder_factor})
        self.optimizers["separator"] = torch.optim.AdamW(
            groups, self.settings.learning_rate, betas=(0.9, 0.99), weight_decay=self.settings.weight_decay
        )
        if self.settings.perceptual > 0:
            judge = DefaultNetwork(config)
            DefaultMethod.load_encoder(judge, self.settings.encoder_weights)
            assert judge.encoder is not None
            self.helpers["judge"] = judge.encoder
        self.samples = GlassCrops(self.settings, self.folder)

    def learning_rate(self, name: str, moment: Moment) -> float:
        """Linear warm-up, then cosine decay to `final_factor`."""
        settings = self.settings
        warm = min(1.0, (moment.step + 1) / max(settings.warm_up, 1))
        done = moment.step / moment.total_steps
        decay = settings.final_factor + (1 - settings.final_factor) * 0.5 * (1 + math.cos(math.pi * done))
        return settings.learning_rate * warm * decay

    def turns(self, batch: Batch, moment: Moment) -> Iterator[Turn]:
        """One turn: the separator."""
        settings = self.settings
        transmission, reflection = self.networks["separator"](batch["blended"])
        error = transmission - batch["transmission"]
        pixel, square = error.abs().mean(), error.square().mean()
        gradient = _gradient(error)
        error_r = (reflection - batch["reflection"]) * batch["weight"]
        reflection_loss = error_r.abs().mean() + 2 * error_r.square().mean() + 0.5 * _gradient(error_r)
        loss = settings.pixel * pixel + settings.square * square + settings.gradient * gradient
        if settings.logarithm > 0:
            loss = loss + settings.logarithm * _log_error(error).mean()
            weighted = _log_error(reflection - batch["reflection"]) * batch["weight"].flatten()
            reflection_loss = reflection_loss + settings.logarithm * weighted.mean()
        loss = loss + settings.reflection * reflection_loss
        logs = {
            "pixel": pixel.detach(),
            "square": square.detach(),
            "gradient": gradient.detach(),
            "reflection": reflection_loss.detach(),
        }
        if settings.perceptual > 0:
            perceptual = self._perceptual(transmission, batch["transmission"])
            loss = loss + settings.perceptual * perceptual
            logs["perceptual"] = perceptual.detach()
        yield Turn("separator", loss, logs)

    def _perceptual(self, predicted: Tensor, target: Tensor) -> Tensor:
        judge = self.helpers["judge"]
        with torch.autocast(predicted.device.type, torch.bfloat16, enabled=predicted.device.type != "mps"):
            with torch.no_grad():
                wanted = judge(target)[:3]
            found = judge(predicted.clamp(0, 1))[:3]
        total = torch.zeros((), device=predicted.device)
        for a, b in zip(found, wanted, strict=True):
            total = total + (a - b).float().abs().mean() / (b.float().abs().mean() + 1e-3)
        return total / len(wanted)

    def validate(self) -> dict[str, float]:
        """Mean PSNR of the transmission, and what it gains over the untouched photo, on every set that is
        held out.
        """
        sets: dict[str, list[Pair]] = {}
        if self.settings.pairs and self.settings.held_out_pairs:
            found = read_pairs(self.folder / self.settings.pairs, check_sizes=False)
            sets["pairs"] = [pair for pair in found if pair.name in self.settings.held_out_pairs]
        for name in self.settings.validate_on:
            sets[name] = read_pairs(self.folder / name, check_sizes=False)[: self.settings.validate_at_most]
        network: DefaultNetwork = self.plain("separator").eval()
        results: dict[str, float] = {}
        for name, pairs in sets.items():
            scores = []
            for pair in pairs:
                blended, truth = to_tensor(decode(pair.blended)), to_tensor(decode(pair.transmission))
                if truth.shape != blended.shape:
                    continue
                with torch.no_grad():
                    found_t = separate_padded(network, blended[None].to(next(network.parameters()).device))
                after = unit_psnr(found_t.clamp(0, 1)[0].cpu(), truth)
                scores.append((after, unit_psnr(blended, truth)))
            means = np.mean(scores, axis=0)
            results[f"{name}_psnr"], results[f"{name}_gain"] = float(means[0]), float(means[0] - means[1])
        network.train()
        return results

    def pictures(self) -> dict[str, Tensor]:
        """Four fixed crops: blended, transmission, its truth, reflection and its truth beside one another."""
        network: DefaultNetwork = self.plain("separator").eval()
        device = next(network.parameters()).device
        shown = {}
        for index in range(4):
            crop = self.samples.draw(0, index)
            with torch.no_grad():
                transmission, reflection = (
                    layer[0].cpu() for layer in network(crop["blended"][None].to(device))
                )
            row = [crop["blended"], transmission, crop["transmission"], reflection, crop["reflection"]]
            shown[f"crop_{index}"] = torch.cat(row, dim=2)
        network.train()
        return shown

    def export(self, folder: str) -> None:
        """Write config.json and model.safetensors (float16)."""
        DefaultMethod.wrap(self.plain("separator")).save_pretrained(folder)


def separate_padded(network: torch.nn.Module, blended: Tensor) -> Tensor:
    """The transmission of a batch of any size, padded by reflection to a multiple of 32 and cropped back."""
    height, width = blended.shape[-2:]
    padded = F.pad(blended, (0, -width % 32, 0, -height % 32), mode="reflect")
    transmission: Tensor = network(padded)[0]
    return transmission[..., :height, :width]


def _log_error(error: Tensor) -> Tensor:
    """Logarithm of the mean squared error of each crop (N); from 40 dB on nothing more is to be won."""
    return (error.float().square().mean((1, 2, 3)) + 1e-4).log()


def _gradient(error: Tensor) -> Tensor:
    rows = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    columns = (error[..., 1:] - error[..., :-1]).abs().mean()
    return rows + columns
