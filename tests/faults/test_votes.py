"""The check that finds a validator contradicting itself, shown finding one."""

from __future__ import annotations

from pathlib import Path

import pytest

from comity.ledger.messages import NOT_PREPARED, Kind, Vote
from comity.ledger.votelog import VoteLog
from comity.record.types import Hash32
from comity.store.wal import Log
from support.votes import Cast, cast, contradictions

A, B = b"a" * 32, b"b" * 32


@pytest.mark.parametrize(
    ("votes", "count"),
    [
        ([Cast(Kind.PREPARE, 1, 0, A), Cast(Kind.COMMIT, 1, 0, A), Cast(Kind.PREPARE, 2, 0, B)], 0),
        ([Cast(Kind.PREPARE, 1, 0, A), Cast(Kind.ROUND_CHANGE, 1, 1, bytes(32)), Cast(Kind.PREPARE, 1, 1, B)], 0),
        ([Cast(Kind.PREPARE, 1, 0, A), Cast(Kind.COMMIT, 1, 0, B)], 1),
        ([Cast(Kind.PREPARE, 2, 0, A), Cast(Kind.PREPARE, 1, 0, A)], 1),
        ([Cast(Kind.PREPARE, 1, 3, A), Cast(Kind.PREPARE, 1, 2, A)], 1),
    ],
)
def test_contradictions(votes: list[Cast], count: int) -> None:
    assert len(contradictions(votes)) == count


def test_reads_what_the_signer_writes(tmp_path: Path) -> None:
    path = tmp_path / "votes.log"
    log = Log.open(path)
    votes = VoteLog(log)
    votes.allow(Vote(Kind.PREPARE, 7, 1, Hash32(A), NOT_PREPARED))
    votes.raise_floor(9)
    assert cast(path) == [Cast(Kind.PREPARE, 7, 1, A)]
    log.close()
    assert cast(tmp_path / "none.log") == []
