"""DiffRS at a third of the work: the published sampling loop beside ours, in one run.

    python benchmarks/diffrs.py mid            # 34 M-parameter UNet, 32x32 latent, 50 steps
    python benchmarks/diffrs.py full           # Stable Diffusion 2.1's UNet at 256x256, 6 steps
    python benchmarks/diffrs.py further        # what each further saving brings, on the mid-size network

The published loop optimises in four inner iterations, each with a UNet evaluation of its own, and goes
backwards through the UNet as soon as the UNet's input asks for a gradient (it does from the second
optimisation on). Ours keeps the one prediction of the step. Weights are random: the work and the agreement of
results are measured, not quality. Each path has a process of its own. Its peak memory is given three times:
what the run took beside the weights, weights and run together (what a GPU's allocator would show), and the
whole process, of which Python and its libraries are a large part that no path can change.
"""

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffrs_parts import base_scheduler, open_gains
from diffusers import AutoencoderKL, UNet2DConditionModel
from measured import add_option, record
from torch import Tensor

from dereflect.cli.scripts import run_script
from dereflect.methods.diffrs.attention import joint_attention
from dereflect.methods.diffrs.autoencoder import decode, encode
from dereflect.methods.diffrs.fusion import FidelityFusion
from dereflect.methods.diffrs.optimisation import LatentOptimisation
from dereflect.methods.diffrs.pipeline import DiffRSPipeline
from dereflect.methods.diffrs.prompts import PromptEmbeddings
from dereflect.methods.diffrs.sampling import clean_estimate, disjoint
from dereflect.methods.diffrs.settings import DiffRSSettings
from dereflect.methods.diffrs.synthesis import LatentSynthesis

STEPS = {"mid": 50, "full": 6}
LATENT = 32


def make_unet(case: str) -> UNet2DConditionModel:
    if case == "full":
        return UNet2DConditionModel(
            sample_size=96,
            in_channels=8,
            num_class_embeds=2,
            cross_attention_dim=1024,
            attention_head_dim=(5, 10, 20, 20),
            use_linear_projection=True,
            upcast_attention=True,
        )
    return UNet2DConditionModel(
        sample_size=LATENT,
        in_channels=8,
        num_class_embeds=2,
        block_out_channels=(64, 128, 256, 256),
        cross_attention_dim=256,
        attention_head_dim=(2, 4, 8, 8),
        use_linear_projection=True,
    )


def make_pipeline(case: str) -> DiffRSPipeline:
    """Random UNet and synthesis network, frozen; the autoencoder is a stand-in that the loops do not use."""
    torch.manual_seed(0)
    unet = make_unet(case).eval().requires_grad_(False)
    synthesis = open_gains(LatentSynthesis()).eval().requires_grad_(False)
    width = unet.config.cross_attention_dim
    return DiffRSPipeline(
        unet=unet,
        vae=AutoencoderKL(block_out_channels=(32,), norm_num_groups=8),
        synthesis=synthesis,
        prompts=PromptEmbeddings.of(torch.randn(1, 77, width), torch.randn(1, 77, width)),
        scheduler=base_scheduler(),
    )


class PublishedAttention:
    """Cross-layer attention as published: own and other layer's keys and values copied together for each
    layer.
    """

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **_):
        batch, length, _ = hidden_states.shape
        joined = encoder_hidden_states is None
        context = hidden_states if joined else encoder_hidden_states
        q, k, v = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        if joined:
            k, v = (torch.cat([x, torch.cat(x.chunk(2)[::-1])], dim=1) for x in (k, v))
        q, k, v = (
            x.view(batch, -1, attn.heads, x.shape[-1] // attn.heads).transpose(1, 2) for x in (q, k, v)
        )
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, -1)
        return attn.to_out[1](attn.to_out[0](out))


