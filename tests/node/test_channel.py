"""Requests to a process: in order, bounded, and never answered by silence."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from comity.node import frames
from comity.node.channel import Channel, serve
from comity.node.errors import Busy, ChildGone

pytestmark = pytest.mark.net


def echo(request: bytes) -> bytes:
    return request[::-1]


def test_pipelined_in_order_and_restarted() -> None:
    async def scene() -> None:
        channel = Channel("echo")
        with pytest.raises(ChildGone, match="not running"):
            await channel.request(b"x")
        for _ in range(2):
            ours, theirs = socket.socketpair()
            thread = threading.Thread(target=serve, args=(theirs, echo))
            thread.start()
            await channel.attach(ours)
            answers = await asyncio.gather(*(channel.request(bytes([i, 1])) for i in range(200)))
            assert answers == [bytes([1, i]) for i in range(200)]
            assert await channel.request(bytes(3_000_000)) == bytes(3_000_000)
            await channel.detach()
            thread.join()
            theirs.close()
        assert not channel.attached

    asyncio.run(scene())


def test_death_fails_whoever_waits() -> None:
    async def scene() -> None:
        channel = Channel("mute", waiting_max=3)
        ours, theirs = socket.socketpair()
        await channel.attach(ours)
        waiting = [asyncio.ensure_future(channel.request(b"x")) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="3 requests"):
            await channel.request(b"x")
        waiting[1].cancel()
        theirs.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [ChildGone, asyncio.CancelledError, ChildGone]
        with pytest.raises(ChildGone):
            await channel.request(b"x")
        await channel.detach()

    asyncio.run(scene())


@pytest.mark.parametrize("wire", [frames.LENGTH.pack(2**31), frames.pack(b"nobody asked"), b"\0"])
def test_a_channel_that_talks_nonsense_is_closed(wire: bytes) -> None:
    async def scene() -> None:
        channel = Channel("mad")
        ours, theirs = socket.socketpair()
        await channel.attach(ours)
        theirs.sendall(wire)
        theirs.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(3):
            while channel.attached:
                await asyncio.sleep(0.005)
        theirs.close()
        await channel.detach()

    asyncio.run(scene())


def test_a_cancelled_caller_does_not_shift_the_answers() -> None:
    async def scene() -> None:
        channel = Channel("slow")
        ours, theirs = socket.socketpair()
        await channel.attach(ours)
        first = asyncio.ensure_future(channel.request(b"first"))
        second = asyncio.ensure_future(channel.request(b"second"))
        await asyncio.sleep(0.01)
        first.cancel()
        theirs.sendall(frames.pack(b"1") + frames.pack(b"2"))
        assert await second == b"2"
        theirs.close()
        await channel.detach()

    asyncio.run(scene())
