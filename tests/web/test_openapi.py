"""The service does what its OpenAPI description says, whatever is sent."""

from typing import Any

import pytest

pytestmark = pytest.mark.slow
schemathesis = pytest.importorskip("schemathesis", reason="needs the extra 'browser' (schemathesis)")

import hypothesis  # noqa: E402
from schemathesis import Case, GenerationMode  # noqa: E402
from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

SETTINGS = hypothesis.settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def statuses(operation: Any, mode: GenerationMode, photo: bytes) -> set[int]:
    """Send generated requests to one operation, check each answer, and say which statuses came."""
    seen: set[int] = set()

    @SETTINGS
    @hypothesis.given(operation.as_strategy(generation_mode=mode), hypothesis.strategies.booleans())
    def call(case: Case, real: bool) -> None:
        if real and mode is GenerationMode.POSITIVE and isinstance(case.body, dict) and "image" in case.body:
            case.body["image"] = photo
            case.body.pop("mask", None)
            case.body.pop("strokes", None)
        response = case.call()
        # A description cannot say which bytes are a picture: those that are none may be refused.
        case.validate_response(response, excluded_checks=[positive_data_acceptance])
        assert response.status_code < 500
        seen.add(response.status_code)

    call()
    return seen


def test_the_service_keeps_to_its_description(start, picture):
    with start() as server:
        operations = schemathesis.openapi.from_url(f"{server.url}/openapi.json").get_all_operations()
        seen = {}
        for result in operations:
            operation = result.ok()
            name = f"{operation.method.upper()} {operation.path}"
            seen[name] = statuses(operation, GenerationMode.POSITIVE, picture())
            if operation.body or operation.path_parameters:  # without, there is nothing to get wrong
                seen[name] |= statuses(operation, GenerationMode.NEGATIVE, picture())
        assert len(seen) == 11
        assert {200, 415, 422} <= seen["POST /v1/separate"]
        assert {202, 415, 422} <= seen["POST /v1/jobs"]
        assert seen["GET /v1/models"] == seen["GET /metrics"] == {200}
        assert server.client.get("/healthz").json()["running"] == 0
