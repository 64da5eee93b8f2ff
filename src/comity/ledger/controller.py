"""What planners ask of the node. A planner is pure: `plan(view, local) -> actions`; the node performs them and anchors the facts.

Every action has a `key`: the node never performs two of one key at once; a planner that sees the same world asks the same again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from comity.ledger.view import View
from comity.record.record import Record
from comity.record.types import Digest

FETCH_BYTES_MAX = 256 << 20


@dataclass(frozen=True)
class Anchor:
    """Sign this record with the organisation's key and anchor it (idempotent: an anchored digest is skipped)."""

    key: str
    record: Record


@dataclass(frozen=True)
class Call:
    """Send a transaction to a system contract that anchors no record."""

    key: str
    contract: str
    function: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Fetch:
    """Get a blob from any of these organisations, check its digest, keep it."""

    key: str
    digest: Digest
    holders: tuple[str, ...]
    bytes_max: int = FETCH_BYTES_MAX


@dataclass(frozen=True)
class Work:
    """Run a named piece of local work; its outcome appears in the planner's `local` under `key`."""

    key: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


Action = Anchor | Call | Fetch | Work

Local_contra = TypeVar("Local_contra", contravariant=True)


class Controller(Protocol[Local_contra]):
    """A level-triggered planner."""

    def plan(self, view: View, local: Local_contra) -> Sequence[Action]: ...
