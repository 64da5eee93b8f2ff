"""The study controller: what this organisation must do next for each study and each proposed model. Pure.

Level-triggered: it looks at the whole view every time, asks again for what is not there yet, and never remembers.
The works that it names are performed by `work`; the contract that gates each step is `Studies`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comity.learn.commitment import commitment
from comity.ledger.controller import FETCH_BYTES_MAX, Action, Anchor, Call, Fetch, Work
from comity.ledger.view import View
from comity.ledger.view_types import Proposal, Reveal, Round, Study
from comity.record import kinds
from comity.record.digest import to_hash32
from comity.record.record import Record
from comity.record.types import Digest

CODE_BYTES_MAX = 1 << 20
STAGGER_S = 2
"""Between members of a roster that would all close a late phase: the first one's transaction usually does it."""
DELIVERY_SHARE = 2
"""An aggregator waits this fraction of the round's time-out for a revealed update to arrive before it goes on without."""
NOT_DELIVERED = "its update was revealed but not delivered"


@dataclass(frozen=True, slots=True)
class Local:
    """What the controller must know of this node."""

    org: str
    now: int
    """Unix seconds."""
    datasets: Container[Digest] = frozenset()
    """Dataset records whose bytes are held here."""
    blobs: Container[Digest] = frozenset()
    """Blobs that are held here."""
    outcomes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Outcomes of works, by key. They must outlive a restart: the salt of a commitment is among them."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A posted aggregate that this node computed otherwise. It attests nothing; a person should know."""

    study: Digest
    round: int
    attempt: int
    posted: Digest
    computed: Digest | None
    because: str


def plan(view: View, local: Local) -> list[Action]:
    """Every action that is due. A key names one effect, so asking twice does no harm."""
    if local.org not in view.members:
        return []
    actions: list[Action] = []
    for study in view.studies.values():
        room = _Room(view, local, study)
        if study.running and study.round is not None:
            actions += _round(room, study.round)
        elif study.phase == "done" and study.org == local.org:
            actions += _conclude(room)
        elif study.phase == "proposed":
            actions += room.fetches([room.spec.code])  # so that people here can read what they are asked to approve
    for proposal in view.proposals.values():
        if proposal.action == "deploy" and proposal.phase in ("open", "passed") and not proposal.withdrawn:
            actions += _evaluate(view, local, proposal)
    return _once(actions)


def disagreements(view: View, local: Local) -> list[Disagreement]:
    """Rounds now open for attestation whose posted aggregate is not what we computed."""
    found = []
    for study in view.studies.values():
        it = study.round
        if study.running and it is not None and it.phase == "attest" and it.aggregate is not None:
            outcome = local.outcomes.get(_key("check", study, it.index, it.attempt))
            because = "" if outcome is None else _Room(view, local, study).difference(it, outcome)
            if outcome is not None and because:
                computed = outcome.get("aggregate")
                found.append(Disagreement(study.digest, it.index, it.attempt, it.aggregate, computed, because))
    return found


def _key(what: str, study: Study, *rest: object) -> str:
    return "/".join([what, study.digest, *map(str, rest)])


def _once(actions: Sequence[Action]) -> list[Action]:
    return list({action.key: action for action in actions}.values())


