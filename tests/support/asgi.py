"""Requests to an ASGI application in this process, without sockets: what a test of routes needs and no more."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx


class AsgiClient:
    """`httpx.AsyncClient` over ASGITransport, one request an event loop."""

    def __init__(self, app: Any, base_url: str) -> None:
        self._app, self._base_url = app, base_url

    def request(self, method: str, path: str, **rest: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url=self._base_url) as client:
                return await client.request(method, path, **rest)

        return asyncio.run(once())

    def get(self, path: str, **rest: Any) -> httpx.Response:
        return self.request("GET", path, **rest)

    def post(self, path: str, **rest: Any) -> httpx.Response:
        return self.request("POST", path, **rest)
