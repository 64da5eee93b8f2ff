"""The runtime's own duties, with a replica on a plain chain: order, retries, refusals, halting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from comity.ledger import messages, transaction
from comity.ledger.errors import InvalidTransaction
from comity.ledger.mempool import PoolRefused
from comity.ledger.messages import Ballot, GetBlocks, Kind, Status, Vote
from comity.ledger.protocol import Halt
from comity.ledger.replica import Replica, Settings
from comity.ledger.types import SealedBlock
from comity.node import executor
from comity.node.errors import ChildGone, NodeError, SignerRefused
from comity.node.executor import ChainClient
from comity.node.runtime import Runtime, frame_kind, remember
from comity.record.digest import keccak256
from comity.record.keys import PrivateKey
from comity.record.types import Address, Hash32
from support.one_node import CHAIN_ID, RICH, found


class FlakyChannel:
    """The real chain service in this process, that is away every other time."""

    def __init__(self, place: Path, genesis: Path) -> None:
        from comity.ledger.genesis import Genesis

        self.chain, self.store = executor.open_chain(place, Genesis.decode(genesis.read_bytes()))
        self.asked = 0
        self.flaky = True

    async def request(self, body: bytes) -> bytes:
        self.asked += 1
        if self.flaky and self.asked % 2:
            raise ChildGone("away")
        return executor.answer(executor.ChainService(self.chain), body)


class FakeSigner:
    """Signs with the validator's key, or refuses."""

    def __init__(self, key: PrivateKey) -> None:
        self.key = key
        self.trouble: Exception | None = None

    async def vote(self, vote: Vote) -> bytes:
        if self.trouble is not None:
            raise self.trouble
        return self.key.sign(vote.signing_hash(CHAIN_ID))


class FakePeers:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.sent: list[tuple[str | None, int]] = []
        self.dropped: list[tuple[str, str]] = []

    def send(self, name: str, kind: int, body: bytes) -> bool:
        self.sent.append((name, kind))
        return True

    def broadcast(self, kind: int, body: bytes, but: str | None = None) -> int:
        self.sent.append((None, kind))
        return 0

    def drop(self, name: str, reason: str) -> None:
        self.dropped.append((name, reason))


class Scene:
    """One validator's runtime with everything around it in this process."""

    def __init__(self, root: Path) -> None:
        (self.place,) = found(root, ["northfield"])
        genesis = self.place.load_genesis()
        self.channel = FlakyChannel(root / "ledger", self.place.genesis)
        key = PrivateKey.from_bytes(self.place.key("validator"))
        self.signer, self.peers = FakeSigner(key), FakePeers()
        self.commits: list[int] = []
        known_as = Hash32(bytes(32))
        self.replica = Replica(Settings(CHAIN_ID, known_as, key.address, 20, genesis.empty_period_ms, 200))
        self.runtime = Runtime(
            self.replica,
            chain=ChainClient(self.channel),  # type: ignore[arg-type]
            signer=self.signer,
            peers=self.peers,
            memory=root / "memory",
            floor=(0, 0),
            clock_ms=lambda: int(time.time() * 1000),
        )
        self.runtime.on_commit(lambda sealed, receipts: self.commits.append(sealed.block.header.height))


