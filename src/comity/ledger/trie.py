"""The Merkle-Patricia trie (Yellow Paper, appendix D) in memory: changed in place, every unchanged node's hash kept.

Not the state: `state` hashes keys and encodes accounts. Keys are raw bytes here; an empty value means absence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from comity.ledger import rlp
from comity.ledger.errors import InvalidProof, MalformedRlp
from comity.record.digest import keccak256
from comity.record.types import Hash32

EMPTY_ROOT: Hash32 = keccak256(b"\x80")
PROOF_NODES_MAX = 80
PROOF_NODE_BYTES_MAX = 1 << 20
"""A leaf holds its value, and a block's transaction may be that long."""
_NIBBLES = bytes.maketrans(b"0123456789abcdef", bytes(range(16)))
_HASH_BYTES = 32
_BRANCH_ITEMS = 17
_NIBBLE = [bytes([n]) for n in range(16)]


class _Leaf:
    __slots__ = ("path", "ref", "value")

    def __init__(self, path: bytes, value: bytes) -> None:
        self.path = path
        self.value = value
        self.ref: bytes | None = None


class _Extension:
    __slots__ = ("child", "path", "ref")

    def __init__(self, path: bytes, child: _Node) -> None:
        self.path = path
        self.child = child
        self.ref: bytes | None = None


class _Branch:
    __slots__ = ("children", "ref", "value")

    def __init__(self) -> None:
        self.children: list[_Node | None] = [None] * 16
        self.value = b""
        self.ref: bytes | None = None


_Node: TypeAlias = "_Leaf | _Extension | _Branch"


