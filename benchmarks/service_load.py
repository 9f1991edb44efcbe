"""The service under load, against the same photo separated without it, measured in the same run.

    python benchmarks/service_load.py [--clients 8] [--requests 48] [--megapixels 0.96] [--model default]

Starts `dereflect serve` on a free port, lets clients post the photo at the same time, and prints throughput,
latency, errors and the server's memory after each tenth of the requests. The reference is a plain loop over
the Python interface in a process of its own; the ratio is what the service keeps of its throughput. One photo
is separated at a time, so N clients wait for N separations each: latency is about N / throughput.
"""

import argparse
import io
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from measured import add_option, record
from PIL import Image

from dereflect.cli.scripts import run_script

CAFE = Path(__file__).parents[1] / "examples" / "cafe.jpg"
DIRECT = """
import sys, time, dereflect
from dereflect import images
content, model, count = sys.stdin.buffer.read(), sys.argv[1], int(sys.argv[2])
separator = dereflect.load(model)
run = lambda: images.encode(separator(content).pictures["transmission"], "JPEG")
run()
started = time.perf_counter()
for _ in range(count):
    run()
print(count / (time.perf_counter() - started))
"""


def photo(megapixels: float) -> bytes:
    image = Image.open(CAFE)
    scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
    size = (max(8, round(image.width * scale)), max(8, round(image.height * scale)))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


class Load:
    """Clients that post one photo again and again until enough requests are made."""

    def __init__(self, address: str, content: bytes, clients: int, requests: int) -> None:
        self.host = urlsplit(address).netloc
        self.clients, self.left = clients, requests
        self.tenth = max(1, requests // 10)
        self.lock = threading.Lock()
        self.seconds: list[float] = []
        self.errors: list[str] = []
        self.memory: list[float] = []
        self.answers: set[int] = set()
        fields = b"".join(
            b'--load\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % pair
            for pair in ((b"format", b"keep"), (b"layers", b"transmission"))
        )
        head = b'--load\r\nContent-Disposition: form-data; name="image"; filename="cafe.jpg"\r\n\r\n'
        self.body = fields + head + content + b"\r\n--load--\r\n"

    def run(self) -> float:
        started = time.perf_counter()
        threads = [threading.Thread(target=self.client) for _ in range(self.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - started

    def client(self) -> None:
        connection = HTTPConnection(self.host, timeout=300)
        while True:
            with self.lock:
                if self.left == 0:
                    return
                self.left -= 1
            started = time.perf_counter()
            kind = {"Content-Type": "multipart/form-data; boundary=load"}
            connection.request("POST", "/v1/separate", self.body, kind)
            answer = connection.getresponse()
            content = answer.read()
            with self.lock:
                self.seconds.append(time.perf_counter() - started)
                if answer.status == 200:
                    self.answers.add(hash(content))
                else:
                    self.errors.append(f"{answer.status} {content[:200]!r}")
                if len(self.seconds) % self.tenth == 0:
                    self.memory.append(self.resident())

    def resident(self) -> float:
        connection = HTTPConnection(self.host, timeout=60)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        found = re.search(r"^dereflect_resident_memory_bytes (\S+)$", text, re.MULTILINE)
        return float(found[1]) / 1e6 if found else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--megapixels", type=float, default=0.96)
    parser.add_argument("--model", default="default")
    parser.add_argument("--reference", type=int, default=8, help="photos of the plain loop; 0 leaves it out")
    add_option(parser, "serve.load")
    options = parser.parse_args()
    content = photo(options.megapixels)

    command = [sys.executable, "-m", "dereflect", "serve", "--port", "0", "--model", options.model]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        found = re.search(r"http://\S+?(?=,)", server.stdout.readline())
        assert found is not None, "the server did not start"
        Load(found[0], content, 1, 1).run()  # the first request warms up
        load = Load(found[0], content, options.clients, options.requests)
        seconds = load.run()
    finally:
        server.terminate()
        server.wait(60)

    spent = sorted(load.seconds)
    result = {
        "megapixels": options.megapixels,
        "clients": options.clients,
        "requests": len(spent),
        "errors": len(load.errors),
        "different answers": len(load.answers),
        "photos a second": round(len(spent) / seconds, 3),
        "p50 seconds": round(statistics.median(spent), 3),
        "p95 seconds": round(spent[min(len(spent) - 1, int(0.95 * len(spent)))], 3),
        "memory MB": [round(value) for value in load.memory],
    }
    if options.reference:
        direct = subprocess.run(
            [sys.executable, "-c", DIRECT, options.model, str(options.reference)],
            input=content,
            stdout=subprocess.PIPE,
            check=True,
        )
        plain = float(direct.stdout)
        result["plain loop, photos a second"] = round(plain, 3)
        result["ratio service / plain loop"] = round(result["photos a second"] / plain, 3)
    print(json.dumps(result, indent=2))
    values = {
        "clients": options.clients,
        "requests": len(spent),
        "megapixels": options.megapixels,
        "errors": len(load.errors),
        "different_answers": len(load.answers),
        "photos_a_second": round(result["photos a second"], 1),
        "p50": round(result["p50 seconds"], 2),
        "p95": round(result["p95 seconds"], 2),
        "least_megabytes": min(result["memory MB"]),
        "most_megabytes": max(result["memory MB"]),
    }
    if options.reference:
        values["plain_loop"] = round(plain, 1)
    record(options, values)
    for error in load.errors[:5]:
        print("error:", error)
    sys.exit(1 if load.errors else 0)


if __name__ == "__main__":
    run_script(main)
