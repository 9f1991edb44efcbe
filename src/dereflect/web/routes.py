"""The HTTP interface, version 1; what it does is in `service.py`."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Path, Request, Response, UploadFile
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from dereflect._version import __version__
from dereflect.errors import DereflectError
from dereflect.images.writing import target_format
from dereflect.web.jobs import Job, LineFull, TimedOut
from dereflect.web.service import Answer, Kept, Service, Wish
from dereflect.web.uploads import check_photo, check_picture, content_disposition, without_name

CONTENT_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "HEIF": "image/heic",
    "AVIF": "image/avif",
}


class Problem(BaseModel):
    """What is wrong, and what to do."""

    error: str


class ModelWords(BaseModel):
    """A model that this service offers."""

    name: str
    default: bool
    summary: str
    paper: str
    licence: str
    speed: str
    quality: str
    running: str = Field(description="device and number format")


class LimitWords(BaseModel):
    """What this service takes."""

    upload_bytes: int = Field(description="of one request's body")
    pixels: int = Field(description="of one picture")
    seconds: float = Field(description="from a photo's arrival to its answer")
    queue: int = Field(description="photos that may wait in line")


class Progress(BaseModel):
    """How far a job is."""

    done: int
    total: int


class JobState(BaseModel):
    """A job and what is known of it."""

    id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    position: int = Field(description="jobs before it in line")
    progress: Progress | None = Field(None, description="of methods that work in many steps")
    error: str | None = None
    result: dict[str, Any] | None = Field(None, description="size, model, device, seconds, residual, notes")


class Health(BaseModel):
    """Whether the service can work."""

    status: Literal["ok", "stuck"]
    version: str
    waiting: int
    running: int


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    texts = {
        401: "the token is missing or wrong",
        403: "the request comes from another site's page",
        404: "no such job, or it was forgotten",
        408: "the upload is too slow",
        409: "the job is not finished",
        400: "the body is not a form",
        413: "too many bytes or too many pixels",
        415: "not a picture, or of a kind that is not read",
        421: "a host name that is not this service's",
        422: "a value or a picture that cannot be used",
        500: "a fault of the service",
        503: "no room in line; come again after Retry-After seconds",
        504: "not finished in time",
    }
    return {status: {"model": Problem, "description": texts[status]} for status in statuses}


_GATE = _problems(401, 403, 421)
_UPLOAD = _GATE | _problems(400, 408, 413, 415, 422, 500, 503, 504)
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the picture, or a zip of both layers and result.json",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in (*CONTENT_TYPES.values(), "application/zip")
        },
    }
}

_LOST: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "a worker is lost"}}
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}

Strength = Annotated[
    float,
    Form(ge=-1, le=1, description="1 takes the reflection away, 0 leaves the photo, -1 shows the reflection"),
]
Mask = Annotated[
    UploadFile | None,
    File(description="grey picture of the photo's proportions: where to take it away; grey for in part"),
]
Layers = Annotated[Literal["transmission", "reflection", "both"], Form(description="both gives a zip")]
Format = Annotated[
    Literal["keep", "png", "jpg", "tiff", "webp"], Form(description="keep takes the photo's own")
]
KeepMetadata = Annotated[bool, Form(description="keep EXIF, XMP and resolution")]
Model = Annotated[str | None, Form(description="a name from /v1/models")]
Quality = Annotated[Literal["fast", "best"], Form(description="best takes three times as long")]
Identity = Annotated[str, Path(min_length=1, max_length=64)]


def make_router(service: Service) -> APIRouter:
    """All routes but the page."""
    router = APIRouter()
    limits = service.limits

    @router.post("/v1/separate", response_class=Response, responses=_FILE | _UPLOAD)
    async def separate(
        request: Request,
        image: Annotated[UploadFile, File(description="the photo")],
        model: Model = None,
        quality: Quality = "fast",
        layers: Layers = "transmission",
        strength: Strength = 1.0,
        mask: Mask = None,
        format: Format = "png",
        metadata: KeepMetadata = True,
    ) -> Response:
        """Separate a photo and wait for it."""
        name = _known(model)
        content = await image.read()
        photo = await asyncio.to_thread(check_photo, content, image.filename, limits.pixels)
        wish = Wish(layers, format, strength, await _read_mask(mask), metadata)
        job = _in_line(lambda: service.separate(photo, name, quality, wish))
        return _file(await _wait(request, job), photo.format, wish)

    @router.get("/v1/models", responses=_GATE)
    async def models() -> list[ModelWords]:
        """The models that this service offers, the default first."""
        return [ModelWords(**words) for words in service.models()]

    @router.get("/v1/limits", responses=_GATE)
    async def show_limits() -> LimitWords:
        """What this service takes."""
        return LimitWords(
            upload_bytes=limits.upload_bytes, pixels=limits.pixels, seconds=limits.seconds, queue=limits.queue
        )

    @router.post("/v1/jobs", status_code=202, responses=_UPLOAD)
    async def open_job(
        image: Annotated[UploadFile, File(description="the photo")],
        model: Model = None,
        quality: Quality = "fast",
    ) -> JobState:
        """Put a photo into the line and come back for it: what the page does."""
        name = _known(model)
        content = await image.read()
        photo = await asyncio.to_thread(check_photo, content, image.filename, limits.pixels)
        identity = _in_line(lambda: service.open(photo, name, quality))
        return _state(identity, _find(identity))

    @router.get("/v1/jobs/{identity}", responses=_GATE | _problems(404, 422))
    async def job_state(identity: Identity) -> JobState:
        """How far a job is."""
        return _state(identity, _find(identity))

    @router.delete("/v1/jobs/{identity}", status_code=204, responses=_GATE | _problems(404, 422))
    async def forget_job(identity: Identity) -> None:
        """Forget a job, and stop it if it is not finished."""
        if not service.forget(identity):
            raise HTTPException(404, "no such job, or it was forgotten")

    @router.get(
        "/v1/jobs/{identity}/previews/{layer}",
        response_class=Response,
        responses=_JPEG | _GATE | _problems(404, 409, 422),
    )
    async def show_preview(
        identity: Identity, layer: Literal["photo", "transmission", "reflection"]
    ) -> Response:
        """A small sRGB copy of the photo or a layer, for a browser."""
        finished = _find(identity).finished
        if finished is None:
            raise HTTPException(409, "the job is not finished")
        return Response(finished.previews[layer], media_type="image/jpeg", headers=_PRIVATE)

    @router.post(
        "/v1/jobs/{identity}/render",
        response_class=Response,
        responses=_FILE | _UPLOAD | _problems(404, 409),
    )
    async def render(
        request: Request,
        identity: Identity,
        layers: Layers = "transmission",
        strength: Strength = 1.0,
        mask: Mask = None,
        format: Format = "keep",
        metadata: KeepMetadata = True,
    ) -> Response:
        """Write a finished job at any strength and mask, in full size; the network does not run again."""
        kept = _find(identity)
        finished = kept.finished
        if finished is None:
            raise HTTPException(409, "the job is not finished")
        wish = Wish(layers, format, strength, await _read_mask(mask), metadata)
        job = _in_line(lambda: service.finish(kept, finished, wish))
        return _file(await _wait(request, job), kept.format, wish)

    @router.get(
        "/healthz",
        responses=_LOST | _problems(403, 421),
    )
    async def health(response: Response) -> Health:
        """Whether the service can work; 503 where a separation hangs, so that it should be restarted."""
        waiting, running = service.line.counts()
        stuck = service.line.stuck()
        response.status_code = 503 if stuck else 200
        return Health(
            status="stuck" if stuck else "ok", version=__version__, waiting=waiting, running=running
        )

    @router.get("/metrics", response_class=PlainTextResponse, responses=_GATE)
    async def metrics() -> PlainTextResponse:
        """Counters in Prometheus's text format."""
        text = service.metrics.text(service.gauges())
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    def _known(model: str | None) -> str:
        if not model:
            return service.default
        if model not in service.names:  # names only: a path would let callers read files here
            raise HTTPException(422, f"model: unknown; one of {', '.join(service.names)}")
        return model

    async def _read_mask(mask: UploadFile | None) -> bytes | None:
        if mask is None:
            return None
        content = await mask.read()
        await asyncio.to_thread(check_picture, content, "mask", limits.pixels)
        return content

    def _find(identity: str) -> Kept:
        kept = service.find(identity)
        if kept is None:
            raise HTTPException(404, "no such job, or it was forgotten")
        return kept

    def _state(identity: str, kept: Kept) -> JobState:
        job = kept.job
        state = job.state
        error = None
        if state in ("failed", "cancelled"):
            fault = CancelledError() if job.future.cancelled() else job.future.exception()
            error = _as_http(fault).detail
        finished = kept.finished
        progress = job.progress
        return JobState.model_validate(
            {
                "id": identity,
                "state": state,
                "position": service.line.position(job),
                "progress": None if progress is None else {"done": progress[0], "total": progress[1]},
                "error": error,
                "result": None if finished is None else finished.facts,
            }
        )

    return router


