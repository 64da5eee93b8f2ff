"""SHA-256 Merkle trees and inclusion proofs (RFC 9162 section 2.1): batches of prediction receipts, and dataset chunks.

Not the ledger's Patricia trie: see `ledger.trie`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from comity.record.digest import from_hash32, to_hash32
from comity.record.errors import BadDigest, BadProof
from comity.record.types import Digest

LEAVES_MAX = 1 << 24
PATH_NODES_MAX = 64


def root(leaves: Sequence[bytes]) -> Digest:
    """The tree head over `leaves`; SHA-256 of nothing for none."""
    level = _leaf_hashes(leaves)
    if not level:
        return Digest(hashlib.sha256().hexdigest())
    while len(level) > 1:
        level = _parents(level)
    return from_hash32(level[0])


def prove(leaves: Sequence[bytes], index: int) -> tuple[Digest, ...]:
    """The path from leaf `index` to the root, lowest sibling first; `BadProof` when there is no such leaf."""
    level = _leaf_hashes(leaves)
    if not 0 <= index < len(level):
        raise BadProof("no such leaf", why=f"{index} of {len(level)}")
    path = []
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(from_hash32(level[sibling]))
        level = _parents(level)
        index >>= 1
    return tuple(path)


def verify(root: Digest, leaf: bytes, index: int, size: int, path: Sequence[Digest]) -> bool:
    """Whether `leaf` is leaf `index` of the tree of `size` leaves under `root` (RFC 9162 section 2.1.3.2).

    A proof of any other form is false, never an error.
    """
    if not 0 <= index < size or len(path) > PATH_NODES_MAX:
        return False
    node = hashlib.sha256(b"\x00" + leaf).digest()
    last = size - 1
    for sibling_hex in path:
        try:
            sibling = to_hash32(sibling_hex)
        except BadDigest:
            return False
        if last == 0:
            return False
        if index & 1 or index == last:
            node = _parent(sibling, node)
            while not index & 1 and index:
                index >>= 1
                last >>= 1
        else:
            node = _parent(node, sibling)
        index >>= 1
        last >>= 1
    return last == 0 and node.hex() == root


def _leaf_hashes(leaves: Sequence[bytes]) -> list[bytes]:
    if len(leaves) > LEAVES_MAX:
        raise BadProof("too many leaves for one tree", why=f"{len(leaves)}, at most {LEAVES_MAX}")
    # The 0x00 and 0x01 prefixes keep an inner node from passing as a leaf.
    return [hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves]


def _parents(level: list[bytes]) -> list[bytes]:
    # Pairing from the left and promoting an odd last node gives the RFC's tree (split at the largest power of two).
    pairs = [_parent(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return pairs + level[-1:] if len(level) & 1 else pairs


def _parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
