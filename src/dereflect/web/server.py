"""Uvicorn with a deadline for headers, so that a slow sender cannot hold a connection for ever."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from dereflect.errors import InputError, first_line
from dereflect.web.settings import Limits


def make_server(app: FastAPI, host: str, port: int, limits: Limits) -> uvicorn.Server:
    """A server for the application; ``run()`` it, or ``run(sockets=[...])``."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=_protocol(limits.stall_seconds),
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=10,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> tuple[socket.socket, str]:
    """Take an address; returns the bound socket and its URL.

    Raises:
        InputError: the address is not this machine's, or the port is in use.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        taken = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: no host is called so
        raise InputError(
            host, f"not an address of this machine ({first_line(error)})", option="host"
        ) from error
    if sys.platform != "win32":  # there, this option would let two servers share the port
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(address)
        taken.listen(128)
    except OSError as error:
        taken.close()
        raise InputError(
            port,
            f"cannot be used at {host} ({first_line(error)}); choose another",
            option="port",
        ) from error
    shown = f"[{host.strip('[]')}]" if family == socket.AF_INET6 else host
    return taken, f"http://{shown}:{taken.getsockname()[1]}"


def _protocol(header_seconds: float) -> type[asyncio.Protocol]:
    class PatientProtocol(H11Protocol):
        """Closes a connection whose request line and headers are not complete in time."""

        _header_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_watching()
            super().connection_lost(exc)

        def _watch(self) -> None:
            if self.conn.their_state is not h11.IDLE:
                self._stop_watching()
            elif self._header_timer is None:
                self._header_timer = self.loop.call_later(header_seconds, self.transport.close)

        def _stop_watching(self) -> None:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

    return PatientProtocol
