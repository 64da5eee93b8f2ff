"""The vote log: what may be signed after what, across restarts and compaction."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comity.ledger import rlp, votelog
from comity.ledger.messages import NOT_PREPARED, Kind, Vote
from comity.ledger.types import ZERO_HASH
from comity.ledger.votelog import CorruptVoteLog, VoteLog, VoteRefused
from comity.record.types import Hash32
from comity.store.wal import Log
from support.faulty import FaultyFile, PowerCut

A, B = Hash32(b"a" * 32), Hash32(b"b" * 32)


def fresh(file: FaultyFile | None = None) -> VoteLog:
    return VoteLog(Log(file or FaultyFile(random.Random(1))))


def vote(kind: Kind, height: int = 5, round_: int = 0, digest: Hash32 = A, prepared: int = NOT_PREPARED) -> Vote:
    return Vote(kind, height, round_, digest, prepared)


def change(round_: int, digest: Hash32 = ZERO_HASH, prepared: int = NOT_PREPARED) -> Vote:
    return vote(Kind.ROUND_CHANGE, 5, round_, digest, prepared)


def test_a_round_is_signed_and_signed_again() -> None:
    log = fresh()
    for kind in (Kind.PROPOSAL, Kind.PREPARE, Kind.COMMIT):
        log.allow(vote(kind))
        log.allow(vote(kind))
    assert log.floor == (5, 0)


@pytest.mark.parametrize("kind", [Kind.PROPOSAL, Kind.PREPARE, Kind.COMMIT])
def test_a_conflict_is_refused(kind: Kind) -> None:
    log = fresh()
    log.allow(vote(kind))
    for other in (Kind.PROPOSAL, Kind.PREPARE, Kind.COMMIT):
        with pytest.raises(VoteRefused, match="has signed"):
            log.allow(vote(other, digest=B))


def test_going_back_is_refused() -> None:
    log = fresh()
    log.allow(vote(Kind.PREPARE, 5, 3))
    for height, round_ in ((4, 9), (5, 2), (0, 0)):
        with pytest.raises(VoteRefused, match="has voted at height 5, round 3"):
            log.allow(vote(Kind.PREPARE, height, round_))
    log.allow(vote(Kind.PREPARE, 5, 4, B))
    log.allow(vote(Kind.PREPARE, 6, 0, B))


def test_a_round_change_opens_its_round() -> None:
    log = fresh()
    log.allow(change(1))
    log.allow(vote(Kind.PREPARE, 5, 1))
    log.allow(change(1))  # the same again is no conflict
    with pytest.raises(VoteRefused, match="has voted in that round"):
        log.allow(change(1, A, 0))


def test_a_lock_is_never_denied() -> None:
    log = fresh()
    log.allow(vote(Kind.COMMIT, 5, 2))
    for denial in (change(3), change(3, B, 2), change(3, A, 1), change(9, B, 0)):
        with pytest.raises(VoteRefused, match="locked"):
            log.allow(denial)
    log.allow(change(3, A, 2))
    log.allow(change(5, B, 4))
    log.allow(vote(Kind.ROUND_CHANGE, 6, 1, ZERO_HASH))


def test_a_restart_remembers() -> None:
    file = FaultyFile(random.Random(2))
    log = fresh(file)
    log.allow(vote(Kind.COMMIT, 5, 2))
    log.allow(change(3, A, 2))
    again = fresh(file.crash())
    assert again.floor == (5, 3)
    for refused in (change(4), vote(Kind.PREPARE, 5, 2, B), change(3, B, 2)):
        with pytest.raises(VoteRefused):
            again.allow(refused)


def test_a_power_cut_in_the_write_releases_nothing_and_breaks_nothing() -> None:
    for cut in (1, 2):
        for seed in range(40):
            file = FaultyFile(random.Random(seed))
            log = fresh(file)
            log.allow(vote(Kind.PREPARE, 5, 0))
            file.cut_power_at(cut)
            with pytest.raises(PowerCut):
                log.allow(vote(Kind.COMMIT, 5, 0))
            again = fresh(file.crash())
            with pytest.raises(VoteRefused):
                again.allow(vote(Kind.PREPARE, 5, 0, B))
            again.allow(vote(Kind.COMMIT, 5, 0))


def test_raising_the_floor() -> None:
    file = FaultyFile(random.Random(3))
    log = fresh(file)
    log.raise_floor(100)
    log.raise_floor(50)
    for each in (log, fresh(file.crash())):
        assert each.floor == (100, 0)
        with pytest.raises(VoteRefused):
            each.allow(vote(Kind.PREPARE, 99))


def test_compaction_keeps_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(votelog, "RECORDS_COUNT_MAX", 6)
    file = FaultyFile(random.Random(4))
    log = fresh(file)
    for height in range(1, 40):
        log.allow(vote(Kind.PREPARE, height))
    log.allow(vote(Kind.COMMIT, 39))
    for round_ in range(1, 20):
        log.allow(Vote(Kind.ROUND_CHANGE, 39, round_, A, 0))
    assert file.size() < 1_500
    again = fresh(file.crash())
    assert again.floor == (39, 19)
    with pytest.raises(VoteRefused, match="locked"):
        again.allow(Vote(Kind.ROUND_CHANGE, 39, 20, ZERO_HASH))


@pytest.mark.parametrize(
    "record", [b"", b"x", rlp.encode([7, 1, 1, A, 0]), rlp.encode([2, 1]), rlp.encode([2, 1, 1, b"", 0])]
)
def test_a_foreign_record_stops_the_signer(record: bytes) -> None:
    log = Log(FaultyFile(random.Random(5)))
    log.append(record)
    with pytest.raises(CorruptVoteLog):
        VoteLog(log)


Votes = st.builds(
    Vote,
    st.sampled_from(Kind),
    st.integers(1, 3),
    st.integers(0, 3),
    st.sampled_from([A, B]),
    st.integers(-1, 2),
)


@settings(deadline=None)
@given(st.lists(Votes, max_size=30), st.integers(0, 1 << 20))
def test_no_order_of_requests_and_crashes_gets_two_answers(votes: list[Vote], seed: int) -> None:
    rng = random.Random(seed)
    file = FaultyFile(rng)
    log = fresh(file)
    released: dict[tuple[int, int, Kind], Vote] = {}
    last = (0, 0)
    for each in votes:
        if rng.random() < 0.2:
            file = file.crash()
            log = fresh(file)
        try:
            log.allow(each)
        except VoteRefused:
            continue
        assert (each.height, each.round) >= last
        last = (each.height, each.round)
        assert released.setdefault((*last, each.kind), each) == each
