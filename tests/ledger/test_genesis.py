"""The genesis document: one canonical form, every range, and the block 0 that follows from it alone."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger.block import validators_hash
from comity.ledger.errors import EngineError, InvalidGenesis
from comity.ledger.genesis import Genesis, Installation, Member, genesis_block
from comity.ledger.types import ZERO_ADDRESS, Account
from comity.record import canonical
from comity.record.digest import sha256
from comity.record.types import Address, Wei
from support.accounts import address
from support.ledger import ALICE, GENESIS, INSTALLATION, MEMBERS, STORE, executor, open_chain


def test_round_trip() -> None:
    data = GENESIS.encode()
    assert Genesis.decode(data) == GENESIS
    assert Genesis.decode(data).encode() == data
    follower = replace(GENESIS, members=(*MEMBERS, Member("lab", address("lab"), None, "", ("regulator",))))
    assert Genesis.decode(follower.encode()) == follower
    assert follower.validators == GENESIS.validators
    assert follower.digest == sha256(follower.encode()) != GENESIS.digest


def test_block_0() -> None:
    made = executor()
    sealed, diff = genesis_block(GENESIS, made, INSTALLATION)
    header = sealed.block.header
    assert (header.height, header.timestamp, header.gas_limit) == (0, 1_000, GENESIS.gas_limit)
    assert header.extra == validators_hash(GENESIS.validators)
    assert header.mix.hex() == GENESIS.digest
    assert sealed.seals.signatures == ()
    assert made.account(ALICE) == Account(0, Wei(10**18))
    assert made.account(ZERO_ADDRESS) == Account(1)
    assert made.storage(STORE, 1) == 7
    assert diff.slots == {(STORE, 1): (0, 7)}
    assert open_chain().head == sealed
    assert genesis_block(GENESIS, executor(), Installation())[0].block.header.state_root != header.state_root
    with pytest.raises(EngineError):
        genesis_block(GENESIS, made)


def test_a_failing_installation_is_refused() -> None:
    wrong = replace(INSTALLATION, codes={STORE: bytes.fromhex("5f5ffd")})
    with pytest.raises(InvalidGenesis, match="without a reason"):
        genesis_block(GENESIS, executor(), wrong)


@pytest.mark.parametrize(
    "changes",
    [
        {"chain_id": 0},
        {"chain_id": 2**31},
        {"chain_id": True},
        {"timestamp": -1},
        {"gas_limit": 1},
        {"block_period_ms": 1},
        {"empty_period_ms": 10},
        {"members": ()},
        {"members": (MEMBERS[0], MEMBERS[0])},
        {"members": (MEMBERS[0], replace(MEMBERS[1], name=MEMBERS[0].name))},
        {"members": (MEMBERS[0], replace(MEMBERS[1], validator=MEMBERS[0].org))},
        {"members": (replace(MEMBERS[0], validator=None),)},
        {"members": (replace(MEMBERS[0], name="Org"),)},
        {"members": (replace(MEMBERS[0], roles=("a b",)),)},
        {"members": (replace(MEMBERS[0], endpoint="x" * 300),)},
        {"alloc": {ALICE: Wei(0)}},
    ],
)
def test_ranges(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidGenesis):
        replace(GENESIS, **changes)


def _mutated(change: Any) -> bytes:
    document = json.loads(GENESIS.encode())
    change(document)
    return canonical.encode(document)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("chain_id"),
        lambda d: d.update(extra=1),
        lambda d: d.update(schema="comity/genesis/v2"),
        lambda d: d.update(members={}),
        lambda d: d.update(members=[1]),
        lambda d: d.update(alloc=[]),
        lambda d: d.update(alloc={"0x" + "1" * 40: 5}),
        lambda d: d.update(alloc={"0x" + "1" * 40: "05"}),
        lambda d: d.update(alloc={"0x" + "1" * 40: "9" * 78}),
        lambda d: d.update(alloc={"0x1": "5"}),
        lambda d: d["members"][0].update(org="nobody"),
        lambda d: d["members"][0].update(org=None),
        lambda d: d["members"][0].update(name=5),
        lambda d: d["members"][0].update(roles=[1]),
        lambda d: d["members"][0].pop("endpoint"),
        lambda d: d.update(timestamp="1000"),
    ],
)
def test_malformed_documents(change: Any) -> None:
    with pytest.raises(InvalidGenesis):
        Genesis.decode(_mutated(change))


def test_only_the_canonical_form_counts() -> None:
    with pytest.raises(InvalidGenesis):
        Genesis.decode(json.dumps(json.loads(GENESIS.encode()), indent=1).encode())
    with pytest.raises(InvalidGenesis):
        Genesis.decode(b" " * ((1 << 20) + 1))


@given(st.binary(max_size=60))
def test_noise(data: bytes) -> None:
    with pytest.raises(InvalidGenesis):
        Genesis.decode(data)


@given(st.recursive(st.none() | st.integers(-5, 5) | st.text(max_size=3), lambda i: st.lists(i, max_size=3)), st.data())
def test_any_value_in_any_field(value: Any, data: st.DataObject) -> None:
    document = json.loads(GENESIS.encode())
    target = data.draw(st.sampled_from([document, document["members"][0]]))
    target[data.draw(st.sampled_from(sorted(target)))] = value
    encoded = canonical.encode(document)
    with contextlib.suppress(InvalidGenesis):
        assert Genesis.decode(encoded).encode() == encoded


def test_alloc_order_does_not_matter() -> None:
    one, two = Address(b"\1" * 20), Address(b"\2" * 20)
    assert (
        replace(GENESIS, alloc={one: Wei(1), two: Wei(2)}).digest
        == replace(GENESIS, alloc={two: Wei(2), one: Wei(1)}).digest
    )
