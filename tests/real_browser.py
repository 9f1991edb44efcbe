"""The page in a real browser: Chromium without a window, and what a test sees of it."""

import base64
import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

playwright = pytest.importorskip(
    "playwright.sync_api", reason="tests in a browser need the extra 'browser' (playwright)"
)
CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium was found; set CHROMIUM to its path"),
]
CAFE = Path(__file__).parents[1] / "examples" / "cafe.jpg"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
READ = """id => { const c = document.getElementById(id);
  const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  let text = ''; for (let i = 0; i < d.length; i += 4) text += String.fromCharCode(d[i], d[i + 1], d[i + 2]);
  return [c.width, c.height, btoa(text)]; }"""

PATIENCE = 300_000
"""Milliseconds; a machine may be busy, and nothing here measures time."""
NAMELESS = """() => [...document.querySelectorAll('button, input, select, canvas')]
  .filter(e => e.offsetParent && !e.textContent.trim() && !e.ariaLabel && !e.labels?.length)
  .map(e => e.outerHTML)"""
FAINT = """() => {
  const numbers = text => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r / 255) + .7152 * linear(g / 255) + .0722 * linear(b / 255);
  const behind = e => {
    const ground = numbers(getComputedStyle(e).backgroundColor);
    return (ground[3] ?? 1) === 1 || !e.parentElement ? ground : behind(e.parentElement); };
  const faint = e => {
    const [more, less] = [numbers(getComputedStyle(e).color), behind(e)].map(light).sort((x, y) => y - x);
    return (more + .05) / (less + .05) < 4.5; };
  return [...document.querySelectorAll('body *')].filter(e => e.offsetParent && !e.closest('.tag, option'))
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
    .filter(faint).map(e => e.outerHTML); }"""


@contextlib.contextmanager
def launched(*more: str) -> Iterator["playwright.Browser"]:
    """Chromium, with more words on its command line."""
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *more])
        yield found
        found.close()


class Visit:
    """A page that notes every request and every complaint of the browser.

    Args:
        browser: where to open it.
        server: has the address in `url`.
        options: of the browser's context.
    """

    def __init__(self, browser, server, **options) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type == "error" else None
        )
        self.server = server
        self.page.goto(server.url)
        self.page.wait_for_selector(".card, dialog[open]")

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *error: object) -> None:
        self.context.close()

    def give(self, path: Path | dict[str, object]) -> None:
        self.page.set_input_files("#file", path)
        self.page.wait_for_selector("#result:not([hidden])")
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def says(self, words: str, element: str = "#status") -> None:
        """Wait until the page tells this, of the work if not of something else."""
        playwright.expect(self.page.locator(element)).to_contain_text(words, timeout=PATIENCE)

    def set(self, control: str, value: int) -> None:
        self.page.locator(control).fill(str(value))
        self.settle()

    def pixels(self, canvas: str) -> np.ndarray:
        width, height, text = self.page.evaluate(READ, canvas)
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 3).astype(int)

    def seen(self, element: str = "#compare") -> np.ndarray:
        shot = Image.open(io.BytesIO(self.page.locator(element).screenshot()))
        return np.asarray(shot.convert("RGB")).astype(int)

    def download(self, button: str = "#download") -> tuple[str, bytes]:
        with self.page.expect_download() as started:
            self.page.click(button)
        return started.value.suggested_filename, Path(started.value.path()).read_bytes()
