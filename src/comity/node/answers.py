"""The one JSON envelope of the HTTP API, for answers and for errors."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from comity.record.errors import ComityError

SCHEMA = "comity/v1"
STATUS = {1: 400, 2: 500, 3: 403, 4: 422, 5: 503}
_STATUS_BY_CODE = {
    "unauthenticated": 401,
    "cross-origin": 403,
    "not-found": 404,
    "conflict": 409,
    "too-large": 413,
    "wrong-host": 421,
    "busy": 503,
}


def success(data: Any, status: int = 200) -> Response:
    """`{"schema": "comity/v1", "data": …}`."""
    return Response(msgspec.json.encode({"schema": SCHEMA, "data": data}), status, media_type="application/json")


def error_body(error: ComityError) -> dict[str, Any]:
    """`{"code", "message", "why", "hint", "exit_code"}` of an expected error."""
    return {
        "code": error.code,
        "message": error.what,
        "why": error.why,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


def status_of(error: ComityError) -> int:
    """The HTTP status that stands for an error."""
    return _STATUS_BY_CODE.get(error.code, STATUS.get(error.exit_code, 500))


def failure(error: ComityError) -> Response:
    """`{"schema": "comity/v1", "error": …}`."""
    body = msgspec.json.encode({"schema": SCHEMA, "error": error_body(error)})
    headers = (
        {"WWW-Authenticate": 'Bearer realm="comity", Basic realm="comity"'} if error.code == "unauthenticated" else None
    )
    return Response(body, status_of(error), headers, media_type="application/json")
