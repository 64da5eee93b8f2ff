"""Peers over real loopback sockets: who gets in, what is kept, and everything that strangers and bad members try."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import struct
import tracemalloc
from collections.abc import Awaitable, Callable

import pytest

from comity.node import frames
from comity.node.connection import PROLOGUE, Contact, Kind, Shaken, kind_name, shake
from comity.node.errors import NotFound, PeerError, PeerGone, TooLarge
from comity.node.noise import Handshake
from comity.node.peers import resolve
from comity.record.keys import PrivateKey
from comity.record.types import Digest, Hash32
from support.members import QUICK, Member, local, until

pytestmark = pytest.mark.net

Play = Callable[[Member, Member], Awaitable[None]]


def two(play: Play, **changes: object) -> None:
    """Two connected members; both are stopped whatever happens."""

    async def run() -> None:
        directory: dict[str, Contact] = {}
        limits = dataclasses.replace(QUICK, **changes)  # type: ignore[arg-type]
        one, other = Member("northfield", directory, limits), Member("riverside", directory, limits)
        await one.start()
        await other.start()
        try:
            await until(lambda: one.peers.connected == ["riverside"] and other.peers.connected == ["northfield"])
            await play(one, other)
        finally:
            await asyncio.gather(one.peers.stop(), other.peers.stop())

    asyncio.run(run())


def alone(play: Callable[[Member], Awaitable[None]], **changes: object) -> None:
    """One listening member, strangers around it."""

    async def run() -> None:
        limits = dataclasses.replace(QUICK, **changes)  # type: ignore[arg-type]
        member = Member("northfield", {"riverside": Contact(local("riverside").address, "")}, limits)
        await member.start()
        try:
            await play(member)
        finally:
            await member.peers.stop()

    asyncio.run(run())


async def enter(member: Member, name: str = "riverside") -> tuple[Shaken, asyncio.StreamReader, asyncio.StreamWriter]:
    """A hand-made member that connects and proves itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", member.port)
    shaken = await shake(
        reader, writer, local(name), member.directory, initiator=True, entropy=random.Random(name).randbytes
    )
    return shaken, reader, writer


# ── What works ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_messages_go_both_ways_and_are_counted() -> None:
    async def play(one: Member, other: Member) -> None:
        assert one.peers.send("riverside", Kind.PREPARE, b"vote")
        assert other.peers.broadcast(Kind.TRANSACTIONS, bytes(300_000)) == 1
        assert other.peers.broadcast(Kind.TRANSACTIONS, b"x", but="northfield") == 0
        await until(lambda: one.messages and other.messages)
        assert other.messages == [("northfield", Kind.PREPARE, b"vote")]
        assert one.messages == [("riverside", Kind.TRANSACTIONS, bytes(300_000))]
        assert one.peers.traffic.bytes[("out", "prepare")] == other.peers.traffic.bytes[("in", "prepare")] == 5
        assert one.peers.traffic.bytes[("in", "transactions")] == 300_001
        assert not one.peers.send("lakeside", Kind.PREPARE, b"")
        (status,) = one.peers.status()
        assert status.connected
        await until(lambda: one.peers.status()[0].round_trip_ms > 0)

    two(play)


def test_one_connection_each_and_it_comes_back() -> None:
    async def play(one: Member, other: Member) -> None:
        await asyncio.sleep(0.3)
        assert one.events.count("+riverside") - one.events.count("-riverside") == 1
        one.peers._connections["riverside"].close("a cable was pulled")
        await until(lambda: one.events[-1] == "-riverside")
        await until(lambda: one.peers.connected and other.peers.connected and one.events[-1] == "+riverside")
        one.messages.clear()
        assert other.peers.send("northfield", Kind.STATUS, b"again")
        await until(lambda: one.messages == [("riverside", Kind.STATUS, b"again")])

    two(play)


def test_a_restarted_peer_replaces_its_corpse() -> None:
    """The old socket hangs open, as after a power cut; the restarted node must not wait for the silence limit."""

    async def play(member: Member) -> None:
        _, _, old = await enter(member)
        await until(lambda: member.peers.connected == ["riverside"])
        _, _, new = await enter(member)
        await until(lambda: member.events == ["+riverside", "-riverside", "+riverside"])
        old.close()
        new.close()

    alone(play)


def test_four_members_make_a_mesh() -> None:
    async def run() -> None:
        directory: dict[str, Contact] = {}
        members = [Member(name, directory) for name in ("northfield", "riverside", "lakeside", "office")]
        for member in members:
            await member.start()
        try:
            await until(lambda: all(len(member.peers.connected) == 3 for member in members))
            await asyncio.sleep(0.3)
            assert all(len(member.peers.connected) == 3 for member in members)
        finally:
            await asyncio.gather(*(member.peers.stop() for member in members))

    asyncio.run(run())