_PRIVATE = {"Cache-Control": "private, no-store"}


async def _wait(request: Request, job: Job) -> Answer:
    """A job's result; a caller who goes away takes it out of the line."""
    import time

    future = asyncio.wrap_future(job.future)
    while True:
        left = job.deadline - time.monotonic()
        await asyncio.wait({future}, timeout=max(0.05, min(1.0, left)))
        if future.done():
            break
        if await request.is_disconnected():
            job.cancel()
            raise HTTPException(400, "the caller went away")
        if left <= 0:
            job.cancel()
            raise _as_http(TimedOut())
    try:
        answer: Answer = future.result()
    except (Exception, asyncio.CancelledError) as error:
        raise _as_http(error) from error
    return answer


def _in_line(submit: Any) -> Any:
    try:
        return submit()
    except LineFull as error:
        raise _as_http(error) from error


def _as_http(error: BaseException | None) -> HTTPException:
    if isinstance(error, LineFull):
        return HTTPException(503, "too many photos are in line; come again", {"Retry-After": "10"})
    if isinstance(error, TimedOut):
        return HTTPException(504, "not finished in time; send a smaller photo or come again later")
    if isinstance(error, (CancelledError, asyncio.CancelledError)):
        return HTTPException(503, "stopped", {"Retry-After": "10"})
    if isinstance(error, DereflectError):
        return HTTPException(422, without_name(error))
    return HTTPException(500, "a fault of the service; its log says more")


def _file(answer: Answer, source_format: str, wish: Wish) -> Response:
    kind = "application/zip"
    if wish.layers != "both":
        kind = CONTENT_TYPES[target_format(source_format, wish.format)]
    headers = {
        "Content-Disposition": content_disposition(answer.name),
        "X-Dereflect-Seconds": str(answer.facts["seconds"]),
        "X-Dereflect-Residual": str(answer.facts["residual"]),
        **_PRIVATE,
    }
    return Response(answer.content, media_type=kind, headers=headers)
