"""The page in a real browser: Chromium without a window, and no network but the server's own address."""

import base64
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

import dereflect
from dereflect import images
from dereflect.web.settings import Access, Limits
from dng import dng
from real_browser import CAFE, FAINT, MARKS, NAMELESS, Visit, launched

pytestmark = MARKS


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def cafe_server(start):
    with start(separator=dereflect.load("default", device="cpu")) as found:
        yield found


@pytest.fixture
def visit(browser, cafe_server) -> Iterator[Visit]:
    with Visit(browser, cafe_server) as found:
        yield found
        # Only the server itself was asked for anything.
        address = urlsplit(cafe_server.url).netloc
        asked = [urlsplit(url) for url in found.requests]
        outside = [
            url.geturl() for url in asked if url.scheme not in ("blob", "data") and url.netloc != address
        ]
        assert not outside
        assert len(found.requests) > 5
        assert not found.complaints


def command_line(folder: Path, *words: str) -> bytes:
    arguments = [
        sys.executable,
        "-m",
        "dereflect",
        "separate",
        str(CAFE),
        "-o",
        str(folder),
        "--device",
        "cpu",
    ]
    subprocess.run([*arguments, *words, "-q"], check=True)
    return (folder / "cafe_transmission.jpg").read_bytes()


def test_a_photo_is_separated_compared_and_mixed(visit):
    visit.give(CAFE)
    photo, reflection = visit.pixels("before"), visit.pixels("reflection")
    assert photo.shape == (800, 1200, 3)
    full = visit.pixels("after")
    assert np.abs(full - photo).max() > 20

    visit.set("#split", 10)
    mostly_after = visit.seen()
    visit.set("#split", 90)
    mostly_before = visit.seen()
    assert np.abs(mostly_after - mostly_before).max() > 20
    box = visit.page.locator("#compare").bounding_box()
    visit.page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 50)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 60)
    visit.page.mouse.up()
    assert visit.page.input_value("#split") == "25"

    visit.set("#strength", 0)
    assert np.array_equal(visit.pixels("after"), photo)
    assert "as it was" in visit.page.inner_text("#strength-words")
    assert visit.page.inner_text("#strength-number") == "0 %"
    visit.set("#strength", -100)
    assert np.abs(visit.pixels("after") - reflection).max() <= 1
    visit.set("#strength", 50)
    assert np.abs(visit.pixels("after") - (photo + full) / 2).max() <= 1.5


def test_a_raw_file_is_offered_as_a_deep_tiff(visit):
    pytest.importorskip("rawpy", reason="raw files need the extra 'raw' (rawpy)")
    visit.give({"name": "wall.DNG", "mimeType": "image/x-adobe-dng", "buffer": dng(orientation=6)})
    assert "96 × 128 RAW" in visit.page.inner_text("#facts")
    assert visit.page.locator("#format option").first.inner_text() == "TIFF, 16 bits"
    name, content = visit.download()
    assert name == "wall_transmission.tiff"
    assert images.read(content).pixels.dtype == np.uint16


def test_a_photo_without_a_reflection_is_called_so(visit):
    buffer = io.BytesIO()
    Image.new("RGB", (96, 64), (120, 110, 100)).save(buffer, "PNG")
    visit.give({"name": "wall.png", "mimeType": "image/png", "buffer": buffer.getvalue()})
    assert visit.page.inner_text("#facts").startswith("No reflection found")
    assert visit.page.inner_text("#strength-words") == "There is no reflection to remove"
    visit.give(CAFE)
    visit.says("1200 × 800", "#facts")
    assert "No reflection" not in visit.page.inner_text("#facts")
    assert visit.page.inner_text("#strength-words") == "The reflection is removed"


def test_downloads_have_the_bytes_of_the_command_line(visit, tmp_path):
    visit.give(CAFE)
    assert visit.download() == ("cafe_transmission.jpg", command_line(tmp_path / "full"))
    name, content = visit.download("#download-reflection")
    assert name == "cafe_reflection.jpg"
    assert content == (tmp_path / "full" / "cafe_reflection.jpg").read_bytes()
    visit.set("#strength", 40)
    assert visit.download()[1] == command_line(tmp_path / "part", "--strength", "0.4")
    visit.set("#strength", -30)
    assert visit.download()[1] == command_line(tmp_path / "below", "--strength", "-0.3")


def test_a_download_works_after_the_server_has_forgotten(visit, tmp_path):
    visit.give(CAFE)
    first = visit.download()
    for identity in list(visit.server.service._stored):
        visit.server.service.forget(identity)
    assert visit.download() == first
    visit.complaints.clear()  # the browser notes the 404


