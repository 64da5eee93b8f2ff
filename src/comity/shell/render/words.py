"""Records in words: a title, a one-line summary, a state. Shared by command line and console; takes the API's `Brief` as JSON."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from comity.record.types import short

Brief = Mapping[str, Any]

_TONES = {
    "good": ("current", "valid", "done", "concluded", "serving", "executed", "registered", "ok"),
    "busy": ("waiting", "running", "active", "open", "passed", "warning"),
    "bad": ("revoked", "failed", "refused", "error", "halted"),
}
_TONE_OF = {state: tone for tone, states in _TONES.items() for state in states}
ICONS = {"good": "✓", "busy": "…", "bad": "✗", "plain": "·"}


def tone(state: str | None) -> str:
    """`good`, `busy`, `bad` or `plain`: what colour and icon stand beside a state's word."""
    return _TONE_OF.get(state or "", "plain")


def digest(value: object) -> str:
    """A digest, hash or address as people see it: its first 12 characters and an ellipsis."""
    text = str(value)
    return f"{short(text)}…" if len(text) > 13 else text


def plural(count: int, noun: str, nouns: str = "") -> str:
    """`1 row`, `214 rows`."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def listed(names: Sequence[object]) -> str:
    """`a, b and c`."""
    words = [str(name) for name in names]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def size(count: object) -> str:
    """A number of bytes with the unit that fits: `41.3 kB`."""
    if not isinstance(count, int):
        return "?"
    if count < 1000:
        return f"{count} B"
    power = next((power for power in (1, 2, 3) if count < 999.5 * 1000**power), 4)
    value, unit = count / 1000**power, ("kB", "MB", "GB", "TB")[power - 1]
    return f"{value:.1f} {unit}" if value < 99.5 else f"{value:.0f} {unit}"


def clock(seconds: object) -> str:
    """A unix time as `2026-01-01 00:00:05 UTC`."""
    if not isinstance(seconds, int) or not 0 <= seconds < 253402300800:
        return "?"
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def day(seconds: object) -> str:
    """A unix time as a date."""
    return clock(seconds)[:10]


def span(seconds: int) -> str:
    """A length of time in its largest two units: `2 s`, `3 min 10 s`, `2 d 4 h`."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    left = max(0, seconds)
    parts: list[str] = []
    for unit, length in units:
        count, left = divmod(left, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def score(value: object) -> str:
    """A metric as tables show it: three decimals."""
    try:
        return f"{Decimal(str(value)):.3f}"
    except InvalidOperation:
        return str(value)


def title(brief: Brief) -> str:
    """What people call a record: `breast@1`, `triage`, `round 17`, `approve`."""
    kind, spec = str(brief.get("kind")), brief.get("spec") or {}
    if "name" in spec:
        return f"{spec['name']}@{spec['version']}" if "version" in spec else str(spec["name"])
    if kind == "grant":
        return f"to {'everyone' if spec.get('grantee') == '*' else spec.get('grantee')}"
    if kind == "round":
        return f"round {spec.get('index')}"
    if kind == "vote":
        return str(spec.get("choice"))
    if kind == "proposal":
        return f"admit {(spec.get('member') or {}).get('name')}" if spec.get("action") == "admit" else "deploy"
    if kind == "receipt":
        return f"receipt of {spec.get('of')}"
    if kind == "offer":
        return str(spec.get("resource"))
    return kind


def full_title(brief: Brief) -> str:
    """The title with its organisation: `northfield/breast@1`."""
    return f"{brief.get('org')}/{title(brief)}"


def _dataset(spec: Mapping[str, Any]) -> list[str]:
    return [
        f"{spec.get('rows', 0):,} rows × {plural(len(spec.get('columns', ())), 'column')}",
        f"for {listed(spec.get('purposes', ()))}",
        str(spec.get("licence", "")),
        f"consent {spec['consent']}" if spec.get("consent") else "",
    ]


def _grant(spec: Mapping[str, Any]) -> list[str]:
    return [f"{digest(spec.get('dataset'))} for {listed(spec.get('purposes', ()))}", f"until {day(spec.get('until'))}"]


def _study(spec: Mapping[str, Any]) -> list[str]:
    rule = spec.get("rule") or {}
    return [
        plural(spec.get("rounds", 0), "round"),
        f"{rule.get('name')}",
        f"quorum {spec.get('quorum')} of {len(spec.get('roster', ()))}",
        f"for {spec.get('purpose')}",
    ]


def _round(spec: Mapping[str, Any]) -> list[str]:
    metrics = spec.get("metrics") or {}
    return [
        f"loss {score(metrics['loss'])}" if "loss" in metrics else "",
        f"{len(spec.get('included', ()))} took part",
        f"{len(spec.get('refused', ()))} refused",
    ]


def _receipt(spec: Mapping[str, Any]) -> list[str]:
    match spec.get("of"):
        case "task":
            return [
                str(spec.get("outcome")),
                f"exit {spec.get('exit')}",
                f"cpu {(spec.get('usage') or {}).get('cpu_ms', 0) / 1000:.1f} s",
            ]
        case "deployment":
            return [f"model {digest(spec.get('model'))} loaded", f"artefact {digest(spec.get('artefact'))}"]
        case _:
            return [plural(spec.get("count", 0), "prediction"), f"root {digest(spec.get('root'))}"]


def _vote(spec: Mapping[str, Any]) -> list[str]:
    return [
        f"{spec.get('on')} {digest(spec.get('about'))}",
        f"by {spec.get('by')}",
        f"“{spec['because']}”" if spec.get("because") else "",
    ]


def _proposal(spec: Mapping[str, Any]) -> list[str]:
    if spec.get("action") == "admit":
        member = spec.get("member") or {}
        return [
            "validator" if member.get("validator") else "member without a vote on blocks",
            f"at {member.get('endpoint')}",
        ]
    return [f"model {digest(spec.get('model'))}", f"service {digest(spec.get('service'))}"]


def _evaluation(spec: Mapping[str, Any]) -> list[str]:
    return [f"{name} {score(value)}" for name, value in sorted((spec.get("metrics") or {}).items())] + [
        plural(spec.get("rows", 0), "row")
    ]


_SUMMARIES: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "dataset": _dataset,
    "grant": _grant,
    "study": _study,
    "round": _round,
    "receipt": _receipt,
    "vote": _vote,
    "proposal": _proposal,
    "evaluation": _evaluation,
    "task": lambda spec: [f"reads {plural(len(spec.get('inputs', ())), 'dataset')}", f"for {spec.get('purpose')}"],
    "model": lambda spec: [str(spec.get("format")), f"weights {digest(spec.get('weights'))}"],
    "service": lambda spec: [
        f"needs {spec.get('approvals')} approvals",
        f"time lock {span(spec.get('time_lock_s', 0))}",
    ],
    "offer": lambda spec: [f"{spec.get('price_wei')} wei a {spec.get('unit')}", f"until {day(spec.get('until'))}"],
    "revocation": lambda spec: [digest(spec.get("about")), str(spec.get("because", ""))],
    "app": lambda spec: [f"manifest {digest(spec.get('manifest'))}"],
}


def summary(brief: Brief) -> str:
    """One line about a record, without its title: `214 rows × 31 columns · for diagnosis`."""
    describe = _SUMMARIES.get(str(brief.get("kind")))
    if describe is None:
        return ""
    return " · ".join(part for part in describe(brief.get("spec") or {}) if part)


def anchored(brief: Brief) -> str:
    """Where a record stands in the ledger."""
    anchor = brief.get("anchor")
    return f"anchored at height {anchor['height']}" if anchor else "waits for a block"
