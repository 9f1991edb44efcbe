"""How much memory and time a run will take, asked before it starts."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from dereflect.errors import InputError, Option, Remedy
from dereflect.methods.diffrs.attention import joint_attention
from dereflect.methods.diffrs.autoencoder import decode, encode
from dereflect.methods.diffrs.settings import DiffRSSettings
from dereflect.nn.rate import convolution_rate

BYTES_PER_PIXEL = {True: (5100, 2900), False: (4000, 2300)}
"""Peak working memory for a pixel of the working size, (float32, half precision), by whether the decoder
fuses.

Measured at 256 and 384 pixels on Stable Diffusion's decoder, whose last maps are what takes most.
"""
WIDTH = 128
"""First width of the autoencoder that was measured; memory goes with it."""


def working_bytes(pipeline: Any, height: int, width: int, settings: DiffRSSettings) -> int:
    """Bytes that a run needs beside the weights, at a working size of `height` x `width`."""
    full, half = BYTES_PER_PIXEL[settings.w > 0]
    each = full if pipeline.vae.dtype == torch.float32 else half
    return int(each * pipeline.vae.config.block_out_channels[0] / WIDTH * height * width)


def check_memory(
    pipeline: Any, size: tuple[int, int], settings: DiffRSSettings, available: int, batch: int = 1
) -> None:
    """Refuse a run that would not fit.

    Args:
        pipeline: with its weights already in place.
        size: working height and width.
        settings: of the run.
        available: bytes that are free.
        batch: pictures at once; each keeps its encoder maps, and one is decoded at a time.

    Raises:
        InputError: too little memory; names the largest working size that fits.
    """
    height, width = size
    needed = working_bytes(pipeline, height, width, settings) * (3 + batch) // 4
    if needed <= available:
        return
    side = settings.resolution
    while side > 64 and needed * (side / settings.resolution) ** 2 > available:
        side -= 64 if side > 64 else 8
    fits = side // 64 * 64
    reason = (
        f"needs about {needed / 2**30:.1f} GB beside the weights, and {available / 2**30:.1f} GB are free"
    )
    remedy = None
    if fits >= 64 and needed * (fits / settings.resolution) ** 2 <= available:
        remedy = Remedy("give {}", Option("resolution", fits, setting=True))
    else:
        reason += "; no working size fits: free some memory"
    raise InputError(f"a working size of {width} x {height}", reason, remedy=remedy)


def is_short(pipeline: Any, height: int, width: int, settings: DiffRSSettings) -> bool:
    """Whether a run is so small that estimating it would take longer: under about 1e12 operations.

    No convolution uses a weight more than once for each pixel of the latent, which bounds the work from above
    (attention, which matters for large pictures only, aside).
    """
    weights = sum(parameter.numel() for parameter in pipeline.unet.parameters())
    pixels = height * width // 64
    return 2 * 2 * weights * pixels * settings.steps * settings.ensemble < 1e12


def operations(pipeline: Any, height: int, width: int, settings: DiffRSSettings) -> dict[str, int]:
    """Floating-point operations of one picture's parts, without computing anything.

    A multiply-add counts two.

    Returns:
        "encode", "step" (one UNet evaluation of both layers) and "decode" (both layers).
    """
    with torch.device("meta"):
        unet = type(pipeline.unet).from_config(pipeline.unet.config)
        vae = type(pipeline.vae).from_config(pipeline.vae.config)
        fusion = None
        if pipeline.fusion is not None and settings.w > 0:
            fusion = type(pipeline.fusion).from_config(pipeline.fusion.config)
        image = torch.empty(1, 3, height, width)
        scale = 2 ** (len(vae.config.block_out_channels) - 1)
        sample = torch.empty(2, 8, height // scale, width // scale)
        tokens = torch.empty(2, *pipeline.prompts.transmission.shape[1:])
        labels = torch.zeros(2, dtype=torch.long)
        timestep = torch.zeros(2, dtype=torch.long)
    counts = {}
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            latent, features = encode(vae, image)
        counts["encode"] = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter, joint_attention(unet, settings.attention):
            unet(sample, timestep, tokens, class_labels=labels)
        counts["step"] = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            decode(vae, latent, fusion, features if fusion is not None else (), settings.w)
            decode(vae, latent)
        counts["decode"] = counter.get_total_flops()
    return counts


def estimated_seconds(
    pipeline: Any, height: int, width: int, settings: DiffRSSettings, rate: float | None = None
) -> float:
    """Seconds that one picture will take where the pipeline is now.

    Args:
        rate: operations a second; measured with one convolution if None.
    """
    counts = operations(pipeline, height, width, settings)
    total = counts["encode"] + settings.ensemble * (settings.steps * counts["step"] + counts["decode"])
    parameter = next(pipeline.unet.parameters())
    # A convolution such as the UNet's.
    return total / (rate or convolution_rate(parameter.device, parameter.dtype, 320, 32, batch=2, runs=3))


def in_words(seconds: float) -> str:
    """A duration as people say it: "40 s", "12 min", "1 h 50 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
