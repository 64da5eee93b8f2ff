"""Keys against published vectors; every malleable or malformed signature is refused."""

from __future__ import annotations

import contextlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.record.digest import sha256
from comity.record.errors import BadKey, BadSignature, ComityError
from comity.record.keys import ORDER, PrivateKey, address_of, from_hex, hash32, recover, to_hex
from comity.record.types import Address

KEY = PrivateKey.from_seed("test")
HASH = hash32(b"message")


def _twin(signature: bytes) -> bytes:
    """The other signature that ECDSA accepts for the same message."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([signature[64] ^ 1])


def test_address_of_private_key_one() -> None:
    key = PrivateKey.from_bytes((1).to_bytes(32, "big"))
    assert to_hex(key.address) == "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf"
    compressed = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
    assert address_of(compressed) == key.address == address_of(key.public_key)


def test_signature_of_the_eth_account_documentation() -> None:
    key = PrivateKey.from_bytes(bytes.fromhex("b25c7db31feed9122727bf0939dc769a96564b2de4c4726d035b36ecf1e5b364"))
    message = bytes.fromhex("1476abb745d423bf09273f1afd887d951181d25adc66c4834a70491911b7f750")
    assert to_hex(key.address) == "0x5ce9454909639d2d17a3f753ce7d93fa0b9ab12e"
    assert key.sign(message).hex() == (
        "e6ca9bba58c88611fad66a6ce8f996908195593807c4b38bd528d2cff09d4eb3"
        "3e5bfbbf4d3e39b1a2fd816a7680c19ebebaf3a141b239934ad43cb33fcec8ce"
        "01"
    )


@given(st.integers(1, ORDER - 1), st.binary(min_size=32, max_size=32))
def test_sign_and_recover(secret: int, message: bytes) -> None:
    key = PrivateKey.from_bytes(secret.to_bytes(32, "big"))
    signature = key.sign(message)
    assert recover(message, signature) == key.address
    assert key.sign(message) == signature
    with pytest.raises(BadSignature, match="half the order"):
        recover(message, _twin(signature))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        bytes(65),
        KEY.sign(HASH)[:64],
        KEY.sign(HASH) + b"\0",
        KEY.sign(HASH)[:64] + bytes([2]),
        KEY.sign(HASH)[:64] + bytes([27]),
        b"\xff" * 32 + KEY.sign(HASH)[32:],
        KEY.sign(HASH)[:32] + bytes(32) + b"\0",
        ORDER.to_bytes(32, "big") + KEY.sign(HASH)[32:],
    ],
)
def test_malformed_signatures(signature: bytes) -> None:
    with pytest.raises(BadSignature):
        recover(HASH, signature)


@given(st.binary(max_size=70), st.binary(max_size=40))
def test_any_bytes_recover_or_are_refused(signature: bytes, message: bytes) -> None:
    with contextlib.suppress(BadSignature):
        assert len(recover(message, signature)) == 20


@given(st.binary(max_size=70))
def test_any_bytes_are_a_public_key_or_refused(data: bytes) -> None:
    with contextlib.suppress(ComityError):
        assert len(address_of(data)) == 20


@pytest.mark.parametrize("secret", [b"", bytes(32), bytes(31), ORDER.to_bytes(32, "big"), b"\xff" * 32])
def test_bad_secrets(secret: bytes) -> None:
    with pytest.raises(BadKey):
        PrivateKey.from_bytes(secret)


def test_generate_skips_what_is_no_key_and_refuses_short_entropy() -> None:
    draws = iter([bytes(32), b"\xff" * 32, b"\x01" * 32])
    assert PrivateKey.generate(lambda size: next(draws)).to_bytes() == b"\x01" * 32
    with pytest.raises(BadKey):
        PrivateKey.generate(lambda size: b"short")


def test_a_key_never_shows_itself() -> None:
    assert KEY.to_bytes().hex() not in repr(KEY) + str(KEY)
    with pytest.raises(BadKey):
        pickle.dumps(KEY)


def test_dev_seeds_are_apart_from_plain_hashes() -> None:
    assert KEY.address == PrivateKey.from_seed("test").address != PrivateKey.from_seed("other").address
    assert KEY.to_bytes() != bytes.fromhex(sha256(b"test"))


def test_only_hashes_are_signed() -> None:
    with pytest.raises(BadSignature):
        KEY.sign(b"a message that is not a hash")


@given(st.binary(min_size=20, max_size=20))
def test_address_text_round_trip(data: bytes) -> None:
    assert from_hex(to_hex(Address(data))) == data


@pytest.mark.parametrize(
    "text", ["", "0x", "ab" * 20, "0x" + "AB" * 20, "0x" + "ab" * 19, "0x" + "zz" * 20, "1x" + "ab" * 20]
)
def test_other_text_is_no_address(text: str) -> None:
    with pytest.raises(BadKey):
        from_hex(text)
