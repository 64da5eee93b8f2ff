"""A small chain of four validators over the real EVM, and blocks sealed by their keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comity.ledger.block import header_hash, seal_hash
from comity.ledger.chain import TABLES, Chain, Committed
from comity.ledger.executor import RevmExecutor
from comity.ledger.genesis import Genesis, Installation, Member
from comity.ledger.types import Account, Block, SealedBlock, Seals, Transaction
from comity.record.keys import PrivateKey
from comity.record.types import Address, Wei
from comity.store.kv import KeyValue
from comity.store.memory import MemoryStore
from support.accounts import CHAIN_ID, address, key, signed

ALICE, BOB = address("alice"), address("bob")
STORE = Address(b"\x51" * 20)
STORE_CODE = bytes.fromhex("5f356020355560205fa0")[:6] + bytes.fromhex("60205f5fa100")
"""storage[second word] = first word of calldata; then a log of the empty memory under topic 32."""
VALIDATORS = sorted((key(f"validator {n}") for n in range(4)), key=lambda k: k.address)
MEMBERS = tuple(
    Member(f"org-{n}", address(f"org {n}"), VALIDATORS[n].address, f"127.0.0.1:{7401 + n}") for n in range(4)
)
GENESIS = Genesis(CHAIN_ID, 1_000, MEMBERS, alloc={ALICE: Wei(10**18), BOB: Wei(10**18)})
INSTALLATION = Installation({STORE: STORE_CODE}, STORE, (7).to_bytes(32, "big") + (1).to_bytes(32, "big"))


def executor() -> RevmExecutor:
    return RevmExecutor(CHAIN_ID, GENESIS.gas_limit)


def open_chain(store: KeyValue | None = None, **options: Any) -> Chain:
    return Chain(store or MemoryStore(TABLES), executor(), GENESIS, **{"installation": INSTALLATION, **options})


def seal(block: Block, validators: Sequence[PrivateKey] = VALIDATORS, round_: int = 0) -> SealedBlock:
    signed_hash = seal_hash(CHAIN_ID, block.header.height, round_, header_hash(block.header))
    return SealedBlock(block, Seals(round_, tuple(validator.sign(signed_hash) for validator in validators)))


def send(chain: Chain, signer: str, to: Address | None, ahead: int = 0, **fields: Any) -> Transaction:
    """A transaction with the signer's next nonce at the head, plus `ahead`."""
    account = chain.account(address(signer)) or Account()
    return signed(signer, account.nonce + ahead, to, **fields)


def store(value: int, slot: int) -> bytes:
    """Calldata for STORE."""
    return value.to_bytes(32, "big") + slot.to_bytes(32, "big")


def grow(chain: Chain, *transactions: Transaction, timestamp: int = 1_001) -> Committed:
    """Build, seal and commit one block with these."""
    block, refused = chain.build(timestamp, VALIDATORS[0].address, transactions)
    assert not refused
    assert len(block.transactions) == len(transactions)
    return chain.commit(seal(block))
