"""The replica: what it asks for on each event, without a network."""

from __future__ import annotations

from comity.ledger.block import header_hash
from comity.ledger.messages import (
    BLOCKS_COUNT_MAX,
    Ballot,
    Blocks,
    Certificate,
    GetBlocks,
    Kind,
    Proposal,
    Status,
    Transactions,
    Vote,
)
from comity.ledger.protocol import (
    Action,
    Admitted,
    Broadcast,
    Build,
    Built,
    Candidate,
    Check,
    Checked,
    CommitBlock,
    Committed,
    Connected,
    Disconnected,
    Drop,
    Event,
    Examine,
    Fired,
    Halt,
    Misbehaved,
    Received,
    Send,
    Serve,
    SetTimer,
    Sign,
    Started,
    Submitted,
)
from comity.ledger.replica import (
    EXAMINED_COUNT_MAX,
    FUTURE_BLOCKS_MAX,
    FUTURE_COUNT_MAX,
    SERVED_PER_S_MAX,
    Replica,
    Settings,
)
from comity.ledger.types import Account, SealedBlock
from comity.record.types import Address, Hash32, Wei
from support.consensus import (
    GENESIS,
    KEYS,
    OUTSIDER,
    VALIDATORS,
    ballot,
    block,
    digest,
    prepares,
    proposal,
    proposer,
    sealed,
    sign,
)
from support.plain_chain import CHAIN_ID, PlainChain
from support.transfers import tx

NOW = 1_001_000
GENESIS_HASH = header_hash(GENESIS.block.header)
RICH = Account(0, Wei(10**18))


def replica(me: Address | None = KEYS[0].address, peers: int = 2) -> Replica:
    made = Replica(Settings(CHAIN_ID, GENESIS_HASH, me, 1_000, 30_000, 2_000))
    made.step(Started(NOW, GENESIS, VALIDATORS))
    for index in range(peers):
        made.step(Connected(NOW, f"p{index}"))
    return made


def chain_of(count: int) -> list[SealedBlock]:
    """Sealed blocks 1..count."""
    chain = PlainChain(GENESIS, VALIDATORS)
    for height in range(1, count + 1):
        made = chain.build(1_001, proposer(0, height).address, ())
        chain.commit(sealed(made, 0, height))
    return chain.sealed[1:]


def hear(of: Replica, message: object, peer: str = "p0", now: int = NOW) -> list[Action]:
    event: Event = Received(now, peer, message)  # type: ignore[arg-type]
    return of.step(event)


def only(actions: list[Action], kind: type) -> list[Action]:
    return [action for action in actions if isinstance(action, kind)]


# ── Pace ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_idle_chain_makes_a_block_each_empty_period_and_no_sooner() -> None:
    made = Replica(Settings(CHAIN_ID, GENESIS_HASH, proposer(0).address, 1_000, 30_000, 2_000))
    assert SetTimer("block", NOW + 30_000) in made.step(Started(NOW, GENESIS, VALIDATORS))
    assert only(made.step(Fired(NOW + 29_999, "block")), Build) == []
    assert only(made.step(Fired(NOW + 30_000, "block")), Build) == [Build(1, 0, 1_031, ())]


def test_a_clock_that_goes_back_delays_no_block() -> None:
    made = replica(proposer(0).address)
    back = NOW - 3_600_000
    assert SetTimer("block", back + 1_000) in made.step(Submitted(back, (Candidate(tx(), RICH),)))
    assert only(made.step(Fired(back + 1_000, "block")), Build) == [
        Build(1, 0, GENESIS.block.header.timestamp, (tx(),))
    ]


def test_a_transaction_makes_a_block_after_the_block_period_and_goes_to_all_peers() -> None:
    made = replica(proposer(0).address)
    actions = made.step(Submitted(NOW + 10, (Candidate(tx(), RICH),)))
    assert Admitted(tx().hash) in actions
    assert Broadcast(Transactions((tx().raw,))) in actions
    assert SetTimer("block", NOW + 1_000) in actions
    assert only(made.step(Fired(NOW + 1_000, "block")), Build) == [Build(1, 0, 1_002, (tx(),))]


def test_a_transaction_of_a_peer_goes_to_the_others_and_a_refused_one_to_nobody() -> None:
    made = replica()
    assert only(made.step(Submitted(NOW, (Candidate(tx(), RICH),), "p0")), Broadcast) == [
        Broadcast(Transactions((tx().raw,)), "p0")
    ]
    assert made.step(Submitted(NOW, (Candidate(tx(), RICH),), "p0")) == []
    told = made.step(Submitted(NOW, (Candidate(tx(9_999), RICH),)))
    assert isinstance(told[0], Admitted)
    assert "nonce too far ahead" in (told[0].error or "")
    assert told[0].hint


