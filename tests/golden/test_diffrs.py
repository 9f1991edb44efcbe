"""DiffRS against numbers that the authors' inference code produced on small random models."""

import json

import pytest
import torch
from fixtures import GoldenFile, parametrize_over_files, run_check

pytest.importorskip("diffusers")

from diffrs_recipe import config_of, fill, fusion, synthesis, unet, vae
from diffrs_runs import LATENT, check_configs, check_pipeline_inputs, check_run
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.models.attention_processor import Attention

from dereflect.methods.diffrs.attention import JointAttention, joint_attention
from dereflect.methods.diffrs.autoencoder import decode, encode
from dereflect.methods.diffrs.noise import draw_noise, multi_resolution_noise
from dereflect.methods.diffrs.objective import warm_exponential
from dereflect.methods.diffrs.official import widen_conv_in
from dereflect.methods.diffrs.optimisation import LatentOptimisation, OptimisationTrace, optimise_latents
from dereflect.methods.diffrs.pictures import to_size, to_unit, to_working
from dereflect.methods.diffrs.sampling import clean_estimate, disjoint_code, disjoint_paper


def pytest_generate_tests(metafunc):
    parametrize_over_files(metafunc, "diffrs")


def test_golden_file(golden_file):
    run_check(golden_file, CHECKS)


@torch.no_grad()
def check_attention(file: GoldenFile):
    config = config_of(file)
    shape, seed = config["attention"], config["seed"]
    hidden = file.take("hidden_states")
    sizes = {"query_dim": shape["query_dim"], "heads": shape["heads"], "dim_head": shape["dim_head"]}
    module = fill(Attention(**sizes), seed)
    assert {key: list(t.shape) for key, t in module.state_dict().items()} == config["keys_self"]
    stock = module.processor
    file.compare("self_out_stock", module(hidden), atol=1e-5)
    module.set_processor(JointAttention(stock))
    file.compare("self_out", module(hidden), atol=1e-5)

    module = fill(Attention(**sizes, cross_attention_dim=shape["cross_dim"]), seed)
    assert {key: list(t.shape) for key, t in module.state_dict().items()} == config["keys_cross"]
    module.set_processor(JointAttention(stock))
    file.compare("cross_out", module(hidden, file.take("encoder_hidden_states")), atol=1e-5)


def check_conv_in(file: GoldenFile):
    weight, bias = widen_conv_in(file.take("weight_4ch"), file.take("bias_4ch"))
    file.compare("weight_8ch", weight)
    file.compare("bias_8ch", bias)


@torch.no_grad()
def check_unet(file: GoldenFile):
    config = config_of(file)
    model = unet(json.dumps(config["unet"]), config["seed"])
    sample = file.take("sample")
    prompts = torch.cat([file.take("prompt_T"), file.take("prompt_R")])
    for match in file.matching(r"out_(stock|clsa)_t(\d+)(_labels_swapped)?"):
        labels = torch.tensor([1, 0] if match[3] else [0, 1])
        with joint_attention(model, match[1] == "clsa"):
            out = model(sample, int(match[2]), prompts, class_labels=labels).sample
        file.compare(match[0], out, atol=2e-5)


def check_disjoint(file: GoldenFile):
    for match in file.matching(r"(b\d+)_k([\d.]+)_t_(out|paper)"):
        t, r, k = file.take(f"{match[1]}_t"), file.take(f"{match[1]}_r"), float(match[2])
        if match[3] == "out":  # the release reduces over the whole tensor: one sample to us
            pair = [layer.view(t.shape) for layer in disjoint_code(t.view(1, -1), r.view(1, -1), k)]
        else:
            pair = list(disjoint_paper(t, r, k))
        for name, layer in zip("tr", pair, strict=True):
            file.compare(f"{match[1]}_k{match[2]}_{name}_{match[3]}", layer, atol=1e-5)


