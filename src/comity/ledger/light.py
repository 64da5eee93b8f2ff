"""What anyone can check with headers alone: seals against a validator set, and values against the roots in a header.

No state and no database; `evidence` and light clients stand on this.
"""

from __future__ import annotations

from collections.abc import Sequence

from comity.ledger import rlp, trie
from comity.ledger.block import SIGNATURES_COUNT_MAX, decode_receipt, header_hash, seal_hash, validators_hash
from comity.ledger.errors import InvalidProof, InvalidSeals
from comity.ledger.types import Header, Receipt, Seals, ValidatorSet
from comity.record.digest import keccak256
from comity.record.errors import BadSignature
from comity.record.keys import recover
from comity.record.types import Address


def verify_seals(chain_id: int, header: Header, seals: Seals, validators: ValidatorSet) -> frozenset[Address]:
    """The validators who sealed `header`; `InvalidSeals` unless they are distinct, of the set the header names, and a quorum."""
    if validators_hash(validators) != header.extra:
        raise InvalidSeals("the header names another validator set", why=f"extra is {header.extra.hex()[:12]}")
    if len(seals.signatures) > SIGNATURES_COUNT_MAX:
        raise InvalidSeals("too many seals", why=f"{len(seals.signatures)}, at most {SIGNATURES_COUNT_MAX}")
    signed = seal_hash(chain_id, header.height, seals.round, header_hash(header))
    signers: set[Address] = set()
    for signature in seals.signatures:
        try:
            signer = recover(signed, signature)
        except BadSignature as error:
            raise InvalidSeals("a seal is no signature", why=str(error)) from None
        if signer not in validators:
            raise InvalidSeals("a seal is not of a validator", why=f"0x{signer.hex()}")
        if signer in signers:
            raise InvalidSeals("a validator sealed twice", why=f"0x{signer.hex()}")
        signers.add(signer)
    if not validators.is_quorum(signers):
        raise InvalidSeals("the seals are no quorum", why=f"weight {validators.weight(signers)} of {validators.total}")
    return frozenset(signers)


def verify_transaction(header: Header, index: int, raw: bytes, proof: Sequence[bytes]) -> None:
    """`InvalidProof` unless `raw` is the transaction at `index` of the block of `header`."""
    if trie.verify_proof(header.transactions_root, rlp.encode_uint(index), proof) != raw:
        raise InvalidProof("the transaction is not the one in that block", why=f"block {header.height}, index {index}")


def verify_receipt(header: Header, index: int, encoded: bytes, proof: Sequence[bytes]) -> Receipt:
    """The receipt at `index` of the block of `header`; `InvalidProof` unless `encoded` is it."""
    if trie.verify_proof(header.receipts_root, rlp.encode_uint(index), proof) != encoded:
        raise InvalidProof("the receipt is not the one in that block", why=f"block {header.height}, index {index}")
    return decode_receipt(encoded)


def verify_account(header: Header, address: Address, proof: Sequence[bytes]) -> bytes | None:
    """The RLP of the account under the header's state root, or None where it provably does not exist."""
    return trie.verify_proof(header.state_root, keccak256(address), proof)
