"""A batch of photos through glass of their numbers.

With s the scene and m the mirrored scene in display values, c the display curve, all powers pixel by pixel::

    S = (black + (white - black) s^power)^c               the scene's light
    M = blur(ghost(tint stretch((veil(m))^(power c))))    the mirrored scene's light, lamps added
    R = a region M                                        a: so that M's mean is `ratio` times S's
    I = jpeg(tone(k (passed^c S + R) + noise))            the photo
    T = tone(k S + noise),  R = tone(k R)                 the layers asked for

The same noise is in I and T: grain belongs to the photo, and a model that leaves it alone is right. Where c
is 1 display values add, as in Fan et al., "A Generic Deep Architecture for Single Image Reflection Removal
and Image Smoothing" (ICCV 2017), whose rule lowers the reflection where the sum exceeds white. Ghosts follow
Shih et al., "Reflection Removal Using Ghosting Cues" (CVPR 2015), noise Foi et al. (IEEE TIP 2008).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dereflect.data.glass.camera import jpeg, to_light, tone
from dereflect.data.glass.draws import Draws

STRONGEST = 1.5
"""The glass mirrors at most so many times the light of a photo's white."""


@dataclass(frozen=True)
class Glass:
    """Synthetic photos with their layers, each (B, 3, H, W) float32 in [0, 1].

    The reflection is what the glass mirrors as it would be photographed alone: its contribution where display
    values add, its tone-mapped light otherwise.
    """

    blended: Tensor
    transmission: Tensor
    reflection: Tensor


def render(scene: Tensor, mirrored: Tensor, draws: Draws, generator: torch.Generator | None = None) -> Glass:
    """Photograph scenes through glass that mirrors other scenes.

    Args:
        scene, mirrored: (B, 3, H, W) float32 in [0, 1], H and W multiples of 16.
        draws: of `stack`, on the same device.
        generator: of the sensor's noise.

    Returns:
        The photos and their layers, (B, 3, H, W) each.
    """
    curve, exposure = _each(draws.curve), _each(draws.exposure)
    black, white = _colour(draws.black), _colour(draws.white)
    clear = black + (white - black) * scene.clamp(0, 1) ** _each(draws.power)
    light = to_light(clear, curve)
    passed = _colour(draws.passed) ** curve * light
    glare = _mirror(mirrored, draws, curve)
    glare = glare * _strength(glare, passed, draws) * _region(scene, draws) + _lamps(scene, draws)
    glare = _lower(passed, glare, draws)
    noise = _noise(light, draws, generator)
    contrast = _each(draws.contrast)
    blended = tone(exposure * (passed + glare) + noise, curve, contrast)
    return Glass(
        jpeg(blended, draws.quality[:, 0], draws.halved[:, 0]),  # type: ignore[arg-type]
        tone(exposure * light + noise, curve, contrast),
        tone(exposure * glare, curve, contrast),
    )


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of each picture by its own standard deviation in pixels (B,), borders continued."""
    radius = min(math.ceil(2.5 * float(sigma.max())), images.shape[-1] - 1, images.shape[-2] - 1)
    if radius < 1:
        return images
    batch, channels = images.shape[:2]
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    taps = torch.exp(-0.5 * (offsets / sigma[:, None].clamp(min=0.05)) ** 2)
    taps = (taps / taps.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]  # (B * C, 1, taps)
    flat = images.reshape(1, batch * channels, *images.shape[-2:])
    flat = F.conv2d(F.pad(flat, (radius, radius, 0, 0), mode="replicate"), taps[:, :, None], groups=len(taps))
    flat = F.conv2d(F.pad(flat, (0, 0, radius, radius), mode="replicate"), taps[..., None], groups=len(taps))
    return flat.view_as(images)


def _mirror(mirrored: Tensor, draws: Draws, curve: Tensor) -> Tensor:
    """The mirrored scene's light: veiled, stretched beyond white, tinted, doubled and blurred."""
    veil = torch.as_tensor(draws.veil)
    share = _each(veil[:, 3:])
    values = torch.lerp(mirrored.clamp(0, 1), _colour(veil[:, :3]).expand_as(mirrored), share)
    light = values ** (_each(draws.mirror_power) * curve)
    level = ((values.amax(1, keepdim=True) - 0.7) / 0.3).clamp(0, 1)
    light = light * (1 + (_each(draws.highlights) - 1) * level * level * (3 - 2 * level))
    light = _double(light * _colour(draws.mirror_tint), torch.as_tensor(draws.ghost))
    side = max(mirrored.shape[-2:])
    sigmas = torch.as_tensor(draws.blur) * side
    near, far = blur(light, sigmas[:, 0]), blur(light, sigmas[:, 1])
    return torch.lerp(near, far, _beyond(light, torch.as_tensor(draws.depth)))


