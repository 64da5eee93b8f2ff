"""RLP: one encoding per value, and nothing else decodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger import rlp
from comity.ledger.errors import MalformedRlp

ITEMS = st.recursive(st.binary(max_size=80), lambda inner: st.lists(inner, max_size=5), max_leaves=20)


@given(ITEMS)
def test_round_trip(item: rlp.Item) -> None:
    assert rlp.decode(rlp.encode(item), depth_max=30) == item


@given(st.binary(max_size=60))
def test_what_decodes_is_canonical(data: bytes) -> None:
    try:
        item = rlp.decode(data)
    except MalformedRlp:
        return
    assert rlp.encode(item) == data


@given(ITEMS, st.data())
def test_a_cut_or_longer_text_is_refused(item: rlp.Item, data: st.DataObject) -> None:
    encoded = rlp.encode(item)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    for wrong in (encoded[:cut], encoded + b"\0"):
        with pytest.raises(MalformedRlp):
            rlp.decode(wrong, depth_max=30)


@given(st.integers(0, 2**256))
def test_integers(number: int) -> None:
    encoded = rlp.encode_uint(number)
    assert encoded == rlp.encode(number)
    assert rlp.as_uint(rlp.decode(encoded), 264) == number


@pytest.mark.parametrize(
    "data",
    [
        "",
        "8100",
        "817f",
        "b800",
        "b83700",
        "b90010" + "00" * 16,
        "c1",
        "f80100",
        "f83700",
        "bfffffffffffffffff",
        "81",
        "b8",
        "c28200",
    ],
)
def test_refused(data: str) -> None:
    with pytest.raises(MalformedRlp):
        rlp.decode(bytes.fromhex(data))


def test_limits() -> None:
    deep = b"\xc0"
    for _ in range(5_000):
        deep = rlp.wrap(deep)
    with pytest.raises(MalformedRlp, match="too large"):
        rlp.decode(rlp.encode(bytes(100)), bytes_max=100)
    assert rlp.decode(b"\xc2\xc1\xc0", depth_max=3) == [[[]]]
    with pytest.raises(MalformedRlp, match="too deeply"):
        rlp.decode(b"\xc2\xc1\xc0", depth_max=2)
    with pytest.raises(MalformedRlp, match="too deeply"):
        rlp.decode(deep)


def test_typed_reads() -> None:
    assert rlp.as_uint(b"") == 0
    items: list[rlp.Item] = [[], b"\0", b"\0\1", bytes(9)]
    for item in items:
        with pytest.raises(MalformedRlp):
            rlp.as_uint(item)
    with pytest.raises(MalformedRlp):
        rlp.as_bytes(b"ab", 3)
    with pytest.raises(MalformedRlp):
        rlp.as_list([b""], 2)
    with pytest.raises(MalformedRlp):
        rlp.as_list(b"")
    with pytest.raises(ValueError):
        rlp.encode(-1)
