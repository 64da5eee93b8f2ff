"""A whole consortium in one process: replicas, disks, signers and links on a virtual clock, under one seed.

Nothing here decides: `faults` says what goes wrong, `adversary` how a Byzantine validator lies, `laws` what must hold.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from comity.ledger import messages
from comity.ledger.block import header_hash
from comity.ledger.messages import Blocks, Kind, Message, Vote
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
    Peer,
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
from comity.ledger.replica import Replica, Settings
from comity.ledger.types import Transaction, ValidatorSet
from comity.ledger.votelog import VoteLog, VoteRefused
from comity.record.keys import PrivateKey, recover
from comity.record.types import Address
from comity.store.wal import Log
from sim.adversary import Adversary
from sim.disk import Disk
from sim.faults import Faults
from sim.laws import Laws
from support.faulty import PowerCut

BLOCK_PERIOD_MS = 300
EMPTY_PERIOD_MS = 2_000
REQUEST_TIMEOUT_MS = 600
RECONNECT_MS = 700


@dataclass(frozen=True)
class Parts:
    """What a mutation test replaces."""

    replica: type[Replica] = Replica
    vote_log: type[VoteLog] = VoteLog
    remembers: bool = True


@dataclass
class Node:
    """One organisation's machine: what survives a crash is `disk`."""

    name: Peer
    key: PrivateKey
    disk: Disk
    adversary: Adversary | None = None
    alive: bool = False
    life: int = 0
    replica: Replica | None = None
    votes: VoteLog | None = None
    timers: dict[str, tuple[int, int]] = field(default_factory=dict)
    busy: dict[str, int] = field(default_factory=dict)
    """When the executor and the signer have done what they were asked."""


