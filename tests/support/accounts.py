"""Keys by name and the transactions they sign, for tests of the ledger."""

from __future__ import annotations

from typing import Any

from comity.ledger import transaction
from comity.ledger.types import Transaction
from comity.record.digest import keccak256
from comity.record.keys import PrivateKey
from comity.record.types import Address

CHAIN_ID = 31337


def key(name: str) -> PrivateKey:
    """The key of a name; the same in every run."""
    return PrivateKey.from_seed(name)


def address(name: str) -> Address:
    return key(name).address


def raw(
    signer: str, nonce: int, to: Address | None, *, chain_id: int = CHAIN_ID, gas: int = 200_000, **fields: Any
) -> bytes:
    """A signed transaction's bytes; `fields` as in `transaction.signing_payload`."""
    payload = transaction.signing_payload(chain_id=chain_id, nonce=nonce, to=to, gas=gas, **fields)
    return transaction.assemble(payload, key(signer).sign(keccak256(payload)))


def signed(signer: str, nonce: int, to: Address | None, *, chain_id: int = CHAIN_ID, **fields: Any) -> Transaction:
    """The same, decoded."""
    return transaction.decode(raw(signer, nonce, to, chain_id=chain_id, **fields), chain_id=chain_id)
