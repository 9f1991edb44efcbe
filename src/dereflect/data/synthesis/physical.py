"""Glass as physics has it: Fresnel reflectance by angle, ghost, defocus, exposure, noise, tone.

All light is added in linear light. With L_T and L_R the radiances of the scene behind the glass and of the
mirrored one, the sensor gets

    E = k [ t(x) L_T  +  (p1(x) L_R + p2(x) shift(L_R)) * disc ]

and the picture is tone(clip(E + noise, 0, 1)). The parts and their sources:

- **Display to light**: the sRGB transfer function (IEC 61966-2-1); bright ends of the mirrored scene are
  stretched, since a photo clips lamps that in truth are many times brighter than white (`highlights`).
- **Fresnel**: for refractive index n, angle of incidence a and refraction b with sin a = n sin b, each
  polarisation's surface reflectance is ((cos a - n cos b) / (cos a + n cos b))^2 and ((n cos a - cos b) /
  (n cos a + cos b))^2 (Born & Wolf, Principles of Optics, section 1.5). The angle follows from each pixel's
  viewing ray and the pane's tilt.
- **Pane**: with F a surface's reflectance and q = exp(-absorption thickness / cos b) one passage's loss,
  the front reflects p1 = F, the back p2 = (1 - F)^2 F q^2, and t = (1 - F)^2 q / (1 - F^2 q^2) passes
  (incoherent sum of all inner bounces; Born & Wolf, section 1.6). Averaged over both polarisations.
- **Ghost**: the two mirrored rays lie thickness sin(2a) / sqrt(n^2 - sin^2 a) apart; at optical distance D
  and focal length f in pixels the second image is moved by f times that over D (geometry as in Shih et al.,
  CVPR 2015).
- **Defocus**: thin lens of focal length f and f-number N focused at D_f: the blur circle of distance D has
  diameter f/N |D - D_f| / D * f / (D_f - f).
- **Exposure**: k brings the geometric mean of E (with a hundredth of its mean added, so that black areas do
  not rule) to 0.18 times a drawn compensation (the key value of Reinhard et al., SIGGRAPH 2002).
- **Noise**: Gaussian with variance a E + b, shot and read noise (Foi et al., IEEE TIP 2008).
- **Tone**: sRGB, then v - c sin(2 pi v) / (2 pi), an S-shaped camera contrast (ours).

The true layers are what the same camera at the same exposure would show without the glass (T), and of the
mirrored light alone (R): both without noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dereflect.data.synthesis.kernels import Floats, convolve_kernel, disc, shift_kernel
from dereflect.data.synthesis.triplet import Random, Triplet
from dereflect.images.picture import Array


@dataclass(frozen=True)
class Draws:
    """Every number of one triplet; lengths in millimetres, angles in degrees."""

    focal_length: float
    f_number: float
    sensor_width: float
    scene_distance: float
    """Where the lens is focused: at the scene behind the glass."""
    mirror_distance: float
    """Optical distance of the mirrored scene: camera to glass to object."""
    refractive_index: float
    thickness: float
    absorption: tuple[float, float, float]
    """Of red, green and blue light, per millimetre of glass."""
    tilt: float
    """Between the pane's normal and the camera's axis."""
    tilt_direction: float
    """Direction of the tilt in the picture, 0 to the right, 90 downwards."""
    mirror_stops: float
    """How much brighter the mirrored scene is than the scene behind the glass."""
    scene_stops: float
    """How much the scene behind the glass is darkened before all else (night)."""
    highlights: float
    """How many times brighter than white the mirrored scene's clipped parts are."""
    exposure_stops: float
    contrast: float
    """c of the tone curve, below 1."""
    shot_noise: float
    """a: variance a unit of light."""
    read_noise: float
    """b: variance in the dark."""
    noise_seed: int


