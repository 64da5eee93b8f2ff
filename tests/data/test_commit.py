"""The salted commitment: known value, binding, and useless without the salt."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from comity.data.commit import CHUNK_BYTES, commit, root
from comity.data.errors import DataError

SALT = b"s" * 32


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def test_one_chunk_by_hand() -> None:
    assert root(b"rows") == leaf(b"rows").hex()
    assert commit(SALT, b"rows") == hmac.new(SALT, leaf(b"rows"), hashlib.sha256).hexdigest()


def test_three_chunks_by_hand() -> None:
    data = bytes(range(256)) * 600
    parts = [leaf(data[i : i + CHUNK_BYTES]) for i in range(0, len(data), CHUNK_BYTES)]
    assert len(parts) == 3
    inner = hashlib.sha256(b"\x01" + parts[0] + parts[1]).digest()
    assert root(data) == hashlib.sha256(b"\x01" + inner + parts[2]).hexdigest()


def test_it_binds_every_byte_and_the_salt() -> None:
    data = bytes(CHUNK_BYTES + 1)
    changed = data[:-1] + b"\x01"
    seen = {
        commit(SALT, data),
        commit(SALT, changed),
        commit(SALT, data[:-1]),
        commit(b"t" * 32, data),
        commit(SALT, b""),
    }
    assert len(seen) == 5


@pytest.mark.parametrize("salt", [b"", b"s" * 31, b"s" * 33])
def test_the_salt_is_32_bytes(salt: bytes) -> None:
    with pytest.raises(DataError):
        commit(salt, b"x")
