"""The executor process: the chain behind a socket, through SIGKILL, with its errors intact."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from comity.ledger import contracts, transaction
from comity.ledger.archive import LogFilter
from comity.ledger.block import header_hash, seal_hash
from comity.ledger.chain import Committed
from comity.ledger.errors import InvalidSeals, Reverted, TooMuch, UnknownBlock
from comity.ledger.executor import Message
from comity.ledger.transaction import decode
from comity.ledger.types import Block, SealedBlock, Seals, Transaction
from comity.node import executor
from comity.node.channel import Channel
from comity.node.children import Child, Children
from comity.node.errors import ChildGone
from comity.node.executor import ChainClient
from comity.node.home import Home
from comity.record.digest import keccak256
from comity.record.keys import PrivateKey
from comity.record.types import Address
from support.one_node import CHAIN_ID, RICH, found

pytestmark = pytest.mark.net
AT = Address(bytes(19) + b"\x77")


class World:
    """An executor process under supervision, and the key that seals."""

    def __init__(self, place: Home) -> None:
        self.channel = Channel("executor")
        self.chain = ChainClient(self.channel)
        self.children = Children(place.logs)
        self.child = Child(
            "executor", executor.arguments(place.ledger, place.genesis), self.channel, ready=self.chain.head
        )
        self.key = PrivateKey.from_bytes(place.key("validator"))

    def seal(self, block: Block) -> SealedBlock:
        seal = self.key.sign(seal_hash(CHAIN_ID, block.header.height, 0, header_hash(block.header)))
        return SealedBlock(block, Seals(0, (seal,)))

    async def patiently(self, ask: Callable[[], Awaitable[object]]) -> object:
        for _ in range(500):
            try:
                return await ask()
            except ChildGone:
                await asyncio.sleep(0.02)
        raise AssertionError("it never came back")


def transfer(nonce: int, value: int = 2**70) -> Transaction:
    payload = transaction.signing_payload(chain_id=CHAIN_ID, nonce=nonce, to=AT, gas=21_000, value=value)
    return decode(transaction.assemble(payload, RICH.sign(keccak256(payload))), chain_id=CHAIN_ID)


def play(root: Path, story: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        world = World(found(root, ["northfield"])[0])
        await world.children.start([world.child])
        try:
            async with asyncio.timeout(30):
                await story(world)
        finally:
            await world.children.stop()

    asyncio.run(run())


def test_a_block_through_the_process_and_its_death(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        chain = world.chain
        head, validators = await chain.head()
        assert validators.members == (world.key.address,)
        block, refused = await chain.build(head.block.header.timestamp + 5, world.key.address, [transfer(0)])
        assert not refused
        assert await chain.check(block) is None
        sealed = world.seal(block)
        # Killed with the block checked but not committed: it opens at the head before, and the commit is asked again.
        os.kill(world.children.pid("executor"), signal.SIGKILL)
        with pytest.raises(ChildGone):
            while True:
                await chain.head()
        committed = await world.patiently(lambda: chain.commit(sealed, [AT]))
        assert isinstance(committed, Committed)
        again = await chain.commit(sealed, [AT])
        assert (again.hash, again.receipts, again.validators) == (
            committed.hash,
            committed.receipts,
            committed.validators,
        )
        assert (await chain.accounts([AT, world.key.address]))[AT].balance == 2**70
        # Killed after the commit: nothing is lost.
        os.kill(world.children.pid("executor"), signal.SIGKILL)
        found_head = await world.patiently(chain.head)
        assert isinstance(found_head, tuple)
        assert found_head[0] == sealed
        place = await chain.place(transfer(0).hash)
        assert place is not None
        assert (place.height, place.index) == (1, 0)
        assert (await chain.transactions(1))[0] == transfer(0)
        assert (await chain.receipts(1))[0].succeeded
        assert await chain.blocks(1, 9, 1 << 20) == (sealed,)
        assert await chain.height_of(header_hash(block.header)) == 1
        assert await chain.logs(0, 1, LogFilter()) == []
        assert (await chain.receipt_proof(place))[1]
        assert await chain.transaction_proof(place)
        assert (await chain.prove(AT)).account == await chain.account(AT)

    play(tmp_path, story)


def test_errors_cross_with_their_kind(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        chain = world.chain
        head, _ = await chain.head()
        block, refused = await chain.build(head.block.header.timestamp + 5, world.key.address, [transfer(0, 10**30)])
        assert [hash32 for hash32, _ in refused] in ([transfer(0, 10**30).hash], [])
        with pytest.raises(InvalidSeals):
            await chain.commit(SealedBlock(block, Seals(0, ())))
        with pytest.raises(UnknownBlock):
            await chain.block(9)
        with pytest.raises(TooMuch) as too_much:
            await chain.logs(0, 10**6, LogFilter())
        assert too_much.value.hint
        assert "does not follow" in str(await chain.check(head.block))
        members = contracts.ADDRESS["Members"]
        with pytest.raises(Reverted) as reverted:
            await chain.estimate_gas(Message(RICH.address, members, b"\xff\xff\xff\xff"))
        assert isinstance(reverted.value.output, bytes)
        succeeded, gas, output = await chain.simulate(
            RICH.address, members, contracts.calldata("Members", "count"), 2**31
        )
        assert succeeded
        assert gas > 21_000
        assert int.from_bytes(output, "big") == 1
        assert await chain.code(members)
        assert await chain.storage(AT, 0) == 0

    play(tmp_path, story)


def test_requests_are_pipelined_in_order(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        answers = await asyncio.gather(*(world.chain.accounts([Address(bytes(19) + bytes([i]))]) for i in range(200)))
        assert [next(iter(answer))[-1] for answer in answers] == list(range(200))

    play(tmp_path, story)
