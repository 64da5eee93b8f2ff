"""What the node lends to work: blobs, our own tables, sandboxed workers, threads, randomness. See `learn.work.Room`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from comity.compute.probe import probe
from comity.compute.sandbox import Limits, Sandbox, Worker
from comity.node.errors import NotFound
from comity.node.local import LocalState
from comity.record.types import Digest
from comity.store.blobs import BlobStore

_T = TypeVar("_T")
WORKER_LIMITS = Limits(
    cpu_s=3600, memory_bytes=8 << 30, processes=16, files_open=256, file_bytes=1 << 20, outputs_bytes=1 << 20
)
"""What a study's or a model's worker may use over its whole life; a task names its own limits."""


class Sandboxes:
    """This host's sandbox: found and proved once, on first need, and refused ever after if it cannot keep its promises."""

    def __init__(self, foreign: Path) -> None:
        """`foreign`: a file of the node that no sandbox may see; the proof tries to read it."""
        self._foreign = foreign
        self._proving: asyncio.Task[tuple[Sandbox, dict[str, Any]]] | None = None

    async def get(self) -> Sandbox:
        return (await self.proved())[0]

    async def proved(self) -> tuple[Sandbox, dict[str, Any]]:
        """The sandbox and its isolation report. Raises `SandboxRefused` with each promise that does not hold."""
        if self._proving is None:
            self._proving = asyncio.create_task(self._prove())
        return await asyncio.shield(self._proving)

    def finding(self) -> tuple[bool, str]:
        """For `doctor`: whether the sandbox is proved, and by what."""
        task = self._proving
        if task is None or not task.done():
            return True, "not needed yet"
        if task.cancelled() or (error := task.exception()) is None:
            return True, "proved: " + str(task.result()[1].get("mechanism", "")) if not task.cancelled() else "stopped"
        return False, str(error)

    async def _prove(self) -> tuple[Sandbox, dict[str, Any]]:
        sandbox = Sandbox.find()
        return sandbox, await probe(sandbox, self._foreign)


class Room:
    """One node's room for work. Tables leave it only into a sandbox."""

    def __init__(self, blobs: BlobStore, local: LocalState, sandboxes: Sandboxes) -> None:
        self._blobs, self._local, self._sandboxes = blobs, local, sandboxes

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
        return await (await self._sandboxes.get()).start(handler, inputs, WORKER_LIMITS)

    async def apart(self, function: Callable[[], _T]) -> _T:
        return await asyncio.to_thread(function)

    def entropy(self, count: int) -> bytes:
        return os.urandom(count)
