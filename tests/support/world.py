"""A consortium as the API would show it, made of real signed records: what the shell's tests and screenshots look at."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from comity.record.digest import sha256
from comity.record.envelope import Envelope
from comity.record.keys import PrivateKey
from comity.record.record import Record

GENESIS_TIME = 1767225600
ORGS = ("northfield", "riverside", "lakeside", "health-office")
HOSPITALS = ORGS[:3]
ROWS = {"northfield": 214, "riverside": 171, "lakeside": 114}
Brief = dict[str, Any]


def blob(text: str) -> str:
    return sha256(text.encode())


def hex20(text: str) -> str:
    return "0x" + blob(text)[:40]


def hex32(text: str) -> str:
    return "0x" + blob(text)


@dataclass
class World:
    """Every record in order of the ledger; one block a call of `add` unless `same_block`."""

    briefs: list[Brief] = field(default_factory=list)
    envelopes: dict[str, Envelope] = field(default_factory=dict)
    refs: dict[str, list[str]] = field(default_factory=dict)
    keys: dict[str, PrivateKey] = field(default_factory=dict)
    height: int = 3
    base_height: int = 3

    def key(self, org: str) -> PrivateKey:
        return self.keys.setdefault(org, PrivateKey.from_seed(f"world {org}"))

    def add(
        self, kind: str, org: str, spec: dict[str, Any], state: str | None = None, *, same_block: bool = False
    ) -> str:
        record = Record.make(kind, org, spec)
        envelope = Envelope.sign(record, self.key(org))
        if not same_block or self.height == self.base_height:
            self.height += 1
        position = sum(1 for brief in self.briefs if brief["anchor"]["height"] == self.height)
        anchor = {
            "height": self.height,
            "time": GENESIS_TIME + self.height,
            "transaction": hex32(f"tx {envelope.digest}"),
            "position": position,
        }
        plain = json.loads(envelope.payload)["predicate"]["spec"]
        self.briefs.append(
            {"digest": envelope.digest, "kind": kind, "org": org, "state": state, "spec": plain, "anchor": anchor}
        )
        self.envelopes[envelope.digest] = envelope
        self.refs[envelope.digest] = list(record.refs)
        return envelope.digest

    def brief(self, digest: str | None) -> Brief | None:
        return next((brief for brief in self.briefs if brief["digest"] == digest), None)

    def of(self, kind: str, **spec: object) -> list[Brief]:
        return [
            b
            for b in self.briefs
            if b["kind"] == kind and all(b["spec"].get(name) == value for name, value in spec.items())
        ]

    def page(self, digest: str) -> dict[str, Any]:
        envelope = self.envelopes[digest]
        referrers = [brief for brief in reversed(self.briefs) if digest in self.refs[brief["digest"]]]
        signature = json.loads(envelope.encode())["signatures"][0]
        brief = self.brief(digest)
        assert brief is not None
        roles = {"code", "initial", "weights", "artefact", "aggregate", "base", "log"} & set(brief["spec"])
        return {
            "record": brief,
            "signer": signature["keyid"],
            "refs": [self.brief(ref) for ref in self.refs[digest]],
            "referrers": referrers[:200],
            "referrers_total": len(referrers),
            "blobs": [
                {"role": role, "digest": brief["spec"][role], "bytes": 2311, "held": role != "weights"}
                for role in sorted(roles)
            ],
            "payload": json.loads(envelope.payload),
            "envelope": {
                "payloadType": "application/vnd.in-toto+json",
                "payload": base64.b64encode(envelope.payload).decode(),
                "signatures": [signature],
            },
        }

    def study(self, digest: str) -> dict[str, Any]:
        brief = self.brief(digest)
        assert brief is not None
        votes = {b["org"]: b for b in self.of("vote", about=digest)}
        rounds = sorted(self.of("round", study=digest), key=lambda b: b["spec"]["index"])
        models = self.of("model", study=digest)
        return {
            "record": brief,
            "datasets": [self.brief(ref) for ref in brief["spec"]["datasets"]],
            "roster": [_seat(org, votes.get(org)) for org in brief["spec"]["roster"]],
            "phase": {"waiting": "waiting", "active": "training"}.get(brief["state"], "done"),
            "round": min(len(rounds) + 1, brief["spec"]["rounds"]) if brief["state"] == "active" else len(rounds),
            "rounds": [_round(b) for b in rounds],
            "model": models[0] if models else None,
        }

    def proposal(self, digest: str) -> dict[str, Any]:
        brief = self.brief(digest)
        assert brief is not None
        spec = brief["spec"]
        votes = self.of("vote", about=digest)
        receipts = self.of("receipt", of="deployment", model=spec.get("model"))
        return {
            "record": brief,
            "service": self.brief(spec.get("service")),
            "model": self.brief(spec.get("model")),
            "previous": self.brief(spec.get("previous")),
            "need": 3,
            "members": 4,
            "votes": [
                {
                    "org": b["org"],
                    **{name: b["spec"][name] for name in ("choice", "by", "because")},
                    "time": b["anchor"]["time"],
                }
                for b in votes
            ],
            "evaluations": [
                {"org": b["org"], "record": b["digest"], "rows": b["spec"]["rows"], "metrics": b["spec"]["metrics"]}
                for b in self.of("evaluation", proposal=digest)
            ],
            "ready_at": votes[-1]["anchor"]["time"] + 5 if brief["state"] == "executed" else None,
            "serving": [b["org"] for b in receipts] if brief["state"] == "executed" else [],
        }


def _seat(org: str, vote: Brief | None) -> dict[str, Any]:
    spec = vote["spec"] if vote else {}
    return {"org": org, "choice": spec.get("choice"), "by": spec.get("by"), "because": spec.get("because")}


def _round(brief: Brief) -> dict[str, Any]:
    spec = brief["spec"]
    return {
        "index": spec["index"],
        "attempt": spec["attempt"],
        "record": brief["digest"],
        "aggregate": spec["aggregate"],
        "loss": spec["metrics"].get("loss"),
        "metrics": spec["metrics"],
        "took_part": [one["org"] for one in spec["included"]],
        "refused": spec["refused"],
        "attested": list(ORGS),
        "validators": 4,
        "time": brief["anchor"]["time"],
    }


def _datasets(world: World) -> dict[str, str]:
    names = ["radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "symmetry"]
    columns = [
        {"name": f"{name}_{part}", "type": "float64", "missing": 0} for part in ("mean", "worst") for name in names
    ]
    columns.append({"name": "diagnosis", "type": "int64", "missing": 0})
    return {
        org: world.add(
            "dataset",
            org,
            {
                "name": "breast",
                "version": 1,
                "commitment": blob(f"commitment {org}"),
                "bytes": 190 * ROWS[org],
                "rows": ROWS[org],
                "columns": columns,
                "purposes": ["diagnosis"],
                "licence": "CC-BY-4.0",
                "consent": "broad",
            },
            "current",
        )
        for org in HOSPITALS
    }


def _study(
    world: World, name: str, datasets: list[str], state: str, *, org: str = "northfield", rounds: int = 30
) -> str:
    return world.add(
        "study",
        org,
        {
            "name": name,
            "code": blob("mlp.py"),
            "code_lines": 42,
            "initial": blob("initial"),
            "datasets": datasets,
            "roster": list(HOSPITALS),
            "purpose": "diagnosis",
            "rule": {"name": "multi-krum", "f": 0},
            "rounds": rounds,
            "quorum": 3,
            "round_timeout_s": 60,
            "privacy": "none",
            "seed": 1,
        },
        state,
    )


def _vote(world: World, org: str, on: str, about: str, choice: str = "approve", because: str = "") -> str:
    spec = {"on": on, "about": about, "choice": choice, "by": f"dev@{org}", "because": because}
    return world.add("vote", org, spec)


def _rounds(world: World, study: str, count: int) -> str:
    digest = ""
    for index in range(1, count + 1):
        loss = 0.08 + 0.56 * 0.87**index
        late = index == 17
        included = [
            {"org": org, "update": blob(f"{study} {index} {org}"), "weight": ROWS[org]}
            for org in HOSPITALS
            if not (late and org == "lakeside")
        ]
        digest = world.add(
            "round",
            ORGS[index % 3],
            {
                "study": study,
                "index": index,
                "attempt": 0,
                "base": blob(f"{study} {index - 1}"),
                "aggregate": blob(f"{study} {index}"),
                "included": included,
                "refused": [{"org": "lakeside", "because": "norm above bound"}] if late else [],
                "metrics": {"loss": f"{loss:.4f}"},
            },
        )
    return digest


def make() -> World:
    """The whole story of the tour, plus a study and a proposal that wait for a decision."""
    world = World()
    datasets = _datasets(world)
    grant = world.add(
        "grant",
        "lakeside",
        {
            "dataset": datasets["lakeside"],
            "grantee": "riverside",
            "purposes": ["diagnosis"],
            "until": GENESIS_TIME + 31536000,
        },
        "revoked",
    )
    world.add("revocation", "lakeside", {"about": grant, "because": "the pilot ended"})
    study = _study(world, "breast-mlp", list(datasets.values()), "concluded")
    for org in HOSPITALS:
        _vote(world, org, "study", study)
    last = _rounds(world, study, 30)
    model = world.add(
        "model",
        "northfield",
        {
            "name": "breast-mlp",
            "version": 1,
            "study": study,
            "round": last,
            "weights": blob(f"{study} 30"),
            "artefact": blob("onnx"),
            "format": "onnx",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
            "outputs": [
                {"name": "label", "datatype": "INT64", "shape": [-1]},
                {"name": "probability", "datatype": "FP32", "shape": [-1]},
            ],
        },
        "serving",
    )
    _serve(world, model, datasets)
    _task(world, datasets["northfield"])
    _wait(world, datasets)
    return world


def _serve(world: World, model: str, datasets: dict[str, str]) -> None:
    """A service, its proposal with evaluations and votes, its deployments and a batch of predictions."""
    service = world.add("service", "northfield", {"name": "triage", "approvals": 3, "time_lock_s": 5}, "serving")
    proposal = world.add(
        "proposal",
        "northfield",
        {"action": "deploy", "service": service, "model": model, "previous": None, "nonce": 0},
        "executed",
    )
    for org, accuracy in zip(HOSPITALS, ("0.9650", "0.9720", "0.9680"), strict=True):
        world.add(
            "evaluation",
            org,
            {
                "proposal": proposal,
                "model": model,
                "dataset": datasets[org],
                "rows": ROWS[org],
                "metrics": {"accuracy": accuracy},
                "artefact": blob("onnx"),
            },
            same_block=True,
        )
    for org in ("riverside", "lakeside", "health-office"):
        _vote(world, org, "proposal", proposal)
    for org in HOSPITALS:
        world.add(
            "receipt",
            org,
            {"of": "deployment", "service": service, "model": model, "artefact": blob("onnx")},
            same_block=True,
        )
    world.add(
        "receipt",
        "lakeside",
        {
            "of": "predictions",
            "service": service,
            "model": model,
            "root": blob("root"),
            "count": 12,
            "first": 0,
        },
    )


def _wait(world: World, datasets: dict[str, str]) -> None:
    """A study and a proposal that wait for a decision."""
    waiting = _study(world, "breast-deep", list(datasets.values()), "waiting", org="riverside", rounds=12)
    _vote(world, "riverside", "study", waiting)
    world.add(
        "proposal",
        "health-office",
        {
            "action": "admit",
            "member": {
                "name": "hillside",
                "org": hex20("hillside"),
                "validator": hex20("hillside validator"),
                "endpoint": "203.0.113.7:7401",
            },
            "nonce": 0,
        },
        "open",
    )


def _task(world: World, dataset: str) -> None:
    task = world.add(
        "task",
        "northfield",
        {
            "code": blob("count.py"),
            "inputs": [dataset],
            "purpose": "diagnosis",
            "environment": "python-3.11",
            "limits": {"cpu_s": 60, "wall_s": 120, "memory_bytes": 1 << 30, "output_bytes": 1 << 26},
            "arguments": {"fold": "3"},
            "nonce": 1,
        },
        "done",
    )
    world.add(
        "receipt",
        "northfield",
        {
            "of": "task",
            "task": task,
            "outcome": "done",
            "outputs": {"counts.json": blob("counts")},
            "exit": 0,
            "usage": {"cpu_ms": 412, "wall_ms": 530, "memory_peak_bytes": 48_000_000},
            "isolation": {"network": False, "bubblewrap": True},
            "log": blob("log"),
        },
    )
