"""Make examples/cafe.jpg: a coffee cup photographed through a window that mirrors a launch pad at dusk.

    python scripts/make_sample.py

Both sources and their licences stand in examples/sources; the glass is `dereflect.data.glass.linear_light`.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dereflect.data.glass import gaussian_blur, linear_light
from dereflect.images.tensors import to_tensor

EXAMPLES = Path(__file__).parents[1] / "examples"
SIZE = (1200, 800)
TRANSMITTANCE, REFLECTANCE, DEFOCUS = 0.95, 0.5, 3.0


def main() -> None:
    scene, mirrored = (
        to_tensor(
            ImageOps.fit(
                Image.open(EXAMPLES / "sources" / name).convert("RGB"), SIZE, Image.Resampling.LANCZOS
            )
        )
        for name in ("coffee.jpg", "launch_pad.jpg")
    )
    glass = linear_light(scene, gaussian_blur(mirrored.flip(2), DEFOCUS), TRANSMITTANCE, REFLECTANCE)
    picture = Image.fromarray(np.round(glass.blended.permute(1, 2, 0).numpy() * 255).astype(np.uint8))
    picture.save(EXAMPLES / "cafe.jpg", quality=92)


if __name__ == "__main__":
    main()
