"""QBFT's step: its rules one by one, without a network."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comity.ledger import qbft
from comity.ledger.justification import Unjustified, check_seals
from comity.ledger.messages import NOT_PREPARED, Ballot, Certificate, Consensus, Kind, Proposal, RoundChange, Vote
from comity.ledger.protocol import Broadcast, Built, Check, Checked, Remember, SetTimer, Sign, Signed
from comity.ledger.qbft import Arrived, Decided, Draft, Due, Entered, State, TimedOut
from comity.ledger.types import ZERO_HASH, Seals
from support.consensus import (
    KEYS,
    OUTSIDER,
    RULES,
    ballot,
    block,
    digest,
    prepares,
    proposal,
    proposer,
    round_change,
    sign,
)
from support.plain_chain import CHAIN_ID

NOW = 1_001_000
BLOCK = block(proposer(0))
OTHER = block(proposer(0), 1_002)


class Seat:
    """One validator's state, and what it did."""

    def __init__(self, index: int = 0) -> None:
        self.key = KEYS[index]
        self.state = State(RULES, self.key.address, 1_000)

    def do(self, event: qbft.Event) -> list[qbft.Action]:
        self.state, actions = qbft.step(self.state, event)
        return actions

    def hear(self, *messages: Consensus) -> list[qbft.Action]:
        return [action for message in messages for action in self.do(Arrived(NOW, message))]

    def sign(self, actions: list[qbft.Action]) -> list[qbft.Action]:
        """The signer answers every request in `actions`."""
        found = [a.vote for a in actions if isinstance(a, Sign)]
        return [b for v in found for b in self.do(Signed(NOW, v, self.key.sign(v.signing_hash(CHAIN_ID))))]

    def accept(self) -> None:
        """Get as far as the own PREPARE for BLOCK."""
        self.hear(proposal(0, BLOCK))
        self.sign(self.do(Checked(NOW, digest(BLOCK), None)))


def votes(actions: list[qbft.Action]) -> list[tuple[Kind, int]]:
    return [(a.vote.kind, a.vote.round) for a in actions if isinstance(a, Sign)]


def test_a_round_from_proposal_to_seals() -> None:
    seat = Seat(0)
    assert seat.hear(proposal(0, BLOCK)) == [SetTimer("round", NOW + 1_000), Check(digest(BLOCK), BLOCK)]
    actions = seat.do(Checked(NOW, digest(BLOCK), None))
    assert votes(actions) == [(Kind.PREPARE, 0)]
    assert isinstance(seat.sign(actions)[0], Broadcast)
    actions = seat.hear(*(ballot(key, Kind.PREPARE, 0, BLOCK) for key in KEYS[1:3]))
    assert [type(a) for a in actions] == [Remember, Sign]
    assert votes(actions) == [(Kind.COMMIT, 0)]
    seat.sign(actions)
    actions = seat.hear(*(ballot(key, Kind.COMMIT, 0, BLOCK) for key in KEYS[1:3]))
    decided = next(a for a in actions if isinstance(a, Decided)).sealed
    assert decided.block == BLOCK
    check_seals(RULES, digest(BLOCK), decided.seals)
    assert seat.hear(ballot(KEYS[3], Kind.COMMIT, 0, BLOCK)) == []


def test_the_certificate_is_remembered_before_the_commit_is_signed() -> None:
    seat = Seat()
    seat.accept()
    actions = seat.hear(*(ballot(key, Kind.PREPARE, 0, BLOCK) for key in KEYS[1:3]))
    assert isinstance(actions[0], Remember)
    assert Certificate.decode(actions[0].data).digest == digest(BLOCK)


def test_the_proposer_drafts_when_a_block_is_due_and_proposes_what_it_built() -> None:
    seat = Seat(KEYS.index(proposer(0)))
    assert seat.do(Due(NOW)) == [SetTimer("round", NOW + 1_000), Draft(0)]
    assert seat.do(Due(NOW)) == []
    actions = seat.do(Built(NOW, 1, 0, BLOCK))
    assert votes(actions) == [(Kind.PROPOSAL, 0)]
    assert Check(digest(BLOCK), BLOCK) in seat.sign(actions)
    assert Seat(0).do(Due(NOW)) == [SetTimer("round", NOW + 1_000)]


def test_an_invalid_block_gets_no_vote() -> None:
    seat = Seat()
    seat.hear(proposal(0, BLOCK))
    assert seat.do(Checked(NOW, digest(BLOCK), "bad")) == []
    assert seat.hear(*(ballot(key, Kind.PREPARE, 0, BLOCK) for key in KEYS[1:4])) == []
    assert seat.hear(*(ballot(key, Kind.COMMIT, 0, BLOCK) for key in KEYS[1:4])) == []


def test_the_first_proposal_of_a_round_wins() -> None:
    seat = Seat()
    seat.accept()
    assert seat.hear(proposal(0, OTHER)) == []
    assert seat.state.accepted == digest(BLOCK)


