"""Transactions as the pool sees them: decoded, without a real signature."""

from __future__ import annotations

from comity.ledger.types import Transaction
from comity.record.digest import keccak256
from comity.record.types import Address, Wei

GAS = 21_000
ALICE, BOB = Address(b"a" * 20), Address(b"b" * 20)


def tx(
    nonce: int = 0, sender: Address = ALICE, tip: int = 0, gas: int = GAS, value: int = 0, size: int = 100
) -> Transaction:
    raw = f"{sender.hex()}/{nonce}/{tip}/{gas}/{value}".encode().ljust(size)
    return Transaction(
        type=2,
        nonce=nonce,
        gas=gas,
        to=BOB,
        value=Wei(value),
        data=b"",
        max_fee=Wei(tip),
        max_priority_fee=Wei(tip),
        access_list=(),
        raw=raw,
        hash=keccak256(raw),
        sender=sender,
    )
