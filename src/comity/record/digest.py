"""SHA-256 names records and blobs, Keccak-256 is the ledger's, HMAC-SHA-256 commits to private data.

Not signatures: see `keys`.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from tiny_keccak import keccak256 as _keccak256

from comity.record.errors import BadDigest
from comity.record.types import Digest, Hash32

DIGEST_BYTES = 32
SALT_BYTES_MIN = 16
_DIGEST = re.compile(r"[0-9a-f]{64}")


def sha256(data: bytes) -> Digest:
    """SHA-256 (FIPS 180-4) as 64 lower-case hexadecimal characters."""
    return Digest(hashlib.sha256(data).hexdigest())


def keccak256(data: bytes) -> Hash32:
    """Keccak-256 as Ethereum uses it (the submission's padding, not FIPS 202's)."""
    return Hash32(_keccak256(data))


def commitment(salt: bytes, data: bytes) -> Digest:
    """HMAC-SHA-256(salt, data) (RFC 2104): binding, and hiding while the salt (16 random bytes or more) is secret."""
    if len(salt) < SALT_BYTES_MIN:
        raise BadDigest("commitment salt is too short", why=f"{len(salt)} bytes, at least {SALT_BYTES_MIN}")
    return Digest(hmac.new(salt, data, hashlib.sha256).hexdigest())


def as_digest(text: str) -> Digest:
    """`text` as a digest; `BadDigest` unless it is 64 lower-case hexadecimal characters."""
    if not isinstance(text, str) or _DIGEST.fullmatch(text) is None:
        raise BadDigest("not a SHA-256 digest", why=f"{str(text)[:80]!r}", hint="give 64 lower-case hex characters")
    return Digest(text)


def to_hash32(digest: Digest) -> Hash32:
    """A digest's 32 bytes, its on-chain form."""
    return Hash32(bytes.fromhex(as_digest(digest)))


def from_hash32(hash32: bytes) -> Digest:
    """The digest that 32 bytes stand for."""
    if len(hash32) != DIGEST_BYTES:
        raise BadDigest("not a 32-byte hash", why=f"{len(hash32)} bytes")
    return Digest(bytes(hash32).hex())