def test_the_brush_limits_the_work_to_a_region_with_soft_edges(visit):
    visit.give(CAFE)
    photo, full = visit.pixels("before"), visit.pixels("after")
    visit.page.check("#brush")
    box = visit.page.locator("#overlay").bounding_box()
    visit.page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.5)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.6, steps=4)
    visit.page.mouse.up()
    visit.settle()
    masked = visit.pixels("after")
    share = np.abs(masked - photo).sum(axis=2) / np.maximum(1, np.abs(full - photo).sum(axis=2))
    assert np.array_equal(masked[:, :600], photo[:, :600])  # the left half was not painted
    assert np.abs(masked - full)[400, 840].max() <= 2  # the middle of the stroke was
    strong = np.abs(full - photo).sum(axis=2) > 40
    assert ((share > 0.2) & (share < 0.8) & strong).sum() > 100  # between them, it fades

    visit.page.select_option("#format", "png")
    name, content = visit.download()
    assert name == "cafe_transmission.png"
    written = np.asarray(Image.open(io.BytesIO(content))).astype(int)
    original = np.asarray(Image.open(CAFE)).astype(int)
    assert np.array_equal(written[:, :600], original[:, :600])
    assert np.abs(written - original)[300:600, 700:].max() > 20

    visit.page.check('input[name="tool"][value="erase"]')
    visit.page.locator("#size").fill("50")
    visit.page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.55)
    visit.page.mouse.down()
    visit.page.mouse.up()
    visit.settle()
    assert np.abs(visit.pixels("after") - photo).sum() < np.abs(masked - photo).sum() / 2
    visit.page.click("#clear")
    visit.settle()
    assert np.array_equal(visit.pixels("after"), full)


def test_everything_can_be_done_by_keyboard(visit):
    visit.give(CAFE)
    visit.page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(30):
        visit.page.keyboard.press("Tab")
        name = visit.page.evaluate("document.activeElement.id || document.activeElement.name || ''")
        if name in reached:
            break
        reached.append(name)
    wanted = ["another", "theme", "split", "strength", "brush", "format", "download", "download-reflection"]
    wanted += ["brighten", "model", "quality", "again"]
    assert [name for name in reached if name in wanted] == wanted
    assert "camera" not in reached  # which is for phones
    visit.page.focus("#strength")
    for key in ("Home", "ArrowRight", "ArrowRight"):
        visit.page.keyboard.press(key)
    assert visit.page.input_value("#strength") == "-98"
    visit.page.focus("#split")
    visit.page.keyboard.press("End")
    assert visit.page.input_value("#split") == "100"
    visit.page.focus("#brush")
    visit.page.keyboard.press("Space")
    visit.page.focus("#overlay")
    photo = visit.pixels("before")
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("Space")
    visit.settle()
    changed = np.abs(visit.pixels("after") - photo).sum(axis=2) > 0
    assert changed.any()
    assert not changed[:, :400].any()
    visit.page.focus("#another")
    visit.page.keyboard.press("Enter")
    assert visit.page.evaluate("document.activeElement.id") == "file"


def test_the_focus_is_not_lost_with_what_goes_away(visit):
    visit.page.focus("#file")
    visit.give(CAFE)
    assert visit.page.evaluate("document.activeElement.id") == "split"


def test_a_dark_reflection_can_be_shown_brighter(visit):
    visit.give(CAFE)
    dark = visit.seen("#reflection").mean()
    visit.page.click("#brighten")
    assert visit.seen("#reflection").mean() > 1.5 * dark
    assert visit.page.get_attribute("#brighten", "aria-pressed") == "true"


def test_controls_have_names_and_text_has_contrast(browser, cafe_server):
    """Names are for screen readers; WCAG's level AA asks for a contrast of 4.5 : 1 to what is behind."""
    for scheme in ("light", "dark"):
        with Visit(browser, cafe_server, color_scheme=scheme) as visit:
            faint = visit.page.evaluate(FAINT)
            visit.give(CAFE)
            visit.page.check("#brush")
            assert faint + visit.page.evaluate(FAINT) == []
            assert visit.page.evaluate(NAMELESS) == []


@pytest.mark.parametrize("how", ["paste", "drop"])
def test_photos_can_be_pasted_and_dropped(visit, how):
    visit.page.evaluate(
        """async ([how, bytes]) => {
          const content = Uint8Array.from(atob(bytes), c => c.charCodeAt(0));
          const file = new File([content], 'a.jpg', {type: 'image/jpeg'});
          const data = new DataTransfer(); data.items.add(file);
          const event = how === 'paste' ? new ClipboardEvent('paste', {clipboardData: data, bubbles: true})
            : new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true});
          document.body.dispatchEvent(event); }""",
        [how, base64.b64encode(CAFE.read_bytes()).decode()],
    )
    visit.page.wait_for_selector("#result:not([hidden])")
    assert "1200 × 800 JPEG" in visit.page.inner_text("#facts")


