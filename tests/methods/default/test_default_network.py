import pytest
import torch

from dereflect.methods.default.method import DefaultMethod, from_folder
from dereflect.methods.default.network import DefaultConfig, DefaultNetwork
from dereflect.nn.encoder import CHANNELS, HalfResNet50

TINY = DefaultConfig(
    widths=(8, 8, 8), encoder_blocks=(1, 1, 1), decoder_blocks=(1, 1), head_width=8, features=False
)


def test_both_layers_have_the_photos_shape() -> None:
    transmission, reflection = DefaultNetwork(TINY)(torch.rand(2, 3, 64, 96))
    assert transmission.shape == reflection.shape == (2, 3, 64, 96)


def test_a_fresh_network_leaves_the_photo_nearly_as_it_is() -> None:
    photo = torch.rand(1, 3, 64, 64)
    transmission, reflection = DefaultNetwork(TINY)(photo)
    assert (transmission - photo).abs().max() < 0.05
    assert reflection.abs().max() < 0.05


def test_the_encoder_gives_four_maps_of_falling_size() -> None:
    maps = HalfResNet50()(torch.rand(1, 3, 64, 96))
    assert [tuple(x.shape[1:]) for x in maps] == [
        (channels, 64 // scale, 96 // scale) for channels, scale in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]


def test_each_stream_hears_the_other() -> None:
    network = DefaultNetwork(TINY)
    photo = torch.rand(1, 3, 64, 64)
    before = network(photo)[0]
    network.down1.blocks[0].spatial_r.weight.data.add_(0.5)  # type: ignore[union-attr, operator]
    assert not torch.equal(network(photo)[0], before)


def test_save_and_load_keep_the_function(tmp_path: object) -> None:
    method = DefaultMethod(TINY)
    method.network.half().float()  # what float16 storage keeps
    method.save_pretrained(tmp_path)  # type: ignore[arg-type]
    import json
    from pathlib import Path

    config = json.loads((Path(str(tmp_path)) / "config.json").read_text())
    again = from_folder(Path(str(tmp_path)), config["config"], {})
    photo = torch.rand(1, 3, 64, 64)
    assert isinstance(again, DefaultMethod)
    for a, b in zip(method.network(photo), again.network(photo), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_low_precision_stays_close_and_keeps_the_photos_own_precision(dtype: torch.dtype) -> None:
    method = DefaultMethod(TINY).eval()
    method.network.out[0].bias.data.fill_(-0.1)  # type: ignore[union-attr, operator]
    photo = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        wanted = method(photo)
        found = method.prepare(torch.device("cpu"), dtype)(photo)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).abs().max() < 2 / 255


def test_a_correction_too_faint_to_be_a_reflection_is_dropped_and_a_clear_one_kept() -> None:
    method = DefaultMethod(TINY).eval()
    photo = torch.rand(2, 3, 64, 64)
    for out in method.network.out:
        out.weight.data.zero_()  # type: ignore[union-attr, operator]
    with torch.inference_mode():
        for size, kept in ((0.5 / 255, 0.0), (3 / 255, 0.5), (20 / 255, 1.0)):
            for out in method.network.out:
                out.bias.data.fill_(-size)  # type: ignore[union-attr, operator]
            transmission, reflection = method(photo)
            torch.testing.assert_close(transmission, photo - kept * size)
            torch.testing.assert_close(reflection, torch.full_like(photo, -kept * size))
