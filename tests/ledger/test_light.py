"""Seals and proofs, checked with headers alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger import light, trie
from comity.ledger.block import encode_receipt, validators_hash
from comity.ledger.errors import InvalidProof, InvalidSeals
from comity.ledger.types import Header, SealedBlock, Seals, ValidatorSet
from support.accounts import CHAIN_ID, key
from support.ledger import ALICE, BOB, GENESIS, VALIDATORS, grow, open_chain, seal, send

CHAIN = open_chain()
BLOCK, _ = CHAIN.build(1_001, VALIDATORS[0].address, [])
SEALED = seal(BLOCK)


def _verify(
    sealed: SealedBlock = SEALED, chain_id: int = CHAIN_ID, validators: ValidatorSet = GENESIS.validators
) -> frozenset[bytes]:
    return light.verify_seals(chain_id, sealed.block.header, sealed.seals, validators)


def test_quorum() -> None:
    assert _verify() == {validator.address for validator in VALIDATORS}
    assert len(_verify(seal(BLOCK, VALIDATORS[1:]))) == 3
    assert len(_verify(seal(BLOCK, round_=7))) == 4


@pytest.mark.parametrize(
    ("sealed", "reason"),
    [
        (seal(BLOCK, VALIDATORS[:2]), "no quorum"),
        (seal(BLOCK, []), "no quorum"),
        (seal(BLOCK, [*VALIDATORS[:3], VALIDATORS[0]]), "twice"),
        (seal(BLOCK, [*VALIDATORS[:3], key("stranger")]), "not of a validator"),
        (replace(SEALED, seals=replace(SEALED.seals, round=1)), "not of a validator"),
        (replace(SEALED, seals=Seals(0, (bytes(65),) * 3)), "no signature"),
        (replace(SEALED, seals=Seals(0, (b"short",))), "no signature"),
        (replace(SEALED, seals=Seals(0, SEALED.seals.signatures * 300)), "too many"),
    ],
)
def test_refused(sealed: SealedBlock, reason: str) -> None:
    with pytest.raises(InvalidSeals, match=reason):
        _verify(sealed)


def test_another_chain_or_set_is_refused() -> None:
    with pytest.raises(InvalidSeals):
        _verify(chain_id=1)
    with pytest.raises(InvalidSeals, match="another validator set"):
        _verify(validators=ValidatorSet(GENESIS.validators.members[:3]))


def test_quorum_is_by_weight() -> None:
    weighted = ValidatorSet(GENESIS.validators.members, (5, 1, 1, 1))
    header = replace(BLOCK.header, extra=validators_hash(weighted))
    block = replace(BLOCK, header=header)
    with pytest.raises(InvalidSeals, match="weight 3 of 8"):
        _verify(seal(block, VALIDATORS[1:]), validators=weighted)
    assert len(_verify(seal(block, VALIDATORS[:2]), validators=weighted)) == 2


@given(st.data())
def test_any_flipped_bit_in_any_seal_is_noticed(data: st.DataObject) -> None:
    which, byte, bit = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 64)), data.draw(st.integers(0, 7))
    signatures = list(SEALED.seals.signatures[:3])
    changed = bytearray(signatures[which])
    changed[byte] ^= 1 << bit
    signatures[which] = bytes(changed)
    with pytest.raises(InvalidSeals):
        _verify(replace(SEALED, seals=Seals(0, tuple(signatures))))


@pytest.mark.parametrize("field", [f for f in Header.__dataclass_fields__ if f != "extra"])
def test_seals_cover_the_whole_header(field: str) -> None:
    old = getattr(BLOCK.header, field)
    new: Any = old + 1 if isinstance(old, int) else bytes([old[0] ^ 1]) + old[1:]
    with pytest.raises(InvalidSeals):
        _verify(replace(SEALED, block=replace(BLOCK, header=replace(BLOCK.header, **{field: new}))))


def test_proofs_of_another_place_are_refused() -> None:
    chain = open_chain()
    told = grow(chain, send(chain, "alice", BOB, value=1), send(chain, "bob", ALICE, value=1))
    header = chain.head.block.header
    raws = [t.raw for t in told.transactions]
    proof = trie.ordered_proof(raws, 0)
    light.verify_transaction(header, 0, raws[0], proof)
    for index, raw in ((1, raws[0]), (0, raws[1])):
        with pytest.raises(InvalidProof):
            light.verify_transaction(header, index, raw, proof)
    encoded = [encode_receipt(r) for r in told.receipts]
    with pytest.raises(InvalidProof):
        light.verify_receipt(header, 0, encoded[1], trie.ordered_proof(encoded, 0))
    with pytest.raises(InvalidProof):
        light.verify_account(header, BOB, chain.prove(ALICE).nodes)