class _Room:
    """A study as this node sees it."""

    def __init__(self, view: View, local: Local, study: Study) -> None:
        self.view, self.local, self.study = view, local, study
        spec = view.records[study.digest].record.spec
        if not isinstance(spec, kinds.Study):
            raise TypeError("a study's record is a study")
        self.spec = spec

    @property
    def is_on_roster(self) -> bool:
        return self.local.org in self.study.roster

    @property
    def is_validator(self) -> bool:
        return self.view.members[self.local.org].validator is not None

    @property
    def tables(self) -> list[Digest]:
        """Our own datasets that this study may read now, in the study's order: none of them if we took our approval back."""
        approval = self.study.votes.get(self.local.org)
        if approval is not None and approval.record in self.view.revoked:
            return []
        return [d for d in self.spec.datasets if d in self.local.datasets and self._may_read(d)]

    def _may_read(self, dataset: Digest) -> bool:
        """Who is on the roster grants by approving; anybody else's data needs a grant that covers it now."""
        if self.is_on_roster:
            return dataset not in self.view.revoked
        return self.view.covers(dataset, self.study.org, self.spec.purpose)

    @property
    def columns(self) -> list[str]:
        """The features, as every site's worker names them."""
        dataset = self.view.records[self.spec.datasets[0]].record.spec
        names = [column.name for column in dataset.columns] if isinstance(dataset, kinds.Dataset) else []
        return [name for name in names if name != "label"]

    @property
    def base(self) -> Digest:
        """The weights that the running round starts from."""
        return self.study.weights or self.spec.initial

    def rows_of(self, org: str) -> int:
        """Rows of the datasets of this study that an organisation anchored: the most that it may claim as weight."""
        anchored = [self.view.records[digest] for digest in self.spec.datasets]
        return sum(a.record.spec.rows for a in anchored if a.org == org and isinstance(a.record.spec, kinds.Dataset))

    def fetches(self, digests: Sequence[Digest], first: str = "") -> Iterator[Fetch]:
        """Actions for the blobs that are not here: ask `first`, then whoever else should have them."""
        for digest in digests:
            if digest not in self.local.blobs:
                # Code is fetched as soon as somebody proposes it: a stranger to us must not fill our disk by that.
                bytes_max = CODE_BYTES_MAX if digest == self.spec.code else FETCH_BYTES_MAX
                yield _fetch(
                    self.view, self.local.org, digest, (first or self.study.org, *self.study.roster), bytes_max
                )

    def updates(self, it: Round, reveals: Mapping[str, Reveal], absent: Container[str]) -> dict[str, Any]:
        """Arguments of an aggregation: who goes in with which claim, and who stays out before a byte is read.

        All of it comes from the ledger but `absent`, which is the aggregator's word and is checked in `difference`.
        """
        updates, refused = [], []
        for org in sorted(reveals):
            reveal, most = reveals[org], self.rows_of(org)
            if org in absent:
                refused.append({"org": org, "because": NOT_DELIVERED})
            elif reveal.weight > most:
                because = f"it claims {reveal.weight} rows, and its datasets hold {most}"
                refused.append({"org": org, "because": because})
            else:
                updates.append({"org": org, "update": reveal.update, "weight": reveal.weight})
        return {
            "study": self.study.digest,
            "code": self.spec.code,
            "tables": self.tables,
            "base": self.base,
            "rule": {"name": self.spec.rule.name, "f": self.spec.rule.f},
            "updates": updates,
            "refused": refused,
        }

    def posted(self, it: Round) -> kinds.Round | None:
        """The Round record whose aggregate is up for attestation."""
        anchored = self.view.records.get(it.record) if it.record else None
        spec = anchored.record.spec if anchored else None
        return spec if isinstance(spec, kinds.Round) else None

    def difference(self, it: Round, outcome: Mapping[str, Any]) -> str:
        """Why the posted round is not ours, in words; empty when every part is, bit for bit."""
        spec = self.posted(it)
        if spec is None or "failed" in outcome:
            return str(outcome.get("failed", "the round's record is missing"))
        ours = (outcome["aggregate"], outcome["included"], outcome["refused"])
        theirs = (
            spec.aggregate,
            [{"org": i.org, "update": i.update, "weight": i.weight} for i in spec.included],
            [{"org": r.org, "because": r.because} for r in spec.refused],
        )
        if (
            spec.aggregate != it.aggregate
            or spec.base != self.base
            or (spec.index, spec.attempt) != (it.index, it.attempt)
        ):
            return "the record is about another round, base or aggregate"
        names = ("aggregate", "included updates", "refused updates")
        return "; ".join(f"other {name}" for name, a, b in zip(names, ours, theirs, strict=True) if a != b)


def _round(room: _Room, it: Round) -> list[Action]:
    steps = {"commit": _commit, "reveal": _reveal, "aggregate": _aggregate, "attest": _attest}
    step = steps.get(it.phase)
    actions = list(step(room, it)) if step else []
    return actions + list(_late(room, it))


