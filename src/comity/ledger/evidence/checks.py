"""Offline verification: the walk from a prediction or a record down to the genesis, link by link, stopping at the broken one.

Trusts nothing but the genesis digest. What each link must show is in docs/evidence.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, NoReturn, TypeVar

import msgspec
from msgspec import Meta, Struct

from comity.ledger.errors import BadEvidence
from comity.ledger.evidence.bundle import MANIFEST, PREDICTION, Manifest, Prediction, RoundEntry, decode_json
from comity.ledger.evidence.facts import Fact, Facts
from comity.record import kinds, merkle
from comity.record.digest import from_hash32, sha256, to_hash32
from comity.record.errors import ComityError
from comity.record.types import Digest, Hash32, short

_S = TypeVar("_S")
_Hex = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class ReceiptFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A prediction's receipt; `request`, `parameters` and `response` are SHA-256 of their bytes."""

    v: int
    service: _Hex
    model: _Hex
    artefact: _Hex
    request: _Hex
    parameters: _Hex
    response: _Hex
    org: str
    time: int
    sequence: int
    salt: Annotated[str, Meta(pattern=r"\A([0-9a-f]{2}){16,64}\Z")]


@dataclass(frozen=True, slots=True)
class Check:
    """One link. `name` is what people call it, `detail` what was found."""

    name: str
    ok: bool
    detail: str


@dataclass(slots=True)
class Report:
    """The walk so far; it ends at the first broken link."""

    target: str = ""
    checks: list[Check] = field(default_factory=list)
    hint: str = ""

    @property
    def ok(self) -> bool:
        return bool(self.checks) and all(c.ok for c in self.checks)

    @property
    def broken(self) -> Check | None:
        """The link that does not hold."""
        return next((c for c in self.checks if not c.ok), None)


class _Broken(BadEvidence):
    """A link within a link, by its own name."""

    def __init__(self, link: str, why: str, about: str = "") -> None:
        super().__init__(why)
        self.link, self.about = link, about


def verify(files: Mapping[str, bytes], genesis_hash: Hash32) -> Report:
    """Check a bundle. Never raises for what stands in the files: the report names the link that is broken."""
    report = Report()
    link = "genesis"
    try:
        facts = Facts(files, genesis_hash)
        manifest = Manifest.decode(facts.read(MANIFEST))
        report.target = manifest.target
        for place in manifest.admissions:
            facts.admit(place)
        report.checks.append(Check(f"genesis {short(genesis_hash.hex())}", True, _founded(facts)))
        walk = _Walk(facts, manifest)
        for link, step in walk.steps():
            report.checks.append(Check(link, True, step()))
        link = "bundle"
        if facts.unread:
            raise BadEvidence(f"{facts.unread[0]} proves nothing", why="each file must be part of a link")
    except ComityError as error:
        name = error.link if isinstance(error, _Broken) else link
        report.checks.append(Check(name, False, str(error)))
        asked = f" (comity show {short(error.about)})" if isinstance(error, _Broken) and error.about else ""
        report.hint = f"ask any member for the original of {name}{asked}"
    return report


def _founded(facts: Facts) -> str:
    joined = len(facts.members) - len(facts.genesis.members)
    later = f", {joined} joined later" if joined else ""
    return f"{len(facts.genesis.members)} members, {len(facts.genesis.validators)} validators{later}"