def test_a_block_from_the_future_gets_no_vote() -> None:
    late = block(proposer(0), NOW // 1000 + qbft.CLOCK_DRIFT_S_MAX + 1)
    assert Seat().hear(proposal(0, late)) == []


def test_a_block_that_is_no_later_than_its_parent_gets_a_vote_whatever_the_clock_says() -> None:
    seat, late = Seat(), NOW // 1000 + 3_600
    seat.state.parent_s = late
    assert seat.hear(proposal(0, block(proposer(0), late)))
    seat = Seat()
    seat.state.parent_s = late
    assert seat.hear(proposal(0, block(proposer(0), late + 1))) == []


def test_votes_for_another_digest_or_twice_count_nothing() -> None:
    seat = Seat()
    seat.accept()
    one = ballot(KEYS[1], Kind.PREPARE, 0, BLOCK)
    assert seat.hear(one, one, ballot(KEYS[2], Kind.PREPARE, 0, OTHER), ballot(KEYS[2], Kind.PREPARE, 0, BLOCK)) == []


def test_commits_decide_also_in_a_round_left_behind() -> None:
    seat = Seat()
    seat.accept()
    seat.sign(seat.do(TimedOut(NOW)))
    actions = seat.hear(*(ballot(key, Kind.COMMIT, 0, BLOCK) for key in KEYS[1:4]))
    assert [type(a) for a in actions] == [SetTimer, Decided]


def test_commits_of_two_rounds_make_no_quorum() -> None:
    seat = Seat()
    seat.accept()
    mixed = [ballot(KEYS[1], Kind.COMMIT, 0, BLOCK), ballot(KEYS[2], Kind.COMMIT, 1, BLOCK)]
    assert seat.hear(*mixed, ballot(KEYS[3], Kind.COMMIT, 1, BLOCK)) == []


# ── Round changes ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_timeout_asks_for_the_next_round_and_names_the_lock() -> None:
    seat = Seat()
    assert seat.do(TimedOut(NOW))[-1] == Sign(Vote(Kind.ROUND_CHANGE, 1, 1, ZERO_HASH))
    locked = Seat()
    locked.accept()
    locked.hear(*(ballot(key, Kind.PREPARE, 0, BLOCK) for key in KEYS[1:3]))
    actions = locked.do(TimedOut(NOW))
    assert actions == [SetTimer("round", None), Entered(1), Sign(Vote(Kind.ROUND_CHANGE, 1, 1, digest(BLOCK), 0))]
    said = [a.message for a in locked.sign(actions) if isinstance(a, Broadcast)]
    assert isinstance(said[0], RoundChange)
    assert said[0].block == BLOCK
    assert len(said[0].prepares) == 3


def test_one_round_change_moves_nobody_and_f_plus_1_the_rest() -> None:
    seat = Seat()
    assert seat.hear(round_change(KEYS[1], 5)) == []
    actions = seat.hear(round_change(KEYS[2], 3))
    assert Entered(3) in actions
    assert votes(actions) == [(Kind.ROUND_CHANGE, 3)]


def test_above_round_0_the_timer_waits_for_a_quorum_and_doubles() -> None:
    seat = Seat()
    seat.sign(seat.do(TimedOut(NOW)))
    assert not seat.state.timing
    assert seat.hear(round_change(KEYS[1], 1)) == []
    assert SetTimer("round", NOW + 2_000) in seat.hear(round_change(KEYS[3], 1))


def test_the_proposer_of_a_round_nobody_prepared_for_makes_a_new_block() -> None:
    mine = KEYS.index(proposer(2))
    seat = Seat(mine)
    others = [key for key in KEYS if key is not seat.key]
    actions = seat.hear(*(round_change(key, 2) for key in others))
    assert Draft(2) in actions + seat.sign(actions)


def test_the_proposer_takes_up_the_block_of_the_highest_prepared_round() -> None:
    seat = Seat(KEYS.index(proposer(3)))
    others = [key for key in KEYS if key is not seat.key]
    changes = [round_change(others[0], 3, 0, BLOCK), round_change(others[1], 3, 1, OTHER), round_change(others[2], 3)]
    actions = seat.hear(*changes)
    wanted = Sign(Vote(Kind.PROPOSAL, 1, 3, digest(OTHER)))
    assert wanted in actions
    said = next(a.message for a in seat.sign([wanted]) if isinstance(a, Broadcast))
    assert isinstance(said, Proposal)
    assert Seat(0).hear(said)[-1] == Check(digest(OTHER), OTHER)


def test_a_lock_heard_of_while_building_does_not_spoil_the_proposal() -> None:
    seat = Seat(KEYS.index(proposer(2)))
    others = [key for key in KEYS if key is not seat.key]
    seat.sign(seat.hear(*(round_change(key, 2) for key in others[:2])))
    seat.hear(round_change(others[2], 2, 0, BLOCK))
    own = block(seat.key)
    said = [a.message for a in seat.sign(seat.do(Built(NOW, 1, 2, own))) if isinstance(a, Broadcast)]
    assert isinstance(said[0], Proposal)
    Seat(0).hear(said[0])


def test_a_justified_proposal_of_a_later_round_is_followed() -> None:
    seat = Seat()
    fresh = block(proposer(2))
    actions = seat.hear(proposal(2, fresh, [round_change(key, 2) for key in KEYS[1:]]))
    assert Entered(2) in actions
    assert SetTimer("round", NOW + 4_000) in actions


UNJUSTIFIED: dict[str, Consensus] = {
    "proposal out of turn": replace(proposal(0, BLOCK), ballot=ballot(proposer(1), Kind.PROPOSAL, 0, BLOCK)),
    "a block of another's": proposal(0, block(proposer(1))),
    "no round changes": proposal(1, block(proposer(1))),
    "too few round changes": proposal(1, block(proposer(1)), [round_change(k, 1) for k in KEYS[:2]]),
    "one round change thrice": proposal(1, block(proposer(1)), [round_change(KEYS[0], 1)] * 3),
    "round changes of another round": proposal(2, block(proposer(2)), [round_change(k, 1) for k in KEYS[:3]]),
    "the lock passed over": proposal(
        2, block(proposer(2)), [round_change(KEYS[0], 2, 0, BLOCK), *(round_change(k, 2) for k in KEYS[1:3])]
    ),
    "the lock without proof": proposal(
        2, BLOCK, [round_change(KEYS[0], 2, 0, BLOCK), *(round_change(k, 2) for k in KEYS[1:3])]
    ),
    "a lower lock": proposal(
        3,
        BLOCK,
        [round_change(KEYS[0], 3, 0, BLOCK), round_change(KEYS[1], 3, 1, OTHER), round_change(KEYS[2], 3)],
        prepares(0, BLOCK),
    ),
    "a certificate of two": replace(round_change(KEYS[0], 2, 0, BLOCK), prepares=prepares(0, BLOCK, KEYS[:2])),
    "a certificate of one": replace(round_change(KEYS[0], 2, 0, BLOCK), prepares=prepares(0, BLOCK, KEYS[:1]) * 3),
    "a certificate of another round": replace(round_change(KEYS[0], 2, 0, BLOCK), prepares=prepares(1, BLOCK)),
    "a certificate of another block": replace(round_change(KEYS[0], 2, 0, BLOCK), prepares=prepares(0, OTHER)),
    "an outsider's vote": ballot(OUTSIDER, Kind.PREPARE, 0, BLOCK),
    "a broken signature": Ballot(Vote(Kind.COMMIT, 1, 0, digest(BLOCK)), bytes(65)),
    "an outsider's round change": round_change(OUTSIDER, 1),
}


@pytest.mark.parametrize("message", UNJUSTIFIED.values(), ids=UNJUSTIFIED)
def test_what_no_correct_validator_sends_is_told(message: Consensus) -> None:
    with pytest.raises(Unjustified):
        Seat().hear(message)


def test_seals_of_too_few_or_of_another_round_are_refused() -> None:
    good = tuple(ballot(key, Kind.COMMIT, 2, BLOCK).signature for key in KEYS[:3])
    check_seals(RULES, digest(BLOCK), Seals(2, good))
    for seals in (Seals(2, good[:2]), Seals(2, (*good[:2], good[0])), Seals(1, good), Seals(2, (*good[:2], bytes(65)))):
        with pytest.raises(Unjustified):
            check_seals(RULES, digest(BLOCK), seals)


# ── Bounds and restarts ──────────────────────────────────────────────────────────────────────────────────────────────
def test_a_sender_of_endless_rounds_fills_no_memory() -> None:
    seat = Seat()
    for round_ in range(1, 100):
        seat.hear(ballot(KEYS[1], Kind.COMMIT, round_, BLOCK), ballot(KEYS[1], Kind.PREPARE, round_, BLOCK))
        seat.hear(round_change(KEYS[1], round_))
    assert len(seat.state.votes) == 2 * qbft.VOTES_PER_SENDER_MAX
    assert len(seat.state.changes) == qbft.VOTES_PER_SENDER_MAX


def test_a_restart_goes_on_in_its_round_with_its_lock_and_its_timer() -> None:
    seat = Seat()
    certificate = Certificate(1, 0, BLOCK, digest(BLOCK), prepares(0, BLOCK))
    actions = qbft.resume(seat.state, NOW, 2, certificate)
    assert SetTimer("round", NOW + 4_000) in actions
    assert Check(digest(BLOCK), BLOCK) in actions
    assert Sign(Vote(Kind.ROUND_CHANGE, 1, 2, digest(BLOCK), 0)) in actions
    assert votes(seat.do(TimedOut(NOW))) == [(Kind.ROUND_CHANGE, 3)]


def test_a_refused_signature_is_nothing() -> None:
    seat = Seat()
    assert seat.do(Signed(NOW, Vote(Kind.PREPARE, 1, 0, digest(BLOCK)), None, "refused")) == []


def test_other_heights_are_not_heard() -> None:
    stray = Vote(Kind.ROUND_CHANGE, 2, 1, ZERO_HASH, NOT_PREPARED)
    assert Seat().hear(ballot(KEYS[1], Kind.PREPARE, 0, BLOCK, 2), RoundChange(sign(KEYS[1], stray))) == []
