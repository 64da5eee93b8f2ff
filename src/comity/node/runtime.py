"""The thin loop around `ledger.replica`: performs its actions on sockets, signer and executor, and feeds back the answers.

It decides nothing about the ledger. Time is milliseconds of an injected clock; what the processes do is in `signer` and `executor`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from comity.ledger import chain as chains
from comity.ledger import messages, transaction
from comity.ledger.errors import LedgerError
from comity.ledger.mempool import PoolRefused
from comity.ledger.messages import Ballot, Blocks, GetBlocks, Message, Proposal, RoundChange, Status, Vote
from comity.ledger.protocol import (
    Action,
    Admitted,
    Broadcast,
    Build,
    Built,
    Candidate,
    Check,
    Checked,
    CommitBlock,
    Committed,
    Connected,
    Disconnected,
    Drop,
    Event,
    Examine,
    Fired,
    Halt,
    Misbehaved,
    Received,
    Remember,
    Send,
    Serve,
    SetTimer,
    Sign,
    Signed,
    Started,
    Submitted,
)
from comity.ledger.replica import Replica
from comity.ledger.types import Account, Block, Receipt, SealedBlock, Transaction, ValidatorSet
from comity.node.connection import LEDGER
from comity.node.errors import Busy, ChildError, ChildGone, NodeError, PeerError, SignerRefused
from comity.record.errors import ComityError
from comity.record.types import Address, Hash32

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
EVENTS_MAX = 50_000
SUBMITTED_MAX = 4096
RETRY_S = 0.1
ADMISSION_S = 30.0

Commit = Callable[[SealedBlock, Sequence[Receipt]], None]
"""Told of every block of ours, in order, after it is on disk."""


class ChainPort(Protocol):
    """What the runtime asks of the executor (`executor.ChainClient`)."""

    async def head(self) -> tuple[SealedBlock, ValidatorSet]: ...
    async def build(
        self, timestamp: int, coinbase: Address, transactions: Sequence[Transaction]
    ) -> tuple[Block, tuple[tuple[Hash32, str], ...]]: ...
    async def check(self, block: Block) -> str | None: ...
    async def commit(self, sealed: SealedBlock, watch: Sequence[Address] = ()) -> chains.Committed: ...
    async def accounts(self, addresses: Sequence[Address]) -> dict[Address, Account]: ...
    async def blocks(self, first: int, count: int, bytes_max: int) -> tuple[SealedBlock, ...]: ...


class SignerPort(Protocol):
    """What the runtime asks of the signer (`signer.SignerClient`)."""

    async def vote(self, vote: Vote) -> bytes: ...


class PeersPort(Protocol):
    """What the runtime asks of the other members (`peers.Peers`)."""

    def send(self, name: str, kind: int, body: bytes) -> bool: ...
    def broadcast(self, kind: int, body: bytes, but: str | None = None) -> int: ...
    def drop(self, name: str, reason: str) -> None: ...


class Runtime:
    """One node's replica, alive. `Peers` gets `on_message`, `on_connect`, `on_disconnect`; await `start` before `Peers.start`."""

    def __init__(
        self,
        replica: Replica,
        *,
        chain: ChainPort,
        signer: SignerPort,
        peers: PeersPort,
        memory: Path,
        floor: tuple[int, int],
        clock_ms: Callable[[], int],
    ) -> None:
        """`memory`: the file of the last `Remember`. `floor`: the signer's (`Addresses.floor`). `clock_ms`: unix milliseconds."""
        self.replica = replica
        self.halted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Set, with the reason, when the replica halts: the node must stop and keep the evidence."""
        self.rounds = 0
        """Rounds beyond the first that this replica entered."""
        self._chain, self._signer, self._peers = chain, signer, peers
        self._memory, self._floor, self._clock_ms = memory, floor, clock_ms
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue(EVENTS_MAX)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._admissions: dict[Hash32, asyncio.Future[None]] = {}
        self._callbacks: list[Commit] = []
        self._recover = ThreadPoolExecutor(2, thread_name_prefix="recover")
        self._main: asyncio.Task[None] | None = None

    # ── Life ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    async def start(self) -> None:
        """Read the head and begin. From then on `height` is known."""
        head, validators = await self._steadily(self._chain.head)
        remembered = self._memory.read_bytes() if self._memory.exists() else b""
        await self._step(Started(self._clock_ms(), head, validators, self._floor, remembered))
        self._main = asyncio.create_task(self._run(), name="runtime")
        self._main.add_done_callback(self._finished)

    async def stop(self) -> None:
        """Stop acting; whoever waits for an admission is told."""
        tasks = [*self._tasks, *([self._main] if self._main else [])]
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for waiting in self._admissions.values():
            if not waiting.done():
                waiting.set_exception(Busy("this node is stopping"))
        self._recover.shutdown(wait=True, cancel_futures=True)
        self.halted.cancel()

    def on_commit(self, callback: Commit) -> None:
        """Call this after each block, in order."""
        self._callbacks.append(callback)

    # ── From the peers ───────────────────────────────────────────────────────────────────────────────────────────────
    def on_connect(self, name: str) -> None:
        self._feed(Connected(self._clock_ms(), name))

    def on_disconnect(self, name: str) -> None:
        self._feed(Disconnected(self._clock_ms(), name))

    def on_message(self, name: str, kind: int, body: bytes) -> None:
        """A frame with a ledger message. One that does not decode counts against its sender."""
        try:
            message = messages.decode(body)
            if kind != frame_kind(message):
                raise PeerError("a frame's kind is not that of its message")
        except ComityError as error:
            self._feed(Misbehaved(self._clock_ms(), name, str(error)))
            return
        self._feed(Received(self._clock_ms(), name, message))

    # ── From this node ───────────────────────────────────────────────────────────────────────────────────────────────
    async def submit(self, raw: bytes) -> Hash32:
        """Put a signed transaction into the pool. Returns its hash; raises the rule it breaks, with a hint, or `Busy`."""
        if self.replica.halted:
            raise NodeError("this node has stopped", why=self.replica.halted)
        if len(self._admissions) >= SUBMITTED_MAX:
            raise Busy(f"{SUBMITTED_MAX} transactions wait to be admitted", hint="try again in a moment")
        decoded = await self._decode(raw)
        if decoded.hash in self._admissions:
            raise Busy("this transaction is just being submitted")
        account = (await self._chain.accounts([decoded.sender]))[decoded.sender]
        waiting: asyncio.Future[None] = self._loop.create_future()
        self._admissions[decoded.hash] = waiting
        try:
            self._feed(Submitted(self._clock_ms(), (Candidate(decoded, account),)))
            async with asyncio.timeout(ADMISSION_S):
                await waiting
        except TimeoutError:
            raise Busy("the ledger did not take the transaction in time") from None
        finally:
            self._admissions.pop(decoded.hash, None)
        return decoded.hash

    async def next_nonce(self, sender: Address) -> int:
        """The first nonce that neither the chain nor our pool has (eth_getTransactionCount at "pending")."""
        account = (await self._chain.accounts([sender]))[sender]
        return self.replica.pool.next_nonce(sender, account)

    @property
    def height(self) -> int:
        """Of the head."""
        return self.replica.height

    @property
    def waiting(self) -> int:
        """How many transactions wait in our pool."""
        return len(self.replica.pool)

    def pending(self, hash32: Hash32) -> Transaction | None:
        """A transaction that waits in our pool."""
        return self.replica.pool.get(hash32)

    # ── The loop ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _feed(self, event: Event) -> None:
        try:
            self._events.put_nowait(event)
        except asyncio.QueueFull:
            # Only what peers send can pile up so; consensus is made for loss, our own answers find room again.
            if isinstance(event, Received | Misbehaved):
                return
            self._spawn(self._events.put(event))

    async def _run(self) -> None:
        while not self.replica.halted:
            await self._step(await self._events.get())

    async def _step(self, event: Event) -> None:
        for action in self.replica.step(event):
            if isinstance(action, Remember):
                await asyncio.to_thread(remember, self._memory, action.data)
            else:
                self._perform(action)

    def _perform(self, action: Action) -> None:
        match action:
            case Send(peer, message):
                self._peers.send(peer, frame_kind(message), messages.encode(message))
            case Broadcast(message, but):
                self._peers.broadcast(frame_kind(message), messages.encode(message), but)
            case SetTimer(name, at):
                self._set_timer(name, at)
            case Drop(peer, reason):
                self._peers.drop(peer, reason)
            case Admitted(hash32, error, hint):
                self._admitted(hash32, error, hint)
            case Halt(reason):
                _log.critical("the ledger halts here: %s", reason)
                self.halted.set_result(reason)
            case _:
                self._spawn(self._answer(action))

    def _set_timer(self, name: str, at: int | None) -> None:
        old = self._timers.pop(name, None)
        if old is not None:
            old.cancel()
        if at is not None:
            delay = max(0, at - self._clock_ms()) / 1000
            self._timers[name] = self._loop.call_later(delay, self._fire, name)

    def _fire(self, name: str) -> None:
        self._timers.pop(name, None)
        if name == "round":
            self.rounds += 1
        self._feed(Fired(self._clock_ms(), name))

    def _admitted(self, hash32: Hash32, error: str | None, hint: str) -> None:
        waiting = self._admissions.get(hash32)
        if waiting is None or waiting.done():
            return
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(PoolRefused(error, hint=hint))

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.halted.done():
            # A fault of ours, not of the world: going on could mean a wrong answer, so the node stops.
            _log.critical("the ledger halts here", exc_info=error)
            self.replica.halted = f"{type(error).__name__}: {error}"
            self.halted.set_result(self.replica.halted)

    # ── Slow actions ─────────────────────────────────────────────────────────────────────────────────────────────────
    async def _answer(self, action: Action) -> None:
        match action:
            case Build():
                await self._build(action)
            case Check(digest, block):
                error = await self._steadily(lambda: self._chain.check(block))
                self._feed(Checked(self._clock_ms(), digest, error))
            case CommitBlock(sealed):
                await self._commit(sealed)
            case Sign(vote):
                await self._sign(vote)
            case Examine(peer, raws):
                await self._examine(peer, raws)
            case Serve(peer, first, count):
                found = await self._steadily(lambda: self._chain.blocks(first, count, messages.BLOCKS_BYTES_MAX))
                if found:
                    message = Blocks(found)
                    self._peers.send(peer, frame_kind(message), messages.encode(message))

    async def _build(self, action: Build) -> None:
        me = self.replica.settings.me
        if me is None:
            raise ChildError("a follower was asked to build a block")
        block, refused = await self._steadily(lambda: self._chain.build(action.timestamp, me, action.transactions))
        self._feed(Built(self._clock_ms(), action.height, action.round, block, refused))

    async def _commit(self, sealed: SealedBlock) -> None:
        watch = self.replica.pool.senders
        done = await self._steadily(lambda: self._chain.commit(sealed, watch))
        self._feed(Committed(self._clock_ms(), sealed, done.validators, done.accounts))
        for callback in self._callbacks:
            callback(sealed, done.receipts)

    async def _sign(self, vote: Vote) -> None:
        try:
            signature = await self._steadily(lambda: self._signer.vote(vote))
        except SignerRefused as error:
            self._feed(Signed(self._clock_ms(), vote, None, str(error)))
        else:
            self._feed(Signed(self._clock_ms(), vote, signature))

    async def _examine(self, peer: str, raws: tuple[bytes, ...]) -> None:
        decoded: list[Transaction] = []
        try:
            for raw in raws:
                decoded.append(await self._decode(raw))
        except LedgerError as error:
            self._feed(Misbehaved(self._clock_ms(), peer, f"it sent a transaction that is none: {error}"))
            return
        senders = list({found.sender for found in decoded})
        accounts = await self._steadily(lambda: self._chain.accounts(senders))
        candidates = tuple(Candidate(found, accounts[found.sender]) for found in decoded)
        self._feed(Submitted(self._clock_ms(), candidates, peer))

    async def _decode(self, raw: bytes) -> Transaction:
        """Signature recovery releases the GIL, so two threads keep the loop free."""
        chain_id = self.replica.settings.chain_id
        return await self._loop.run_in_executor(self._recover, lambda: transaction.decode(raw, chain_id=chain_id))

    async def _steadily(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask a process again until it answers: every question here may be asked twice, and the replica must get its answer."""
        while True:
            try:
                return await ask()
            except (ChildGone, Busy):
                await asyncio.sleep(RETRY_S)


def frame_kind(message: Message) -> int:
    """The frame kind of a ledger message: LEDGER plus its code, so that traffic is counted by what it is."""
    match message:
        case Proposal() | RoundChange():
            return LEDGER + message.ballot.vote.kind
        case Ballot(vote):
            return LEDGER + vote.kind
        case messages.Transactions():
            return LEDGER + 5
        case GetBlocks():
            return LEDGER + 6
        case Blocks():
            return LEDGER + 7
        case Status():
            return LEDGER + 8


def remember(path: Path, data: bytes) -> None:
    """Replace the file's content, durably and atomically."""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
