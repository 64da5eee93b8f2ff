"""What the node lends to work: blobs, our own tables, sandboxed workers, threads, randomness. See `learn.work.Room`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import TypeVar

from comity.compute.sandbox import Limits, Sandbox, Worker
from comity.node.errors import NotFound
from comity.node.local import LocalState
from comity.record.types import Digest
from comity.store.blobs import BlobStore

_T = TypeVar("_T")


class Room:
    """One node's room for work. Tables leave it only into a sandbox."""

    def __init__(self, blobs: BlobStore, local: LocalState, sandbox: Callable[[], Sandbox], limits: Limits) -> None:
        self._blobs, self._local, self._sandbox, self._limits = blobs, local, sandbox, limits

    async def blob(self, digest: Digest) -> bytes:
        """A shared blob that is held here. Raises `NotFound`."""
        if not self._local.is_shared(digest) or not self._blobs.has(digest):
            raise NotFound(f"blob {digest[:12]} is not here")
        return await asyncio.to_thread(self._blobs.get, digest)

    async def keep(self, data: bytes) -> Digest:
        """Keep a blob that other members may fetch."""
        digest = await asyncio.to_thread(self._blobs.put, data, bytes_max=len(data))
        self._local.share(digest)
        return digest

    async def table(self, dataset: Digest) -> bytes:
        """The rows of one of our own datasets. Raises `NotFound` for another's, or one that was forgotten."""
        held = self._local.datasets().get(dataset)
        if held is None or not self._blobs.has(held.blob):
            raise NotFound(f"the rows of dataset {dataset[:12]} are not here")
        return await asyncio.to_thread(self._blobs.get, held.blob)

    async def start(self, handler: str, inputs: Mapping[str, bytes]) -> Worker:
        """A sandboxed worker. Raises `SandboxRefused` where this host cannot isolate it."""
        return await self._sandbox().start(handler, inputs, self._limits)

    async def apart(self, function: Callable[[], _T]) -> _T:
        return await asyncio.to_thread(function)

    def entropy(self, count: int) -> bytes:
        return os.urandom(count)
