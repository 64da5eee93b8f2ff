"""Consensus and sync messages, and the votes inside them, as strict RLP with a limit on every field.

Not their rules: see `qbft` and `sync`. The wire format stands in docs/consensus.md, short enough to be implemented from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

from comity.ledger import block as blocks
from comity.ledger import rlp
from comity.ledger.errors import LedgerError, MalformedRlp
from comity.ledger.types import ZERO_HASH, Block, SealedBlock
from comity.record.digest import keccak256
from comity.record.keys import SIGNATURE_BYTES
from comity.record.types import Hash32

MESSAGE_BYTES_MAX = 16 << 20
BLOCKS_BYTES_MAX = 8 << 20
BLOCKS_COUNT_MAX = 64
TRANSACTIONS_BYTES_MAX = 4 << 20
TRANSACTIONS_COUNT_MAX = 1024
VALIDATORS_COUNT_MAX = 256
NOT_PREPARED = -1
_VOTE_DOMAIN = b"comity-vote-v1"
_HASH_BYTES = 32
_DEPTH_MAX = 3


class MalformedMessage(LedgerError):
    """Bytes that are not a consensus or sync message, or exceed a limit."""

    code = "malformed-message"


class Kind(IntEnum):
    """What a validator signs, in the order in which a round asks for it; also the code on the wire and in the vote log."""

    PROPOSAL = 1
    PREPARE = 2
    COMMIT = 3
    ROUND_CHANGE = 4


@dataclass(frozen=True, slots=True)
class Vote:
    """What the signer signs. `digest` is a header hash; in a ROUND-CHANGE that of the block prepared in round `prepared`,
    or zero with `NOT_PREPARED`."""

    kind: Kind
    height: int
    round: int
    digest: Hash32
    prepared: int = NOT_PREPARED

    @property
    def is_consistent(self) -> bool:
        """Only a ROUND-CHANGE names a prepared round, an earlier one, and with it a digest."""
        if self.kind is not Kind.ROUND_CHANGE:
            return self.prepared == NOT_PREPARED
        return self.prepared < self.round and (self.prepared == NOT_PREPARED) == (self.digest == ZERO_HASH)

    def signing_hash(self, chain_id: int) -> Hash32:
        """A COMMIT signs the block's seal hash, so that its signature *is* the seal; the others keccak256(domain ‖ rlp)."""
        if self.kind is Kind.COMMIT:
            return blocks.seal_hash(chain_id, self.height, self.round, self.digest)
        fields: list[rlp.Encodable] = [
            chain_id,
            int(self.kind),
            self.height,
            self.round,
            self.digest,
            self.prepared + 1,
        ]
        return keccak256(_VOTE_DOMAIN + rlp.encode(fields))


@dataclass(frozen=True, slots=True)
class Ballot:
    """A signed vote: as a message of its own a PREPARE or a COMMIT, inside a PROPOSAL a ROUND-CHANGE."""

    vote: Vote
    signature: bytes


@dataclass(frozen=True, slots=True)
class Proposal:
    """A block for a round. Above round 0: a quorum of ROUND-CHANGEs, and the PREPAREs of the highest round they name."""

    ballot: Ballot
    block: Block
    round_changes: tuple[Ballot, ...] = ()
    prepares: tuple[bytes, ...] = ()
    """Signatures only: the vote they cover follows from `round_changes`."""


@dataclass(frozen=True, slots=True)
class RoundChange:
    """ROUND-CHANGE: entering this round, with the prepared block and a quorum of PREPARE signatures where there is one."""

    ballot: Ballot
    block: Block | None = None
    prepares: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Transactions:
    raw: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class GetBlocks:
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """Consecutive sealed blocks, lowest first."""

    sealed: tuple[SealedBlock, ...]


@dataclass(frozen=True, slots=True)
class Status:
    genesis: Hash32
    height: int
    head: Hash32


Message: TypeAlias = Proposal | Ballot | RoundChange | Transactions | GetBlocks | Blocks | Status
Consensus: TypeAlias = Proposal | Ballot | RoundChange


def ballot_of(message: Consensus) -> Ballot:
    """The signed vote that a consensus message is about."""
    return message if isinstance(message, Ballot) else message.ballot