def check_synthesis(file: GoldenFile):
    network = synthesis(config_of(file)["seed"])
    t, r = file.take("t").requires_grad_(), file.take("r").requires_grad_()
    out = network(t, r)
    loss = 10 * (out - file.take("target")).square().mean()
    grad_t, grad_r = torch.autograd.grad(loss, (t, r))
    file.compare("out", out, atol=1e-5)
    file.compare("loss", loss.view(1), atol=1e-5)
    file.compare("grad_t", grad_t, atol=1e-6)
    file.compare("grad_r", grad_r, atol=1e-6)


def check_optimisation(file: GoldenFile):
    config = config_of(file)
    network = synthesis(config["seeds"]["lrm"])
    settings = LatentOptimisation()
    z_i, alphas, timesteps = file.take("z_I"), file.take("alphas_cumprod"), file.take("timesteps")
    prompts = file.take("prompt_T"), file.take("prompt_R")
    model = unet(json.dumps(config["unet"]), config["seeds"]["unet"])
    sizes = torch.tensor([settings.gamma(step) for step in range(config["num_inference_steps"])])
    file.compare("step_sizes", sizes, atol=1e-7)
    seen = {int(match[1]) for match in file.matching(r"i(\d+)_timestep")}
    assert seen == set(config["indices"])
    for step in sorted(seen):
        assert settings.due(step)
        timestep = file.take(f"i{step}_timestep")
        assert timestep.item() == timesteps[step].item()
        z_t, z_r = file.take(f"i{step}_zT_in"), file.take(f"i{step}_zR_in")
        v_t, v_r = file.take(f"i{step}_v_T"), file.take(f"i{step}_v_R")
        with torch.no_grad(), joint_attention(model):  # the supplied predictions are the UNet's own
            sample = torch.cat([z_i.repeat(2, 1, 1, 1), torch.cat([z_t, z_r])], dim=1)
            v = model(sample, timestep, torch.cat(prompts), class_labels=torch.arange(2)).sample
        assert torch.allclose(v, torch.cat([v_t, v_r]), atol=LATENT)
        trace = OptimisationTrace()
        out = optimise_latents(z_t, z_r, v_t, v_r, z_i, alphas[timestep], step, network, settings, trace)
        file.compare(f"i{step}_zT_out", out[0], atol=1e-5)
        file.compare(f"i{step}_zR_out", out[1], atol=1e-5)
        file.compare(f"i{step}_x0T", torch.cat(trace.clean_t), atol=1e-5)
        file.compare(f"i{step}_x0R", torch.cat(trace.clean_r), atol=1e-5)
        file.compare(f"i{step}_losses", torch.cat(trace.losses), atol=1e-4)


@torch.no_grad()
def check_fuse_blocks(file: GoldenFile):
    blocks = fusion(config_of(file)["seed"])
    for match in file.matching(r"out(\d)_w([\d.]+)"):
        out = blocks(int(match[1]), file.take(f"enc{match[1]}"), file.take(f"dec{match[1]}"), float(match[2]))
        file.compare(match[0], out, atol=2e-5)


@torch.no_grad()
def check_decoder(file: GoldenFile):
    config = config_of(file)
    model = vae(json.dumps(config["vae"]), config["seeds"]["vae"])
    blocks = fusion(config["seeds"]["fuse"])
    latent, features = encode(model, file.take("image"))
    file.compare("latent", latent, atol=1e-5)
    for index, feature in enumerate(features):
        file.compare(f"feat{index}", feature, atol=1e-4)
    z = file.take("dec_latent")
    plain = decode(model, z)
    file.compare("dec_plain", plain, atol=5e-5)
    assert torch.equal(decode(model, z, blocks, features, 0.0), plain)
    for match in file.matching(r"dec_w([\d.]+)"):
        file.compare(match[0], decode(model, z, blocks, features, float(match[1])), atol=5e-5)


