import torch

from dereflect.catalog import load_method
from dereflect.methods.default.method import EMBEDDED


def test_the_embedded_weights_are_small_and_come_with_their_licence() -> None:
    assert (EMBEDDED / "model.safetensors").stat().st_size < 25_000_000
    assert "Yahoo" in (EMBEDDED / "LICENSE.encoder.txt").read_text()


def test_the_embedded_model_has_at_most_twelve_million_parameters() -> None:
    method, name = load_method("default")
    assert name == "default"
    assert sum(parameter.numel() for parameter in method.parameters()) <= 12_000_000


def test_a_smooth_veil_over_a_texture_is_mostly_taken_off() -> None:
    """Not a measure of quality: it fails if weights and network do not belong together."""
    method, _ = load_method("default")
    rows, columns = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    scene = 0.3 + 0.15 * torch.sin(rows / 2.0) * torch.cos(columns / 3.0)
    veil = 0.35 * torch.exp(-((rows - 64) ** 2 + (columns - 64) ** 2) / (2 * 30.0**2))
    blended = (scene + veil).expand(1, 3, 128, 128).contiguous()
    with torch.inference_mode():
        transmission, reflection = method(blended)
    before = (blended - scene).abs().mean()
    assert (transmission - scene).abs().mean() < 0.9 * before
    assert reflection.mean() > 0.01
