"""Transactions: what signs, what decodes, and every reason for a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger import rlp, transaction
from comity.ledger.errors import InvalidTransaction
from comity.record.digest import keccak256
from comity.record.errors import BadSignature
from comity.record.keys import ORDER
from comity.record.types import Address
from support.accounts import CHAIN_ID, address, key, raw, signed

TO = address("receiver")


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("to", [TO, None])
def test_round_trip(kind: int, to: Address | None) -> None:
    accesses = () if kind == 0 else ((TO, (1, 2**255)), (address("other"), ()))
    fees = {"max_fee": 7, "max_priority_fee": 5} if kind == 2 else {"max_fee": 7}
    found = signed("alice", 3, to, kind=kind, gas=100_000, value=9, data=b"\0\1\2", access_list=accesses, **fees)
    assert found.sender == address("alice")
    assert (found.type, found.nonce, found.gas, found.to, found.value) == (kind, 3, 100_000, to, 9)
    assert (found.data, found.access_list, found.max_fee) == (b"\0\1\2", accesses, 7)
    assert found.max_priority_fee == (5 if kind == 2 else 7)
    assert found.hash == keccak256(found.raw)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_agrees_with_eth_account(kind: int) -> None:
    from eth_account import Account
    from eth_utils.address import to_checksum_address

    fields: dict[str, Any] = {
        "chainId": CHAIN_ID,
        "nonce": 5,
        "to": bytes(TO),
        "value": 1,
        "gas": 50_000,
        "data": b"ab",
    }
    if kind == 0:
        fields["gasPrice"] = 11
    elif kind == 1:
        fields |= {
            "type": 1,
            "gasPrice": 11,
            "accessList": [{"address": to_checksum_address(TO), "storageKeys": ["0x" + "01" * 32]}],
        }
    else:
        fields |= {"type": 2, "maxFeePerGas": 11, "maxPriorityFeePerGas": 2}
    theirs = Account.sign_transaction(fields, key("alice").to_bytes())
    found = transaction.decode(bytes(theirs.raw_transaction), chain_id=CHAIN_ID)
    assert found.hash == bytes(theirs.hash)
    assert found.sender == address("alice")
    accesses = ((TO, (int("01" * 32, 16),)),) if kind == 1 else ()
    ours = raw(
        "alice",
        5,
        TO,
        kind=kind,
        gas=50_000,
        value=1,
        data=b"ab",
        max_fee=11,
        access_list=accesses,
        **({"max_priority_fee": 2} if kind == 2 else {}),
    )
    assert ours == found.raw  # RFC 6979 signatures: byte for byte


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gas": transaction.TRANSACTION_GAS_MAX + 1}, "above the chain's cap"),
        ({"gas": 20_999}, "does not cover"),
        ({"gas": 21_000, "data": b"\1"}, "does not cover"),
        ({"nonce": 2**64 - 1}, "nonce is too high"),
        ({"max_priority_fee": 2, "max_fee": 1}, "above the fee cap"),
        ({"max_fee": 2**255}, "256 bits"),
        ({"to": None, "data": bytes(49_153), "gas": 1_000_000}, "EIP-3860"),
        ({"chain_id": 1}, "another chain"),
        ({"kind": 0, "chain_id": 1}, "another chain"),
    ],
)
def test_refused(change: dict[str, Any], reason: str) -> None:
    fields: dict[str, Any] = {"nonce": 0, "to": TO, **change}
    with pytest.raises(InvalidTransaction, match=reason):
        transaction.decode(raw("alice", fields.pop("nonce"), fields.pop("to"), **fields), chain_id=CHAIN_ID)


@pytest.mark.parametrize(
    ("first", "reason"),
    [(3, "blob"), (4, "set-code"), (5, "types 0, 1 and 2"), (0, "types"), (0x7F, "types"), (0xB8, "types")],
)
def test_other_types_are_refused_with_the_reason(first: int, reason: str) -> None:
    with pytest.raises(InvalidTransaction, match=reason):
        transaction.decode(bytes([first]) + raw("alice", 0, TO)[1:], chain_id=CHAIN_ID)


def test_too_many_bytes_are_refused_before_parsing() -> None:
    with pytest.raises(InvalidTransaction, match="too large"):
        transaction.decode(bytes(transaction.TRANSACTION_BYTES_MAX + 1), chain_id=CHAIN_ID)


def test_unprotected_legacy_needs_leave() -> None:
    body: list[rlp.Encodable] = [0, 0, 21_000, TO, 0, b""]
    signature = key("alice").sign(keccak256(rlp.encode(body)))
    data = rlp.encode(
        [*body, 27 + signature[64], int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")]
    )
    with pytest.raises(InvalidTransaction, match="EIP-155"):
        transaction.decode(data, chain_id=CHAIN_ID)
    assert transaction.decode(data, chain_id=CHAIN_ID, unprotected=True).sender == address("alice")


def _with(index: int, value: rlp.Item) -> bytes:
    items = rlp.as_list(rlp.decode(raw("alice", 0, TO)[1:]))
    return b"\x02" + rlp.encode([*items[:index], value, *items[index + 1 :]])


def test_high_s_is_refused() -> None:
    items = rlp.as_list(rlp.decode(raw("alice", 0, TO)[1:]))
    parity, s = rlp.as_uint(items[9]), rlp.as_uint(items[11], 256)
    twin = b"\x02" + rlp.encode([*items[:9], 1 - parity, items[10], ORDER - s])
    with pytest.raises(InvalidTransaction, match="half the order"):
        transaction.decode(twin, chain_id=CHAIN_ID)


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (5, bytes(19)),
        (5, []),
        (7, []),
        (1, b"\0"),
        (8, b"x"),
        (8, [[bytes(19), []]]),
        (8, [[bytes(20), [bytes(31)]]]),
        (8, [[bytes(20)]]),
        (9, b"\2"),
        (10, b""),
        (11, b""),
        (10, ORDER.to_bytes(32, "big")),
        (11, bytes(33)),
        (6, bytes(33)),
    ],
)
def test_malformed_fields_are_refused(index: int, value: rlp.Item) -> None:
    with pytest.raises(InvalidTransaction):
        transaction.decode(_with(index, value), chain_id=CHAIN_ID)


def test_number_of_fields() -> None:
    items = rlp.as_list(rlp.decode(raw("alice", 0, TO)[1:]))
    for wrong in ([*items, b""], items[:-1], []):
        with pytest.raises(InvalidTransaction):
            transaction.decode(b"\x02" + rlp.encode(wrong), chain_id=CHAIN_ID)
    for data in (b"", b"\x02", b"\xc0", b"\x02\x80"):
        with pytest.raises(InvalidTransaction):
            transaction.decode(data, chain_id=CHAIN_ID)


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidTransaction):
        transaction.decode(data, chain_id=CHAIN_ID)


@given(st.data(), st.sampled_from([0, 1, 2]))
def test_a_changed_byte_never_keeps_the_sender(data: st.DataObject, kind: int) -> None:
    good = raw("alice", 0, TO, kind=kind, data=b"payload")
    index = data.draw(st.integers(0, len(good) - 1))
    bad = good[:index] + bytes([good[index] ^ data.draw(st.integers(1, 255))]) + good[index + 1 :]
    try:
        found = transaction.decode(bad, chain_id=CHAIN_ID)
    except InvalidTransaction:
        return
    assert found.sender != address("alice")


def test_assemble_wants_a_signature() -> None:
    payload = transaction.signing_payload(chain_id=1, nonce=0, to=TO, gas=21_000)
    with pytest.raises(BadSignature):
        transaction.assemble(payload, bytes(64))
    with pytest.raises(InvalidTransaction):
        transaction.signing_payload(chain_id=1, nonce=0, to=TO, gas=21_000, kind=3)


def test_intrinsic_gas() -> None:
    assert transaction.intrinsic_gas(TO, b"\0\0\1") == 21_000 + 4 + 4 + 16
    assert transaction.intrinsic_gas(None, b"\1" * 33) == 53_000 + 33 * 16 + 2 * 2
    assert transaction.intrinsic_gas(TO, b"", ((TO, (1, 2)), (TO, ()))) == 21_000 + 2 * 2_400 + 2 * 1_900