def test_a_file_that_is_no_photo_is_said_so(visit):
    visit.page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"#!/bin/sh"})
    visit.page.wait_for_selector("#error:not([hidden])")
    assert "not a picture" in visit.page.inner_text("#error")
    visit.complaints.clear()  # the browser notes the 415
    visit.give(CAFE)
    assert visit.page.is_hidden("#error")


def test_a_photo_over_the_limit_is_said_so_before_it_is_sent(browser, start):
    with start(Limits(upload_bytes=100_000)) as server, Visit(browser, server) as visit:
        visit.page.wait_for_load_state("networkidle")
        visit.page.set_input_files("#file", CAFE)
        visit.page.wait_for_selector("#error:not([hidden])")
        assert "more than the 0.1 MB that this server takes" in visit.page.inner_text("#error")
        assert not any(url.endswith("/v1/jobs") for url in visit.requests)


def test_a_new_photo_of_the_same_size_does_not_inherit_the_region(visit):
    visit.give(CAFE)
    full = visit.pixels("after")
    visit.page.check("#brush")
    visit.page.locator("#overlay").click(position={"x": 100, "y": 100})
    visit.settle()
    assert not np.array_equal(visit.pixels("after"), full)
    visit.page.click("#another")
    visit.give(CAFE)
    assert np.array_equal(visit.pixels("after"), full)


@pytest.mark.parametrize("width", [320, 390, 768])
def test_the_page_fits_a_phone(browser, cafe_server, width):
    options = {"viewport": {"width": width, "height": 800}, "has_touch": True, "is_mobile": True}
    with Visit(browser, cafe_server, **options) as visit:
        assert visit.page.is_visible('label[for="camera"]')
        visit.give(CAFE)
        assert visit.page.get_attribute("#camera", "capture") == "environment"
        box = visit.page.locator("#compare").bounding_box()
        visit.page.touchscreen.tap(box["x"] + box["width"] * 0.8, box["y"] + 50)
        assert abs(int(visit.page.input_value("#split")) - 80) <= 1
        visit.page.check("#brush")
        assert visit.page.evaluate("document.documentElement.scrollWidth") == width
        small = visit.page.evaluate(
            """() => [...document.querySelectorAll('button, select, .button')]
              .filter(e => e.offsetParent && e.getBoundingClientRect().height < 40).map(e => e.id)"""
        )
        assert not small  # all are large enough for a finger


def test_dark_and_light_follow_the_system_and_the_button(browser, cafe_server):
    ground = "getComputedStyle(document.body).backgroundColor"
    found = {}
    for scheme in ("light", "dark"):
        with Visit(browser, cafe_server, color_scheme=scheme) as visit:
            found[scheme] = visit.page.evaluate(ground)
            visit.page.click("#theme")
            found[scheme, "other"] = visit.page.evaluate(ground)
            visit.page.reload()
            assert visit.page.evaluate(ground) == found[scheme, "other"]  # remembered
    assert found["light"] == found["dark", "other"] != found["dark"] == found["light", "other"]


def test_place_in_line_and_progress_are_shown_and_a_job_can_be_cancelled(browser, start, picture):
    with start(Limits(queue=4)) as server, Visit(browser, server) as visit:
        server.method.gate.clear()
        for seed in range(2):
            server.client.post("/v1/jobs", files={"image": picture(seed=seed)})
        own = {"name": "a.png", "mimeType": "image/png", "buffer": picture(seed=9)}
        visit.page.set_input_files("#file", own)
        visit.says("1 before you")
        visit.page.click("#cancel")
        server.wait_until(lambda: server.service.queue.counts() == (1, 1))
        visit.page.wait_for_selector("#work", state="hidden")
        server.method.gate.set()
        server.wait_until(lambda: server.service.queue.counts() == (0, 0))
        server.method.gate.clear()
        visit.page.set_input_files("#file", own)
        visit.says("step 1 of 2")
        server.method.gate.set()
        visit.page.wait_for_selector("#result:not([hidden])")


def test_the_page_asks_for_the_token(browser, start, picture):
    with start(access=Access(token="correct-horse")) as server, Visit(browser, server) as visit:
        visit.page.fill("#token", "wrong-horse")
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_selector("dialog[open]")
        visit.page.fill("#token", "correct-horse")
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_selector(".card")
        visit.give({"name": "a.png", "mimeType": "image/png", "buffer": picture()})


def test_the_description_for_programs_is_written_out(visit):
    visit.page.goto(f"{visit.server.url}/docs")
    visit.page.wait_for_selector("#operations h2")
    text = visit.page.inner_text("#operations")
    assert "/v1/separate" in text
    assert "number -1 to 1" in text
