"""Published vectors of the hash functions, and strict digests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.record.digest import as_digest, commitment, from_hash32, keccak256, sha256, to_hash32
from comity.record.errors import BadDigest
from comity.record.types import Digest, short


def test_published_vectors() -> None:
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    # RFC 4231, test case 1
    expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    assert commitment(b"\x0b" * 20, b"Hi There") == expected


@given(st.binary(min_size=32, max_size=32))
def test_hash32_round_trip(data: bytes) -> None:
    assert to_hash32(from_hash32(data)) == data


@pytest.mark.parametrize(
    "text", ["", "ab" * 31, "AB" * 32, "ab" * 32 + "\n", "0x" + "ab" * 31, "g" * 64, "ab " * 21 + "a"]
)
def test_other_text_is_no_digest(text: str) -> None:
    with pytest.raises(BadDigest):
        as_digest(text)
    with pytest.raises(BadDigest):
        to_hash32(Digest(text))


def test_lengths_are_checked() -> None:
    with pytest.raises(BadDigest):
        from_hash32(bytes(31))
    with pytest.raises(BadDigest):
        commitment(bytes(15), b"")


def test_short_is_twelve_characters() -> None:
    assert short(sha256(b"")) == "e3b0c44298fc"
