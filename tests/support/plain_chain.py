"""A chain without an EVM, for tests of consensus alone: a block's state root commits to all transactions before it.

Not a model of execution: nonces rise, balances stay. The simulation of many seeds runs the real `ledger.chain`.
"""

from __future__ import annotations

from comity.ledger import block as blocks
from comity.ledger import transaction as transactions
from comity.ledger.errors import InvalidBlock
from comity.ledger.types import (
    ZERO_ADDRESS,
    ZERO_HASH,
    Account,
    Block,
    Header,
    SealedBlock,
    Seals,
    Transaction,
    ValidatorSet,
)
from comity.record.digest import keccak256
from comity.record.types import Address, Hash32, Height, Wei

CHAIN_ID = 31337
GAS_LIMIT = 30_000_000
BALANCE = Wei(10**24)


def genesis_block(timestamp: int = 1_000) -> SealedBlock:
    return SealedBlock(Block(_header(ZERO_HASH, ZERO_ADDRESS, ZERO_HASH, (), 0, timestamp), ()), Seals(0, ()))


def _header(
    parent: Hash32, coinbase: Address, root: Hash32, raws: tuple[bytes, ...], height: int, timestamp: int
) -> Header:
    return Header(
        parent=parent,
        coinbase=coinbase,
        state_root=keccak256(root + b"".join(raws)),
        transactions_root=blocks.transactions_root(raws),
        receipts_root=ZERO_HASH,
        bloom=blocks.NO_BLOOM,
        height=Height(height),
        gas_limit=GAS_LIMIT,
        gas_used=21_000 * len(raws),
        timestamp=timestamp,
        extra=ZERO_HASH,
    )


class PlainChain:
    """Blocks in a list. Its methods are those that a node asks of the real chain."""

    def __init__(self, genesis: SealedBlock, validators: ValidatorSet) -> None:
        self.sealed = [genesis]
        self.validators = validators
        self.nonces: dict[Address, int] = {}

    @property
    def head(self) -> SealedBlock:
        return self.sealed[-1]

    def account(self, address: Address) -> Account:
        return Account(self.nonces.get(address, 0), BALANCE)

    def build(self, timestamp: int, coinbase: Address, pending: tuple[Transaction, ...]) -> Block:
        nonces = dict(self.nonces)
        raws = []
        for transaction in pending:
            if transaction.nonce == nonces.get(transaction.sender, 0):
                nonces[transaction.sender] = transaction.nonce + 1
                raws.append(transaction.raw)
        return Block(self._next(coinbase, tuple(raws), timestamp), tuple(raws))

    def _next(self, coinbase: Address, raws: tuple[bytes, ...], timestamp: int) -> Header:
        parent = self.head.block.header
        return _header(blocks.header_hash(parent), coinbase, parent.state_root, raws, parent.height + 1, timestamp)

    def check(self, block: Block) -> None:
        wanted = self._next(block.header.coinbase, block.transactions, block.header.timestamp)
        if wanted != block.header or block.header.timestamp < self.head.block.header.timestamp:
            raise InvalidBlock("block does not follow from its parent")
        nonces = dict(self.nonces)
        for raw in block.transactions:
            transaction = transactions.decode(raw, chain_id=CHAIN_ID)
            if transaction.nonce != nonces.get(transaction.sender, 0):
                raise InvalidBlock("nonce out of order")
            nonces[transaction.sender] = transaction.nonce + 1

    def commit(self, sealed: SealedBlock) -> dict[Address, Account]:
        self.check(sealed.block)
        touched = {}
        for raw in sealed.block.transactions:
            sender = transactions.decode(raw, chain_id=CHAIN_ID).sender
            self.nonces[sender] = self.nonces.get(sender, 0) + 1
            touched[sender] = self.account(sender)
        self.sealed.append(sealed)
        return touched
