"""Anchoring: asked first, sent once, woken by the block; who gives up leaves nothing waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from comity.ledger import transaction
from comity.ledger.types import Receipt
from comity.node import anchors as module
from comity.node.anchors import Anchors
from comity.node.errors import Busy, ChildGone, Forbidden
from comity.record.digest import keccak256
from comity.record.kinds import to_json
from comity.record.record import Record
from comity.record.types import Address, Hash32
from support.consortium import CHAIN_ID, ORGS, Consortium

N = ORGS[0]


class World:
    """A consortium in which northfield's transactions come in blocks when the test says."""

    def __init__(self) -> None:
        self.c = Consortium()
        self.key = self.c.keys[N]
        self.sent: list[bytes] = []
        self.refuse: Exception | None = None
        self.allowed = (True, 100_000, b"")
        self.anchors = Anchors(
            address=self.key.address, chain_id=CHAIN_ID, view=self.c.view, signer=self, chain=self,
            now=lambda: self.c.time, submit=self.submit, next_nonce=self.next_nonce,
        )  # fmt: skip

    async def record(self, payload: bytes) -> bytes:
        from comity.record.envelope import signing_hash

        return self.key.sign(signing_hash(payload))

    async def transaction(self, payload: bytes) -> bytes:
        return self.key.sign(keccak256(payload))

    async def simulate(self, sender: Address, to: Address, data: bytes, timestamp: int) -> tuple[bool, int, bytes]:
        return self.allowed

    async def next_nonce(self, address: Address) -> int:
        return len(self.sent)

    async def submit(self, raw: bytes) -> Hash32:
        if self.refuse is not None:
            raise self.refuse
        self.sent.append(raw)
        return keccak256(raw)

    def block(self) -> None:
        """All that was sent, in a block."""
        transactions = [transaction.decode(raw, chain_id=CHAIN_ID) for raw in self.sent]
        self.c.block(*transactions)
        receipts: tuple[Receipt, ...] = self.c.blocks[-1][1]
        self.anchors.committed(zip((tx.hash for tx in transactions), receipts, strict=True))


def record(rows: int = 1) -> Record:
    c = Consortium()
    spec: Any = c.view.records[c.dataset(N, rows=rows)].record.spec
    return Record.make("dataset", N, to_json(spec))


def run(main: Callable[[World], Awaitable[None]]) -> None:
    async def start() -> None:
        world = World()
        await main(world)
        assert not world.anchors._waiting, "nobody is left waiting"

    asyncio.run(start())


async def begun(world: World, one: Record) -> asyncio.Task[Any]:
    before = len(world.sent)
    task = asyncio.create_task(world.anchors.record(one))
    while len(world.sent) == before and not task.done():
        await asyncio.sleep(0)
    return task


def test_it_answers_when_the_record_is_in_a_block() -> None:
    async def main(world: World) -> None:
        task = await begun(world, record())
        assert not task.done()
        world.block()
        name = await task
        assert name in world.c.view.records
        assert await world.anchors.record(record()) == name, "what is anchored is not sent again"
        assert len(world.sent) == 1

    run(main)


def test_the_contracts_own_words_come_before_anything_is_sent() -> None:
    async def main(world: World) -> None:
        world.allowed = (False, 0, b"")
        with pytest.raises(Forbidden, match="the ledger refuses dataset"):
            await world.anchors.record(record())
        assert not world.sent

    run(main)


def test_what_fails_in_the_block_is_told() -> None:
    async def main(world: World) -> None:
        first, second = await begun(world, record()), await begun(world, record())
        world.block()
        results = await asyncio.gather(first, second, return_exceptions=True)
        assert isinstance(results[0], str)
        assert results[1] == results[0], "the same record asked twice at once is one record, and told to both"

    run(main)


def test_who_gives_up_leaves_nothing_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(world: World) -> None:
        task = await begun(world, record())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        world.refuse = ChildGone("the executor died")
        with pytest.raises(ChildGone):
            await world.anchors.record(record(2))
        world.refuse = None
        monkeypatch.setattr(module, "COMMIT_S_MAX", 0.01)
        with pytest.raises(Busy, match="not in a block"):
            await world.anchors.record(record(3))

    run(main)
