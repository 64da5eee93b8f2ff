"""Every kind of record, version 1: the `spec` it carries, the records that spec names, and the artefacts it is about.

The kinds stand in the modules beside, by theme; here is their table. Not the statement around a spec: see `record.record`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from comity.record.errors import MalformedRecord, UnknownKind
from comity.record.fields import in_words
from comity.record.kinds.base import Part, Spec, Subject, digest_of, to_json
from comity.record.kinds.data import Column, Dataset, Grant
from comity.record.kinds.governance import Admit, Deploy, Member, Revocation, Service, Vote
from comity.record.kinds.learning import Evaluation, Exclusion, Included, Model, Round, Rule, Study, Tensor
from comity.record.kinds.receipts import DeploymentReceipt, PredictionsReceipt, TaskReceipt, Usage
from comity.record.kinds.work import App, Limits, Offer, Task
from comity.record.types import Digest

__all__ = [
    "KINDS",
    "VERSION",
    "Admit",
    "App",
    "Column",
    "Dataset",
    "Deploy",
    "DeploymentReceipt",
    "Evaluation",
    "Exclusion",
    "Grant",
    "Included",
    "Limits",
    "Member",
    "Model",
    "Offer",
    "Part",
    "PredictionsReceipt",
    "Proposal",
    "Receipt",
    "Revocation",
    "Round",
    "Rule",
    "Service",
    "Spec",
    "Study",
    "Subject",
    "Task",
    "TaskReceipt",
    "Tensor",
    "Usage",
    "Vote",
    "build",
    "digest_of",
    "references",
    "spec_type",
    "to_json",
]

Proposal = Deploy | Admit
Receipt = TaskReceipt | DeploymentReceipt | PredictionsReceipt

KINDS: Mapping[str, Any] = MappingProxyType(
    {
        "dataset": Dataset,
        "grant": Grant,
        "task": Task,
        "app": App,
        "study": Study,
        "model": Model,
        "service": Service,
        "proposal": Proposal,
        "offer": Offer,
        "receipt": Receipt,
        "round": Round,
        "evaluation": Evaluation,
        "vote": Vote,
        "revocation": Revocation,
    }
)
"""Kind to its spec: a struct, or the union of structs that its first field (`action`, `of`) tells apart."""

VERSION = 1


def spec_type(kind: str) -> Any:
    """The struct, or union of structs, that `kind` carries; `UnknownKind` when there is none."""
    if kind not in KINDS:
        raise UnknownKind(f"no record kind `{kind[:64]}`", hint=f"kinds are {', '.join(KINDS)}")
    return KINDS[kind]


def build(kind: str, value: object) -> Spec:
    """The valid spec of a kind, from a JSON-like dict or from a struct, whose fields are checked again.

    Raises `UnknownKind`, or `MalformedRecord` with the first field that is wrong.
    """
    expected = spec_type(kind)
    try:
        plain = to_json(value) if isinstance(value, Spec) else value
        spec = msgspec.convert(plain, expected, strict=True)
    except (msgspec.ValidationError, TypeError, RecursionError) as error:
        raise MalformedRecord(f"not a valid {kind}", why=in_words(str(error))) from None
    if not isinstance(spec, Spec):
        raise MalformedRecord(f"not a valid {kind}", why=f"got {type(value).__name__}")
    return spec


def references(spec: Spec) -> list[Digest]:
    """The distinct digests of the records that `spec` names, ascending."""
    return sorted(set(spec.references()))
