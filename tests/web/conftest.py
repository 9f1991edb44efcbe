"""A real server on a free port of the loopback interface, with a method that a test can see through."""

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from dereflect.methods.contract import Method, Traits
from dereflect.separator import Separator
from dereflect.web.settings import Access, Limits

try:
    import httpx

    from dereflect.web.app import create_app
    from dereflect.web.server import listen, make_server
except ModuleNotFoundError as error:  # a skip raised here would stop every other test, too
    missing = error.name
else:
    missing = None

SHARE = 0.7771


class Share(Method):
    """Gives a fixed share of the photo to the transmission; waits for `gate` first, in two steps."""

    family = "share"

    def __init__(self) -> None:
        super().__init__()
        self.traits = Traits()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.runs = 0

    def forward(self, blended: Tensor, *, generator=None, progress=None) -> tuple[Tensor, Tensor]:
        self.runs += 1
        self.entered.release()
        if progress is not None:
            progress(1, 2)
        assert self.gate.wait(300)
        if progress is not None:
            progress(2, 2)
        return SHARE * blended, (1 - SHARE) * blended


@dataclass
class Running:
    """A server at work."""

    url: str
    method: Share
    separator: Separator
    service: object
    client: "httpx.Client"

    def separate(self, content: bytes, name: str = "window.png", **fields: str) -> "httpx.Response":
        return self.client.post("/v1/separate", files={"image": (name, content)}, data=fields)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        for _ in range(6000):
            if condition():
                return
            time.sleep(0.02)
        raise AssertionError("it did not come to pass")


@contextlib.contextmanager
def running(
    limits: Limits | None = None,
    access: Access | None = None,
    separator: Separator | None = None,
    more: dict[str, Separator] | None = None,
) -> Iterator[Running]:
    if missing is not None:
        pytest.skip(f"the web tests need {missing}: pip install 'dereflect[test]'")
    limits, access = limits or Limits(), access or Access()
    method = Share()
    separator = separator or Separator(method, name="share", device="cpu", dtype="float32")
    app = create_app({separator.name: separator} | (more or {}), access, limits)
    socket, url = listen("127.0.0.1", 0)
    server = make_server(app, "127.0.0.1", 0, limits)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    with httpx.Client(base_url=url, timeout=300, trust_env=False) as client:
        found = Running(url, method, separator, app.state.service, client)
        found.wait_until(lambda: server.started)
        try:
            yield found
        finally:
            method.gate.set()
            server.should_exit = True
            thread.join(120)
            socket.close()
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as found:
        yield found


@pytest.fixture(scope="session")
def start():
    return running


def picture_bytes(width: int = 40, height: int = 30, format: str = "PNG", seed: int = 1, **options) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def picture():
    return picture_bytes
