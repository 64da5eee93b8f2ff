"""The commitment of a round: binds an organisation to its update before it can see another's (commit, then reveal).

The Studies contract computes the very same hash in `reveal`. Not the update's own digest: see `fixed`.
"""

from __future__ import annotations

import hashlib

from comity.learn.errors import LearnError
from comity.record.types import Address, Digest, Hash32

SALT_BYTES = 32
ADDRESS_BYTES = 20


def commitment(update: Digest, salt: bytes, org: Address) -> Hash32:
    """SHA-256(update digest ‖ salt ‖ organisation). The address keeps another from replaying the commitment."""
    if len(salt) != SALT_BYTES or len(org) != ADDRESS_BYTES:
        raise LearnError("a commitment takes a 32-byte salt and a 20-byte address")
    digest = bytes.fromhex(update)
    if len(digest) != hashlib.sha256().digest_size:
        raise LearnError("a commitment takes a SHA-256 digest")
    return Hash32(hashlib.sha256(digest + salt + bytes(org)).digest())
