"""Training of the fusion blocks (arXiv 2606.04107) on generated latents.

It follows StableSR's recipe (arXiv 2305.07015).

The blocks must repair what the sampler makes, so they are trained on its output: `make_latents` stores it
beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from dereflect.data.folders import whole_folder
from dereflect.errors import InputError, ModelError, RecipeError
from dereflect.methods.diffrs.autoencoder import decode, encode
from dereflect.methods.diffrs.fusion import FidelityFusion
from dereflect.methods.diffrs.objective import PartObjective, PartSettings, read_settings
from dereflect.methods.diffrs.settings import DiffRSSettings
from dereflect.methods.diffrs.starting_point import starting_pipeline
from dereflect.methods.diffrs.training_crops import LayerCrops
from dereflect.methods.objective import Batch, Moment, Turn
from dereflect.nn.discriminator import PatchDiscriminator
from dereflect.nn.losses import perceptual_loss
from dereflect.nn.vgg import load_vgg19
from dereflect.weights import read_checkpoint, save_state


class FusionSettings(PartSettings):
    """Settings of the fusion blocks' training, and of the making of the latents that it needs."""

    learning_rate: float = Field(5e-5, gt=0)
    latents: str = Field("latents", description="sub-folder of stored latents")
    latent_count: int = Field(1000, gt=0, description="how many the command makes")
    latent_steps: int = Field(50, ge=1, le=1000, description="denoising steps of each")
    latent_optimisation: bool = Field(True, description="whether they are optimised at test time")
    perceptual: float = Field(1.0, ge=0, description="weight of the perceptual term")
    vgg: str | None = Field(None, description="path of the VGG-19 weights that the perceptual term needs")
    adversarial: float = Field(0.0, ge=0, description="weight of the adversarial term, scaled by gradients")
    adversarial_from: int = Field(501, ge=0, description="step at which the adversarial term begins")


VGG_WEIGHTS = (1.0 / 2.6, 1.0 / 4.8, 1.0 / 3.7, 1.0 / 5.6, 10.0 / 1.5)
"""Of VGG-19's five levels, as commonly balanced by their magnitudes (Chen & Koltun 2017)."""


