import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dereflect.methods.default.method import DefaultMethod, from_folder
from dereflect.methods.default.network import DefaultConfig, DefaultNetwork
from dereflect.methods.options import MethodOptions
from dereflect.nn.encoder import CHANNELS, HalfResNet50
from dereflect.nn.lite import EfficientNetLite2, SamePadded

TINY = DefaultConfig(
    widths=(8, 8, 8), encoder_blocks=(1, 1, 1), decoder_blocks=(1, 1), head_width=8, encoder=""
)


def test_both_layers_have_the_photos_shape() -> None:
    transmission, reflection = DefaultNetwork(TINY)(torch.rand(2, 3, 64, 96))[:2]
    assert transmission.shape == reflection.shape == (2, 3, 64, 96)


def test_a_fresh_network_leaves_the_photo_nearly_as_it_is() -> None:
    photo = torch.rand(1, 3, 64, 64)
    transmission, reflection = DefaultNetwork(TINY)(photo)[:2]
    assert (transmission - photo).abs().max() < 0.05
    assert reflection.abs().max() < 0.05


def test_the_encoder_gives_four_maps_of_falling_size() -> None:
    maps = HalfResNet50()(torch.rand(1, 3, 64, 96))
    assert [tuple(x.shape[1:]) for x in maps] == [
        (channels, 64 // scale, 96 // scale) for channels, scale in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]


def test_the_second_encoder_gives_four_maps_of_falling_size() -> None:
    maps = EfficientNetLite2()(torch.rand(1, 3, 64, 96))
    assert [tuple(x.shape[1:]) for x in maps] == [(24, 16, 24), (48, 8, 12), (120, 4, 6), (352, 2, 3)]


def test_odd_padding_goes_to_the_right_and_the_bottom() -> None:
    conv = SamePadded(1, 1, 5, 2, bias=False)
    conv.weight.data.zero_()[0, 0, 1, 1] = 1  # TensorFlow pads 1 before, 2 after
    image = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(conv(image), image[:, :, ::2, ::2])


WHOLE = replace(TINY, encoder="lite2", tone=True, remainder=True, detail_width=4)


def test_global_tone_remainder_and_detail_have_their_shapes() -> None:
    found = DefaultNetwork(WHOLE)(torch.rand(2, 3, 64, 96))
    assert found.tone is not None
    assert found.remainder is not None
    assert found.tone.shape == (2, 6)
    assert found.remainder.shape == found.transmission.shape == (2, 3, 64, 96)


def test_global_tone_reaches_both_layers() -> None:
    network, photo = DefaultNetwork(WHOLE), torch.rand(1, 3, 64, 64)
    before = network(photo)
    assert network.tone is not None
    for linear in network.tone.modulate:
        linear.bias.data.fill_(0.5)
    after = network(photo)
    assert not torch.equal(before.transmission, after.transmission)
    assert not torch.equal(before.reflection, after.reflection)


def test_a_model_saved_when_there_was_one_encoder_still_loads(tmp_path: Path) -> None:
    older = replace(TINY, tone=False)
    DefaultMethod(older).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())["config"]
    for name in ("encoder", "second_encoder", "tone", "remainder", "detail_width"):
        del config[name]
    method = from_folder(tmp_path, config | {"features": False}, MethodOptions())
    assert method.config == older


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
    config = json.loads((Path(str(tmp_path)) / "config.json").read_text())
    again = from_folder(Path(str(tmp_path)), config["config"], {})
    photo = torch.rand(1, 3, 64, 64)
    assert isinstance(again, DefaultMethod)
    for a, b in zip(method.network(photo)[:2], again.network(photo)[:2], strict=True):
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
        for size, kept in ((0.5 / 255, 0.0), (2 / 255, 0.5), (20 / 255, 1.0)):
            for out in method.network.out:
                out.bias.data.fill_(-size)  # type: ignore[union-attr, operator]
            transmission, reflection = method(photo)
            torch.testing.assert_close(transmission, photo - kept * size)
            torch.testing.assert_close(reflection, torch.full_like(photo, -kept * size))
