"""Ordered requests between a node and one of its processes, over a Unix socket: msgpack in plain frames.

The client pipelines within a bound and fails every waiting caller when the process dies. What is asked belongs to `signer`
and `executor`.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

from comity.node import frames
from comity.node.errors import Busy, ChildGone, PeerError

WAITING_MAX = 1024


class Channel:
    """The node's end. `attach` gives it a fresh socket each time the process starts; until then requests fail with `ChildGone`."""

    def __init__(self, name: str, *, waiting_max: int = WAITING_MAX, bytes_max: int = frames.LOCAL_BYTES_MAX) -> None:
        self.name = name
        self._waiting_max = waiting_max
        self._bytes_max = bytes_max
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._writer: asyncio.StreamWriter | None = None
        self._pump: asyncio.Task[None] | None = None

    @property
    def attached(self) -> bool:
        return self._writer is not None

    async def attach(self, connection: socket.socket) -> None:
        """Speak over this connected socket from now on; it becomes ours to close."""
        await self.detach()
        connection.setblocking(False)
        reader, self._writer = await asyncio.open_connection(sock=connection)
        self._pump = asyncio.create_task(self._read(reader, self._writer), name=f"channel-{self.name}")

    async def detach(self) -> None:
        """Close the socket and fail whoever waits."""
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.cancel()
            await asyncio.wait([pump])
        self._drop()

    async def request(self, body: bytes) -> bytes:
        """The answer to `body`. Raises `Busy` when too many wait, `ChildGone` when the process is not there or dies first."""
        if self._writer is None:
            raise ChildGone(f"the {self.name} is not running", hint="it is being restarted; try again")
        if len(self._waiting) >= self._waiting_max:
            raise Busy(f"the {self.name} has {self._waiting_max} requests waiting", hint="try again in a moment")
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._writer.write(frames.pack(body))
        try:
            await self._writer.drain()
        except ConnectionError:
            self._drop()
        return await answer

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size = frames.unpack_length(await reader.readexactly(frames.LENGTH.size), self._bytes_max)
                body = await reader.readexactly(size)
                if not self._waiting:
                    raise PeerError(f"the {self.name} answered what nobody asked")
                answer = self._waiting.popleft()
                if not answer.done():
                    answer.set_result(body)
        except (asyncio.IncompleteReadError, ConnectionError, PeerError):
            pass
        finally:
            if self._writer is writer:
                self._drop()
            writer.close()

    def _drop(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        while self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(
                    ChildGone(f"the {self.name} died before it answered", hint="it is being restarted; try again")
                )


def serve(
    connection: socket.socket, handle: Callable[[bytes], bytes], *, bytes_max: int = frames.LOCAL_BYTES_MAX
) -> None:
    """The process's end: answer one request after the other until the node goes away. `handle` answers its own refusals."""
    connection.setblocking(True)
    while True:
        try:
            request = frames.receive(connection, bytes_max=bytes_max)
        except (ChildGone, ConnectionError):
            return
        try:
            connection.sendall(frames.pack(handle(request)))
        except (BrokenPipeError, ConnectionError):
            return