class StoredLatents:
    """Latents on disk, one file a sample; see `Samples`."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
        if not self.paths:
            raise RecipeError(
                folder, "holds no generated latents; make them with  dereflect latents RECIPE data=FOLDER"
            )

    def __len__(self) -> int:
        return len(self.paths)

    def draw(self, epoch: int, index: int) -> dict[str, Tensor]:
        """A sample: "blended" and "transmission", (3, H, W) in [0, 1], and "latent", (4, h, w).

        The latent is what the sampler made of the photo.
        """
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(epoch))
        stored = read_checkpoint(self.paths[int(order[index])])
        return {name: t.float() / 255 if t.dtype == torch.uint8 else t for name, t in stored.items()}


class FusionObjective(PartObjective):
    """Decode generated latents with w = 1 to the clean picture.

    The loss is L1, perceptual and, if asked for, adversarial.
    """

    def __init__(self, settings: Mapping[str, Any], folders: Mapping[str, Path]) -> None:
        self.own = own = read_settings(FusionSettings, settings)
        super().__init__(own, folders, "fusion")
        if own.perceptual:
            try:
                self.helpers["vgg"] = load_vgg19(own.vgg)
            except (ModelError, InputError) as error:
                raise RecipeError("settings.perceptual", f"{error}; or give settings.perceptual=0") from error
        self.samples = StoredLatents(self.folder / own.latents)
        vae = self.pipeline.vae
        if self.pipeline.fusion is None:
            fresh = FidelityFusion.for_autoencoder(
                vae.config.block_out_channels, groups=vae.config.norm_num_groups
            )
            self.pipeline.register_modules(fusion=fresh)
        fusion = self.pipeline.fusion.train().requires_grad_(True)
        self.networks["fusion"] = fusion
        self.optimizers["fusion"] = torch.optim.Adam(fusion.parameters(), own.learning_rate, betas=(0.5, 0.9))
        if own.adversarial:
            judge = PatchDiscriminator()
            self.networks["judge"] = judge
            self.optimizers["judge"] = torch.optim.Adam(
                judge.parameters(), own.learning_rate, betas=(0.5, 0.9)
            )
        self.validation.weight = 1.0

    def validation_samples(self) -> LayerCrops | None:
        """Crops of the photos that were not used for latents, where there are photos."""
        if not self.own.validation.pictures or not (self.folder / self.own.photos).is_dir():
            return None
        samples = LayerCrops(self.own, self.folder, validation=True)
        return samples if samples.photos else None

    def turns(self, batch: Batch, moment: Moment) -> Iterator[Turn]:
        """The fusion blocks' turn and, once it has begun, the discriminator's."""
        own, vae = self.own, self.helpers["vae"]
        with torch.no_grad():
            features = encode(vae, batch["blended"] * 2 - 1)[1]
        fusion: Any = self.networks["fusion"]
        found = (decode(vae, batch["latent"], fusion, features, 1.0) + 1) / 2
        target = batch["transmission"]
        pixel = F.l1_loss(found, target)
        loss, logs = pixel, {"pixel": pixel.detach()}
        if own.perceptual:
            seen = perceptual_loss(self.helpers["vgg"], found, target, VGG_WEIGHTS)  # type: ignore[arg-type]
            loss, logs["perceptual"] = loss + own.perceptual * seen, seen.detach()
        begun = own.adversarial > 0 and moment.step >= own.adversarial_from
        if begun:
            fooled = -self.networks["judge"](found * 2 - 1).mean()
            loss = loss + own.adversarial * self._balance(loss, fooled) * fooled
            logs["fooled"] = fooled.detach()
        yield Turn("fusion", loss, logs)
        if begun:
            judge = self.networks["judge"]
            true, false = judge(target * 2 - 1), judge(found.detach() * 2 - 1)
            hinge = 0.5 * (F.relu(1 - true).mean() + F.relu(1 + false).mean())
            yield Turn("judge", hinge, {"judge": hinge.detach()})

    def _balance(self, wanted: Tensor, fooled: Tensor) -> Tensor:
        """Gradient norm of the other terms over the adversarial one's, at the last layer that is trained."""
        last = self.plain("fusion").blocks[-1].encode_enc_3.conv2.weight
        norms = [torch.autograd.grad(term, last, retain_graph=True)[0].norm() for term in (wanted, fooled)]
        return (norms[0] / (norms[1] + 1e-4)).clamp(0, 1e4).detach()


def make_latents(
    settings: Mapping[str, Any],
    folders: Mapping[str, Path],
    device: torch.device,
    progress: Callable[[int, int], None],
) -> Path:
    """Separate training crops with the fine-tuned sampler and store what it makes of their transmissions.

    Files that are there already are kept, so an interrupted run goes on; each depends on the seed and its
    number alone.

    Returns:
        The folder of the latents.

    Raises:
        RecipeError: settings, photos or model that cannot be used.
    """
    own = read_settings(FusionSettings, settings)
    data = whole_folder(folders)
    folder = data / own.latents
    try:
        samples = LayerCrops(own, data)
        pipeline = starting_pipeline(Path(own.model).expanduser()).to(device)
    except (ModelError, InputError) as error:
        raise RecipeError(error.head(), error.rest()) from error
    pipeline.set_progress_bar_config(disable=True)
    folder.mkdir(parents=True, exist_ok=True)
    run = DiffRSSettings(
        steps=own.latent_steps, resolution=own.crop, optimisation=own.latent_optimisation, w=0.0
    )
    for index in range(own.latent_count):
        path = folder / f"{index:08d}.safetensors"
        if not path.is_file():
            sample = samples.draw(0, index)
            generator = torch.Generator().manual_seed(own.seed * 1_000_003 + index)
            output = pipeline(
                sample["blended"][None], settings=run, generator=generator, output_type="latent"
            )
            pictures = {name: (sample[name] * 255).round().byte() for name in ("blended", "transmission")}
            save_state(pictures | {"latent": output.latents_transmission[0]}, path)
        progress(index + 1, own.latent_count)
    return folder
