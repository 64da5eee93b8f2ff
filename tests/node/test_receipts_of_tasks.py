"""Whose receipt of a task counts, and what may not stand in it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from comity.compute import task as tasks
from comity.node.controllers import Controllers, plan_tasks
from comity.node.local import TABLES, LocalState
from comity.node.present import task_receipt
from comity.node.room import Room
from comity.record.digest import sha256
from comity.record.types import Digest
from comity.store.blobs import BlobStore
from comity.store.memory import MemoryStore
from support.consortium import ORGS, START, Consortium

N, R, L, H = ORGS


def task_of(c: Consortium) -> Digest:
    """A task by northfield on riverside's data."""
    dataset = c.dataset(R)
    c.anchor(R, "grant", {"dataset": dataset, "grantee": N, "purposes": ["diagnosis"], "until": START + 9_000})
    return c.anchor(N, "task", {
        "code": sha256(b"code"), "inputs": [dataset], "purpose": "diagnosis", "environment": "python", "arguments": {}, "nonce": 0,
        "limits": {"cpu_s": 1, "wall_s": 1, "memory_bytes": 1 << 20, "output_bytes": 1 << 10},
    })  # fmt: skip


def test_only_where_a_task_has_to_run_can_its_receipt_come_from() -> None:
    """A receipt by anybody else would stop the task, and show an outcome of theirs."""
    c = Consortium()
    task = task_of(c)
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


class Sandboxes:
    async def proved(self) -> tuple[None, dict[str, Any]]:
        return None, {"network": False}


@pytest.mark.parametrize("where", ["outputs", "log"])
def test_rows_that_come_out_as_they_went_in_are_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """They may not be shared, and a task that fails to be kept would run again for ever."""
    rows, code = b"id,label\n1,0\n", b"print(open('/inputs/input-000').read())"
    c = Consortium()
    task = task_of(c)
    (dataset,) = c.view.records[task].record.refs
    local, blobs = LocalState(MemoryStore(TABLES)), BlobStore(tmp_path, bytes(32))
    local.add_dataset(dataset, blobs.put(rows), b"salt")
    local.share(blobs.put(code))
    room = Room(blobs, local, cast("Any", Sandboxes()))
    monkeypatch.setattr(room, "blob", lambda digest: asyncio.sleep(0, code))

    async def run(*_: object) -> tasks.Outcome:
        outputs, log = ({"copy": rows}, b"fine") if where == "outputs" else ({}, rows)
        return tasks.Outcome(True, 0, "", outputs, log, 1, 1, 1)

    monkeypatch.setattr(tasks, "run", run)
    nothing: Any = None
    it = Controllers(
        org=R,
        view=c.view,
        local=local,
        blobs=blobs,
        room=room,
        serving=nothing,
        sandboxes=cast("Any", Sandboxes()),
        values={},
    )
    outcome = asyncio.run(it._task("task", {"task": task}))
    assert (outcome["outcome"], outcome["outputs"]) == ("failed", {})
    assert not local.is_shared(sha256(rows))
