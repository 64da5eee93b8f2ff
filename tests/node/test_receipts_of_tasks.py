"""Whose receipt of a task counts."""

from __future__ import annotations

from comity.node.controllers import plan_tasks
from comity.node.present import task_receipt
from comity.record.digest import sha256
from support.consortium import ORGS, START, Consortium

N, R, L, H = ORGS


def test_only_where_a_task_has_to_run_can_its_receipt_come_from() -> None:
    """A receipt by anybody else would stop the task, and show an outcome of theirs."""
    c = Consortium()
    dataset = c.dataset(R)
    c.anchor(R, "grant", {"dataset": dataset, "grantee": N, "purposes": ["diagnosis"], "until": START + 9_000})
    task = c.anchor(N, "task", {
        "code": sha256(b"code"), "inputs": [dataset], "purpose": "diagnosis", "environment": "python", "arguments": {}, "nonce": 0,
        "limits": {"cpu_s": 1, "wall_s": 1, "memory_bytes": 1 << 20, "output_bytes": 1 << 10},
    })  # fmt: skip
    receipt = {
        "of": "task", "task": task, "outcome": "done", "outputs": {}, "exit": 0, "isolation": {"network": False},
        "usage": {"cpu_ms": 1, "wall_ms": 1, "memory_peak_bytes": 1}, "log": sha256(b""),
    }  # fmt: skip
    c.anchor(L, "receipt", receipt)
    assert task_receipt(c.view, task) is None
    assert [action.key for action in plan_tasks(c.view, R, {sha256(b"code")}, {})] == [f"task/{task}"]
    own = c.anchor(R, "receipt", receipt)
    found = task_receipt(c.view, task)
    assert found is not None and found.digest == own
    assert plan_tasks(c.view, R, {sha256(b"code")}, {}) == []