def split(raws: Sequence[bytes]) -> list[Transactions]:
    """Raw transactions as messages within their limits."""
    parts: list[Transactions] = []
    part: list[bytes] = []
    size = 0
    for raw in raws:
        if part and (len(part) == TRANSACTIONS_COUNT_MAX or size + len(raw) > TRANSACTIONS_BYTES_MAX):
            parts.append(Transactions(tuple(part)))
            part, size = [], 0
        part.append(raw)
        size += len(raw)
    return [*parts, Transactions(tuple(part))] if part else parts


@dataclass(frozen=True, slots=True)
class Certificate:
    """A block that a quorum prepared in `round`: what a validator must still know after a crash (see `Remember`)."""

    height: int
    round: int
    block: Block
    digest: Hash32 = field(compare=False)
    prepares: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        return rlp.encode([self.height, self.round, blocks.encode_block(self.block), self.prepares])

    @classmethod
    def decode(cls, data: bytes) -> Certificate:
        """`MalformedMessage` unless `encode` wrote it."""
        try:
            height, round_, body, prepares = rlp.as_list(rlp.decode(data, depth_max=2), 4)
            block = blocks.decode_block(rlp.as_bytes(body))
            digest = blocks.header_hash(block.header)
            return cls(_height(height), _round(round_), block, digest, _signatures(prepares))
        except MalformedRlp as error:
            raise MalformedMessage("certificate is malformed", why=str(error)) from error


# ── Encoding ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def encode(message: Message) -> bytes:
    """`rlp([code, …])`; codes 1–4 are `Kind`, 5 Transactions, 6 GetBlocks, 7 Blocks, 8 Status."""
    match message:
        case Proposal(ballot, block, round_changes, prepares):
            vote = ballot.vote
            changes: list[rlp.Encodable] = [[b.vote.prepared + 1, b.vote.digest, b.signature] for b in round_changes]
            body: list[rlp.Encodable] = [
                vote.height,
                vote.round,
                ballot.signature,
                blocks.encode_block(block),
                changes,
                prepares,
            ]
            return rlp.encode([1, *body])
        case Ballot(vote, signature):
            return rlp.encode([int(vote.kind), vote.height, vote.round, vote.digest, signature])
        case RoundChange(ballot, prepared, prepares):
            vote = ballot.vote
            block_bytes = b"" if prepared is None else blocks.encode_block(prepared)
            head: list[rlp.Encodable] = [4, vote.height, vote.round, vote.prepared + 1, vote.digest]
            return rlp.encode([*head, ballot.signature, block_bytes, prepares])
        case Transactions(raw):
            return rlp.encode([5, raw])
        case GetBlocks(first, count):
            return rlp.encode([6, first, count])
        case Blocks(sealed):
            return rlp.encode([7, [blocks.encode_sealed(s) for s in sealed]])
        case Status(genesis, height, head_hash):
            return rlp.encode([8, genesis, height, head_hash])


# ── Decoding ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def decode(data: bytes) -> Message:
    """The message that `encode` wrote; `MalformedMessage` for all other bytes."""
    try:
        items = rlp.as_list(rlp.decode(data, bytes_max=MESSAGE_BYTES_MAX, depth_max=_DEPTH_MAX))
        code = rlp.as_uint(items[0], 8) if items else 0
        if code not in _READERS:
            raise MalformedMessage("unknown message", why=f"code {code}")
        return _READERS[code](items)
    except MalformedRlp as error:
        raise MalformedMessage("message is malformed", why=str(error)) from error


def _proposal(items: list[rlp.Item]) -> Proposal:
    _, height, round_, signature, body, changes, prepares = rlp.as_list(items, 7)
    block = _whole(blocks.decode_block(rlp.as_bytes(body)))
    vote = Vote(Kind.PROPOSAL, _height(height), _round(round_), blocks.header_hash(block.header))
    round_changes = tuple(_change(vote, change) for change in _list(changes, VALIDATORS_COUNT_MAX))
    return Proposal(Ballot(vote, _signature(signature)), block, round_changes, _signatures(prepares))


def _change(proposal: Vote, item: rlp.Item) -> Ballot:
    prepared, digest, signature = rlp.as_list(item, 3)
    vote = Vote(Kind.ROUND_CHANGE, proposal.height, proposal.round, _hash(digest), _round(prepared) - 1)
    return Ballot(_consistent(vote), _signature(signature))


