"""The view as JSON: states follow the facts, pages hold what happened, lineage goes both ways and ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comity.ledger.view import View
from comity.node import present
from comity.record.digest import sha256
from comity.record.types import Digest
from support.consortium import HOSPITALS, ORGS, START, Consortium

N, R, L, H = ORGS


def state(view: View, digest: Digest) -> str | None:
    return present.state(view, view.records[digest])


def test_states_follow_the_facts() -> None:
    c = Consortium()
    dataset = c.dataset(N)
    until = c.time + 50
    grant = c.anchor(N, "grant", {"dataset": dataset, "grantee": R, "purposes": ["diagnosis"], "until": until})
    assert (state(c.view, dataset), state(c.view, grant)) == ("current", "valid")
    c.wait(60)
    service = c.service()
    assert (state(c.view, grant), state(c.view, service)) == ("expired", "empty")
    c.anchor(N, "revocation", {"about": dataset, "because": "it ended"})
    c.anchor(N, "revocation", {"about": grant, "because": "it ended"})
    assert (state(c.view, dataset), state(c.view, grant)) == ("revoked", "revoked")


def test_what_was_withdrawn_is_revoked() -> None:
    c = Consortium()
    study, proposal = c.active_study(name="second"), c.propose(c.service(), c.trained_model())
    for about in (study, proposal):
        c.anchor(N, "revocation", {"about": about, "because": "a mistake"})
    assert (state(c.view, study), state(c.view, proposal)) == ("revoked", "revoked")


def test_a_study_and_a_deployment_from_end_to_end() -> None:
    c = Consortium()
    held = [c.dataset(org, name=f"breast-{org}") for org in HOSPITALS]
    study = c.anchor(N, "study", c.study_spec(held))
    page = present.study_page(c.view, c.view.studies[study])
    assert (page["phase"], page["round"], page["rounds"], page["model"]) == ("waiting", 0, [], None)
    assert [entry["choice"] for entry in page["roster"]] == ["approve", None, None]
    entry = present.inbox_entry(c.view, c.view.records[study])
    assert (entry["study"], entry["proposal"]) == (page, None)
    c.vote(R, "study", study, "refuse", "not now")
    page = present.study_page(c.view, c.view.studies[study])
    assert (page["record"]["state"], page["roster"][1]["because"]) == ("refused", "not now")

    model, service = c.trained_model("second"), c.service()
    assert state(c.view, model) == "registered"
    proposal = c.propose(service, model)
    assert present.inbox_entry(c.view, c.view.records[proposal])["study"] is None
    shown = present.proposal_page(c.view, proposal)
    assert (shown["need"], shown["members"], shown["votes"], shown["ready_at"]) == (3, 4, [], None)
    for org in HOSPITALS:
        c.vote(org, "proposal", proposal)
    assert state(c.view, proposal) == "passed"
    c.wait(10)
    c.send(N, "Governance", "execute", bytes.fromhex(proposal))
    assert (state(c.view, proposal), state(c.view, model), state(c.view, service)) == ("executed", "serving", "serving")
    trained = present.study_page(
        c.view, c.view.studies[Digest(getattr(c.view.records[model].record.spec, "study", ""))]
    )
    assert (trained["phase"], trained["round"], [r["index"] for r in trained["rounds"]]) == ("done", 2, [1, 2])
    assert trained["model"]["digest"] == model
    entry = present.service_entry(c.view, service)
    assert (entry["model"]["digest"], entry["proposal"], entry["serving"], entry["predictions"]) == (
        model,
        proposal,
        [],
        0,
    )
    json.dumps([trained, shown, entry])


def test_a_page_says_what_is_held() -> None:
    c = Consortium()
    study = c.active_study()
    page = present.record_page(c.view, c.view.records[study], {sha256(b"code"): 7}.get)
    blobs = {blob["role"]: blob for blob in page["blobs"]}
    assert (blobs["code"]["bytes"], blobs["code"]["held"]) == (7, True)
    assert (blobs["initial"]["bytes"], blobs["initial"]["held"]) == (None, False)
    assert page["referrers_total"] == len(page["referrers"]) == 2
    assert [found["kind"] for found in page["refs"]] == ["dataset"] * 3
    assert page["payload"]["predicateType"] == "urn:comity:study:v1"


def test_lineage_goes_both_ways_and_stops_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    c = Consortium()
    model = c.trained_model()
    whole = present.lineage(c.view, model)
    digests = [node["digest"] for node in whole["nodes"]]
    assert digests[0] == whole["focus"] == model
    assert len(digests) == len(set(digests))
    assert {"dataset", "study", "round", "model"} <= {node["kind"] for node in whole["nodes"]}
    assert all({edge["from"], edge["to"]} <= set(digests) for edge in whole["edges"])
    assert whole["truncated"] is False
    monkeypatch.setattr(present, "LINEAGE_NODES_MAX", 3)
    cut = present.lineage(c.view, model)
    assert ([node["digest"] for node in cut["nodes"]], cut["truncated"]) == (digests[:3], True)


def test_work_goes_to_the_data() -> None:
    c = Consortium()
    ours, theirs = c.dataset(N), c.dataset(R, name="other")

    def place(inputs: list[Digest]) -> Any:
        spec = {
            "code": sha256(b"code"), "inputs": inputs, "purpose": "diagnosis", "environment": "python", "arguments": {},
            "limits": {"cpu_s": 1, "wall_s": 1, "memory_bytes": 1 << 20, "output_bytes": 1}, "nonce": 0,
        }  # fmt: skip
        digest = c.anchor(N, "task", spec)
        page = present.task_page(c.view, digest)
        assert (page["record"]["state"], page["receipt"]) == ("waiting", None)
        return page["place"]

    assert (place([]), place([ours]), place([theirs])) == (N, N, R)


def test_a_brief_names_its_place_on_the_chain() -> None:
    c = Consortium()
    brief = present.brief(c.view, c.view.records[c.dataset(N)])
    assert (brief["anchor"]["height"], brief["anchor"]["position"], brief["anchor"]["time"]) == (1, 0, START)
    assert present.maybe_brief(c.view, Digest("0" * 64)) is None
    assert present.maybe_brief(c.view, None) is None
