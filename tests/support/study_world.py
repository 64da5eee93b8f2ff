"""A consortium in memory for the planners' tests: a view that anchors and calls change as the contracts would.

Only what Studies and Governance decide is here, in a few lines each; the contracts themselves have their own tests.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from comity.learn.commitment import commitment
from comity.ledger.controller import Anchor, Call
from comity.ledger.types import ZERO_ADDRESS
from comity.ledger.view import View
from comity.ledger.view_types import Anchored, Final, Member, Reveal, Round, Study, Vote
from comity.record.digest import from_hash32
from comity.record.envelope import Envelope
from comity.record.record import Record, digest, statement
from comity.record.types import Address, Digest, Hash32, Height


@dataclass(frozen=True)
class Founder:
    name: str
    org: Address
    validator: Address | None
    endpoint: str = "127.0.0.1:1"


def founder(name: str, *, validates: bool = True) -> Founder:
    seed = hashlib.sha256(name.encode()).digest()
    return Founder(name, Address(seed[:20]), Address(seed[12:]) if validates else None)


@dataclass
class World:
    """The ledger's side of a study."""

    names: tuple[str, ...]
    now: int = 1_000_000
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.view = View([founder(name) for name in self.names])
        self.view.time = self.now

    def anchor(self, record: Record) -> Digest:
        name = digest(record)
        if name in self.view.records:
            return name
        envelope = Envelope(statement(record), bytes(65))
        place = Anchored(name, record, envelope, Height(1), len(self.view.records), Hash32(bytes(32)), self.now)
        self.view.records[name] = place
        self.view._of_kind.setdefault(record.kind, []).append(place)
        if hasattr(record.spec, "name"):
            self.view._named.setdefault(record.spec.name, []).append(place)
        for reference in record.refs:
            self.view._referrers.setdefault(reference, []).append(name)
        return name

    def dataset(self, org: str, rows: int, columns: list[str]) -> Digest:
        spec = {
            "name": "breast", "version": 1, "commitment": hashlib.sha256(org.encode()).hexdigest(), "bytes": 1, "rows": rows,
            "columns": [{"name": c, "type": "number", "missing": 0} for c in columns], "purposes": ["diagnosis"],
            "licence": "x", "consent": "x",
        }  # fmt: skip
        return self.anchor(Record.make("dataset", org, spec))

    def study(
        self, org: str, roster: tuple[str, ...], datasets: list[Digest], code: Digest, initial: Digest, **over: Any
    ) -> Study:
        spec = {
            "name": "breast-mlp", "code": code, "code_lines": 60, "initial": initial, "datasets": datasets, "roster": list(roster),
            "purpose": "diagnosis", "rule": {"name": "mean", "f": 0}, "rounds": 3, "quorum": 2, "round_timeout_s": 60,
            "privacy": "none", "seed": 7, **over,
        }  # fmt: skip
        name = self.anchor(Record.make("study", org, spec))
        study = Study(name, org, spec["name"], roster, spec["rounds"], spec["quorum"], spec["round_timeout_s"])
        study.votes = {o: Vote(o, True, o, "", name, self.now) for o in roster}
        study.phase, study.round = "active", Round(1, since=self.now)
        self.view.studies[name] = study
        return study

    def member(self, name: str) -> Member:
        return self.view.members[name]

    def perform(self, org: str, action: Anchor | Call) -> None:
        """As the chain would: a call that the contract refuses changes nothing, and is noted."""
        if isinstance(action, Anchor):
            name = self.anchor(action.record)
            if action.record.kind == "round":
                self._aggregated(org, name, action.record.spec)
            if action.record.kind == "model":
                study = self.view.studies[action.record.spec.study]  # type: ignore[attr-defined]
                study.phase, study.model = "concluded", name
            return
        if action.contract != "Studies":
            return
        study = self.view.studies[from_hash32(action.arguments[0])]
        it = study.round
        if it is None or it.index != action.arguments[1]:
            self.refused.append(action.key)
            return
        getattr(self, "_" + action.function)(org, study, it, action)

    def _commit(self, org: str, study: Study, it: Round, action: Call) -> None:
        if it.phase != "commit" or org in it.commitments or org not in study.roster:
            self.refused.append(action.key)
            return
        study.phase = "training"
        it.commitments[org] = action.arguments[2]
        if len(it.commitments) == len(study.roster):
            it.phase, it.since = "reveal", self.now

    def _reveal(self, org: str, study: Study, it: Round, action: Call) -> None:
        update, salt, weight = action.arguments[2:]
        bound = commitment(from_hash32(update), salt, self.member(org).org)
        if it.phase != "reveal" or it.commitments.get(org) != bound or org in it.reveals:
            self.refused.append(action.key)
            return
        it.reveals[org] = Reveal(from_hash32(update), weight, salt)
        if len(it.reveals) == len(it.commitments):
            self._elect(study, it)

    def _elect(self, study: Study, it: Round) -> None:
        revealed = [o for o in study.roster if o in it.reveals]
        it.phase, it.since = "aggregate", self.now
        it.proposer = revealed[(it.index + it.attempt) % len(revealed)]
        it.aggregate, it.record, it.attestations = None, None, []

    def _close(self, org: str, study: Study, it: Round, action: Call) -> None:
        here = it.commitments if it.phase == "commit" else it.reveals
        if (
            it.phase not in ("commit", "reveal")
            or self.now < it.since + study.round_timeout_s
            or len(here) < study.quorum
        ):
            self.refused.append(action.key)
        elif it.phase == "commit":
            it.phase, it.since = "reveal", self.now
        else:
            self._elect(study, it)

    def _retry(self, org: str, study: Study, it: Round, action: Call) -> None:
        if it.phase not in ("aggregate", "attest") or self.now < it.since + study.round_timeout_s:
            self.refused.append(action.key)
            return
        it.attempt += 1
        self._elect(study, it)

    def _aggregated(self, org: str, name: Digest, spec: Any) -> None:
        it = self.view.studies[spec.study].round
        assert it is not None
        if it.phase == "aggregate" and it.proposer == org and it.attempt == spec.attempt:
            it.phase, it.since, it.aggregate, it.record = "attest", self.now, spec.aggregate, name

    def _attest(self, org: str, study: Study, it: Round, action: Call) -> None:
        if it.phase != "attest" or org in it.attestations or from_hash32(action.arguments[2]) != it.record:
            self.refused.append(action.key)
            return
        it.attestations.append(org)
        validators = [m for m in self.view.members.values() if m.validator not in (None, ZERO_ADDRESS)]
        if 3 * len(it.attestations) > 2 * len(validators):
            assert it.aggregate is not None
            assert it.record is not None
            it.phase = "final"
            voters = tuple(it.attestations)
            study.finals.append(
                Final(it.index, it.attempt, it.aggregate, it.record, it.reveals, voters, (), Height(1), self.now)
            )
            if it.index < study.rounds:
                study.round = Round(it.index + 1, since=self.now)
            else:
                study.phase = "done"
