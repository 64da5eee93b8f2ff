"""The fold of the chain: who is a member, which records stand, and how far each study, proposal and service is.

Pure and deterministic: the same blocks give the same view. It judges nothing: it follows the events that the contracts
emitted, and what a record says comes from the record. Failed transactions leave no trace.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from comity.ledger import contracts
from comity.ledger.anchoring import envelope_in
from comity.ledger.errors import InvalidBlock
from comity.ledger.types import ZERO_ADDRESS, Receipt, SealedBlock, Transaction
from comity.ledger.view_types import (
    Anchored,
    Batch,
    Final,
    Grant,
    Member,
    Place,
    Pointing,
    Proposal,
    Reveal,
    Round,
    Service,
    Study,
    Vote,
)
from comity.record import kinds
from comity.record.digest import from_hash32
from comity.record.types import Address, Digest, Hash32, Height

_S = TypeVar("_S")
FOUND_MAX = 50
PREFIX_CHARACTERS_MIN = 4


@dataclass(frozen=True, slots=True)
class _Context:
    """The transaction whose events are being folded."""

    height: Height
    time: int
    index: int
    tx_hash: Hash32
    sender: Address
    call: contracts.Call
    record: Anchored | None

    @property
    def place(self) -> Place:
        return self.height, self.index


class View:
    """The consortium after the last block applied. Read its fields; change it only through `apply`."""

    def __init__(self, founders: Iterable[contracts.Founder]) -> None:
        self.height = Height(0)
        self.time = 0
        """The last block's time, unix seconds."""
        self.records: dict[Digest, Anchored] = {}
        """In the order of the chain."""
        self.members: dict[str, Member] = {}
        self.grants: dict[Digest, Grant] = {}
        self.revoked: dict[Digest, Digest] = {}
        """A revoked record -> the revocation."""
        self.studies: dict[Digest, Study] = {}
        self.proposals: dict[Digest, Proposal] = {}
        self.services: dict[Digest, Service] = {}
        self.members_by_name: dict[str, Address] = {}
        """The registry that `anchoring` wants."""
        self._names: dict[Address, str] = {}
        self._referrers: dict[Digest, list[Digest]] = {}
        self._sorted: list[Digest] = []
        self._of_kind: dict[str, list[Anchored]] = {}
        self._named: dict[str, list[Anchored]] = {}
        for founder in founders:
            self._admit(Member(founder.name, founder.org, founder.validator, founder.endpoint, Height(0)))

    # ── folding ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def apply(self, sealed: SealedBlock, receipts: Sequence[Receipt], transactions: Sequence[Transaction]) -> None:
        """Fold the next block in. `transactions` are the block's, decoded, and `receipts` theirs, in order.

        Raises InvalidBlock when the block is not the next one; block 0 may be given or left out.
        """
        header = sealed.block.header
        if header.height != self.height + 1 and not (header.height == 0 == self.height):
            raise InvalidBlock(f"block {header.height} does not follow", why=f"the view stands at height {self.height}")
        self.height, self.time = header.height, header.timestamp
        for index, (transaction, receipt) in enumerate(zip(transactions, receipts, strict=True)):
            if receipt.succeeded and transaction.to in contracts.NAME_AT:
                self._apply(transaction, receipt, index)

    def _apply(self, transaction: Transaction, receipt: Receipt, index: int) -> None:
        call = contracts.decode_call(transaction.to or ZERO_ADDRESS, transaction.data)
        record = self._anchor(transaction, call, index)
        context = _Context(self.height, self.time, index, transaction.hash, transaction.sender, call, record)
        for log in receipt.logs:
            event = contracts.decode_log(log)
            fold = None if event is None else self._FOLDS.get((event.contract, event.name))
            if event is not None and fold is not None:
                fold(self, event.arguments, context)

    def _anchor(self, transaction: Transaction, call: contracts.Call, index: int) -> Anchored | None:
        envelope = envelope_in(call)
        if envelope is None:
            return None
        digest, record = envelope.digest, envelope.record()
        anchored = Anchored(digest, record, envelope, self.height, index, transaction.hash, self.time)
        self.records[digest] = anchored
        insort(self._sorted, digest)
        self._of_kind.setdefault(record.kind, []).append(anchored)
        name = getattr(record.spec, "name", None)
        if name is not None:
            self._named.setdefault(name, []).append(anchored)
        for reference in record.refs:
            self._referrers.setdefault(reference, []).append(digest)
        return anchored

    def _admit(self, member: Member) -> None:
        self.members[member.name] = member
        self.members_by_name[member.name] = member.org
        self._names[member.org] = member.name

    def _on_admitted(self, event: Any, context: _Context) -> None:
        validator = None if event["validator"] == ZERO_ADDRESS else event["validator"]
        self._admit(Member(event["name"], event["org"], validator, event["endpoint"], context.height, context.place))

    def _on_granted(self, event: Any, context: _Context) -> None:
        spec = _spec(context, kinds.Grant)
        digest = from_hash32(event["grant"])
        self.grants[digest] = Grant(digest, spec.dataset, spec.grantee, tuple(spec.purposes), spec.until, context.time)

    def _on_revoked(self, event: Any, context: _Context) -> None:
        about = from_hash32(event["about"])
        self.revoked[about] = _record(context).digest
        if about in self.grants:
            self.grants[about].revoked_at = context.time
        if about in self.proposals:
            self.proposals[about].withdrawn = True
        if about in self.studies:
            self.studies[about].withdrawn = True

    # ── studies ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _on_study_proposed(self, event: Any, context: _Context) -> None:
        spec, record = _spec(context, kinds.Study), _record(context)
        timeout = spec.round_timeout_s
        study = Study(record.digest, record.org, spec.name, tuple(spec.roster), spec.rounds, spec.quorum, timeout)
        if record.org in study.roster:
            study.votes[record.org] = Vote(record.org, True, record.org, "", record.digest, context.time)
        self.studies[record.digest] = study

    def _on_study_voted(self, event: Any, context: _Context) -> None:
        self._study(event).votes[_record(context).org] = _vote(context)

    def _on_study_active(self, event: Any, context: _Context) -> None:
        study = self._study(event)
        study.phase = "active"
        study.round = Round(1, since=context.time)

    def _on_study_refused(self, event: Any, context: _Context) -> None:
        self._study(event).phase = "refused"

    def _on_committed(self, event: Any, context: _Context) -> None:
        study = self._study(event)
        study.phase = "training"
        _round(study).commitments[self.name_of(event["org"])] = Hash32(context.call.arguments["commitment"])

    def _on_reveal_open(self, event: Any, context: _Context) -> None:
        it = _round(self._study(event))
        it.phase, it.since = "reveal", context.time

    def _on_revealed(self, event: Any, context: _Context) -> None:
        reveal = Reveal(from_hash32(event["update"]), event["weight"], context.call.arguments["salt"])
        it = _round(self._study(event))
        it.reveals[self.name_of(event["org"])] = reveal
        it.revealed_at.append(context.place)

    def _on_aggregate_open(self, event: Any, context: _Context) -> None:
        it = _round(self._study(event))
        it.phase, it.since = "aggregate", context.time
        it.attempt, it.proposer = event["attempt"], self.name_of(event["proposer"])
        it.aggregate, it.record, it.attestations, it.attested_at = None, None, [], []

    def _on_aggregated(self, event: Any, context: _Context) -> None:
        it = _round(self._study(event))
        it.phase, it.since = "attest", context.time
        it.aggregate, it.record = from_hash32(event["aggregate"]), from_hash32(event["record"])

    def _on_attested(self, event: Any, context: _Context) -> None:
        it = _round(self._study(event))
        it.attestations.append(self.name_of(event["org"]))
        it.attested_at.append(context.place)

    def _on_round_final(self, event: Any, context: _Context) -> None:
        study = self._study(event)
        it = _round(study)
        it.phase, it.since = "final", context.time
        if it.record is None:
            raise InvalidBlock("a round is final without an aggregate")
        study.finals.append(
            Final(
                it.index,
                it.attempt,
                from_hash32(event["aggregate"]),
                it.record,
                it.reveals,
                tuple(it.attestations),
                (*it.revealed_at, *it.attested_at),
                context.height,
                context.time,
            )
        )
        if it.index < study.rounds:
            study.round = Round(it.index + 1, since=context.time)

    def _on_study_done(self, event: Any, context: _Context) -> None:
        self._study(event).phase = "done"

    def _on_concluded(self, event: Any, context: _Context) -> None:
        study = self._study(event)
        study.phase, study.model = "concluded", from_hash32(event["model"])

    # ── governance and services ──────────────────────────────────────────────────────────────────────────────────────
    def _on_proposed(self, event: Any, context: _Context) -> None:
        record = _record(context)
        spec = record.record.spec
        deploy = spec if isinstance(spec, kinds.Deploy) else None
        self.proposals[record.digest] = Proposal(
            record.digest,
            record.org,
            "admit" if deploy is None else "deploy",
            event["need"],
            None if deploy is None else deploy.service,
            None if deploy is None else deploy.model,
            context.time,
        )

    def _on_voted(self, event: Any, context: _Context) -> None:
        self._proposal(event).votes[_record(context).org] = _vote(context)

    def _on_passed(self, event: Any, context: _Context) -> None:
        proposal = self._proposal(event)
        proposal.phase, proposal.ready_at = "passed", event["ready_at"]

    def _on_refused(self, event: Any, context: _Context) -> None:
        self._proposal(event).phase = "refused"

    def _on_executed(self, event: Any, context: _Context) -> None:
        proposal = self._proposal(event)
        proposal.phase, proposal.executed_at = "executed", context.time
        proposal.execution = context.place

    def _on_defined(self, event: Any, context: _Context) -> None:
        spec, record = _spec(context, kinds.Service), _record(context)
        self.services[record.digest] = Service(record.digest, record.org, spec.name, spec.approvals, spec.time_lock_s)

    def _on_pointed(self, event: Any, context: _Context) -> None:
        model, proposal = from_hash32(event["model"]), from_hash32(event["proposal"])
        service = self.services[from_hash32(event["service"])]
        service.history.append(Pointing(model, proposal, context.time, context.height))

    def _on_receipts_anchored(self, event: Any, context: _Context) -> None:
        spec, record = _spec(context, kinds.PredictionsReceipt), _record(context)
        batch = Batch(record.digest, record.org, spec.model, spec.root, spec.count, spec.first, context.height)
        self.services[spec.service].batches.append(batch)

    _FOLDS: ClassVar[dict[tuple[str, str], Callable[[View, Any, _Context], None]]] = {
        ("Members", "Admitted"): _on_admitted,
        ("Grants", "Granted"): _on_granted,
        ("Grants", "Revoked"): _on_revoked,
        ("Studies", "StudyProposed"): _on_study_proposed,
        ("Studies", "StudyVoted"): _on_study_voted,
        ("Studies", "StudyActive"): _on_study_active,
        ("Studies", "StudyRefused"): _on_study_refused,
        ("Studies", "Committed"): _on_committed,
        ("Studies", "RevealOpen"): _on_reveal_open,
        ("Studies", "Revealed"): _on_revealed,
        ("Studies", "AggregateOpen"): _on_aggregate_open,
        ("Studies", "Aggregated"): _on_aggregated,
        ("Studies", "Attested"): _on_attested,
        ("Studies", "RoundFinal"): _on_round_final,
        ("Studies", "StudyDone"): _on_study_done,
        ("Studies", "Concluded"): _on_concluded,
        ("Governance", "Proposed"): _on_proposed,
        ("Governance", "Voted"): _on_voted,
        ("Governance", "Passed"): _on_passed,
        ("Governance", "Refused"): _on_refused,
        ("Governance", "Executed"): _on_executed,
        ("Services", "Defined"): _on_defined,
        ("Services", "Pointed"): _on_pointed,
        ("Services", "ReceiptsAnchored"): _on_receipts_anchored,
    }

    def _study(self, event: Any) -> Study:
        return self.studies[from_hash32(event["study"])]

    def _proposal(self, event: Any) -> Proposal:
        return self.proposals[from_hash32(event["proposal"])]

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def is_member(self, org: Address) -> bool:
        return org in self._names

    def name_of(self, org: Address) -> str:
        """The member's name, or the address in hexadecimal for a stranger."""
        return self._names.get(org, "0x" + org.hex())

    def find(self, prefix: str) -> tuple[Anchored, ...]:
        """Records whose digest begins with `prefix` (at least 4 characters), ascending by digest, at most FOUND_MAX."""
        if len(prefix) < PREFIX_CHARACTERS_MIN:
            return ()
        start = bisect_left(self._sorted, prefix)
        found = self._sorted[start : start + FOUND_MAX]
        return tuple(self.records[d] for d in found if d.startswith(prefix))

    def of_kind(self, kind: str) -> tuple[Anchored, ...]:
        """All records of a kind, in the order of the chain."""
        return tuple(self._of_kind.get(kind, ()))

    def named(self, name: str) -> tuple[Anchored, ...]:
        """Records whose spec has this name, in the order of the chain."""
        return tuple(self._named.get(name, ()))

    def referrers(self, digest: Digest) -> tuple[Digest, ...]:
        """Records whose `refs` name this digest, in the order of the chain."""
        return tuple(self._referrers.get(digest, ()))

    def votes(self, subject: Digest) -> tuple[Vote, ...]:
        """Votes on a study or a proposal, in the order of the chain."""
        holder = self.studies.get(subject) or self.proposals.get(subject)
        return () if holder is None else tuple(holder.votes.values())

    def service_named(self, name: str) -> Service | None:
        """The service of this name; names of services are unique."""
        return next((s for s in self.services.values() if s.name == name), None)

    def covers(self, dataset: Digest, org: str, purpose: str) -> bool:
        """What `Grants.covers` would answer in a block at `self.time`."""
        anchored = self.records.get(dataset)
        if anchored is None or anchored.kind != "dataset" or dataset in self.revoked:
            return False
        return anchored.org == org or any(
            g.dataset == dataset and g.grantee in (org, "*") and purpose in g.purposes and g.valid_at(self.time)
            for g in self.grants.values()
        )

    def pending_for(self, org: str) -> tuple[Anchored, ...]:
        """The inbox: studies and proposals that want this organisation's vote, oldest first."""
        if org not in self.members:
            return ()
        studies = [s.digest for s in self.studies.values() if org in s.waiting_for]
        proposals = [
            p.digest for p in self.proposals.values() if p.phase == "open" and not p.withdrawn and org not in p.votes
        ]
        waiting = [self.records[d] for d in studies + proposals]
        return tuple(sorted(waiting, key=lambda a: (a.height, a.index)))


def _record(context: _Context) -> Anchored:
    if context.record is None:
        raise InvalidBlock("an event of a record stands in a transaction without one")
    return context.record


def _spec(context: _Context, kind: type[_S]) -> _S:
    spec = _record(context).record.spec
    if not isinstance(spec, kind):
        raise InvalidBlock(f"an event of a {kind.__name__} stands in a transaction with another record")
    return spec


def _vote(context: _Context) -> Vote:
    spec, record = _spec(context, kinds.Vote), _record(context)
    return Vote(record.org, spec.choice == "approve", spec.by, spec.because, record.digest, context.time)


def _round(study: Study) -> Round:
    if study.round is None:
        raise InvalidBlock("an event of a round stands before the study is active")
    return study.round
