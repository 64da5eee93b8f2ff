"""From a route's entry to a Starlette route: role check, bounded bodies, and one place where errors become answers."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO, Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from comity.node.answers import failure, pieces, success
from comity.node.auth import Credential
from comity.node.errors import BadRequest, Forbidden, NodeError
from comity.node.node import Node
from comity.record import canonical
from comity.record.errors import ComityError, NotCanonical

JSON_BYTES_MAX = 1 << 20
SPOOL_BYTES_MAX = 8 << 20

Handler = Callable[[Node, Request], Awaitable[Any]]
T = TypeVar("T")

log = logging.getLogger("comity.api")


class Internal(NodeError):
    """Our mistake; the log has the rest."""

    code = "internal"
    exit_code = 2


@dataclass(frozen=True)
class Entry:
    """One route: `handler` answers the envelope's `data`, or a whole Response."""

    method: str
    path: str
    role: str
    handler: Handler


def build(node: Node, entries: Sequence[Entry]) -> list[Route]:
    """Starlette routes for the entries."""
    return [
        Route(entry.path, _endpoint(node, entry), methods=[entry.method], name=f"{entry.method} {entry.path}")
        for entry in entries
    ]


def _endpoint(node: Node, entry: Entry) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            credential: Credential = request.scope["credential"]
            if entry.role not in credential.roles:
                raise Forbidden(
                    f"{credential.person} may not do this",
                    why=f"it needs the role `{entry.role}`",
                    hint="ask for a token that has it",
                )
            answer = await entry.handler(node, request)
        except ComityError as error:
            return failure(error)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception:
            log.exception("%s %s", entry.method, request.url.path)
            return failure(Internal("the node made a mistake", why="its log has the details", hint="comity logs"))
        return answer if isinstance(answer, Response) else success(answer)

    return endpoint


def person(request: Request) -> str:
    """Who asks."""
    credential: Credential = request.scope["credential"]
    return credential.person


async def body_of(request: Request, shape: type[T], *, bytes_max: int = JSON_BYTES_MAX) -> T:
    """The JSON body as a struct. Raises `BadRequest` naming the field, or `TooLarge`."""
    data = b"".join([piece async for piece in pieces(request, bytes_max)])
    try:
        canonical.check_depth(data, canonical.DEPTH_MAX)
        return msgspec.json.decode(data, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, NotCanonical) as error:
        raise BadRequest(
            "the body is not what this route takes", why=str(error), hint="docs/api.md shows its fields"
        ) from None


@asynccontextmanager
async def upload_of(request: Request, *, bytes_max: int) -> AsyncIterator[IO[bytes]]:
    """The raw body as a file, on disk when large."""
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES_MAX) as file:
        async for piece in pieces(request, bytes_max):
            file.write(piece)
        file.seek(0)
        yield file


def integer(request: Request, name: str, default: int, *, least: int, most: int) -> int:
    """A whole number from the query, within bounds."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise BadRequest(
            f"`{name}` is a whole number from {least} to {most}",
            why=f"got {text[:40]!r}",
            hint=f"leave it out for {default}",
        )
    return int(text)
