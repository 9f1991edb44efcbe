"""A trained default model that is given another encoder, or more parts, goes on as it was where it can."""

from pathlib import Path
from runpy import run_path

import pytest
import torch
from PIL import Image

from dereflect.methods.default.network import DefaultConfig, DefaultNetwork

SCRIPT = run_path(str(Path(__file__).parents[3] / "scripts" / "change_encoder.py"))
TINY = {"widths": (8, 8, 8), "encoder_blocks": (1, 1, 1), "decoder_blocks": (1, 1), "head_width": 8}


@pytest.fixture(scope="module")
def old() -> DefaultNetwork:
    torch.manual_seed(0)
    return DefaultNetwork(DefaultConfig(**TINY, encoder="lite2")).eval()


def pictures(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, 24, 24, generator=generator)
    return list(torch.nn.functional.interpolate(coarse, size=192, mode="bicubic").clamp(0, 1).split(1))


def test_an_encoder_with_the_same_features_gives_the_same_layers(old):
    torch.manual_seed(2)
    new = DefaultNetwork(DefaultConfig(**TINY | {"encoder_blocks": (1, 1, 3)}, encoder="lite2", tone=True))
    new.encoder.load_state_dict(old.encoder.state_dict())
    SCRIPT["take_over"](new, old, False)
    photo = pictures(1)[0]
    with torch.no_grad():
        wanted, before = old(photo), new(photo)
        shares = [
            SCRIPT["fit"](old.enter[place], new.enter[place], sums)
            for place, sums in enumerate(SCRIPT["gather"](old, new, pictures(40)))
        ]
        after = new(photo)
    assert min(shares) > 0.9  # what the ridge leaves out is the rest
    for layer in range(2):
        size = (wanted[layer] - before[layer]).abs().mean()
        assert (wanted[layer] - after[layer]).abs().mean() < size / 5


def test_a_second_encoder_begins_by_changing_nothing(old):
    torch.manual_seed(3)
    new = DefaultNetwork(DefaultConfig(**TINY, encoder="lite2", second_encoder="open_nsfw")).eval()
    SCRIPT["take_over"](new, old, True)
    photo = pictures(1)[0]
    with torch.no_grad():
        for wanted, found in zip(old(photo)[:2], new(photo)[:2], strict=True):
            assert torch.equal(wanted, found)


def test_photos_too_small_for_a_crop_are_left_out(tmp_path):
    for number, side in enumerate((255, 256, 300, 90, 400)):
        Image.new("RGB", (400, side)).save(tmp_path / f"{number}.png")
    assert {path.stem for path in SCRIPT["choose"]([tmp_path], 500)} == {"1", "2", "4"}
    assert len(SCRIPT["choose"]([tmp_path], 2)) == 2
    (tmp_path / "small").mkdir()
    Image.new("RGB", (90, 90)).save(tmp_path / "small" / "a.png")
    with pytest.raises(SystemExit, match="small: no photo has 256 pixels"):
        SCRIPT["choose"]([tmp_path / "small"], 2)


def test_parts_that_the_new_network_has_not_are_refused(old):
    with pytest.raises(SystemExit, match=r"first down1\.blocks"):
        SCRIPT["take_over"](DefaultNetwork(DefaultConfig(**TINY | {"encoder_blocks": (0, 1, 1)})), old, False)