# ── Blobs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_000])
def test_blobs(size: int) -> None:
    async def play(one: Member, other: Member) -> None:
        data = random.Random(size).randbytes(size)
        digest = other.blobs.add(data)
        assert await one.peers.fetch("riverside", digest, bytes_max=size) == data
        await until(lambda: other.served == [("northfield", digest, size)])

    two(play)


def test_blobs_refused() -> None:
    async def play(one: Member, other: Member) -> None:
        digest = other.blobs.add(bytes(1000))
        with pytest.raises(TooLarge):
            await one.peers.fetch("riverside", digest, bytes_max=999)
        with pytest.raises(NotFound, match="not held here"):
            await one.peers.fetch("riverside", Digest("0" * 64), bytes_max=1)
        other.permit = lambda name, _: f"{name} has no grant"
        with pytest.raises(NotFound, match="northfield has no grant"):
            await one.peers.fetch("riverside", digest, bytes_max=1000)
        with pytest.raises(PeerGone):
            await one.peers.fetch("lakeside", digest, bytes_max=1000)
        assert other.peers.traffic.bytes.get(("out", "chunk"), 0) <= 1000 + 5
        other.permit = lambda name, _: ""
        other.blobs.held[digest] = bytes(999) + b"x"  # a liar
        with pytest.raises(PeerGone):
            await one.peers.fetch("riverside", digest, bytes_max=1000)

    two(play)


def test_a_blob_that_never_comes() -> None:
    async def play(member: Member) -> None:
        _, _, writer = await enter(member)
        await until(lambda: member.peers.connected)
        with pytest.raises(PeerGone):
            await member.peers.fetch("riverside", Digest("0" * 64), bytes_max=1)
        writer.close()

    alone(play, blob_s=0.2)


# ── Who does not get in ──────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("who", "why"),
    [
        (local("stranger"), "not a member"),
        (local("riverside", Hash32(bytes(32))), "another network"),
        (local("riverside", key=PrivateKey.from_seed("somebody else")), "did not sign"),
    ],
)
def test_strangers(who: object, why: str, caplog: pytest.LogCaptureFixture) -> None:
    async def play(member: Member) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", member.port)
        handshake = Handshake(initiator=True, static=who.static, ephemeral=bytes([1]) * 32, prologue=PROLOGUE)  # type: ignore[attr-defined]
        writer.write(frames.pack(handshake.write()))
        (size,) = struct.unpack(">I", await reader.readexactly(4))
        handshake.read(await reader.readexactly(size))
        writer.write(frames.pack(handshake.write(who.identity.encode())))  # type: ignore[attr-defined]
        assert await reader.read() == b""
        assert member.peers.refused == 1
        writer.close()

    with caplog.at_level("INFO"):
        alone(play)
    assert why in caplog.text


def test_a_recorded_handshake_is_worthless() -> None:
    """All that an eavesdropper saw, played again: the responder's fresh ephemeral key makes message 3 unreadable."""

    async def play(member: Member) -> None:
        recorded: list[bytes] = []
        reader, writer = await asyncio.open_connection("127.0.0.1", member.port)
        handshake = Handshake(
            initiator=True, static=local("riverside").static, ephemeral=bytes([1]) * 32, prologue=PROLOGUE
        )
        for message in (handshake.write(),):
            recorded.append(frames.pack(message))
            writer.write(recorded[-1])
        (size,) = struct.unpack(">I", await reader.readexactly(4))
        handshake.read(await reader.readexactly(size))
        recorded.append(frames.pack(handshake.write(local("riverside").identity.encode())))
        writer.write(recorded[-1])
        await until(lambda: member.peers.connected)
        writer.close()
        await until(lambda: not member.peers.connected)
        reader, writer = await asyncio.open_connection("127.0.0.1", member.port)
        writer.write(b"".join(recorded))
        await asyncio.wait_for(reader.read(), 3)
        assert member.peers.refused == 1
        assert not member.peers.connected
        writer.close()

    alone(play)


def test_junk_at_the_door_neither_kills_nor_leaks() -> None:
    async def play(member: Member) -> None:
        rng = random.Random(1)

        async def once() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", member.port)
            shape = rng.randrange(4)
            junk = rng.randbytes(rng.randrange(300))
            if shape == 1:
                junk = struct.pack(">I", rng.randrange(200)) + junk
            elif shape == 2:
                junk = struct.pack(">I", 32) + rng.randbytes(32) + struct.pack(">I", 200) + rng.randbytes(200)
            elif shape == 3:
                junk = struct.pack(">I", 2**32 - 1) + junk
            try:
                writer.write(junk)
                if rng.random() < 0.5:
                    writer.write_eof()
                await asyncio.wait_for(reader.read(), 3)
            except (ConnectionError, OSError):
                pass
            finally:
                writer.close()

        for _ in range(40):
            await once()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(4):
            await asyncio.gather(*(once() for _ in range(25)))
        await until(lambda: not member.peers._inbound)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 400_000
        _, _, writer = await enter(member)
        await until(lambda: member.peers.connected == ["riverside"])
        writer.close()

    alone(play, handshake_s=0.1)


