"""Whole, fitted or tiled: by size, memory and wishes; settings that cannot be followed are refused."""

import pytest
import torch

from dereflect.errors import InputError
from dereflect.inference import plan as planning
from dereflect.inference.plan import Plan, SeparatorSettings, check_settings, make_plan, memory_budget
from dereflect.methods.contract import Traits
from dereflect.separator import Separator
from simple_methods import Share, array


def test_the_plan_follows_size_budget_and_wishes():
    traits = Traits(working_size=1000, bytes_per_pixel=1000)
    assert make_plan(800, 1000, traits, 1 << 30).kind == "whole"
    assert make_plan(4000, 6000, traits, 1 << 30) == Plan("fitted", 667, 1000)
    tight = make_plan(800, 1000, traits, 200_000_000)  # 0.2 of its 0.8 megapixels
    assert tight.kind == "fitted"
    assert tight.height * tight.width * 1000 <= 200_000_000 * 1.01
    assert make_plan(4000, 6000, traits, 1, tile="off").kind == "whole"
    assert make_plan(400, 600, traits, 1 << 30, max_size=300) == Plan("fitted", 200, 300)
    assert make_plan(4000, 6000, traits, 1 << 40, max_size=8000).kind == "whole"
    assert make_plan(4000, 6000, traits, 1 << 30, tile="512").kind == "tiled"
    assert make_plan(400, 500, traits, 1 << 30, tile=512).kind == "whole"
    assert make_plan(1, 5000, traits, 1 << 30) == Plan("fitted", 1, 1000)


@pytest.mark.parametrize("tile", ["large", "0", "31", "-5", "1.5", ""])
def test_a_tile_size_that_is_none_is_refused(tile):
    with pytest.raises(InputError, match="auto, off, or a number"):
        check_settings(SeparatorSettings(tile), Traits())
    with pytest.raises(InputError, match="auto, off, or a number"):
        make_plan(10, 10, Traits(), 1 << 30, tile=tile)


def test_a_method_that_needs_the_whole_picture_is_not_tiled():
    with pytest.raises(InputError, match="needs the whole picture"):
        make_plan(5000, 5000, Traits(tileable=False), 1 << 30, tile=512)
    with pytest.raises(InputError, match="needs the whole picture"):
        Separator(Share(tileable=False), tile=512)


def test_half_of_the_free_memory_is_the_budget_unless_the_user_allows_another(monkeypatch):
    monkeypatch.setattr(planning, "available_memory", lambda device: 1000)
    assert memory_budget(None, torch.device("cpu"), torch.float32) == 500
    assert memory_budget(300, torch.device("cpu"), torch.float32) == 300


def test_a_16_bit_format_sees_more_pixels_in_the_same_memory():
    values = array(100, 200)
    for dtype, how in (("float32", "fitted at 45 x 22"), ("bfloat16", "fitted at 58 x 29")):
        separator = Separator(Share(bytes_per_pixel=1000), device="cpu", dtype=dtype, memory=1_000_000)
        assert separator(values).how == how
