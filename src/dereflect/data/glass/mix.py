"""How often each situation comes in the training of the default model."""

from __future__ import annotations

from dataclasses import dataclass, fields

SCENES = ("ordinary", "lifted", "page", "high_key", "low_contrast", "low_key")
"""Kinds of scene, in the order of `GlassMix`'s shares."""


@dataclass(frozen=True)
class GlassMix:
    """Shares of kinds of scene (they are made to add up to 1), and probabilities of effects, in [0, 1].

    Raises:
        ValueError: a share outside [0, 1], or scenes whose shares are all 0.
    """

    ordinary: float = 0.35
    """Scenes as the photo has them, with another exposure and white balance."""
    lifted: float = 0.15
    """Blacks lifted: haze, fog, faded prints, old lenses. Paleness that is not glass."""
    page: float = 0.12
    """Prints and pages: a picture with a white margin and rows of marks, flat and evenly lit."""
    high_key: float = 0.12
    """White rooms, snow, bright walls."""
    low_contrast: float = 0.1
    """Both ends of the scale unused."""
    low_key: float = 0.16
    """Night, dusk and dark rooms."""

    identity: float = 0.1
    """No glass at all: nothing must change."""
    dimmed: float = 0.55
    """Glass that takes light from the scene, or adds a little by the camera's exposure."""
    additive: float = 0.3
    """Display values add, instead of light (the rule of synthetic test sets of the field)."""
    strong: float = 0.38
    """Reflections with more than 0.4 times the scene's light, up to three times; the others have less."""
    sharp: float = 0.5
    """Reflections about as sharp as the scene."""
    depth: float = 0.3
    """Of the blurred ones: blur that differs between two parts of the mirrored scene."""
    ghost: float = 0.25
    """A second, shifted copy from the pane's back."""
    regional: float = 0.45
    """Reflections in part of the picture: behind an edge, in blobs, or fading out."""
    tinted: float = 0.35
    """Mirrored light of another colour."""
    veiled: float = 0.1
    """Sky or wall mirrored in the whole pane: an even veil over the mirrored scene."""
    lamps: float = 0.12
    """Lamps, suns and glare: saturated spots with a halo."""
    curved: float = 0.3
    """Cameras with an S-shaped tone curve."""
    noisy: float = 0.35
    """Sensor noise that can be seen."""
    jpeg: float = 0.5
    """JPEG of quality 55 to 97."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 <= getattr(self, field.name) <= 1:
                raise ValueError(f"glass.{field.name}: {getattr(self, field.name)} is outside [0, 1]")
        if not sum(self.scenes):
            raise ValueError("glass: the shares of all kinds of scene are 0")

    @property
    def scenes(self) -> tuple[float, ...]:
        """Shares of the kinds of scene, in the order of `SCENES`."""
        return tuple(getattr(self, name) for name in SCENES)
