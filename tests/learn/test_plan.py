"""The study controller, against a ledger in memory and works computed in place: a whole study, and each way to be late or false."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from comity.learn import fixed, rules
from comity.learn.plan import CODE_BYTES_MAX, NOT_DELIVERED, Local, _Room, disagreements, plan
from comity.ledger.controller import Action, Anchor, Call, Fetch, Work
from comity.ledger.view_types import Grant, Study, Vote
from comity.record import kinds
from comity.record.types import Digest
from support.study_world import World

HOSPITALS = ("north", "river", "lake")
EVERYONE = (*HOSPITALS, "office")
COLUMNS = ["a", "b", "label"]


def sha(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


def weights(*values: float) -> bytes:
    return fixed.encode(fixed.from_floats({"w": np.array(values)}))


@dataclass
class Node:
    """One organisation's local side."""

    org: str
    world: World
    shift: float
    datasets: set[Digest] = field(default_factory=set)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    online: bool = True
    serves: Callable[[Digest], bool] = lambda _digest: True
    done: list[str] = field(default_factory=list)

    def local(self) -> Local:
        return Local(self.org, self.world.now, self.datasets, self.blobs, self.outcomes)

    def keep(self, data: bytes) -> Digest:
        self.blobs[sha(data)] = data
        return sha(data)

    def plan(self) -> list[Action]:
        return plan(self.world.view, self.local())

    def work(self, work: Work) -> dict[str, Any]:
        given = work.arguments
        if work.name == "train":
            base = fixed.to_floats(fixed.decode(self.blobs[given["base"]]))["w"]
            return {
                "update": self.keep(weights(*(base + self.shift))),
                "weight": 40,
                "salt": bytes([given["round"]]) * 32,
            }
        if work.name == "aggregate":
            updates = {u["org"]: rules.Update(u["weight"], self.blobs[u["update"]]) for u in given["updates"]}
            result = rules.aggregate(rules.Rule(**given["rule"]), self.blobs[given["base"]], updates)
            refused = [{"org": r.org, "because": r.because} for r in result.refused] + given["refused"]
            included = [u for u in given["updates"] if u["org"] in result.included]
            return {
                "aggregate": self.keep(result.blob),
                "included": included,
                "refused": refused,
                "metrics": {"loss": "0.5"},
            }
        if work.name == "export":
            io = [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
            return {"artefact": self.keep(b"onnx" + given["weights"].encode()), "inputs": io, "outputs": io}
        return {"rows": 10, "metrics": {"accuracy": "0.9"}, "artefact": given["artefact"]}


class Consortium:
    def __init__(self, **over: Any) -> None:
        self.world = World(EVERYONE)
        self.nodes = {
            org: Node(org, self.world, shift) for org, shift in zip(EVERYONE, (1.0, 2.0, 3.0, 0.0), strict=True)
        }
        datasets = [self.world.dataset(org, 50, COLUMNS) for org in HOSPITALS]
        for org, dataset in zip(HOSPITALS, datasets, strict=True):
            self.nodes[org].datasets.add(dataset)
        north = self.nodes["north"]
        self.study: Study = self.world.study(
            "north", HOSPITALS, datasets, north.keep(b"code"), north.keep(weights(0, 0)), **over
        )

    def step(self) -> bool:
        """Everyone plans and performs once; whether anything happened."""
        moved = False
        for node in self.nodes.values():
            for action in node.plan() if node.online else []:
                moved |= self.perform(node, action)
        return moved

    def perform(self, node: Node, action: Action) -> bool:
        node.done.append(action.key)
        if isinstance(action, Fetch):
            assert node.org not in action.holders
            for holder in action.holders:
                other = self.nodes[holder]
                if other.online and action.digest in other.blobs and other.serves(action.digest):
                    node.blobs[action.digest] = other.blobs[action.digest]
                    return True
            return False
        if isinstance(action, Work):
            assert action.key not in node.outcomes, "a work that has an outcome is not asked again"
            node.outcomes[action.key] = node.work(action)
            return True
        self.world.perform(node.org, action)
        return True

    def run(self, steps: int = 200) -> None:
        for _ in range(steps):
            if not self.step():
                self.world.now += 1
                self.world.view.time = self.world.now
            if self.study.phase == "concluded" and not self.step():
                return


def test_a_study_from_first_round_to_model() -> None:
    them = Consortium()
    them.run()
    assert them.study.phase == "concluded"
    assert [f.index for f in them.study.finals] == [1, 2, 3]
    assert not them.world.refused
    last = them.nodes["north"].blobs[them.study.finals[-1].aggregate]
    assert fixed.to_floats(fixed.decode(last))["w"] == pytest.approx([6.0, 6.0])
    model = them.world.view.records[them.study.model or Digest("")].record.spec
    assert isinstance(model, kinds.Model)
    assert (model.weights, model.version, model.round) == (
        them.study.finals[-1].aggregate,
        1,
        them.study.finals[-1].record,
    )
    assert all(set(f.attestations) <= set(EVERYONE) and len(f.attestations) >= 3 for f in them.study.finals)


def test_planning_is_pure_and_every_key_is_one_effect() -> None:
    them = Consortium()
    for _ in range(12):
        for node in them.nodes.values():
            first, again = node.plan(), node.plan()
            assert first == again
            assert len({a.key for a in first}) == len(first)
        them.step()


def test_only_members_plan() -> None:
    them = Consortium()
    assert plan(them.world.view, Local("stranger", them.world.now)) == []


def test_no_raw_data_is_ever_fetched_and_the_regulator_trains_nothing() -> None:
    them = Consortium()
    them.run()
    assert not any(key.startswith(("train/", "commit/", "reveal/")) for key in them.nodes["office"].done)
    assert any(key.startswith("attest/") for key in them.nodes["office"].done)


def test_one_that_never_commits_is_left_behind_after_the_time_out() -> None:
    them = Consortium()
    them.nodes["lake"].online = False
    them.run(1000)
    assert them.study.phase == "concluded"
    assert all(set(f.reveals) == {"north", "river"} for f in them.study.finals)


def test_below_the_quorum_nothing_is_closed() -> None:
    them = Consortium(quorum=3)
    them.nodes["lake"].online = False
    them.run(400)
    assert them.study.round is not None
    assert (them.study.round.index, them.study.round.phase) == (1, "commit")
    assert not any(key.startswith("close/") for node in them.nodes.values() for key in node.done)


def test_a_silent_aggregator_is_replaced() -> None:
    them = Consortium()
    while them.study.round is not None and them.study.round.phase != "aggregate":
        them.step()
    assert them.study.round is not None
    them.nodes[them.study.round.proposer or ""].online = False
    them.run(1000)
    assert them.study.finals[0].attempt >= 1


def test_an_update_that_is_not_delivered_is_left_out_and_said() -> None:
    them = Consortium()
    lake = them.nodes["lake"]
    lake.serves = lambda digest: (
        digest not in {o.get("update") for k, o in lake.outcomes.items() if k.startswith("train/")}
    )
    lake.online = True
    them.run(2000)
    assert them.study.finals, "the round goes on without it"
    record = them.world.view.records[them.study.finals[0].record].record.spec
    assert isinstance(record, kinds.Round)
    if record.refused:
        assert [(r.org, r.because) for r in record.refused] == [("lake", NOT_DELIVERED)]


def test_a_claim_of_more_rows_than_anchored_is_refused_by_all() -> None:
    them = Consortium()
    river = them.nodes["river"]
    honest = river.work

    def boast(work: Work) -> dict[str, Any]:
        outcome = honest(work)
        return outcome | {"weight": 10**6} if work.name == "train" else outcome

    river.work = boast  # type: ignore[method-assign]
    them.run()
    assert them.study.phase == "concluded"
    for final in them.study.finals:
        record = them.world.view.records[final.record].record.spec
        assert isinstance(record, kinds.Round)
        assert [(r.org, r.because) for r in record.refused] == [
            ("river", "it claims 1000000 rows, and its datasets hold 50")
        ]


@pytest.mark.parametrize("lie", ["aggregate", "included", "refused"])
def test_a_false_aggregate_is_not_attested_and_the_next_proposer_mends_it(lie: str) -> None:
    them = Consortium(rounds=1)
    while them.study.round is not None and them.study.round.phase != "aggregate":
        them.step()
    assert them.study.round is not None
    liar = them.nodes[them.study.round.proposer or ""]
    honest = liar.work

    def cheat(work: Work) -> dict[str, Any]:
        outcome = dict(honest(work))
        if not work.key.startswith("aggregate/"):
            return outcome
        if lie == "aggregate":
            outcome["aggregate"] = liar.keep(weights(9, 9))
        elif lie == "included":
            outcome["included"] = outcome["included"][1:]
        else:
            gone = outcome["included"][0]
            outcome["included"] = outcome["included"][1:]
            outcome["refused"] = [{"org": gone["org"], "because": NOT_DELIVERED}]
        return outcome

    liar.work = cheat  # type: ignore[method-assign]
    seen = set()
    for _ in range(600):
        if not them.step():
            them.world.now += 1
        if them.study.round.attempt == 0:
            seen |= {node.org for node in them.nodes.values() if disagreements(them.world.view, node.local())}
            assert not them.study.round.attestations
        if them.study.finals:
            break
    assert them.study.finals
    assert them.study.finals[0].attempt == 1
    assert len(seen) >= 3


def test_lost_outcomes_of_a_commitment_are_not_replaced_by_another_update() -> None:
    them = Consortium()
    while them.study.round is not None and them.study.round.phase == "commit":
        them.step()
    them.nodes["river"].outcomes.clear()
    assert not [a for a in them.nodes["river"].plan() if isinstance(a, Call) and a.function == "reveal"]


def test_a_revoked_dataset_is_not_trained_on() -> None:
    them = Consortium()
    dataset = next(iter(them.nodes["river"].datasets))
    them.world.view.revoked[dataset] = Digest("0" * 64)
    assert not [a for a in them.nodes["river"].plan() if isinstance(a, Work)]


def test_who_took_its_approval_back_trains_no_more() -> None:
    them = Consortium(quorum=2)
    vote = Vote("river", True, "someone", "", Digest("8" * 64), them.world.now)
    them.study.votes["river"] = vote
    assert [a for a in them.nodes["river"].plan() if a.key.startswith(("train/", "fetch/"))]
    them.world.view.revoked[vote.record] = Digest("0" * 64)
    assert them.nodes["river"].plan() == []


def test_lent_data_is_read_only_while_a_grant_covers_it() -> None:
    them = Consortium()
    lent = them.world.dataset("office", 50, COLUMNS)
    them.nodes["office"].datasets.add(lent)
    room = _Room(them.world.view, them.nodes["office"].local(), them.study)
    room.spec.datasets.append(lent)
    assert room.tables == []
    until = them.world.view.time + 10
    them.world.view.grants[Digest("9" * 64)] = Grant(
        Digest("9" * 64), lent, them.study.org, (room.spec.purpose,), until, them.world.view.time
    )
    assert room.tables == [lent]
    them.world.view.time = until
    assert room.tables == []


def test_code_that_is_only_proposed_is_fetched_but_not_much_of_it() -> None:
    them = Consortium()
    them.study.phase = "proposed"
    (fetch,) = them.nodes["river"].plan()
    assert isinstance(fetch, Fetch)
    assert (fetch.digest, fetch.bytes_max) == (sha(b"code"), CODE_BYTES_MAX)


def test_a_proposed_model_is_evaluated_on_each_of_our_datasets_once() -> None:
    from comity.ledger.view_types import Proposal
    from comity.record.record import Record

    them = Consortium()
    them.run()
    service = them.world.anchor(Record.make("service", "north", {"name": "triage", "approvals": 3, "time_lock_s": 1}))
    assert them.study.model is not None
    deploy = {"action": "deploy", "service": service, "model": them.study.model, "previous": None, "nonce": 0}
    name = them.world.anchor(Record.make("proposal", "north", deploy))
    them.world.view.proposals[name] = Proposal(name, "north", "deploy", 3, service, them.study.model, them.world.now)
    for _ in range(6):
        them.step()
    evaluations = them.world.view.of_kind("evaluation")
    assert sorted(a.org for a in evaluations) == sorted(HOSPITALS)
    model = them.world.view.records[them.study.model].record.spec
    assert isinstance(model, kinds.Model)
    assert all(
        isinstance(a.record.spec, kinds.Evaluation) and a.record.spec.artefact == model.artefact for a in evaluations
    )
    assert not [a for node in them.nodes.values() for a in node.plan() if isinstance(a, Anchor)]
