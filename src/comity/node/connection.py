"""One encrypted connection to one member: the handshake, the reading loop, bounded writing, pings.

It knows bytes and kinds, not their meaning. Which connection is kept, and who is dialled, is `peers`' decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from comity.node import frames
from comity.node.errors import HandshakeRefused, PeerError, PeerGone
from comity.node.noise import Cipher, Handshake, Identity
from comity.record.types import Address, Hash32

PROLOGUE = b"comity-peer-v1"
READ_BYTES = 256 * 1024


class Kind(IntEnum):
    """The first byte of every frame. The ledger's messages (docs/consensus.md) are sent as LEDGER + their code."""

    PING = 1
    PONG = 2
    GET_BLOB = 3
    BLOB = 4
    CHUNK = 5
    NO_BLOB = 6
    PROPOSAL = 17
    PREPARE = 18
    COMMIT = 19
    ROUND_CHANGE = 20
    TRANSACTIONS = 21
    GET_BLOCKS = 22
    BLOCKS = 23
    STATUS = 24


LEDGER = 16


@dataclass(frozen=True)
class Limits:
    """Times in seconds, sizes in bytes. A test makes them small."""

    handshake_s: float = 5.0
    ping_s: float = 5.0
    silence_s: float = 20.0
    """Without one complete frame for so long, a connection is dead (or a slow loris)."""
    write_buffer_bytes_max: int = 32 * 1024 * 1024
    """A peer that reads slower than we write is dropped at this bound."""
    pending_max: int = 64
    """Inbound connections that have not yet proved who they are."""
    simultaneous_s: float = 5.0
    """Two connections made within this time were dialled at once; the smaller address's is kept."""
    retry_s_min: float = 0.1
    retry_s_max: float = 10.0
    ban_s: float = 10.0
    blob_bytes_max: int = 256 * 1024 * 1024
    blob_s: float = 60.0
    blobs_per_peer_max: int = 4


@dataclass(frozen=True)
class Local:
    """Who we are: our organisation's name and address, our X25519 private key, and the identity that the signer signed for it."""

    name: str
    address: Address
    static: bytes
    identity: Identity


@dataclass(frozen=True)
class Contact:
    """A member in the directory. `endpoint`: `host:port`, or "" for one that only dials."""

    address: Address
    endpoint: str


@dataclass
class Traffic:
    """Messages and plaintext bytes by (direction "in" or "out", kind)."""

    messages: dict[tuple[str, str], int] = field(default_factory=dict)
    bytes: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, direction: str, kind: str, size: int) -> None:
        key = (direction, kind)
        self.messages[key] = self.messages.get(key, 0) + 1
        self.bytes[key] = self.bytes.get(key, 0) + size


@dataclass(frozen=True)
class Shaken:
    """What a finished handshake leaves: who it is and the two ciphers."""

    name: str
    address: Address
    send: Cipher
    receive: Cipher


async def shake(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    local: Local,
    members: Mapping[str, Contact],
    *,
    initiator: bool,
    entropy: Callable[[int], bytes],
) -> Shaken:
    """Run Noise XX and learn which member this is. Raises `PeerError`; the caller sets the time limit and closes."""
    handshake = Handshake(initiator=initiator, static=local.static, ephemeral=entropy(32), prologue=PROLOGUE)
    theirs: bytes = b""
    step = 0
    while not handshake.finished:
        if handshake.my_turn:
            # The first message is readable by anyone, so it says nothing; ours follows in message 2 or 3.
            message = handshake.write(local.identity.encode() if step > 0 else b"")
            writer.write(frames.pack(message))
            await writer.drain()
        else:
            size = frames.unpack_length(await reader.readexactly(frames.LENGTH.size), frames.HANDSHAKE_BYTES_MAX)
            theirs = handshake.read(await reader.readexactly(size))
        step += 1
    name, address = authenticate(theirs, handshake.remote_static, local.identity.genesis, members)
    if address == local.address:
        raise HandshakeRefused("the other end is ourselves")
    send, receive = handshake.split()
    return Shaken(name, address, send, receive)


