"""Make the documentation's pictures of the sample and of the two pages, with the model as it stands.

    python scripts/make_pictures.py [--page-alone browser/dist]

Needs Chromium and the extras `web` and `browser`; the page without a server must have been built
(`npm run build --prefix browser`). Pictures of GIMP, darktable and of strokes are made by hand.
"""

import argparse
import contextlib
import functools
import http.server
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import dereflect

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "examples" / "cafe.jpg"
PICTURES = ROOT / "docs" / "images"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
VIEW = {"width": 1280, "height": 890}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page-alone", type=Path, default=ROOT / "browser" / "dist")
    arguments = parser.parse_args()
    if not (arguments.page_alone / "index.html").is_file():
        parser.error(f"{arguments.page_alone}: holds no built page; npm run build --prefix browser")
    save(sample_beside_its_layers(), 1500, "cafe_side_by_side.jpg")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for serve, scheme, width, name in (
            (service, "light", 1024, "page.jpg"),
            (functools.partial(files, arguments.page_alone), "dark", 960, "browser.jpg"),
        ):
            with serve() as address:
                page = browser.new_page(viewport=VIEW, color_scheme=scheme)
                save(seen(page, address), width, name)
        browser.close()


def sample_beside_its_layers() -> Image.Image:
    found = dereflect.load("default")(SAMPLE)
    photo = Image.open(SAMPLE)
    row = Image.new("RGB", (3 * photo.width, photo.height))
    for place, layer in enumerate((photo, found.transmission, found.reflection)):
        row.paste(layer, (place * photo.width, 0))
    return row


def save(picture: Image.Image, width: int, name: str) -> None:
    size = (width, round(picture.height * width / picture.width))
    picture.resize(size, Image.Resampling.LANCZOS).save(PICTURES / name, quality=88)
    print(PICTURES / name)


@contextlib.contextmanager
def service() -> Iterator[str]:
    """The address of `dereflect serve`, for as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-u", "-m", "dereflect", "serve", "--port", "0"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=folder) as running:
            assert running.stdout is not None
            found = (re.search(r"http://[\w.:]+", line) for line in running.stdout)
            address = next(match[0] for match in found if match)
            try:
                yield address
            finally:
                running.terminate()


@contextlib.contextmanager
def files(folder: Path) -> Iterator[str]:
    """The address of a host of static files."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def seen(page: Page, address: str) -> Image.Image:
    """The page with the sample's result."""
    page.set_default_timeout(300_000)
    page.goto(address)
    page.wait_for_timeout(3000)  # the page without a server is loaded anew once, for threads
    page.wait_for_selector(".card")
    page.set_input_files("#file", SAMPLE)
    page.wait_for_selector("#result:not([hidden])")
    page.wait_for_timeout(500)
    return Image.open(io.BytesIO(page.screenshot()))


if __name__ == "__main__":
    main()
