"""KServe Open Inference Protocol v2 over HTTP: metadata, readiness, inference.

The answer's receipt is in its `parameters` and in a header. What a request may be: `serve.oip`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from comity import __version__
from comity.node.answers import failure, pieces
from comity.node.errors import Forbidden
from comity.node.serving import Serving
from comity.record.errors import ComityError
from comity.serve import oip

log = logging.getLogger("comity.kserve")
Handler = Callable[[Request], Awaitable[Response]]


def routes(serving: Serving) -> list[Route]:
    """The protocol's routes; all need the role `predict`."""

    async def server(_: Request) -> Response:
        return _json(oip.server_metadata(__version__))

    async def live(_: Request) -> Response:
        return _json({"live": True})

    async def ready(_: Request) -> Response:
        return _json({"ready": True})

    async def model(request: Request) -> Response:
        return _json(serving.describe(request.path_params["name"]))

    async def model_ready(request: Request) -> Response:
        serving.describe(request.path_params["name"])
        return _json({"name": request.path_params["name"], "ready": True})

    async def infer(request: Request) -> Response:
        body = b"".join([piece async for piece in pieces(request, oip.REQUEST_BYTES_MAX)])
        answer, receipt = await serving.infer(request.path_params["name"], body)
        return _json(answer, headers={"Comity-Receipt": receipt})

    table: tuple[tuple[str, str, Handler], ...] = (
        ("GET", "/v2", server),
        ("GET", "/v2/health/live", live),
        ("GET", "/v2/health/ready", ready),
        ("GET", "/v2/models/{name}", model),
        ("GET", "/v2/models/{name}/ready", model_ready),
        ("POST", "/v2/models/{name}/infer", infer),
    )
    return [Route(path, _guarded(handler), methods=[method]) for method, path, handler in table]


def _guarded(handler: Handler) -> Handler:
    async def endpoint(request: Request) -> Response:
        try:
            if "predict" not in request.scope["credential"].roles:
                raise Forbidden(
                    "you may not do this", why="it needs the role `predict`", hint="ask for a token that has it"
                )
            return await handler(request)
        except ComityError as error:
            return failure(error, request.url.path)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception:
            log.exception("%s", request.url.path)
            return _json({"error": "the node made a mistake; its log has the details"}, 500)

    return endpoint


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")
