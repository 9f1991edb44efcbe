"""The ASGI application: page, service and guard put together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from dereflect._version import __version__
from dereflect.separator import Separator
from dereflect.web.guard import Guard, problem
from dereflect.web.messages import FIELDS, FieldFault
from dereflect.web.routes import router
from dereflect.web.service import Service
from dereflect.web.settings import Access, Limits

PAGE = Path(__file__).parent / "page"
SWEEP_SECONDS = 30.0
DESCRIPTION = (
    "Separates a photo shot through glass into the scene behind it and its reflection. "
    "Errors are JSON: `error` says in one line what is wrong; `field` names the form field at fault, if any."
)


def create_app(
    separators: Mapping[str, Separator], access: Access | None = None, limits: Limits | None = None
) -> FastAPI:
    """Build the application.

    Args:
        separators: what may be asked for, by name; the first is the default.
        access: who may use it; this machine only, if not given.
        limits: bounds of everything.
    """
    access, limits = access or Access(), limits or Limits()
    service = Service(separators, limits)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async def sweep() -> None:
            while True:
                await asyncio.sleep(SWEEP_SECONDS)
                service.sweep()

        sweeping = asyncio.create_task(sweep())
        yield
        sweeping.cancel()
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="dereflect",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere; ours is in page/
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    app.include_router(router)

    _add_pages(app)
    _add_problems(app)
    app.add_middleware(Guard, access=access, limits=limits, metrics=service.metrics)
    return app


def _add_pages(app: FastAPI) -> None:
    """The page, its documentation and its files."""

    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(PAGE / "docs.html", headers={"Cache-Control": "no-cache"})

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> FileResponse:
        return FileResponse(PAGE / "icon.svg", media_type="image/svg+xml")

    app.mount("/page", StaticFiles(directory=PAGE), name="page")


def _add_problems(app: FastAPI) -> None:
    """Faults of a request, each answered in one form."""

    @app.exception_handler(HTTPException)
    async def http_problem(request: Request, error: HTTPException) -> Response:
        field = error.field if isinstance(error, FieldFault) else None
        return problem(error.status_code, str(error.detail), dict(error.headers or {}), field)

    @app.exception_handler(RequestValidationError)
    async def value_problem(request: Request, error: RequestValidationError) -> JSONResponse:
        places = [(".".join(map(str, fault["loc"][1:])), fault["msg"]) for fault in error.errors()]
        text = "; ".join(f"{place or 'request'}: {said}" for place, said in places)
        fields = [place for place, _ in places if place in FIELDS]
        return problem(422, text, field=fields[0] if fields else None)