class Network:
    """Four nodes and the wires between them. `run` plays until every law was tried; a broken one raises `AssertionError`."""

    def __init__(
        self,
        seed: int,
        world: Any,
        faults: Faults | None = None,
        parts: Parts | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.seed = seed
        self.world = world
        self.rng = random.Random(seed)
        self.faults = faults or Faults.draw(self.rng)
        self.parts = parts or Parts()
        self.now = 0
        self.healed = False
        self.laws = Laws(seed)
        self.validators: ValidatorSet = world.validators
        self._say = say
        self._digest = hashlib.sha256()
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self._links: set[tuple[Peer, Peer]] = set()
        self._sides: dict[Peer, int] = {}
        self._decoded: dict[bytes, Message] = {}
        self._recovered: dict[tuple[bytes, bytes], Address] = {}
        self._token = 0
        self.nodes: dict[Peer, Node] = {}
        for index, key in enumerate(world.keys):
            node = Node(f"n{index}", key, Disk(world, self.rng))
            if index == self.faults.byzantine:
                node.adversary = Adversary(self, node, self.faults.habits)
            self.nodes[node.name] = node

    # ── Clock ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def at(self, delay_ms: int, call: Callable[..., None], *arguments: Any) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (self.now + delay_ms, self._sequence, call, arguments))

    def tick(self) -> None:
        self.now, _, call, arguments = heapq.heappop(self._queue)
        call(*arguments)

    def trace(self, name: str, text: str) -> None:
        line = f"{self.now:>7} {name} {text}"
        self._digest.update(line.encode())
        if self._say is not None:
            self._say(line)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the trace so far."""
        return self._digest.hexdigest()

    @property
    def honest(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.adversary is None]

    def recover(self, hash32: bytes, signature: bytes) -> Address:
        """`keys.recover`, remembered: it is pure, and four nodes ask the same."""
        known = self._recovered.get((hash32, signature))
        if known is None:
            known = self._recovered[hash32, signature] = recover(hash32, signature)
        return known

    # ── Lives ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def start(self, node: Node) -> None:
        if node.alive:
            return
        node.alive, node.life = True, node.life + 1
        node.timers, node.busy = {}, {}
        node.disk.restart()
        chain = node.disk.chain
        if node.adversary is None:
            self.laws.restarted(node)
        node.votes = self.parts.vote_log(Log(node.disk.vote_file))
        settings = Settings(
            self.world.chain_id,
            self.world.genesis_hash,
            node.key.address,
            BLOCK_PERIOD_MS,
            EMPTY_PERIOD_MS,
            REQUEST_TIMEOUT_MS,
        )
        node.replica = self.parts.replica(settings, recover=self.recover)
        remembered = node.disk.remembered if self.parts.remembers else b""
        self.feed(node, node.life, Started(self.clock, chain.head, self.validators, node.votes.floor, remembered))
        for other in self.nodes.values():
            if other is not node and other.alive:
                self.connect(node.name, other.name)

    @property
    def clock(self) -> int:
        return int(self.world.epoch_ms) + self.now

    def crash(self, node: Node) -> None:
        if not node.alive:
            return
        node.alive = False
        node.disk.crash()
        self.trace(node.name, "CRASH")
        for other in self.nodes.values():
            if (node.name, other.name) in self._links:
                self._cut(node.name, other.name)
                self.feed(other, other.life, Disconnected(self.clock, node.name))
        if self.healed:
            self.at(100, self.start, node)
        else:
            self.at(self.rng.randint(50, 4_000), self.start, node)

    def connect(self, a: Peer, b: Peer) -> None:
        one, other = self.nodes[a], self.nodes[b]
        if one.alive and other.alive and (a, b) not in self._links:
            self._links |= {(a, b), (b, a)}
            self.feed(one, one.life, Connected(self.clock, b))
            self.feed(other, other.life, Connected(self.clock, a))

    def _cut(self, a: Peer, b: Peer) -> None:
        self._links -= {(a, b), (b, a)}

    def feed(self, node: Node, life: int, event: Event) -> None:
        """Hand an event to a replica and perform what it asks; a power cut in the middle ends its life."""
        if not node.alive or node.life != life or node.replica is None:
            return
        if not isinstance(event, Received):
            self.trace(node.name, f"{type(event).__name__} {_brief(event)}")
        try:
            for action in node.replica.step(event):
                if node.life == life and node.alive:
                    self._perform(node, action)
        except PowerCut:
            self.crash(node)

    # ── Actions ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _perform(self, node: Node, action: Action) -> None:
        match action:
            case Send(peer, message):
                self.post(node, peer, message)
            case Broadcast(message, but):
                for peer in self.nodes:
                    if peer not in (node.name, but):
                        self.post(node, peer, message)
            case SetTimer(name, at):
                self._set_timer(node, name, at)
            case Remember(data):
                node.disk.remember(data)
            case Sign(vote):
                self._work(node, "signer", 3, self._sign, vote)
            case Build() | Check() | CommitBlock() | Examine() | Serve():
                self._work(node, "executor", 12, self._execute, action)
            case Drop(peer, reason):
                self.trace(node.name, f"DROP {peer}: {reason}")
                self.laws.dropped(node, self.nodes[peer], reason)
                self._cut(node.name, peer)
                self.feed(self.nodes[peer], self.nodes[peer].life, Disconnected(self.clock, node.name))
                self.at(RECONNECT_MS, self.connect, node.name, peer)
            case Halt(reason):
                self.trace(node.name, f"HALT {reason}")
                self.laws.halted(node, reason)
            case Admitted():
                pass

    def _set_timer(self, node: Node, name: str, at: int | None) -> None:
        node.timers.pop(name, None)
        if at is not None:
            self._token += 1
            node.timers[name] = (at, self._token)
            self.at(max(0, at - self.clock), self._fire, node, node.life, name, self._token)

    def _fire(self, node: Node, life: int, name: str, token: int) -> None:
        if node.alive and node.life == life and node.timers.get(name, (0, 0))[1] == token:
            del node.timers[name]
            self.feed(node, life, Fired(self.clock, name))

    def _work(self, node: Node, who: str, most_ms: int, call: Callable[..., Event | None], what: object) -> None:
        """Signer and executor are processes of their own: they answer later, in the order of the questions."""
        done = max(node.busy.get(who, 0), self.now) + self.rng.randint(0, most_ms)
        node.busy[who] = done
        self.at(done - self.now, self._answer, node, node.life, call, what)

    def _answer(self, node: Node, life: int, call: Callable[..., Event | None], what: object) -> None:
        if not node.alive or node.life != life:
            return
        if node.adversary is None and not self.healed and self.rng.random() < self.faults.power_cut:
            node.disk.cut_power_soon()
        try:
            event = call(node, what)
        except PowerCut:
            self.crash(node)
            return
        if event is not None:
            self.feed(node, life, event)

    def _sign(self, node: Node, vote: Vote) -> Event:
        assert node.votes is not None
        if node.adversary is None:
            try:
                node.votes.allow(vote)
            except VoteRefused as error:
                return Signed(self.clock, vote, None, str(error))
            self.laws.signed(node, vote, self)
        return Signed(self.clock, vote, node.key.sign(vote.signing_hash(self.world.chain_id)))

    def _execute(self, node: Node, action: Action) -> Event | None:
        chain = node.disk.chain
        match action:
            case Build(height, round_, timestamp, transactions):
                if chain.height + 1 != height:
                    return None
                return Built(self.clock, height, round_, *chain.build(timestamp, node.key.address, transactions))
            case Check(digest, block):
                return Checked(self.clock, digest, chain.check(block))
            case CommitBlock(sealed):
                accounts = chain.commit(sealed)
                self.laws.committed(node, sealed, self.recover, self.world)
                return Committed(self.clock, sealed, self.validators, accounts)
            case Examine(peer, raws):
                found = [Candidate(t, chain.account(t.sender)) for t in map(self.world.decode, raws)]
                return Submitted(self.clock, tuple(found), peer)
            case Serve(peer, first, count):
                last = min(first + count, chain.height + 1)
                self.post(node, peer, Blocks(tuple(chain.sealed(height) for height in range(first, last))))
        return None

    def submit(self, node: Node, transaction: Transaction) -> None:
        """A client hands a transaction to a node."""
        if node.alive:
            account = node.disk.chain.account(transaction.sender)
            self.feed(node, node.life, Submitted(self.clock, (Candidate(transaction, account),)))

    # ── Wires ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def post(self, node: Node, peer: Peer, message: Message) -> None:
        told = [message] if node.adversary is None else node.adversary.twist(peer, message)
        for each in told:
            self.wire(node.name, peer, messages.encode(each))

    def wire(self, source: Peer, target: Peer, data: bytes) -> None:
        """Bytes on a link, which loses, doubles, delays and so reorders them."""
        if (source, target) not in self._links:
            return
        copies = 1
        delay = self.rng.randint(1, 8)
        if not self.healed:
            faults = self.faults
            if self._sides.get(source, 0) != self._sides.get(target, 0) or self.rng.random() < faults.loss:
                return
            copies += self.rng.random() < faults.duplicate
            delay += int(self.rng.expovariate(1 / faults.delay_ms))
        for _ in range(copies):
            self.at(delay, self._arrive, source, target, self.nodes[target].life, data)
            delay += self.rng.randint(0, 300)

    def _arrive(self, source: Peer, target: Peer, life: int, data: bytes) -> None:
        node = self.nodes[target]
        if not node.alive or (source, target) not in self._links:
            return
        message = self._decoded.get(data)
        if message is None:
            try:
                message = self._decoded[data] = messages.decode(data)
            except messages.MalformedMessage as error:
                self.feed(node, life, Misbehaved(self.clock, source, str(error)))
                return
        self.trace(target, f"< {source} {_brief(message)}")
        if node.adversary is not None:
            node.adversary.overhear(source, message)
        self.feed(node, life, Received(self.clock, source, message))

    def partition(self, sides: dict[Peer, int]) -> None:
        self.trace("--", f"PARTITION {sides}")
        self._sides = sides

    def heal(self) -> None:
        self.trace("--", "HEAL")
        self.healed = True
        self._sides = {}
        for node in self.nodes.values():
            node.disk.spare()
            self.start(node)

    # ── Play ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    def run(self) -> str:
        """Chaos, then peace: everything pending must be committed, by all, in bounded time. The trace's fingerprint."""
        try:
            self.faults.arrange(self)
            self.laws.play(self)
        except Exception as error:
            what = str(error) if isinstance(error, AssertionError) else repr(error)
            command = f"python tests/sim/run.py --seed {self.seed} --world {self.world.name} --trace"
            raise AssertionError(f"{what}\n{self.faults}\nreplay: {command}") from error
        return self.fingerprint

    def step_until(self, when_ms: int) -> bool:
        """One event, unless the next is later than `when_ms`."""
        if not self._queue or self._queue[0][0] > when_ms:
            self.now = when_ms
            return False
        self.tick()
        return True


def _brief(item: object) -> str:
    match item:
        case Blocks(sealed):
            return f"Blocks {[s.block.header.height for s in sealed]}"
        case messages.Transactions(raw):
            return f"Transactions {len(raw)}"
        case messages.Status(_, height, head):
            return f"Status {height} {head.hex()[:6]}"
        case messages.GetBlocks(first, count):
            return f"GetBlocks {first}+{count}"
        case messages.Proposal() | messages.Ballot() | messages.RoundChange():
            return _brief(messages.ballot_of(item).vote)
        case Vote(kind, height, round_, digest, prepared):
            shown = "" if kind is not Kind.ROUND_CHANGE else f" prepared {prepared}"
            return f"{kind.name} {height}/{round_} {digest.hex()[:6]}{shown}"
        case Signed(_, vote, signature, error):
            return _brief(vote) + ("" if signature else f" REFUSED {error}")
        case Fired(_, timer):
            return timer
        case Checked(_, digest, error):
            return f"{digest.hex()[:6]} {error or 'valid'}"
        case Built(_, height, round_, block):
            return f"{height}/{round_} {header_hash(block.header).hex()[:6]} with {len(block.transactions)}"
        case Committed(_, sealed):
            return f"{sealed.block.header.height} {header_hash(sealed.block.header).hex()[:6]}"
        case Connected(_, peer) | Disconnected(_, peer):
            return peer
        case Started(_, head):
            return f"at {head.block.header.height}"
        case Submitted(_, candidates, peer):
            return f"{len(candidates)} from {peer}"
    return ""
