"""What the SDK hands back: frozen values that mirror the shapes of `docs/api.md`. Fields that a newer node adds are ignored."""

from __future__ import annotations

from typing import Any

import msgspec

from comity.shell.render import words


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all results."""


class Anchor(Value, frozen=True, kw_only=True):
    """Where a record stands: `transaction` is its hash, `position` its place in the block, `time` unix seconds."""

    height: int
    time: int
    transaction: str
    position: int


class Record(Value, frozen=True, kw_only=True):
    """A signed record in brief; `spec` as `docs/records.md` has it for its kind."""

    digest: str
    kind: str
    org: str
    state: str | None
    spec: dict[str, Any]
    anchor: Anchor | None

    @property
    def title(self) -> str:
        """What people call it: `breast@1`, `round 17`."""
        return words.title(msgspec.structs.asdict(self))

    @property
    def summary(self) -> str:
        """One line about it."""
        return words.summary(msgspec.structs.asdict(self))

    def __str__(self) -> str:
        return self.digest


class Blob(Value, frozen=True, kw_only=True):
    """An artefact that a record names: `bytes` and the content are known where it is `held`."""

    role: str
    digest: str
    bytes: int | None
    held: bool


class RecordPage(Value, frozen=True, kw_only=True):
    """A record with what it names, what names it (newest first, 200 at most), and the bytes that were signed."""

    record: Record
    signer: str
    refs: list[Record]
    referrers: list[Record]
    referrers_total: int
    blobs: list[Blob]
    payload: dict[str, Any]
    envelope: dict[str, Any]


class Check(Value, frozen=True, kw_only=True):
    """One finding of `doctor`: `ok` is None where a check that it depends on failed."""

    code: str
    name: str
    severity: str
    ok: bool | None
    detail: str
    fix: str
    depends_on: list[str]


class LedgerStatus(Value, frozen=True, kw_only=True):
    """This node's view of the chain; `age_s` is the age of its newest block, `halted` why the replica stopped."""

    chain_id: int
    genesis: str
    height: int
    time: int
    age_s: int
    validators: int
    quorum: int
    validating: bool
    syncing: bool
    halted: str | None


class Peers(Value, frozen=True, kw_only=True):
    connected: int
    known: int


class RunningWork(Value, frozen=True, kw_only=True):
    name: str
    about: str
    title: str
    since: int


class Predictions(Value, frozen=True, kw_only=True):
    """Predictions answered here; `pending` ones have a receipt whose batch is not yet anchored."""

    total: int
    pending: int


class Status(Value, frozen=True, kw_only=True):
    org: str
    person: str
    version: str
    dev: bool
    since: int
    url: str
    peer: str
    health: str
    failing: list[Check]
    ledger: LedgerStatus
    peers: Peers
    inbox: int
    work: list[RunningWork]
    predictions: Predictions


class Finding(Value, frozen=True, kw_only=True):
    """One step of a verification."""

    name: str
    ok: bool
    detail: str


class Verification(Value, frozen=True, kw_only=True):
    """The outcome of `verify`: true in a condition when every finding is ok."""

    verified: bool
    checks: list[Finding]
    digest: str = ""
    seconds: str = ""

    def __bool__(self) -> bool:
        return self.verified


class Seat(Value, frozen=True, kw_only=True):
    """An organisation on a study's roster and its choice so far (`approve`, `refuse` or None)."""

    org: str
    choice: str | None
    by: str | None
    because: str | None


class RefusedUpdate(Value, frozen=True, kw_only=True):
    org: str
    because: str


class Round(Value, frozen=True, kw_only=True):
    """A closed round: who took part, whose update the rule refused, whose validator re-computed the aggregate."""

    index: int
    attempt: int
    record: str
    aggregate: str
    loss: str | None
    metrics: dict[str, str]
    took_part: list[str]
    refused: list[RefusedUpdate]
    attested: list[str]
    validators: int
    time: int


class Study(Value, frozen=True, kw_only=True):
    record: Record
    datasets: list[Record]
    roster: list[Seat]
    phase: str
    round: int
    rounds: list[Round]
    model: Record | None

    @property
    def state(self) -> str | None:
        return self.record.state

    def __str__(self) -> str:
        return self.record.digest


class Task(Value, frozen=True, kw_only=True):
    record: Record
    place: str
    receipt: Record | None

    def __str__(self) -> str:
        return self.record.digest


class CastVote(Value, frozen=True, kw_only=True):
    org: str
    choice: str
    by: str
    because: str
    time: int


class SiteEvaluation(Value, frozen=True, kw_only=True):
    """One organisation's measurement of a proposed model on its own data; metrics are decimal strings."""

    org: str
    record: str
    rows: int
    metrics: dict[str, str]


class Proposal(Value, frozen=True, kw_only=True):
    record: Record
    service: Record | None
    model: Record | None
    previous: Record | None
    need: int
    members: int
    votes: list[CastVote]
    evaluations: list[SiteEvaluation]
    ready_at: int | None
    serving: list[str]

    @property
    def state(self) -> str | None:
        return self.record.state

    def __str__(self) -> str:
        return self.record.digest


class Decision(Value, frozen=True, kw_only=True):
    """An entry of the inbox: a study or a proposal."""

    record: Record
    study: Study | None
    proposal: Proposal | None


class Service(Value, frozen=True, kw_only=True):
    record: Record
    name: str
    approvals: int
    time_lock_s: int
    model: Record | None
    proposal: str | None
    since: int | None
    serving: list[str]
    predictions: int


class Member(Value, frozen=True, kw_only=True):
    name: str
    here: bool = msgspec.field(name="self")
    org: str
    validator: str | None
    endpoint: str
    admitted: int
    connected: bool | None
    height: int | None


class Edge(Value, frozen=True, kw_only=True):
    """Data flows from the record called `start` to `end`, which names it."""

    start: str = msgspec.field(name="from")
    end: str = msgspec.field(name="to")


class Lineage(Value, frozen=True, kw_only=True):
    focus: str
    nodes: list[Record]
    edges: list[Edge]
    truncated: bool


class Block(Value, frozen=True, kw_only=True):
    height: int
    hash: str
    parent: str
    time: int
    proposer: str | None
    round: int
    seals: int
    validators: int
    transactions: int
    gas_used: int


class Prediction(Value, frozen=True, kw_only=True):
    """An answer and the digest of its receipt; `outputs` by name, as nested lists or a single value."""

    outputs: dict[str, Any]
    receipt: str