def _ballot(items: list[rlp.Item]) -> Ballot:
    code, height, round_, digest, signature = rlp.as_list(items, 5)
    vote = Vote(Kind(rlp.as_uint(code)), _height(height), _round(round_), _hash(digest))
    return Ballot(vote, _signature(signature))


def _round_change(items: list[rlp.Item]) -> RoundChange:
    _, height, round_, prepared, digest, signature, body, prepares = rlp.as_list(items, 8)
    vote = Vote(Kind.ROUND_CHANGE, _height(height), _round(round_), _hash(digest), _round(prepared) - 1)
    ballot = Ballot(_consistent(vote), _signature(signature))
    signatures, data = _signatures(prepares), rlp.as_bytes(body)
    if vote.prepared == NOT_PREPARED:
        if data or signatures:
            raise MalformedMessage("round change carries a certificate that it does not name")
        return RoundChange(ballot)
    block = _whole(blocks.decode_block(data))
    if blocks.header_hash(block.header) != vote.digest:
        raise MalformedMessage("round change carries another block than it names")
    return RoundChange(ballot, block, signatures)


def _consistent(vote: Vote) -> Vote:
    if not vote.is_consistent or vote.round == 0:
        raise MalformedMessage("round change contradicts itself", why=f"round {vote.round}, prepared {vote.prepared}")
    return vote


def _transactions(items: list[rlp.Item]) -> Transactions:
    raw = tuple(rlp.as_bytes(item) for item in _list(rlp.as_list(items, 2)[1], TRANSACTIONS_COUNT_MAX))
    if not raw or sum(map(len, raw)) > TRANSACTIONS_BYTES_MAX:
        raise MalformedMessage("transactions message is empty or too large")
    return Transactions(raw)


def _get_blocks(items: list[rlp.Item]) -> GetBlocks:
    _, first, count = rlp.as_list(items, 3)
    wanted = GetBlocks(_height(first), rlp.as_uint(count))
    if wanted.first < 1 or not 1 <= wanted.count <= BLOCKS_COUNT_MAX:
        raise MalformedMessage("block request asks for nothing, or too much", why=f"{wanted.count} blocks")
    return wanted


def _blocks(items: list[rlp.Item]) -> Blocks:
    sealed = _list(rlp.as_list(items, 2)[1], BLOCKS_COUNT_MAX)
    found = tuple(blocks.decode_sealed(rlp.as_bytes(item)) for item in sealed)
    for each in found:
        _whole(each.block)
    return Blocks(found)


def _whole(block: Block) -> Block:
    """A block whose transactions are those of its header, so that the header's hash names all of it. Without this, a body
    put under an honest header would be judged, kept, or sealed in that header's name."""
    if blocks.transactions_root(block.transactions) != block.header.transactions_root:
        raise MalformedMessage("block's transactions are not those of its header", why=f"height {block.header.height}")
    return block


def _status(items: list[rlp.Item]) -> Status:
    _, genesis, height, head = rlp.as_list(items, 4)
    return Status(_hash(genesis), _height(height), _hash(head))


_READERS: dict[int, Callable[[list[rlp.Item]], Message]] = {
    1: _proposal,
    2: _ballot,
    3: _ballot,
    4: _round_change,
    5: _transactions,
    6: _get_blocks,
    7: _blocks,
    8: _status,
}


def _list(item: rlp.Item, count_max: int) -> list[rlp.Item]:
    items = rlp.as_list(item)
    if len(items) > count_max:
        raise MalformedMessage("a list is too long", why=f"{len(items)} items, at most {count_max}")
    return items


def _height(item: rlp.Item) -> int:
    return rlp.as_uint(item, 64)


def _round(item: rlp.Item) -> int:
    return rlp.as_uint(item, 32)


def _hash(item: rlp.Item) -> Hash32:
    return Hash32(rlp.as_bytes(item, _HASH_BYTES))


def _signature(item: rlp.Item) -> bytes:
    return rlp.as_bytes(item, SIGNATURE_BYTES)


def _signatures(item: rlp.Item) -> tuple[bytes, ...]:
    return tuple(_signature(signature) for signature in _list(item, VALIDATORS_COUNT_MAX))
