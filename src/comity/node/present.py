"""The view as JSON: the shapes that docs/api.md promises, made from the chain's fold. Pure.

What only this node sees (peers, work, blobs held) is passed in; see `api`.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from comity.ledger.view import View
from comity.ledger.view_types import Anchored, Study
from comity.record import kinds
from comity.record.envelope import PAYLOAD_TYPE
from comity.record.keys import to_hex
from comity.record.types import Digest

REFERRERS_MAX = 200
LINEAGE_NODES_MAX = 300
VERSIONED_BLOBS = ("code", "initial", "weights", "artefact", "base", "aggregate", "manifest", "log")

Json = dict[str, Any]


def brief(view: View, anchored: Anchored) -> Json:
    """The one shape of a record in lists, pages and answers."""
    return {
        "digest": anchored.digest,
        "kind": anchored.kind,
        "org": anchored.org,
        "state": state(view, anchored),
        "spec": kinds.to_json(anchored.record.spec),
        "anchor": {
            "height": anchored.height,
            "time": anchored.time,
            "transaction": "0x" + anchored.tx_hash.hex(),
            "position": anchored.index,
        },
    }


def maybe_brief(view: View, digest: Digest | None) -> Json | None:
    anchored = view.records.get(digest) if digest else None
    return brief(view, anchored) if anchored else None


def state(view: View, anchored: Anchored) -> str | None:
    """One word for where a record stands, derived from the facts that refer to it."""
    ask: Callable[[View, Anchored], str] | None = _STATES.get(anchored.kind)
    return ask(view, anchored) if ask else None


def _dataset_state(view: View, anchored: Anchored) -> str:
    return "revoked" if anchored.digest in view.revoked else "current"


def _until_state(view: View, anchored: Anchored) -> str:
    if anchored.digest in view.revoked:
        return "revoked"
    return "valid" if view.time < getattr(anchored.record.spec, "until", 0) else "expired"


def _task_state(view: View, anchored: Anchored) -> str:
    receipt = task_receipt(view, anchored.digest)
    return str(getattr(receipt.record.spec, "outcome", "waiting")) if receipt else "waiting"


def _study_state(view: View, anchored: Anchored) -> str:
    study = view.studies[anchored.digest]
    if study.withdrawn and study.phase in ("proposed", "active", "training"):
        return "revoked"
    phase = study.phase
    return {"proposed": "waiting", "training": "active"}.get(phase, phase)


def _model_state(view: View, anchored: Anchored) -> str:
    serving = any(s.current and s.current.model == anchored.digest for s in view.services.values())
    return "serving" if serving else "registered"


def _service_state(view: View, anchored: Anchored) -> str:
    return "serving" if view.services[anchored.digest].current else "empty"


def _proposal_state(view: View, anchored: Anchored) -> str:
    proposal = view.proposals[anchored.digest]
    return "revoked" if proposal.withdrawn and proposal.phase in ("open", "passed") else proposal.phase


_STATES: dict[str, Callable[[View, Anchored], str]] = {
    "dataset": _dataset_state,
    "grant": _until_state,
    "offer": _until_state,
    "task": _task_state,
    "study": _study_state,
    "model": _model_state,
    "service": _service_state,
    "proposal": _proposal_state,
}


def task_receipt(view: View, task: Digest) -> Anchored | None:
    """The receipt of a task that ran, from where it had to run: anybody may anchor a receipt, and say what they like."""
    place = task_place(view, view.records[task])
    found = (view.records[d] for d in view.referrers(task))
    return next((a for a in found if isinstance(a.record.spec, kinds.TaskReceipt) and a.org == place), None)


def record_page(view: View, anchored: Anchored, held: Callable[[Digest], int | None]) -> Json:
    """One record with everything around it. `held` gives a blob's size if this node has it."""
    referrers = view.referrers(anchored.digest)
    envelope = anchored.envelope
    return {
        "record": brief(view, anchored),
        "signer": to_hex(envelope.signer()),
        "refs": [b for d in anchored.record.refs if (b := maybe_brief(view, d))],
        "referrers": [brief(view, view.records[d]) for d in reversed(referrers[-REFERRERS_MAX:])],
        "referrers_total": len(referrers),
        "blobs": [
            {"role": role, "digest": digest, "bytes": held(digest), "held": held(digest) is not None}
            for role, digest in blobs(anchored)
        ],
        "payload": _decoded(envelope.payload),
        "envelope": {
            "payloadType": PAYLOAD_TYPE,
            "payload": base64.b64encode(envelope.payload).decode(),
            "signatures": [{"keyid": to_hex(envelope.signer()), "sig": base64.b64encode(envelope.signature).decode()}],
        },
    }


