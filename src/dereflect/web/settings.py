"""What a service may do at most, and where it listens."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from dereflect.errors import InputError, Remedy

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Limits:
    """Bounds of a service. Each is answered with a clear 4xx, 503 or 504 when it is met.

    Together they bound the memory: `waiting_bytes` of photos in line, `jobs` separations at work, and
    `kept_bytes` of finished ones that the page may still ask for.
    """

    upload_bytes: int = 64 * MEGABYTE
    """Of one request's body (413)."""
    pixels: int = 50_000_000
    """Of one picture, seen in its header before it is decoded (413)."""
    jobs: int = 1
    """Separations at work at one time; each uses all cores by itself."""
    queue: int = 16
    """Separations that wait in line (503)."""
    waiting_bytes: int = 256 * MEGABYTE
    """Of all photos that wait in line (503)."""
    seconds: float = 300.0
    """From a job's arrival to its answer (504)."""
    uploads: int = 16
    """Bodies that are being received at one time (503)."""
    upload_seconds: float = 300.0
    """For one request's body to arrive (408)."""
    stall_seconds: float = 20.0
    """Without one byte of headers or body (408)."""
    connections: int = 128
    """Open at one time (503)."""
    kept: int = 8
    """Finished separations that the page may still ask for."""
    kept_bytes: int = 512 * MEGABYTE
    """Memory of those."""
    kept_seconds: float = 900.0
    """How long one is kept after it was last asked for."""


@dataclass(frozen=True)
class Access:
    """Who may use a service.

    Attributes:
        host: the address to listen on.
        token: a secret that requests must bear; needed for every address but the loopback ones.
        prefix: path below which a proxy offers the service, e.g. ``/glass``.

    Raises:
        InputError: an address that other machines can reach, without a token; or a token that is too short
            or cannot stand in a header.
    """

    host: str = "127.0.0.1"
    token: str | None = field(default=None, repr=False)
    prefix: str = ""

    def __post_init__(self) -> None:
        if self.prefix and not is_prefix(self.prefix):
            reason = "write it as /name, without a slash at its end"
            raise InputError(self.prefix, reason, option="root_path")
        if self.token is not None and (len(self.token) < 8 or not self.token.isascii() or " " in self.token):
            raise InputError(None, "give at least 8 ASCII characters without spaces", option="token")
        if self.token is None and not is_loopback(self.host):
            raise InputError(
                self.host,
                "other machines can reach this address, so a token is needed",
                option="host",
                remedy=Remedy("give {}", "token"),
            )


def is_prefix(text: str) -> bool:
    """Whether this is a path that a service may stand below: ``/name`` or ``/name/name``."""
    return re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+", text) is not None


def is_loopback(host: str) -> bool:
    """Whether an address or host name is this machine's own, out of reach of others."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
