"""What makes a consensus message believable: signers, prepared certificates, justified proposals, seals. Pure predicates.

Rules of arXiv 2002.03613 section 4 and the EEA QBFT specification; `qbft` acts on them, docs/consensus.md states them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from comity.ledger.errors import LedgerError
from comity.ledger.messages import NOT_PREPARED, Ballot, Certificate, Kind, Proposal, RoundChange, Vote
from comity.ledger.types import Seals, ValidatorSet
from comity.record.errors import BadSignature
from comity.record.types import Address, Hash32

Recover: TypeAlias = Callable[[bytes, bytes], Address]
"""(32-byte hash, 65-byte signature) -> address; raises `BadSignature`. `record.keys.recover`, or a cache of it."""


class Unjustified(LedgerError):
    """A message that no correct validator sends: whoever handed it over is faulty."""

    code = "unjustified-message"


@dataclass(frozen=True, slots=True)
class Rules:
    """What every judgement about one height depends on."""

    chain_id: int
    height: int
    validators: ValidatorSet
    recover: Recover

    def proposer(self, round_: int) -> Address:
        """Turns go round the set by height + round, which no block's content can bend."""
        members = self.validators.members
        return members[(self.height + round_) % len(members)]

    def signer(self, ballot: Ballot) -> Address:
        """Who signed; `Unjustified` unless a validator of this height did."""
        return self._signer(ballot.vote.signing_hash(self.chain_id), ballot.signature)

    def signers(self, vote: Vote, signatures: Iterable[bytes]) -> frozenset[Address]:
        """The distinct validators that signed one vote; `Unjustified` when a signature is bad or one stands twice."""
        hash32 = vote.signing_hash(self.chain_id)
        who = [self._signer(hash32, signature) for signature in signatures]
        if len(set(who)) != len(who):
            raise Unjustified("a validator signs twice in one certificate")
        return frozenset(who)

    def _signer(self, hash32: bytes, signature: bytes) -> Address:
        try:
            address = self.recover(hash32, signature)
        except BadSignature as error:
            raise Unjustified("a signature is bad", why=str(error)) from error
        if address not in self.validators:
            raise Unjustified("signed by no validator of this height", why=f"0x{address.hex()}, height {self.height}")
        return address


def check_prepared(rules: Rules, round_: int, digest: Hash32, prepares: Sequence[bytes]) -> None:
    """A quorum signed PREPARE for `digest` in `round_`, else `Unjustified`."""
    vote = Vote(Kind.PREPARE, rules.height, round_, digest)
    if not rules.validators.is_quorum(rules.signers(vote, prepares)):
        raise Unjustified("prepared certificate has no quorum", why=f"round {round_}, {len(prepares)} signatures")


def check_round_change(rules: Rules, message: RoundChange) -> None:
    """A ROUND-CHANGE that names a prepared block proves it; `Unjustified` otherwise."""
    vote = message.ballot.vote
    if vote.prepared == NOT_PREPARED:
        return
    if message.block is None or message.block.header.height != rules.height:
        raise Unjustified("round change carries no block of its height")
    check_prepared(rules, vote.prepared, vote.digest, message.prepares)


def check_proposal(rules: Rules, message: Proposal) -> None:
    """Above round 0: a quorum of ROUND-CHANGEs for the round, and the block of the highest prepared round among them,
    shown by its PREPAREs; if none is prepared, and in round 0, a block that the proposer made itself."""
    vote = message.ballot.vote
    at = (vote.height, vote.round)
    proposer = rules.proposer(vote.round)
    if message.block.header.height != rules.height:
        raise Unjustified("proposal's block is of another height")
    prepared = NOT_PREPARED
    if vote.round > 0:
        if any((b.vote.kind, b.vote.height, b.vote.round) != (Kind.ROUND_CHANGE, *at) for b in message.round_changes):
            raise Unjustified("proposal is justified by votes of another kind or round")
        who = [rules.signer(ballot) for ballot in message.round_changes]
        if len(set(who)) != len(who) or not rules.validators.is_quorum(set(who)):
            raise Unjustified("proposal is not justified by a quorum of round changes", why=f"round {vote.round}")
        prepared = max(ballot.vote.prepared for ballot in message.round_changes)
    if prepared == NOT_PREPARED:
        if message.block.header.coinbase != proposer:
            raise Unjustified("fresh block is not the proposer's own")
    elif not any(b.vote.prepared == prepared and b.vote.digest == vote.digest for b in message.round_changes):
        raise Unjustified("proposal passes over the block of the highest prepared round", why=f"round {prepared}")
    else:
        check_prepared(rules, prepared, vote.digest, message.prepares)


def check_certificate(rules: Rules, certificate: Certificate) -> None:
    """A certificate remembered across a crash still proves its block; `Unjustified` otherwise."""
    check_prepared(rules, certificate.round, certificate.digest, certificate.prepares)


def check_seals(rules: Rules, digest: Hash32, seals: Seals) -> None:
    """A quorum sealed the block in one round, else `Unjustified`."""
    vote = Vote(Kind.COMMIT, rules.height, seals.round, digest)
    if not rules.validators.is_quorum(rules.signers(vote, seals.signatures)):
        raise Unjustified("block is not sealed by a quorum", why=f"height {rules.height}")