def check_ddim(file: GoldenFile):
    scheduler = DDIMScheduler(**config_of(file)["scheduler"])
    file.compare("alphas_cumprod", scheduler.alphas_cumprod, atol=1e-5)
    file.compare("final_alpha_cumprod", scheduler.final_alpha_cumprod.view(1), atol=1e-5)
    for match in file.matching(r"timesteps_(\d+)"):
        scheduler.set_timesteps(int(match[1]))
        file.compare(match[0], scheduler.timesteps)
    longest = max(int(match[1]) for match in file.matching(r"timesteps_(\d+)"))
    scheduler.set_timesteps(longest)
    z, v = file.take("z"), file.take("v")
    for match in file.matching(r"prev_i(\d+)"):
        timestep = scheduler.timesteps[int(match[1])]
        step = scheduler.step(v, timestep, z)
        file.compare(match[0], step.prev_sample, atol=1e-5)
        clean = clean_estimate(z, v, scheduler.alphas_cumprod[timestep])
        assert torch.allclose(clean, step.pred_original_sample, atol=1e-5)
        file.compare(f"x0_i{match[1]}", clean, atol=1e-5)


def check_preprocess(file: GoldenFile):
    res = config_of(file)["res"]
    for match in file.matching(r"img_(\d+)x(\d+)"):
        picture = file.take(match[0])[None].float() / 255
        assert picture.shape[-2:] == (int(match[1]), int(match[2]))
        file.compare(f"norm_{match[1]}x{match[2]}", to_working(picture, (res, res)), atol=1e-6)


def floored(picture: torch.Tensor) -> torch.Tensor:
    """[0, 1] to 8 bit as the release does it."""
    return (picture * 255).clamp(0, 255).to(torch.uint8)


def check_resize_back(file: GoldenFile):
    decoded = file.take("decoded")
    for match in file.matching(r"float_(\d+)x(\d+)"):
        size = int(match[1]), int(match[2])
        ours = to_size(to_unit(decoded), size)[0]
        file.compare(match[0], ours, atol=1e-6)
        key = f"u8_{match[1]}x{match[2]}"
        file.compare(key, floored(file.take(match[0])).permute(1, 2, 0))
        file.compare(key, floored(ours).permute(1, 2, 0), atol=1)


def check_noise(file: GoldenFile):
    seed = int(file.name.rsplit("_", 1)[1])
    shape = file.take("noise_T").shape
    noise = draw_noise(torch.zeros(shape), torch.Generator().manual_seed(seed))
    file.compare("noise_T", noise[:1])
    file.compare("noise_R", noise[1:])


def check_training_recipe(file: GoldenFile):
    config = config_of(file)
    assert config["strategy"] == "original"
    x0, timesteps = file.take("x0"), file.take("timesteps")
    seed, strength = config["generator_seed"], config["strength"]
    constant = multi_resolution_noise(x0.shape, strength, torch.Generator().manual_seed(seed))
    file.compare("noise_const", constant, atol=1e-5)
    annealed = multi_resolution_noise(
        x0.shape, strength * timesteps / 1000, torch.Generator().manual_seed(seed)
    )
    file.compare("noise_annealed", annealed, atol=1e-5)
    # The scheduler of every configuration here is SD 2.1's.
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction"
    )
    alpha = scheduler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    z_t = scheduler.add_noise(x0, annealed, timesteps)
    file.compare("z_t", z_t, atol=1e-5)
    target = scheduler.get_velocity(x0, annealed, timesteps)
    file.compare("v_target", target, atol=1e-5)
    assert torch.allclose(clean_estimate(z_t, target, alpha), x0, atol=1e-5)
    factors = [
        warm_exponential(step, config["total_iter"], config["final_ratio"], config["warmup"])
        for step in file.take("lr_iters").tolist()
    ]
    file.compare("lr_factor", torch.tensor(factors, dtype=torch.float64), atol=1e-5)


CHECKS = {
    "configs": check_configs,
    "clsa_attention": check_attention,
    "conv_in_surgery": check_conv_in,
    "unet_forward": check_unet,
    "disjoint_sampling": check_disjoint,
    "lrm": check_synthesis,
    "latent_optimization": check_optimisation,
    "fuse_blocks": check_fuse_blocks,
    "fgfm_decoder": check_decoder,
    "ddim_v": check_ddim,
    "noise_generator_.*": check_noise,
    "preprocess": check_preprocess,
    "resize_back": check_resize_back,
    "training_recipe": check_training_recipe,
    "pipeline_inputs": check_pipeline_inputs,
    "pipeline_.*": check_run,
}
