"""A world whose blocks are not executed: fast, for trying the simulator itself and for mutation tests."""

from __future__ import annotations

from comity.ledger import transaction as transactions
from comity.ledger.block import decode_sealed, encode_sealed, header_hash
from comity.ledger.errors import InvalidBlock
from comity.ledger.types import Account, Block, SealedBlock, Transaction, ValidatorSet
from comity.record.digest import keccak256
from comity.record.keys import PrivateKey
from comity.record.types import Address, Hash32
from comity.store.kv import Batch
from comity.store.memory import MemoryStore
from support.plain_chain import CHAIN_ID, PlainChain, genesis_block

EPOCH_S = 1_000


class StoredChain:
    """A `PlainChain` that is read from, and written to, a store."""

    def __init__(self, store: MemoryStore, validators: ValidatorSet) -> None:
        self._chain = PlainChain(genesis_block(EPOCH_S), validators)
        self._store = store
        for _, data in store.items("blocks"):
            self._chain.commit(decode_sealed(data))

    @property
    def head(self) -> SealedBlock:
        return self._chain.head

    @property
    def height(self) -> int:
        return self._chain.head.block.header.height

    @property
    def state_root(self) -> Hash32:
        return self._chain.head.block.header.state_root

    def head_transactions(self) -> list[Hash32]:
        return [keccak256(raw) for raw in self._chain.head.block.transactions]

    def build(
        self, timestamp: int, coinbase: Address, pending: tuple[Transaction, ...]
    ) -> tuple[Block, tuple[tuple[Hash32, str], ...]]:
        return self._chain.build(timestamp, coinbase, pending), ()

    def check(self, block: Block) -> str | None:
        try:
            self._chain.check(block)
        except InvalidBlock as error:
            return str(error)
        return None

    def commit(self, sealed: SealedBlock) -> dict[Address, Account]:
        batch = Batch()
        batch.put("blocks", sealed.block.header.height.to_bytes(8, "big"), encode_sealed(sealed))
        self._store.write(batch)
        return self._chain.commit(sealed)

    def account(self, address: Address) -> Account:
        return self._chain.account(address)

    def sealed(self, height: int) -> SealedBlock:
        return self._chain.sealed[height]


class PlainWorld:
    """Keys, genesis and clients, shared by all runs."""

    name = "plain"
    chain_id = CHAIN_ID
    epoch_ms = EPOCH_S * 1_000
    tables: tuple[str, ...] = ("blocks",)

    def __init__(self) -> None:
        keys = [PrivateKey.from_seed(f"validator {index}") for index in range(4)]
        self.keys = sorted(keys, key=lambda key: key.address)
        self.validators = ValidatorSet(tuple(key.address for key in self.keys))
        self.genesis_hash = header_hash(genesis_block(EPOCH_S).block.header)
        self._clients = [PrivateKey.from_seed(f"client {index}") for index in range(3)]
        self._signed: list[Transaction] = []
        self._decoded: dict[bytes, Transaction] = {}

    def prepare(self, store: MemoryStore) -> None:
        """Nothing: the genesis block is computed."""

    def open(self, store: MemoryStore) -> StoredChain:
        return StoredChain(store, self.validators)

    def decode(self, raw: bytes) -> Transaction:
        found = self._decoded.get(raw)
        if found is None:
            found = self._decoded[raw] = transactions.decode(raw, chain_id=self.chain_id)
        return found

    def transactions(self, count: int) -> list[Transaction]:
        """The first `count` of an endless row of transfers by three clients in turn."""
        while len(self._signed) < count:
            index = len(self._signed)
            client = self._clients[index % len(self._clients)]
            payload = transactions.signing_payload(
                chain_id=self.chain_id,
                nonce=index // len(self._clients),
                to=Address(bytes([index]) * 20),
                gas=21_000,
                value=1 + index,
            )
            self._signed.append(self.decode(transactions.assemble(payload, client.sign(keccak256(payload)))))
        return self._signed[:count]
