"""Whatever comes in, the answer is clear and the service goes on."""

import concurrent.futures
import io
import socket
import struct
import time
import zlib
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from PIL import Image

from dereflect.errors import InputError
from dereflect.web.jobs import QueuedJob
from dereflect.web.settings import Access, Limits

httpx = pytest.importorskip("httpx", reason="the web tests need httpx")
pytest.importorskip("fastapi", reason="the web tests need the extra 'web'")


def bomb(width: int, height: int) -> bytes:
    """A PNG of some bytes that says it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def animated() -> bytes:
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 255)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def connect(server) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=120)


def status_of(received: bytes) -> int:
    return int(received.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (bomb(60_000, 60_000), 413, "3600 megapixels, over the limit of 50"),
        (b"#!/bin/sh\nrm -rf /\n", 415, "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415, "not a picture"),
        (b"", 415, "empty"),
        (animated(), 422, "animated"),
        (bomb(300, 200)[:300], 422, "damaged"),
    ],
    ids=["bomb", "script", "svg", "postscript", "empty", "animated", "cut"],
)
def test_bad_pictures_are_refused_in_one_line(server, content, status, words):
    answer = server.separate(content, "photo.jpg")
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert answer.json()["field"] == "image"
    assert server.client.get("/healthz").json()["running"] == 0


def test_a_pixel_bomb_in_the_mask_is_refused(server, picture):
    files = {"image": picture(), "mask": bomb(60_000, 60_000)}
    answer = server.client.post("/v1/separate", files=files)
    assert answer.status_code == 413
    assert answer.json()["error"].startswith("mask:")
    assert answer.json()["field"] == "mask"


def test_strokes_that_cannot_be_used_are_refused(server, picture):
    for strokes, status, words in (
        (picture(), 422, "strokes: has no transparency"),
        (bomb(60_000, 60_000), 413, "strokes: "),
        (b"no picture", 415, "strokes: "),
    ):
        answer = server.client.post("/v1/separate", files={"image": picture(), "strokes": strokes})
        assert answer.status_code == status
        assert answer.json()["error"].startswith(words)


def test_a_mask_of_other_proportions_is_refused(server, picture):
    answer = server.client.post("/v1/separate", files={"image": picture(), "mask": picture(40, 20)})
    assert answer.status_code == 422
    assert "proportions" in answer.json()["error"]
    assert answer.json()["field"] == "mask"


@pytest.mark.parametrize(
    "fields",
    [
        {"strength": "nan"},
        {"strength": "1.5"},
        {"strength": "much"},
        {"layers": "all"},
        {"format": "exe"},
        {"model": "/etc/passwd"},
        {"model": "../share"},
        {"model": "owner/name"},
        {"quality": "9"},
    ],
    ids=str,
)
def test_bad_values_are_refused_by_name(server, picture, fields):
    answer = server.separate(picture(), **fields)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(next(iter(fields)))
    assert answer.json()["field"] == next(iter(fields))


@pytest.mark.parametrize(
    ("sent", "given"),
    [
        ("../../etc/passwd.png", "passwd_transmission.png"),
        ("C:\\Users\\me\\a.png", "a_transmission.png"),
        ("a\r\nSet-Cookie: x=1.png", "a_Set-Cookie_ x=1_transmission.png"),
        (".hidden.png", "hidden_transmission.png"),
        ("...", "picture_transmission.png"),
        ("x" * 400 + ".png", "x" * 100 + "_transmission.png"),
        ('a";b.png', "a_b_transmission.png"),
    ],
    ids=["up", "windows", "header", "hidden", "dots", "long", "quote"],
)
def test_file_names_are_made_harmless(sent, given):
    from dereflect.web.uploads import Upload, content_disposition, safe_name

    stem, suffix = safe_name(sent)
    name = Upload(b"", stem, suffix, "PNG").name_of("transmission", "png")
    assert name == given
    assert content_disposition(name).startswith(f'attachment; filename="{given}"')


def test_too_many_bytes_are_refused_announced_or_not(start, picture):
    with start(Limits(upload_bytes=20_000)) as server:
        large = picture(200, 200)
        assert len(large) > 20_000
        announced = server.separate(large)
        assert announced.status_code == 413
        assert "over the limit of 0 MB" in announced.json()["error"]

        def pieces():
            yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
            for _ in range(100):
                yield bytes(1000)

        streamed = server.client.post(
            "/v1/separate", content=pieces(), headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
        assert streamed.status_code == 413
        assert server.separate(picture()).status_code == 200


def test_a_full_line_sends_callers_away_and_then_empties(start, picture):
    with start(Limits(queue=2)) as server, concurrent.futures.ThreadPoolExecutor(3) as callers:
        server.method.gate.clear()
        first = callers.submit(server.separate, picture())
        assert server.method.entered.acquire(timeout=300)
        waiting = [callers.submit(server.separate, picture(seed=seed)) for seed in (2, 3)]
        server.wait_until(lambda: server.service.queue.counts() == (2, 1))
        refused = server.separate(picture())
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert "in line" in refused.json()["error"]
        server.method.gate.set()
        assert [call.result().status_code for call in (first, *waiting)] == [200, 200, 200]


def test_waiting_photos_are_bounded_in_bytes(start, picture):
    small = picture()
    with start(Limits(waiting_bytes=2 * len(small) - 1)) as server:
        server.method.gate.clear()
        opened = [server.client.post("/v1/jobs", files={"image": small}) for _ in range(1)]
        assert server.method.entered.acquire(timeout=300)
        opened += [server.client.post("/v1/jobs", files={"image": small}) for _ in range(2)]
        assert [answer.status_code for answer in opened] == [202, 202, 503]
        positions = [server.client.get(f"/v1/jobs/{one.json()['id']}").json() for one in opened[:2]]
        assert [(one["state"], one["position"]) for one in positions] == [("running", 0), ("queued", 0)]


def test_work_over_its_time_is_answered_and_stopped(start, picture):
    with start(Limits(seconds=0.3)) as server:
        server.method.gate.clear()
        answer = server.separate(picture())
        assert answer.status_code == 504
        assert "not finished in time" in answer.json()["error"]
        server.method.gate.set()
        server.wait_until(lambda: server.separate(picture()).status_code == 200)


def test_a_worker_that_hangs_makes_the_service_unhealthy(start, picture):
    with start(Limits(seconds=0.1)) as server:
        server.method.gate.clear()

        def hangs() -> bool:
            assert server.separate(picture()).status_code == 504
            # Where the machine is slow, its time may be over before it begins.
            return server.method.entered.acquire(blocking=False)

        server.wait_until(hangs)
        server.wait_until(lambda: server.client.get("/healthz").status_code == 503)
        assert server.client.get("/healthz").json()["status"] == "stuck"
        server.method.gate.set()
        server.wait_until(lambda: server.client.get("/healthz").status_code == 200)


def test_a_fault_in_a_method_is_a_500_without_its_insides(start, picture, caplog):
    with start() as server:

        def fail(*args, **kwargs):
            raise RuntimeError("secret /home/me")

        server.method.forward = fail
        answer = server.separate(picture())
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert "secret" in caplog.text  # it is in the log
        del server.method.forward
        assert server.separate(picture()).status_code == 200


def test_a_caller_who_goes_away_leaves_the_line(start, picture):
    with start() as server:
        server.method.gate.clear()
        busy = server.client.post("/v1/jobs", files={"image": picture()}).json()["id"]
        assert server.method.entered.acquire(timeout=300)
        body = (
            b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
            + picture()
            + b"\r\n--x--\r\n"
        )
        head = (
            "POST /v1/separate HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with connect(server) as caller:
            caller.sendall(head.encode() + body)
            server.wait_until(lambda: server.service.queue.counts() == (1, 1))
        server.wait_until(lambda: server.service.queue.counts() == (0, 1))
        with connect(server) as caller:  # and one who goes away in the middle of the upload
            caller.sendall(head.encode() + body[: len(body) // 2])
        server.method.gate.set()
        server.wait_until(lambda: server.client.get(f"/v1/jobs/{busy}").json()["state"] == "done")
        assert server.method.runs == 1


def test_slow_senders_are_cut_off(start, picture):
    with start(Limits(stall_seconds=0.4)) as server:
        with connect(server) as dribbler:  # headers that never end
            dribbler.sendall(b"GET / HTTP/1.1\r\nHost: local")
            assert dribbler.recv(100) == b""
        with connect(server) as silent:
            assert silent.recv(100) == b""
        with connect(server) as slow:  # a body that never comes
            slow.sendall(
                b"POST /v1/separate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
            )
            assert status_of(slow.recv(1000)) == 408
        server.wait_until(lambda: server.separate(picture()).status_code == 200)


def test_uploads_at_one_time_are_bounded(start, picture):
    with start(Limits(uploads=1)) as server:
        head = (
            b"POST /v1/separate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        )
        with connect(server) as first:
            first.sendall(head)
            server.wait_until(lambda: server.separate(picture()).status_code == 503)
        server.wait_until(lambda: server.separate(picture()).status_code == 200)


def test_what_is_kept_for_the_page_is_bounded(start, picture):
    with start(Limits(kept=2)) as server:
        paths = []
        for seed in range(4):
            opened = server.client.post("/v1/jobs", files={"image": picture(seed=seed)})
            paths.append(f"/v1/jobs/{opened.json()['id']}")
            server.wait_until(lambda: server.client.get(paths[-1]).json()["state"] == "done")
        assert [server.client.get(path).status_code for path in paths] == [404, 404, 200, 200]
    with start(Limits(kept_bytes=1)) as server:
        opened = server.client.post("/v1/jobs", files={"image": picture()})
        path = f"/v1/jobs/{opened.json()['id']}"
        server.wait_until(lambda: server.client.get(path).json()["state"] == "done")  # the newest stays
    with start(Limits(kept_seconds=1.0)) as server:
        opened = server.client.post("/v1/jobs", files={"image": picture()})
        assert opened.status_code == 202
        server.wait_until(lambda: server.service.gauges()["jobs_kept"][1] == 1)
        time.sleep(1.2)  # asking meanwhile would keep it
        assert server.client.get(f"/v1/jobs/{opened.json()['id']}").status_code == 404


@pytest.mark.parametrize(("most", "kept"), [(59, "c"), (119, "c"), (120, "bc"), (180, "abc")])
def test_the_oldest_go_where_what_is_kept_takes_too_much_memory(most, kept):
    from dereflect.web.service import Service, StoredJob

    service = Service({"share": None}, Limits(kept_bytes=most))
    for name in "abc":
        job = QueuedJob(lambda progress: None, 0, 60.0)
        job.future.set_result(SimpleNamespace(memory=60))
        service._stored[name] = StoredJob(job, "", "", "PNG")
    service.sweep()
    assert list(service._stored) == list(kept)
    service.close()


def test_other_sites_and_other_host_names_are_refused(server, picture):
    files = {"image": picture()}
    for origin in ("https://evil.example", "http://127.0.0.1:1", "null"):
        refused = server.client.post("/v1/separate", files=files, headers={"Origin": origin})
        assert refused.status_code == 403
    assert server.client.get("/v1/models", headers={"Host": "evil.example"}).status_code == 421
    own = server.client.post("/v1/separate", files=files, headers={"Origin": server.url})
    assert own.status_code == 200


def test_with_a_token_everything_but_the_page_needs_it(start, picture):
    with start(access=Access("0.0.0.0", "correct horse".replace(" ", "-"))) as server:
        assert server.client.get("/").status_code == 200
        assert server.client.get("/healthz").status_code == 200
        for path in ("/v1/models", "/metrics", "/v1/jobs/x"):
            assert server.client.get(path).status_code == 401
        assert server.separate(picture()).status_code == 401
        wrong = server.client.get("/v1/models", headers={"Authorization": "Bearer correct-horsf"})
        assert wrong.status_code == 401
        right = {"Authorization": "Bearer correct-horse"}
        answer = server.client.post("/v1/separate", files={"image": picture()}, headers=right)
        assert answer.status_code == 200
        assert server.client.get("/metrics", headers=right).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_an_address_that_others_reach_needs_a_token(host):
    with pytest.raises(InputError, match="so a token is needed; give token") as fault:
        Access(host)
    assert (fault.value.option, fault.value.subject) == ("host", host)
    assert Access(host, "a-long-token").token == "a-long-token"
    assert "a-long-token" not in repr(Access(host, "a-long-token"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_loopback_needs_none(host):
    assert Access(host).token is None


@pytest.mark.parametrize("token", ["short", "with space in it", "umläute-sind-schön"])
def test_weak_tokens_are_refused(token):
    with pytest.raises(InputError, match=r"^token: give at least 8") as fault:
        Access(token=token)
    assert token not in str(fault.value)


def test_odd_requests_do_no_harm(server):
    with connect(server) as caller:
        caller.sendall(b"\x16\x03\x01\x02\x00 not HTTP\r\n\r\n")
        assert status_of(caller.recv(1000)) == 400
    assert server.client.get("/page/../app.py").status_code == 404
    with connect(server) as caller:
        caller.sendall(b"GET /page/../app.py HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status_of(caller.recv(1000)) == 404
    with connect(server) as caller:
        caller.sendall(b"GET /page/%2e%2e/app.py HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status_of(caller.recv(1000)) == 404
    answer = httpx.post(f"{server.url}/v1/separate", content=b"{}", trust_env=False)
    assert answer.status_code == 422
