"""Seconds of the page that needs no server, beside those of `dereflect serve`, in one Chromium and one run.

    node browser/build.mjs && python benchmarks/page_alone.py [--megapixels 1 12 24]

Each photo is given twice and the second time counts, so that both models are warm: from the choice of the
photo to the result on the screen, and from the button to the whole file. The memory is the most that the
largest of the processes of the browser took.
"""

import argparse
import functools
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from measured import add_option, record
from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
CAFE = ROOT / "examples" / "cafe.jpg"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 590_000


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Static files, without a word."""

    def log_message(self, *words: object) -> None:
        pass


def photo(megapixels: float) -> bytes:
    image = Image.open(CAFE)
    scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
    size = (round(image.width * scale), round(image.height * scale))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def give(page: Page, content: bytes) -> tuple[float, float]:
    """Seconds to the result on the screen, and to the whole file."""
    if page.is_visible("#another"):
        page.click("#another")
    started = time.perf_counter()
    page.set_input_files("#file", {"name": "cafe.jpg", "mimeType": "image/jpeg", "buffer": content})
    page.wait_for_selector("#result:not([hidden])")
    seen = time.perf_counter()
    with page.expect_download() as download:
        page.click("#download")
    download.value.path()
    return seen - started, time.perf_counter() - seen


def largest_process(root: int) -> float:
    """MB that the largest of a process's descendants took at most."""
    parents, most = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            status = (entry / "status").read_text()
        except OSError:
            continue
        number = int(entry.name)
        parents[number] = int(re.search(r"PPid:\s*(\d+)", status)[1])
        if found := re.search(r"VmHWM:\s*(\d+)", status):
            most[number] = int(found[1]) * 1024 / 1e6
    below, found = {root}, True
    while found:
        found = {number for number, parent in parents.items() if parent in below} - below
        below |= found
    return max(most.get(number, 0.0) for number in below - {root})


def alone(page: Page, address: str) -> float:
    """Open the page, and give the seconds that its model takes to be ready, its fetching apart."""
    page.goto(address)
    page.wait_for_timeout(3000)  # it is loaded anew once, for threads
    page.wait_for_selector(".card")
    assert page.evaluate("crossOriginIsolated")
    began = time.perf_counter()
    give(page, photo(0.01))
    first = time.perf_counter() - began
    return first - sum(give(page, photo(0.01)))


def measure(page: Page, sizes: list[float]) -> list[tuple[float, float]]:
    found = []
    for size in sizes:
        content = photo(size)
        give(page, content)
        found.append(give(page, content))
    return found


def first_load(dist: Path, place: str) -> float:
    other = {"wasm": "ort-webgpu", "webgpu": "ort-wasm"}[place]
    files = [path for path in dist.rglob("*") if path.is_file() and other not in path.as_posix()]
    return round(sum(path.stat().st_size for path in files) / 1e6, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 12, 24])
    parser.add_argument("--dist", type=Path, default=ROOT / "browser" / "dist")
    parser.add_argument("--browser-argument", action="append", default=[])
    add_option(parser, "browser.speed")
    options = parser.parse_args()
    handler = functools.partial(Quiet, directory=str(options.dist))
    host = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=host.serve_forever, daemon=True).start()
    command = [sys.executable, "-m", "dereflect", "serve", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        found = re.search(r"http://\S+?(?=,)", server.stdout.readline())
        assert found is not None, "the server did not start"
        with sync_playwright() as started:
            words = ["--no-sandbox", "--disable-gpu", *options.browser_argument]
            browser = started.chromium.launch(executable_path=CHROMIUM, args=words)
            page = browser.new_page()
            page.set_default_timeout(PATIENCE)
            prepare = alone(page, f"http://127.0.0.1:{host.server_port}/")
            own = measure(page, options.megapixels)
            place = page.inner_text("#facts").split("in this browser, ")[1]
            memory = largest_process(os.getpid())
            page.goto(found[0])
            page.wait_for_selector(".card")
            theirs = measure(page, options.megapixels)
            browser.close()
    finally:
        server.terminate()
        server.wait(60)
        host.shutdown()
    values = {
        "place": place,
        "prepare": round(prepare, 1),
        "megabytes": round(memory),
        "first_load_wasm": first_load(options.dist, "wasm"),
        "first_load_webgpu": first_load(options.dist, "webgpu"),
        "rows": [
            {
                "megapixels": size,
                "page_result": round(page_times[0], 2),
                "page_file": round(page_times[1], 2),
                "serve_result": round(serve_times[0], 2),
                "serve_file": round(serve_times[1], 2),
            }
            for size, page_times, serve_times in zip(options.megapixels, own, theirs, strict=True)
        ],
    }
    print(json.dumps(values, indent=2))
    record(options, values, machine=f"Chromium, {place}")


if __name__ == "__main__":
    main()
