"""Blobs between members: ask one member for one digest, get it in chunks or a reason why not; checked against its digest.

Who may have which blob is the caller's `permit`. This module limits sizes, times and how many run at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from comity.node.connection import Connection, Kind, Limits
from comity.node.errors import NotFound, PeerError, PeerGone, TooLarge
from comity.record.errors import ComityError
from comity.record.types import Digest

_GET = struct.Struct(">I32s")
_START = struct.Struct(">IQ")
_ID = struct.Struct(">I")
CHUNKS_PER_FRAME = 4
REASON_BYTES_MAX = 200


class BlobSource(Protocol):
    """What of `store.blobs.BlobStore` is needed to serve."""

    def has(self, digest: Digest) -> bool: ...
    def size(self, digest: Digest) -> int: ...
    def open(self, digest: Digest) -> Iterator[bytes]: ...


Permit = Callable[[str, Digest], str]
"""(member's name, digest) → "" to allow, else the reason of the refusal, which the member is told."""


@dataclass
class _Wanted:
    digest: Digest
    bytes_max: int
    done: asyncio.Future[bytes]
    size: int = -1
    data: bytearray = field(default_factory=bytearray)


class Transfers:
    """Both sides of blob transfer over one node's connections."""

    def __init__(
        self, source: BlobSource, permit: Permit, limits: Limits, on_served: Callable[[str, Digest, int], None]
    ) -> None:
        self._source, self._permit, self._limits, self._on_served = source, permit, limits, on_served
        self._wanted: dict[tuple[Connection, int], _Wanted] = {}
        self._serving: dict[Connection, set[asyncio.Task[None]]] = {}
        self._next = 0

    async def fetch(self, connection: Connection, digest: Digest, bytes_max: int) -> bytes:
        """The blob, checked. Raises `NotFound` (refused or absent, with the member's reason), `TooLarge`, `PeerGone`."""
        self._next = (self._next + 1) % 2**32
        wanted = _Wanted(
            digest, min(bytes_max, self._limits.blob_bytes_max), asyncio.get_running_loop().create_future()
        )
        key = (connection, self._next)
        self._wanted[key] = wanted
        try:
            if not connection.send(Kind.GET_BLOB, _GET.pack(self._next, bytes.fromhex(digest))):
                raise PeerGone(f"no connection to {connection.name}")
            async with asyncio.timeout(self._limits.blob_s):
                return await wanted.done
        except TimeoutError:
            raise PeerGone(f"{connection.name} did not send {digest[:12]} within {self._limits.blob_s:g} s") from None
        finally:
            del self._wanted[key]

    def on_frame(self, connection: Connection, kind: int, body: bytes) -> None:
        """A GET_BLOB, BLOB, CHUNK or NO_BLOB frame. Raises `PeerError` if malformed: the connection ends."""
        try:
            if kind == Kind.GET_BLOB:
                identifier, raw = _GET.unpack(body)
                self._begin(connection, identifier, Digest(raw.hex()))
                return
            if len(body) < _ID.size:
                raise PeerError("a blob frame is too short")
            wanted = self._wanted.get((connection, _ID.unpack_from(body)[0]))
            if wanted is None or wanted.done.done():
                return  # given up meanwhile
            self._receive(connection.name, wanted, kind, body)
        except struct.error:
            raise PeerError("a blob frame is malformed", why=f"{len(body)} bytes") from None

    def gone(self, connection: Connection) -> None:
        """The connection ended: fail what was asked over it, stop what was being served."""
        for (where, _), wanted in self._wanted.items():
            if where is connection and not wanted.done.done():
                wanted.done.set_exception(PeerGone(f"{connection.name} went away", why=connection.reason))
        for task in self._serving.pop(connection, set()):
            task.cancel()

    def _receive(self, name: str, wanted: _Wanted, kind: int, body: bytes) -> None:
        if kind == Kind.NO_BLOB:
            reason = body[_ID.size : _ID.size + REASON_BYTES_MAX].decode(errors="replace")
            wanted.done.set_exception(NotFound(f"{name} does not give {wanted.digest[:12]}", why=_printable(reason)))
        elif kind == Kind.BLOB:
            _, wanted.size = _START.unpack(body)
            if wanted.size > wanted.bytes_max:
                wanted.done.set_exception(
                    TooLarge(f"{wanted.digest[:12]} is {wanted.size} bytes, at most {wanted.bytes_max}")
                )
        else:
            wanted.data += memoryview(body)[_ID.size :]
        if wanted.done.done():
            return
        if len(wanted.data) > max(wanted.size, 0):
            raise PeerError("a blob is longer than was said")
        if len(wanted.data) == wanted.size:
            if hashlib.sha256(wanted.data).hexdigest() != wanted.digest:
                raise PeerError("a blob does not match its digest", why=wanted.digest[:12])
            wanted.done.set_result(bytes(wanted.data))

    def _begin(self, connection: Connection, identifier: int, digest: Digest) -> None:
        serving = self._serving.setdefault(connection, set())
        busy = len(serving) >= self._limits.blobs_per_peer_max
        reason = "too many transfers at once" if busy else self._refusal(connection, digest)
        if reason:
            connection.send(Kind.NO_BLOB, _ID.pack(identifier) + reason.encode()[:REASON_BYTES_MAX])
            return
        task = asyncio.create_task(
            self._serve(connection, identifier, digest), name=f"blob-{digest[:12]}-to-{connection.name}"
        )
        serving.add(task)
        task.add_done_callback(serving.discard)

    def _refusal(self, connection: Connection, digest: Digest) -> str:
        # Permission first: who may not have a blob does not learn whether it is here.
        return self._permit(connection.name, digest) or ("" if self._source.has(digest) else "not held here")

    async def _serve(self, connection: Connection, identifier: int, digest: Digest) -> None:
        prefix = _ID.pack(identifier)
        try:
            size = self._source.size(digest)
            connection.send(Kind.BLOB, _START.pack(identifier, size))
            pieces = self._source.open(digest)
            while data := await asyncio.to_thread(_read, pieces):
                connection.send(Kind.CHUNK, prefix + data)
                await connection.drain()
            self._on_served(connection.name, digest, size)
        except PeerGone:
            return
        except (ComityError, OSError) as error:
            connection.send(Kind.NO_BLOB, prefix + f"cannot read it: {type(error).__name__}".encode())


def _read(pieces: Iterator[bytes]) -> bytes:
    return b"".join(islice(pieces, CHUNKS_PER_FRAME))


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "�" for character in text)