def play(root: Path, story: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        scene = Scene(root)
        await scene.runtime.start()
        try:
            async with asyncio.timeout(10):
                await story(scene)
        finally:
            await scene.runtime.stop()
            scene.channel.store.close()

    asyncio.run(run())


def transfer(nonce: int, **changes: Any) -> bytes:
    fields: dict[str, Any] = {"chain_id": CHAIN_ID, "nonce": nonce, "to": Address(bytes(20)), "gas": 21_000} | changes
    payload = transaction.signing_payload(**fields)
    return transaction.assemble(payload, RICH.sign(keccak256(payload)))


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_it_commits_though_the_executor_keeps_dying(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.channel.flaky = False
        await scene.runtime.submit(transfer(0))
        scene.channel.flaky = True
        await until(lambda: scene.commits == [1])
        await until(lambda: scene.runtime.height == 1)
        scene.channel.flaky = False
        await scene.runtime.submit(transfer(1))
        await until(lambda: scene.commits == [1, 2])
        assert (tmp_path / "memory").exists()

    play(tmp_path, story)


def test_what_is_refused_says_why(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.channel.flaky = False
        with pytest.raises(PoolRefused, match="nonce"):
            await scene.runtime.submit(transfer(5_000))
        with pytest.raises(InvalidTransaction):
            await scene.runtime.submit(b"junk")
        with pytest.raises(InvalidTransaction, match=r"malformed"):
            await scene.runtime.submit(transfer(0, chain_id=1))
        later = await scene.runtime.submit(transfer(1))
        with pytest.raises(PoolRefused, match="known"):
            await scene.runtime.submit(transfer(1))
        assert scene.runtime.pending(later)
        assert scene.runtime.waiting == 1
        await scene.runtime.submit(transfer(0))
        assert await scene.runtime.next_nonce(RICH.address) == 2

    play(tmp_path, story)


def test_bad_frames_cost_the_peer_its_connection(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.runtime.on_connect("riverside")
        await until(lambda: ("riverside", 24) in scene.peers.sent)
        scene.runtime.on_message("riverside", 24, b"junk")
        await until(lambda: len(scene.peers.dropped) == 1)
        scene.runtime.on_connect("riverside")
        scene.runtime.on_message("riverside", 17, messages.encode(GetBlocks(1, 1)))
        await until(lambda: len(scene.peers.dropped) == 2)
        assert "kind" in scene.peers.dropped[1][1]
        scene.runtime.on_connect("riverside")
        raw = messages.encode(messages.Transactions((b"no transaction",)))
        scene.runtime.on_message("riverside", 21, raw)
        await until(lambda: len(scene.peers.dropped) == 3)
        scene.runtime.on_disconnect("riverside")

    play(tmp_path, story)


def test_blocks_are_served(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.channel.flaky = False
        await scene.runtime.submit(transfer(0))
        await until(lambda: scene.commits == [1])
        scene.runtime.on_connect("riverside")
        scene.runtime.on_message("riverside", 22, messages.encode(GetBlocks(1, 5)))
        await until(lambda: ("riverside", 23) in scene.peers.sent)

    play(tmp_path, story)


def test_a_signer_that_is_away_is_asked_again(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.channel.flaky = False
        scene.signer.trouble = ChildGone("away")
        await scene.runtime.submit(transfer(0))
        await asyncio.sleep(0.3)
        assert not scene.commits
        scene.signer.trouble = None
        await until(lambda: scene.commits == [1])
        assert scene.runtime.rounds > 0

    play(tmp_path, story)


def test_a_signer_that_refuses_is_believed(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.channel.flaky = False
        scene.signer.trouble = SignerRefused("it has signed another block there")
        await scene.runtime.submit(transfer(0))
        await until(lambda: scene.runtime.rounds > 0)
        assert not scene.commits
        assert not scene.runtime.halted.done()

    play(tmp_path, story)


def test_halting_is_told(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.replica.halted = "two sealed blocks"
        scene.runtime._perform(Halt("two sealed blocks"))
        assert await scene.runtime.halted == "two sealed blocks"
        with pytest.raises(NodeError, match="stopped"):
            await scene.runtime.submit(transfer(0))

    play(tmp_path, story)


def test_a_fault_of_ours_halts(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        def broken(_: SealedBlock, __: Sequence[object]) -> None:
            raise RuntimeError("a bug in the view")

        scene.channel.flaky = False
        scene.runtime.on_commit(broken)
        await scene.runtime.submit(transfer(0))
        assert "a bug in the view" in await scene.runtime.halted

    play(tmp_path, story)


def test_a_certificate_that_cannot_be_kept_halts(tmp_path: Path) -> None:
    """A full disk must not leave a node that looks alive and hears nobody."""

    async def story(scene: Scene) -> None:
        scene.channel.flaky = False
        scene.runtime._memory = tmp_path / "no such folder" / "memory"
        await scene.runtime.submit(transfer(0))
        async with asyncio.timeout(5):
            assert "FileNotFoundError" in await scene.runtime.halted
        assert not scene.commits

    play(tmp_path, story)


def test_remember_replaces(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    for data in (b"one", b"", b"three" * 1000):
        remember(path, data)
        assert path.read_bytes() == data


def test_frame_kinds_follow_the_codes() -> None:
    for kind in (Kind.PREPARE, Kind.COMMIT):
        assert frame_kind(Ballot(Vote(kind, 1, 0, Hash32(bytes(32))), bytes(65))) == 16 + kind
    assert frame_kind(Status(Hash32(bytes(32)), 0, Hash32(bytes(32)))) == 24
