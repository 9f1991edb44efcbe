"""Make the documentation's pictures of the sample and of the two pages, with the model as it stands.

    python scripts/make_pictures.py [--page-alone browser/dist]

Needs Chromium and the extras `web` and `browser`; the page without a server must have been built
(`npm run build --prefix browser`). Pictures of GIMP, darktable and of strokes are made by hand.
"""

import argparse
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

import dereflect
from dereflect.cli.scripts import run_script

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "examples" / "cafe.jpg"
PICTURES = ROOT / "docs" / "images"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
VIEW: ViewportSize = {"width": 1280, "height": 890}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--page-alone", type=Path, default=ROOT / "browser" / "dist", help="the built page's folder"
    )
    arguments = parser.parse_args()
    if not (arguments.page_alone / "index.html").is_file():
        parser.error(f"{arguments.page_alone}: holds no built page; npm run build --prefix browser")
    if CHROMIUM is None:
        parser.error("no Chromium was found; set CHROMIUM to its path")
    save(dereflect.load("default")(SAMPLE).side_by_side(), 1500, "cafe_side_by_side.jpg")
    host = ["http.server", "0", "--bind", "127.0.0.1", "--directory", str(arguments.page_alone.resolve())]
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        with served("dereflect", "serve", "--port", "0") as address:
            save(seen(browser.new_page(viewport=VIEW, color_scheme="light"), address), 1024, "page.jpg")
        with served(*host) as address:
            save(seen(browser.new_page(viewport=VIEW, color_scheme="dark"), address), 960, "browser.jpg")
        browser.close()


def save(picture: Image.Image, width: int, name: str) -> None:
    size = (width, round(picture.height * width / picture.width))
    picture.resize(size, Image.Resampling.LANCZOS).save(PICTURES / name, quality=88)
    print(PICTURES / name)


@contextlib.contextmanager
def served(*words: str) -> Iterator[str]:
    """The address that a module of Python's prints and serves, for as long as it is needed."""
    command = [sys.executable, "-u", "-m", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tempfile.gettempdir()
    ) as running:
        assert running.stdout is not None
        found = (re.search(r"http://[\w.:]+", line) for line in running.stdout)
        try:
            address = next((match[0] for match in found if match), None)
            if address is None:
                sys.exit(f"make_pictures.py: error: no address from: {' '.join(command)}")
            yield address
        finally:
            running.terminate()


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
    run_script(main)
