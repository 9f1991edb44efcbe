"""Numbers of the reference implementation of WindowSeat, run with tiny networks, checked entry by entry."""

import json

import numpy as np
import pytest
import torch
from fixtures import GoldenFile, manifest, parametrize_over_files, recipe, run_check, section
from torch import Tensor
from windowseat_recipe import network_of

from dereflect.errors import InputError
from dereflect.evaluation.protocol import PROTOCOLS
from dereflect.methods.windowseat.separation import canvas, finished
from dereflect.methods.windowseat.step import REDUCTION, OneStep, PromptEmbedding, pack
from dereflect.methods.windowseat.tiling import TilePlan, plan_tiles, resized

pytest.importorskip("diffusers")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize_over_files(metafunc, "windowseat")


def test_golden_file(golden_file):
    with torch.no_grad():
        run_check(golden_file, CHECKS)


def mode_of(short_edge: bool) -> str:
    return "short-edge" if short_edge else "more-tiles"


def check_tiling(file: GoldenFile) -> None:
    cases = json.loads(file.path.read_text())
    for case in cases:
        mode, options = mode_of(case["short_edge"]), options_of(case.get("options", {}))
        arguments = case["width"], case["height"], case["processing_resolution"], mode
        if "error" in case:
            with pytest.raises(InputError):
                plan_tiles(*arguments, **options)
            continue
        found = plan_tiles(*arguments, **options)
        assert [list(box) for box in found.boxes] == case["tiles"], case
    about = manifest(file.path.parent)["tiling"]
    assert len(cases) == about["cases"]
    assert sum("error" in case for case in cases) == about["errors"]


def options_of(options: dict) -> dict:
    """Overlap and number of tiles of the two axes, by the original's names."""
    overlap, most = (
        tuple(options.get(f"{name}_{axis}", default) for axis in "wh")
        for name, default in (("min_overlap", 64), ("max_num_tiles", 4))
    )
    return {"overlap": overlap, "most": most}


def check_resize(file: GoldenFile) -> None:
    for case in file.groups():
        given, wanted = file.take(f"{case}.in"), file.take(f"{case}.out")
        found = resized(given.permute(1, 2, 0).numpy(), *wanted.shape[1:])
        file.compare(f"{case}.out", torch.from_numpy(np.ascontiguousarray(found)).permute(2, 0, 1), atol=1e-5)


def check_vae(file: GoldenFile) -> None:
    step = network_of(file)
    for case in file.groups():
        image, noise = file.take(f"{case}.image"), file.take(f"{case}.noise")
        sampled, mode = step.encode(image, noise), step.encode(image)
        file.compare(f"{case}.latent_sampled", sampled, atol=1e-5)
        file.compare(f"{case}.latent_mode", mode, atol=1e-5)
        deviation = step.vae.encode(image[:, :, None]).latent_dist.std
        file.compare(f"{case}.std", deviation, atol=1e-5)
        file.compare(f"{case}.decoded", step.decode(file.take(f"{case}.latent_sampled")), atol=1e-5)


def check_step(file: GoldenFile) -> None:
    step = network_of(file)
    for case in [group for group in file.groups() if group.isdigit()]:
        latent = file.take(f"{case}.latent")
        file.compare(f"{case}.packed", pack(latent))
        call = recorded_call(step, latent)
        about = section(file)[case]
        assert call["timestep"].tolist() == about["timestep"]
        assert json.loads(json.dumps(call["img_shapes"])) == about["img_shapes"]
        assert list(call["encoder_hidden_states"].shape) == about["embeds_shape"]
        assert call["guidance"] is about["guidance"] is None
        file.compare(f"{case}.velocity", step.velocity(latent), atol=2e-5)
        file.compare(f"{case}.x0", step.clean(latent), atol=2e-5)
        file.compare(f"{case}.x0_no_lora", without_adapter(step, latent), atol=2e-5)
    if "contexts.prompt_embeds" in file:
        embeds = file.take("contexts.prompt_embeds")
        mask = torch.ones(embeds.shape[:2], dtype=torch.int64)
        prompt = PromptEmbedding.of({"prompt_embeds": embeds, "prompt_mask": mask}, "file")
        other = OneStep(step.vae, step.transformer, prompt)
        for match in file.matching(r"(contexts\d+)\.latent"):
            file.compare(f"{match[1]}.x0", other.clean(file.take(match[0])), atol=2e-5)


def recorded_call(step: OneStep, latent: Tensor) -> dict:
    """What the transformer is called with."""
    seen: dict = {}
    hook = step.transformer.register_forward_pre_hook(
        lambda module, arguments, named: seen.update(named), with_kwargs=True
    )
    step.velocity(latent)
    hook.remove()
    return seen


def without_adapter(step: OneStep, latent: Tensor) -> Tensor:
    adapters = [module for module in step.transformer.modules() if hasattr(module, "down")]
    assert adapters
    scales = [module.scale for module in adapters]
    for module in adapters:
        module.scale = 0.0
    result = step.clean(latent)
    for module, scale in zip(adapters, scales, strict=True):
        module.scale = scale
    return result


def check_bf16(file: GoldenFile) -> None:
    step = network_of(file, torch.bfloat16)
    latent = file.take("latent")
    clean = step.clean(latent)
    assert str(clean.dtype) == section(file)["x0_dtype"]
    assert float(recorded_call(step, latent)["timestep"][0]) == float(file.take("timestep")[0])
    file.compare("x0", clean, atol=0.08)
    mode = step.encode(file.take("image"))
    file.compare("latent_mode", mode, atol=0.08)
    file.compare("decoded", step.decode(file.take("latent_mode")), atol=0.08)