@dataclass(frozen=True)
class Preset:
    """Ranges that a situation draws from; what is not here is the same for all (`draw`)."""

    mirror_stops: tuple[float, float]
    scene_stops: tuple[float, float]
    highlights: tuple[float, float]
    exposure_stops: tuple[float, float]
    shot_noise: tuple[float, float]


PRESETS = {
    # Sunlit street mirrored in a shop window, or a bright sky in a car's.
    "day": Preset((0.5, 3.5), (0.0, 0.0), (1.0, 3.0), (-0.5, 0.5), (1e-5, 4e-4)),
    # A lit room mirrored in its own window: a dark street behind, lamps far beyond white, a noisy sensor.
    "night": Preset((0.5, 2.0), (-2.5, -0.5), (2.0, 8.0), (-1.5, -0.5), (3e-4, 3e-3)),
}


def draw(random: Random, height: int = 0, width: int = 0, preset: str = "day") -> Draws:
    """Draw a situation. Half of the cameras are phones (blur little), half have a full-frame sensor."""
    chosen = PRESETS[preset]
    phone = bool(random.uniform() < 0.5)
    focal_length = float(random.uniform(4.2, 6.5) if phone else random.uniform(24, 70))
    shot_noise = float(np.exp(random.uniform(*np.log(chosen.shot_noise))))
    return Draws(
        focal_length=focal_length,
        f_number=float(random.uniform(1.6, 2.4) if phone else random.uniform(2, 8)),
        sensor_width=7.6 if phone else 36.0,
        scene_distance=float(np.exp(random.uniform(math.log(1500), math.log(20000)))),
        mirror_distance=float(np.exp(random.uniform(math.log(700), math.log(15000)))),
        refractive_index=float(random.uniform(1.50, 1.53)),
        thickness=float(random.uniform(3, 12)),
        absorption=(
            float(random.uniform(0.004, 0.014)),
            float(random.uniform(0.002, 0.006)),
            float(random.uniform(0.003, 0.011)),
        ),
        tilt=float(random.uniform(0, 60)),
        tilt_direction=float(random.uniform(0, 360)),
        mirror_stops=float(random.uniform(*chosen.mirror_stops)),
        scene_stops=float(random.uniform(*chosen.scene_stops)),
        highlights=float(random.uniform(*chosen.highlights)),
        exposure_stops=float(random.uniform(*chosen.exposure_stops)),
        contrast=float(random.uniform(0, 0.6)),
        shot_noise=shot_noise,
        read_noise=shot_noise * float(random.uniform(0.001, 0.02)),
        noise_seed=int(random.uniform(0, 2**31)),
    )


def mix(transmission: Array, reflection: Array, draws: Draws) -> Triplet:
    """Mix two pictures (H, W, 3) in [0, 1], sRGB."""
    scene = to_light(transmission) * 2.0**draws.scene_stops
    mirrored = stretch_highlights(to_light(reflection), draws.highlights) * 2.0**draws.mirror_stops
    height, width = scene.shape[:2]
    focal_pixels = draws.focal_length / draws.sensor_width * width
    passed, front, back = pane(incidence(height, width, focal_pixels, draws), draws)
    ghost = convolve_kernel(mirrored, shift_kernel(*ghost_shift(draws, focal_pixels)))
    glare = front * mirrored + back * ghost
    glare = np.maximum(convolve_kernel(glare, disc(blur_radius(draws, width))), 0)
    light = passed * scene + glare
    luminance = light @ np.array([0.2126, 0.7152, 0.0722])
    key = 0.18 * 2.0**draws.exposure_stops
    exposure = key / math.exp(float(np.log(luminance + 0.01 * luminance.mean() + 1e-6).mean()))
    noise = np.random.default_rng(draws.noise_seed).standard_normal(light.shape)
    seen = exposure * light
    seen = seen + noise * np.sqrt(draws.shot_noise * np.minimum(seen, 1) + draws.read_noise)
    return Triplet.of(
        *(
            tone(np.clip(picture, 0, 1), draws.contrast)
            for picture in (seen, exposure * scene, exposure * glare)
        )
    )


