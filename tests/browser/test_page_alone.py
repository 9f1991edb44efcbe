"""The page that needs no server, built and opened in a real Chromium; compared with the command."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from page_host import FOLDER, Host, serve
from page_photos import PHOTOS, adobe, glass
from PIL import Image

import dereflect
from real_browser import CAFE, FAINT, MARKS, NAMELESS, Visit, launched

HERE = Path(__file__).parents[2] / "browser"
NODE = shutil.which("node")
pytestmark = [
    *MARKS,
    pytest.mark.skipif(NODE is None, reason="no Node was found, which builds the page"),
    pytest.mark.skipif(
        not (HERE / "node_modules" / "esbuild").exists(),
        reason="the page's tools are not installed: npm ci --prefix browser",
    ),
]
ISOLATED = "crossOriginIsolated && navigator.serviceWorker.controller !== null"
"""(Asked again and again from here: Playwright's own waiting needs eval, which the page's policy forbids.)"""

AS_FOUND = """() => {
  const set = (id, change) => { const one = document.getElementById(id); change(one);
    for (const kind of ['input', 'change']) one.dispatchEvent(new Event(kind)); };
  set('strength', one => { one.value = 100; });
  set('brush', one => { one.checked = false; });
  document.querySelector('[name=quality][value=fast]').checked = true;
  document.getElementById('format').replaceChildren();
  document.getElementById('error').hidden = true; }"""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """What any web host is given."""
    pytest.importorskip("onnx", reason="the page's model needs the extra 'onnx'")
    root = tmp_path_factory.mktemp("host")
    words = [NODE, str(HERE / "build.mjs"), "--out", str(root / FOLDER)]
    if model := os.environ.get("DEREFLECT_ONNX"):  # made before, to save its minute
        words += ["--model", model]
    environment = os.environ | {"PYTHON": sys.executable}
    ran = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return root


@pytest.fixture(scope="module")
def host(built) -> Iterator[Host]:
    found = serve(built)
    yield found
    found.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def warm(browser, host) -> Iterator[Visit]:
    with opened(browser, host) as found:
        yield found


@pytest.fixture
def visit(warm, host) -> Iterator[Visit]:
    """The page with its model loaded, as one finds it; most of a test's time would go into the loading."""
    if warm.page.is_visible("#another"):
        warm.page.click("#another")
    warm.page.evaluate(AS_FOUND)
    warm.requests.clear()
    warm.complaints.clear()
    yield warm
    assert all(url.startswith((host.url, f"blob:{host.url[:16]}")) for url in warm.requests)
    assert not warm.complaints


def opened(browser, host: Host, **options: object) -> Visit:
    """The page, as it is once its service worker has taken over."""
    found = Visit(browser, host, **options)
    for _ in range(3000):
        with contextlib.suppress(Exception):  # it is just being loaded anew
            if found.page.evaluate(ISOLATED):
                found.page.wait_for_selector(".card")
                return found
        time.sleep(0.1)
    raise AssertionError("the service worker did not take over")


@pytest.fixture(scope="module")
def separator() -> dereflect.Separator:
    return dereflect.load("default", device="cpu", dtype="float32")


@pytest.mark.parametrize("name", PHOTOS)
def test_layers_are_those_of_the_command_in_its_format_with_its_metadata(visit, separator, tmp_path, name):
    path = tmp_path / name
    PHOTOS[name](path)
    visit.give(path)
    expected = separator(path)
    visit.page.select_option("#format", "png")
    for layer, button in (("transmission", "#download"), ("reflection", "#download-reflection")):
        own, content = visit.download(button)
        assert own == f"{path.stem}_{layer}.png"
        image = Image.open(io.BytesIO(content))
        want = expected.pictures[layer]
        assert image.mode == ("L" if want.grey else "RGB")
        difference = np.abs(np.asarray(image).astype(float) - want.pixels)
        assert difference.mean() < 1, layer
        assert (
            np.abs(want.pixels.astype(float) - np.asarray(expected.blended)).mean() > 1
        )  # something was done
        known = want.metadata
        assert image.info.get("icc_profile") == known.icc
        assert image.info.get("exif", b"").removeprefix(b"Exif\0\0") == (known.exif or b"")


def test_a_jpeg_comes_back_as_one_with_exif_and_profile(visit, separator, tmp_path):
    path = tmp_path / "Window.JPG"
    PHOTOS["adobe.jpg"](path)
    visit.give(path)
    name, content = visit.download()
    assert name == "Window_transmission.JPG"
    image, expected = Image.open(io.BytesIO(content)), separator(path)
    assert image.format == "JPEG"
    assert image.info["icc_profile"] == adobe()
    assert image.getexif()[0x0112] == 1
    assert image.getexif()[0x010F] == "Glass & Co"
    assert np.abs(np.asarray(image).astype(float) - np.asarray(expected.transmission)).mean() < 1


def test_strength_region_and_the_thorough_look_reach_the_file(visit, separator):
    visit.page.check('input[name="quality"][value="best"]')
    visit.give(CAFE)
    visit.set("#strength", 60)
    visit.page.check("#brush")
    box = visit.page.locator("#overlay").bounding_box()
    visit.page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.5)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.6, steps=4)
    visit.page.mouse.up()
    visit.settle()
    visit.page.select_option("#format", "png")
    _, content = visit.download()
    got = np.asarray(Image.open(io.BytesIO(content))).astype(float)
    photo = np.asarray(Image.open(CAFE)).astype(float)
    assert np.array_equal(got[:, :600], photo[:, :600])  # was not painted
    full = np.asarray(separator(CAFE, quality="best", strength=0.6).transmission).astype(float)
    middle = (slice(380, 420), slice(820, 860))
    assert np.abs(got - full)[middle].mean() < 1
    assert np.abs(photo - full)[middle].mean() > 2
    assert np.abs(got - visit.pixels("after"))[middle].mean() < 1.5  # and the page shows it