def test_what_the_chain_refuses_leaves_the_pool() -> None:
    made = replica(proposer(0).address)
    made.step(Submitted(NOW, (Candidate(tx(), RICH),)))
    made.step(Fired(NOW + 1_000, "block"))
    made.step(Built(NOW + 1_001, 1, 0, block(proposer(0)), ((tx().hash, "no"),)))
    assert len(made.pool) == 0


# ── Catching up ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_follower_catches_up_block_by_block_and_never_votes() -> None:
    made, blocks = replica(None), chain_of(3)
    asked = hear(made, Status(GENESIS_HASH, 3, Hash32(bytes(32))))
    assert Send("p0", GetBlocks(1, 3)) in asked
    actions = hear(made, Blocks(tuple(blocks)))
    for height, each in enumerate(blocks, start=1):
        name = digest(each.block)
        assert only(actions, Check) == [Check(name, each.block)]
        assert made.step(Checked(NOW, name, None)) == [CommitBlock(each)]
        actions = made.step(Committed(NOW, each, VALIDATORS))
        assert Broadcast(Status(GENESIS_HASH, height, name)) in actions
        assert only(actions, Sign) == []
    assert made.height == 3


def test_a_request_is_bounded_and_another_peer_is_asked_when_one_is_silent() -> None:
    made = replica(None)
    assert Send("p0", GetBlocks(1, BLOCKS_COUNT_MAX)) in hear(made, Status(GENESIS_HASH, 500, GENESIS_HASH))
    hear(made, Status(GENESIS_HASH, 90, GENESIS_HASH), "p1")
    assert Send("p1", GetBlocks(1, BLOCKS_COUNT_MAX)) in made.step(Fired(NOW + 3_000, "sync"))


def test_one_that_boasts_again_and_again_is_asked_after_the_others() -> None:
    made = replica(None)
    hear(made, Status(GENESIS_HASH, 10**9, GENESIS_HASH))
    hear(made, Blocks(()))
    hear(made, Status(GENESIS_HASH, 10**9, GENESIS_HASH))
    made.step(Fired(NOW + 3_000, "sync"))
    assert Send("p1", GetBlocks(1, 7)) in [
        *hear(made, Status(GENESIS_HASH, 7, GENESIS_HASH), "p1"),
        *made.step(Fired(NOW + 6_000, "sync")),
    ]


def test_a_badly_sealed_block_drops_its_peer() -> None:
    made = replica(None)
    hear(made, Status(GENESIS_HASH, 1, GENESIS_HASH))
    bad = sealed(chain_of(1)[0].block, keys=KEYS[:2])
    actions = hear(made, Blocks((bad,)))
    assert [type(a) for a in actions] == [Drop]
    assert hear(made, Blocks((bad,))) == []  # it is no peer any more


def test_blocks_nobody_asked_for_are_not_looked_at() -> None:
    assert hear(replica(None), Blocks(tuple(chain_of(2)))) == []


def test_a_sealed_block_that_fails_here_halts() -> None:
    made, first = replica(None), chain_of(1)[0]
    hear(made, Status(GENESIS_HASH, 1, GENESIS_HASH))
    hear(made, Blocks((first,)))
    actions = made.step(Checked(NOW, digest(first.block), "state root differs"))
    assert [type(a) for a in actions] == [Halt]
    assert made.step(Connected(NOW, "p9")) == []


def test_serving_is_bounded() -> None:
    made, first = replica(None), chain_of(1)[0]
    made.step(Committed(NOW, first, VALIDATORS))
    assert hear(made, GetBlocks(1, 64)) == [Serve("p0", 1, 1)]
    assert hear(made, GetBlocks(2, 64)) == []
    served = [hear(made, GetBlocks(1, 64)) for _ in range(100)]
    assert sum(map(bool, served)) == SERVED_PER_S_MAX - 2
    assert hear(made, GetBlocks(1, 64), now=NOW + 1_000)


# ── Peers ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_another_genesis_bad_bytes_and_unjustified_messages_drop_the_peer() -> None:
    for event in (
        Received(NOW, "p0", Status(Hash32(bytes(32)), 0, GENESIS_HASH)),
        Received(NOW, "p0", ballot(OUTSIDER, Kind.PREPARE, 0, block(proposer(0)))),
        Misbehaved(NOW, "p0", "frame too long"),
    ):
        actions = replica().step(event)
        assert [type(a) for a in actions if not isinstance(a, SetTimer)] == [Drop]


def test_a_stranger_is_not_heard() -> None:
    assert hear(replica(), Status(GENESIS_HASH, 9, GENESIS_HASH), "stranger") == []
    made = replica()
    made.step(Disconnected(NOW, "p0"))
    assert hear(made, Status(GENESIS_HASH, 9, GENESIS_HASH)) == []


