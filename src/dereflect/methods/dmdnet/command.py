"""`dereflect depth`: the proximity map that DMDNet sees, as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dereflect.errors import OVERWRITE, InputError

if TYPE_CHECKING:
    from torch import Tensor


def depth(
    photo: Annotated[Path, typer.Argument(help="A photo.")],
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            metavar="PATH|download",
            help="dpt_next_vit_large_384.pt of MiDaS v3.1; download fetches it.",
        ),
    ],
    sha256: Annotated[
        str,
        typer.Option("--sha256", help="Checksum that a download must have; else the first one's is kept."),
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to.")
    ] = None,
    max_size: Annotated[
        int, typer.Option("--max-size", metavar="PIXELS", min=32, help="Longest side to estimate at.")
    ] = 1024,
    device: Annotated[
        str, typer.Option("--device", help="Where to compute: auto, cpu, cuda or mps.")
    ] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there already.")
    ] = False,
) -> None:
    """Estimate how near everything in a photo is: PHOTO.depth.png (16 bit) and PHOTO.depth-colour.png."""
    from dereflect.devices import choose_device
    from dereflect.images import read, write
    from dereflect.images.picture import Picture
    from dereflect.methods.dmdnet.depth import (
        depth_colours,
        depth_levels,
        download_depth_weights,
        load_depth_network,
    )

    folder = output or photo.parent
    gray, colour = folder / f"{photo.stem}.depth.png", folder / f"{photo.stem}.depth-colour.png"
    for target in (gray, colour):
        if target.exists() and not overwrite:
            raise InputError(target, "exists already", remedy=OVERWRITE)
    place, _ = choose_device(device)
    image = _tensor(read(photo).pixels)
    source = download_depth_weights(sha256) if weights == "download" else Path(weights).expanduser()
    network = load_depth_network(source).to(place)
    levels = depth_levels(_proximity(network, image.to(place), max_size))
    folder.mkdir(parents=True, exist_ok=True)
    write(Picture(levels), gray, "PNG", overwrite=overwrite)
    write(Picture(depth_colours(levels)), colour, "PNG", overwrite=overwrite)
    typer.echo(f"{gray}\n{colour}")


def _tensor(pixels: Any) -> Tensor:
    """Pixels (H, W) or (H, W, 3) of any depth as (1, 3, H, W) float32 in [0, 1]."""
    import numpy as np
    import torch

    from dereflect.images.picture import convert_depth

    values = convert_depth(pixels, np.dtype(np.float32))
    if values.ndim == 2:
        values = np.stack([values] * 3, axis=-1)
    return torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)[None]


def _proximity(network: Any, image: Tensor, max_size: int) -> Tensor:
    """Inverse depth (H, W) of an image (1, 3, H, W), estimated at `max_size` pixels at most."""
    import torch
    import torch.nn.functional as F

    height, width = image.shape[-2:]
    scale = min(1.0, max_size / max(height, width))
    if scale < 1:
        size = max(17, round(height * scale)), max(17, round(width * scale))
        image = F.interpolate(image, size, mode="area")
    with torch.no_grad():
        proximity = network(image).proximity[..., : image.shape[2], : image.shape[3]].cpu()
    return F.interpolate(proximity, (height, width), mode="bilinear", align_corners=False)[0, 0]
