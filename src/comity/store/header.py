"""The header of a blob's file: version, plaintext length, and the blob's data key wrapped under the node's key.

The wrap authenticates digest and length, so that a header moved to another blob, or edited, does not open.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from comity.record.digest import to_hash32
from comity.record.types import Digest
from comity.store.errors import CorruptStore

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
MAGIC = b"CBL1"
_LAYOUT = struct.Struct(f">4sQ{NONCE_BYTES}s{KEY_BYTES + TAG_BYTES}s")
HEADER_BYTES = _LAYOUT.size
"""72: magic 4, plaintext length 8, nonce 12, wrapped key 48."""
WRAP_OFFSET = 12
"""Where nonce and wrapped key begin: what `delete` overwrites."""


@dataclass(frozen=True, slots=True)
class Header:
    """What opens a blob."""

    length: int
    data_key: bytes

    def seal(self, digest: Digest, node_key: bytes, nonce: bytes) -> bytes:
        """The header's bytes. `nonce` is 12 fresh random bytes (NIST SP 800-38D section 8.2.2: safe for 2^32 wraps under a key)."""
        wrapped = AESGCM(node_key).encrypt(nonce, self.data_key, _bound(digest, self.length))
        return _LAYOUT.pack(MAGIC, self.length, nonce, wrapped)


def open_header(data: bytes, digest: Digest, node_key: bytes) -> Header:
    """The header that `seal` made for this digest under this key; `CorruptStore` for any other bytes."""
    if len(data) != HEADER_BYTES:
        raise CorruptStore(
            f"blob {digest[:12]} is damaged", why=f"its header has {len(data)} bytes, not {HEADER_BYTES}"
        )
    magic, length, nonce, wrapped = _LAYOUT.unpack(data)
    if magic != MAGIC:
        raise CorruptStore(f"blob {digest[:12]} is damaged", why="its file does not begin as a blob of version 1")
    try:
        data_key = AESGCM(node_key).decrypt(nonce, wrapped, _bound(digest, length))
    except InvalidTag:
        why = "its key does not open: it was shredded or altered, or the node's key is another"
        raise CorruptStore(
            f"blob {digest[:12]} cannot be decrypted", why=why, hint="fetch it from another member"
        ) from None
    return Header(length, data_key)


def _bound(digest: Digest, length: int) -> bytes:
    return MAGIC + to_hash32(digest) + length.to_bytes(8, "big")
