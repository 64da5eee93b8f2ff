"""One node's part in the ledger: consensus, transactions and catching up, composed. Pure: `Replica.step(event) -> actions`.

It never signs, executes, stores or sends: it asks (`protocol`), and the answer is an event. The very same object runs in
the node and in the simulator. Not the rules of a height: see `qbft`. Specification: docs/consensus.md.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from comity.ledger import qbft
from comity.ledger.block import header_hash
from comity.ledger.errors import LedgerError
from comity.ledger.justification import Recover, Rules, Unjustified, check_certificate, check_seals
from comity.ledger.mempool import Mempool
from comity.ledger.messages import (
    Ballot,
    Blocks,
    Certificate,
    Consensus,
    GetBlocks,
    MalformedMessage,
    Message,
    Proposal,
    RoundChange,
    Status,
    Transactions,
    ballot_of,
    split,
)
from comity.ledger.protocol import (
    Action,
    Admitted,
    Broadcast,
    Build,
    Built,
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
    Send,
    Serve,
    SetTimer,
    Signed,
    Started,
    Submitted,
)
from comity.ledger.sync import TIMEOUT_MS, Sync
from comity.ledger.types import SealedBlock, ValidatorSet
from comity.record.digest import keccak256
from comity.record.keys import recover as recover_signer
from comity.record.types import Address, Hash32

PEERS_COUNT_MAX = 256
FUTURE_COUNT_MAX = 64
"""Consensus messages of later heights kept for each peer; nobody has looked at their signatures yet."""
FUTURE_BLOCKS_MAX = 2
"""Of those, how many may carry a block, which has up to 4 MiB."""
EXAMINED_COUNT_MAX = 8
"""Batches of a peer's transactions that may be under examination at once; more are dropped, and come again."""
SERVED_PER_S_MAX = 16
ANNOUNCED_BYTES_MAX = 256 << 10
ANNOUNCED_COUNT_MAX = 512
STATUS_MS = 10_000


@dataclass(frozen=True, slots=True)
class Settings:
    """What one replica is told once. Times in milliseconds."""

    chain_id: int
    genesis: Hash32
    me: Address | None
    """The validator's address; None for a follower, which never votes."""
    block_period_ms: int = 1_000
    empty_period_ms: int = 30_000
    request_timeout_ms: int = 2_000
    """The timer of round 0; it doubles with each round. Own messages are sent again as often."""


@dataclass(slots=True)
class _Neighbour:
    """What is remembered of a connected peer."""

    future: deque[Consensus] = field(default_factory=lambda: deque(maxlen=FUTURE_COUNT_MAX))
    examined: int = 0
    served_s: int = -1
    served: int = 0
    told_s: int = -1

    def keep(self, message: Consensus) -> None:
        """Keep a message of a later height, and forget the oldest where there are too many."""
        blocks = [m for m in self.future if not isinstance(m, Ballot) and m.block is not None]
        if not isinstance(message, Ballot) and message.block is not None and len(blocks) >= FUTURE_BLOCKS_MAX:
            self.future = deque((m for m in self.future if m is not blocks[0]), FUTURE_COUNT_MAX)
        self.future.append(message)


