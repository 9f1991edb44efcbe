"""Two brushes of the page, in a real browser: this is reflection, this is scene."""

from collections.abc import Iterator

import numpy as np
import pytest

import dereflect
from real_browser import CAFE, FAINT, MARKS, NAMELESS, Visit, launched

pytestmark = MARKS


@pytest.fixture(scope="module")
def visit(start) -> Iterator[Visit]:
    with (
        start(separator=dereflect.load("default", device="cpu")) as server,
        launched() as browser,
        Visit(browser, server) as found,
    ):
        found.give(CAFE)
        yield found
        assert found.complaints == []


def stroke(visit: Visit, kind: str) -> None:
    """Draw from left to right over the picture's upper half."""
    visit.page.check("#correct")
    visit.page.check(f'input[name="said"][value="{kind}"]')
    box = visit.page.locator("#overlay").bounding_box()
    visit.page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.3 * box["height"], steps=5)
    visit.page.mouse.up()
    visit.says("Taken into account", "#correcting")
    visit.settle()


def clear(visit: Visit) -> None:
    visit.page.click("#clear")
    visit.page.wait_for_function("() => document.getElementById('correcting').textContent === ''")
    visit.settle()


@pytest.mark.parametrize("kind", ["reflection", "scene"])
def test_a_stroke_moves_the_result_where_it_is_and_clearing_brings_it_back(visit, kind):
    photo, before = visit.pixels("before"), visit.pixels("after")
    stroke(visit, kind)
    after = visit.pixels("after")
    height, width = after.shape[:2]
    marked = np.s_[round(0.28 * height) : round(0.32 * height), round(0.32 * width) : round(0.48 * width)]
    removed, now = ((photo - one)[marked].mean() for one in (before, after))
    assert now > removed + 2 if kind == "reflection" else abs(now) < 0.5 * abs(removed) + 1
    assert np.abs(after - before)[round(0.9 * height) :].mean() < 0.5  # far away it stays
    clear(visit)
    assert np.array_equal(visit.pixels("after"), before)


def test_a_download_is_as_the_strokes_have_it(visit):
    plain = visit.download()[1]
    stroke(visit, "reflection")
    corrected = visit.download()[1]
    assert corrected != plain
    clear(visit)
    assert visit.download()[1] == plain


def test_one_brush_at_a_time_with_names_and_contrast(visit):
    visit.page.check("#correct")
    assert visit.page.evaluate(FAINT) == []
    assert visit.page.evaluate(NAMELESS) == []
    assert visit.page.is_visible("#said")
    visit.page.check("#brush")
    assert not visit.page.is_checked("#correct")
    assert visit.page.is_hidden("#said")
    visit.page.uncheck("#brush")
    assert visit.page.is_hidden("#brush-tools")