def test_early_messages_are_kept_within_bounds_and_heard_in_time() -> None:
    made, first = replica(), chain_of(1)[0]
    chain = PlainChain(GENESIS, VALIDATORS)
    chain.commit(first)
    second = chain.build(1_001, proposer(0, 2).address, ())
    from dataclasses import replace

    early = replace(proposal(0, second), ballot=sign(proposer(0, 2), Vote(Kind.PROPOSAL, 2, 0, digest(second))))
    hear(made, early)
    assert Check(digest(second), second) in made.step(Committed(NOW, first, VALIDATORS))
    flooded = replica()
    for height in range(2, 500):
        hear(flooded, sign(KEYS[1], Vote(Kind.PREPARE, height, 0, GENESIS_HASH)))
    assert len(flooded._peers["p0"].future) == FUTURE_COUNT_MAX


def test_early_blocks_are_kept_in_small_number() -> None:
    """64 of 4 MiB from each of 256 peers would be 64 GiB of what nobody has checked."""
    made, early = replica(), chain_of(9)[4:]
    hear(made, sign(KEYS[1], Vote(Kind.PREPARE, 7, 0, GENESIS_HASH)))
    for each in early:
        height = each.block.header.height
        vote = sign(KEYS[1], Vote(Kind.PROPOSAL, height, 0, header_hash(each.block.header)))
        hear(made, Proposal(vote, each.block))
    kept = made._peers["p0"].future
    assert [m.block.header.height for m in kept if isinstance(m, Proposal)] == [8, 9]
    assert len(kept) == 1 + FUTURE_BLOCKS_MAX


def test_a_peer_dropped_while_its_early_messages_are_heard_stops_nothing() -> None:
    made, first = replica(), chain_of(1)[0]
    for key in (OUTSIDER, KEYS[1]):
        hear(made, sign(key, Vote(Kind.PREPARE, 2, 0, GENESIS_HASH)))
    actions = made.step(Committed(NOW, first, VALIDATORS))
    assert len(only(actions, Drop)) == 1
    assert made.height == 1


def test_one_that_lags_is_told_once_a_second() -> None:
    made, first = replica(), chain_of(1)[0]
    made.step(Committed(NOW, first, VALIDATORS))
    old = Ballot(Vote(Kind.PREPARE, 1, 0, GENESIS_HASH), bytes(65))
    assert only(hear(made, old), Send) == [Send("p0", made.status)]
    assert only(hear(made, old), Send) == []
    assert only(hear(made, old, now=NOW + 1_000), Send) == [Send("p0", made.status)]


def test_examinations_are_bounded_and_known_transactions_are_not_examined() -> None:
    made = replica()
    made.step(Submitted(NOW, (Candidate(tx(), RICH),)))
    assert only(hear(made, Transactions((tx().raw,))), Examine) == []
    asked = [hear(made, Transactions((bytes([n]),))) for n in range(50)]
    assert sum(len(only(a, Examine)) for a in asked) == EXAMINED_COUNT_MAX
    made.step(Submitted(NOW, (), "p0"))
    assert only(hear(made, Transactions((b"x",))), Examine)


def test_a_new_peer_is_told_status_and_what_waits() -> None:
    made = replica()
    made.step(Submitted(NOW, (Candidate(tx(), RICH),)))
    told = made.step(Connected(NOW, "new"))
    assert Send("new", made.status) in told
    assert Send("new", Transactions((tx().raw,))) in told


def test_a_memory_that_is_ahead_of_the_vote_log_counts() -> None:
    """A quorum's PREPAREs may be remembered before our own is in the log, which then names an earlier round or height."""
    known = Certificate(1, 2, block(proposer(2)), digest(block(proposer(2))), prepares(2, block(proposer(2))))
    for floor in ((1, 0), (0, 7), (1, 2)):
        made = Replica(Settings(CHAIN_ID, GENESIS_HASH, KEYS[0].address))
        made.step(Started(NOW, GENESIS, VALIDATORS, floor, known.encode()))
        made.step(Fired(NOW + 99_999, "round"))
        assert made._consensus is not None
        assert (made._consensus.round, made._consensus.prepared) == (3, known)


def test_a_damaged_memory_is_no_memory() -> None:
    for remembered in (b"", b"garbage", b"\xc0"):
        made = Replica(Settings(CHAIN_ID, GENESIS_HASH, KEYS[0].address, 1_000, 30_000, 2_000))
        actions = made.step(Started(NOW, GENESIS, VALIDATORS, (1, 2), remembered))
        assert SetTimer("round", NOW + 8_000) in actions