def published_loop(pipeline: DiffRSPipeline, z_i: Tensor, noise: Tensor, settings: DiffRSSettings) -> Tensor:
    """The release's sampling loop; returns the last latents (2, 4, h, w), transmission first."""
    scheduler, unet, rule = pipeline.scheduler, pipeline.unet, LatentOptimisation()
    before = dict(unet.attn_processors)
    unet.set_attn_processor(PublishedAttention())
    scheduler.set_timesteps(settings.steps)
    prompts, labels = pipeline.prompts(1), torch.arange(2)
    z_i = z_i.clone()
    latents = noise

    def predict(layers: Tensor, timestep: Tensor) -> Tensor:
        sample = torch.cat([z_i.repeat(2, 1, 1, 1), layers], dim=1)
        return unet(sample, timestep, prompts, class_labels=labels).sample

    for step, timestep in enumerate(scheduler.timesteps):
        alpha = scheduler.alphas_cumprod[timestep]
        entering = latents
        with torch.no_grad():
            prediction = predict(entering, timestep)
        if rule.due(step):
            for _ in range(rule.iterations):
                # Predicted anew from the latents that entered: the same numbers each time, but a new graph.
                again = predict(entering, timestep)
                clean = clean_estimate(latents, again, alpha)
                if not clean.requires_grad:
                    clean.requires_grad_()
                clean.retain_grad()
                t, r = clean.chunk(2)
                loss = rule.loss_scale * (pipeline.synthesis(t, r) - z_i).square().mean()
                loss.backward()
                with torch.no_grad():
                    norms = latents.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
                    latents = latents - rule.gamma(step) * norms * clean.grad
            z_i.requires_grad_()  # and from now on the UNet's input asks for a gradient that nobody uses
        with torch.no_grad():
            t, r = disjoint(*prediction.chunk(2), settings.k, settings.disjoint)
            latents = scheduler.step(torch.cat([t, r]), timestep, latents).prev_sample
    unet.set_attn_processor(before)
    return latents


@torch.no_grad()
def our_loop(pipeline: DiffRSPipeline, z_i: Tensor, noise: Tensor, settings: DiffRSSettings) -> Tensor:
    with joint_attention(pipeline.unet, settings.attention):
        for _, _, tensors in pipeline.denoise(z_i, noise, settings):
            latents = tensors["latents"]
    return latents


LOOPS = {"published": published_loop, "ours": our_loop}


def inputs() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(2024)
    drawn = torch.randn(3, 4, LATENT, LATENT, generator=source)
    return drawn[:1], drawn[1:]


class Watch:
    """Peak resident memory of this process above what it held at the start, sampled."""

    def __enter__(self):
        self.base = self.peak = resident()
        self.running = True
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()
        return self

    def _look(self):
        while self.running:
            self.peak = max(self.peak, resident())
            time.sleep(0.002)

    def __exit__(self, *_):
        self.running = False
        self.thread.join()
        self.peak = max(self.peak, resident())


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def one_path(case: str, path: str, steps: int, save: str) -> None:
    """Run one path in this process and print what it took as JSON."""
    pipeline = make_pipeline(case)
    z_i, noise = inputs()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what making the weights left behind is not the run's
    counts = {"forwards": 0, "backwards": 0}

    def count_backward(_):
        counts["backwards"] += 1

    def count_forward(module, arguments, output):
        counts["forwards"] += 1
        if output.sample.requires_grad:
            output.sample.register_hook(count_backward)

    pipeline.unet.register_forward_hook(count_forward)
    with Watch() as watch:
        LOOPS[path](pipeline, z_i, noise, DiffRSSettings(steps=1))  # warm up: threads, kernels, the allocator
        counts.update(forwards=0, backwards=0)
        started, busy = time.perf_counter(), time.process_time()
        latents = LOOPS[path](pipeline, z_i, noise, DiffRSSettings(steps=steps))
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
    torch.save(latents, save)
    weights = sum(p.numel() * 4 for part in (pipeline.unet, pipeline.synthesis) for p in part.parameters())
    print(
        json.dumps(
            counts
            | {
                "seconds": seconds,
                "cpu_seconds": busy,
                "peak_mb": (watch.peak - watch.base) / 1e6,
                "weights_mb": weights / 1e6,
                "tensors_mb": (watch.peak - watch.base + weights) / 1e6,
                "whole_mb": watch.peak / 1e6,
            }
        )
    )


