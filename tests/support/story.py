"""The whole story at one organisation, told to a live network over HTTP, from a dataset to a prediction."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comity.shell.demo as demo
from support.live import ORG, Live

WAIT_S_MAX = 30.0
TASK = b"from pathlib import Path\n\nPath('/outputs/count.txt').write_text('40')\n"
FEATURES = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [3.5, 8.0]}]}


@dataclass(frozen=True)
class Story:
    """Digests of what the story made."""

    dataset: str
    grant: str
    task: str
    study: str
    model: str
    service: str
    proposal: str
    receipt: str
    prediction: dict[str, Any]


def study_body(live: Live, name: str, dataset: str, *, rounds: int) -> dict[str, Any]:
    """The body that proposes the demo's study."""
    code = live.post("/api/v1/blobs", demo.STUDY.read_bytes())["digest"]
    return {
        "name": name, "code": code, "datasets": [dataset], "roster": [ORG], "purpose": "diagnosis",
        "rule": {"name": "mean", "f": 0}, "rounds": rounds, "quorum": 1, "round_timeout_s": 60, "seed": 1,
    }  # fmt: skip


def until(look: Callable[[], Any], seconds: float = WAIT_S_MAX) -> Any:
    """Wait for something true, and give it."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


def reached(live: Live, path: str, state: str) -> Any:
    """The page at `path` once its record is in `state`."""

    def look() -> Any:
        page = live.get(path)
        return page if page["record"]["state"] == state else None

    return until(look)


def tell(live: Live) -> Story:
    """Make all of it."""
    dataset = live.add("story")["digest"]
    terms = {"dataset": dataset, "to": "*", "purposes": ["diagnosis"], "until": int(time.time()) + 3600}
    grant = live.post("/api/v1/grants", terms)["digest"]
    code = live.post("/api/v1/blobs", TASK)["digest"]
    wanted = {"code": code, "inputs": [dataset], "purpose": "diagnosis", "arguments": {"fold": "3"}}
    task = live.post("/api/v1/tasks", wanted)["record"]["digest"]
    study = live.post("/api/v1/studies", study_body(live, "story-mlp", dataset, rounds=2))["record"]["digest"]
    service = live.post("/api/v1/services", {"name": "story-triage", "approvals": 1, "time_lock_s": 1})["digest"]
    model = reached(live, f"/api/v1/studies/{study}", "concluded")["model"]["digest"]
    deploy = {"action": "deploy", "service": "story-triage", "model": model}
    proposal = live.post("/api/v1/proposals", deploy)["record"]["digest"]
    page = f"/api/v1/proposals/{proposal}"
    until(lambda: live.get(page)["evaluations"])
    live.post("/api/v1/votes", {"about": proposal, "choice": "approve", "because": "good enough"})
    until(lambda: live.get(page)["serving"])
    with live.http() as http:
        answer = until(lambda: (it := http.post("/v2/models/story-triage/infer", json=FEATURES)).is_success and it)
    until(lambda: live.get(f"/api/v1/tasks/{task}")["receipt"])
    return Story(dataset, grant, task, study, model, service, proposal, answer.headers["Comity-Receipt"], answer.json())
