"""HTTP: all routes behind the one guard, on one port, from start to stop. What the routes do is in `api`, `kserve`, `rpc`."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from comity.node import kserve
from comity.node.answers import failure, pieces, success
from comity.node.api import ENTRIES, build
from comity.node.auth import COOKIE, SESSION_S_MAX, Guard
from comity.node.config import Value
from comity.node.errors import BadConfig, Forbidden, NotFound, Unauthenticated
from comity.node.metrics import Metrics
from comity.node.node import Node
from comity.node.rpc import BODY_BYTES_MAX, Rpc
from comity.record.errors import ComityError

Mount = Callable[[httpx.AsyncClient], Sequence[BaseRoute]]
LOOPBACK = ("127.0.0.1", "localhost", "::1")
STARTED_S_MAX = 10.0
KEEP_ALIVE_S = 75
"""Longer than clients keep idle connections, so that theirs is the one to close."""


def application(node: Node, rpc: Rpc, metrics: Metrics, mounts: Sequence[Mount], port: int) -> ASGIApp:
    """The whole HTTP application; `mounts` get an in-process client of it and give further routes."""
    hosts = frozenset(f"{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]"))
    app = Starlette(routes=[*build(node, ENTRIES), *kserve.routes(node.serving), *_tools(node, rpc, metrics)])
    guarded = Guard(app, auth=node.auth, hosts=hosts)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app=guarded), base_url=f"http://127.0.0.1:{port}")
    for mount in mounts:
        app.router.routes.extend(mount(client))

    async def missing(request: Request, _: Exception) -> Response:
        path = request.url.path
        return failure(NotFound(f"no route {request.method} {path[:100]}", hint="docs/api.md lists them all"), path)

    app.add_exception_handler(404, missing)
    app.add_exception_handler(405, missing)
    return guarded


def _tools(node: Node, rpc: Rpc, metrics: Metrics) -> list[Route]:
    async def json_rpc(request: Request) -> Response:
        try:
            roles = _readers(request)
            body = b"".join([piece async for piece in pieces(request, BODY_BYTES_MAX)])
        except ComityError as error:
            return failure(error)
        except ClientDisconnect:
            return Response(status_code=499)
        return Response(await rpc.handle(body, may_send="operate" in roles), media_type="application/json")

    async def scrape(request: Request) -> Response:
        try:
            _readers(request)
        except Forbidden as error:
            return failure(error)
        return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def healthz(_: Request) -> Response:
        health = node.doctor.examine()["health"]
        return success({"health": health}, 503 if health == "error" else 200)

    async def login(request: Request) -> Response:
        session = node.auth.redeem(request.path_params["secret"])
        if session is None:
            return failure(Unauthenticated("this login link is spent or too old", hint="comity login makes a new one"))
        answer = RedirectResponse("/", 303, {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"})
        answer.set_cookie(COOKIE, session, max_age=SESSION_S_MAX, httponly=True, samesite="strict", path="/")
        return answer

    return [
        Route("/rpc", json_rpc, methods=["POST"]),
        Route("/metrics", scrape, methods=["GET"]),
        Route("/healthz", healthz, methods=["GET"]),
        Route("/login/{secret}", login, methods=["GET"]),
    ]


def _readers(request: Request) -> frozenset[str]:
    """The roles of somebody who may read here. Raises `Forbidden`."""
    roles: frozenset[str] = request.scope["credential"].roles
    if "read" not in roles:
        raise Forbidden("you may not do this", why="it needs the role `read`", hint="ask for a token that has it")
    return roles


class _Server(uvicorn.Server):
    """Leaves signals to the node."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The node stops us: uvicorn's own handlers would stand in front of its."""
        yield


@asynccontextmanager
async def serve_http(app: ASGIApp, values: Mapping[str, Value]) -> AsyncIterator[None]:
    """Listen until left. Raises `BadConfig` for an address that is not ours to take."""
    host, port = str(values["host"].value), int(values["port"].value)
    if host not in LOOPBACK:
        raise BadConfig(
            f"refusing to listen on {host}",
            why="the API has no TLS of its own",
            hint="put a TLS proxy in front, and keep host = 127.0.0.1",
        )
    try:
        sock = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128
        )
    except OSError as error:
        raise BadConfig(
            f"port {port} is not free",
            why=error.strerror or str(error),
            hint="stop the other process, or choose another --port",
        ) from error
    # Connections inherit it. asyncio would set it, but not on a socket that was made without naming its protocol; without,
    # an answer's body waits 40 ms for the client to acknowledge its headers.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level=logging.WARNING,
        lifespan="off",
        ws="none",
        access_log=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]), name="http")
    try:
        async with asyncio.timeout(STARTED_S_MAX):
            while not server.started and not task.done():
                await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await task
        sock.close()
