from pathlib import Path

import torch
from PIL import Image, ImageOps

from dereflect.catalog import load_method
from dereflect.images.tensors import to_tensor
from dereflect.methods.default.method import EMBEDDED

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_the_embedded_weights_are_small_and_come_with_their_licence() -> None:
    assert (EMBEDDED / "model.safetensors").stat().st_size < 25_000_000
    assert "EfficientNet-Lite2" in (EMBEDDED / "LICENSE.encoder.txt").read_text()


def test_the_embedded_model_has_at_most_twelve_million_parameters() -> None:
    method, name = load_method("default")
    assert name == "default"
    assert sum(parameter.numel() for parameter in method.parameters()) <= 12_000_000


def test_the_sample_photo_comes_nearer_to_its_scene() -> None:
    """Not a measure of quality: it fails if weights and network do not belong together."""
    with Image.open(EXAMPLES / "sources" / "coffee.jpg") as picture:
        scene = to_tensor(ImageOps.fit(picture.convert("RGB"), (480, 320), Image.Resampling.LANCZOS))
    with Image.open(EXAMPLES / "cafe.jpg") as picture:
        blended = to_tensor(picture.convert("RGB").resize((480, 320), Image.Resampling.LANCZOS))
    method, _ = load_method("default")
    with torch.inference_mode():
        transmission, reflection = method(blended[None])
    before = (blended - scene).abs().mean()
    assert (transmission - scene).abs().mean() < 0.85 * before
    assert reflection.mean() > 0.01
