"""Reads the vote logs of real nodes and says whether any validator contradicted itself.

Reads copies: opening a log repairs its tail, and the node may be writing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from comity.ledger import rlp
from comity.ledger.messages import Kind
from comity.store.wal import Log


class Cast(NamedTuple):
    """A vote as it stands in a log."""

    kind: Kind
    height: int
    round: int
    digest: bytes


def cast(path: Path) -> list[Cast]:
    """Every vote that a log holds, in the order in which they were signed."""
    if not path.exists():
        return []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "votes.log"
        shutil.copyfile(path, copy)
        log = Log.open(copy)
        try:
            records = [rlp.as_list(rlp.decode(record, bytes_max=256, depth_max=1)) for record in log]
        finally:
            log.close()
    return [
        Cast(Kind(rlp.as_uint(kind)), rlp.as_uint(height), rlp.as_uint(round_), rlp.as_bytes(digest, 32))
        for kind, height, round_, digest, *_ in (record for record in records if len(record) == 5)
    ]


def contradictions(votes: Iterable[Cast]) -> list[str]:
    """What one honest key never does: two digests in one height and round, or a step back."""
    found: list[str] = []
    digests: dict[tuple[int, int], bytes] = {}
    at = (0, 0)
    for vote in votes:
        place = (vote.height, vote.round)
        if place < at:
            found.append(f"{vote.kind.name} at {place} after a vote at {at}")
        at = max(at, place)
        if vote.kind is Kind.ROUND_CHANGE:
            continue
        if digests.setdefault(place, vote.digest) != vote.digest:
            found.append(f"{vote.kind.name} at {place} for another block than before")
    return found