def _decoded(payload: bytes) -> Any:
    import msgspec

    return msgspec.json.decode(payload)


def blobs(anchored: Anchored) -> list[tuple[str, Digest]]:
    """The artefacts that a record names, by role."""
    spec = anchored.record.spec
    found = [(role, Digest(value)) for role in VERSIONED_BLOBS if isinstance(value := getattr(spec, role, None), str)]
    found += [(f"update/{part.org}", part.update) for part in getattr(spec, "included", ())]
    found += (
        [(f"output/{name}", digest) for name, digest in getattr(spec, "outputs", {}).items()]
        if isinstance(spec, kinds.TaskReceipt)
        else []
    )
    return found


def study_page(view: View, study: Study) -> Json:
    """A study's votes and progress, round by round."""
    anchored = view.records[study.digest]
    spec = anchored.record.spec
    running = study.round if study.running else None
    phases = {"proposed": "waiting", "refused": "waiting", "done": "done", "concluded": "done"}
    steps = {
        "commit": "training",
        "reveal": "revealing",
        "aggregate": "aggregating",
        "attest": "aggregating",
        "final": "done",
    }
    return {
        "record": brief(view, anchored),
        "datasets": [b for d in getattr(spec, "datasets", ()) if (b := maybe_brief(view, d))],
        "roster": [_roster_entry(study, org) for org in study.roster],
        "phase": phases.get(study.phase) or steps[running.phase if running else "final"],
        "round": study.round.index if study.round else 0,
        "rounds": [_round_entry(view, study, i) for i in range(len(study.finals))],
        "model": maybe_brief(view, study.model),
    }


def _roster_entry(study: Study, org: str) -> Json:
    vote = study.votes.get(org)
    if vote is None:
        return {"org": org, "choice": None, "by": "", "because": ""}
    return {"org": org, "choice": "approve" if vote.approve else "refuse", "by": vote.by, "because": vote.because}


def _round_entry(view: View, study: Study, position: int) -> Json:
    final = study.finals[position]
    spec = view.records[final.record].record.spec
    if not isinstance(spec, kinds.Round):
        raise TypeError("a final round is made by a Round record")
    return {
        "index": final.index, "attempt": final.attempt, "record": final.record, "aggregate": final.aggregate,
        "loss": spec.metrics.get("loss"), "metrics": dict(spec.metrics), "took_part": [part.org for part in spec.included],
        "refused": [{"org": part.org, "because": part.because} for part in spec.refused], "attested": list(final.attestations),
        "validators": sum(m.validator is not None for m in view.members.values()), "time": final.time,
    }  # fmt: skip


