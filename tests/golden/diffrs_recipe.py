"""The small random models of DiffRS's fixtures: their weights by the fixtures' recipe."""

import json
import zlib
from functools import lru_cache

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from fixtures import GoldenFile
from torch import Tensor

from dereflect.methods.diffrs.fusion import FidelityFusion
from dereflect.methods.diffrs.official import fusion_state, synthesis_state
from dereflect.methods.diffrs.synthesis import LatentSynthesis


def recipe(key: str, shape: torch.Size, seed: int) -> Tensor:
    name = zlib.crc32(key.replace("seq_r", "seq_l").encode("utf-8")) ^ seed
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(name))
    last = key.rsplit(".", 1)[-1]
    if last in {"a", "b", "a_l", "a_r", "b_l", "b_r"}:
        return 0.1 * noise
    if key == "class_embedding.weight":
        return noise
    if len(shape) >= 2:
        return noise / torch.tensor(shape[1:]).prod().sqrt()
    return 0.02 * noise if last == "bias" else 1 + 0.1 * noise


def fill(module, seed: int):
    module.load_state_dict({key: recipe(key, t.shape, seed) for key, t in module.state_dict().items()})
    return module.eval()


def published_synthesis(seed: int) -> dict[str, Tensor]:
    """The network's state in the published layout: shared layers under two names."""
    state = {}
    for key, tensor in LatentSynthesis().state_dict().items():
        published = key.replace("intro.", "intro.seq.0.").replace("tail.", "tail.0.")
        for name in (published.replace(".seq.", ".seq_l."), published.replace(".seq.", ".seq_r.")):
            state[name] = recipe(name, tensor.shape, seed)
    return state


def published_fusion(seed: int) -> dict[str, Tensor]:
    keys = {key.removeprefix("blocks."): t.shape for key, t in fusion_skeleton().state_dict().items()}
    return {key: recipe(key, shape, seed) for key, shape in keys.items()}


def fusion_skeleton() -> FidelityFusion:
    with torch.device("meta"):
        return FidelityFusion()


@lru_cache(maxsize=1)
def fusion(seed: int) -> FidelityFusion:
    module = fusion_skeleton()
    module.load_state_dict(fusion_state(published_fusion(seed)), assign=True)
    return module.eval()


@lru_cache(maxsize=1)
def vae(config: str, seed: int) -> AutoencoderKL:
    return fill(AutoencoderKL(**json.loads(config)), seed)


@lru_cache(maxsize=1)
def synthesis(seed: int) -> LatentSynthesis:
    module = LatentSynthesis()
    module.load_state_dict(synthesis_state(published_synthesis(seed)))
    return module.eval()


@lru_cache(maxsize=1)
def unet(config: str, seed: int) -> UNet2DConditionModel:
    return fill(UNet2DConditionModel(**json.loads(config)), seed)


def config_of(file: GoldenFile) -> dict:
    return json.loads(file.metadata["config"])
