"""The shapes of what goes over the wire: form fields, answers, and which statuses each route may give."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import File, Form, Path, UploadFile
from pydantic import BaseModel, Field

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
    field: str | None = Field(None, description="the form field at fault, if one is")


class ModelFacts(BaseModel):
    """A model that this service offers."""

    name: str
    default: bool
    title: str
    plain: str = Field(description="speed and quality in everyday words")
    summary: str
    paper: str
    licence: str
    speed: str
    quality: str
    running: str = Field(description="device and number format")


class LimitFacts(BaseModel):
    """What this service takes."""

    upload_bytes: int = Field(description="of one request's body")
    pixels: int = Field(description="of one picture")
    seconds: float = Field(description="from a photo's arrival to its answer")
    queue: int = Field(description="photos that may wait in line")


class JobProgress(BaseModel):
    """How far a job is."""

    done: int
    total: int


class JobState(BaseModel):
    """A job and what is known of it."""

    id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    position: int = Field(description="jobs before it in line")
    progress: JobProgress | None = Field(None, description="of methods that work in many steps")
    error: str | None = None
    field: str | None = Field(None, description="the form field at fault, if one is")
    result: dict[str, Any] | None = Field(
        None, description="size, model, device, seconds, residual, reflection_found, notes"
    )


class Health(BaseModel):
    """Whether the service can work."""

    status: Literal["ok", "stuck"]
    version: str
    waiting: int
    running: int


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of the errors that a route may answer with."""
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


GATE = problems(401, 403, 421)
UPLOAD = GATE | problems(400, 408, 413, 415, 422, 500, 503, 504)
FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the picture, or a zip of both layers and result.json",
        "headers": {
            "X-Dereflect-Seconds": {"schema": {"type": "number"}, "description": "of the separation"},
            "X-Dereflect-Residual": {"schema": {"type": "number"}, "description": "of the layers, 0 to 1"},
            "X-Dereflect-Reflection-Found": {
                "schema": {"type": "boolean"},
                "description": "false: the photo was left as it was; absent: the model does not say",
            },
        },
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in (*CONTENT_TYPES.values(), "application/zip")
        },
    }
}

LOST: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "a worker is lost"}}
JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}

StrengthField = Annotated[
    float,
    Form(ge=-1, le=1, description="1 takes the reflection away, 0 leaves the photo, -1 shows the reflection"),
]
MaskField = Annotated[
    UploadFile | None,
    File(description="grey picture of the photo's proportions: where to take it away; grey for in part"),
]
STROKES = "transparent picture: red where reflection was left, blue where scene was taken away"
StrokesField = Annotated[UploadFile | None, File(description=STROKES)]
LayersField = Annotated[Literal["transmission", "reflection", "both"], Form(description="both gives a zip")]
FormatField = Annotated[
    Literal["keep", "png", "jpg", "tiff", "webp"], Form(description="keep takes the photo's own")
]
KeepMetadata = Annotated[bool, Form(description="keep EXIF, XMP and resolution")]
ModelField = Annotated[str | None, Form(description="a name from /v1/models")]
QualityField = Annotated[Literal["fast", "best"], Form(description="best takes three times as long")]
Identity = Annotated[str, Path(min_length=1, max_length=64)]
