"""What a replica is told and what it asks for: events in, actions out. Times are milliseconds, handed in by the node.

Values only. The behaviour is in `replica` and `qbft`; who performs the actions is `node.runtime` or, in tests, the simulator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from comity.ledger.messages import Message, Vote
from comity.ledger.types import Account, Block, SealedBlock, Transaction, ValidatorSet
from comity.record.types import Address, Hash32

Peer: TypeAlias = str
"""The name of an authenticated peer."""


# ── Events ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Started:
    """The first event. `floor` is `VoteLog.floor`, `remembered` the bytes of the last `Remember` (b"" for none)."""

    now: int
    head: SealedBlock
    validators: ValidatorSet
    """The set that seals the block after `head`."""
    floor: tuple[int, int] = (0, 0)
    remembered: bytes = b""


@dataclass(frozen=True, slots=True)
class Received:
    now: int
    peer: Peer
    message: Message


@dataclass(frozen=True, slots=True)
class Connected:
    now: int
    peer: Peer


@dataclass(frozen=True, slots=True)
class Disconnected:
    now: int
    peer: Peer


@dataclass(frozen=True, slots=True)
class Fired:
    """The timer `name` reached the time of its last `SetTimer`."""

    now: int
    timer: str


@dataclass(frozen=True, slots=True)
class Built:
    """The answer to `Build`. `refused`: transactions that cannot stand in any block, with the reason; they leave the pool."""

    now: int
    height: int
    round: int
    block: Block
    refused: tuple[tuple[Hash32, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """The answer to `Check`: `error` is None for a valid block."""

    now: int
    digest: Hash32
    error: str | None


@dataclass(frozen=True, slots=True)
class Committed:
    """The answer to `CommitBlock`, after the fsync. `accounts`: the state after the block of each sender in it, and of
    any other account with transactions in the pool that the block changed (a lost balance may make them unpayable)."""

    now: int
    sealed: SealedBlock
    validators: ValidatorSet
    accounts: Mapping[Address, Account] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Signed:
    """The answer to `Sign`: 65 bytes, or None with the reason of the refusal."""

    now: int
    vote: Vote
    signature: bytes | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A decoded transaction and its sender's account at the head."""

    transaction: Transaction
    account: Account


@dataclass(frozen=True, slots=True)
class Submitted:
    """Transactions from a caller of this node (`peer` None), or the answer to `Examine`."""

    now: int
    candidates: tuple[Candidate, ...]
    peer: Peer | None = None


@dataclass(frozen=True, slots=True)
class Misbehaved:
    """The node could not decode what this peer sent (a frame, a message, a transaction)."""

    now: int
    peer: Peer
    reason: str


Event: TypeAlias = (
    Started
    | Received
    | Connected
    | Disconnected
    | Fired
    | Built
    | Checked
    | Committed
    | Signed
    | Submitted
    | Misbehaved
)


# ── Actions: performed in the order given ────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Send:
    peer: Peer
    message: Message


@dataclass(frozen=True, slots=True)
class Broadcast:
    """To every connected peer but `but`."""

    message: Message
    but: Peer | None = None


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Replaces the timer of this name; `at` None stops it."""

    name: str
    at: int | None


@dataclass(frozen=True, slots=True)
class Build:
    """Execute these on the head and make a block with this replica as coinbase; answered by `Built`."""

    height: int
    round: int
    timestamp: int
    """Unix seconds."""
    transactions: tuple[Transaction, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """Execute the block on the head; answered by `Checked` under this digest (its header hash)."""

    digest: Hash32
    block: Block


@dataclass(frozen=True, slots=True)
class CommitBlock:
    """Make the block final on disk; answered by `Committed`."""

    sealed: SealedBlock


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep these bytes, replacing the last ones, durably *before* any later action of this replica is performed.
    Without them a validator that prepared, voted COMMIT and crashed could deny it in its next ROUND-CHANGE."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Sign:
    """Ask the signer; answered by `Signed`."""

    vote: Vote


@dataclass(frozen=True, slots=True)
class Examine:
    """Decode these raw transactions and look up their senders; answered by `Submitted` (or `Misbehaved`)."""

    peer: Peer
    transactions: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Admitted:
    """What became of a transaction that a caller of this node submitted."""

    hash: Hash32
    error: str | None = None
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Serve:
    """Send the peer a `Blocks` with at most `count` sealed blocks from height `first`, within `BLOCKS_BYTES_MAX`."""

    peer: Peer
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection: the peer broke the protocol."""

    peer: Peer
    reason: str


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop for good and write an evidence bundle: a sealed block does not execute here, or two blocks are sealed."""

    reason: str


Action: TypeAlias = (
    Send
    | Broadcast
    | SetTimer
    | Build
    | Check
    | CommitBlock
    | Remember
    | Sign
    | Examine
    | Admitted
    | Serve
    | Drop
    | Halt
)