def test_it_works_after_the_connection_is_cut(browser, built):
    host = serve(built)
    with opened(browser, host) as visit:
        visit.give(CAFE)
        first = visit.pixels("after")
        host.stop()
        visit.page.reload()
        visit.page.wait_for_selector(".card")
        visit.give(CAFE)
        assert np.array_equal(visit.pixels("after"), first)
        assert visit.download()[0] == "cafe_transmission.jpg"
        assert not visit.complaints


def test_it_can_be_installed(visit):
    client = visit.context.new_cdp_session(visit.page)
    found = client.send("Page.getAppManifest")
    assert found["errors"] == []
    errors = client.send("Page.getInstallabilityErrors")["installabilityErrors"]
    # A context of the tests is as a private window, in which nothing is installed.
    assert [error["errorId"] for error in errors if error["errorId"] != "in-incognito"] == []


def test_no_other_host_can_be_asked_and_photos_stay_here(visit, host):
    refused = visit.page.evaluate("fetch('http://localhost:9/').then(() => false, () => true)")
    assert refused
    policy = visit.page.get_attribute("meta[http-equiv]", "content")
    assert "connect-src 'self'" in policy
    assert "Content Security Policy" in " ".join(visit.complaints)
    visit.complaints.clear()
    assert "stays on this device" in visit.page.inner_text("#privacy")
    assert not [
        url for url in visit.requests if not url.startswith((host.url, "blob:", "http://localhost:9/"))
    ]
    visit.requests[:] = [url for url in visit.requests if not url.startswith("http://localhost:9/")]


@pytest.mark.parametrize("place", ["wasm", "webgpu"])
def test_the_first_load_is_under_30_megabytes(host, place):
    other = {"wasm": "page/ort-webgpu-", "webgpu": "page/ort-wasm-"}[place]
    files = [path for path in host.folder.rglob("*") if path.is_file()]
    sizes = [path.stat().st_size for path in files if other not in path.as_posix()]
    assert 15e6 < sum(sizes) < 30e6


def test_work_can_be_cancelled_and_the_earlier_result_stays(visit, tmp_path):
    visit.give(CAFE)
    before = visit.download()
    path = tmp_path / "other.png"
    PHOTOS["plain.png"](path)
    visit.page.set_input_files("#file", path)
    visit.says("Separating")
    visit.page.click("#cancel")
    visit.page.wait_for_selector("#work", state="hidden")
    assert visit.download() == before


def test_files_that_the_browser_cannot_read_are_said_so(visit):
    for name, content, words in (
        ("a.jpg", b"#!/bin/sh", "no picture like a.jpg; give a JPEG"),
        ("a.tif", b"II*\0\x08\0\0\0\0\0", "does not read TIFF (a.tif); save it"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "cannot read a.png, a PNG: it is damaged"),
        ("cut.jpg", CAFE.read_bytes()[:300], "cannot read cut.jpg, a JPEG: it is damaged"),
    ):
        visit.page.set_input_files("#file", {"name": name, "mimeType": "", "buffer": content})
        visit.says(words, "#error")
        assert visit.page.is_visible("#intake")


def test_transparency_goes_to_png_alone(visit, tmp_path):
    image = glass(6).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(tmp_path / "veil.png")
    visit.give(tmp_path / "veil.png")
    _, content = visit.download()
    got = np.asarray(Image.open(io.BytesIO(content)))
    assert np.array_equal(got[..., 3], np.asarray(image)[..., 3])
    visit.page.select_option("#format", "jpg")
    visit.page.click("#download")
    visit.says("transparency", "#error")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("delete window.WebAssembly", "does not run WebAssembly"),
        ("WebAssembly.validate = () => false", "no SIMD"),
        ("delete window.OffscreenCanvas", "OffscreenCanvas"),
    ],
)
def test_a_browser_that_cannot_is_told_so(browser, host, script, words):
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(script)
    page.goto(host.url)
    page.wait_for_selector("#error:not([hidden])")
    assert words in page.inner_text("#error")
    assert "newer" in page.inner_text("#error")
    context.close()


def test_one_thread_does_where_there_is_no_service_worker(browser, host, separator):
    with Visit(browser, host, service_workers="block") as visit:
        visit.page.wait_for_selector(".card")
        visit.give(CAFE)
        assert "1 thread" in visit.page.inner_text("#facts")
        visit.complaints.clear()  # of the service worker that is not let in


def test_controls_have_names_contrast_and_keys_and_fit_a_phone(visit):
    visit.give(CAFE)
    visit.page.check("#brush")
    assert visit.page.evaluate(NAMELESS) == []
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme)
        assert visit.page.evaluate(FAINT) == []
    visit.page.focus("#split")
    visit.page.keyboard.press("End")
    assert visit.page.input_value("#split") == "100"
    visit.page.focus("#overlay")
    visit.page.keyboard.press("Space")
    assert (
        np.abs(visit.pixels("after") - visit.pixels("before"))[:, :300].max() == 0
    )  # where it was not painted
    visit.page.set_viewport_size({"width": 390, "height": 844})
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 390
    visit.page.set_viewport_size({"width": 1280, "height": 900})