def _double(light: Tensor, ghost: Tensor) -> Tensor:
    """Add a shifted copy, borders continued (the shift is rounded to whole pixels)."""
    height, width = light.shape[-2:]
    rows = torch.arange(height, device=light.device)[None] - (ghost[:, 1:2] * height).round().long()
    columns = torch.arange(width, device=light.device)[None] - (ghost[:, :1] * width).round().long()
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    index = torch.arange(len(light), device=light.device)[:, None, None]
    shifted = light.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return torch.lerp(light, shifted, _each(ghost[:, 2:]))


def _strength(glare: Tensor, passed: Tensor, draws: Draws) -> Tensor:
    """(B, 1, 1, 1): brings the mirrored light's mean to `ratio` times the scene's; 1 for a ratio below 0."""
    ratio = _each(draws.ratio)
    means = [part.mean((1, 2, 3), keepdim=True) for part in (passed, glare)]
    scaled = (ratio * means[0] / means[1].clamp(min=1e-4)).clamp(max=STRONGEST)
    return torch.where(ratio < 0, torch.ones_like(scaled), scaled)


def _lower(passed: Tensor, glare: Tensor, draws: Draws) -> Tensor:
    """CEILNet's rule: `lowered` times the mean excess over white is taken from the reflection."""
    lowered = _each(draws.lowered)
    total = passed + glare
    over = (total > 1).float()
    excess = ((total - 1) * over).sum((1, 2, 3), keepdim=True) / over.sum((1, 2, 3), keepdim=True).clamp(
        min=1
    )
    return torch.where(lowered > 0, (glare - lowered * excess).clamp(0, 1), glare)


def _region(like: Tensor, draws: Draws) -> Tensor:
    """(B, 1, H, W) in [0, 1]: where the glass mirrors."""
    size = like.shape[-2:]
    wanted = torch.as_tensor(draws.region)
    edge = _beyond(like, torch.as_tensor(draws.edge))
    field = F.interpolate(torch.as_tensor(draws.blobs)[:, None], size, mode="bicubic", align_corners=True)
    blob = torch.as_tensor(draws.blob)
    blobs = torch.sigmoid(_each(blob[:, 1:]) * (field - _each(blob[:, :1])))
    x, y = _grid(like)
    centre = torch.as_tensor(draws.vignette)
    far = (x - _each(centre[:, :1])) ** 2 + (y - _each(centre[:, 1:2])) ** 2
    fading = torch.exp(-far / (2 * _each(centre[:, 2:]) ** 2))
    region = torch.ones_like(edge)
    for index, part in enumerate((edge, blobs, fading)):
        region = torch.lerp(region, part, _each(wanted[:, index : index + 1]))
    return region


def _lamps(like: Tensor, draws: Draws) -> Tensor:
    """Light of lamps: a disc beyond white with a halo that falls with the square of the distance."""
    lamps = torch.as_tensor(draws.lamps)
    light = torch.zeros_like(like)
    if not bool((lamps[:, :, 3] > 0).any()):
        return light
    x, y = _grid(like)
    for lamp in lamps.unbind(1):
        centre, radius = 2 * lamp[:, :2] - 1, 2 * _each(lamp[:, 2:3]).clamp(min=1e-3)  # no lamp has no radius
        away = ((x - _each(centre[:, :1])) ** 2 + (y - _each(centre[:, 1:])) ** 2).sqrt()
        core = torch.sigmoid(12 * (1 - away / radius))
        halo = 0.04 / (1 + (away / radius) ** 2)
        light = light + _each(lamp[:, 3:4]) * _colour(lamp[:, 4:]) * (core + halo)
    return light


def _noise(light: Tensor, draws: Draws, generator: torch.Generator | None) -> Tensor:
    """Shot and read noise of the scene's light, the same for the photo and the transmission."""
    noise = torch.as_tensor(draws.noise)
    normal = torch.randn(light.shape, generator=generator, device=light.device, dtype=light.dtype)
    return normal * (_each(noise[:, :1]) * light + _each(noise[:, 1:])).sqrt()


def _beyond(like: Tensor, border: Tensor) -> Tensor:
    """(B, 1, H, W): from 0 to 1 across a straight border of (angle, offset, steepness)."""
    x, y = _grid(like)
    angle = _each(border[:, :1])
    along = angle.cos() * x + angle.sin() * y + _each(border[:, 1:2])
    return torch.sigmoid(along * _each(border[:, 2:]))


def _grid(like: Tensor) -> tuple[Tensor, Tensor]:
    """Columns (1, 1, 1, W) and rows (1, 1, H, 1) from -1 to 1."""
    rows, columns = (torch.linspace(-1, 1, n, device=like.device) for n in like.shape[-2:])
    return columns.view(1, 1, 1, -1), rows.view(1, 1, -1, 1)


def _each(values: object) -> Tensor:
    """(B, 1) to (B, 1, 1, 1)."""
    return torch.as_tensor(values).view(-1, 1, 1, 1)


def _colour(values: object) -> Tensor:
    """(B, 3) to (B, 3, 1, 1)."""
    return torch.as_tensor(values)[:, :, None, None]
