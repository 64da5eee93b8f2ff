"""Consensus and sync messages: every one survives its codec, and nothing else is taken for one."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger import messages, rlp
from comity.ledger.messages import (
    TRANSACTIONS_BYTES_MAX,
    TRANSACTIONS_COUNT_MAX,
    Ballot,
    Blocks,
    Certificate,
    GetBlocks,
    Kind,
    MalformedMessage,
    Message,
    Status,
    Transactions,
    Vote,
)
from comity.ledger.types import Block
from comity.record.types import Hash32
from support.consensus import KEYS, ballot, block, digest, prepares, proposal, round_change, sealed

BLOCK = block(KEYS[1])
EXAMPLES: list[Message] = [
    proposal(0, BLOCK),
    proposal(2, BLOCK, [round_change(key, 2, 0, BLOCK) for key in KEYS[:3]], prepares(0, BLOCK)),
    ballot(KEYS[0], Kind.PREPARE, 0, BLOCK),
    ballot(KEYS[0], Kind.COMMIT, 3, BLOCK),
    round_change(KEYS[0], 1),
    round_change(KEYS[0], 4, 2, BLOCK),
    Transactions((b"\x02abc", b"\xc0")),
    GetBlocks(1, 64),
    Blocks((sealed(BLOCK),)),
    Blocks(()),
    Status(digest(BLOCK), 7, digest(BLOCK)),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_what_is_encoded_is_decoded(message: Message) -> None:
    assert messages.decode(messages.encode(message)) == message


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_every_flipped_byte_is_refused_or_another_message(message: Message) -> None:
    data = messages.encode(message)
    for index in range(0, len(data), 1 + len(data) // 150):
        broken = data[:index] + bytes([data[index] ^ 0x41]) + data[index + 1 :]
        try:
            assert messages.encode(messages.decode(broken)) == broken
        except MalformedMessage:
            continue


@given(st.binary(max_size=300))
def test_noise_is_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        assert messages.encode(messages.decode(data)) == data


Nested = st.recursive(st.binary(max_size=70), lambda inner: st.lists(inner, max_size=8), max_leaves=24)


@given(st.integers(0, 9), st.lists(Nested, max_size=8))
def test_well_formed_rlp_of_the_wrong_shape_is_refused(code: int, rest: list[rlp.Item]) -> None:
    data = rlp.encode([code, *rest])
    with contextlib.suppress(MalformedMessage):
        assert messages.encode(messages.decode(data)) == data


def refused(fields: list[rlp.Encodable]) -> str:
    with pytest.raises(MalformedMessage) as caught:
        messages.decode(rlp.encode(fields))
    return str(caught.value)


def test_limits() -> None:
    hash32, signature = bytes(range(32)), bytes(65)
    assert "asks for nothing" in refused([6, 1, 65])
    assert "asks for nothing" in refused([6, 0, 1])
    assert "too long" in refused([5, [b"x"] * (TRANSACTIONS_COUNT_MAX + 1)])
    assert "too large" in refused([5, [bytes(1 << 20)] * (TRANSACTIONS_BYTES_MAX // (1 << 20)) + [b"x"]])
    assert "empty" in refused([5, []])
    assert "too long" in refused([7, [b"x"] * 65])
    assert "too large" in refused([2, 1, 2**32, hash32, signature])
    assert "unknown" in refused([9, b""])
    assert "unknown" in refused([])


def test_a_round_change_that_contradicts_itself_is_refused() -> None:
    hash32, zero, signature = bytes(range(32)), bytes(32), bytes(65)
    for round_, prepared, named in ((1, 0, hash32), (1, 1, zero), (1, 2, hash32), (2, 4, hash32), (0, 0, zero)):
        assert "contradicts" in refused([4, 1, round_, prepared, named, signature, b"", []])
    assert "does not name" in refused([4, 1, 1, 0, zero, signature, b"", [signature]])
    other = messages.encode(round_change(KEYS[0], 4, 2, BLOCK))
    items = rlp.as_list(rlp.decode(other))
    assert "another block" in refused([4, *items[1:4], hash32, *items[5:]])


def test_a_body_under_a_foreign_header_is_refused() -> None:
    """Its hash would be the honest block's: judged invalid, it would shut that one out."""
    fake = Block(BLOCK.header, (b"\xc0",))
    for message in (proposal(0, fake), round_change(KEYS[0], 4, 2, fake), Blocks((sealed(fake),))):
        with pytest.raises(MalformedMessage, match="not those of its header"):
            messages.decode(messages.encode(message))


def test_votes_of_every_kind_sign_different_bytes() -> None:
    hash32 = Hash32(bytes(range(32)))
    votes = [Vote(kind, 1, 2, hash32) for kind in Kind] + [Vote(Kind.ROUND_CHANGE, 1, 2, hash32, 1)]
    hashes = {vote.signing_hash(chain) for vote in votes for chain in (1, 2)}
    assert len(hashes) == 2 * len(votes)


def test_a_certificate_survives_its_encoding() -> None:
    certificate = Certificate(1, 3, BLOCK, digest(BLOCK), prepares(3, BLOCK))
    again = Certificate.decode(certificate.encode())
    assert again == certificate
    assert again.digest == digest(BLOCK)
    for broken in (b"", b"\xc0", certificate.encode()[:-1], rlp.encode([1, 2, b"x", []])):
        with pytest.raises(MalformedMessage):
            Certificate.decode(broken)


def test_transactions_are_split_within_the_limits() -> None:
    assert messages.split([]) == []
    parts = messages.split([b"x"] * (TRANSACTIONS_COUNT_MAX + 1))
    assert [len(part.raw) for part in parts] == [TRANSACTIONS_COUNT_MAX, 1]
    big = messages.split([bytes(1 << 20)] * 5)
    assert [len(part.raw) for part in big] == [4, 1]


def test_ballot_of_finds_the_vote() -> None:
    for message in EXAMPLES[:6]:
        assert isinstance(message, messages.Proposal | Ballot | messages.RoundChange)
        assert messages.ballot_of(message).vote.height == 1
