"""What stands before every route: who may come in, how much they may send, and for how long."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dereflect.escapes import one_line
from dereflect.web.metrics import Metrics
from dereflect.web.settings import Access, Limits, is_loopback, is_prefix

log = logging.getLogger("dereflect.web")

SECURITY_HEADERS = {
    # The page may talk to its own server and to nobody else; the browser itself sees to it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """ASGI middleware.

    - On loopback, other names in ``Host`` are refused: a foreign site whose name points here is not let in.
    - Likewise requests that a foreign site's page makes (``Origin``).
    - With a token, everything but the page itself and ``/healthz`` needs it. No foreign page knows it, and
      a proxy may give the service other names, so the two checks above are left out.
    - Bodies are bounded in bytes, in time and in number, while they arrive and whatever they claim.
    - ``HEAD`` is answered as ``GET`` without a body, and requests below the path prefix of a proxy as those
      without, whether the proxy takes it away or not.
    - An exception that nothing foresaw is one request's 500.
    """

    def __init__(self, app: ASGIApp, access: Access, limits: Limits, metrics: Metrics) -> None:
        self.app, self.access, self.limits, self.metrics = app, access, limits, metrics
        self._receiving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        status, started, without_body = 500, False, scope["method"] == "HEAD"
        scope = below_prefix(scope, self.access.prefix)

        async def send_guarded(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.body" and without_body:
                message = {**message, "body": b""}
            if message["type"] == "http.response.start":
                started = True
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            refusal = self._refusal(scope) or _to_page(scope)
            if refusal is not None:
                await refusal(scope, receive, send_guarded)
            elif _has_body(scope):
                await self._with_body(scope, receive, send_guarded)
            else:
                await self.app(scope, receive, send_guarded)
        except Exception:
            # Whatever it is, it is this request's alone.
            log.exception("a request of %s failed", one_line(scope["path"]))
            if started:
                raise
            await problem(500, "a fault of the service; its log says more")(scope, receive, send_guarded)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = "HEAD" if without_body else scope["method"]
            method = method if method in ("GET", "HEAD", "POST", "DELETE") else "other"
            self.metrics.count_request(method, route, status)

    async def _with_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._receiving >= self.limits.uploads:
            busy = problem(503, "too many uploads at this moment; come again", {"Retry-After": "5"})
            await busy(scope, receive, send)
            return
        body = _Body(receive, self.limits)
        self._receiving += 1
        body.on_end = self._end_receiving
        try:
            await self.app(scope, body.receive, send)
        finally:
            body.end()
            self.metrics.count_received(body.received)

    def _end_receiving(self) -> None:
        self._receiving -= 1

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.access.token is None and not is_loopback(_name(host)):
            return problem(421, "this service answers only to localhost")
        origin = headers.get("origin") if self.access.token is None else None
        if origin and origin != "null" and urlsplit(origin).netloc.lower() != host.lower():
            return problem(403, "requests from other sites are refused")
        if origin == "null" and scope["method"] != "GET":
            return problem(403, "requests from other sites are refused")
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        if self.access.token is not None and (path.startswith("/v1/") or path == "/metrics"):
            given = headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self.access.token}".encode()):
                return problem(
                    401, "give the token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"}
                )
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self.limits.upload_bytes:
            return too_large(self.limits)
        return None


class _Body:
    """Receives a request's body within bounds."""

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive, self._limits = receive, limits
        self._deadline = time.monotonic() + limits.upload_seconds
        self._complete = False
        self.received = 0
        self.on_end: Callable[[], None] = _nothing

    def end(self) -> None:
        """The body is over, or nobody wants the rest."""
        if not self._complete:
            self._complete = True
            self.on_end()

    async def receive(self) -> Message:
        """As ASGI's own, but raises 408 or 413 where a bound is met."""
        if self._complete:
            return await self._receive()
        left = min(self._limits.stall_seconds, self._deadline - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, left))
        except TimeoutError as error:
            raise HTTPException(408, "the upload is too slow", {"Connection": "close"}) from error
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
            if self.received > self._limits.upload_bytes:
                raise HTTPException(413, _too_large_text(self._limits), {"Connection": "close"})
            if message.get("more_body", False):
                return message
        self.end()
        return message


def below_prefix(scope: Scope, prefix: str) -> Scope:
    """A request as the application sees it: the prefix apart, ``HEAD`` as ``GET``.

    Args:
        scope: as it came.
        prefix: of the service's addresses; if empty, what the proxy says in ``X-Forwarded-Prefix``.
    """
    scope = {**scope, "method": "GET" if scope["method"] == "HEAD" else scope["method"]}
    if not prefix:
        told = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
        prefix = scope.get("root_path", "") or (told if is_prefix(told) else "")
    path: str = scope["path"]
    rest = path[len(prefix) :] if path == prefix or path.startswith(f"{prefix}/") else path
    if prefix and (not rest or rest.startswith("/")):
        scope |= {"root_path": prefix, "path": prefix + rest}
    return scope


def _to_page(scope: Scope) -> Response | None:
    """The page's addresses are relative, so it must be asked for with the slash at its end."""
    prefix = scope.get("root_path", "")
    return RedirectResponse(f"{prefix}/", 308) if prefix and scope["path"] == prefix else None


def _nothing() -> None:
    pass


def problem(
    status: int, text: str, headers: dict[str, str] | None = None, field: str | None = None
) -> JSONResponse:
    """An answer that says in one line what is wrong and what to do, and which form field is at fault."""
    return JSONResponse({"error": text, "field": field}, status, headers)


def too_large(limits: Limits) -> JSONResponse:
    """The answer to a body over the limit."""
    return problem(413, _too_large_text(limits), {"Connection": "close"})


def _too_large_text(limits: Limits) -> str:
    return f"the upload is over the limit of {limits.upload_bytes / 1e6:.0f} MB"


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _name(host: str) -> str:
    """The name in a Host header, its port apart."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
