"""Call the service from a program that needs nothing of dereflect: only Python's standard library.

    dereflect serve &
    python examples/call_service.py examples/cafe.jpg -o out/

Sends a photo to POST /v1/separate, unpacks both layers, and prints the facts that come with them. When the
service says that its queue is full, it waits and tries again.
"""

import argparse
import io
import json
import os
import time
import urllib.error
import urllib.request
import uuid
import zipfile
from pathlib import Path

ATTEMPTS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description="Separate a photo on a running dereflect service.")
    parser.add_argument("photo", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path())
    parser.add_argument("--address", default="http://127.0.0.1:7860")
    parser.add_argument("--strength", type=float, default=1.0)
    options = parser.parse_args()

    body, kind = form({"layers": "both", "format": "keep", "strength": str(options.strength)}, options.photo)
    headers = {"Content-Type": kind}
    if token := os.environ.get("DEREFLECT_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    answer = post(urllib.request.Request(f"{options.address}/v1/separate", body, headers))

    with zipfile.ZipFile(io.BytesIO(answer)) as archive:
        facts = json.loads(archive.read("result.json"))
        options.output.mkdir(parents=True, exist_ok=True)
        for name in archive.namelist():
            if name != "result.json":
                (options.output / Path(name).name).write_bytes(archive.read(name))
                print(options.output / Path(name).name)
    print(f"{facts['width']} x {facts['height']}, {facts['model']}, {facts['seconds']:.1f} s")


def form(fields: dict[str, str], photo: Path) -> tuple[bytes, str]:
    """A multipart form: its bytes and its content type."""
    line = uuid.uuid4().hex
    body = io.BytesIO()
    for name, value in fields.items():
        body.write(f'--{line}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    name = photo.name.replace('"', "%22")
    head = f'--{line}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
    body.write(head.encode() + photo.read_bytes() + f"\r\n--{line}--\r\n".encode())
    return body.getvalue(), f"multipart/form-data; boundary={line}"


def post(request: urllib.request.Request) -> bytes:
    """Send a request; where the service is busy (503), wait as long as it says and send it again."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            if error.code == 503 and attempt < ATTEMPTS:
                time.sleep(float(error.headers.get("Retry-After", 10)))
                continue
            raise SystemExit(f"{error.code}: {json.loads(error.read())['error']}") from None
        except urllib.error.URLError as error:
            raise SystemExit(f"{request.full_url}: {error.reason}; is the service running?") from None
    raise AssertionError("unreachable")


if __name__ == "__main__":
    main()
