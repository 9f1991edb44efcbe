"""The HTTP interface, version 1; what it does is in `service.py`."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Request, Response, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from dereflect._version import __version__
from dereflect.errors import DereflectError
from dereflect.images.writing import target_format
from dereflect.web.jobs import QueuedJob, QueueFull, TimedOut
from dereflect.web.messages import FieldFault, fault_line, field_of
from dereflect.web.schemas import (
    CONTENT_TYPES,
    FILE,
    GATE,
    JPEG,
    LOST,
    STROKES,
    UPLOAD,
    FormatField,
    Health,
    Identity,
    JobState,
    KeepMetadata,
    LayersField,
    LimitFacts,
    MaskField,
    ModelFacts,
    ModelField,
    QualityField,
    StrengthField,
    StrokesField,
    problems,
)
from dereflect.web.service import Answer, RenderOptions, Service, StoredJob, StoredSeparation
from dereflect.web.uploads import check_photo, check_picture, content_disposition

router = APIRouter()
"""All routes but the page; the application's state holds the service that they ask."""


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceDependency = Annotated[Service, Depends(_service)]


@router.post("/v1/separate", response_class=Response, responses=FILE | UPLOAD)
async def separate(
    service: ServiceDependency,
    request: Request,
    image: Annotated[UploadFile, File(description="the photo")],
    model: ModelField = None,
    quality: QualityField = "fast",
    layers: LayersField = "transmission",
    strength: StrengthField = 1.0,
    mask: MaskField = None,
    strokes: StrokesField = None,
    format: FormatField = "png",
    metadata: KeepMetadata = True,
) -> Response:
    """Separate a photo and wait for it."""
    name = _known(service, model)
    content = await image.read()
    photo = await asyncio.to_thread(check_photo, content, image.filename, service.limits.pixels)
    region, said = await _read(service, "mask", mask), await _read(service, "strokes", strokes)
    render = RenderOptions(layers, format, strength, region, said, metadata)
    job = _queued(lambda: service.separate(photo, name, quality, render))
    return _file(await _wait(request, job), photo.format, render)


@router.get("/v1/models", responses=GATE)
async def models(service: ServiceDependency) -> list[ModelFacts]:
    """The models that this service offers, the default first."""
    return [ModelFacts(**words) for words in service.models()]


@router.get("/v1/limits", responses=GATE)
async def show_limits(service: ServiceDependency) -> LimitFacts:
    """What this service takes."""
    return LimitFacts(
        upload_bytes=service.limits.upload_bytes,
        pixels=service.limits.pixels,
        seconds=service.limits.seconds,
        queue=service.limits.queue,
    )


@router.post("/v1/jobs", status_code=202, responses=UPLOAD)
async def open_job(
    service: ServiceDependency,
    image: Annotated[UploadFile, File(description="the photo")],
    model: ModelField = None,
    quality: QualityField = "fast",
) -> JobState:
    """Put a photo into the queue and come back for it: what the page does."""
    name = _known(service, model)
    content = await image.read()
    photo = await asyncio.to_thread(check_photo, content, image.filename, service.limits.pixels)
    identity = _queued(lambda: service.open(photo, name, quality))
    return _state(service, identity, _find(service, identity))


@router.get("/v1/jobs/{identity}", responses=GATE | problems(404, 422))
async def job_state(service: ServiceDependency, identity: Identity) -> JobState:
    """How far a job is."""
    return _state(service, identity, _find(service, identity))


@router.delete("/v1/jobs/{identity}", status_code=204, responses=GATE | problems(404, 422))
async def forget_job(service: ServiceDependency, identity: Identity) -> None:
    """Forget a job, and stop it if it is not finished."""
    if not service.forget(identity):
        raise HTTPException(404, "no such job, or it was forgotten")


@router.get(
    "/v1/jobs/{identity}/previews/{layer}",
    response_class=Response,
    responses=JPEG | GATE | problems(404, 409, 422),
)
async def show_preview(
    service: ServiceDependency, identity: Identity, layer: Literal["photo", "transmission", "reflection"]
) -> Response:
    """A small sRGB copy of the photo or a layer, for a browser."""
    finished = _finished(_find(service, identity))
    return Response(finished.previews[layer], media_type="image/jpeg", headers=_PRIVATE)


@router.post(
    "/v1/jobs/{identity}/previews/{layer}",
    response_class=Response,
    responses=JPEG | UPLOAD | problems(404, 409),
)
async def correct_preview(
    service: ServiceDependency,
    request: Request,
    identity: Identity,
    layer: Literal["transmission", "reflection"],
    strokes: Annotated[UploadFile, File(description=STROKES)],
) -> Response:
    """A small sRGB copy of a layer as strokes have it; the network does not run again."""
    finished = _finished(_find(service, identity))
    said = await _read(service, "strokes", strokes)
    job = _queued(lambda: service.correct(finished, layer, said or b""))
    return Response(await _wait(request, job), media_type="image/jpeg", headers=_PRIVATE)


