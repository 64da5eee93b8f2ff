"""One valid spec of each kind and shape, as plain JSON: for round trips, mutation and the published vectors."""

from __future__ import annotations

import hashlib
from typing import Any

ORG = "northfield"


def digest(name: str) -> str:
    """A digest that says nothing but is always the same."""
    return hashlib.sha256(name.encode()).hexdigest()


_TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 30]}

SPECS: dict[str, tuple[str, dict[str, Any]]] = {
    "dataset": (
        "dataset",
        {
            "name": "breast",
            "version": 1,
            "commitment": digest("commitment"),
            "bytes": 48211,
            "rows": 214,
            "columns": [
                {"name": "mean radius", "type": "float", "missing": 0},
                {"name": "Größe €", "type": "text", "missing": 3},
            ],
            "purposes": ["diagnosis", "research"],
            "licence": "CC-BY-4.0",
            "consent": "broad",
        },
    ),
    "grant": (
        "grant",
        {"dataset": digest("dataset"), "grantee": "*", "purposes": ["diagnosis"], "until": 1830297600},
    ),
    "task": (
        "task",
        {
            "code": digest("code"),
            "inputs": [digest("dataset"), digest("another dataset")],
            "purpose": "research",
            "environment": "python-3.11",
            "limits": {"cpu_s": 60, "wall_s": 120, "memory_bytes": 536870912, "output_bytes": 1048576},
            "arguments": {"mode": "fast\nand loose"},
            "nonce": 7,
        },
    ),
    "app": ("app", {"name": "viewer", "version": 2, "manifest": digest("manifest")}),
    "study": (
        "study",
        {
            "name": "breast-mlp",
            "code": digest("code"),
            "code_lines": 42,
            "initial": digest("initial"),
            "datasets": [digest("dataset"), digest("another dataset")],
            "roster": ["northfield", "riverside", "lakeside"],
            "purpose": "diagnosis",
            "rule": {"name": "multi-krum", "f": 0},
            "rounds": 30,
            "quorum": 3,
            "round_timeout_s": 60,
            "privacy": "none",
            "seed": 1,
        },
    ),
    "model": (
        "model",
        {
            "name": "breast-mlp",
            "version": 1,
            "study": digest("study"),
            "round": digest("round"),
            "weights": digest("weights"),
            "artefact": digest("artefact"),
            "format": "onnx",
            "inputs": [_TENSOR],
            "outputs": [{**_TENSOR, "name": "y"}],
        },
    ),
    "service": ("service", {"name": "triage", "approvals": 3, "time_lock_s": 5}),
    "proposal-deploy": (
        "proposal",
        {"action": "deploy", "service": digest("service"), "model": digest("model"), "previous": None, "nonce": 0},
    ),
    "proposal-roll-back": (
        "proposal",
        {
            "action": "deploy",
            "service": digest("service"),
            "model": digest("model"),
            "previous": digest("old"),
            "nonce": 0,
        },
    ),
    "proposal-admit": (
        "proposal",
        {
            "action": "admit",
            "member": {
                "name": "seaside",
                "org": "0x" + "0a" * 20,
                "validator": None,
                "endpoint": "node.seaside.example:7401",
            },
            "nonce": 0,
        },
    ),
    "offer": (
        "offer",
        {"resource": "gpu", "unit": "hour", "price_wei": "250000000000000000", "until": 1830297600},
    ),
    "receipt-task": (
        "receipt",
        {
            "of": "task",
            "task": digest("task"),
            "outcome": "done",
            "outputs": {"table.csv": digest("table"), "Plot.png": digest("plot")},
            "exit": 0,
            "usage": {"cpu_ms": 812, "wall_ms": 1033, "memory_peak_bytes": 50331648},
            "isolation": {"network": False, "sandbox": "bubblewrap", "processes": 64},
            "log": digest("log"),
        },
    ),
    "receipt-deployment": (
        "receipt",
        {"of": "deployment", "service": digest("service"), "model": digest("model"), "artefact": digest("artefact")},
    ),
    "receipt-predictions": (
        "receipt",
        {
            "of": "predictions",
            "service": digest("service"),
            "model": digest("model"),
            "root": digest("root"),
            "count": 128,
            "first": 0,
        },
    ),
    "round": (
        "round",
        {
            "study": digest("study"),
            "index": 1,
            "attempt": 0,
            "base": digest("base"),
            "aggregate": digest("aggregate"),
            "included": [
                {"org": "northfield", "update": digest("update 1"), "weight": 214},
                {"org": "riverside", "update": digest("update 2"), "weight": 98},
            ],
            "refused": [{"org": "lakeside", "because": "norm 17.5 above the bound"}],
            "metrics": {"loss": "0.0810", "shift": "-0.5"},
        },
    ),
    "evaluation": (
        "evaluation",
        {
            "proposal": digest("proposal"),
            "model": digest("model"),
            "dataset": digest("dataset"),
            "rows": 43,
            "metrics": {"accuracy": "0.9650"},
            "artefact": digest("artefact"),
        },
    ),
    "vote": (
        "vote",
        {
            "on": "proposal",
            "about": digest("proposal"),
            "choice": "approve",
            "by": "Dr. Ana Nováková",
            "because": "meets our bar",
        },
    ),
    "revocation": ("revocation", {"about": digest("grant"), "because": ""}),
}