class Replica:
    """A validator, or a follower. Feed it every event in order; perform its actions in order."""

    def __init__(self, settings: Settings, pool: Mempool | None = None, recover: Recover = recover_signer) -> None:
        self.settings = settings
        self.pool = pool if pool is not None else Mempool()
        self.halted = ""
        self._recover = recover
        self._peers: dict[Peer, _Neighbour] = {}
        self._sync = Sync()
        self._trying: tuple[Peer, Hash32, SealedBlock] | None = None
        """The block of `sync` that is being executed."""
        self._committing = False
        self._consensus: qbft.State | None = None
        self._head_at = 0
        self._block_at: int | None = None
        self._resending = False
        self._waiting = False

    # ── Events ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def step(self, event: Event) -> list[Action]:
        """The actions that an event causes, to be performed in order. After `Halt` there are none."""
        if self.halted:
            return []
        if not isinstance(event, Started) and event.now < self._head_at:
            self._head_at = event.now  # the clock went back: do not wait until it is there again
        match event:
            case Started():
                actions = self._started(event)
            case Received(now, peer, message):
                actions = self._received(now, peer, message) if peer in self._peers else []
            case Connected(now, peer):
                actions = self._connected(peer)
            case Disconnected(now, peer):
                actions = self._forget(now, peer)
            case Fired(now, timer):
                actions = self._fired(now, timer)
            case Built():
                actions = self._built(event)
            case Checked():
                actions = self._checked(event)
            case Committed():
                actions = self._committed(event)
            case Signed():
                actions = self._consult(event)
            case Submitted():
                actions = self._submitted(event)
            case Misbehaved(now, peer, reason):
                actions = self._drop(now, peer, reason)
        if not isinstance(event, Started):
            actions += self._pace(event.now)
        return actions

    @property
    def height(self) -> int:
        """Of the head."""
        return self.head.block.header.height

    @property
    def peer_heights(self) -> dict[Peer, int]:
        """The height that each connected peer says it has."""
        return dict(self._sync.heights)

    @property
    def syncing(self) -> bool:
        """Whether a peer has more than the block now being made."""
        return self._sync.behind(self.height) > 1

    def _started(self, event: Started) -> list[Action]:
        self._set_head(event.head, event.validators, event.now)
        actions: list[Action] = [SetTimer("status", event.now + STATUS_MS)]
        floor, round_ = event.floor
        actions += self._begin(event.now)
        certificate = self._recall(event.remembered)
        if floor <= self.height:
            round_ = 0
        if certificate is not None:
            # The others' PREPAREs may have come before our own was signed: then the log is behind what we know.
            round_ = max(round_, certificate.round)
        if self._consensus is not None and (floor == self.height + 1 or certificate is not None):
            actions += self._perform(event.now, qbft.resume(self._consensus, event.now, round_, certificate))
        return actions + self._pace(event.now)

    def _recall(self, remembered: bytes) -> Certificate | None:
        if not remembered or self._consensus is None:
            return None
        try:
            certificate = Certificate.decode(remembered)
            if certificate.height != self._consensus.height:
                return None
            check_certificate(self._consensus.rules, certificate)
        except (MalformedMessage, Unjustified):
            # The vote log still refuses to deny the lock; without its proof this validator only sits the height out.
            return None
        return certificate

    def _set_head(self, head: SealedBlock, validators: ValidatorSet, now: int) -> None:
        self.head = head
        self.head_hash = header_hash(head.block.header)
        self.validators = validators
        self._head_at = now

    def _begin(self, now: int) -> list[Action]:
        """Open the height after the head, and hear what came too early for it."""
        self._consensus = None
        self._resending = False
        self._block_at = None
        actions: list[Action] = [SetTimer("round", None), SetTimer("resend", None)]
        if self.settings.me is None or self.settings.me not in self.validators:
            return actions
        rules = Rules(self.settings.chain_id, self.height + 1, self.validators, self._recover)
        self._consensus = qbft.State(
            rules, self.settings.me, self.settings.request_timeout_ms, self.head.block.header.timestamp
        )
        for peer, neighbour in list(self._peers.items()):
            early = list(neighbour.future)
            neighbour.future.clear()
            for message in early:
                if peer in self._peers:  # an unjustified message drops it in the middle
                    actions += self._on_consensus(now, peer, message)
        return actions

    # ── Pace ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _pace(self, now: int) -> list[Action]:
        """Keep the block timer at the moment when a block is due: soon with transactions, seldom without."""
        if self._consensus is None or not self._consensus.idle or self._committing:
            return []
        period = self.settings.block_period_ms if self.pool.ready else self.settings.empty_period_ms
        at = max(now, self._head_at + period)
        if self._block_at is not None and self._block_at <= at:
            return []
        self._block_at = at
        return [SetTimer("block", at)]

    def _fired(self, now: int, timer: str) -> list[Action]:
        match timer:
            case "block":
                self._block_at = None
                return self._consult(qbft.Due(now)) if self._is_due(now) else []
            case "round":
                return self._consult(qbft.TimedOut(now))
            case "resend":
                return self._resend(now)
            case "sync":
                self._sync.fail(self.height)
                return self._catch_up(now)
            case "grace":
                self._waiting = False
                return self._catch_up(now, patient=False)
            case "status":
                return [SetTimer("status", now + STATUS_MS), Broadcast(self.status), *self._announce()]
        return []

    def _is_due(self, now: int) -> bool:
        period = self.settings.block_period_ms if self.pool.ready else self.settings.empty_period_ms
        return now >= self._head_at + period

    def _resend(self, now: int) -> list[Action]:
        """Say again what this round needs: a link may have lost it. A proposal is large, and the next round has another."""
        if self._consensus is None or self._consensus.decided or not self._consensus.sent:
            self._resending = False
            return []
        again: list[Action] = [Broadcast(m) for m in self._consensus.sent if not isinstance(m, Proposal)]
        return [*again, *self._announce(), SetTimer("resend", now + self.settings.request_timeout_ms)]

    def _announce(self) -> list[Action]:
        raws = self.pool.announce(ANNOUNCED_BYTES_MAX, ANNOUNCED_COUNT_MAX)
        return [Broadcast(Transactions(raws))] if raws else []

    # ── Consensus ────────────────────────────────────────────────────────────────────────────────────────────────────
    def _consult(self, event: qbft.Event) -> list[Action]:
        if self._consensus is None:
            return []
        self._consensus, actions = qbft.step(self._consensus, event)
        return self._perform(event.now, actions)

    def _perform(self, now: int, actions: list[qbft.Action]) -> list[Action]:
        """Turn what a height wants into actions of the replica."""
        done: list[Action] = []
        for action in actions:
            match action:
                case qbft.Draft(round_):
                    timestamp = max(self.head.block.header.timestamp, now // 1000)
                    taken = self.pool.take(self.head.block.header.gas_limit)
                    done.append(Build(self.height + 1, round_, timestamp, taken))
                case qbft.Entered():
                    done += self._announce()
                case qbft.Decided(sealed):
                    done += self._commit(sealed)
                case Broadcast():
                    done.append(action)
                    if not self._resending:
                        self._resending = True
                        done.append(SetTimer("resend", now + self.settings.request_timeout_ms))
                case _:
                    done.append(action)
        return done

    def _commit(self, sealed: SealedBlock) -> list[Action]:
        if self._committing:
            return []
        self._committing = True
        return [CommitBlock(sealed)]

    def _built(self, event: Built) -> list[Action]:
        for hash32, _ in event.refused:
            self.pool.remove(hash32)
        return self._consult(event)

    def _checked(self, event: Checked) -> list[Action]:
        actions = self._consult(event)
        if self._trying is None or self._trying[1] != event.digest:
            return actions
        sealed, self._trying = self._trying[2], None
        if event.error is not None:
            return actions + self._halt(f"block {sealed.block.header.height} is sealed, but fails here: {event.error}")
        return actions + self._commit(sealed)

    def _committed(self, event: Committed) -> list[Action]:
        self._committing = False
        self._trying = None
        self._set_head(event.sealed, event.validators, event.now)
        self.pool.on_commit(event.sealed.block.transactions, event.accounts)
        actions: list[Action] = [Broadcast(self.status)]
        return actions + self._begin(event.now) + self._catch_up(event.now)

    def _halt(self, reason: str) -> list[Action]:
        self.halted = reason
        return [Halt(reason)]

    # ── Peers ────────────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def status(self) -> Status:
        """What this replica says of itself."""
        return Status(self.settings.genesis, self.height, self.head_hash)

    def _connected(self, peer: Peer) -> list[Action]:
        if peer not in self._peers and len(self._peers) >= PEERS_COUNT_MAX:
            return [Drop(peer, f"{PEERS_COUNT_MAX} peers are connected already")]
        self._peers[peer] = _Neighbour()
        actions: list[Action] = [Send(peer, self.status)]
        if self._consensus is not None and not self._consensus.decided:
            actions += [Send(peer, message) for message in self._consensus.sent]
        raws = self.pool.announce(ANNOUNCED_BYTES_MAX, ANNOUNCED_COUNT_MAX)
        return [*actions, Send(peer, Transactions(raws))] if raws else actions

    def _forget(self, now: int, peer: Peer) -> list[Action]:
        self._peers.pop(peer, None)
        self._sync.forget(peer)
        return self._catch_up(now)

    def _drop(self, now: int, peer: Peer, reason: str) -> list[Action]:
        return [Drop(peer, reason), *self._forget(now, peer)]

    def _received(self, now: int, peer: Peer, message: Message) -> list[Action]:
        neighbour = self._peers[peer]
        match message:
            case Proposal() | Ballot() | RoundChange():
                return self._on_consensus(now, peer, message)
            case Transactions(raws):
                return self._on_transactions(peer, neighbour, raws)
            case GetBlocks(first, count):
                return self._on_get_blocks(now, peer, neighbour, first, count)
            case Blocks(sealed):
                self._sync.answered(peer, sealed, self.height)
                return self._catch_up(now)
            case Status(genesis, height, _):
                if genesis != self.settings.genesis:
                    return self._drop(now, peer, "it follows another genesis")
                self._sync.claims(peer, height)
                return self._catch_up(now)

    def _on_consensus(self, now: int, peer: Peer, message: Consensus) -> list[Action]:
        height = ballot_of(message).vote.height
        neighbour = self._peers[peer]
        if height <= self.height:
            if neighbour.told_s == now // 1000:
                return []
            neighbour.told_s = now // 1000
            return [Send(peer, self.status)]
        if height > self.height + 1:
            neighbour.keep(message)
            self._sync.claims(peer, height - 1)
            return self._catch_up(now)
        try:
            return self._consult(qbft.Arrived(now, message))
        except Unjustified as error:
            return self._drop(now, peer, str(error))

    def _on_transactions(self, peer: Peer, neighbour: _Neighbour, raws: tuple[bytes, ...]) -> list[Action]:
        fresh = tuple(raw for raw in raws if not self.pool.is_known(keccak256(raw)))
        if not fresh or neighbour.examined >= EXAMINED_COUNT_MAX:
            return []
        neighbour.examined += 1
        return [Examine(peer, fresh)]

    def _submitted(self, event: Submitted) -> list[Action]:
        if event.peer is not None and event.peer in self._peers:
            neighbour = self._peers[event.peer]
            neighbour.examined = max(0, neighbour.examined - 1)
        actions: list[Action] = []
        raws: list[bytes] = []
        for candidate in event.candidates:
            transaction = candidate.transaction
            try:
                self.pool.add(transaction, candidate.account, self.head.block.header.gas_limit)
            except LedgerError as error:
                if event.peer is None:
                    actions.append(Admitted(transaction.hash, str(error), error.hint))
                continue
            raws.append(transaction.raw)
            if event.peer is None:
                actions.append(Admitted(transaction.hash))
        return actions + [Broadcast(part, but=event.peer) for part in split(raws)]

    # ── Catching up ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _on_get_blocks(self, now: int, peer: Peer, neighbour: _Neighbour, first: int, count: int) -> list[Action]:
        if neighbour.served_s != now // 1000:
            neighbour.served_s, neighbour.served = now // 1000, 0
        neighbour.served += 1
        if first > self.height or neighbour.served > SERVED_PER_S_MAX:
            return []
        return [Serve(peer, first, min(count, self.height - first + 1))]

    def _catch_up(self, now: int, *, patient: bool = True) -> list[Action]:
        """Try the next block that sync holds, or ask for more."""
        if self._committing or self._trying is not None:
            return []
        found = self._sync.next(self.height)
        if found is not None:
            return self._try(now, *found)
        # One block behind in the middle of a round is no lag yet: its last votes are on their way.
        busy = self._consensus is not None and not self._consensus.idle
        if patient and busy and self._sync.behind(self.height) == 1:
            if self._waiting:
                return []
            self._waiting = True
            return [SetTimer("grace", now + self.settings.request_timeout_ms // 4)]
        request = self._sync.ask(self.height)
        if request is None:
            return []
        return [Send(*request), SetTimer("sync", now + TIMEOUT_MS)]

    def _try(self, now: int, peer: Peer, sealed: SealedBlock) -> list[Action]:
        header = sealed.block.header
        digest = header_hash(header)
        try:
            rules = Rules(self.settings.chain_id, self.height + 1, self.validators, self._recover)
            check_seals(rules, digest, sealed.seals)
        except Unjustified as error:
            return self._drop(now, peer, str(error))
        if header.parent != self.head_hash:
            return self._halt(
                f"two sealed blocks at height {self.height}: 0x{self.head_hash.hex()}, 0x{header.parent.hex()}"
            )
        self._trying = (peer, digest, sealed)
        return [Check(digest, sealed.block)]
