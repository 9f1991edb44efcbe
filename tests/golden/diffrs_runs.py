"""Checks of whole DiffRS runs: every step, the last latents and the pictures of each variant."""

import json
from pathlib import Path

import pytest
import torch
from diffrs_recipe import config_of, fusion, published_fusion, published_synthesis, synthesis, unet, vae
from diffusers import DDIMScheduler
from fixtures import GoldenFile
from torch import Tensor

from dereflect.methods.diffrs.autoencoder import decode, encode
from dereflect.methods.diffrs.pictures import to_unit, to_working
from dereflect.methods.diffrs.pipeline import DiffRSPipeline
from dereflect.methods.diffrs.prompts import PromptEmbeddings
from dereflect.methods.diffrs.settings import DiffRSSettings

LATENT, IMAGE = 5e-5, 2e-5
"""Tolerances of latents and of pictures in [0, 1]."""


def pipeline_for(inputs: GoldenFile) -> DiffRSPipeline:
    config = config_of(inputs)
    seeds = config["seeds"]
    pipeline = DiffRSPipeline(
        unet=unet(json.dumps(config["unet"]), seeds["unet"]),
        vae=vae(json.dumps(config["vae"]), seeds["vae"]),
        synthesis=synthesis(seeds["lrm"]),
        prompts=PromptEmbeddings.of(inputs.take("prompt_T"), inputs.take("prompt_R")),
        scheduler=DDIMScheduler(**config["scheduler"]),
        fusion=fusion(seeds["fuse"]),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def check_pipeline_inputs(file: GoldenFile):
    config = config_of(file)
    image = file.take("image")
    assert image.dtype == torch.uint8
    assert image.shape[0] == 3
    latent = (1, 4, config["res"] // 8, config["res"] // 8)
    assert file.take("noise_T").shape == file.take("noise_R").shape == latent
    width = config["unet"]["cross_attention_dim"]
    assert file.take("prompt_T").shape[-1] == file.take("prompt_R").shape[-1] == width


def check_run(file: GoldenFile):
    inputs = GoldenFile(file.path.with_name("pipeline_inputs.safetensors"))
    config = config_of(file)
    switches = config["switches"]
    image, pipeline = inputs.take("image"), pipeline_for(inputs)
    assert list(image.shape[1:]) == config["input"]
    settings = DiffRSSettings(
        steps=config["steps"],
        resolution=config["res"],
        attention=switches["cross_attention"],
        optimisation=switches["optimization"],
        disjoint="code" if switches["s_sampling"] else "off",
        w=switches["w"],
    )
    starts, predictions, optimised, timesteps = [], [], [], []
    noise = inputs.take("noise_T"), inputs.take("noise_R")
    at = torch.cat(noise)

    def record(_, step, timestep, tensors):
        nonlocal at
        starts.append(at)
        at = tensors["latents"].clone()
        predictions.append(tensors["prediction"])
        timesteps.append(timestep)
        if tensors["optimised"] is not None:
            optimised.append(tensors["optimised"])

    wanted = ["transmission", "reflection", "unrefined_transmission", "mixture"]
    output = pipeline(
        image,
        settings=settings,
        noise=noise,
        layers=wanted,
        output_type="pt",
        callback_on_step_end=record,
        callback_on_step_end_tensor_inputs=["latents", "prediction", "optimised"],
    )
    file.compare("timesteps", torch.tensor(timesteps))
    for index, layer in enumerate("TR"):
        file.compare(f"steps_{layer}", torch.stack(starts)[:, index], atol=LATENT)
        file.compare(f"v_{layer}", torch.stack(predictions)[:, index], atol=LATENT)
        if switches["optimization"]:
            file.compare(f"opt_{layer}", torch.stack(optimised)[:, index], atol=LATENT)
        else:
            assert not optimised
    z_t, z_r = output.latents_transmission, output.latents_reflection
    file.compare("final_T", z_t, atol=LATENT)
    file.compare("final_R", z_r, atol=LATENT)
    with torch.no_grad():
        mixture = pipeline.synthesis(z_t, z_r) if switches["optimization"] else z_t
    file.compare("final_pseudo_I", mixture, atol=LATENT)
    check_pictures(file, pipeline, settings, image, output)


def check_pictures(file: GoldenFile, pipeline, settings, image: Tensor, output):
    working = (settings.resolution, settings.resolution)
    with torch.no_grad():  # the squares are inside the pipeline: decode once more
        square = to_working(image[None].float() / 255, working)
        z_i, features = encode(pipeline.vae, square)
        file.compare("z_I", z_i, atol=LATENT)
        z_t, z_r = output.latents_transmission, output.latents_reflection
        squares = {
            "T": decode(pipeline.vae, z_t, pipeline.fusion, features, settings.w),
            "R": decode(pipeline.vae, z_r),
        }
        if "square_unrefined_T" in file:
            squares["unrefined_T"] = decode(pipeline.vae, z_t)
        if "square_pseudo_I" in file:
            squares["pseudo_I"] = decode(pipeline.vae, pipeline.synthesis(z_t, z_r))
    for name, decoded in squares.items():
        file.compare(f"square_{name}", to_unit(decoded), atol=IMAGE)
    file.compare("T", output.transmission[0], atol=IMAGE)
    file.compare("R", output.reflection[0], atol=IMAGE)
    pictures = {
        "T": output.transmission,
        "R": output.reflection,
        "unrefined_T": output.unrefined_transmission,
        "pseudo_I": output.mixture,
    }
    for name, picture in pictures.items():
        ours = (picture[0] * 255).to(torch.uint8).permute(1, 2, 0)  # the release cuts fractions off
        file.compare(f"{name}_u8", ours, atol=1)
        differing = (ours != file.take(f"{name}_u8")).float().mean().item()
        assert differing <= 0.01, f"{file.name}: {name}_u8 differs in {differing:.2%} of values"


def check_configs(file: GoldenFile):
    """The settings of the whole set: the weight recipe as it is meant, and every variant run."""
    configs = json.loads(file.path.read_text())
    modules = {
        "unet": lambda seed: unet(json.dumps(configs["unet"]), seed).state_dict(),
        "vae": lambda seed: vae(json.dumps(configs["vae"]), seed).state_dict(),
        "fuse": published_fusion,
        "lrm": published_synthesis,
    }
    assert set(configs["recipe_check"]) <= set(modules)
    for name, expected in configs["recipe_check"].items():
        assert expected["seed"] == configs["seeds"][name]
        state = modules[name](expected["seed"])
        assert len(state) == expected["n_keys"]
        total = sum(tensor.double().sum().item() for tensor in state.values())
        assert total == pytest.approx(expected["sum"], abs=1e-2)
        magnitude = sum(tensor.double().abs().sum().item() for tensor in state.values())
        assert magnitude == pytest.approx(expected["abs_sum"], rel=1e-6)
        for key, values in expected["samples"].items():
            assert state[key].flatten()[: len(values)].tolist() == pytest.approx(values, abs=1e-6)
    folder: Path = file.path.parent
    for variant, switches in configs["variants"].items():
        run = config_of(GoldenFile(folder / f"pipeline_{variant}.safetensors"))
        assert run["switches"] == switches
        assert run["steps"] == configs["steps"]
        assert run["res"] == configs["res"]
        assert run["input"] == configs["image_size"]
