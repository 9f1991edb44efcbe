"""`dereflect serve`: the web page and the HTTP service."""

from __future__ import annotations

from typing import Annotated

import typer

from dereflect.cli.options import (
    MODEL_PANEL,
    Device,
    DeviceOption,
    DType,
    DTypeOption,
    MaxSizeOption,
    QuietOption,
)
from dereflect.errors import InputError, MissingExtra, Remedy

_LIMITS = "Limits"


def serve(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; other than loopback needs a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 7860,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="DEREFLECT_TOKEN",
            help="A secret that callers must give; other users of this machine can see it in the process "
            "list, so rather set the variable.",
            show_default=False,
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|FOLDER|FILE",
            help="What to offer; may be given several times, the first is the default.",
            show_default="default",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    device: DeviceOption = Device.auto,
    dtype: DTypeOption = DType.auto,
    max_size: MaxSizeOption = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Photos at work at one time.", rich_help_panel=_LIMITS)
    ] = 1,
    queue: Annotated[
        int, typer.Option("--queue", min=0, help="Photos that may wait in line.", rich_help_panel=_LIMITS)
    ] = 16,
    time_limit: Annotated[
        float,
        typer.Option(
            "--time-limit",
            metavar="SECONDS",
            min=1,
            help="From a photo's arrival to its answer.",
            rich_help_panel=_LIMITS,
        ),
    ] = 300.0,
    max_upload: Annotated[
        int,
        typer.Option(
            "--max-upload", metavar="MB", min=1, help="Largest upload, in megabytes.", rich_help_panel=_LIMITS
        ),
    ] = 64,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, help="Largest photo.", rich_help_panel=_LIMITS)
    ] = 50_000_000,
    quiet: QuietOption = False,
) -> None:
    """Open a web page and an HTTP service that separate photos on this machine.

    The page is at the printed address; POST /v1/separate is the service, /docs describes it. Ctrl-C stops.
    """
    from dereflect.web.settings import MEGABYTE, Access, Limits

    try:
        access = Access(host, token or None)
    except InputError as error:
        if error.option != "host":
            raise
        remedy = Remedy("give {}, or set DEREFLECT_TOKEN", "token")
        raise InputError(host, error.reason, option="host", remedy=remedy) from error
    try:
        import python_multipart  # noqa: F401 - FastAPI needs it for uploads
        import uvicorn  # noqa: F401

        from dereflect.web.app import create_app
        from dereflect.web.server import listen, make_server
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "fastapi", "web", "the web page") from error
    from dereflect.separator import Separator, load

    limits = Limits(
        upload_bytes=max_upload * MEGABYTE,
        waiting_bytes=max(Limits.waiting_bytes, max_upload * MEGABYTE),
        pixels=max_pixels,
        jobs=jobs,
        queue=queue,
        seconds=time_limit,
    )
    socket, address = listen(host, port)
    separators: dict[str, Separator] = {}
    for source in models or ["default"]:
        separator = load(source, device=device.value, dtype=dtype.value, max_size=max_size)
        if separator.name in separators:
            raise InputError(
                source, f"another model is called '{separator.name}'; rename one", option="model"
            )
        separators[separator.name] = separator
    server = make_server(create_app(separators, access, limits), host, port, limits)
    if not quiet:
        offered = ", ".join(f"{name} ({separator.running})" for name, separator in separators.items())
        needs = ", with the token" if access.token else ", for this machine only"
        typer.echo(f"dereflect: {offered}")
        typer.echo(f"dereflect: the page is at {address}{needs}; its service is described at {address}/docs")
    server.run(sockets=[socket])