def plan_of(about: dict) -> TilePlan:
    mode = mode_of(about["short_edge"])
    plan = plan_tiles(about["width"], about["height"], about["processing_resolution"], mode)
    assert len(plan.corners) == about["tiles"]
    return plan


def compare_levels(file: GoldenFile, key: str, picture: np.ndarray, share: float = 0.0) -> None:
    """8-bit values equal but for one level in a share of them."""
    found = torch.from_numpy(np.rint(picture * 255).astype(np.uint8))
    file.compare(key, found, atol=1)
    assert (found != file.take(key)).float().mean() <= share, key


def check_stitch(file: GoldenFile) -> None:
    for case in file.groups():
        about = section(file)[case]
        plan, photo = plan_of(about), file.take(f"{case}.image").numpy() / 255
        side = about["processing_resolution"]
        found = canvas(photo, plan, side, lambda tiles, first: tiles.clamp(-1, 1))
        unit = np.clip((found + 1) / 2, 0, 1)
        file.compare(f"{case}.identity_green", torch.from_numpy(unit[..., 1]), atol=1e-5)
        out = finished(found, about["width"], about["height"], "published")
        compare_levels(file, f"{case}.identity_out", out)

        def constant(tiles: Tensor, first: int) -> Tensor:
            values = [((7 * (first + k)) % 11) / 5 - 1 for k in range(len(tiles))]
            return torch.tensor(values).view(-1, 1, 1, 1).expand_as(tiles)

        found = canvas(photo, plan, side, constant)
        unit = np.clip((found[..., 0] + 1) / 2, 0, 1)
        file.compare(f"{case}.constant", torch.from_numpy(unit), atol=1e-5)


def check_pipeline(file: GoldenFile) -> None:
    for case in file.groups():
        about = section(file)[case]
        images = [match[0] for match in file.matching(rf"{case}\.image(_\d+)?")]
        count = 0
        for key in images:
            image = file.take(key)
            one = {"height": image.shape[0], "width": image.shape[1], "tiles": None} | about
            suffix = key.removeprefix(f"{case}.image")
            count += check_photo(file, case, suffix, image, one, count)
        assert count == about["tiles"]


def check_photo(file: GoldenFile, case: str, suffix: str, image: Tensor, about: dict, before: int) -> int:
    """One photo through the whole; returns its number of tiles."""
    step, side = network_of(file), about["processing_resolution"]
    maker, seed = recipe(file.path.parent), manifest(file.path.parent)["seed"]
    height, width = image.shape[:2]
    plan = plan_tiles(width, height, side, mode_of(about["short_edge"]))
    kept: dict[str, Tensor] = {}

    def network(tiles: Tensor, first: int) -> Tensor:
        shape, noise = (16, 1, side // REDUCTION, side // REDUCTION), None
        if about["posterior"] == "noise":
            numbers = range(before + first, before + first + len(tiles))
            noise = torch.stack([maker.tile_noise(number, shape, seed) for number in numbers])
        latents = step.encode(tiles, noise)
        clean = step.clean(latents)
        decoded = step.decode(clean)
        if first == 0:
            kept.update(tiles=tiles, latents=latents, x0=clean, decoded=decoded)
        return decoded

    found = canvas(image.numpy() / 255, plan, side, network, about["batch_size"])
    unit = np.clip((found + 1) / 2, 0, 1)
    file.compare(f"{case}.green{suffix}", torch.from_numpy(unit[..., 1]), atol=2e-5)
    for name, tensor in kept.items():
        if f"{case}.{name}" in file:
            file.compare(f"{case}.{name}", tensor, atol=2e-5)
    if f"{case}.x01" in file:
        file.compare(f"{case}.x01", torch.from_numpy(unit).permute(2, 0, 1), atol=2e-5)
    compare_levels(file, f"{case}.out{suffix}", finished(found, width, height, "published"), share=0.001)
    return len(plan.corners)


def check_metrics(file: GoldenFile) -> None:
    about, protocol = section(file), PROTOCOLS["windowseat"]
    found = {}
    for case in file.groups():
        estimate, target = (file.take(f"{case}.{name}").numpy() for name in ("pred", "gt"))
        found[case] = protocol.measure(estimate, target)
        for name, wanted in about[case].items():
            assert abs(found[case][name] - wanted) <= (1e-4 if name == "psnr" else 1e-5), (case, name)
    for name, wanted in about["mean"].items():
        assert abs(np.mean([one[name] for one in found.values()]) - wanted) <= 1e-4


def check_manifest(file: GoldenFile) -> None:
    for name in json.loads(file.path.read_text())["files"]:
        if (place := file.path.with_name(name)).suffix == ".safetensors" and place.is_file():
            assert GoldenFile(place).keys


def check_recipe(file: GoldenFile) -> None:
    step, about = network_of(file), manifest(file.path.parent)["parameters"]
    adapters = [p for name, p in step.transformer.named_parameters() if name.endswith((".down", ".up"))]
    numbers = sum(p.numel() for p in adapters)
    assert (len(adapters), numbers) == (about["lora_tensors"], about["lora"])
    assert sum(p.numel() for p in step.transformer.parameters()) - numbers == about["transformer"]
    assert sum(p.numel() for p in step.vae.parameters()) == about["vae"]


CHECKS = {
    "tiling": check_tiling,
    "resize": check_resize,
    "vae": check_vae,
    "step": check_step,
    "bf16": check_bf16,
    "stitch": check_stitch,
    "pipeline": check_pipeline,
    "metrics": check_metrics,
    "manifest": check_manifest,
    "recipe": check_recipe,
}