def proposal_page(view: View, digest: Digest) -> Json:
    """A proposal with its evaluations, votes and time lock."""
    proposal, anchored = view.proposals[digest], view.records[digest]
    spec = anchored.record.spec
    evaluations = [view.records[d] for d in view.referrers(digest) if view.records[d].kind == "evaluation"]
    return {
        "record": brief(view, anchored),
        "service": maybe_brief(view, proposal.service),
        "model": maybe_brief(view, proposal.model),
        "previous": maybe_brief(view, getattr(spec, "previous", None)),
        "need": proposal.need,
        "members": len(view.members),
        "votes": [
            {
                "org": v.org,
                "choice": "approve" if v.approve else "refuse",
                "by": v.by,
                "because": v.because,
                "time": v.time,
            }
            for v in proposal.votes.values()
        ],
        "evaluations": [
            {
                "org": a.org,
                "record": a.digest,
                "rows": getattr(a.record.spec, "rows", 0),
                "metrics": dict(getattr(a.record.spec, "metrics", {})),
            }
            for a in evaluations
        ],
        "ready_at": proposal.ready_at,
        "serving": serving(view, proposal.service, proposal.model),
    }


def serving(view: View, service: Digest | None, model: Digest | None) -> list[str]:
    """Whose nodes report that they loaded the model for the service."""
    if service is None or model is None:
        return []
    found = (view.records[d] for d in view.referrers(service))
    orgs = [a.org for a in found if isinstance(a.record.spec, kinds.DeploymentReceipt) and a.record.spec.model == model]
    return list(dict.fromkeys(orgs))


def service_entry(view: View, digest: Digest) -> Json:
    service = view.services[digest]
    current = service.current
    return {
        "record": brief(view, view.records[digest]), "name": service.name, "approvals": service.approvals,
        "time_lock_s": service.time_lock_s,
        "model": maybe_brief(view, current.model if current else None), "proposal": current.proposal if current else None,
        "since": current.since if current else None, "serving": serving(view, digest, current.model if current else None),
        "predictions": sum(batch.count for batch in service.batches),
    }  # fmt: skip


def inbox_entry(view: View, anchored: Anchored) -> Json:
    study = view.studies.get(anchored.digest)
    return {
        "record": brief(view, anchored),
        "study": study_page(view, study) if study else None,
        "proposal": None if study else proposal_page(view, anchored.digest),
    }


def lineage(view: View, focus: Digest) -> Json:
    """What a record rests on and what rests on it: breadth first in each direction, nearest first."""
    ups = _reach(focus, lambda d: view.records[d].record.refs)
    downs = _reach(focus, view.referrers)
    ordered = [focus, *(d for pair in _interleave(ups, downs) for d in pair)]
    known = [d for d in dict.fromkeys(ordered) if d in view.records]
    shown = known[:LINEAGE_NODES_MAX]
    inside = set(shown)
    edges = [{"from": ref, "to": d} for d in shown for ref in view.records[d].record.refs if ref in inside]
    return {
        "focus": focus,
        "nodes": [brief(view, view.records[d]) for d in shown],
        "edges": edges,
        "truncated": len(known) > len(shown),
    }


def _reach(start: Digest, step: Callable[[Digest], Iterable[Digest]]) -> list[Digest]:
    out: list[Digest] = []
    seen, queue = {start}, deque([start])
    while queue and len(out) <= LINEAGE_NODES_MAX:
        for found in step(queue.popleft()):
            if found not in seen:
                seen.add(found)
                queue.append(found)
                out.append(found)
    return out


def _interleave(a: list[Digest], b: list[Digest]) -> Iterable[tuple[Digest, ...]]:
    for i in range(max(len(a), len(b))):
        yield (*a[i : i + 1], *b[i : i + 1])


def task_page(view: View, digest: Digest) -> Json:
    """A task, the organisation that runs it (the owner of its inputs), and its receipt."""
    anchored = view.records[digest]
    receipt = task_receipt(view, digest)
    return {
        "record": brief(view, anchored),
        "place": task_place(view, anchored),
        "receipt": brief(view, receipt) if receipt else None,
    }


def task_place(view: View, anchored: Anchored) -> str:
    """Work goes to the data: the one owner of all inputs, or the task's own organisation when it reads none."""
    owners = {view.records[d].org for d in getattr(anchored.record.spec, "inputs", ()) if d in view.records}
    return owners.pop() if len(owners) == 1 else anchored.org