def compare(case: str, steps: int, folder: Path) -> dict:
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for path in LOOPS:
        command = [sys.executable, __file__, "path", "--case", case, "--which", path, "--steps", str(steps)]
        output = subprocess.run(
            [*command, "--save", str(folder / f"{path}.pt")], check=True, capture_output=True, text=True
        )
        found[path] = json.loads(output.stdout.strip().splitlines()[-1])
        r = found[path]
        print(
            f"{case:5} {path:10} {r['forwards']:3} forwards {r['backwards']:3} backwards  "
            f"{r['seconds']:7.1f} s ({r['cpu_seconds']:.1f} s of CPU)  "
            f"peak {r['peak_mb']:.0f} MB beside {r['weights_mb']:.0f} MB of weights, "
            f"{r['tensors_mb']:.0f} MB together, {r['whole_mb']:.0f} MB the whole process",
            flush=True,
        )
    a, b = (torch.load(folder / f"{path}.pt", weights_only=True) for path in LOOPS)
    old, new = found["published"], found["ours"]
    saved = {key: 1 - new[key] / old[key] for key in ("peak_mb", "tensors_mb", "whole_mb")}
    print(
        f"{case:5} {steps} steps: {old['seconds'] / new['seconds']:.2f}x less time "
        f"({old['cpu_seconds'] / new['cpu_seconds']:.2f}x less CPU time); peak memory "
        f"{saved['peak_mb']:.0%} less beside the weights, {saved['tensors_mb']:.0%} with them, "
        f"{saved['whole_mb']:.0%} of the whole process; "
        f"largest difference {(a - b).abs().max():.1e} of {a.abs().max():.1f}"
    )
    kept = ("forwards", "backwards", "seconds", "cpu_seconds", "peak_mb", "tensors_mb", "whole_mb")
    values = {path: {key: round(one[key], 1) for key in kept} for path, one in found.items()}
    values |= {"steps": steps, "faster": round(old["seconds"] / new["seconds"], 2)}
    values["largest_difference"] = float(f"{(a - b).abs().max():.1e}")
    return values | {"largest_value": round(float(a.abs().max()), 1)}


def best_of(function, times: int = 3) -> float:
    found = []
    for _ in range(times + 1):
        started = time.perf_counter()
        function()
        found.append(time.perf_counter() - started)
    return min(found[1:])


@torch.no_grad()
def further() -> dict:
    """Savings beyond the loop, each against the way without it, on the mid-size network (autoencoder:
    SD's).
    """
    pipeline = make_pipeline("mid")
    unet, (z_i, noise) = pipeline.unet, inputs()
    sample = torch.cat([z_i.repeat(2, 1, 1, 1), noise], dim=1)
    prompts, labels = pipeline.prompts(1), torch.arange(2)

    def evaluate() -> Tensor:
        return unet(sample, 500, prompts, class_labels=labels).sample

    stock = dict(unet.attn_processors)
    unet.set_attn_processor(PublishedAttention())
    plain, reference = best_of(evaluate), evaluate()
    unet.set_attn_processor(stock)
    with joint_attention(unet):
        joined, difference = best_of(evaluate), (evaluate() - reference).abs().max()
        print(f"one joined attention call: {plain / joined:.2f}x (difference {difference:.0e})", flush=True)
        unet.to(memory_format=torch.channels_last)
        last, difference = best_of(evaluate), (evaluate() - reference).abs().max()
        values = {"joined_attention": plain / joined, "channels_last_unet": joined / last}
        print(f"channels-last UNet:        {joined / last:.2f}x (difference {difference:.0e})", flush=True)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
    ).eval()
    fusion = FidelityFusion().eval()
    image = torch.rand(1, 3, 128, 128) * 2 - 1
    latent, features = encode(vae, image)
    once = best_of(lambda: encode(vae, image), 1)
    print(f"one encoder pass for latent and maps: {once:.2f} s in place of {2 * once:.2f} s", flush=True)
    apart = best_of(lambda: decode(vae, latent), 1)
    fused = best_of(lambda: decode(vae, latent, fusion, features, 0.8), 1)
    print(
        f"decoding two layers of four: {fused + apart:.2f} s in place of {fused + 3 * apart:.2f} s "
        f"({(fused + 3 * apart) / (fused + apart):.2f}x)",
        flush=True,
    )
    values |= {"encoder_once": once, "encoder_twice": 2 * once}
    values |= {"decode_two": fused + apart, "decode_four": fused + 3 * apart}
    vae.to(memory_format=torch.channels_last)
    last = best_of(lambda: decode(vae, latent), 1)
    print(f"channels-last decoder:     {apart / last:.2f}x", flush=True)
    print("text encoder: 340.4 M parameters (1.36 GB in float32) that are neither loaded nor run")
    values["channels_last_decoder"] = apart / last
    return {key: round(value, 2) for key, value in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["mid", "full", "further", "path"])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--folder", type=Path, default=Path("runs/diffrs_benchmark"))
    parser.add_argument("--case", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--which", choices=list(LOOPS), help=argparse.SUPPRESS)
    parser.add_argument("--save", help=argparse.SUPPRESS)
    add_option(parser, "diffrs")
    options = parser.parse_args()
    if options.what == "path":
        one_path(options.case, options.which, options.steps, options.save)
    elif options.what == "further":
        record(options, further(), "float32", part=".further")
    else:
        values = compare(options.what, options.steps or STEPS[options.what], options.folder)
        record(options, values, "float32", part=f".{options.what}")


if __name__ == "__main__":
    run_script(main)
