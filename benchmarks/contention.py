"""What a busy machine costs: the same work beside other programs that want the processor too.

    python benchmarks/contention.py [--rows idle one-busy] [--photos 24] [--size 400] [--repeats 2]
    python benchmarks/contention.py --try "shorter=GOMP_SPINCOUNT=2000"

Makes its own load. Each row is run with no setting of OpenMP's ("default": what dereflect chooses), with one
thread, with threads that never spin while they wait ("passive"), and, once a row, with threads that always
spin as OpenMP lets them ("spinning", the default once); in turns, so that a change of the machine meets all
alike. Printed are medians, the default's time relative to that on the idle machine, and relative to the
better of one thread and passive waiting. Start-up is part of the time, as it is for a user. Rows that are
measured apart are recorded beside one another.
"""

import argparse
import contextlib
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from measured import add_option, read, record
from PIL import Image

from dereflect.cli.scripts import run_script

CAFE = Path(__file__).parents[1] / "examples" / "cafe.jpg"
POLICIES = {
    "default": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spinning": {"GOMP_SPINCOUNT": "300000"},
}
Environment = dict[str, str]
BUSY = """
import os
parent = os.getppid()
while os.getppid() == parent:  # also where this benchmark is killed
    sum(range(1_000_000))
"""


def environment(policy: Environment) -> Environment:
    """This process's, with no setting of OpenMP's but the policy's."""
    plain = {key: value for key, value in os.environ.items() if not re.match("OMP_|GOMP_|KMP_|MKL_", key)}
    return plain | policy


def start(words: list[object], policy: Environment, **pipes: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dereflect", *map(str, words)]
    return subprocess.Popen(command, env=environment(policy), text=True, **pipes)  # type: ignore[call-overload]


def finish(process: subprocess.Popen[str]) -> None:
    if process.wait(600):
        raise SystemExit(f"{shlex.join(map(str, process.args))} failed")  # type: ignore[arg-type]


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Other programs that want a core each."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def separate(photos: Path, folder: Path, policy: Environment) -> subprocess.Popen[str]:
    return start(["separate", photos, "-o", folder, "-q", "--device", "cpu"], policy)


def beside(programs: int) -> Callable[[Path, Path, Environment], float]:
    """Seconds of one run beside so many busy programs."""

    def seconds(photos: Path, folder: Path, policy: Environment) -> float:
        with busy(programs):
            started = time.perf_counter()
            finish(separate(photos, folder, policy))
            return time.perf_counter() - started

    return seconds


def twice(photos: Path, folder: Path, policy: Environment) -> float:
    """Seconds until two runs that begin together have both ended."""
    started = time.perf_counter()
    for process in [separate(photos, folder / str(index), policy) for index in range(2)]:
        finish(process)
    return time.perf_counter() - started


def serve_and_batch(photos: Path, folder: Path, policy: Environment) -> float:
    """Seconds until a batch has ended and a client of the service has had as many photos, one by one."""
    server = start(["serve", "--port", 0, "--device", "cpu"], policy, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        found = re.search(r"http://\S+?(?=,)", server.stdout.readline())
        assert found is not None, "the server did not start"
        contents = [path.read_bytes() for path in sorted(photos.iterdir())]
        post(found[0], contents[:1])
        started = time.perf_counter()
        words = ["batch", photos, folder, "--address", "none", "-q", "--device", "cpu"]
        process = start(words, policy)
        client = threading.Thread(target=post, args=(found[0], contents))
        client.start()
        finish(process)
        client.join()
        return time.perf_counter() - started
    finally:
        server.terminate()
        server.wait(60)


def post(address: str, contents: list[bytes]) -> None:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=300)
    for content in contents:
        head = b'--load\r\nContent-Disposition: form-data; name="image"; filename="cafe.jpg"\r\n\r\n'
        kind = {"Content-Type": "multipart/form-data; boundary=load"}
        connection.request("POST", "/v1/separate", head + content + b"\r\n--load--\r\n", kind)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status


ROWS: dict[str, tuple[str, Callable[[Path, Path, Environment], float]]] = {
    "idle": ("idle", beside(0)),
    "one-busy": ("one busy program", beside(1)),
    "two-busy": ("two busy programs", beside(2)),
    "twice": ("two `separate` at once", twice),
    "service": ("`serve` beside `batch`", serve_and_batch),
}


def measure(row: str, photos: Path, policies: dict[str, Environment], repeats: int) -> dict[str, float]:
    """Median seconds of each policy."""
    times: dict[str, list[float]] = {name: [] for name in policies}
    for number in range(repeats):
        for name, policy in policies.items():
            if name == "spinning" and number:
                continue  # which takes longest, and is there for comparison
            with tempfile.TemporaryDirectory() as folder:
                times[name].append(ROWS[row][1](photos, Path(folder), policy))
    for name, taken in times.items():
        print(f"    {name}: {' '.join(f'{each:.2f}' for each in taken)}", file=sys.stderr, flush=True)
    return {name: statistics.median(taken) for name, taken in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS)
    )
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--size", type=int, default=400, help="longer side of the photos in pixels")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--try", dest="tried", nargs="+", default=[], metavar="NAME=VARIABLE=VALUE,...")
    add_option(parser, "contention")
    options = parser.parse_args()
    policies = dict(POLICIES)
    for text in options.tried:
        name, _, settings = text.partition("=")
        policies[name] = dict(setting.split("=", 1) for setting in settings.split(","))
    kept = {row["name"]: row for row in read().get(options.record, {}).get("values", {}).get("rows", [])}
    with tempfile.TemporaryDirectory() as folder:
        picture = Image.open(CAFE)
        picture.thumbnail((options.size, options.size))
        for index in range(options.photos):
            picture.save(Path(folder) / f"{index:03d}.jpg", quality=92)
        for row in options.rows:
            kept[row] = compared(row, measure(row, Path(folder), policies, options.repeats))
            print(kept[row], flush=True)
    for row in kept.values():
        row["to_idle"] = round(row["default"] / kept["idle"]["default"], 2) if "idle" in kept else None
    values = {"photos": options.photos, "size": options.size, "repeats": options.repeats}
    record(options, values | {"rows": [kept[row] for row in ROWS if row in kept]})


def compared(row: str, seconds: dict[str, float]) -> dict[str, object]:
    """A row of the table."""
    best = min(seconds["one thread"], seconds["passive"])
    told = {name.replace(" ", "_"): round(value, 1) for name, value in seconds.items()}
    return {"name": row, "row": ROWS[row][0], **told, "to_best": round(seconds["default"] / best, 2)}


if __name__ == "__main__":
    run_script(main)
