"""The other members: listen, dial those the registry names, keep one proven connection to each, send and broadcast.

It moves frames and counts them; it does not judge what is in them. The wire format stands in docs/peers.md.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import logging
import os
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypedDict

from comity.node.connection import Connection, Contact, Kind, Limits, Local, Shaken, Traffic, shake
from comity.node.errors import HandshakeRefused, PeerError, PeerGone
from comity.node.transfer import BlobSource, Permit, Transfers
from comity.record.types import Digest

_log = logging.getLogger(__name__)
_BLOB_KINDS = frozenset((Kind.GET_BLOB, Kind.BLOB, Kind.CHUNK, Kind.NO_BLOB))
DIRECTORY_S = 1.0
"""How often the directory is read again for members to dial."""


@dataclass(frozen=True)
class PeerStatus:
    """One member as this node sees it, for `doctor` and the console."""

    name: str
    endpoint: str
    connected: bool
    dialled: bool = False
    remote: str = ""
    for_s: float = 0.0
    round_trip_ms: float = 0.0
    trouble: str = ""
    """Why the last attempt or connection ended."""


class _Shared(TypedDict):
    limits: Limits
    traffic: Traffic
    on_frame: Callable[[Connection, int, bytes], None]


class Peers:
    """All connections of one node. Callbacks run on the event loop and must not block."""

    def __init__(
        self,
        local: Local,
        *,
        listen: tuple[str, int],
        directory: Callable[[], Mapping[str, Contact]],
        on_message: Callable[[str, int, bytes], None],
        blobs: BlobSource,
        permit: Permit,
        on_connect: Callable[[str], None] = lambda name: None,
        on_disconnect: Callable[[str], None] = lambda name: None,
        on_served: Callable[[str, Digest, int], None] = lambda name, digest, size: None,
        limits: Limits | None = None,
        rng: random.Random | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`directory`: the members by name. `on_message(name, kind, body)` gets the ledger's messages; it may raise `PeerError`."""
        self._local, self._listen, self._directory = local, listen, directory
        self._on_message, self._on_connect, self._on_disconnect = on_message, on_connect, on_disconnect
        self._limits = limits or Limits()
        self._rng = rng or random.Random(entropy(8))  # noqa: S311  (jitter, not a secret)
        self._entropy = entropy
        self._transfers = Transfers(blobs, permit, self._limits, on_served)
        self._connections: dict[str, Connection] = {}
        self._trouble: dict[str, str] = {}
        self._banned_until: dict[str, float] = {}
        self._dialling: dict[str, asyncio.Task[None]] = {}
        self._inbound: set[asyncio.Task[None]] = set()
        self._pending = 0
        self._server: asyncio.Server | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.traffic = Traffic()
        self.refused = 0
        """Inbound connections that proved nobody."""

    async def start(self) -> None:
        """Listen and begin to dial. Raises OSError if the port is taken."""
        self._server = await asyncio.start_server(self._accept, *self._listen, limit=2**18)
        self._keeper = asyncio.create_task(self._keep_dialling(), name="peers-dial")

    async def stop(self) -> None:
        """Close everything and wait until it is closed."""
        tasks = [*self._dialling.values(), *self._inbound, *([self._keeper] if self._keeper else [])]
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections.values()):
            connection.close("this node is stopping")
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._server is not None:
            await self._server.wait_closed()

    @property
    def port(self) -> int:
        """The port that is listened on (useful when 0 was asked for)."""
        if self._server is None:
            return self._listen[1]
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def connected(self) -> list[str]:
        return sorted(self._connections)

    def status(self) -> list[PeerStatus]:
        """Every other member of the directory."""
        now = asyncio.get_running_loop().time()
        found = []
        for name, contact in sorted(self._directory().items()):
            connection = self._connections.get(name)
            if name == self._local.name:
                continue
            if connection is None:
                found.append(PeerStatus(name, contact.endpoint, False, trouble=self._trouble.get(name, "")))
            else:
                trip, age = connection.round_trip_s * 1000, now - connection.since
                found.append(PeerStatus(name, contact.endpoint, True, connection.dialled, connection.remote, age, trip))
        return found

    def send(self, name: str, kind: int, body: bytes) -> bool:
        """Queue a frame to a member; False if it is not connected (the ledger's protocols expect loss)."""
        connection = self._connections.get(name)
        return connection is not None and connection.send(kind, body)

    def broadcast(self, kind: int, body: bytes, but: str | None = None) -> int:
        """Queue a frame to every connected member; to how many."""
        return sum(connection.send(kind, body) for name, connection in list(self._connections.items()) if name != but)

    async def fetch(self, name: str, digest: Digest, *, bytes_max: int) -> bytes:
        """A blob from a member, checked against its digest. Raises `NotFound`, `TooLarge`, `PeerGone`."""
        connection = self._connections.get(name)
        if connection is None:
            raise PeerGone(f"no connection to {name}", why=self._trouble.get(name, ""))
        return await self._transfers.fetch(connection, digest, bytes_max)

    def drop(self, name: str, reason: str) -> None:
        """Close the connection to a member that broke the protocol, and refuse it for a while."""
        self._banned_until[name] = asyncio.get_running_loop().time() + self._limits.ban_s
        connection = self._connections.get(name)
        if connection is not None:
            _log.warning("dropped %s: %s", name, reason)
            connection.close(reason)

    # ── Inbound ──────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._pending >= self._limits.pending_max:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        if task is not None:
            self._inbound.add(task)
            task.add_done_callback(self._inbound.discard)
        try:
            self._pending += 1
            try:
                shaken = await self._shake(reader, writer, initiator=False)
            finally:
                self._pending -= 1
            await self._keep(Connection(shaken, reader, writer, dialled=False, **self._shared()))
        except PeerError as error:
            self.refused += 1
            _log.info("refused an inbound connection: %s", error)
        except asyncio.CancelledError:
            return  # we are stopping; the stream server would log it as an error
        finally:
            writer.transport.abort()

    async def _shake(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, initiator: bool) -> Shaken:
        try:
            async with asyncio.timeout(self._limits.handshake_s):
                shaken = await shake(
                    reader, writer, self._local, self._directory(), initiator=initiator, entropy=self._entropy
                )
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
            raise HandshakeRefused("the handshake broke off", why=str(error) or type(error).__name__) from None
        if self._banned_until.get(shaken.name, 0) > asyncio.get_running_loop().time():
            raise HandshakeRefused(f"{shaken.name} is refused for a while", why=self._trouble.get(shaken.name, ""))
        return shaken

    # ── Outbound ─────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _keep_dialling(self) -> None:
        while True:
            for name, contact in self._directory().items():
                if (
                    contact.endpoint
                    and name != self._local.name
                    and name not in self._connections
                    and name not in self._dialling
                ):
                    task = asyncio.create_task(self._dial(name), name=f"dial-{name}")
                    self._dialling[name] = task
                    task.add_done_callback(functools.partial(self._dialled, name))
            await asyncio.sleep(DIRECTORY_S)

    def _dialled(self, name: str, _: asyncio.Task[None]) -> None:
        self._dialling.pop(name, None)

    async def _dial(self, name: str) -> None:
        """Try until connected, with exponential back-off and full jitter; serve the connection while it lasts."""
        pause = self._limits.retry_s_min
        while name not in self._connections and (contact := self._directory().get(name)) is not None:
            started = asyncio.get_running_loop().time()
            try:
                await self._dial_once(name, contact)
            except (PeerError, OSError, TimeoutError) as error:
                self._trouble[name] = str(error) or type(error).__name__
            if asyncio.get_running_loop().time() - started > self._limits.retry_s_max:
                pause = self._limits.retry_s_min  # it held for a while: begin afresh
            await asyncio.sleep(pause * (0.5 + self._rng.random()))
            pause = min(pause * 2, self._limits.retry_s_max)

    async def _dial_once(self, name: str, contact: Contact) -> None:
        if self._banned_until.get(name, 0) > asyncio.get_running_loop().time():
            raise PeerError(f"{name} is refused for a while")
        async with asyncio.timeout(self._limits.handshake_s):
            host, port = await resolve(contact.endpoint)
            reader, writer = await asyncio.open_connection(host, port, limit=2**18)
        try:
            shaken = await self._shake(reader, writer, initiator=True)
            if shaken.name != name:
                raise HandshakeRefused(f"{contact.endpoint} is {shaken.name}, not {name}")
            await self._keep(Connection(shaken, reader, writer, dialled=True, **self._shared()))
        finally:
            writer.transport.abort()

    # ── Kept connections ─────────────────────────────────────────────────────────────────────────────────────────────
    def _shared(self) -> _Shared:
        return {"limits": self._limits, "traffic": self.traffic, "on_frame": self._frame}

    async def _keep(self, connection: Connection) -> None:
        name, held = connection.name, self._connections.get(connection.name)
        if held is not None:
            if not self._prefer(connection, held):
                raise PeerError(f"{name} is connected already")
            held.close("replaced by a newer connection")
            self._forget(held)
        self._connections[name] = connection
        self._trouble.pop(name, None)
        self._on_connect(name)
        try:
            await connection.run()
        finally:
            self._forget(connection)

    def _prefer(self, new: Connection, held: Connection) -> bool:
        """One connection a member: of two dialled at once that of the smaller address, else the newer (the old one is a corpse)."""
        if held.closed or new.since - held.since > self._limits.simultaneous_s or new.dialled == held.dialled:
            return True
        return new.dialled == (self._local.address < new.address)

    def _forget(self, connection: Connection) -> None:
        if self._connections.get(connection.name) is connection:
            del self._connections[connection.name]
            self._trouble[connection.name] = connection.reason
            self._transfers.gone(connection)
            self._on_disconnect(connection.name)

    def _frame(self, connection: Connection, kind: int, body: bytes) -> None:
        if kind in _BLOB_KINDS:
            self._transfers.on_frame(connection, kind, body)
        else:
            self._on_message(connection.name, kind, body)


async def resolve(endpoint: str) -> tuple[str, int]:
    """The address to dial for `host:port`. Raises `PeerError` for link-local (cloud metadata), multicast and unspecified ones.

    The name is resolved once and the result dialled, so that a name cannot change between check and use.
    """
    host, _, port = endpoint.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65_536:
        raise PeerError(f"`{endpoint}` is not host:port")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise PeerError(f"`{host}` does not resolve", why=str(error)) from None
    for *_, where in found:
        address = ipaddress.ip_address(str(where[0]).split("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        if not (mapped.is_link_local or mapped.is_multicast or mapped.is_unspecified):
            return str(where[0]), int(port)
    raise PeerError(f"`{endpoint}` is not an address that may be dialled")
