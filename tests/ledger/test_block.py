"""Blocks, receipts, blooms and seals as bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger import block as blocks
from comity.ledger import rlp
from comity.ledger.errors import MalformedRlp
from comity.ledger.types import Block, Header, Log, Receipt, SealedBlock, Seals, ValidatorSet
from comity.record.digest import keccak256
from comity.record.types import Address, Hash32, Height

RLP = st.recursive(st.binary(max_size=66), lambda inner: st.lists(inner, max_size=4), max_leaves=8)
HASHES = st.binary(min_size=32, max_size=32).map(Hash32)
ADDRESSES = st.binary(min_size=20, max_size=20).map(Address)
NUMBERS = st.integers(0, 2**64 - 1)
LOGS = st.builds(Log, ADDRESSES, st.lists(HASHES, max_size=4).map(tuple), st.binary(max_size=40))
HEADERS = st.builds(
    Header,
    HASHES,
    ADDRESSES,
    HASHES,
    HASHES,
    HASHES,
    st.binary(min_size=256, max_size=256),
    NUMBERS.map(Height),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    HASHES,
    HASHES,
)
BLOCKS = st.builds(Block, HEADERS, st.lists(st.binary(max_size=30), max_size=4).map(tuple))
SEALED = st.builds(
    SealedBlock,
    BLOCKS,
    st.builds(Seals, st.integers(0, 2**32 - 1), st.lists(st.binary(min_size=65, max_size=65), max_size=4).map(tuple)),
)


@given(SEALED)
def test_round_trip(sealed: SealedBlock) -> None:
    assert blocks.decode_sealed(blocks.encode_sealed(sealed)) == sealed
    assert blocks.decode_block(blocks.encode_block(sealed.block)) == sealed.block
    assert blocks.decode_header(blocks.encode_header(sealed.block.header)) == sealed.block.header


@given(HEADERS, st.sampled_from([1, 7, 14, 15, 16, 17, 18, 19]))
def test_constant_fields_must_be_constant(header: Header, index: int) -> None:
    fields = rlp.as_list(rlp.decode(blocks.encode_header(header)))
    old = rlp.as_bytes(fields[index])
    fields[index] = bytes([old[0] ^ 1]) + old[1:] if old else b"\1"
    with pytest.raises(MalformedRlp):
        blocks.decode_header(rlp.encode(fields))


def test_hash_is_ethereum_s() -> None:
    """The header of a block with all-constant fields, hashed by go-ethereum's rules: keccak of 20 RLP fields."""
    header = Header(
        Hash32(b"\1" * 32),
        Address(b"\2" * 20),
        Hash32(b"\3" * 32),
        Hash32(b"\4" * 32),
        Hash32(b"\5" * 32),
        blocks.NO_BLOOM,
        Height(1),
        30_000_000,
        21_000,
        1_000,
        Hash32(b"\6" * 32),
    )
    encoded = blocks.encode_header(header)
    assert len(rlp.as_list(rlp.decode(encoded))) == 20
    assert blocks.header_hash(header) == keccak256(encoded)
    uncles = rlp.as_list(rlp.decode(encoded))[1]
    assert rlp.as_bytes(uncles).hex() == "1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"


CODECS: list[tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = [
    (blocks.decode_block, blocks.encode_block),
    (blocks.decode_sealed, blocks.encode_sealed),
    (blocks.decode_seals, blocks.encode_seals),
    (blocks.decode_header, blocks.encode_header),
    (blocks.decode_receipt, blocks.encode_receipt),
]


@pytest.mark.parametrize(("decode", "encode"), CODECS)
@given(data=st.data())
def test_noise(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes], data: st.DataObject) -> None:
    """Any bytes, and any well-formed RLP: refused, or exactly what encoding gives."""
    noise = data.draw(st.one_of(st.binary(max_size=300), RLP.map(rlp.encode)))
    try:
        found = decode(noise)
    except MalformedRlp:
        return
    assert encode(found) == noise


@given(st.sampled_from([0, 1, 2]), st.booleans(), NUMBERS, st.lists(LOGS, max_size=4).map(tuple))
def test_receipts(kind: int, succeeded: bool, gas: int, logs: tuple[Log, ...]) -> None:
    receipt = Receipt(kind, succeeded, gas, blocks.bloom_of(logs), logs)
    encoded = blocks.encode_receipt(receipt)
    assert blocks.decode_receipt(encoded) == receipt
    for wrong in (encoded[:-1], encoded + b"\0", b"\3" + encoded.lstrip(b"\1\2")):
        with pytest.raises(MalformedRlp):
            blocks.decode_receipt(wrong)


def test_receipt_status_is_0_or_1() -> None:
    data = rlp.encode([2, 5, blocks.NO_BLOOM, []])
    with pytest.raises(MalformedRlp):
        blocks.decode_receipt(data)


@given(st.lists(LOGS, max_size=4), ADDRESSES)
def test_bloom(logs: list[Log], absent: Address) -> None:
    bloom = blocks.bloom_of(logs)
    assert bloom == blocks.join_blooms(blocks.bloom_of([log]) for log in logs)
    for log in logs:
        assert blocks.bloom_may_hold(bloom, log.address)
        assert all(blocks.bloom_may_hold(bloom, topic) for topic in log.topics)
    assert not blocks.bloom_may_hold(blocks.NO_BLOOM, absent)


def test_bloom_of_a_known_address() -> None:
    """Bits 0x7ff & each of the first three pairs of keccak(address): computed here another way."""
    hashed = keccak256(b"\x0f" * 20)
    bits = {((hashed[i] << 8) | hashed[i + 1]) % 2048 for i in (0, 2, 4)}
    bloom = blocks.bloom_of([Log(Address(b"\x0f" * 20), (), b"")])
    assert {n for n in range(2048) if bloom[255 - n // 8] >> (n % 8) & 1} == bits


def test_seal_hash_binds_everything() -> None:
    base = (1, 2, 3, Hash32(b"\4" * 32))
    others = [(9, 2, 3, base[3]), (1, 9, 3, base[3]), (1, 2, 9, base[3]), (1, 2, 3, Hash32(b"\5" * 32))]
    assert len({blocks.seal_hash(*args) for args in (base, *others)}) == 5
    assert blocks.seal_hash(*base) == keccak256(b"comity-seal-v1" + rlp.encode([1, 2, 3, b"\4" * 32]))


def test_validators_hash() -> None:
    a, b = Address(b"\1" * 20), Address(b"\2" * 20)
    assert blocks.validators_hash(ValidatorSet((a, b))) == keccak256(rlp.encode([[a, 1], [b, 1]]))
    assert blocks.validators_hash(ValidatorSet((a, b), (1, 2))) != blocks.validators_hash(ValidatorSet((a, b)))
