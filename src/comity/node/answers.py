"""What every route shares: the one JSON envelope of answers and of errors, and bodies that are read up to a limit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from comity.node.errors import TooLarge
from comity.record.errors import ComityError
from comity.serve import oip

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
    "receipt-not-durable": 503,
    "store-full": 503,
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


def failure(error: ComityError, path: str = "") -> Response:
    """`{"schema": "comity/v1", "error": …}`; below /v2 the KServe protocol's `{"error": "…"}`."""
    plain = path == "/v2" or path.startswith("/v2/")
    body: Any = oip.error(error) if plain else {"schema": SCHEMA, "error": error_body(error)}
    headers = (
        {"WWW-Authenticate": 'Bearer realm="comity", Basic realm="comity"'} if error.code == "unauthenticated" else None
    )
    return Response(msgspec.json.encode(body), status_of(error), headers, media_type="application/json")


async def pieces(request: Request, bytes_max: int) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises `TooLarge` as soon as it is known: from the header, or at the first byte too many."""
    told = request.headers.get("content-length", "")
    size = int(told) if told.isascii() and told.isdigit() and len(told) < 20 else 0
    if size <= bytes_max:
        size = 0
        async for piece in request.stream():
            size += len(piece)
            if size > bytes_max:
                break
            yield piece
    if size > bytes_max:
        raise TooLarge("the body is too large", why=f"at most {bytes_max} bytes", hint="send less")
