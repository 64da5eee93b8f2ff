"""Members for tests of peers: keys, identities, a directory, blobs in memory."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from comity.node.connection import Contact, Limits, Local
from comity.node.noise import Identity, identity_hash, public_key
from comity.node.peers import Peers
from comity.record.keys import PrivateKey
from comity.record.types import Digest, Hash32

GENESIS = Hash32(bytes([7]) * 32)
QUICK = Limits(
    handshake_s=0.6,
    ping_s=0.1,
    silence_s=1.0,
    retry_s_min=0.02,
    retry_s_max=0.2,
    ban_s=0.5,
    simultaneous_s=1.0,
    blob_s=2.0,
)


def local(name: str, genesis: Hash32 = GENESIS, key: PrivateKey | None = None) -> Local:
    """Who `name` is: everything derived from the name."""
    org = key or PrivateKey.from_seed(name)
    static = hashlib.sha256(b"static " + name.encode()).digest()
    signature = org.sign(identity_hash(public_key(static), genesis))
    return Local(name, org.address, static, Identity(genesis, signature, name))


class Blobs:
    """A blob source in memory."""

    def __init__(self) -> None:
        self.held: dict[Digest, bytes] = {}

    def add(self, data: bytes) -> Digest:
        digest = Digest(hashlib.sha256(data).hexdigest())
        self.held[digest] = data
        return digest

    def has(self, digest: Digest) -> bool:
        return digest in self.held

    def size(self, digest: Digest) -> int:
        return len(self.held[digest])

    def open(self, digest: Digest) -> Iterator[bytes]:
        data = self.held[digest]
        return (data[start : start + 65_536] for start in range(0, len(data), 65_536))


@dataclass
class Member:
    """One node's peers and what they were told."""

    name: str
    directory: dict[str, Contact]
    limits: Limits = QUICK
    me: Local | None = None
    blobs: Blobs = field(default_factory=Blobs)
    messages: list[tuple[str, int, bytes]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    served: list[tuple[str, Digest, int]] = field(default_factory=list)
    permit: Callable[[str, Digest], str] = lambda name, digest: ""
    port: int = 0
    peers: Peers = field(init=False)

    async def start(self) -> None:
        """Listen, and stand in the directory."""
        me = self.me or local(self.name)
        self.peers = Peers(
            me,
            listen=("127.0.0.1", self.port),
            directory=lambda: self.directory,
            on_message=lambda name, kind, body: self.messages.append((name, kind, body)),
            on_connect=lambda name: self.events.append(f"+{name}"),
            on_disconnect=lambda name: self.events.append(f"-{name}"),
            on_served=lambda name, digest, size: self.served.append((name, digest, size)),
            blobs=self.blobs,
            permit=lambda name, digest: self.permit(name, digest),
            limits=self.limits,
            rng=random.Random(self.name),
        )
        self.directory.setdefault(self.name, Contact(me.address, ""))
        await self.peers.start()
        self.port = self.peers.port
        self.directory[self.name] = Contact(self.directory[self.name].address, f"127.0.0.1:{self.port}")


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for a condition; fail the test if it does not come."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def scene(play: Callable[[dict[str, Contact]], Awaitable[None]]) -> None:
    """Run a scene on a fresh loop with an empty directory."""

    async def run() -> None:
        await play({})

    asyncio.run(run())