def authenticate(payload: bytes, static: bytes, genesis: Hash32, members: Mapping[str, Contact]) -> tuple[str, Address]:
    """The member that signed for this static key. Raises `HandshakeRefused` with the reason."""
    identity = Identity.decode(payload)
    address = identity.address(static, genesis)
    contact = members.get(identity.name)
    if contact is None:
        raise HandshakeRefused(f"`{identity.name}` is not a member")
    if contact.address != address:
        raise HandshakeRefused(f"the other end says it is `{identity.name}`, but that member did not sign for its key")
    return identity.name, address


class Connection:
    """A proven connection. `on_frame(connection, kind, body)` gets all but pings; a `PeerError` from it ends the connection."""

    def __init__(
        self,
        shaken: Shaken,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        dialled: bool,
        limits: Limits,
        traffic: Traffic,
        on_frame: Callable[[Connection, int, bytes], None],
    ) -> None:
        self.name, self.address, self.dialled = shaken.name, shaken.address, dialled
        self.reason = ""
        self._send, self._decoder = shaken.send, frames.Decoder(shaken.receive)
        self._reader, self._writer = reader, writer
        self._limits, self._traffic, self._on_frame = limits, traffic, on_frame
        self._loop = asyncio.get_running_loop()
        self.since = self._heard = self._loop.time()
        self.round_trip_s = 0.0

    @property
    def remote(self) -> str:
        host, port = self._writer.get_extra_info("peername", ("?", 0))[:2]
        return f"{host}:{port}"

    @property
    def closed(self) -> bool:
        return self._writer.is_closing()

    def send(self, kind: int, body: bytes) -> bool:
        """Queue one frame; False if the connection is closed or had to be, for want of a reader at the other end."""
        if self.closed:
            return False
        self._writer.write(frames.seal(self._send, kind, body))
        self._traffic.add("out", kind_name(kind), len(body) + 1)
        waiting = self._writer.transport.get_write_buffer_size()
        if waiting > self._limits.write_buffer_bytes_max:
            self.close(f"reads too slowly: {waiting} bytes are waiting")
            return False
        return True

    async def drain(self) -> None:
        """Wait until the other end has read most of what was sent. Raises `PeerGone`."""
        try:
            await self._writer.drain()
        except ConnectionError:
            raise PeerGone(f"the connection to {self.name} broke") from None

    def close(self, reason: str) -> None:
        """Drop the connection at once; what is unsent is lost."""
        self.reason = self.reason or reason
        self._writer.transport.abort()

    async def run(self) -> None:
        """Read until the end. Returns when the connection is closed; `reason` says why."""
        pinger = asyncio.create_task(self._ping(), name=f"ping-{self.name}")
        try:
            while data := await self._reader.read(READ_BYTES):
                for kind, body in self._decoder.feed(data):
                    self._heard = self._loop.time()
                    self._traffic.add("in", kind_name(kind), len(body) + 1)
                    self._handle(kind, body)
            self.close("the other end closed the connection")
        except PeerError as error:
            self.close(str(error))
        except (ConnectionError, OSError) as error:
            self.close(str(error) or "the connection broke")
        finally:
            pinger.cancel()
            await asyncio.wait([pinger])
            self.close("stopped")

    def _handle(self, kind: int, body: bytes) -> None:
        if kind == Kind.PING:
            if len(body) > 8:
                raise PeerError("a ping carries too much")
            self.send(Kind.PONG, body)
        elif kind == Kind.PONG:
            self.round_trip_s = self._loop.time() - int.from_bytes(body[:8], "big") / 1e6
        elif kind in _KINDS:
            self._on_frame(self, kind, body)
        else:
            raise PeerError("a frame of unknown kind", why=str(kind))

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._limits.ping_s)
            now = self._loop.time()
            if now - self._heard > self._limits.silence_s:
                self.close(f"silent for {self._limits.silence_s:g} s")
                return
            self.send(Kind.PING, int(now * 1e6).to_bytes(8, "big"))


_KINDS = frozenset(int(kind) for kind in Kind)


def kind_name(kind: int) -> str:
    """`prepare`, `get_blob`, …; `unknown` for a kind that we do not speak (so that a peer cannot invent labels)."""
    return Kind(kind).name.lower() if kind in _KINDS else "unknown"