def to_light(picture: Array) -> Floats:
    """sRGB values in [0, 1] to linear light (IEC 61966-2-1)."""
    v = picture.astype(np.float64)
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def from_light(light: Floats) -> Floats:
    """Linear light in [0, 1] to sRGB values."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-12) ** (1 / 2.4) - 0.055)


def stretch_highlights(light: Floats, times: float) -> Floats:
    """Multiply what is near white by up to `times`, smoothly from 0.7 of white on, alike in all channels."""
    level = np.clip((light.max(-1, keepdims=True) - 0.7) / 0.3, 0, 1)
    return light * (1 + (times - 1) * level**2 * (3 - 2 * level))


def incidence(height: int, width: int, focal_pixels: float, draws: Draws) -> Floats:
    """(H, W) cosine of the angle between each pixel's viewing ray and the pane's normal."""
    y, x = np.mgrid[:height, :width]
    x, y = (x - (width - 1) / 2) / focal_pixels, (y - (height - 1) / 2) / focal_pixels
    tilt, direction = math.radians(draws.tilt), math.radians(draws.tilt_direction)
    normal = math.sin(tilt) * math.cos(direction), math.sin(tilt) * math.sin(direction), math.cos(tilt)
    along = (x * normal[0] + y * normal[1] + normal[2]) / np.sqrt(1 + x * x + y * y)
    return np.clip(np.abs(along), 0.02, 1)


def pane(cosine: Floats, draws: Draws) -> tuple[Floats, Floats, Floats]:
    """Shares of light that pass, are mirrored by the front and by the back, (H, W, 3) each.

    Args:
        cosine: (H, W) of the angle of incidence.
    """
    n = draws.refractive_index
    inner = np.sqrt(1 - (1 - cosine**2) / n**2)
    loss = np.exp(-np.array(draws.absorption) * draws.thickness / inner[..., None])
    parts = []
    for surface in fresnel(cosine, n):
        F = surface[..., None]
        parts.append(
            ((1 - F) ** 2 * loss / (1 - F**2 * loss**2), F * np.ones_like(loss), (1 - F) ** 2 * F * loss**2)
        )
    passed, front, back = ((s + p) / 2 for s, p in zip(*parts, strict=True))
    return passed, front, back


def fresnel(cosine: Floats, n: float) -> tuple[Floats, Floats]:
    """Reflectances of one surface for light polarised across and along the plane of incidence."""
    inner = np.sqrt(1 - (1 - cosine**2) / n**2)
    across = ((cosine - n * inner) / (cosine + n * inner)) ** 2
    along = ((n * cosine - inner) / (n * cosine + inner)) ** 2
    return across, along


def ghost_shift(draws: Draws, focal_pixels: float) -> tuple[float, float]:
    """(right, down) offset in pixels of the image mirrored by the pane's back."""
    angle = math.radians(draws.tilt)
    apart = (
        draws.thickness * math.sin(2 * angle) / math.sqrt(draws.refractive_index**2 - math.sin(angle) ** 2)
    )
    pixels = focal_pixels * apart / draws.mirror_distance
    direction = math.radians(draws.tilt_direction)
    return pixels * math.cos(direction), pixels * math.sin(direction)


def blur_radius(draws: Draws, width: int) -> float:
    """Radius in pixels of the blur circle of the mirrored scene; at most an eighth of the picture's width."""
    f, focus, distance = draws.focal_length, draws.scene_distance, draws.mirror_distance
    diameter = f / draws.f_number * abs(distance - focus) / distance * f / (focus - f)
    return min(diameter / 2 / draws.sensor_width * width, width / 8)


def tone(light: Floats, contrast: float) -> Floats:
    """Linear light in [0, 1] to display values: sRGB with an S-shaped contrast."""
    v = from_light(light)
    return np.clip(v - contrast * np.sin(2 * math.pi * v) / (2 * math.pi), 0, 1)