def _commit(room: _Room, it: Round) -> Iterator[Action]:
    """Train on our own tables, then bind ourselves to the result."""
    study, local = room.study, room.local
    if not room.is_on_roster or local.org in it.commitments or not room.tables:
        return
    needs = list(room.fetches([room.spec.code, room.base]))
    key = _key("train", study, it.index)
    outcome = local.outcomes.get(key)
    if needs:
        yield from needs
    elif outcome is None:
        yield Work(
            key,
            "train",
            {
                "study": study.digest,
                "code": room.spec.code,
                "tables": room.tables,
                "base": room.base,
                "seed": room.spec.seed,
                "round": it.index,
            },
        )
    elif "failed" not in outcome:
        bound = commitment(outcome["update"], outcome["salt"], room.view.members[local.org].org)
        arguments = (to_hash32(study.digest), it.index, bound)
        yield Call(_key("commit", study, it.index), "Studies", "commit", arguments)


def _reveal(room: _Room, it: Round) -> Iterator[Action]:
    """Open our own commitment; fetch what others opened."""
    study, local = room.study, room.local
    outcome = local.outcomes.get(_key("train", study, it.index))
    if local.org in it.commitments and local.org not in it.reveals and outcome and "failed" not in outcome:
        arguments = (
            to_hash32(study.digest),
            it.index,
            to_hash32(outcome["update"]),
            outcome["salt"],
            outcome["weight"],
        )
        yield Call(_key("reveal", study, it.index), "Studies", "reveal", arguments)
    yield from _gather(room, it)


def _gather(room: _Room, it: Round) -> Iterator[Fetch]:
    """All who will aggregate or check the aggregate need every revealed update, and the base."""
    if room.is_on_roster or room.is_validator:
        yield from room.fetches([room.base])
        for org, reveal in it.reveals.items():
            yield from room.fetches([reveal.update], org)


def _aggregate(room: _Room, it: Round) -> Iterator[Action]:
    """Whoever was elected aggregates what was revealed, and says so in a Round record."""
    study, local = room.study, room.local
    yield from _gather(room, it)
    if it.proposer != local.org or room.base not in local.blobs or room.spec.code not in local.blobs:
        yield from room.fetches([room.spec.code]) if it.proposer == local.org else ()
        return
    absent = [org for org, reveal in it.reveals.items() if reveal.update not in local.blobs]
    if absent and local.now < it.since + study.round_timeout_s / DELIVERY_SHARE:
        return
    key = _key("aggregate", study, it.index, it.attempt)
    outcome = local.outcomes.get(key)
    if outcome is None:
        yield Work(key, "aggregate", room.updates(it, it.reveals, absent))
    elif "failed" not in outcome and outcome["included"]:
        spec = {
            "study": study.digest,
            "index": it.index,
            "attempt": it.attempt,
            "base": room.base,
            **{name: outcome[name] for name in ("aggregate", "included", "refused", "metrics")},
        }
        yield Anchor(_key("round", study, it.index, it.attempt), Record.make("round", local.org, spec))


def _attest(room: _Room, it: Round) -> Iterator[Action]:
    """A validator computes the aggregate again and attests it if, and only if, everything agrees."""
    study, local = room.study, room.local
    yield from _gather(room, it)
    posted = room.posted(it)
    if not room.is_validator or local.org in it.attestations or posted is None or it.record is None:
        return
    claimed = {r.org for r in posted.refused if r.because == NOT_DELIVERED}
    needed = [r.update for org, r in it.reveals.items() if org not in claimed]
    if room.base not in local.blobs or any(update not in local.blobs for update in needed):
        return
    # An update that did reach us was delivered: then the claim that it was not is wrong, and our result will differ.
    absent = [org for org in claimed if org in it.reveals and it.reveals[org].update not in local.blobs]
    key = _key("check", study, it.index, it.attempt)
    outcome = local.outcomes.get(key)
    if outcome is None:
        yield Work(key, "aggregate", room.updates(it, it.reveals, absent) | {"tables": []})
    elif not room.difference(it, outcome):
        arguments = (to_hash32(study.digest), it.index, to_hash32(it.record))
        yield Call(_key("attest", study, it.index, it.attempt), "Studies", "attest", arguments)


