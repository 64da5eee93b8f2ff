"""The committed chain on disk: blocks, receipts, the transaction index and logs, by height and by hash.

Reading, and turning a block into database operations. What may be committed is `chain`'s decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from comity.ledger import rlp, trie
from comity.ledger.block import (
    bloom_may_hold,
    decode_receipt,
    decode_sealed,
    encode_receipt,
    encode_sealed,
    header_hash,
)
from comity.ledger.errors import CorruptLedger, TooMuch, UnknownBlock
from comity.ledger.transaction import decode
from comity.ledger.types import Log, Receipt, SealedBlock, Transaction
from comity.record.digest import keccak256
from comity.record.types import Address, Hash32, Height
from comity.store.kv import Batch, KeyValue

BLOCKS, RECEIPTS, HASHES, TRANSACTIONS, META = "blocks", "receipts", "hashes", "transactions", "meta"
TABLES = (BLOCKS, RECEIPTS, HASHES, TRANSACTIONS, META)
HEAD = b"head"
LOG_BLOCKS_MAX = 10_000
LOGS_MAX = 10_000
_HEIGHT_BYTES = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where a transaction stands."""

    height: Height
    index: int


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A log and where it stands; `log_index` counts within the block."""

    log: Log
    height: Height
    block_hash: Hash32
    transaction: Hash32
    transaction_index: int
    log_index: int


@dataclass(frozen=True, slots=True)
class LogFilter:
    """As eth_getLogs: any of the addresses, and at each position any of the topics; empty means all."""

    addresses: frozenset[Address] = frozenset()
    topics: tuple[frozenset[Hash32], ...] = ()

    def matches(self, log: Log) -> bool:
        if self.addresses and log.address not in self.addresses:
            return False
        if len(self.topics) > len(log.topics):
            return False
        return all(not wanted or topic in wanted for wanted, topic in zip(self.topics, log.topics, strict=False))

    def may_match(self, bloom: bytes) -> bool:
        """Whether a block with this bloom can hold a match; false is certain."""
        sets: list[frozenset[Address] | frozenset[Hash32]] = [self.addresses, *self.topics]
        return all(not wanted or any(bloom_may_hold(bloom, item) for item in wanted) for wanted in sets)


class Archive:
    """Committed blocks over a `KeyValue`. Raises `UnknownBlock` for what is not there."""

    def __init__(self, store: KeyValue, chain_id: int) -> None:
        self._store = store
        self._chain_id = chain_id

    def height_of(self, block_hash: Hash32) -> Height:
        """The height of a committed block."""
        key = self._store.get(HASHES, block_hash)
        if key is None:
            raise UnknownBlock("no such block", why=f"hash 0x{block_hash.hex()[:12]}…")
        return Height(int.from_bytes(key, "big"))

    def block(self, height: int) -> SealedBlock:
        """The sealed block at a height."""
        return decode_sealed(self._at(BLOCKS, height))

    def blocks(self, first: int, count: int, bytes_max: int) -> tuple[SealedBlock, ...]:
        """Up to `count` consecutive blocks from `first`, and no more than `bytes_max` of them, but one if it exists."""
        found: list[SealedBlock] = []
        size = 0
        for key, data in self._store.items(BLOCKS, start=_key(first)):
            size += len(data)
            if len(found) == count or (found and size > bytes_max) or int.from_bytes(key, "big") != first + len(found):
                break
            found.append(decode_sealed(data))
        return tuple(found)

    def place(self, transaction_hash: Hash32) -> Place | None:
        """Where a transaction stands, or None."""
        data = self._store.get(TRANSACTIONS, transaction_hash)
        if data is None:
            return None
        return Place(Height(int.from_bytes(data[:_HEIGHT_BYTES], "big")), int.from_bytes(data[_HEIGHT_BYTES:], "big"))

    def transactions(self, height: int) -> tuple[Transaction, ...]:
        """A block's transactions, decoded."""
        return tuple(decode(raw, chain_id=self._chain_id) for raw in self.block(height).block.transactions)

    def transaction(self, place: Place) -> Transaction:
        """The transaction at a place."""
        return decode(self.block(place.height).block.transactions[place.index], chain_id=self._chain_id)

    def receipts(self, height: int) -> tuple[Receipt, ...]:
        """A block's receipts, with gas and created contracts filled in."""
        used, receipts = 0, []
        for transaction, item in zip(self.transactions(height), self._encoded_receipts(height), strict=True):
            receipt = decode_receipt(item)
            contract = None
            if transaction.to is None and receipt.succeeded:
                contract = created_address(transaction.sender, transaction.nonce)
            gas_used = receipt.cumulative_gas - used
            receipts.append(replace(receipt, gas_used=gas_used, contract=contract))
            used = receipt.cumulative_gas
        return tuple(receipts)

    def receipt(self, place: Place) -> Receipt:
        """The receipt of the transaction at a place."""
        return self.receipts(place.height)[place.index]

    def transaction_proof(self, place: Place) -> list[bytes]:
        """Trie nodes from the header's transactions root to the raw transaction (`light.verify_transaction`)."""
        return trie.ordered_proof(self.block(place.height).block.transactions, place.index)

    def receipt_proof(self, place: Place) -> tuple[bytes, list[bytes]]:
        """The encoded receipt, and trie nodes from the header's receipts root to it (`light.verify_receipt`)."""
        encoded = self._encoded_receipts(place.height)
        return encoded[place.index], trie.ordered_proof(encoded, place.index)

    def logs(self, first: int, last: int, wanted: LogFilter) -> list[LogEntry]:
        """The matching logs of the blocks from `first` to `last`; `TooMuch` beyond `LOG_BLOCKS_MAX` or `LOGS_MAX`."""
        if last - first >= LOG_BLOCKS_MAX:
            raise TooMuch(
                "log query spans too many blocks",
                why=f"{last - first + 1}, at most {LOG_BLOCKS_MAX}",
                hint="ask in steps",
            )
        found: list[LogEntry] = []
        for height in range(max(first, 0), last + 1):
            data = self._store.get(BLOCKS, _key(height))
            if data is None:
                break
            header = decode_sealed(data).block.header
            if not wanted.may_match(header.bloom):
                continue
            found.extend(self._matching(height, header_hash(header), wanted))
            if len(found) > LOGS_MAX:
                raise TooMuch("log query finds too many logs", why=f"at most {LOGS_MAX}", hint="ask for fewer blocks")
        return found

    def _matching(self, height: int, block_hash: Hash32, wanted: LogFilter) -> Iterator[LogEntry]:
        raws = self.block(height).block.transactions
        position = 0
        for index, (raw, item) in enumerate(zip(raws, self._encoded_receipts(height), strict=True)):
            for log in decode_receipt(item).logs:
                if wanted.matches(log):
                    yield LogEntry(log, Height(height), block_hash, keccak256(raw), index, position)
                position += 1

    def _encoded_receipts(self, height: int) -> list[bytes]:
        items = rlp.as_list(rlp.decode(self._at(RECEIPTS, height), depth_max=1))
        return [rlp.as_bytes(item) for item in items]

    def _at(self, table: str, height: int) -> bytes:
        data = self._store.get(table, _key(height)) if 0 <= height < 1 << 63 else None
        if data is None:
            raise UnknownBlock("no such block", why=f"height {height}")
        return data

    def _stored_head(self) -> SealedBlock | None:
        """The block that the last commit made the head; None in an empty database."""
        head = self._store.get(META, HEAD)
        if head is None:
            return None
        sealed = decode_sealed(self._at(BLOCKS, int.from_bytes(head[:_HEIGHT_BYTES], "big")))
        if header_hash(sealed.block.header) != head[_HEIGHT_BYTES:]:
            raise CorruptLedger(
                "the head block is not the one that was committed", why=f"height {sealed.block.header.height}"
            )
        return sealed


def persist(
    sealed: SealedBlock, block_hash: Hash32, hashes: Sequence[Hash32], receipts: Sequence[Receipt], batch: Batch
) -> None:
    """Add a block, its receipts, its index and the new head to a database batch."""
    key = _key(sealed.block.header.height)
    batch.put(BLOCKS, key, encode_sealed(sealed))
    batch.put(RECEIPTS, key, rlp.encode([encode_receipt(receipt) for receipt in receipts]))
    batch.put(HASHES, block_hash, key)
    for index, transaction_hash in enumerate(hashes):
        batch.put(TRANSACTIONS, transaction_hash, key + index.to_bytes(4, "big"))
    batch.put(META, HEAD, key + block_hash)


def created_address(sender: Address, nonce: int) -> Address:
    """Where CREATE puts a contract: the end of keccak256(rlp([sender, nonce])) (Yellow Paper 7)."""
    return Address(keccak256(rlp.encode([sender, nonce]))[12:])


def _key(height: int) -> bytes:
    return height.to_bytes(_HEIGHT_BYTES, "big")