@router.post(
    "/v1/jobs/{identity}/render",
    response_class=Response,
    responses=FILE | UPLOAD | problems(404, 409),
)
async def render(
    service: ServiceDependency,
    request: Request,
    identity: Identity,
    layers: LayersField = "transmission",
    strength: StrengthField = 1.0,
    mask: MaskField = None,
    strokes: StrokesField = None,
    format: FormatField = "keep",
    metadata: KeepMetadata = True,
) -> Response:
    """Write a finished job at any strength and mask, in full size; the network does not run again."""
    stored = _find(service, identity)
    finished = _finished(stored)
    region, said = await _read(service, "mask", mask), await _read(service, "strokes", strokes)
    render = RenderOptions(layers, format, strength, region, said, metadata)
    job = _queued(lambda: service.finish(stored, finished, render))
    return _file(await _wait(request, job), stored.format, render)


@router.get(
    "/healthz",
    responses=LOST | problems(403, 421),
)
async def health(service: ServiceDependency, response: Response) -> Health:
    """Whether the service can work; 503 where a separation hangs, so that it should be restarted."""
    waiting, running = service.queue.counts()
    stuck = service.queue.stuck()
    response.status_code = 503 if stuck else 200
    return Health(status="stuck" if stuck else "ok", version=__version__, waiting=waiting, running=running)


@router.get("/metrics", response_class=PlainTextResponse, responses=GATE)
async def metrics(service: ServiceDependency) -> PlainTextResponse:
    """Counters in Prometheus's text format."""
    text = service.metrics.text(service.gauges())
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _known(service: Service, model: str | None) -> str:
    if not model:
        return service.default
    if model not in service.names:  # names only: a path would let callers read files here
        raise FieldFault(422, f"model: unknown; one of {', '.join(service.names)}", "model")
    return model


async def _read(service: Service, field: str, drawing: UploadFile | None) -> bytes | None:
    if drawing is None:
        return None
    content = await drawing.read()
    await asyncio.to_thread(check_picture, content, field, service.limits.pixels)
    return content


def _find(service: Service, identity: str) -> StoredJob:
    stored = service.find(identity)
    if stored is None:
        raise HTTPException(404, "no such job, or it was forgotten")
    return stored


def _finished(stored: StoredJob) -> StoredSeparation:
    finished = stored.finished
    if finished is None:
        raise HTTPException(409, "the job is not finished")
    return finished


def _state(service: Service, identity: str, stored: StoredJob) -> JobState:
    job = stored.job
    state = job.state
    error = field = None
    if state in ("failed", "cancelled"):
        fault = CancelledError() if job.future.cancelled() else job.future.exception()
        problem = _as_http(fault)
        error, field = problem.detail, getattr(problem, "field", None)
    finished = stored.finished
    progress = job.progress
    return JobState.model_validate(
        {
            "id": identity,
            "state": state,
            "position": service.queue.position(job),
            "progress": None if progress is None else {"done": progress[0], "total": progress[1]},
            "error": error,
            "field": field,
            "result": None if finished is None else finished.facts,
        }
    )


_PRIVATE = {"Cache-Control": "private, no-store"}


async def _wait(request: Request, job: QueuedJob) -> Any:
    """A job's result; a caller who goes away takes it out of the queue."""
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
        answer = future.result()
    except (Exception, asyncio.CancelledError) as error:
        raise _as_http(error) from error
    return answer


def _queued(submit: Any) -> Any:
    try:
        return submit()
    except QueueFull as error:
        raise _as_http(error) from error


def _as_http(error: BaseException | None) -> HTTPException:
    if isinstance(error, QueueFull):
        return HTTPException(503, "too many photos are in line; come again", {"Retry-After": "10"})
    if isinstance(error, TimedOut):
        return HTTPException(504, "not finished in time; send a smaller photo or come again later")
    if isinstance(error, (CancelledError, asyncio.CancelledError)):
        return HTTPException(503, "stopped", {"Retry-After": "10"})
    if isinstance(error, DereflectError):
        return FieldFault(422, fault_line(error), field_of(error))
    return HTTPException(500, f"a fault of the service ({type(error).__name__}); its log says more")


def _file(answer: Answer, source_format: str, render: RenderOptions) -> Response:
    kind = "application/zip"
    if render.layers != "both":
        kind = CONTENT_TYPES[target_format(source_format, render.format)]
    headers = {
        "Content-Disposition": content_disposition(answer.name),
        "X-Dereflect-Seconds": str(answer.facts["seconds"]),
        "X-Dereflect-Residual": str(answer.facts["residual"]),
        **_PRIVATE,
    }
    if answer.facts["reflection_found"] is not None:
        headers["X-Dereflect-Reflection-Found"] = str(answer.facts["reflection_found"]).lower()
    return Response(answer.content, media_type=kind, headers=headers)