def _late(room: _Room, it: Round) -> Iterator[Action]:
    """After the time-out: go on without those who are late, or with the next aggregator."""
    study = room.study
    if not room.is_on_roster:
        return
    turn = STAGGER_S * study.roster.index(room.local.org)
    if room.local.now < it.since + study.round_timeout_s + turn:
        return
    here = {"commit": len(it.commitments), "reveal": len(it.reveals)}.get(it.phase)
    about = (to_hash32(study.digest), it.index)
    if here is not None and here >= study.quorum:
        yield Call(_key("close", study, it.index, it.phase), "Studies", "close", about)
    elif it.phase in ("aggregate", "attest"):
        yield Call(_key("retry", study, it.index, it.attempt), "Studies", "retry", about)


def _conclude(room: _Room) -> list[Action]:
    """The study's organisation exports the final weights and names the Model."""
    study, local = room.study, room.local
    weights = study.weights
    if weights is None:
        return []
    needs: list[Action] = [*room.fetches([room.spec.code, weights])]
    key = _key("export", study)
    outcome = local.outcomes.get(key)
    if needs:
        return needs
    if outcome is None:
        arguments = {"study": study.digest, "code": room.spec.code, "tables": [], "weights": weights}
        return [Work(key, "export", arguments | {"columns": room.columns})]
    if "failed" in outcome:
        return []
    earlier = [a for a in room.view.named(study.name) if a.kind == "model" and a.org == local.org]
    spec = {
        "name": study.name,
        "version": len(earlier) + 1,
        "study": study.digest,
        "round": study.finals[-1].record,
        "weights": weights,
        "artefact": outcome["artefact"],
        "format": "onnx",
        "inputs": outcome["inputs"],
        "outputs": outcome["outputs"],
    }
    return [Anchor(_key("model", study), Record.make("model", local.org, spec))]


def _evaluate(view: View, local: Local, proposal: Proposal) -> list[Action]:
    """Before it is deployed: try a proposed model on our own held-out rows, and export its weights again ourselves."""
    anchored = view.records.get(proposal.model) if proposal.model else None
    model = anchored.record.spec if anchored else None
    if not isinstance(model, kinds.Model) or model.study not in view.studies:
        return []
    room = _Room(view, local, view.studies[model.study])
    done = {
        spec.dataset
        for spec in (
            view.records[d].record.spec for d in view.referrers(proposal.digest) if view.records[d].org == local.org
        )
        if isinstance(spec, kinds.Evaluation)
    }
    waiting = [dataset for dataset in room.tables if dataset not in done]
    if not waiting:
        return []
    needs: list[Action] = [*room.fetches([room.spec.code, model.weights, model.artefact])]
    if needs:
        return needs
    actions: list[Action] = []
    for dataset in waiting:
        key = f"evaluate/{proposal.digest}/{dataset}"
        outcome = local.outcomes.get(key)
        if outcome is None:
            arguments = {"study": model.study, "code": room.spec.code, "tables": [dataset], "columns": room.columns}
            actions.append(Work(key, "evaluate", arguments | {"weights": model.weights, "artefact": model.artefact}))
        elif "failed" not in outcome:
            spec = {"proposal": proposal.digest, "model": proposal.model, "dataset": dataset, **outcome}
            actions.append(
                Anchor(f"evaluation/{proposal.digest}/{dataset}", Record.make("evaluation", local.org, spec))
            )
    return actions


def _fetch(view: View, org: str, digest: Digest, preferred: Sequence[str], bytes_max: int) -> Fetch:
    """Ask those who should hold it first, then every other member; never ourselves."""
    holders = [name for name in dict.fromkeys([*preferred, *view.members]) if name != org and name in view.members]
    return Fetch(f"fetch/{digest}", digest, tuple(holders), bytes_max)
