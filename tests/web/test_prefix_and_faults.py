"""HEAD, the service below a path of another site, and faults that cost one request."""

import re
import struct

import pytest

from dereflect import images
from dereflect.errors import InputError
from dereflect.web.settings import Access, is_prefix

PAGES = ["/", "/docs", "/favicon.ico", "/page/style.css", "/openapi.json", "/v1/models", "/healthz"]
SCRIPTS = [
    "page/main.js",
    "page/workbench.js",
    "page/service.js",
    "page/docs.js",
    "page/theme.js",
    "page/style.css",
]
FAULTS = [struct.error("bad"), RecursionError("deep"), MemoryError(), OverflowError("large")]


@pytest.mark.parametrize("path", PAGES)
def test_head_is_get_without_a_body(server, path):
    got, asked = server.client.get(path), server.client.head(path)
    assert (asked.status_code, asked.content) == (200, b"")
    for name in ("content-type", "content-length", "content-security-policy"):
        assert asked.headers[name] == got.headers[name]


def test_head_of_what_is_not_there_or_only_taken(server):
    assert server.client.head("/nothing").status_code == 404
    assert server.client.head("/v1/separate").status_code == 405
    assert server.client.get("/healthz").status_code == 200


def test_head_is_counted_as_such(server):
    line = re.compile(
        r'^dereflect_requests_total\{method="HEAD",route="/favicon.ico",status="200"\} (\d+)$', re.M
    )

    def counted() -> int:
        found = line.search(server.client.get("/metrics").text)
        return int(found[1]) if found else 0

    before = counted()
    server.client.head("/favicon.ico")
    # It is answered with its headers, and counted once the file has been read behind them.
    server.wait_until(lambda: counted() > before)


def test_no_address_of_the_page_is_absolute(server):
    for name in ("", "docs", *SCRIPTS):
        text = server.client.get(f"/{name}").text
        absolute = re.findall(r"""(?:href|src|action)="/|url\(["']?/|["'`]/(?:v1|page|docs|openapi)""", text)
        assert absolute == [], name


def check_below(server, path: str, headers: dict[str, str]) -> None:
    page = server.client.get(f"{path}/", headers=headers)
    assert page.status_code == 200
    for address in re.findall(r'(?:href|src)="([^"#]+)"', page.text):
        assert server.client.get(f"{path}/{address}", headers=headers).status_code == 200, address
    assert server.client.get(f"{path}/v1/models", headers=headers).status_code == 200
    assert server.client.head(f"{path}/page/style.css", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/glass", ""], ids=["kept", "taken_away"])
def test_below_a_prefix_that_the_proxy_tells(server, path):
    told = {"X-Forwarded-Prefix": "/glass"}
    check_below(server, path, told)
    description = server.client.get(f"{path}/openapi.json", headers=told).json()
    assert description["servers"] == [{"url": "/glass"}]
    assert "servers" not in server.client.get("/openapi.json").json()


@pytest.mark.parametrize("path", ["/a/glass", ""], ids=["kept", "taken_away"])
def test_below_a_prefix_that_the_service_was_started_with(start, picture, path):
    with start(access=Access(prefix="/a/glass")) as server:
        check_below(server, path, {})
        sent = server.client.post(f"{path}/v1/separate", files={"image": picture()})
        assert sent.status_code == 200


def test_the_prefix_alone_leads_to_the_page(server):
    answer = server.client.get("/glass", headers={"X-Forwarded-Prefix": "/glass"})
    assert (answer.status_code, answer.headers["location"]) == (308, "/glass/")


@pytest.mark.parametrize("told", ["//evil.example", "/a b", "http://x", "/..", "/a//b", "/\\evil", "glass"])
def test_a_prefix_that_is_no_path_is_not_believed(server, told):
    assert not is_prefix(told)
    answer = server.client.get("/openapi.json", headers={"X-Forwarded-Prefix": told})
    assert "servers" not in answer.json()


def test_a_wrong_root_path_is_refused():
    with pytest.raises(InputError, match="root_path glass: write it as /name"):
        Access(prefix="glass")


@pytest.mark.parametrize("again", [0, 1, 2])
@pytest.mark.parametrize("prefix", ["/v1", "/glass", "/page"])
def test_a_prefix_lets_nobody_past_the_token(start, prefix, again):
    with start(access=Access(token="a-long-secret")) as server:
        for end in ("/v1/models", "/metrics"):
            path = f"{again * prefix}{end}"
            answer = server.client.get(path, headers={"X-Forwarded-Prefix": prefix})
            assert answer.status_code in (401, 404), path
            assert server.client.head(path, headers={"X-Forwarded-Prefix": prefix}).status_code in (401, 404)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", ["probe", "read", "encode"])
def test_any_exception_is_one_request_s(server, picture, monkeypatch, caplog, fault, step):
    def fail(*arguments, **keywords):
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(images, step, fail)
        answer = server.separate(picture(), "holiday.png")
    assert answer.status_code == (422 if step == "probe" else 500)
    assert type(fault).__name__ in answer.json()["error"]
    assert type(fault).__name__ in caplog.text
    assert step == "probe" or "holiday.png" in caplog.text
    assert server.separate(picture()).status_code == 200


def test_a_fault_of_the_service_itself_is_json_too(server, monkeypatch, caplog):
    def fail(*arguments):
        raise RecursionError("secret")

    with monkeypatch.context() as patch:
        patch.setattr(server.service, "gauges", fail)
        answer = server.client.get("/metrics")
    assert answer.status_code == 500
    assert "its log says more" in answer.json()["error"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "secret" in caplog.text
    assert server.client.get("/metrics").status_code == 200
