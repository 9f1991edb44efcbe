"""`dereflect depth`: the proximity map that DMDNet sees, as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dereflect.cli.options import Device, DeviceOption, OverwriteOption
from dereflect.errors import InputError


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
    device: DeviceOption = Device.auto,
    overwrite: OverwriteOption = False,
) -> None:
    """Estimate how near everything in a photo is: PHOTO.depth.png (16 bit) and PHOTO.depth-colour.png."""
    import numpy as np
    import torch
    import torch.nn.functional as F

    from dereflect.devices import choose_device
    from dereflect.images import read, write
    from dereflect.images.picture import Picture, convert_depth
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
            raise InputError(f"{target}: exists already; --overwrite replaces it")
    place, _ = choose_device(device.value)
    pixels = convert_depth(read(photo).pixels, np.dtype(np.float32))
    if pixels.ndim == 2:
        pixels = np.stack([pixels] * 3, axis=-1)
    source = download_depth_weights(sha256) if weights == "download" else Path(weights).expanduser()
    network = load_depth_network(source).to(place)
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    height, width = image.shape[-2:]
    scale = min(1.0, max_size / max(height, width))
    if scale < 1:
        size = max(17, round(height * scale)), max(17, round(width * scale))
        image = F.interpolate(image, size, mode="area")
    with torch.no_grad():
        proximity = network(image.to(place)).proximity[..., : image.shape[2], : image.shape[3]].cpu()
    proximity = F.interpolate(proximity, (height, width), mode="bilinear", align_corners=False)[0, 0]
    levels = depth_levels(proximity)
    folder.mkdir(parents=True, exist_ok=True)
    write(Picture(levels), gray, "PNG", overwrite=overwrite)
    write(Picture(depth_colours(levels)), colour, "PNG", overwrite=overwrite)
    typer.echo(f"{gray}\n{colour}")