class _Walk:
    """The links of one bundle, from the target down."""

    def __init__(self, facts: Facts, manifest: Manifest) -> None:
        self.facts, self.manifest = facts, manifest
        self.prediction: Prediction | None = None
        self.receipt: ReceiptFile | None = None

    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        """(name, check) of each link. Which there are follows from the kind of the target, never from what is missing."""
        m = self.manifest
        service, model, study = f"service {_short(m.service)}", f"model {_short(m.model)}", f"study {_short(m.study)}"
        trained: list[tuple[str, Callable[[], str]]] = [(study, self.study), ("data", self.data)]
        served = [(service, self.service), (model, self.model), *trained]
        batch = ("anchored", self.batch)
        match m.kind:
            case "prediction":
                return [(f"receipt {short(m.target)}", self.answer), batch, *served]
            case "receipt" if m.batch is not None:
                return [(f"receipt {short(m.target)}", lambda: self.target(m.batch)), batch, *served]
            case "proposal" if m.model is not None:
                return [(f"proposal {short(m.target)}", lambda: self.target(m.proposal)), *served]
            case "service" if m.proposal is not None:
                return [(f"service {short(m.target)}", lambda: self.target(m.service)), *served]
            case "model":
                return [(model, lambda: self.target(m.model) + ", " + self.model()), *trained]
            case "study":
                return [(study, lambda: self.target(m.study) + ", " + self.study()), ("data", self.data)]
            case "service":
                return [(f"service {short(m.target)}", lambda: self.target(m.service) + ", points at nothing yet")]
            case "proposal":
                return [(f"proposal {short(m.target)}", self.admission)]
            case _:
                return [(f"{m.kind} {short(m.target)}", self.others)]

    # ── the target ───────────────────────────────────────────────────────────────────────────────────────────────────
    def target(self, link: str | None) -> str:
        """The record that the bundle is about, which must be the link it claims to be."""
        if link != self.manifest.target:
            _fail("the manifest's target is not that link")
        fact = self.facts.record(Digest(self.manifest.target))
        if fact.record is None or fact.record.kind != self.manifest.kind:
            _fail("the target is of another kind")
        return f"by {fact.org} in block {fact.height}"

    def others(self) -> str:
        text = self.target(self.manifest.target)
        seen = {self.manifest.target}
        stack = [self.manifest.target]
        while stack:
            digest = Digest(stack.pop())
            try:
                fact = self.facts.record(digest)
            except ComityError as error:
                raise _Broken(f"record {short(digest)}", str(error), digest) from error
            new = set(fact.record.refs if fact.record else ()) - seen
            seen |= new
            stack.extend(sorted(new))
        if seen != set(self.manifest.others):
            _fail("the manifest does not list what the record refers to")
        return f"{text}, {len(seen) - 1} records behind it"

    def admission(self) -> str:
        m = self.manifest
        text = self.target(m.proposal)
        proposal = self.facts.record(Digest(m.target))
        admit = _spec(proposal, kinds.Admit)
        passed, votes = self._ballots(proposal)
        if m.execution is not None:
            self._executed(proposal, passed, 0)
            if admit.member.name not in self.facts.members:
                _fail(f"the execution did not admit {admit.member.name}")
        return f"{text}, to admit {admit.member.name}: {votes} of {len(self.facts.members)} votes"

    def answer(self) -> str:
        """The receipt, the bytes it binds, and the leaf."""
        self.prediction = Prediction.decode(self.facts.read(PREDICTION))
        p = self.prediction
        if p.digest != self.manifest.target or p.batch != self.manifest.batch:
            _fail("the receipt is not the one that the bundle is about")
        try:
            self.receipt = msgspec.convert(decode_json(p.receipt), ReceiptFile, strict=True)
        except msgspec.ValidationError as error:
            raise BadEvidence("the receipt is malformed", why=str(error)) from error
        matched = []
        for name in ("request", "parameters", "response"):
            data = getattr(p, name)
            if data is not None and sha256(data) != getattr(self.receipt, name):
                _fail(f"the {name} is not the one that the receipt binds")
            matched += [name] if data is not None else []
        links = (self.manifest.service, self.manifest.model)
        if self.receipt.v != 1 or (self.receipt.service, self.receipt.model) != links:
            _fail("the receipt is of another service or model")
        return f"model {short(self.receipt.model)}, {' and '.join(matched) or 'no bytes enclosed, digests'} match"

    def batch(self) -> str:
        m = self.manifest
        if m.batch is None:
            _fail("there is no anchored batch")
        fact = self.facts.record(Digest(m.batch))
        spec = _spec(fact, kinds.PredictionsReceipt)
        if (spec.service, spec.model) != (m.service, m.model):
            _fail("the batch is of another service or model")
        if self.prediction is not None and self.receipt is not None:
            p = self.prediction
            if not merkle.verify(spec.root, p.receipt, p.index, spec.count, p.path):
                _fail("the receipt is not under the anchored root")
            if fact.org != self.receipt.org or spec.first + p.index != self.receipt.sequence:
                _fail("the receipt is not the one that its place in the batch says")
        event = fact.event("Services", "ReceiptsAnchored")
        if event is None or event.arguments["root"] != to_hash32(spec.root):
            _fail("the ledger did not accept the batch")
        return f"batch root in block {fact.height}, sealed by ≥ {self.facts.seals_min} of {len(self.facts.genesis.validators)}"

    # ── the service ──────────────────────────────────────────────────────────────────────────────────────────────────
    def service(self) -> str:
        m = self.manifest
        if m.service is None or m.proposal is None or m.model is None:
            _fail("there is no proposal behind the service")
        service = self.facts.record(Digest(m.service))
        rules = _spec(service, kinds.Service)
        proposal = self.facts.record(Digest(m.proposal))
        deploy = _spec(proposal, kinds.Deploy)
        if (deploy.service, deploy.model) != (m.service, m.model):
            _fail("the proposal is about another service or model")
        proposed = proposal.event("Governance", "Proposed")
        if proposed is None or proposed.arguments["need"] != rules.approvals:
            _fail("the proposal was made under other rules than the service's")
        if m.execution is None and m.kind == "proposal":
            _, approvals = self._ballots(proposal)
            return f"{rules.name}: proposal {short(m.proposal)}: {approvals} of {rules.approvals} votes so far, not executed"
        passed, approvals = self._ballots(proposal)
        if approvals < rules.approvals:
            _fail(f"{approvals} approvals, {rules.approvals} needed")
        execution = self._executed(proposal, passed, rules.time_lock_s)
        pointed = execution.event("Services", "Pointed")
        wanted = {"service": m.service, "model": m.model, "proposal": m.proposal}
        if pointed is None or {n: from_hash32(v) for n, v in pointed.arguments.items()} != wanted:
            _fail("the execution did not point the service at the model")
        if m.batch is not None and execution.order > self.facts.record(Digest(m.batch)).order:
            _fail("the batch was anchored before the service pointed at the model")
        return f"{rules.name}: proposal {short(m.proposal)}: {approvals} of {len(self.facts.members)} votes, time lock kept"

    def _ballots(self, proposal: Fact) -> tuple[Fact | None, int]:
        """The vote with which it passed, and how many organisations approved up to then or after."""
        approving: set[str] = set()
        passed: Fact | None = None
        for digest in self.manifest.ballots:
            try:
                vote = self.facts.record(Digest(digest))
                spec = _spec(vote, kinds.Vote)
            except ComityError as error:
                raise _Broken(f"vote {short(digest)}", str(error), digest) from error
            if spec.on != "proposal" or spec.about != proposal.digest:
                raise _Broken(f"vote {short(digest)}", "the vote is about something else", digest)
            if spec.choice == "approve":
                approving.add(vote.org)
            if vote.event("Governance", "Passed") is not None:
                passed = vote
        return passed, len(approving)

    def _executed(self, proposal: Fact, passed: Fact | None, time_lock_s: int) -> Fact:
        if passed is None or self.manifest.execution is None or proposal.digest is None:
            _fail("the proposal has not passed, or was not executed")
        execution = self.facts.event(self.manifest.execution)
        done = execution.event("Governance", "Executed")
        if done is None or done.arguments["proposal"] != to_hash32(proposal.digest):
            _fail("the execution is that of another proposal")
        if execution.time < passed.time + time_lock_s:
            _fail(f"the time lock was not kept: {execution.time - passed.time} s of {time_lock_s}")
        return execution

    # ── the model and its study ──────────────────────────────────────────────────────────────────────────────────────
    def model(self) -> str:
        m = self.manifest
        if m.model is None or m.study is None or not m.rounds:
            _fail("there is no study behind the model")
        fact = self.facts.record(Digest(m.model))
        spec = _spec(fact, kinds.Model)
        concluded = fact.event("Studies", "Concluded")
        if spec.study != m.study or concluded is None or concluded.arguments["study"] != to_hash32(Digest(m.study)):
            _fail("the model is of another study")
        if spec.round != m.rounds[-1].record:
            _fail("the model does not name the study's last round")
        last = _spec(self.facts.record(Digest(spec.round)), kinds.Round)
        if last.aggregate != spec.weights:
            _fail("the weights are not the last round's aggregate")
        if self.receipt is not None and self.receipt.artefact != spec.artefact:
            _fail("the receipt's artefact is not the model's")
        enclosed = self.facts.blob(spec.artefact) is not None
        return f"{spec.name}@{spec.version}, artefact {short(spec.artefact)}{'' if enclosed else ' (not enclosed)'}"

    def study(self) -> str:
        m = self.manifest
        if m.study is None:
            _fail("there is no study")
        fact = self.facts.record(Digest(m.study))
        spec = _spec(fact, kinds.Study)
        active = self._approvals(fact, spec)
        code = self.facts.blob(spec.code)
        if m.kind != "study" and len(m.rounds) != spec.rounds:
            _fail(f"{len(m.rounds)} rounds are enclosed, the study has {spec.rounds}")
        if m.rounds and not active:
            _fail("rounds ran before everyone approved")
        base = spec.initial
        enclosed = 0
        for index, entry in enumerate(m.rounds, 1):
            try:
                base = self._round(m.study, spec, index, entry, base)
                enclosed += self.facts.blob(base) is not None
            except ComityError as error:
                raise _Broken(f"round {index}", str(error), entry.record) from error
        kept = f"{enclosed} of {len(m.rounds)} aggregates enclosed" if m.rounds else "not begun"
        shown = f"code {short(spec.code)}{'' if code is not None else ' (not enclosed)'}"
        signed = f"{len(m.rounds)} rounds, each attested by more than two thirds"
        return f"{spec.name}: {shown}, approved by {len(spec.roster)}, {signed}, {kept}"

    def _approvals(self, study: Fact, spec: kinds.Study) -> bool:
        """Whether everyone on the roster approved; all that is enclosed must be about this study."""
        approved = {study.org}
        active = study.event("Studies", "StudyActive") is not None
        for digest in self.manifest.approvals:
            link = f"approval {short(digest)}"
            try:
                vote = self.facts.record(Digest(digest))
                said = _spec(vote, kinds.Vote)
            except ComityError as error:
                raise _Broken(link, str(error), digest) from error
            if said.on != "study" or said.about != study.digest:
                raise _Broken(link, "the vote is about something else", digest)
            if said.choice == "approve":
                approved.add(vote.org)
            active = active or vote.event("Studies", "StudyActive") is not None
        missing = set(spec.roster) - approved
        if missing and (active or self.manifest.kind != "study"):
            _fail(f"{', '.join(sorted(missing))} did not approve")
        return active and not missing

    def _round(self, study: str, spec: kinds.Study, index: int, entry: RoundEntry, base: Digest) -> Digest:
        """One round: who revealed what, who attested; its aggregate."""
        fact = self.facts.record(Digest(entry.record))
        said = _spec(fact, kinds.Round)
        if (said.study, said.index) != (study, index):
            _fail("the record is that of another round")
        if said.base != base:
            _fail(f"it starts from {short(said.base)}…, the round before ended at {short(base)}…")
        reveals: dict[str, tuple[Digest, int]] = {}
        attested: set[str] = set()
        final, height = False, 0
        for place in entry.events:
            at = self.facts.event(place)
            if at.call.arguments.get("study") != to_hash32(Digest(study)) or at.call.arguments.get("round") != index:
                _fail(f"the transaction at {place} belongs to another round")
            if at.event("Studies", "Revealed") is not None:
                reveals[at.org] = (from_hash32(at.call.arguments["update"]), at.call.arguments["weight"])
            elif at.event("Studies", "Attested") is not None:
                if from_hash32(at.call.arguments["record"]) != entry.record:
                    _fail(f"{at.org} attested another record of this round")
                attested.add(at.org)
                height = max(height, at.height)
                final = final or at.event("Studies", "RoundFinal") is not None
            else:
                _fail(f"the transaction at {place} neither reveals nor attests")
        if len(reveals) < spec.quorum or not reveals.keys() <= set(spec.roster):
            _fail(f"{len(reveals)} updates were revealed, the quorum is {spec.quorum}")
        for one in said.included:
            if reveals.get(one.org) != (one.update, one.weight):
                _fail(f"it includes an update of {one.org} that was not revealed")
        if not reveals.keys() <= {i.org for i in said.included} | {r.org for r in said.refused}:
            _fail("it does not account for every revealed update")
        validating = self.facts.validating(height)
        if not final or 3 * len(attested & validating) <= 2 * len(validating):
            _fail(f"{len(attested & validating)} of {len(validating)} validators attested the aggregate")
        return said.aggregate

    # ── the data ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def data(self) -> str:
        m = self.manifest
        study = self.facts.record(Digest(m.study or m.target))
        spec = _spec(study, kinds.Study)
        if list(m.datasets) != list(spec.datasets):
            _fail("the datasets are not those that the study names")
        granted = [self._grant(digest, study, spec) for digest in m.grants]
        for digest in spec.datasets:
            try:
                dataset = self.facts.record(digest)
                said = _spec(dataset, kinds.Dataset)
            except ComityError as error:
                raise _Broken(f"dataset {short(digest)}", str(error), digest) from error
            if dataset.org not in (*spec.roster, study.org) and digest not in granted:
                raise _Broken(f"dataset {said.name}", f"{dataset.org} granted it to nobody who took part", digest)
        later = [self._revocation(digest) for digest in m.revocations]
        note = f"; revoked since: {', '.join(later)}" if later else ""
        return f'{len(spec.datasets)} datasets, each approved by its owner or granted for "{spec.purpose}" at the time of use{note}'

    def _grant(self, digest: str, study: Fact, spec: kinds.Study) -> Digest:
        """The dataset that a grant opens to the study."""
        link = f"grant {short(digest)}"
        try:
            fact = self.facts.record(Digest(digest))
            grant = _spec(fact, kinds.Grant)
            owner = self.facts.record(grant.dataset).org
        except ComityError as error:
            raise _Broken(link, str(error), digest) from error
        if fact.org != owner or grant.grantee not in ("*", study.org) or spec.purpose not in grant.purposes:
            raise _Broken(link, "it does not grant the dataset to this study", digest)
        if fact.order > study.order or grant.until <= study.time:
            raise _Broken(link, "it was not valid when the study was proposed", digest)
        return grant.dataset

    def _revocation(self, digest: str) -> str:
        """What was taken back; it must not have been so when the study began."""
        try:
            fact = self.facts.record(Digest(digest))
            spec = _spec(fact, kinds.Revocation)
        except ComityError as error:
            raise _Broken(f"revocation {short(digest)}", str(error), digest) from error
        begun = self.facts.record(Digest(self.manifest.study or self.manifest.target))
        if fact.order < begun.order:
            raise _Broken(
                f"revocation {short(digest)}", f"{short(spec.about)}… was revoked before the study was proposed", digest
            )
        return short(spec.about)


def _spec(fact: Fact, kind: type[_S]) -> _S:
    spec = None if fact.record is None else fact.record.spec
    if not isinstance(spec, kind):
        raise BadEvidence(f"a {kind.__name__.lower()} record stands nowhere in that transaction")
    return spec


def _short(digest: str | None) -> str:
    return short(digest) if digest else "?"


def _fail(why: str) -> NoReturn:
    raise BadEvidence(why)
