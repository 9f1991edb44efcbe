"""Seconds of the page that needs no server, beside those of `dereflect serve`, in one Chromium and one run.

    node browser/build.mjs && python benchmarks/page_alone.py [--megapixels 1 12 24]

Each photo is given to both by turns, once to warm up and then as often as asked, and the least counts: from
the choice of the photo to the result on the screen, from there to the whole file, and what both took of the
processors, browser and server together. The memory is the most that one process of the browser took.
"""

import argparse
import contextlib
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

from dereflect.cli.scripts import run_script

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


def give(page: Page, content: bytes) -> tuple[float, float, float]:
    """Seconds to the result on the screen, from there to the whole file, and of the processors for both."""
    if page.is_visible("#another"):
        page.click("#another")
    before = processor_seconds()
    started = time.perf_counter()
    page.set_input_files("#file", {"name": "cafe.jpg", "mimeType": "image/jpeg", "buffer": content})
    page.wait_for_selector("#result:not([hidden])")
    seen = time.perf_counter()
    with page.expect_download() as download:
        page.click("#download")
    download.value.path()
    return seen - started, time.perf_counter() - seen, processor_seconds() - before


def descendants() -> list[Path]:
    """The processes that this one has started, and theirs."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[entry] = Path("/proc") / (entry / "stat").read_text().rpartition(")")[2].split()[1]
    below = {Path("/proc") / str(os.getpid())}
    while more := {entry for entry, parent in parents.items() if parent in below} - below:
        below |= more
    return [entry for entry in below if entry.name != str(os.getpid())]


def processor_seconds() -> float:
    ticks = 0
    for entry in descendants():
        with contextlib.suppress(OSError):
            ticks += sum(map(int, (entry / "stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def largest_process() -> float:
    """MB that the largest of them took at most."""
    most = [0]
    for entry in descendants():
        with contextlib.suppress(OSError):
            found = re.search(r"VmHWM:\s*(\d+)", (entry / "status").read_text())
            if found and "renderer" in (entry / "cmdline").read_text():
                most.append(int(found[1]))
    return max(most) * 1024 / 1e6


def alone(page: Page, address: str) -> float:
    """Open the page, and give the seconds that its model takes to be ready, its fetching apart."""
    page.goto(address)
    page.wait_for_timeout(3000)  # it is loaded anew once, for threads
    page.wait_for_selector(".card")
    assert page.evaluate("crossOriginIsolated")
    began = time.perf_counter()
    give(page, photo(0.01))
    first = time.perf_counter() - began
    return first - sum(give(page, photo(0.01))[:2])


def measure(pages: list[Page], size: float, rounds: int) -> dict[str, float]:
    """The least seconds of both pages for a photo."""
    content = photo(size)
    found = [[give(page, content) for page in pages] for _ in range(rounds + 1)][1:]
    least = [[min(each[page][part] for each in found) for part in range(3)] for page in (0, 1)]
    names = [f"{page}_{part}" for page in ("page", "serve") for part in ("result", "file", "processor")]
    values = (round(seconds, 2) for one in least for seconds in one)
    return {"megapixels": size, **dict(zip(names, values, strict=True))}


def first_load(dist: Path, place: str) -> float:
    other = {"wasm": "ort-webgpu", "webgpu": "ort-wasm"}[place]
    files = [path for path in dist.rglob("*") if path.is_file() and other not in path.as_posix()]
    return round(sum(path.stat().st_size for path in files) / 1e6, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 12, 24])
    parser.add_argument("--rounds", type=int, default=3)
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
            own, theirs = browser.new_page(), browser.new_page()
            for page in (own, theirs):
                page.set_default_timeout(PATIENCE)
            theirs.goto(found[0])
            theirs.wait_for_selector(".card")
            prepare = alone(own, f"http://127.0.0.1:{host.server_port}/")
            rows = [measure([own, theirs], size, options.rounds) for size in options.megapixels]
            place = own.inner_text("#facts").split("in this browser, ")[1]
            memory = largest_process()
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
        "rows": rows,
    }
    print(json.dumps(values, indent=2))
    record(options, values, machine=f"Chromium, {place}")


if __name__ == "__main__":
    run_script(main)
