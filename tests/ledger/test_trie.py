"""The trie: incremental equals from scratch, and proofs prove exactly what is there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger import rlp, trie
from comity.ledger.errors import InvalidProof
from comity.ledger.trie import EMPTY_ROOT, Trie, verify_proof
from comity.record.types import Hash32

KEYS = st.one_of(st.binary(min_size=1, max_size=3), st.sampled_from([b"\0" * 8, b"\0" * 7 + b"\1", b"\x11" * 8]))
STEPS = st.lists(
    st.tuples(KEYS, st.one_of(st.just(b""), st.binary(min_size=1, max_size=40)), st.booleans()), max_size=40
)


def _fresh(values: dict[bytes, bytes]) -> Trie:
    made = Trie()
    for key, value in sorted(values.items(), reverse=True):
        made.set(key, value)
    return made


@given(STEPS)
def test_incremental_equals_from_scratch(steps: list[tuple[bytes, bytes, bool]]) -> None:
    grown, values = Trie(), dict[bytes, bytes]()
    for key, value, hashed in steps:
        grown.set(key, value)
        values[key] = value
        if hashed:  # cached hashes of unchanged nodes must stay right
            assert grown.root() == _fresh({k: v for k, v in values.items() if v}).root()
    kept = {k: v for k, v in values.items() if v}
    assert grown.root() == _fresh(kept).root()
    for key, value in values.items():
        assert grown.get(key) == value
    for key in values:
        grown.delete(key)
    assert grown.root() == EMPTY_ROOT


@given(STEPS, KEYS)
def test_proofs(steps: list[tuple[bytes, bytes, bool]], other: bytes) -> None:
    grown, values = Trie(), dict[bytes, bytes]()
    for key, value, _ in steps:
        grown.set(key, value)
        values[key] = value
    root = grown.root()
    for key in [*values, other]:
        nodes = grown.prove(key)
        assert verify_proof(root, key, nodes) == (values.get(key) or None)
        if nodes:
            for wrong in (nodes[:-1], [*nodes, nodes[-1]], [nodes[0][:-1] + bytes([nodes[0][-1] ^ 1]), *nodes[1:]]):
                with pytest.raises(InvalidProof):
                    verify_proof(root, key, wrong)


@given(st.lists(st.binary(max_size=64), max_size=6), st.binary(max_size=4))
def test_noise_proves_nothing(nodes: list[bytes], key: bytes) -> None:
    with pytest.raises(InvalidProof):
        verify_proof(Hash32(b"\x07" * 32), key, nodes)


def test_a_node_whose_value_is_a_list_proves_nothing() -> None:
    from comity.record.digest import keccak256

    node = rlp.encode([bytes([0x20]), [b"nested"]])
    with pytest.raises(InvalidProof):
        verify_proof(keccak256(node), b"", [node])


def test_limits() -> None:
    with pytest.raises(InvalidProof, match="too large"):
        verify_proof(EMPTY_ROOT, b"", [b""] * (trie.PROOF_NODES_MAX + 1))
    assert verify_proof(EMPTY_ROOT, b"k", []) is None
    assert Trie().prove(b"k") == []


@pytest.mark.parametrize("count", [0, 1, 2, 127, 128, 129, 300])
def test_ordered(count: int) -> None:
    values = [b"value %d" % n for n in range(count)]
    root = trie.ordered_root(values)
    for index in {0, count // 2, count - 1} & set(range(count)):
        proof = trie.ordered_proof(values, index)
        assert verify_proof(root, rlp.encode_uint(index), proof) == values[index]
    assert verify_proof(root, rlp.encode_uint(count), trie.ordered_proof(values, count)) is None
