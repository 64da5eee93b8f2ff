"""A registry of checks: stable code, severity, what it depends on, and the command that mends it.

The same registry feeds `comity doctor`, status, the console's banner, /healthz and the metrics.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

DISK_BYTES_MIN = 256 << 20
STALE_FACTOR = 3

Finding = tuple[bool, str]
Health = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Check:
    """One question about the node. `ask` answers (is it well, one line of detail)."""

    code: str
    name: str
    severity: Literal["warning", "error"]
    ask: Callable[[], Finding]
    fix: str
    depends_on: tuple[str, ...] = ()


class Doctor:
    """Asks every check in order; one that rests on a failing one is not asked, so that a root cause shows once."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self.checks = tuple(checks)

    def examine(self) -> dict[str, Any]:
        """`{"health", "checks"}` as docs/api.md has it."""
        verdicts: dict[str, bool | None] = {}
        rows = []
        for check in self.checks:
            if any(verdicts.get(code) is not True for code in check.depends_on):
                verdicts[check.code], detail = None, f"not asked: {', '.join(check.depends_on)} comes first"
            else:
                try:
                    verdicts[check.code], detail = check.ask()
                except Exception as error:
                    verdicts[check.code], detail = False, f"the check itself failed: {error!r}"
            rows.append({
                "code": check.code, "name": check.name, "severity": check.severity, "ok": verdicts[check.code], "detail": detail,
                "fix": check.fix, "depends_on": list(check.depends_on),
            })  # fmt: skip
        return {"health": _worst(rows), "checks": rows}


def _worst(rows: Sequence[dict[str, Any]]) -> Health:
    failing = {row["severity"] for row in rows if row["ok"] is False}
    return "error" if "error" in failing else "warning" if failing else "ok"


@dataclass(frozen=True)
class Vitals:
    """What the standard checks ask of a node, each as a function of now."""

    halted: Callable[[], str]
    children: Callable[[], dict[str, bool]]
    peers: Callable[[], tuple[int, int]]
    validators: Callable[[], tuple[int, int, int]]
    """(validators connected, ourselves included; quorum; all)."""
    head_age_s: Callable[[], float]
    empty_period_s: float
    pending: Callable[[], int]
    failures: Callable[[], Sequence[str]]
    isolation: Callable[[], Finding]
    receipts: Callable[[], Finding]
    folder: Path


def standard_checks(vitals: Vitals) -> tuple[Check, ...]:
    """The checks of every node; the codes are stable, and documented in docs/doctor.md."""
    return (
        Check("C001", "processes", "error", lambda: _children(vitals), "comity logs --level error"),
        Check(
            "C002", "disk", "error", lambda: _disk(vitals.folder), "free space on the disk that holds the node's folder"
        ),
        Check(
            "C003",
            "replica",
            "error",
            lambda: _halted(vitals),
            "comity logs --level error; the evidence lies in the node's folder",
        ),
        Check("C004", "peers", "warning", lambda: _peers(vitals), "comity members", ("C001",)),
        Check("C005", "quorum", "error", lambda: _quorum(vitals), "comity members: who is away?", ("C001", "C003")),
        Check("C006", "progress", "error", lambda: _progress(vitals), "comity logs", ("C001", "C003", "C005")),
        Check("C007", "sandbox", "warning", vitals.isolation, "run as root, or allow unprivileged user namespaces"),
        Check(
            "C008",
            "receipts",
            "error",
            vitals.receipts,
            "free disk space; predictions are refused until receipts are durable",
        ),
        Check("C009", "work", "warning", lambda: _work(vitals), "comity logs"),
    )


def _children(vitals: Vitals) -> Finding:
    gone = [name for name, alive in vitals.children().items() if not alive]
    return not gone, f"{', '.join(gone)} not running" if gone else f"{', '.join(vitals.children())} running"


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    return free >= DISK_BYTES_MIN, f"{free / 1e9:.1f} GB free"


def _halted(vitals: Vitals) -> Finding:
    reason = vitals.halted()
    return not reason, reason or "in agreement"


def _peers(vitals: Vitals) -> Finding:
    connected, known = vitals.peers()
    return connected >= known, f"{connected} of {known} connected"


def _quorum(vitals: Vitals) -> Finding:
    present, quorum, total = vitals.validators()
    return present >= quorum, f"{present} of {total} validators in reach, quorum {quorum}"


def _progress(vitals: Vitals) -> Finding:
    age = vitals.head_age_s()
    late = age > STALE_FACTOR * vitals.empty_period_s or (vitals.pending() > 0 and age > vitals.empty_period_s)
    return not late, f"newest block is {age:.0f} s old, {vitals.pending()} transactions wait"


def _work(vitals: Vitals) -> Finding:
    failures = vitals.failures()
    return not failures, failures[0] if failures else "nothing fails"
