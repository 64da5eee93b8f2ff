"""The salted commitment of a dataset: binds its owner to the bytes, and tells nobody what they are.

HMAC-SHA-256 under the salt over the Merkle root (RFC 9162) of 64 KiB chunks; without the salt even a guess at the whole
table cannot be confirmed. Erasing salt and bytes makes the commitment meaningless for good.
"""

from __future__ import annotations

from comity.data.errors import DataError
from comity.record import merkle
from comity.record.digest import commitment
from comity.record.types import Digest

SALT_BYTES = 32
CHUNK_BYTES = 64 * 1024
DATA_BYTES_MAX = 1 << 40


def commit(salt: bytes, data: bytes) -> Digest:
    """The commitment to `data` under a fresh `salt` of 32 random bytes."""
    if len(salt) != SALT_BYTES:
        raise DataError("a commitment takes a salt of 32 bytes", why=f"{len(salt)} given")
    return commitment(salt, bytes.fromhex(root(data)))


def root(data: bytes) -> Digest:
    """The Merkle root over the chunks. Empty data is one empty chunk."""
    if len(data) > DATA_BYTES_MAX:
        raise DataError("data is too large to commit to", why=f"{len(data)} bytes, at most {DATA_BYTES_MAX}")
    view = memoryview(data)
    chunks = [bytes(view[start : start + CHUNK_BYTES]) for start in range(0, max(1, len(data)), CHUNK_BYTES)]
    return merkle.root(chunks)
