"""How people name records: a digest, a prefix of one, `name@version`, `name`, or either after `org/`. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from comity.ledger.view import View
from comity.ledger.view_types import Anchored
from comity.node.errors import Conflict, NotFound

REF_CHARACTERS_MAX = 128
NAMED_KINDS = ("dataset", "study", "model", "service", "app")
CANDIDATES_SHOWN_MAX = 5
_NAME = re.compile(
    r"(?:(?P<org>[a-z][a-z0-9-]{1,31})/)?(?P<name>[a-z][a-z0-9-]{0,63})(?:@(?P<version>[1-9][0-9]{0,8}))?\Z"
)


def resolve(view: View, ref: str, *, org: str, kinds: Sequence[str] = ()) -> Anchored:
    """The record that `ref` names, for somebody at `org`, among `kinds` (empty: all).

    Raises `NotFound`, or `Conflict` whose `why` lists the candidates.
    """
    wanted = tuple(kinds) or NAMED_KINDS
    what = " or ".join(kinds) or "record"
    if len(ref) <= REF_CHARACTERS_MAX:
        found = _by_name(view, ref, org, wanted) or [a for a in view.find(ref) if not kinds or a.kind in wanted]
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(f"{a.kind} {a.digest[:12]}" for a in found[:CANDIDATES_SHOWN_MAX])
            raise Conflict(
                f"`{ref}` names {len(found)} records",
                why=listed,
                hint="use more characters of the digest, or org/name@version",
            )
    raise NotFound(f"no {what} `{ref[:REF_CHARACTERS_MAX]}`", hint=f"comity ls {wanted[0]}")


def _by_name(view: View, ref: str, org: str, kinds: Sequence[str]) -> list[Anchored]:
    """The newest of each kind and organisation that has this name; our own organisation's alone, if it has one."""
    match = _NAME.match(ref)
    if match is None:
        return []
    version = int(match["version"]) if match["version"] else None
    newest: dict[tuple[str, str], Anchored] = {}
    for anchored in view.named(match["name"]):
        fits = match["org"] in (None, anchored.org) and version in (
            None,
            getattr(anchored.record.spec, "version", None),
        )
        if fits and anchored.kind in kinds:
            newest[anchored.org, anchored.kind] = anchored
    found = list(newest.values())
    own = [anchored for anchored in found if anchored.org == org]
    return own or found
