"""The simulator finds bugs: each rule, broken on purpose, is caught by one of the first seeds."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from comity.ledger import messages, qbft
from comity.ledger.messages import Vote
from comity.ledger.replica import Replica
from comity.ledger.types import ValidatorSet
from comity.ledger.votelog import VoteLog
from comity.record.types import Address
from sim.faults import Faults
from sim.network import Network, Parts
from sim.plain_world import PlainWorld

SEEDS = 150

pytestmark = pytest.mark.sim


def first_failure(parts: Parts | None = None, world: PlainWorld | None = None, faults: Faults | None = None) -> str:
    """What the first failing seed says; empty when none of them notices."""
    world = world or PlainWorld()
    for seed in range(SEEDS):
        try:
            Network(seed, world, faults, parts).run()
        except AssertionError as error:
            return f"seed {seed}: {error}"
    return ""


@dataclass(frozen=True, slots=True)
class SmallQuorum(ValidatorSet):
    def is_quorum(self, addresses: set[Address] | frozenset[Address]) -> bool:
        return self.is_honest_one(addresses)


class Amnesiac(VoteLog):
    """Signs whatever it is asked for."""

    def allow(self, vote: Vote) -> None:
        pass


class Unlocked(VoteLog):
    """Keeps order, but lets a ROUND-CHANGE deny the lock."""

    def _judge(self, vote: Vote) -> None:
        self._locked = None
        super()._judge(vote)


class Late(VoteLog):
    """Writes the vote down after it was signed, so that a crash between forgets it."""

    def allow(self, vote: Vote) -> None:
        self._judge(vote)
        self._note(vote)


class Mute(Replica):
    """Says everything once."""

    def _resend(self, now: int) -> list:  # type: ignore[type-arg]
        return []


def test_no_mutation_no_failure() -> None:
    assert first_failure() == ""


def test_a_quorum_of_f_plus_1_forks() -> None:
    world = PlainWorld()
    world.validators = SmallQuorum(world.validators.members)
    assert first_failure(world=world) != ""


def test_without_a_vote_log_a_restart_votes_twice() -> None:
    assert "contradicts itself" in (found := first_failure(Parts(vote_log=Amnesiac))) or "backwards" in found


def test_a_vote_log_that_is_not_written_before_the_signature_leaves_is_caught() -> None:
    assert "contradicts itself" in (found := first_failure(Parts(vote_log=Late))) or "backwards" in found


def test_forgetting_the_lock_in_a_crash_is_caught() -> None:
    found = first_failure(Parts(vote_log=Unlocked, remembers=False))
    assert "denies its lock" in found


def test_accepting_unjustified_proposals_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rare among all faults: it needs a lossy round after a lock, and a liar whose turn is next."""
    monkeypatch.setattr(qbft, "check_proposal", lambda rules, message: None)
    faults = Faults(loss=0.35, delay_ms=60.0, byzantine=1, habits=("forge", "whisper"), transactions=8)
    assert "prepares another block" in (found := first_failure(faults=faults)) or "two blocks" in found


def test_believing_round_changes_without_certificates_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qbft, "check_round_change", lambda rules, message: None)
    assert first_failure() != ""


def test_a_replica_that_says_everything_once_gets_stuck() -> None:
    assert "no agreement" in first_failure(Parts(replica=Mute))


def test_a_restart_that_waits_for_forgotten_round_changes_gets_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    def lame(state: qbft.State, now: int, round_: int, certificate: object) -> list[qbft.Action]:
        state.round = round_
        return []

    monkeypatch.setattr(qbft, "resume", lame)
    assert first_failure() != ""


def test_believing_a_body_that_is_not_the_headers_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_whole", lambda block: block)
    assert first_failure() != ""


def test_a_single_voice_taken_for_a_quorum_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ValidatorSet, "is_quorum", lambda self, addresses: len(addresses) >= 1)
    assert first_failure() != ""
