"""The planners of all services with what each must know of this node, and the works that they may ask for, by name.

Besides the services' own planners, this holds the node's two small ones: tasks, and votes by policy.
"""

from __future__ import annotations

import time
from collections.abc import Container, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from comity.compute import task as tasks
from comity.learn import plan as learning
from comity.learn.work import StudyWork
from comity.ledger.controller import Action, Anchor, Fetch, Work
from comity.ledger.view import View
from comity.ledger.view_types import Proposal
from comity.node.config import Value
from comity.node.errors import NotFound
from comity.node.local import LocalState
from comity.node.perform import Held, Outcomes, Worker
from comity.node.present import task_place, task_receipt
from comity.node.room import Room, Sandboxes
from comity.node.serving import Serving
from comity.record import kinds
from comity.record.record import Record
from comity.record.types import Digest
from comity.serve import plan as serving_plan
from comity.store.blobs import BlobStore


class Controllers:
    """What `reconcile` runs."""

    def __init__(
        self, *, org: str, view: View, local: LocalState, blobs: BlobStore, room: Room, serving: Serving, sandboxes: Sandboxes,
        values: Mapping[str, Value],
    ) -> None:  # fmt: skip
        self._org, self._view, self._local, self._serving = org, view, local, serving
        self._room, self._sandboxes, self._values = room, sandboxes, values
        self._held, self._outcomes = Held(blobs, local), Outcomes(local)
        self._study = StudyWork(room)
        self.initial = self._study.initial

    @property
    def workers(self) -> dict[str, Worker]:
        """Who performs a work, by its name."""
        study = dict.fromkeys(("train", "aggregate", "export", "evaluate"), self._study.perform)
        return {**study, "load": self._serving.load, "task": self._task}

    def plan(self) -> list[Action]:
        """Everything that is due, of all planners."""
        serve = serving_plan.Local(
            self._org,
            int(time.time()),
            self._held,
            self._serving.loaded,
            self._serving.refused,
            self._serving.batches(),
        )
        return [
            *learning.plan(self._view, self._learning()),
            *serving_plan.plan(self._view, serve),
            *plan_tasks(self._view, self._org, self._held, self._outcomes),
            *self._votes(),
        ]

    def disagreements(self) -> list[str]:
        """Rounds posted otherwise than this node computed them, in words: it attests nothing, and a person should know."""
        return [
            f"round {found.round} of study {found.study[:12]} is not what this node computed: {found.because}"
            for found in learning.disagreements(self._view, self._learning())
        ]

    def _learning(self) -> learning.Local:
        return learning.Local(self._org, int(time.time()), self._local.datasets(), self._held, self._outcomes)

    async def close(self) -> None:
        """Stop the workers."""
        await self._study.close()

    # ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _task(self, _: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run a task where its inputs are, and keep what its receipt must say."""
        anchored = self._view.records[Digest(arguments["task"])]
        spec = anchored.record.spec
        if not isinstance(spec, kinds.Task):
            raise NotFound(f"{anchored.digest[:12]} is no task")
        sandbox, isolation = await self._sandboxes.proved()
        inputs = {f"input-{number:03}": await self._room.table(digest) for number, digest in enumerate(spec.inputs)}
        outcome = await tasks.run(sandbox, spec, await self._room.blob(spec.code), inputs)
        if set(inputs.values()) & {*outcome.outputs.values(), outcome.log}:
            # It cannot be shared, and running it again would not help.
            outcome = replace(outcome, done=False, outputs={}, log=b"", because="it put out a dataset as it is")
        return {
            "of": "task", "task": anchored.digest, "outcome": "done" if outcome.done else "failed",
            "outputs": {name: await self._room.keep(data) for name, data in outcome.outputs.items()}, "exit": outcome.exit,
            "usage": {"cpu_ms": outcome.cpu_ms, "wall_ms": outcome.wall_ms, "memory_peak_bytes": outcome.memory_peak_bytes},
            "isolation": {**isolation, **({"because": outcome.because[:200]} if outcome.because else {})},
            "log": await self._room.keep(outcome.log),
        }  # fmt: skip

    # ── Votes by policy ──────────────────────────────────────────────────────────────────────────────────────────────
    def _votes(self) -> list[Action]:
        if self._values["approve"].value != "policy":
            return []
        return plan_votes(
            self._view, self._org, str(self._values["purposes"].value), str(self._values["accuracy_min"].value)
        )


def plan_tasks(view: View, org: str, held: Container[Digest], outcomes: Mapping[str, Any]) -> list[Action]:
    """Tasks whose inputs are ours, whose proposer may use them for the purpose, and that have no receipt yet. Pure."""
    actions: list[Action] = []
    for anchored in view.records.values():
        spec = anchored.record.spec
        if not isinstance(spec, kinds.Task) or task_place(view, anchored) != org or task_receipt(view, anchored.digest):
            continue
        if not all(view.covers(digest, anchored.org, spec.purpose) for digest in spec.inputs):
            continue
        outcome = outcomes.get(f"task/{anchored.digest}")
        if spec.code not in held:
            holders = tuple(name for name in dict.fromkeys([anchored.org, *view.members]) if name != org)
            actions.append(Fetch(f"fetch/{spec.code}", spec.code, holders, tasks.CODE_BYTES_MAX))
        elif outcome is None:
            actions.append(Work(f"task/{anchored.digest}", "task", {"task": anchored.digest}))
        else:
            actions.append(Anchor(f"receipt/{anchored.digest}", Record.make("receipt", org, outcome)))
    return actions


def plan_votes(view: View, org: str, purposes: str, accuracy_min: str) -> list[Action]:
    """Votes that this organisation's written policy gives without a person. Pure.

    A study is approved when its purpose is allowed; a deployment when our own evaluation reaches the least accuracy and our own
    export of the weights is the proposed artefact. Admissions always wait for a person.
    """
    actions: list[Action] = []
    allowed = frozenset(filter(None, (purpose.strip() for purpose in purposes.split(","))))
    for anchored in view.pending_for(org):
        spec = anchored.record.spec
        if isinstance(spec, kinds.Study):
            because = (
                f"the purpose {spec.purpose} is allowed by policy" if not allowed or spec.purpose in allowed else ""
            )
            on = "study"
        else:
            because, on = _evaluated(view, org, view.proposals[anchored.digest], accuracy_min), "proposal"
        if because:
            vote = {"on": on, "about": anchored.digest, "choice": "approve", "by": "policy", "because": because}
            actions.append(Anchor(f"vote/{anchored.digest}", Record.make("vote", org, vote)))
    return actions


def _evaluated(view: View, org: str, proposal: Proposal, accuracy_min: str) -> str:
    """Why policy approves this deployment; empty while it does not."""
    model = view.records[proposal.model].record.spec if proposal.model else None
    for digest in view.referrers(proposal.digest):
        found = view.records[digest]
        spec = found.record.spec
        if found.org != org or not isinstance(spec, kinds.Evaluation) or not isinstance(model, kinds.Model):
            continue
        try:
            enough = Decimal(spec.metrics.get("accuracy", "0")) >= Decimal(accuracy_min)
        except InvalidOperation:
            return ""
        if enough and spec.artefact == model.artefact:
            return f"accuracy {spec.metrics.get('accuracy')} at our site, at least {accuracy_min}"
    return ""
