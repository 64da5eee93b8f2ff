"""The well-known Certificate Transparency tree, and proofs that hold for exactly one leaf and place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.record import merkle
from comity.record.digest import sha256
from comity.record.errors import BadProof
from comity.record.types import Digest

# The reference inputs of google/certificate-transparency, merkletree/merkle_tree_test.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(9))
def test_reference_roots(size: int) -> None:
    assert merkle.root(LEAVES[:size]) == ROOTS[size]


@pytest.mark.parametrize(
    ("index", "size", "path"),
    [
        (0, 1, []),
        (
            0,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
        (
            1,
            5,
            [
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ],
)
def test_reference_paths(index: int, size: int, path: list[str]) -> None:
    assert list(merkle.prove(LEAVES[:size], index)) == path


@given(st.integers(1, 40).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))), st.data())
def test_a_proof_holds_for_its_leaf_and_place_only(shape: tuple[int, int], data: st.DataObject) -> None:
    size, index = shape
    leaves = [b"leaf %d" % number for number in range(size)]
    root, path = merkle.root(leaves), merkle.prove(leaves, index)
    assert merkle.verify(root, leaves[index], index, size, path)
    assert not merkle.verify(root, b"other", index, size, path)
    other = data.draw(st.integers(-1, size + 1))
    if other != index:
        assert not merkle.verify(root, leaves[index], other, size, path)
    assert not merkle.verify(root, leaves[index], index, size, (*path, sha256(b"")))
    if path:
        flipped = data.draw(st.integers(0, len(path) - 1))
        assert not merkle.verify(root, leaves[index], index, size, path[:-1])
        wrong = (*path[:flipped], sha256(b""), *path[flipped + 1 :])
        assert not merkle.verify(root, leaves[index], index, size, wrong)


@given(
    st.text(max_size=64),
    st.binary(max_size=8),
    st.integers(-5, 2**70),
    st.integers(-5, 2**70),
    st.lists(st.text(max_size=66)),
)
def test_no_proof_raises(root: str, leaf: bytes, index: int, size: int, path: list[str]) -> None:
    assert not merkle.verify(Digest(root), leaf, index, size, [Digest(node) for node in path])


def test_an_inner_node_is_no_leaf() -> None:
    pair = bytes.fromhex(ROOTS[1]) + bytes.fromhex("96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7")
    assert merkle.root([pair]) != merkle.root(LEAVES[:2])


@pytest.mark.parametrize("index", [-1, 8, 100])
def test_no_proof_of_a_leaf_that_is_not_there(index: int) -> None:
    with pytest.raises(BadProof):
        merkle.prove(LEAVES, index)


def test_too_many_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merkle, "LEAVES_MAX", 7)
    with pytest.raises(BadProof):
        merkle.root(LEAVES)
