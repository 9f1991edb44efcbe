"""Make examples/cafe.jpg: a coffee cup photographed through a window that mirrors a temple and the sky.

    python scripts/make_sample.py

Both sources and their licences stand in examples/sources. The glass adds light, under a display curve of 2.2.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from dereflect.data.glass.render import blur
from dereflect.images.tensors import to_tensor

EXAMPLES = Path(__file__).parents[1] / "examples"
SIZE = (1200, 800)
TRANSMITTANCE, REFLECTANCE, DEFOCUS, DISPLAY = 0.95, 0.3, 8.0, 2.2


def main() -> None:
    scene, mirrored = (
        to_tensor(
            ImageOps.fit(
                Image.open(EXAMPLES / "sources" / name).convert("RGB"), SIZE, Image.Resampling.LANCZOS
            )
        )
        for name in ("coffee.jpg", "temple.jpg")
    )
    reflected = blur(mirrored.flip(2)[None], torch.tensor([DEFOCUS]))[0]
    light = TRANSMITTANCE * scene**DISPLAY + REFLECTANCE * reflected**DISPLAY
    blended = light.clamp(0, 1) ** (1 / DISPLAY)
    picture = Image.fromarray(np.round(blended.permute(1, 2, 0).numpy() * 255).astype(np.uint8))
    picture.save(EXAMPLES / "cafe.jpg", quality=92)


if __name__ == "__main__":
    main()
