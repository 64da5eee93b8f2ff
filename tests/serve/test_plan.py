"""The service controller: fetch, load, say so; anchor roots in time; execute what was decided, the proposer first."""

from __future__ import annotations

from typing import Any

import pytest

from comity.ledger.controller import Action, Anchor, Call, Fetch, Work
from comity.ledger.view_types import Batch as AnchoredBatch
from comity.ledger.view_types import Pointing, Proposal, Service
from comity.record.record import Record
from comity.record.types import Digest, Height
from comity.serve.plan import BATCH_AGE_S, BATCH_COUNT, EXECUTE_GRACE_S, Local, anchored, plan
from comity.serve.receipts import Batch
from support.study_world import World

EVERYONE = ("north", "river", "lake")
ARTEFACT, ROOT = Digest("a" * 64), Digest("b" * 64)


class Here:
    """A service that points at a model, seen by one organisation."""

    def __init__(self) -> None:
        self.world = World(EVERYONE)
        self.view = self.world.view
        io = [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
        spec = {
            "name": "mlp", "version": 1, "study": "1" * 64, "round": "2" * 64, "weights": "3" * 64, "artefact": ARTEFACT,
            "format": "onnx", "inputs": io, "outputs": io,
        }  # fmt: skip
        self.model = self.world.anchor(Record.make("model", "north", spec))
        self.newer = self.world.anchor(Record.make("model", "north", spec | {"version": 2}))
        self.name = self.world.anchor(
            Record.make("service", "north", {"name": "triage", "approvals": 2, "time_lock_s": 5})
        )
        self.service = Service(self.name, "north", "triage", 2, 5)
        self.view.services[self.name] = self.service
        self.point(self.model)

    def point(self, model: Digest) -> None:
        self.service.history.append(Pointing(model, Digest("9" * 64), self.world.now, Height(1)))

    def propose(self, previous: Digest | None) -> Proposal:
        spec = {"action": "deploy", "service": self.name, "model": self.newer, "previous": previous, "nonce": 0}
        digest = self.world.anchor(Record.make("proposal", "river", spec))
        proposal = Proposal(
            digest,
            "river",
            "deploy",
            2,
            self.name,
            self.newer,
            self.world.now,
            phase="passed",
            ready_at=self.world.now + 10,
        )
        self.view.proposals[digest] = proposal
        return proposal

    def plan(self, org: str = "lake", *, later: int = 0, **over: Any) -> list[Action]:
        return plan(self.view, Local(org, self.world.now + later, **over))


def batch(here: Here, *, count: int = 3, first: int = 0, model: Digest | None = None) -> Batch:
    return Batch(here.name, model or here.model, first, count, ROOT, here.world.now)


def test_fetch_then_load_then_say_so_then_rest() -> None:
    here = Here()
    (fetch,) = here.plan()
    assert isinstance(fetch, Fetch)
    assert (fetch.digest, fetch.holders) == (ARTEFACT, ("north", "river"))
    (load,) = here.plan(blobs={ARTEFACT})
    assert isinstance(load, Work)
    assert load.arguments == {"service": here.name, "model": here.model, "artefact": ARTEFACT}
    ready: dict[str, Any] = {"blobs": {ARTEFACT}, "loaded": {here.name: here.model}}
    (said,) = here.plan(**ready)
    assert isinstance(said, Anchor)
    here.world.anchor(said.record)
    assert here.plan(**ready) == []
    here.point(here.newer)
    assert isinstance(here.plan(**ready)[0], Work), "a new model is loaded while the old one serves"


def test_what_was_refused_here_is_not_tried_again() -> None:
    here = Here()
    assert here.plan(failed={(here.name, here.model)}) == []


def test_strangers_and_empty_services() -> None:
    here = Here()
    assert plan(here.view, Local("stranger", here.world.now)) == []
    here.service.history.clear()
    assert here.plan() == []


def test_roots_are_sent_when_old_or_many_or_when_the_model_moved_on() -> None:
    here = Here()
    ready: dict[str, Any] = {"failed": {(here.name, here.model), (here.name, here.newer)}}
    assert here.plan(batches=[batch(here)], **ready) == []
    (old,) = here.plan(later=BATCH_AGE_S, batches=[batch(here)], **ready)
    assert isinstance(old, Anchor)
    assert len(here.plan(batches=[batch(here, count=BATCH_COUNT)], **ready)) == 1
    here.point(here.newer)
    assert len(here.plan(batches=[batch(here)], **ready)) == 1


def test_anchored_counts_stop_at_a_gap() -> None:
    here = Here()
    for org, first, count in (("lake", 0, 3), ("lake", 3, 2), ("lake", 9, 1), ("north", 5, 4), ("lake", 2, 2)):
        here.service.batches.append(AnchoredBatch(ROOT, org, here.model, ROOT, count, first, Height(1)))
    assert anchored(here.view, "lake") == {here.name: 5}
    assert anchored(here.view, "river") == {here.name: 0}


@pytest.mark.parametrize(("org", "turn"), [("river", 0), ("north", EXECUTE_GRACE_S), ("lake", 2 * EXECUTE_GRACE_S)])
def test_a_decision_is_executed_after_its_time_lock_the_proposer_first(org: str, turn: int) -> None:
    here = Here()
    proposal = here.propose(here.model)
    over: dict[str, Any] = {"failed": {(here.name, here.model)}}
    assert here.plan(org, later=9 + turn, **over) == []
    (call,) = here.plan(org, later=10 + turn, **over)
    assert isinstance(call, Call)
    assert (call.contract, call.function, call.arguments) == (
        "Governance",
        "execute",
        (bytes.fromhex(proposal.digest),),
    )


@pytest.mark.parametrize("trouble", ["withdrawn", "overtaken", "revoked", "open", "executed"])
def test_what_the_contract_would_refuse_is_not_sent(trouble: str) -> None:
    here = Here()
    proposal = here.propose(None if trouble == "overtaken" else here.model)
    if trouble == "withdrawn":
        proposal.withdrawn = True
    elif trouble == "revoked":
        here.view.revoked[here.newer] = ROOT
    elif trouble in ("open", "executed"):
        proposal.phase = "open" if trouble == "open" else "executed"
    assert here.plan("river", later=100, failed={(here.name, here.model)}) == []