class Trie:
    """A map from byte strings to non-empty byte strings with a root hash. `set`, `delete`, `get`: O(depth)."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node | None = None

    def set(self, key: bytes, value: bytes) -> None:
        """Put `value` under `key`; an empty value deletes."""
        if not value:
            self.delete(key)
            return
        self._root = _set(self._root, _nibbles(key), 0, value)

    def delete(self, key: bytes) -> None:
        """Take `key` away if it is there."""
        if self._root is not None:
            self._root = _delete(self._root, _nibbles(key), 0)

    def get(self, key: bytes) -> bytes:
        """The value under `key`; empty if there is none."""
        path = _nibbles(key)
        node = self._root
        at = 0
        while node is not None:
            if isinstance(node, _Branch):
                if at == len(path):
                    return node.value
                node = node.children[path[at]]
                at += 1
            elif isinstance(node, _Leaf):
                return node.value if node.path == path[at:] else b""
            elif path.startswith(node.path, at):
                at += len(node.path)
                node = node.child
            else:
                return b""
        return b""

    def root(self) -> Hash32:
        """The root hash. Only nodes on paths that changed since the last call are hashed."""
        if self._root is None:
            return EMPTY_ROOT
        ref = _ref(self._root)
        return Hash32(ref[1:]) if len(ref) > _HASH_BYTES else keccak256(ref)

    def prove(self, key: bytes) -> list[bytes]:
        """The nodes from the root towards `key`, as eth_getProof gives them: proof of its value, or of its absence."""
        path = _nibbles(key)
        node = self._root
        nodes: list[bytes] = []
        at = 0
        while node is not None:
            encoded = _encode(node)
            if not nodes or len(encoded) >= _HASH_BYTES:  # a shorter node stands inside its parent
                nodes.append(encoded)
            if isinstance(node, _Branch) and at < len(path):
                node = node.children[path[at]]
                at += 1
            elif isinstance(node, _Extension) and path.startswith(node.path, at):
                at += len(node.path)
                node = node.child
            else:
                break
        return nodes


def _nibbles(key: bytes) -> bytes:
    return key.hex().encode("ascii").translate(_NIBBLES)


def _set(node: _Node | None, path: bytes, at: int, value: bytes) -> _Node:
    if node is None:
        return _Leaf(path[at:], value)
    node.ref = None
    if isinstance(node, _Branch):
        if at == len(path):
            node.value = value
        else:
            index = path[at]
            node.children[index] = _set(node.children[index], path, at + 1, value)
        return node
    if isinstance(node, _Leaf):
        if node.path == path[at:]:
            node.value = value
            return node
    elif path.startswith(node.path, at):
        node.child = _set(node.child, path, at + len(node.path), value)
        return node
    return _fork(node, path[at:], value)


def _fork(node: _Leaf | _Extension, rest: bytes, value: bytes) -> _Node:
    """A branch where the path of `node` and `rest` part, below an extension of what they share."""
    old = node.path
    shared = 0
    while shared < len(old) and shared < len(rest) and old[shared] == rest[shared]:
        shared += 1
    branch = _Branch()
    if isinstance(node, _Leaf):
        if len(old) == shared:
            branch.value = node.value
        else:
            branch.children[old[shared]] = _Leaf(old[shared + 1 :], node.value)
    else:
        below = old[shared + 1 :]
        branch.children[old[shared]] = _Extension(below, node.child) if below else node.child
    if len(rest) == shared:
        branch.value = value
    else:
        branch.children[rest[shared]] = _Leaf(rest[shared + 1 :], value)
    return _Extension(rest[:shared], branch) if shared else branch


def _delete(node: _Node, path: bytes, at: int) -> _Node | None:
    if isinstance(node, _Leaf):
        return None if node.path == path[at:] else node
    if isinstance(node, _Extension):
        if not path.startswith(node.path, at):
            return node
        child = _delete(node.child, path, at + len(node.path))
        return None if child is None else _prefix(node.path, child)
    node.ref = None
    if at == len(path):
        node.value = b""
    else:
        child = node.children[path[at]]
        if child is not None:
            node.children[path[at]] = _delete(child, path, at + 1)
    return _collapse(node)


def _collapse(node: _Branch) -> _Node | None:
    """A branch with one way out is no branch."""
    left = [index for index, child in enumerate(node.children) if child is not None]
    if node.value:
        return node if left else _Leaf(b"", node.value)
    if len(left) != 1:
        return node if left else None
    child = node.children[left[0]]
    return None if child is None else _prefix(_NIBBLE[left[0]], child)


def _prefix(path: bytes, child: _Node) -> _Node:
    """`child` reached over `path` first."""
    if isinstance(child, _Leaf):
        return _Leaf(path + child.path, child.value)
    if isinstance(child, _Extension):
        return _Extension(path + child.path, child.child)
    return _Extension(path, child)


# ── Hashing ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _ref(node: _Node) -> bytes:
    """How a parent names the node: its encoding if shorter than 32 bytes, else the RLP of its hash."""
    if node.ref is None:
        encoded = _encode(node)
        node.ref = encoded if len(encoded) < _HASH_BYTES else b"\xa0" + keccak256(encoded)
    return node.ref


def _encode(node: _Node) -> bytes:
    if isinstance(node, _Branch):
        refs = [b"\x80" if child is None else (child.ref or _ref(child)) for child in node.children]
        return rlp.wrap(b"".join(refs) + rlp.encode_bytes(node.value))
    if isinstance(node, _Leaf):
        return rlp.wrap(rlp.encode_bytes(_compact(node.path, 0x20)) + rlp.encode_bytes(node.value))
    return rlp.wrap(rlp.encode_bytes(_compact(node.path, 0)) + _ref(node.child))


def _compact(path: bytes, flag: int) -> bytes:
    """Hex-prefix encoding (Yellow Paper, appendix C)."""
    if len(path) % 2:
        return bytes.fromhex(f"{flag >> 4 | 1:x}" + "".join([f"{n:x}" for n in path]))
    return bytes([flag]) + bytes.fromhex("".join([f"{n:x}" for n in path]))


def ordered_root(values: Sequence[bytes]) -> Hash32:
    """The root of the trie rlp(index) → value: transactions and receipts."""
    return _ordered(values).root()


def ordered_proof(values: Sequence[bytes], index: int) -> list[bytes]:
    """The proof of the value at `index` in `ordered_root`."""
    return _ordered(values).prove(rlp.encode_uint(index))


def _ordered(values: Sequence[bytes]) -> Trie:
    trie = Trie()
    for index, value in enumerate(values):
        trie.set(rlp.encode_uint(index), value)
    return trie


# ── Verifying ────────────────────────────────────────────────────────────────────────────────────────────────────────
def verify_proof(root: Hash32, key: bytes, nodes: Sequence[bytes]) -> bytes | None:
    """The value that `nodes` prove to be under `key` in the trie of `root`; None when they prove that there is none.

    Raises `InvalidProof` when they prove neither, or hold a node that is not needed.
    """
    if len(nodes) > PROOF_NODES_MAX or any(len(node) > PROOF_NODE_BYTES_MAX for node in nodes):
        raise InvalidProof("proof is too large")
    if root == EMPTY_ROOT and not nodes:
        return None
    path = _nibbles(key)
    remaining = list(reversed(nodes))
    item: rlp.Item = root
    try:
        while True:
            if isinstance(item, bytes):
                if not item:
                    return _settled(None, remaining)
                item = _named(item, remaining)
            step = _walk(rlp.as_list(item), path)
            if step is None:
                return _settled(None, remaining)
            item, path, is_value = step
            if is_value:
                return _settled(rlp.as_bytes(item) or None, remaining)
    except MalformedRlp as error:
        raise InvalidProof("a proof's node is malformed", why=str(error)) from None


def _named(name: bytes, remaining: list[bytes]) -> rlp.Item:
    if not remaining:
        raise InvalidProof("proof ends before the key")
    node = remaining.pop()
    if len(name) != _HASH_BYTES or keccak256(node) != name:
        raise InvalidProof("a proof's node is not the one its parent names")
    return rlp.decode(node, bytes_max=PROOF_NODE_BYTES_MAX)


def _walk(node: list[rlp.Item], path: bytes) -> tuple[rlp.Item, bytes, bool] | None:
    """One step down: (item, rest of the path, item is the value), or None where the path leaves the trie."""
    if len(node) == _BRANCH_ITEMS:
        return (node[path[0]], path[1:], False) if path else (node[16], b"", True)
    prefix = _nibbles(rlp.as_bytes(rlp.as_list(node, 2)[0]))
    if not prefix or prefix[0] > 3 or (prefix[0] in (0, 2) and prefix[1] != 0):
        raise InvalidProof("a proof's node has a malformed path")
    part = prefix[1:] if prefix[0] & 1 else prefix[2:]
    if prefix[0] & 2:
        return (node[1], b"", True) if part == path else None
    return (node[1], path[len(part) :], False) if path.startswith(part) else None


def _settled(value: bytes | None, remaining: list[bytes]) -> bytes | None:
    if remaining:
        raise InvalidProof("proof holds nodes that are not needed")
    return value
