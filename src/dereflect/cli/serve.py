"""`dereflect serve`: the web page and the HTTP service."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from dereflect.cli.groups import Omit, grouped
from dereflect.cli.options import ModelOptions, QuietOption, max_pixels_option, models_option
from dereflect.errors import InputError, MissingExtra, Remedy
from dereflect.web.settings import MEGABYTE, Access, Limits

if TYPE_CHECKING:
    from dereflect.separator import Separator

LIMITS = "Limits"
RootPathOption = Annotated[
    str,
    typer.Option(
        "--root-path",
        metavar="PATH",
        help="Path below which a proxy offers the service, e.g. /glass; not needed where the proxy says it "
        "in X-Forwarded-Prefix.",
    ),
]


@dataclass(frozen=True)
class LimitOptions:
    """What the service does at most."""

    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            metavar="NUMBER",
            min=1,
            help="Photos that are separated at one time.",
            rich_help_panel=LIMITS,
        ),
    ] = Limits.jobs
    queue: Annotated[
        int,
        typer.Option(
            "--queue", metavar="NUMBER", min=0, help="Photos that may wait in line.", rich_help_panel=LIMITS
        ),
    ] = Limits.queue
    time_limit: Annotated[
        float,
        typer.Option(
            "--time-limit",
            metavar="SECONDS",
            min=1,
            help="From a photo's arrival to its answer.",
            rich_help_panel=LIMITS,
        ),
    ] = Limits.seconds
    max_upload: Annotated[
        int,
        typer.Option(
            "--max-upload", metavar="MB", min=1, help="Largest upload, in megabytes.", rich_help_panel=LIMITS
        ),
    ] = Limits.upload_bytes // MEGABYTE
    max_pixels: Annotated[int, max_pixels_option(LIMITS)] = Limits.pixels

    def limits(self) -> Limits:
        """As the service takes them."""
        return Limits(
            upload_bytes=self.max_upload * MEGABYTE,
            waiting_bytes=max(Limits.waiting_bytes, self.max_upload * MEGABYTE),
            pixels=self.max_pixels,
            jobs=self.jobs,
            queue=self.queue,
            seconds=self.time_limit,
        )


@grouped
def serve(
    *,
    models: Annotated[
        list[str] | None,
        models_option("'default'", "; the service takes the first where a caller names none"),
    ] = None,
    running: Annotated[ModelOptions, Omit(["model", "quality"])],
    limits: LimitOptions,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; other than loopback needs a token.")
    ] = Access.host,
    port: Annotated[
        int,
        typer.Option(
            "--port", metavar="NUMBER", min=0, max=65535, help="Port to listen on; 0 takes a free one."
        ),
    ] = 7860,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="DEREFLECT_TOKEN",
            help="A secret that callers must give. Better set the variable: other users of this machine can "
            "see options in the process list.",
            show_default=False,
        ),
    ] = None,
    root_path: RootPathOption = "",
    quiet: QuietOption = False,
) -> None:
    """Open a web page and an HTTP service that separate photos on this machine.

    The page is at the printed address; POST /v1/separate is the service, /docs describes it. Ctrl-C stops.
    """
    access = _access(host, token, root_path.rstrip("/"))
    try:
        import python_multipart  # noqa: F401 - FastAPI needs it for uploads
        import uvicorn  # noqa: F401

        from dereflect.web.app import create_app
        from dereflect.web.server import listen, make_server
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "fastapi", "web", "the web page") from error

    socket, address = listen(host, port)
    separators = _load(models or [running.model], running, limits.max_pixels)
    bounds = limits.limits()
    server = make_server(create_app(separators, access, bounds), host, port, bounds)
    if not quiet:
        offered = ", ".join(f"{name} ({separator.running})" for name, separator in separators.items())
        needs = "with the token" if access.token else "for this machine only"
        typer.echo(f"dereflect: {offered}")
        typer.echo(
            f"dereflect: the page is at {address}, {needs}; the service is described at {address}/docs"
        )
    server.run(sockets=[socket])


def _access(host: str, token: str | None, root_path: str) -> Access:
    try:
        return Access(host, token or None, root_path)
    except InputError as error:
        if error.option != "host":
            raise
        remedy = Remedy("give {}, or set DEREFLECT_TOKEN", "token")
        raise InputError(host, error.reason, option="host", remedy=remedy) from error


def _load(models: list[str], running: ModelOptions, max_pixels: int) -> dict[str, Separator]:
    """The models by name, in their order; masks may be as large as photos."""
    separators: dict[str, Separator] = {}
    for source in models:
        separator = replace(running, model=source).load(max_pixels=max_pixels)
        if separator.name in separators:
            reason = f"another model is called '{separator.name}'; rename one"
            raise InputError(source, reason, option="model")
        separators[separator.name] = separator
    return separators
