"""A world that executes: the real chain over the EVM on a simulated store, in which every transfer moves balances."""

from __future__ import annotations

from comity.ledger.block import header_hash
from comity.ledger.chain import TABLES, Chain
from comity.ledger.errors import LedgerError
from comity.ledger.executor import RevmExecutor
from comity.ledger.genesis import Genesis, Member
from comity.ledger.types import Account, Block, SealedBlock, Transaction
from comity.record.keys import PrivateKey
from comity.record.types import Address, Hash32, Wei
from comity.store.memory import MemoryStore
from sim.plain_world import EPOCH_S, PlainWorld


class EvmChain:
    """What the simulator asks of `Chain`."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    @property
    def head(self) -> SealedBlock:
        return self._chain.head

    @property
    def height(self) -> int:
        return self._chain.height

    @property
    def state_root(self) -> Hash32:
        return self._chain.head.block.header.state_root

    def head_transactions(self) -> list[Hash32]:
        return [transaction.hash for transaction in self._chain.transactions(self.height)]

    def build(
        self, timestamp: int, coinbase: Address, pending: tuple[Transaction, ...]
    ) -> tuple[Block, tuple[tuple[Hash32, str], ...]]:
        return self._chain.build(timestamp, coinbase, pending)

    def check(self, block: Block) -> str | None:
        try:
            self._chain.check(block)
        except LedgerError as error:
            return str(error)
        return None

    def commit(self, sealed: SealedBlock) -> dict[Address, Account]:
        return self._chain.commit(sealed).accounts

    def account(self, address: Address) -> Account:
        return self._chain.account(address) or Account()

    def sealed(self, height: int) -> SealedBlock:
        return self._chain.block(height)


class EvmWorld(PlainWorld):
    """The plain world's keys and clients, with funds, on a real chain."""

    name = "evm"
    tables = TABLES

    def __init__(self) -> None:
        super().__init__()
        members = tuple(
            Member(f"org-{index}", PrivateKey.from_seed(f"org {index}").address, key.address, "")
            for index, key in enumerate(self.keys)
        )
        alloc = {client.address: Wei(10**20) for client in self._clients}
        self.genesis = Genesis(self.chain_id, EPOCH_S, members, gas_limit=1 << 24, alloc=alloc)
        store = MemoryStore(self.tables)
        self.genesis_hash = header_hash(self._chain(store).head.block.header)

    def _chain(self, store: MemoryStore) -> Chain:
        return Chain(store, RevmExecutor(self.chain_id, self.genesis.gas_limit), self.genesis)

    def open(self, store: MemoryStore) -> EvmChain:  # type: ignore[override]
        return EvmChain(self._chain(store))
