"""Four validators and their signed messages at one height, for tests of consensus."""

from __future__ import annotations

from comity.ledger.block import header_hash
from comity.ledger.justification import Rules
from comity.ledger.messages import NOT_PREPARED, Ballot, Kind, Proposal, RoundChange, Vote
from comity.ledger.types import ZERO_HASH, Block, SealedBlock, Seals, ValidatorSet
from comity.record.keys import PrivateKey, recover
from comity.record.types import Hash32
from support.plain_chain import CHAIN_ID, PlainChain, genesis_block

KEYS = sorted((PrivateKey.from_seed(f"validator {index}") for index in range(4)), key=lambda key: key.address)
OUTSIDER = PrivateKey.from_seed("outsider")
VALIDATORS = ValidatorSet(tuple(key.address for key in KEYS))
GENESIS = genesis_block()
RULES = Rules(CHAIN_ID, 1, VALIDATORS, recover)


def proposer(round_: int, height: int = 1) -> PrivateKey:
    return KEYS[(height + round_) % 4]


def block(by: PrivateKey, timestamp: int = 1_001) -> Block:
    return PlainChain(GENESIS, VALIDATORS).build(timestamp, by.address, ())


def digest(of: Block) -> Hash32:
    return header_hash(of.header)


def sign(key: PrivateKey, vote: Vote) -> Ballot:
    return Ballot(vote, key.sign(vote.signing_hash(CHAIN_ID)))


def ballot(key: PrivateKey, kind: Kind, round_: int, of: Block, height: int = 1) -> Ballot:
    return sign(key, Vote(kind, height, round_, digest(of)))


def prepares(round_: int, of: Block, keys: list[PrivateKey] | None = None) -> tuple[bytes, ...]:
    return tuple(ballot(key, Kind.PREPARE, round_, of).signature for key in (keys or KEYS[:3]))


def round_change(key: PrivateKey, round_: int, prepared: int = NOT_PREPARED, of: Block | None = None) -> RoundChange:
    vote = Vote(Kind.ROUND_CHANGE, 1, round_, ZERO_HASH if of is None else digest(of), prepared)
    return RoundChange(sign(key, vote), of, () if of is None else prepares(prepared, of))


def proposal(
    round_: int, of: Block, changes: list[RoundChange] | None = None, proof: tuple[bytes, ...] = ()
) -> Proposal:
    mine = ballot(proposer(round_), Kind.PROPOSAL, round_, of)
    return Proposal(mine, of, tuple(c.ballot for c in changes or []), proof)


def sealed(of: Block, round_: int = 0, height: int = 1, keys: list[PrivateKey] | None = None) -> SealedBlock:
    signatures = tuple(ballot(key, Kind.COMMIT, round_, of, height).signature for key in (keys or KEYS[:3]))
    return SealedBlock(of, Seals(round_, signatures))
