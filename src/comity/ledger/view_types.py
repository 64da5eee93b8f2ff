"""What the view holds: values that `view.View` keeps up to date and everyone else reads. Organisations stand by name.

No behaviour but small questions about one value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from comity.record.envelope import Envelope
from comity.record.record import Record
from comity.record.types import Address, Digest, Hash32, Height

StudyPhase = Literal["proposed", "active", "training", "done", "refused", "concluded"]
RoundPhase = Literal["commit", "reveal", "aggregate", "attest", "final"]
Place = tuple[int, int]
"""(height, position in the block) of a transaction."""
ProposalPhase = Literal["open", "passed", "refused", "executed"]


@dataclass(frozen=True, slots=True)
class Anchored:
    """A record and its place in the chain."""

    digest: Digest
    record: Record
    envelope: Envelope
    height: Height
    index: int
    """Position of the transaction in its block."""
    tx_hash: Hash32
    time: int
    """The block's time, unix seconds."""

    @property
    def kind(self) -> str:
        return self.record.kind

    @property
    def org(self) -> str:
        return self.record.org


@dataclass(frozen=True, slots=True)
class Member:
    name: str
    org: Address
    validator: Address | None
    endpoint: str
    since: Height
    """0 for founders."""
    place: Place | None = None
    """The transaction that admitted it; None for founders."""


@dataclass(slots=True)
class Grant:
    digest: Digest
    dataset: Digest
    grantee: str
    """A member's name, or `*`."""
    purposes: tuple[str, ...]
    until: int
    time: int
    revoked_at: int | None = None
    """Block time of the revocation."""

    def valid_at(self, time: int) -> bool:
        """Whether the contract would have counted it in a block of that time."""
        return self.time <= time < self.until and (self.revoked_at is None or time < self.revoked_at)


@dataclass(frozen=True, slots=True)
class Vote:
    org: str
    approve: bool
    by: str
    because: str
    record: Digest
    time: int


@dataclass(frozen=True, slots=True)
class Reveal:
    update: Digest
    weight: int
    salt: bytes


@dataclass(frozen=True, slots=True)
class Final:
    """A finished round."""

    index: int
    attempt: int
    aggregate: Digest
    record: Digest
    """The Round record."""
    reveals: dict[str, Reveal]
    attestations: tuple[str, ...]
    places: tuple[Place, ...]
    """The transactions that revealed its updates and attested its aggregate."""
    height: Height
    time: int


@dataclass(slots=True)
class Round:
    """The round that runs."""

    index: int
    phase: RoundPhase = "commit"
    since: int = 0
    """Block time at which the phase began."""
    attempt: int = 0
    proposer: str | None = None
    commitments: dict[str, Hash32] = field(default_factory=dict)
    reveals: dict[str, Reveal] = field(default_factory=dict)
    aggregate: Digest | None = None
    record: Digest | None = None
    attestations: list[str] = field(default_factory=list)
    revealed_at: list[Place] = field(default_factory=list)
    attested_at: list[Place] = field(default_factory=list)


@dataclass(slots=True)
class Study:
    digest: Digest
    org: str
    name: str
    roster: tuple[str, ...]
    rounds: int
    quorum: int
    round_timeout_s: int
    phase: StudyPhase = "proposed"
    votes: dict[str, Vote] = field(default_factory=dict)
    """The proposing organisation, if it is on the roster, has approved by proposing; its vote names the study itself."""
    round: Round | None = None
    """The round that runs, or the last one."""
    finals: list[Final] = field(default_factory=list)
    model: Digest | None = None
    withdrawn: bool = False
    """Its organisation revoked it: no round goes on."""

    @property
    def running(self) -> bool:
        """Whether a round runs."""
        return self.phase in ("active", "training") and not self.withdrawn

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """Who has not voted yet, while it is only proposed."""
        open_ = self.phase == "proposed" and not self.withdrawn
        return tuple(o for o in self.roster if o not in self.votes) if open_ else ()

    @property
    def weights(self) -> Digest | None:
        """The last final aggregate."""
        return self.finals[-1].aggregate if self.finals else None


@dataclass(slots=True)
class Proposal:
    digest: Digest
    org: str
    action: Literal["deploy", "admit"]
    need: int
    service: Digest | None
    model: Digest | None
    time: int
    phase: ProposalPhase = "open"
    votes: dict[str, Vote] = field(default_factory=dict)
    ready_at: int | None = None
    """Unix seconds: when the time lock is over; None until it passed."""
    executed_at: int | None = None
    execution: Place | None = None
    """The transaction that carried it out."""
    withdrawn: bool = False

    @property
    def is_over(self) -> bool:
        """Nothing more can come of it."""
        return self.withdrawn or self.phase in ("refused", "executed")

    @property
    def approvals(self) -> int:
        return sum(v.approve for v in self.votes.values())


@dataclass(frozen=True, slots=True)
class Pointing:
    """From `since` on, a service points at a model."""

    model: Digest
    proposal: Digest
    since: int
    height: Height


@dataclass(frozen=True, slots=True)
class Batch:
    """An anchored batch of prediction receipts."""

    record: Digest
    org: str
    model: Digest
    root: Digest
    count: int
    first: int
    height: Height


@dataclass(slots=True)
class Service:
    digest: Digest
    org: str
    name: str
    approvals: int
    time_lock_s: int
    history: list[Pointing] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    @property
    def current(self) -> Pointing | None:
        return self.history[-1] if self.history else None

    @property
    def model(self) -> Digest | None:
        """The model it points at now."""
        return self.history[-1].model if self.history else None