def test_slow_loris_is_cut_off() -> None:
    async def play(member: Member) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", member.port)
        started = asyncio.get_running_loop().time()
        drip = asyncio.create_task(_drip(writer))
        assert await reader.read() == b""
        assert asyncio.get_running_loop().time() - started < 1.5
        drip.cancel()
        await asyncio.wait([drip])
        writer.close()

    alone(play)


async def _drip(writer: asyncio.StreamWriter, data: bytes = bytes(4000)) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


def test_a_crowd_at_the_door_is_bounded() -> None:
    async def play(member: Member) -> None:
        crowd = [await asyncio.open_connection("127.0.0.1", member.port) for _ in range(20)]
        await asyncio.sleep(0.1)
        assert member.peers._pending <= 5
        for _, writer in crowd:
            writer.close()
        await until(lambda: member.peers._pending == 0)

    alone(play, pending_max=5)


# ── Bad members ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "attack", ["oversized", "garbage", "unknown kind", "empty blob", "long ping", "drip", "silence"]
)
def test_bad_members_are_dropped(attack: str) -> None:
    async def play(member: Member) -> None:
        shaken, _, writer = await enter(member)
        await until(lambda: member.peers.connected == ["riverside"])
        drip = asyncio.create_task(asyncio.sleep(0))
        if attack == "oversized":
            writer.write(struct.pack(">I", frames.SEALED_BYTES_MAX + 1))
        elif attack == "garbage":
            writer.write(struct.pack(">I", 100) + bytes(100))
        elif attack == "unknown kind":
            writer.write(frames.seal(shaken.send, 99, b""))
        elif attack == "empty blob":
            writer.write(frames.seal(shaken.send, Kind.GET_BLOB, b""))
        elif attack == "long ping":
            writer.write(frames.seal(shaken.send, Kind.PING, bytes(100)))
        elif attack == "drip":
            drip = asyncio.create_task(_drip(writer, frames.seal(shaken.send, Kind.STATUS, bytes(1000))))
        await until(lambda: not member.peers.connected)
        drip.cancel()
        await asyncio.wait([drip])
        writer.close()
        assert member.peers.status()[0].trouble
        assert not member.messages

    alone(play, silence_s=0.4)


def test_a_member_that_does_not_read_is_dropped() -> None:
    async def play(member: Member) -> None:
        _, _, writer = await enter(member)
        await until(lambda: member.peers.connected)
        sent = 0
        while member.peers.send("riverside", Kind.BLOCKS, bytes(1_000_000)):
            sent += 1
            assert sent < 40
            await asyncio.sleep(0)
        await until(lambda: not member.peers.connected)
        assert "reads too slowly" in member.peers.status()[0].trouble
        writer.close()

    alone(play, write_buffer_bytes_max=4_000_000)


def test_a_dropped_member_stays_out_for_a_while() -> None:
    async def play(one: Member, other: Member) -> None:
        one.peers.drop("riverside", "it lied")
        await until(lambda: not one.peers.connected)
        assert one.peers.status()[0].trouble == "it lied"
        await asyncio.sleep(0.2)
        assert not one.peers.connected
        await until(lambda: one.peers.connected == ["riverside"])

    two(play)


@pytest.mark.parametrize(
    "endpoint", ["", "host", "host:", ":1", "host:0", "host:99999", "169.254.169.254:80", "[fe80::1]:80", "0.0.0.0:80",
                 "224.0.0.1:80", "[::ffff:169.254.169.254]:80", "no such host:1", "a" * 300 + ":1"]
)  # fmt: skip
def test_endpoints_that_are_not_dialled(endpoint: str) -> None:
    with pytest.raises(PeerError):
        asyncio.run(resolve(endpoint))


def test_endpoints_that_are_dialled() -> None:
    assert asyncio.run(resolve("127.0.0.1:7401")) == ("127.0.0.1", 7401)
    assert asyncio.run(resolve("[::1]:7401")) == ("::1", 7401)


def test_unknown_kinds_share_one_label() -> None:
    assert kind_name(200) == "unknown"
    assert kind_name(Kind.GET_BLOB) == "get_blob"
