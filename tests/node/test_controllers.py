"""Votes by written policy, and tasks: what is planned follows from the view, and from nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from comity.ledger.controller import Action, Anchor, Fetch, Work
from comity.node.controllers import plan_tasks, plan_votes
from comity.record.digest import sha256
from comity.record.record import digest
from comity.record.types import Digest
from support.consortium import HOSPITALS, ORGS, Consortium

N, R, L, H = ORGS
CODE, LOG = sha256(b"task code"), sha256(b"log")
LIMITS = {"cpu_s": 1, "wall_s": 1, "memory_bytes": 1 << 20, "output_bytes": 1}


def task(c: Consortium, org: str, inputs: list[Digest], purpose: str = "diagnosis", nonce: int = 0) -> Digest:
    spec = {
        "code": CODE, "inputs": inputs, "purpose": purpose, "environment": "python", "arguments": {}, "limits": LIMITS,
        "nonce": nonce,
    }  # fmt: skip
    return c.anchor(org, "task", spec)


def outcome(of: Digest) -> dict[str, Any]:
    return {
        "of": "task", "task": of, "outcome": "done", "outputs": {}, "exit": 0, "isolation": {}, "log": LOG,
        "usage": {"cpu_ms": 1, "wall_ms": 1, "memory_peak_bytes": 1},
    }  # fmt: skip


def keys(actions: list[Action]) -> list[str]:
    return [action.key for action in actions]


def test_a_task_is_fetched_run_and_reported_by_the_owner_of_its_data() -> None:
    c = Consortium()
    ours = task(c, N, [c.dataset(N)])
    for other in (R, L, H):
        assert plan_tasks(c.view, other, {CODE}, {}) == []
    (fetch,) = plan_tasks(c.view, N, set(), {})
    assert isinstance(fetch, Fetch)
    assert (fetch.digest, N in fetch.holders) == (CODE, False)
    (work,) = plan_tasks(c.view, N, {CODE}, {})
    assert isinstance(work, Work)
    assert (work.key, work.arguments) == (f"task/{ours}", {"task": ours})
    (anchor,) = plan_tasks(c.view, N, {CODE}, {work.key: outcome(ours)})
    assert isinstance(anchor, Anchor)
    c.anchor(N, "receipt", outcome(ours))
    assert digest(anchor.record) in c.view.records
    assert plan_tasks(c.view, N, {CODE}, {}) == []


def test_a_task_on_anothers_data_waits_for_a_grant_of_that_purpose() -> None:
    c = Consortium()
    data = c.dataset(R)
    theirs = task(c, N, [data])
    assert plan_tasks(c.view, R, {CODE}, {}) == []
    c.anchor(R, "grant", {"dataset": data, "grantee": N, "purposes": ["billing"], "until": c.time + 50})
    assert plan_tasks(c.view, R, {CODE}, {}) == []
    c.anchor(R, "grant", {"dataset": data, "grantee": N, "purposes": ["diagnosis"], "until": c.time + 50})
    assert keys(plan_tasks(c.view, R, {CODE}, {})) == [f"task/{theirs}"]
    c.wait(60)
    c.dataset(L)
    assert plan_tasks(c.view, R, {CODE}, {}) == [], "the grant is over"


@pytest.mark.parametrize(
    ("purposes", "votes"),
    [("", True), ("diagnosis", True), (" billing , diagnosis ", True), ("billing", False), (",", True)],
)
def test_a_study_is_approved_for_allowed_purposes_only(purposes: str, votes: bool) -> None:
    c = Consortium()
    study = c.anchor(N, "study", c.study_spec([c.dataset(org, name=f"breast-{org}") for org in HOSPITALS]))
    planned = plan_votes(c.view, R, purposes, "0.9")
    assert keys(planned) == ([f"vote/{study}"] if votes else [])
    assert plan_votes(c.view, N, purposes, "0.9") == [], "who proposes has voted"
    assert plan_votes(c.view, H, purposes, "0.9") == [], "not on the roster"
    if votes:
        assert isinstance(planned[0], Anchor)
        spec: Any = planned[0].record.spec
        assert (spec.on, spec.about, spec.choice, spec.by) == ("study", study, "approve", "policy")
        c.vote(R, "study", study)
        assert plan_votes(c.view, R, purposes, "0.9") == []


@pytest.mark.parametrize(
    ("accuracy", "least", "artefact", "votes"),
    [
        ("0.9000", "0.9", b"artefact", True),
        ("0.8999", "0.9", b"artefact", False),
        ("0.9500", "0.9", b"another", False),
        ("1", "0", b"artefact", True),
        ("0.99", "much", b"artefact", False),
        ("0.99", "NaN", b"artefact", False),
    ],
)
def test_a_deployment_is_approved_on_our_own_evaluation_of_the_same_artefact(
    accuracy: str, least: str, artefact: bytes, votes: bool
) -> None:
    c = Consortium()
    model, service = c.trained_model(), c.service()
    proposal = c.propose(service, model)
    assert plan_votes(c.view, R, "", least) == [], "nothing is evaluated"
    named: Any = c.view.records[model].record.spec
    rows = c.view.named(f"breast-{R}")[0].digest
    evaluation = {
        "proposal": proposal, "model": model, "dataset": rows, "rows": 100, "metrics": {"accuracy": accuracy},
        "artefact": named.artefact if artefact == b"artefact" else sha256(artefact),
    }  # fmt: skip
    c.anchor(R, "evaluation", evaluation)
    assert keys(plan_votes(c.view, R, "", least)) == ([f"vote/{proposal}"] if votes else [])
    assert plan_votes(c.view, L, "", least) == [], "another's evaluation is not ours"


def test_an_admission_waits_for_a_person() -> None:
    c = Consortium()
    member = {"name": "newcomer", "org": "0x" + "31" * 20, "validator": None, "endpoint": "127.0.0.1:1"}
    c.anchor(N, "proposal", {"action": "admit", "member": member, "nonce": 0})
    assert c.view.pending_for(R)
    assert plan_votes(c.view, R, "", "0") == []
