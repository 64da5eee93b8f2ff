"""The service controller: load what a service points at, say so, anchor receipts, and execute what was decided. Pure.

Level-triggered, like every planner. The loaded model: `session`. The receipts: `receipts`. What gates it: Governance, Services.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

from comity.ledger.controller import Action, Anchor, Call, Fetch, Work
from comity.ledger.view import View
from comity.ledger.view_types import Proposal, Service
from comity.record import kinds
from comity.record.digest import to_hash32
from comity.record.record import Record
from comity.record.types import Digest
from comity.serve.receipts import Batch

BATCH_AGE_S = 2
"""A receipt waits at most this long for its root to be sent."""
BATCH_COUNT = 256
"""So many receipts do not wait."""
EXECUTE_GRACE_S = 5
"""Members other than the proposer wait this long, each a little longer than the last."""


@dataclass(frozen=True, slots=True)
class Local:
    """What the controller must know of this node."""

    org: str
    now: int
    """Unix seconds."""
    blobs: Container[Digest] = frozenset()
    loaded: Mapping[Digest, Digest] = field(default_factory=dict)
    """Service to the model that is ready here."""
    failed: Container[tuple[Digest, Digest]] = frozenset()
    """(service, model) pairs that were refused here: they are not tried again."""
    batches: Sequence[Batch] = ()
    """`Receipts.batches(anchored(view, org))`."""


def anchored(view: View, org: str) -> dict[Digest, int]:
    """By service: how many of this organisation's receipts a root covers, from the first on without a gap."""
    counts: dict[Digest, int] = {}
    for service in view.services.values():
        end = 0
        for batch in sorted((b for b in service.batches if b.org == org), key=lambda b: b.first):
            if batch.first <= end:
                end = max(end, batch.first + batch.count)
        counts[service.digest] = end
    return counts


def plan(view: View, local: Local) -> list[Action]:
    """Every action that is due."""
    if local.org not in view.members:
        return []
    actions: list[Action] = []
    for service in view.services.values():
        actions += _serve(view, local, service)
    actions += [_anchor(local, batch) for batch in local.batches if _is_due(view, local, batch)]
    for proposal in view.proposals.values():
        if proposal.phase == "passed" and not proposal.withdrawn:
            actions += _execute(view, local, proposal)
    return actions


def _serve(view: View, local: Local, service: Service) -> list[Action]:
    """Fetch, load, then say so. The model that served before goes on serving until the new one is ready."""
    model = service.model
    anchored_model = view.records.get(model) if model else None
    spec = anchored_model.record.spec if anchored_model else None
    if (
        model is None
        or anchored_model is None
        or not isinstance(spec, kinds.Model)
        or (service.digest, model) in local.failed
    ):
        return []
    place = f"{service.digest}/{model}"
    if local.loaded.get(service.digest) != model:
        if spec.artefact not in local.blobs:
            holders = [name for name in dict.fromkeys([anchored_model.org, *view.members]) if name != local.org]
            return [Fetch(f"fetch/{spec.artefact}", spec.artefact, tuple(holders))]
        return [Work(f"load/{place}", "load", {"service": service.digest, "model": model, "artefact": spec.artefact})]
    if _has_said(view, local.org, service.digest, model):
        return []
    receipt = {"of": "deployment", "service": service.digest, "model": model, "artefact": spec.artefact}
    return [Anchor(f"deployed/{place}", Record.make("receipt", local.org, receipt))]


def _has_said(view: View, org: str, service: Digest, model: Digest) -> bool:
    for digest in view.referrers(model):
        found = view.records[digest]
        if (
            found.org == org
            and isinstance(found.record.spec, kinds.DeploymentReceipt)
            and found.record.spec.service == service
        ):
            return True
    return False


def _is_due(view: View, local: Local, batch: Batch) -> bool:
    service = view.services.get(batch.service)
    moved_on = service is not None and service.model != batch.model
    return moved_on or batch.count >= BATCH_COUNT or local.now >= batch.oldest + BATCH_AGE_S


def _anchor(local: Local, batch: Batch) -> Anchor:
    spec = {
        "of": "predictions",
        "service": batch.service,
        "model": batch.model,
        "root": batch.root,
        "count": batch.count,
        "first": batch.first,
    }
    return Anchor(f"predictions/{batch.service}/{batch.first}", Record.make("receipt", local.org, spec))


def _execute(view: View, local: Local, proposal: Proposal) -> list[Action]:
    """The proposer's organisation first; the others in turn, should it be away. Anyone may: the contract decides."""
    if proposal.ready_at is None or _is_overtaken(view, proposal):
        return []
    others = [name for name in view.members if name != proposal.org]
    turn = 0 if local.org == proposal.org else EXECUTE_GRACE_S * (1 + others.index(local.org))
    # The contract compares the time of the block that holds the call, and that is not before the last block's.
    if max(local.now, view.time) < proposal.ready_at + turn:
        return []
    return [Call(f"execute/{proposal.digest}", "Governance", "execute", (to_hash32(proposal.digest),))]


def _is_overtaken(view: View, proposal: Proposal) -> bool:
    """Whether the service points elsewhere by now than the proposal says, or its model was revoked: it would be refused."""
    spec = view.records[proposal.digest].record.spec
    if not isinstance(spec, kinds.Deploy):
        return False
    service = view.services.get(spec.service)
    return service is None or service.model != spec.previous or spec.model in view.revoked
